"""Weights in and out: the official checkpoints, and our own self-describing files.

Nothing here executes code from a file: official checkpoints are read with `weights_only`, ours are safetensors.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .climax import ClimaX, ClimaXConfig
from .embed import interpolate_positions

RENAMED: dict[str, str] = {
    "tokenizer.embedding": "var_embed",
    "aggregation.query": "var_query",
    "aggregation.in_proj_weight": "var_agg.in_proj_weight",
    "aggregation.in_proj_bias": "var_agg.in_proj_bias",
    "aggregation.out_proj.weight": "var_agg.out_proj.weight",
    "aggregation.out_proj.bias": "var_agg.out_proj.bias",
    "head.aggregation.query": "time_query",
    "head.aggregation.in_proj_weight": "time_agg.in_proj_weight",
    "head.aggregation.in_proj_bias": "time_agg.in_proj_bias",
    "head.aggregation.out_proj.weight": "time_agg.out_proj.weight",
    "head.aggregation.out_proj.bias": "time_agg.out_proj.bias",
    "head.linear.weight": "head.weight",
    "head.linear.bias": "head.bias",
}
"""Names that differ; every other parameter is called as in the official model."""

TOKEN_WEIGHT, TOKEN_BIAS = "tokenizer.weight", "tokenizer.bias"
"""Stored there as one convolution per variable (`serial`), or stacked (`parallel`)."""

OLD_NAMES = {"channel_embed": "var_embed", "channel_query": "var_query", "channel_agg": "var_agg"}
"""What older files call them."""


def from_official(
    source: str | os.PathLike[str] | Mapping[str, Any],
    variables: Sequence[str],
    num_heads: int,
    grid_shape: tuple[int, int] | None = None,
    aspect: int = 2,
    out_variables: Sequence[str] | None = None,
    **config: Any,
) -> ClimaX:
    """Build a ClimaX from an official checkpoint, strictly: a key too many or too few is an error that names it.

    Args:
        source: a path, or a state dict. Every published layout will do: tokens one by one or stacked, the old `channel_*` names, the prefix
            `net.`, a Lightning checkpoint or the bare state dict.
        variables: the names of its variables, in order: `OFFICIAL_VARIABLES` for the published ones.
        num_heads: heads, which the tensors do not tell.
        grid_shape: (H, W) of the grid to use it on; another than its own interpolates the position embedding. By default its own.
        aspect: columns over rows of its own grid of patches, which the tensors do not tell either.
        out_variables: of a projection checkpoint.
        config: further fields of `ClimaXConfig`, such as `dropout`.

    Raises:
        ValueError: when the file is not a checkpoint of ClimaX, or does not fit `variables`.
    """
    state = _official_state(source)
    read = _Reader(state)
    embedding = read("var_embed")
    if embedding.shape[1] != len(variables):
        raise ValueError(
            f"this checkpoint has {embedding.shape[1]} variables, and {len(variables)} names were given: name all, in order"
        )
    parallel = "token_embeds.proj_weights" in state
    if parallel:
        weight, bias = read("token_embeds.proj_weights"), read("token_embeds.proj_biases")
    else:
        count = range(len(variables))
        weight = torch.stack([read(f"token_embeds.{i}.proj.weight") for i in count])
        bias = torch.stack([read(f"token_embeds.{i}.proj.bias") for i in count])
    patch_size, width = weight.shape[-1], weight.shape[1]
    positions = read("pos_embed")
    rows = round((positions.shape[1] / aspect) ** 0.5)
    if rows * rows * aspect != positions.shape[1]:
        raise ValueError(
            f"{positions.shape[1]} patches do not make a map {aspect} times as wide as high: give another aspect"
        )
    own = (rows * patch_size, rows * aspect * patch_size)
    projection = "time_query" in state
    if projection and out_variables is None:
        raise ValueError("this is a projection checkpoint: name what it predicts with out_variables")
    net = ClimaX(
        ClimaXConfig(
            variables=tuple(variables),
            grid_shape=tuple(grid_shape or own),
            patch_size=patch_size,
            embed_dim=width,
            depth=_count(state, "blocks.{}.norm1.weight"),
            num_heads=num_heads,
            mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / width if "blocks.0.mlp.fc1.weight" in state else 4.0,
            head_depth=0 if projection else (sum(k.startswith("head.") for k in state) // 2 - 1),
            time_history=state["time_pos_embed"].shape[1] if projection else None,
            out_variables=tuple(out_variables) if projection and out_variables else None,
            **config,
        )
    )
    ours = {TOKEN_WEIGHT: weight.flatten(2), TOKEN_BIAS: bias}
    target = net.state_dict()
    for name, tensor in target.items():
        if name not in ours:
            ours[name] = read(RENAMED.get(name, name))
        if name == "pos_embed":
            ours[name] = interpolate_positions(ours[name], (rows, rows * aspect), net.config.patches)
        if ours[name].numel() != tensor.numel():
            raise ValueError(
                f"{RENAMED.get(name, name)} has shape {tuple(ours[name].shape)}, expected {tuple(tensor.shape)} for {name}"
            )
        ours[name] = ours[name].reshape(tensor.shape)
    read.finish()
    net.load_state_dict(ours)
    return net


def to_official(net: ClimaX, layout: str = "serial") -> dict[str, Tensor]:
    """The state dict under the official names, bit for bit; `layout` is `serial` (a convolution per variable) or `parallel` (stacked)."""
    if layout not in ("serial", "parallel"):
        raise ValueError(f"expected layout 'serial' or 'parallel', got {layout!r}")
    p = net.config.patch_size
    out: dict[str, Tensor] = {}
    for name, tensor in net.state_dict().items():
        tensor = tensor.detach().clone()
        if name == TOKEN_WEIGHT:
            kernels = tensor.unflatten(-1, (p, p))[:, :, None]
            out |= {"token_embeds.proj_weights": kernels} if layout == "parallel" else _numbered(kernels, "weight")
        elif name == TOKEN_BIAS:
            out |= {"token_embeds.proj_biases": tensor} if layout == "parallel" else _numbered(tensor, "bias")
        elif name == "tokenizer.embedding":
            out[RENAMED[name]] = tensor[None]
        elif name.endswith("aggregation.query"):
            out[RENAMED[name]] = tensor[None, None]
        else:
            out[RENAMED.get(name, name)] = tensor
    return out


def save(net: ClimaX, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write weights and configuration, and whatever JSON `metadata` adds, into one safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    path = Path(path)
    header = {"format": "climax-lite 1", "config": dataclasses.asdict(net.config), **(metadata or {})}
    part = path.with_name(path.name + ".part")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, part, {"climax_lite": json.dumps(header)})
    os.replace(part, path)


def load(path: str | os.PathLike[str], **config: Any) -> tuple[ClimaX, dict[str, Any]]:
    """Read what `save` wrote: the network and the metadata. `config` changes fields such as `dropout` or `encoder`.

    Raises:
        ValueError: when the file is not one of ours, or not whole.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["climax_lite"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint of climax_lite ({type(error).__name__}: {error})"
        ) from error
    net = ClimaX(ClimaXConfig(**{**header.pop("config"), **config}))
    _load_strictly(net, state, str(path))
    return net, header


def _load_strictly(net: ClimaX, state: Mapping[str, Tensor], what: str) -> None:
    expected = net.state_dict()
    missing, left = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    wrong = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or left or wrong:
        raise ValueError(
            f"{what} does not fit its configuration: missing {missing}, left over {left}, of another shape {wrong}"
        )
    net.load_state_dict(dict(state))


class _Reader:
    """Hands out tensors by their official name, and knows what nobody asked for."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state, self.left = state, set(state)

    def __call__(self, name: str) -> Tensor:
        if name not in self.state:
            near = sorted(k for k in self.state if k.split(".")[0] == name.split(".")[0])[:5]
            raise ValueError(
                f"the checkpoint has no {name!r}; of its kind it has {near or 'nothing'}: is it a whole checkpoint of ClimaX?"
            )
        self.left.discard(name)
        return self.state[name]

    def finish(self) -> None:
        if self.left:
            raise ValueError(
                f"the checkpoint holds {len(self.left)} tensors that ClimaX does not have: {sorted(self.left)[:8]}"
            )


def _official_state(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """A bare state dict with today's official names."""
    if not isinstance(source, Mapping):
        try:
            source = torch.load(source, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise ValueError(f"there is no file {source}") from None
        except Exception as error:
            raise ValueError(
                f"{source} cannot be read as a checkpoint ({type(error).__name__}: {str(error).splitlines()[0]}): "
                "it may be truncated, so fetch it again, or hold code, which is never run"
            ) from error
        if not isinstance(source, Mapping):
            raise ValueError(f"expected a state dict or a Lightning checkpoint, got {type(source).__name__}")
    state = source.get("state_dict", source)
    state = {k.removeprefix("net."): v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise ValueError(f"expected tensors in the checkpoint, got none among {sorted(map(str, source))[:8]}")
    renamed = {}
    for key, value in state.items():
        first, dot, rest = key.partition(".")
        renamed[OLD_NAMES.get(first, first) + dot + rest] = value
    return renamed


def _numbered(stacked: Tensor, kind: str) -> dict[str, Tensor]:
    return {f"token_embeds.{i}.proj.{kind}": tensor.clone() for i, tensor in enumerate(stacked)}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    n = 0
    while pattern.format(n) in state:
        n += 1
    return n
