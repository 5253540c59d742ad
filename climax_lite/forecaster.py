"""A forecaster: a ClimaX, and what turns its output into a forecast. The network itself stays the paper's.

Two forms. **Full state**, as the paper: x̂(t+Δt) = net(x(t), Δt), both normalised with the source's mean and deviation. **Anomalies with a
damped-persistence skip**, which learns far more from little data: x′ is the departure from the source's climatology in units of its own
deviation, and

    x̂′(t+Δt) = a·x′(t) + √(1 − a²)·net(x′(t), Δt),   a = exp(−Δt / τ_v),

with one learned τ per variable. Without the network this is the forecast of a first-order autoregressive process, and √(1 − a²) the size of
what such a process leaves open; so the network is asked for numbers of order one at six hours as at seven days.

B batch, V variables, H W latitude × longitude, L patches.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .data.normalize import Climatology, Normalizer, Statistics
from .model import ClimaX, ClimaXConfig
from .model.tokenize import cells
from .variables import variable

FORMAT = "climax-lite forecaster 1"
INITIAL_TAU_HOURS = 60.0


class Forecaster(nn.Module):
    """A ClimaX with its normalisation.

    Attributes:
        net: the network.
        anomalies: whether the fields are anomalies from the climatology (else the full state, as the paper).
        log_tau: (V,) log of the damping time in hours of each variable that `net` knows; None without the skip.
        statistics: of the world it makes forecasts of, on the grid of the network; None before it has been fine-tuned on one.
        about: what else its file tells: sources and their versions, seed, steps, scores. Plain JSON.
    """

    def __init__(
        self,
        net: ClimaX,
        anomalies: bool = True,
        skip: bool = True,
        statistics: Statistics | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if skip and not anomalies:
            raise ValueError("the damped-persistence skip needs anomalies: a full state does not decay to its mean")
        self.net = net
        self.anomalies = anomalies
        known = len(net.config.variables)
        self.log_tau = nn.Parameter(torch.full((known,), float(np.log(INITIAL_TAU_HOURS)))) if skip else None
        self.statistics = statistics
        self.about = dict(about or {})

    @property
    def config(self) -> ClimaXConfig:
        """The network's."""
        return self.net.config

    @property
    def normalizer(self) -> Normalizer:
        """From physical values to what the network takes, and back.

        Raises:
            ValueError: when this forecaster has no statistics yet.
        """
        if self.statistics is None:
            raise ValueError(
                "this forecaster was pretrained on many worlds and has the statistics of none: fine-tune it, or set "
                "`forecaster.statistics = climax_lite.data.statistics(name, grid=...)` of the world it is to forecast"
            )
        return Normalizer(self.statistics, self.anomalies)

    def damping(self, lead_hours: Tensor, out_variables: Sequence[str]) -> Tensor:
        """a = exp(−Δt/τ_v): (B, V_out), zero without the skip."""
        if self.log_tau is None:
            return lead_hours.new_zeros(len(lead_hours), len(out_variables))
        tau = self.log_tau.exp()[[self.config.variables.index(v) for v in out_variables]]
        return torch.exp(-lead_hours[:, None] / tau)

    def forward(
        self,
        x: Tensor,
        lead_hours: Tensor,
        variables: Sequence[str],
        out_variables: Sequence[str],
        patch_ids: Sequence[int] | None = None,
    ) -> Tensor:
        """Normalised fields (B, V, H, W) → normalised forecasts (B, V_out, H, W), or those of the rectangle `patch_ids`.

        A variable that is asked for and not given has no skip: nothing of it is known.
        """
        out = self.net(x, lead_hours, variables, out_variables, patch_ids)
        if self.log_tau is None:
            return out
        a = self.damping(lead_hours, out_variables) * torch.tensor(
            [float(v in variables) for v in out_variables], device=x.device
        )
        a = a[:, :, None, None].to(out.dtype)
        given = x[:, [list(variables).index(v) if v in variables else 0 for v in out_variables]]
        if patch_ids is not None:
            given = cells(given, patch_ids, self.config.patches[1], self.config.patch_size)
        return a * given + (1 - a**2).clamp(min=0).sqrt() * out

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Write everything into one safetensors file, whole or not at all; `dtype` is that of the stored weights.

        float16 halves the file at a relative error of 5e-4 in each weight; the loaded model computes in float32 again.
        """
        from safetensors.torch import save_file

        tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in self.state_dict().items()}
        header: dict[str, Any] = {
            "format": FORMAT,
            "config": dataclasses.asdict(self.config),
            "anomalies": self.anomalies,
            "skip": self.log_tau is not None,
            "about": self.about,
        }
        if self.statistics is not None:
            header["statistics"], packed = _pack(self.statistics)
            tensors |= packed
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            save_file(tensors, part, {"climax_lite": json.dumps(header)})
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **config: Any) -> Forecaster:
        """Read what `save` wrote. `config` changes fields of `ClimaXConfig` such as `dropout` or `encoder`.

        Raises:
            ValueError: when the file is not one of ours, or not whole.
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
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path}: expected a file of format {FORMAT!r}, got {header.get('format')!r}: "
                "a bare network is read by climax_lite.model.load"
            )
        statistics = _unpack(header["statistics"], tensors) if "statistics" in header else None
        net = ClimaX(ClimaXConfig(**{**header["config"], **config}))
        forecaster = cls(net, header["anomalies"], header["skip"], statistics, header["about"])
        weights = {k: v.float() for k, v in tensors.items() if not k.startswith("climatology.")}
        expected = forecaster.state_dict()
        if wrong := sorted(
            {*expected} ^ {*weights} | {k for k in {*expected} & {*weights} if expected[k].shape != weights[k].shape}
        ):
            raise ValueError(f"{path} does not fit its own configuration: missing, left over or misshapen {wrong[:8]}")
        forecaster.load_state_dict(weights)
        return forecaster.eval()


# ---------------------------------------------------------------- statistics in the file


def _pack(s: Statistics) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers as JSON; the climatology as float16 in units of each variable's deviation, which costs a two-thousandth of it."""
    header: dict[str, Any] = {
        "variables": s.variables,
        "mean": s.mean.tolist(),
        "std": s.std.tolist(),
        "anomaly_std": s.anomaly_std.tolist(),
        "period": s.period,
        "sha256": s.sha256,
        "source": s.source,
    }
    if s.climatology is None:
        return header, {}
    c = s.climatology.coefficients
    header |= {k: c[k].values.tolist() for k in ("hour", "lat", "lon")}
    tensors = {}
    for v in map(str, c.data_vars):
        values = c[v].values.astype(np.float64)
        values[:, 0] -= s.mean[s.variables.index(v)]
        tensors[f"climatology.{v}"] = torch.from_numpy(values / _unit(s.std, s.variables, v)).half()
    return header, tensors


def _unpack(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Statistics:
    variables = tuple(header["variables"])
    mean, std, anomaly_std = (np.array(header[k]) for k in ("mean", "std", "anomaly_std"))
    climatology = None
    if "hour" in header:
        data = {}
        for v in variables:
            if f"climatology.{v}" in tensors:
                values = tensors[f"climatology.{v}"].double().numpy() * _unit(std, variables, v)
                values[:, 0] += mean[variables.index(v)]
                data[v] = (("hour", "harmonic", "lat", "lon"), values.astype(np.float32), variable(v).attrs)
        climatology = Climatology(xr.Dataset(data, {k: np.array(header[k]) for k in ("hour", "lat", "lon")}))
    return Statistics(
        variables,
        mean,
        std,
        anomaly_std,
        climatology,
        tuple(header["period"]),
        header["sha256"],
        header["source"],
    )


def _unit(std: np.ndarray, variables: Sequence[str], name: str) -> float:
    return float(std[list(variables).index(name)]) or 1.0
