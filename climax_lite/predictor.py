"""A network with what turns its output into a prediction, in one self-describing file.

What is common to a forecaster (`climax_lite.forecaster`), to the network of climate projection and to that of downscaling
(`climax_lite.tasks`): the file tells which network it holds and how that is made, so that loading needs nothing but the file.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .model import ClimaX, ClimaXConfig
from .model.convolutional import ConvolutionalConfig, ResNet, UNet
from .model.recurrent import CNNLSTM, CNNLSTMConfig

NETWORKS: dict[str, tuple[type[Any], type[Any]]] = {
    "ClimaX": (ClimaX, ClimaXConfig),
    "ResNet": (ResNet, ConvolutionalConfig),
    "UNet": (UNet, ConvolutionalConfig),
    "CNNLSTM": (CNNLSTM, CNNLSTMConfig),
}
"""The networks that a file can hold, by name, and what configures them."""

DATA = "data."
"""Before the names of tensors that are not weights."""


class Predictor(nn.Module):
    """A network and what belongs to it. Subclasses say what that is: `header`, `arrays` and `remake`.

    Attributes:
        net: the network; its `config` makes another of the same.
        about: what else its file tells: sources and their versions, seed, steps, scores. Plain JSON.
    """

    kind: ClassVar[str]

    def __init__(self, net: nn.Module, about: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.net: Any = net
        self.about = dict(about or {})

    @property
    def config(self) -> Any:
        """The network's."""
        return self.net.config

    def header(self) -> dict[str, Any]:
        """What is needed beside network and tensors to make it again, as plain JSON."""
        return {}

    def arrays(self) -> dict[str, Tensor]:
        """Tensors that are not weights, such as a climatology, in the form in which they are stored."""
        return {}

    @classmethod
    def remake(cls, net: nn.Module, header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Self:
        """What `header` and `arrays` told, around a network."""
        return cls(net, header["about"])

    def fresh(self) -> Self:
        """The same with new weights: nothing shared but what never changes."""
        kind = type(self.net)
        return self.remake(kind(self.config), self.header() | {"about": self.about}, self.arrays())

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Write everything into one safetensors file, whole or not at all; `dtype` is that of the stored weights.

        float16 halves the file at a relative error of 5e-4 in each weight; the loaded network computes in float32 again.
        """
        from safetensors.torch import save_file

        tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in self.state_dict().items()}
        tensors |= {f"{DATA}{k}": v.contiguous() for k, v in self.arrays().items()}
        header = {
            "format": f"climax-lite {self.kind} 1",
            "network": type(self.net).__name__,
            "config": dataclasses.asdict(self.config),
            "about": self.about,
            **self.header(),
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            save_file(tensors, part, {"climax_lite": json.dumps(header)})
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **config: Any) -> Self:
        """Read what `save` wrote. `config` changes fields of the network's configuration, such as `dropout` or `encoder`.

        Raises:
            ValueError: when the file is not one of ours, of another kind, or not whole.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["climax_lite"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path} is not a whole checkpoint of climax_lite ({type(error).__name__}: {error}): "
                "delete it, and fetch or make it again"
            ) from error
        if header.get("format") != f"climax-lite {cls.kind} 1":
            raise ValueError(
                f"{path}: expected a file of format 'climax-lite {cls.kind} 1', got {header.get('format')!r}: "
                "a bare network is read by climax_lite.model.load"
            )
        network, settings = NETWORKS[header.get("network", "ClimaX")]
        net = network(settings(**{**header["config"], **config}))
        arrays = {k.removeprefix(DATA): v for k, v in tensors.items() if k.startswith(DATA)}
        made = cls.remake(net, header, arrays)
        weights = {k: v.float() for k, v in tensors.items() if not k.startswith(DATA)}
        expected = made.state_dict()
        if wrong := sorted(
            {*expected} ^ {*weights} | {k for k in {*expected} & {*weights} if expected[k].shape != weights[k].shape}
        ):
            raise ValueError(f"{path} does not fit its own configuration: missing, left over or misshapen {wrong[:8]}")
        made.load_state_dict(weights)
        return made.eval()
