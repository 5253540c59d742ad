"""Climate projection (Nguyen et al. 2023, section 4.4; ClimateBench, Watson-Parris et al. 2022).

From ten years of forcings to the annual means of the tenth: `ClimateEmulator` is a network that does it, in physical units; `train`
makes one, `baselines` what it has to beat, `score` ClimateBench's scores over the last third of a run that nobody has learned from.

Forcings of the simulated runs are carbon dioxide and a map of haze, which plays sulphur dioxide and black carbon. Methane is left out: the
simulator's radiation does not know it. The runs are compressed (2.43 years of forcing in each year from 2015 on), so that the last third of
35 years, twelve of them, is what ClimateBench calls 2071 to 2100; it scores 2080 to 2100.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .. import metrics
from ..checkpoints import load
from ..data import ProjectionSamples, Scaling, archives, by_run, scenario_runs, scenarios
from ..data.projection import CLIMATE, Runs, change_attrs
from ..emulators import GaussianProcess, GlobalMeanRegression, PatternScaling, global_mean, joined
from ..grid import Grid
from ..model import ClimaX, ClimaXConfig
from ..model.adapt import for_projection, on_grid_shape, with_config
from ..model.recurrent import CNNLSTM, CNNLSTMConfig
from ..predictor import Predictor
from ..regrid import regrid
from ..train import DataModule, Net, Optimisation, Run, apply_policy, claim, fit
from .settings import TEST, Projection

CLIMATEBENCH_RUNS = ("historical", "hist-GHG", "hist-aer", "ssp126", "ssp245", "ssp370", "ssp585")
"""Those that the paper learns from, and the test run."""

TEMPERATURE = CLIMATE[0]

Emulator = Callable[[xr.Dataset], xr.Dataset]
"""Forcings (time, lat, lon) → annual maps of the years that it can say something about."""


class ClimateEmulator(Predictor):
    """A network from years of forcings to annual maps, with the numbers that normalise both.

    Attributes:
        net: takes (B, T, V, H, W): a ClimaX with a pooled head, or a `CNNLSTM`.
        forcings, climate: mean and deviation of each variable over the training runs.
        grid: of the maps.
    """

    kind = "climate emulator"

    def __init__(
        self, net: nn.Module, forcings: Scaling, climate: Scaling, grid: Grid, about: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(net, about)
        self.forcings, self.climate, self.grid = forcings, climate, grid
        forcings.arrays(self.config.variables)  # raises for a variable without numbers
        climate.arrays(self.config.out_variables)
        if grid.shape != tuple(self.config.grid_shape):
            raise ValueError(
                f"expected a grid of {tuple(self.config.grid_shape)} cells, as the network, got {grid.shape}"
            )

    def forward(self, x: Tensor, lead_hours: Tensor, variables: Sequence[str], out_variables: Sequence[str]) -> Tensor:
        """Normalised forcings (B, T, V, H, W) → normalised climate (B, V_out, H, W)."""
        return self.net(x, lead_hours, variables, out_variables)

    @torch.no_grad()
    def project(self, forcings: xr.Dataset, batch_size: int = 16) -> xr.Dataset:
        """Annual maps, in physical units, of every year that has a whole window of forcings up to it.

        Args:
            forcings: (time, lat, lon), physical; consecutive years.
            batch_size: windows at a time.

        Raises:
            ValueError: when a forcing is missing, the grid is another, or no window is whole.
        """
        names, history = self.config.variables, self.config.time_history
        if missing := [n for n in names if n not in forcings]:
            have = ", ".join(map(str, forcings.data_vars))
            raise ValueError(f"this emulator needs {', '.join(names)}; {', '.join(missing)} is not among {have}")
        if forcings.sizes["time"] < history:
            raise ValueError(f"expected {history} years of forcings or more, got {forcings.sizes['time']}")
        there = Grid.from_dataset(forcings)
        if there.shape != self.grid.shape or not np.allclose(
            [*there.lat, *there.lon], [*self.grid.lat, *self.grid.lon]
        ):
            raise ValueError(
                f"expected the grid of the training runs, {self.grid.shape}, got {there.shape}: regrid first"
            )
        known = self.forcings.apply(forcings[list(names)])
        x = np.stack([known[n].transpose("time", "lat", "lon").values for n in names], axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(x, history, axis=0).transpose(0, 4, 1, 2, 3)
        was_training = self.training
        self.eval()
        device = next(self.parameters()).device
        parts = []
        for first in range(0, len(windows), batch_size):
            batch = torch.from_numpy(windows[first : first + batch_size].astype(np.float32)).to(device)
            lead = torch.zeros(len(batch), device=device)
            parts.append(self(batch, lead, names, self.config.out_variables).float().cpu().numpy())
        self.train(was_training)
        values = np.concatenate(parts)
        maps = {v: (("time", "lat", "lon"), values[:, i]) for i, v in enumerate(self.config.out_variables)}
        years = forcings["time"].isel(time=slice(history - 1, None))
        out = self.climate.invert(xr.Dataset(maps, {"time": years, "lat": forcings["lat"], "lon": forcings["lon"]}))
        for v in out.data_vars:
            out[v].attrs = change_attrs(str(v))
        return out

    def header(self) -> dict[str, Any]:
        """The numbers that normalise, and the grid."""
        return {
            "forcings": dataclasses.asdict(self.forcings),
            "climate": dataclasses.asdict(self.climate),
            "grid": [self.grid.lat.tolist(), self.grid.lon.tolist()],
        }

    @classmethod
    def remake(cls, net: nn.Module, header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> ClimateEmulator:
        """An emulator from what its file tells."""
        forcings, climate = (Scaling(**header[k]) for k in ("forcings", "climate"))
        lat, lon = header["grid"]
        return cls(net, forcings, climate, Grid(np.array(lat), np.array(lon)), header["about"])


# ---------------------------------------------------------------- runs


def open_runs(source: str = "scenarios") -> tuple[Runs, str]:
    """The runs to work on, and the name of what made them.

    Args:
        source: `scenarios`, the embedded runs of the simulated world but the control and the doubling, or a folder with the files of
            ClimateBench, whose fields are put on 32 × 64 cells.

    Raises:
        ValueError: for another source.
    """
    if source == "scenarios":
        return scenarios(r for r in scenario_runs() if r.startswith(("hist", "ssp"))), source
    if found := {p.stem.removeprefix("inputs_") for p in Path(source).rglob("inputs_*.nc")}:
        each = {r: archives.open_climatebench(source, r) for r in CLIMATEBENCH_RUNS if r in found}
        grid = Grid.regular(32, 64)
        return {r: (regrid(x, grid), regrid(y, grid)) for r, (x, y) in each.items()}, "ClimateBench"
    raise ValueError(f"expected source 'scenarios' or a folder with ClimateBench's inputs_*.nc, got {source!r}")


def at_its_years(runs: Runs) -> Runs:
    """Forcings at the years of the climate alone, for emulators that remember no year before."""
    return {r: (x.sel(time=y["time"]), y) for r, (x, y) in runs.items()}


# ---------------------------------------------------------------- networks


def train(settings: Projection, runs: Runs | None = None) -> ClimateEmulator:
    """An emulator from its settings; a stopped run goes on. `runs` hands in others than those of `settings.source`.

    Raises:
        ValueError: for a run that is not there, a checkpoint that cannot be adapted, or a folder with a network that learned from others.
    """
    claim(settings)
    runs, source = (runs, "given") if runs is not None else open_runs(settings.source)
    held_out = [r for r in (settings.test, settings.validation) if r]
    learn, _ = by_run(runs, held_out)
    emulator = untrained(settings, {r: runs[r] for r in learn})
    emulator.about = {
        "task": "projection",
        "source": source,
        "runs": list(learn),
        "settings": dataclasses.asdict(settings),
    }
    if settings.architecture == "climax":
        apply_policy(emulator, settings.policy)  # type: ignore[arg-type]
    samples = [windows(emulator, runs, names) if names else None for names in (learn, held_out[1:])]
    validation = samples[1]
    o = settings.run
    data = DataModule({"projection": samples[0]}, validation, o.batch_size, 1.0, o.seed, o.workers)  # type: ignore[dict-item, arg-type]
    trained = fit(emulator, data, settings.optimisation, o, emulator.grid, keep_best=validation is not None)
    if (had := trained.about.get("runs")) != list(learn):
        raise ValueError(
            f"{o.out} holds a network that learned from {had}, not from {list(learn)}: give another run.out"
        )
    return trained


def untrained(settings: Projection, runs: Runs) -> ClimateEmulator:
    """The network before its first step, with the normalisation of the training runs."""
    torch.manual_seed(settings.run.seed)
    grid = Grid.from_dataset(next(iter(runs.values()))[1])
    forcings, climate = (Scaling.fit(pair[i] for pair in runs.values()) for i in (0, 1))
    names, out = tuple(forcings.mean), tuple(climate.mean)
    net: nn.Module
    if settings.architecture == "cnn-lstm":
        net = CNNLSTM(CNNLSTMConfig(names, out, grid.shape, settings.history))
    elif settings.checkpoint:
        start = load(settings.checkpoint).net
        if not isinstance(start, ClimaX):
            raise ValueError(
                f"expected a checkpoint of ClimaX, got one of {type(start).__name__}: train that from scratch"
            )
        net = for_projection(on_grid_shape(start, grid.shape), names, out, settings.history)
        net = with_config(net, dropout=settings.dropout, drop_path=settings.drop_path)
    else:
        size = {k: getattr(settings.net, k) for k in ("patch_size", "embed_dim", "depth", "num_heads", "checkpointing")}
        config = ClimaXConfig(names, grid.shape, time_history=settings.history, out_variables=out, **size)
        net = ClimaX(dataclasses.replace(config, dropout=settings.dropout, drop_path=settings.drop_path))
    return ClimateEmulator(net, forcings, climate, grid)


def windows(emulator: ClimateEmulator, runs: Runs, names: Sequence[str]) -> ProjectionSamples:
    """The normalised windows of some runs."""
    known = {r: (emulator.forcings.apply(runs[r][0]), emulator.climate.apply(runs[r][1])) for r in names}
    return ProjectionSamples.of(known, emulator.config.time_history, "projection")


# ---------------------------------------------------------------- what has to be beaten


def baselines(runs: Runs, seed: int = 0) -> dict[str, Emulator]:
    """Emulators that are fitted in seconds, on the runs to learn from; all but the first are as ClimateBench has them.

    `no change` is the climate of the control; `pattern scaling` knows carbon dioxide alone, as there; `pattern scaling, haze` knows the
    global means of all forcings; `Gaussian process` knows patterns of them.
    """
    now = at_its_years(runs)
    x, y = (joined({r: pair[i] for r, pair in now.items()}) for i in (0, 1))
    co2 = ["CO2"] if "CO2" in x else [str(v) for v in x.data_vars][:1]
    return {
        "no change": lambda forcing: _zeros(forcing, y),
        "global mean": GlobalMeanRegression.fit(x, y, co2),
        "pattern scaling": PatternScaling.fit(x, y, co2, TEMPERATURE),
        "pattern scaling, haze": PatternScaling.fit(x, y, temperature=TEMPERATURE),
        "Gaussian process": GaussianProcess.fit(x, y, seed=seed, restarts=0),
    }


def _zeros(forcing: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    one = xr.zeros_like(like.isel(time=0, drop=True))
    return one.expand_dims(time=forcing["time"]).transpose("time", "lat", "lon").astype("float32")


# ---------------------------------------------------------------- scores


def last_third(climate: xr.Dataset) -> xr.Dataset:
    """The years that are scored: twelve of 35."""
    return climate.isel(time=slice(-round(climate.sizes["time"] / 3), None))


def score(prediction: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """ClimateBench's scores over the last third of a run: NRMSE_s, NRMSE_g and their total, along `metric`.

    All three are divided by the size of the target's global mean, so a variable whose mean hardly changes has large ones. (ClimateBench
    has no absolute value there, and its diurnal range a mean below zero: the sign of a score then says nothing.)

    Args:
        prediction: maps of at least the years that are scored.
        truth: the whole run.
    """
    truth = last_third(truth)
    names = [str(v) for v in truth.data_vars]
    prediction = prediction[names].sel(time=truth["time"]).drop_vars("scenario_year", errors="ignore")
    truth = truth.drop_vars("scenario_year", errors="ignore")
    size = abs(global_mean(truth).mean("time"))
    each = [f(prediction, truth, normalizer=size) for f in (metrics.nrmse_s, metrics.nrmse_g, metrics.nrmse)]
    return xr.concat(each, xr.DataArray(["NRMSE_s", "NRMSE_g", "total"], dims="metric", name="metric"))


def noise_floor(truth: xr.Dataset) -> xr.Dataset:
    """What an emulator that knew the forced climate exactly would score on average: a run, or a mean of members, has weather.

    The weather of a year is taken to be its departure from a straight line through the last third, independent from year to year. With the
    variance s² of a cell, the mean of n years is off by s²/n (NRMSE_s); a year's global mean by its own variance (NRMSE_g). What lasts for
    years, such as a run that warms early, is missed: the spread of members knows it.
    """
    truth = last_third(truth).drop_vars("scenario_year", errors="ignore")
    n, mean = truth.sizes["time"], global_mean(truth)
    size = abs(mean.mean("time"))
    spatial = (global_mean(_variance(truth)) / n) ** 0.5 / size
    in_time = _variance(mean) ** 0.5 / size
    each = [spatial, in_time, spatial + 5 * in_time]
    return xr.concat(each, xr.DataArray(["NRMSE_s", "NRMSE_g", "total"], dims="metric", name="metric"))


def _variance(field: xr.Dataset) -> xr.Dataset:
    """Variance about the straight line in time, unbiased."""
    n = field.sizes["time"]
    t = xr.DataArray(np.arange(n) - (n - 1) / 2, dims="time", coords={"time": field["time"]})
    slope = (field * t).sum("time") / float((t**2).sum())
    return ((field - field.mean("time") - slope * t) ** 2).sum("time") / (n - 2)


# ---------------------------------------------------------------- the table


def arms(steps: int = 200, batch_size: int = 8) -> dict[str, Projection]:
    """The networks of the table, all with the same windows, steps and batches.

    The learning rate of every ClimaX is the paper's; the small network's, ten times as high, was set by hand on an energy balance model.
    What pretraining is worth shows twice: tuned in full against from scratch, and frozen against a new network whose attention and MLPs
    are frozen as they were drawn.
    """
    run = Run(batch_size=batch_size, validate_every=0, save_every=10**9, progress=False)
    tuned = Projection(
        optimisation=Optimisation(steps=steps, learning_rate=5e-4, warmup_steps=steps // 10, weight_decay=1e-5), run=run
    )
    new = dataclasses.replace(tuned, checkpoint="", policy="full", net=Net())
    return {
        "ClimaX, frozen": tuned,
        "ClimaX, full": dataclasses.replace(tuned, policy="full"),
        "ClimaX, scratch": new,
        "ClimaX, frozen at random": dataclasses.replace(new, policy="frozen"),
        "CNN-LSTM": dataclasses.replace(
            new,
            architecture="cnn-lstm",
            optimisation=dataclasses.replace(tuned.optimisation, learning_rate=5e-3),
        ),
    }


def results(
    seed: int = 0,
    runs: Runs | None = None,
    source: str = "scenarios",
    *,
    test: str = TEST,
    networks: Mapping[str, Projection] | None = None,
    keep: Callable[[str, xr.Dataset], None] | None = None,
    folder: Path | None = None,
) -> list[dict[str, Any]]:
    """The rows of the table of results: task, variable, lead, metric, model, seed, score.

    Args:
        seed: of the networks.
        runs: those to learn from and `test`; by default `open_runs(source)`.
        source: see there.
        test: the run that is scored.
        networks: name → settings; by default `arms()`.
        keep: called with the name and the projection of each model, for figures.
        folder: where trained networks are kept and found again; by default nowhere.

    Returns:
        One row for each variable, metric and model. `low` and `high` are None: there is one test run, and years of it are no sample; the
        spread is that of the seeds, and `noise floor` says what its weather leaves open.
    """
    if runs is None:
        runs, source = open_runs(source)
    learn, _ = by_run(runs, [test])
    forcing, truth = runs[test]
    rows: list[dict[str, Any]] = []

    def scored(name: str, scores: xr.Dataset) -> None:
        for v, metric in _pairs(scores):
            value = float(scores[v].sel(metric=metric))
            rows.append(
                {"task": "projection", "source": source, "run": test, "variable": v, "lead": None, "metric": metric,
                 "model": name, "seed": seed, "score": value, "low": None, "high": None}
            )  # fmt: skip

    scored("noise floor", noise_floor(truth))
    for name, emulator in baselines({r: runs[r] for r in learn}, seed).items():
        found = emulator(forcing.sel(time=truth["time"]))
        scored(name, score(found, truth))
        if keep:
            keep(name, found)
    for name, settings in (arms() if networks is None else networks).items():
        with tempfile.TemporaryDirectory() as passing:
            out = passing if folder is None else folder / f"{name}, {seed}"
            run = dataclasses.replace(settings.run, out=str(out), seed=seed)
            emulator = train(dataclasses.replace(settings, run=run, test=test), runs)
        found = emulator.project(forcing).sel(time=truth["time"])
        scored(name, score(found, truth))
        if keep:
            keep(name, found)
    return rows


def _pairs(scores: xr.Dataset) -> Iterator[tuple[str, str]]:
    for v in map(str, scores.data_vars):
        for metric in map(str, scores["metric"].values):
            yield v, metric
