"""Scorecards: forecasters and baselines on the same initial times, with intervals that know that the weather of neighbouring days is one.

A forecast is scored at every initial time apart, and these scores are kept: their mean is the score, the block bootstrap over them its
interval, and the difference of two forecasts' scores at the same times (`compare`) says which is better long before two intervals part.
"""

from __future__ import annotations

import copy
import csv
import datetime
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from . import metrics as scores_of
from .baselines import AnomalyPersistence, DampedPersistence, LinearModel, persistence
from .data import Climatology, sources, statistics
from .data.normalize import on_grid
from .forecaster import Forecaster
from .grid import Grid, Region
from .inference import bar, forecast, later
from .variables import variable
from .variables import variables as look_up

Baseline = Callable[[xr.Dataset, float], xr.Dataset]
"""Initial states (time, lat, lon) and a lead time in hours → the forecast, labelled by the initial times (`climax_lite.baselines`)."""

HEADLINE = ("geopotential_500", "temperature_850", "2m_temperature", "10m_u_component_of_wind")
"""What the paper scores in global forecasting."""

BASELINES = ("persistence", "climatology", "damped persistence", "linear model")
"""By name; the last two learn from the training part, and the linear model takes a few seconds for it."""

METRICS: dict[str, Callable[[xr.DataArray, xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "rmse": lambda p, t, c: scores_of.rmse(p, t, over=()),
    "mse": lambda p, t, c: scores_of.mse(p, t, over=()),
    "bias": lambda p, t, c: scores_of.bias(p, t, over=()),
    "acc": lambda p, t, c: scores_of.acc(p, t, c, over=()),
}
"""Each takes prediction, truth and climatology (..., time, lat, lon) and gives one number for each time and whatever else there is.

Averaged over times, `rmse` is ClimaX's (the root first); the root of the mean `mse` is WeatherBench's pooled one.
"""

SPREAD_HOURS = 240
"""What is added to the lead time for the length of a block: see `block_length`."""

FEWEST_BLOCKS = 4
"""Fewer make no interval: it would be far too narrow, and is given as NaN."""


MOST_TIMES = 8766
"""Times of the training part that the factors of damped persistence are fitted on: six years of 6-hourly states tell a correlation
to a hundredth, and a longer record need not be held in memory for it."""


def evaluate(
    models: Forecaster | Baseline | Mapping[str, Forecaster | Baseline],
    source: str = "reference",
    split: str = "test",
    leads: Sequence[float] = (6, 24, 72, 120, 168),
    variables: Sequence[str] | None = None,
    metrics: Sequence[str] = ("rmse", "acc", "bias"),
    every_hours: int = 30,
    *,
    baselines: Sequence[str] = BASELINES[:3],
    region: str | Region | None = None,
    window: tuple[int, int] | None = None,
    grid_shape: tuple[int, int] | None = None,
    method: str = "direct",
    step_hours: float | None = None,
    batch_size: int = 16,
    autocast: Any = None,
    progress: bool = False,
) -> xr.Dataset:
    """Score forecasts against a split of a source, beside baselines that know its training part.

    The initial times are those of the split, `every_hours` apart, whose valid times lie in the split at every lead time: all lead
    times are scored on the same initial times, so that a curve over lead time does not bend because other weather is under it. The
    default of 30 hours brings each of the four times of day in turn.

    Args:
        models: one or several by name; what is called as a baseline is, or a `Forecaster`. One without statistics gets those of the
            source's training part.
        source, split: as `climax_lite.data.split` takes them.
        leads: lead times in hours.
        variables: names or aliases; by default those of `HEADLINE` that the source has.
        metrics: keys of `METRICS`.
        every_hours: hours between initial times.
        baselines: of `BASELINES`; the climatology, also that of the ACC, is fitted on the training part.
        region: score this box alone; its weights average to one. Forecasters give the globe, or a part that holds the box.
        window: (after, until) in hours: score means over that time in place of states at the lead times. A forecaster gives them from the
            state (`Forecaster.window`); baselines know the mean over as long a time up to the initial one, and forecast the same mean
            `until` hours later: persistence is that of the last weeks' anomaly.
        grid_shape: what everything is put on; by default the grid of the first forecaster, or the reference's.
        method, step_hours, batch_size, autocast: as `climax_lite.forecast`.
        progress: show a bar.

    Returns:
        Dimensions (model, variable, lead, metric): `score`, the mean over initial times; `low` and `high`, its 95 % interval; and with
        (..., time) `scores`, at every initial time. `units` by (variable, metric). Attributes tell the source and the dates.

    Raises:
        ValueError: for an unknown source, split, variable, metric or baseline, a split that is too short, or forecasters of two grids.
    """
    named: dict[str, Forecaster | Baseline] = (
        dict(models) if isinstance(models, Mapping) else {_name_of(models): models}
    )
    if unknown := [m for m in metrics if m not in METRICS]:
        raise ValueError(f"unknown metric {', '.join(unknown)}: expected some of {', '.join(METRICS)}")
    leads = [sum(window) / 2] if window else sorted(float(h) for h in leads)
    if not leads or leads[0] <= 0:
        raise ValueError(f"expected lead times above zero hours, got {leads}")
    truth = _Truth.of(source, split, variables, _grid(named, grid_shape, source), window)
    for name in baselines:
        named[name] = truth.baseline(name)
    predictors = {
        name: _predictor(m, source, truth, method, step_hours, batch_size, autocast) for name, m in named.items()
    }
    used = {*truth.variables, *(v for m in named.values() if isinstance(m, Forecaster) for v in m.config.variables)}
    initial = initial_times(truth.times, [window[1]] if window else leads, every_hours)
    parts = []
    for first in bar(range(0, len(initial), batch_size), "block", progress):
        times = initial[first : first + batch_size]
        state = truth.states(times, used)
        parts.append(_block(state, times, predictors, truth, leads, metrics, region))
    scores = xr.concat(parts, "time")
    if window:
        scores.attrs["window_hours"] = window[1] - window[0]
    card = scorecard(scores)
    train = sources.split(source, "train")
    shape = truth.grid.shape
    card.attrs = {
        "source": source,
        "version": sources.version(source)[:16],
        "split": split,
        "initial_times": f"{len(initial)}, {initial[0]!s:.16} to {initial[-1]!s:.16}",
        "grid": f"{shape[0]} x {shape[1]}",
        "region": str(region or "globe"),
        "window": f"mean over {window[0]} to {window[1]} h" if window else "none",
        "method": method,
        "climatology": f"of {train.start} to {train.stop}",
        "rmse": "the root of the spatial mean at each initial time, then the mean over them",
    }
    return card


@dataclass(frozen=True, eq=False)
class _Truth:
    """A split of a source, for a scorer: what forecasts start from, and what came of it.

    With a window, what is scored is the mean over the time up to each time, as long as the window; so the mean over (after, until] hours
    is the one `until` hours later, and a baseline forecasts means from means just as it forecasts states from states.
    """

    source: str
    record: xr.Dataset  # all variables of the split, as they are
    scored: xr.Dataset  # what is scored, of the split
    grid: Grid
    window: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        source: str,
        split: str,
        variables: Sequence[str] | None,
        grid: Grid | None,
        window: tuple[int, int] | None,
    ) -> _Truth:
        record = sources.open(source).sel(time=sources.split(source, split))
        scored = record[_wanted(record, variables)]
        grid = grid or Grid.from_dataset(record)
        return cls(source, record, _trailing(on_grid(scored.load(), grid), window) if window else scored, grid, window)

    @functools.cached_property
    def training(self) -> xr.Dataset:
        """What is scored, of the training part, or of its last `MOST_TIMES` times."""
        ds = sources.open(self.source)[self.variables].sel(time=sources.split(self.source, "train"))
        ds = on_grid(ds.isel(time=slice(-MOST_TIMES, None)), self.grid).load()
        return _trailing(ds, self.window) if self.window else ds

    @functools.cached_property
    def climatology(self) -> Climatology:
        """Of what is scored, from the training part.

        Raises:
            ValueError: when that is too short.
        """
        if self.window:
            return Climatology.fit(self.training)
        shape = self.grid.shape
        found = statistics(self.source, grid_shape=shape if self.grid.is_regular else None).climatology
        if found is None:
            raise ValueError(
                f"the training part of {self.source!r} is too short for a climatology: expected a year or more"
            )
        return Climatology(on_grid(found.coefficients[self.variables], self.grid))

    @property
    def variables(self) -> list[str]:
        return [str(v) for v in self.scored.data_vars]

    @property
    def times(self) -> np.ndarray:
        return self.scored["time"].values

    def states(self, times: np.ndarray, used: set[str]) -> xr.Dataset:
        """Initial states, of the variables that somebody uses."""
        names = [str(v) for v in self.record.data_vars if v in used]
        return on_grid(self.record[names].sel(time=times), self.grid).load()

    def known(self, times: np.ndarray, state: xr.Dataset) -> xr.Dataset:
        """What a baseline knows at these times."""
        return self.scored.sel(time=times) if self.window else state[self.variables]

    def ahead(self, lead: float) -> float:
        """Hours from what a baseline knows to what it forecasts."""
        return self.window[1] if self.window else lead

    def came(self, times: np.ndarray, lead: float) -> xr.Dataset:
        """What came."""
        return on_grid(self.scored.sel(time=later(times, self.ahead(lead))).load(), self.grid)

    def baseline(self, name: str) -> Baseline:
        """One of `BASELINES`, fitted on the training part."""
        if name not in BASELINES:
            raise ValueError(f"unknown baseline {name!r}: expected some of {', '.join(BASELINES)}")
        if name == "persistence":
            return AnomalyPersistence(self.climatology) if self.window else persistence
        if name == "climatology":
            return self.climatology
        if name == "damped persistence":
            return DampedPersistence.fit(self.training, self.climatology)
        times = self.training["time"].values
        gap = int(np.ceil(2 * self.window[1] / (np.diff(times[:2])[0] / _hour(times)))) if self.window else 40
        return LinearModel.fit(self.training, self.climatology, components=min(200, len(times) // 4), gap=gap)


def _trailing(ds: xr.Dataset, window: tuple[int, int]) -> xr.Dataset:
    """The mean over the hours up to each time, as long as the window; times with less before them are left out."""
    times = ds["time"].values
    step = float(np.min(np.diff(times)) / _hour(times))
    count = round((window[1] - window[0]) / step)
    if count < 1 or count > len(times):
        raise ValueError(f"expected a window of one step of {step:g} h to {len(times)} steps, got {window}")
    whole = np.flatnonzero(times[count - 1 :] - times[: len(times) - count + 1] == (count - 1) * step * _hour(times))
    data = {}
    for v, a in ds.data_vars.items():
        total = np.concatenate([np.zeros((1, *a.shape[1:])), np.cumsum(a.values, axis=0, dtype=np.float64)])
        data[v] = (a.dims, ((total[whole + count] - total[whole]) / count).astype(np.float32), a.attrs)
    return xr.Dataset(data, {"time": times[whole + count - 1], "lat": ds.lat, "lon": ds.lon})


def initial_times(times: np.ndarray, leads: Sequence[float], every_hours: float) -> np.ndarray:
    """The times, `every_hours` apart from the first, that have a later time at every lead.

    Raises:
        ValueError: when there is none.
    """
    since = np.array([(t - times[0]) / _hour(times) for t in times])
    held = (since % every_hours == 0) if every_hours > 0 else np.zeros(len(times), bool)
    for h in leads:
        held &= np.isin(later(times, h), times)
    if not held.any():
        raise ValueError(
            f"no initial time in {len(times)} times over {since[-1]:g} h whose valid times at {max(leads):g} h lie in it too: "
            "take shorter lead times, a longer split, or other hours between initial times"
        )
    return times[held]


def scorecard(scores: xr.DataArray) -> xr.Dataset:
    """Scores (model, variable, lead, metric, time) with their means and 95 % intervals.

    The attribute `window_hours` of scores of means over a window, whose lead times are the middle, makes the blocks reach its end.
    """
    times = scores["time"].values
    beyond = float(scores.attrs.get("window_hours", 0)) / 2
    low, high = (xr.full_like(scores.isel(time=0, drop=True), np.nan) for _ in range(2))
    for i, lead in enumerate(scores["lead"].values):
        block = block_length(times, float(lead) + beyond)
        for index in np.ndindex(*(scores.sizes[d] for d in ("model", "variable", "metric"))):
            at = dict(zip(("model", "variable", "metric"), index, strict=True)) | {"lead": i}
            low[at], high[at] = _interval(scores[at].values, block)
    return xr.Dataset(
        {
            "score": scores.mean("time", skipna=False),
            "low": low,
            "high": high,
            "scores": scores,
            "units": _units(scores),
        }
    )


def compare(a: xr.Dataset, b: xr.Dataset) -> xr.Dataset:
    """Scores of `a` minus those of `b`, each at the same initial times: `difference`, and `low` and `high` of its 95 % interval.

    Both have most of their ups and downs from the same weather, so the interval of the difference is far narrower than theirs. One
    model of each: `compare(card.sel(model="tiny"), card.sel(model="climatology"))`.

    Raises:
        ValueError: when variables, leads, metrics or initial times are not the same, or one holds several models.
    """
    for what, card in (("first", a), ("second", b)):
        if "model" in card.dims:
            raise ValueError(
                f"expected one model on each side, got {card.sizes['model']} on the {what}: choose with card.sel(model=...)"
            )
    try:
        both = xr.align(
            a["scores"].drop_vars("model", errors="ignore"),
            b["scores"].drop_vars("model", errors="ignore"),
            join="exact",
        )
    except ValueError as error:
        raise ValueError(
            f"expected scores of the same variables, leads, metrics and initial times ({error})"
        ) from error
    difference = (both[0] - both[1]).expand_dims("model").assign_attrs(a["scores"].attrs)
    card = scorecard(difference).squeeze("model")
    return card.rename(score="difference").drop_vars("model", errors="ignore")


def block_length(times: np.ndarray, lead_hours: float) -> int:
    """How many neighbouring initial times make a block: those within the lead time and ten days more.

    Errors of two forecasts depend on one another as far as they grow in the same weather: forecasts less than the lead time apart pass
    through the same days, and beyond that the flow itself has a memory. In the reference world the correlation between the Z500 RMSE of
    two initial times is below 0.1 once they are five (lead of one day) to eight days (of seven) apart. A block has to be longer than
    that reach, since the dependence across its ends is lost to the bootstrap and the interval comes out too narrow by that share.
    """
    step = float(np.median([d / _hour(times) for d in np.diff(times)])) if len(times) > 1 else 1.0
    return int(np.ceil((lead_hours + SPREAD_HOURS) / step))


# ---------------------------------------------------------------- the pieces


def _hour(times: np.ndarray) -> Any:
    return datetime.timedelta(hours=1) if times.dtype == object else np.timedelta64(1, "h")


def _name_of(model: Any) -> str:
    return "forecaster" if isinstance(model, Forecaster) else getattr(model, "__name__", type(model).__name__)


def _grid(named: Mapping[str, Forecaster | Baseline], given: tuple[int, int] | None, source: str) -> Grid | None:
    """What everything is put on: the grid of all forecasters; without one, 5.625° for a record of the globe, else None, its own."""
    grids = {name: m.grid for name, m in named.items() if isinstance(m, Forecaster)}
    if given is None and not grids:
        return Grid.regular(32, 64) if Grid.from_dataset(sources.open(source)).periodic else None
    grid = Grid.regular(*given) if given else next(iter(grids.values()))
    for name, other in grids.items():
        # One that sees a part of the globe may be scored beside others where both have cells.
        if other.periodic and other.shape != grid.shape:
            raise ValueError(
                f"expected forecasters on one grid, {grid.shape}, got {name!r} on {other.shape}: score them apart"
            )
    return grid


def _wanted(record: xr.Dataset, variables: Sequence[str] | None) -> list[str]:
    if variables is None:
        found = [v for v in HEADLINE if v in record.data_vars]
        return found or [str(v) for v in record.data_vars if "time" in record[v].dims]
    names = [v.name for v in look_up(variables)]
    if wrong := [v for v in names if v not in record.data_vars or "time" not in record[v].dims]:
        moving = (str(v) for v in record.data_vars if "time" in record[v].dims)
        raise ValueError(
            f"expected variables of the source that change in time, {', '.join(moving)}, got {', '.join(wrong)}"
        )
    return names


def _predictor(
    model: Forecaster | Baseline,
    source: str,
    truth: _Truth,
    method: str,
    step_hours: float | None,
    batch_size: int,
    autocast: Any,
) -> Callable[[xr.Dataset, np.ndarray, Sequence[float]], xr.Dataset]:
    """One signature for all: states (time, lat, lon), their times and lead times → (time, prediction_timedelta, lat, lon)."""
    wanted = truth.variables
    if not isinstance(model, Forecaster):

        def simple(state: xr.Dataset, times: np.ndarray, leads: Sequence[float]) -> xr.Dataset:
            known = truth.known(times, state)
            return xr.concat([model(known, truth.ahead(h)) for h in leads], "prediction_timedelta")

        return simple
    if model.window != truth.window:
        raise ValueError(f"expected a forecaster of the window {truth.window}, got one of {model.window}")
    if model.statistics is None:
        model = copy.copy(model)
        model.statistics = statistics(source, grid_shape=model.config.grid_shape)
    kept = [v for v in model.statistics.variables if v in model.config.variables]

    def predict(state: xr.Dataset, times: np.ndarray, leads: Sequence[float]) -> xr.Dataset:
        given = state[[v for v in state.data_vars if v in kept]]
        return forecast(model, given, leads, wanted, method, step_hours, batch_size=batch_size, autocast=autocast)

    return predict


def _block(
    state: xr.Dataset,
    times: np.ndarray,
    predictors: Mapping[str, Callable[[xr.Dataset, np.ndarray, Sequence[float]], xr.Dataset]],
    truth: _Truth,
    leads: Sequence[float],
    metrics: Sequence[str],
    region: str | Region | None,
) -> xr.DataArray:
    """Scores (model, variable, lead, metric, time) of some initial times."""
    came = [truth.came(times, h) for h in leads]
    grid = Grid.from_dataset(_cut(came[0], region))

    def stacked(ds: xr.Dataset) -> xr.DataArray:
        ds = _cut(ds.drop_vars("valid_time", errors="ignore"), region)[truth.variables]
        if ds["lat"].shape != grid.lat.shape or ds["lon"].shape != grid.lon.shape:
            raise ValueError(
                f"expected forecasts of the {grid.shape[0]} x {grid.shape[1]} cells that are scored, got "
                f"{ds.sizes['lat']} x {ds.sizes['lon']}: a forecaster of a region is scored with that region, or one inside it"
            )
        ds = ds.transpose(..., "time", "lat", "lon").assign_coords(time=times, lat=grid.lat, lon=grid.lon)
        return ds.to_dataarray("variable")

    def of_leads(fields: Sequence[xr.Dataset]) -> xr.DataArray:
        return xr.concat([stacked(ds) for ds in fields], "lead").assign_coords(lead=list(leads))

    usual = of_leads([truth.climatology(truth.known(times, state), truth.ahead(h)) for h in leads])
    forecasts = []
    for predict in predictors.values():
        fc = stacked(predict(state, times, leads)).rename(prediction_timedelta="lead")
        forecasts.append(fc.assign_coords(lead=list(leads)))
    prediction = xr.concat(forecasts, "model").assign_coords(model=list(predictors))
    scores = score_times(prediction, of_leads(came), usual, metrics)
    return scores.transpose("model", "variable", "lead", "metric", "time")


def _cut(ds: xr.Dataset, region: str | Region | None) -> xr.Dataset:
    return Grid.from_dataset(ds).crop(ds, region) if region else ds


def score_times(
    prediction: xr.DataArray,
    truth: xr.DataArray,
    climatology: xr.DataArray,
    metrics: Sequence[str] = ("rmse", "acc", "bias"),
    region: str | Region | None = None,
) -> xr.DataArray:
    """Predictions, truth and climatology (..., time, lat, lon) → scores (..., metric, time), in a box or on the globe.

    Whatever a target is (a state, a mean over weeks, a crop), this is what scores it: `time` labels the initial states, and further
    dimensions, such as variable, lead and model, are scored apart.
    """
    fields = [prediction, truth, climatology]
    if region is not None:
        grid = Grid.from_dataset(truth)
        fields = [grid.crop(f.to_dataset(name="x"), region)["x"] for f in fields]
    each = [METRICS[m](*fields) for m in metrics]
    return xr.concat(each, "metric").assign_coords(metric=list(metrics))


def _interval(scores: np.ndarray, block: int) -> tuple[float, float]:
    if len(scores) < FEWEST_BLOCKS * block or not np.isfinite(scores).all():
        return np.nan, np.nan
    return scores_of.block_bootstrap(scores, block)


def _units(scores: xr.DataArray) -> xr.DataArray:
    of = {"rmse": "{}", "bias": "{}", "mse": "({})2", "acc": "1"}
    rows = [
        [of[str(m)].format(variable(str(v)).units) for m in scores["metric"].values] for v in scores["variable"].values
    ]
    return xr.DataArray(np.array(rows), dims=("variable", "metric"))


# ---------------------------------------------------------------- out


def table(card: xr.Dataset, metric: str = "rmse") -> str:
    """A scorecard as text: a block for each variable, a row for each model, a column for each lead time; the best in every column starred.

    Raises:
        ValueError: for a metric that the scorecard lacks.
    """
    if metric not in card["metric"].values:
        raise ValueError(f"expected one of {', '.join(map(str, card['metric'].values))}, got {metric!r}")
    rows: list[list[str]] = []
    for v in card["variable"].values:
        known = variable(str(v))
        one = card.sel(variable=v, metric=metric)
        units = str(one["units"].values)
        head = f"{known.short} {metric.upper()}" + (f" ({units})" if units != "1" else "")
        rows += [[""], [head, *(_hours(h) for h in card["lead"].values)]]
        score = one["score"].values
        value = {"acc": -score, "bias": abs(score)}.get(metric, score)
        best = value == np.fmin.reduce(value, axis=0)
        for i, model in enumerate(card["model"].values):
            cells = []
            for j, x in enumerate(score[i]):
                low, high = (float(one[k].values[i, j]) for k in ("low", "high"))
                around = f" [{low:.4g}, {high:.4g}]" if np.isfinite(low) else ""
                cells.append(f"{x:.4g}{'*' if best[i, j] else ' '}{around}")
            rows.append([str(model), *cells])
    widths = [max(len(row[k]) for row in rows if k < len(row)) for k in range(card.sizes["lead"] + 1)]
    return "\n".join(
        "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows[1:]
    )


def _hours(hours: float) -> str:
    return f"{hours:g} h" if hours < 24 or hours % 24 else f"{hours / 24:g} d"


def to_csv(card: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a scorecard as CSV, one line for each score; the file appears whole or not at all.

    Raises:
        ValueError: when the file exists and `overwrite` is not given.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: give another name, or allow it to be overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["model", "variable", "lead_hours", "metric", "score", "low", "high", "units", "initial_times"]
            )
            writer.writerows(_rows(card))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _rows(card: xr.Dataset) -> Iterator[list[Any]]:
    for index in np.ndindex(*(card.sizes[d] for d in ("model", "variable", "lead", "metric"))):
        one = card.isel(dict(zip(("model", "variable", "lead", "metric"), index, strict=True)))
        names = [one[k].item() for k in ("model", "variable", "lead", "metric")]
        yield [
            *names,
            *(f"{float(one[k]):.6g}" for k in ("score", "low", "high")),
            one["units"].item(),
            card.sizes["time"],
        ]
