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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .data.forecast import Record
from .data.normalize import Climatology, Normalizer, Statistics
from .grid import Grid, Region
from .grid import region as find_region
from .model.tokenize import cells
from .predictor import Predictor
from .variables import variable

INITIAL_TAU_HOURS = 60.0
"""Where τ starts without data: a middling weather variable."""

TAU_LAGS = (24, 72, 168)
"""Hours at which τ is read off a record's autocorrelation."""


class Forecaster(Predictor):
    """A ClimaX, or another network that is called as one, with its normalisation.

    Attributes:
        net: the network.
        anomalies: whether the fields are anomalies from the climatology (else the full state, as the paper).
        log_tau: (V,) log of the damping time in hours of each variable that `net` knows; None without the skip.
        statistics: of the world it makes forecasts of, on `grid`; None before it has been fine-tuned on one.
        about: what else its file tells: sources and their versions, seed, steps, scores. Plain JSON.
        grid: of what it takes.
        region: where it forecasts: the patches that cover this box; None for all of `grid`.
        window: (after, until) in hours, when it forecasts the mean over that time; the lead time it is told is then the middle.
    """

    kind = "forecaster"

    def __init__(
        self,
        net: nn.Module,
        anomalies: bool = True,
        skip: bool = True,
        statistics: Statistics | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        grid: Grid | None = None,
        region: str | Region | None = None,
        window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(net, about)
        if skip and not anomalies:
            raise ValueError("the damped-persistence skip needs anomalies: a full state does not decay to its mean")
        self.anomalies = anomalies
        known = len(self.config.variables)
        self.log_tau = nn.Parameter(torch.full((known,), float(np.log(INITIAL_TAU_HOURS)))) if skip else None
        self.statistics = statistics
        self.grid = grid or Grid.regular(*self.config.grid_shape)
        if self.grid.shape != self.config.grid_shape:
            raise ValueError(
                f"expected a grid of {self.config.grid_shape} cells, as the network, got {self.grid.shape}"
            )
        self.region = find_region(region) if region else None
        self.window = window
        size = self.config.patch_size
        self.patch_ids: list[int] | None = (
            self.grid.patch_ids(self.region, size, cover=True).tolist() if self.region else None
        )

    @property
    def out_grid(self) -> Grid:
        """Of what it forecasts: the cells of the region's patches, or `grid`. Longitudes are those of `grid`."""
        if self.patch_ids is None:
            return self.grid
        rows, cols = self.grid.patch_cells(self.patch_ids, self.config.patch_size)
        return Grid(self.grid.lat[rows], self.grid.lon[cols])

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

    @torch.no_grad()
    def fit_damping(self, records: Iterable[Record], variables: Sequence[str] | None = None) -> None:
        """Start τ from records of anomalies: exp(−Δt/τ) is to be their autocorrelation at lags of one, three and seven days.

        What damped persistence can do is then there from the first step, for the sea that remembers for months as for the wind; gradient
        descent on log τ would need thousands of steps to get from one to the other. Several records, and lags, are averaged in log τ.

        Args:
            records: normalised; those too short for a lag do without it.
            variables: which of the network's to set; by default all that change in time in one of the records.
        """
        if self.log_tau is None:
            return
        found: dict[str, list[np.ndarray]] = {}
        for record in records:
            for lag in (h for h in TAU_LAGS if h <= record.hours[-1]):
                r = record.autocorrelation(lag).clip(0.01, 0.999)
                for v, tau in zip(record.variables, np.log(-lag / np.log(r)), strict=True):
                    found.setdefault(v, []).append(tau)
        for i, v in enumerate(self.config.variables):
            if v in found and (variables is None or v in variables):
                self.log_tau[i] = float(np.mean(found[v]))

    def forward(
        self,
        x: Tensor,
        lead_hours: Tensor,
        variables: Sequence[str],
        out_variables: Sequence[str],
        patch_ids: Sequence[int] | None = None,
    ) -> Tensor:
        """Normalised fields (B, V, H, W) → normalised forecasts (B, V_out, H, W), or those of the rectangle `patch_ids`.

        A variable that is asked for and not given has no skip: nothing of it is known. Without `patch_ids`, those of the region.
        """
        patch_ids = self.patch_ids if patch_ids is None else patch_ids
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

    def header(self) -> dict[str, Any]:
        """Form, statistics, and what is forecast where."""
        box = self.region
        return {
            "anomalies": self.anomalies,
            "skip": self.log_tau is not None,
            "grid": [self.grid.lat.tolist(), self.grid.lon.tolist()],
            "region": [box.south, box.north, box.west, box.east] if box else None,
            "window": self.window,
            "statistics": _numbers(self.statistics) if self.statistics else None,
        }

    def arrays(self) -> dict[str, Tensor]:
        """The climatology as float16 in units of each variable's deviation, which costs a two-thousandth of it."""
        return _pack(self.statistics) if self.statistics else {}

    @classmethod
    def remake(cls, net: nn.Module, header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Forecaster:
        """A forecaster from what its file tells."""
        statistics, grid, box, window = (header.get(k) for k in ("statistics", "grid", "region", "window"))
        return cls(
            net,
            header["anomalies"],
            header["skip"],
            _unpack(statistics, arrays) if statistics else None,
            header["about"],
            grid=Grid(*map(np.array, grid)) if grid else None,
            region=Region(*box) if box else None,
            window=(window[0], window[1]) if window else None,
        )


# ---------------------------------------------------------------- statistics in the file


def _numbers(s: Statistics) -> dict[str, Any]:
    header: dict[str, Any] = {
        "variables": s.variables,
        "mean": s.mean.tolist(),
        "std": s.std.tolist(),
        "anomaly_std": s.anomaly_std.tolist(),
        "period": s.period,
        "sha256": s.sha256,
        "source": s.source,
    }
    if s.climatology is not None:
        header |= {k: s.climatology.coefficients[k].values.tolist() for k in ("hour", "lat", "lon")}
    return header


def _pack(s: Statistics) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if s.climatology is None:
        return tensors
    c = s.climatology.coefficients
    for v in map(str, c.data_vars):
        values = c[v].values.astype(np.float64)
        values[:, 0] -= s.mean[s.variables.index(v)]
        tensors[f"climatology.{v}"] = torch.from_numpy(values / _unit(s.std, s.variables, v)).half()
    return tensors


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
