"""A forecast from a checkpoint: initial states in physical units in, an `xarray.Dataset` in physical units and with CF names out.

The dimensions are WeatherBench 2's: `time` is the initial time, `prediction_timedelta` the lead time, and `valid_time` their sum.

B batch, V variables, H W latitude × longitude, T initial times, L lead times.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .data import door
from .data.normalize import on_grid
from .forecaster import Forecaster
from .variables import variable
from .variables import variables as look_up

METHODS = ("direct", "rollout")

Item = TypeVar("Item")


def forecast(
    forecaster: Forecaster,
    initial: xr.Dataset,
    lead_hours: float | Sequence[float],
    variables: Sequence[str] | None = None,
    method: str = "direct",
    step_hours: float | None = None,
    *,
    batch_size: int = 16,
    autocast: torch.dtype | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Forecasts from one initial state or several.

    Args:
        forecaster: with statistics (`Forecaster.normalizer`).
        initial: states in physical units, at one time or several, on any grid of the globe, named and with units as the archives have
            them. Variables that the forecaster does not know are dropped, and it makes do without those that are missing; a warning
            names both.
        lead_hours: lead times in hours.
        variables: what to forecast, names or aliases; by default all of the initial state that the forecaster was trained to predict.
        method: `direct` asks for every lead time at once; `rollout` steps there, each forecast the next initial state. Only what is
            predicted is fed back; maps without time stay.
        step_hours: of a rollout; by default the shortest lead time.
        batch_size: states that go through the network together.
        autocast: a dtype such as torch.bfloat16, for half the time on a machine that has it.
        progress: show a bar.

    Returns:
        Variables (time, prediction_timedelta, lat, lon), float32, in the units of `climax_lite.variables`, on the forecaster's grid.

    Raises:
        ValueError: for what cannot be forecast: no statistics, an unknown variable, missing values, a lead time that steps do not reach.
    """
    if method not in METHODS:
        raise ValueError(f"expected method {' or '.join(METHODS)}, got {method!r}")
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of one or more, got {batch_size}")
    leads = _leads(lead_hours)
    if forecaster.window:
        middle = sum(forecaster.window) / 2
        if leads != (middle,) or method != "direct":
            raise ValueError(
                f"this forecaster gives means over {forecaster.window[0]} to {forecaster.window[1]} h: ask for lead_hours={middle:g}, "
                f"the middle, and method direct; got {', '.join(f'{h:g}' for h in leads)} and {method}"
            )
    if forecaster.region and method == "rollout":
        raise ValueError(
            "this forecaster gives a region only, and a rollout needs all that it takes: use method direct"
        )
    state = initial_state(forecaster, initial)
    predicted = _predicted(forecaster, state)
    out = _asked(forecaster, predicted, variables, method)
    still = tuple(str(v) for v in state.data_vars if "time" not in state[v].dims)
    moving = tuple(str(v) for v in state.data_vars if v not in still)
    if method == "rollout":
        moving = tuple(v for v in moving if v in predicted)
    names = (*moving, *still)
    x = _stack(forecaster.normalizer.apply(state[list(names)]), names)
    with _ready(forecaster, autocast):
        if method == "direct":
            y = _direct(forecaster, x, names, out, leads, batch_size, progress)
        else:
            steps = _steps(leads, step_hours)
            y = _rollout(forecaster, x, moving, still, out, leads, steps, batch_size, progress)
    how = method if method == "direct" else f"{method} in steps of {steps:g} h"
    return _named(forecaster, y, out, state["time"].values, leads, how)


def initial_state(forecaster: Forecaster, initial: xr.Dataset) -> xr.Dataset:
    """What a forecaster takes of a dataset: checked at the door, on its grid, without what it does not know.

    Raises:
        ValueError: when the door refuses it, nothing that the forecaster knows is left, or values are missing.
    """
    statistics = forecaster.normalizer.statistics
    ds = door.normalise(door.recognised(initial))
    trained = [v for v in statistics.variables if v in forecaster.config.variables]
    kept = [v for v in trained if v in ds.data_vars]
    strange = sorted(set(map(str, ds.data_vars)) - set(kept)) + sorted(
        set(map(str, initial.data_vars)) - set(map(str, door.recognised(initial).data_vars))
    )
    if not any("time" in ds[v].dims for v in kept):
        raise ValueError(
            f"this forecaster knows none of {', '.join(map(str, ds.data_vars))} that change in time; it knows {', '.join(trained)}"
        )
    if strange:
        warnings.warn(f"left out, since the forecaster does not know them: {', '.join(strange)}", stacklevel=3)
    if missing := [v for v in trained if v not in kept]:
        warnings.warn(f"the forecaster was trained with {', '.join(missing)} too, and makes do without", stacklevel=3)
    ds = on_grid(ds[kept].load(), forecaster.grid)
    if bad := [v for v in kept if not np.isfinite(ds[v].values).all()]:
        lat, lon = forecaster.grid.lat, forecaster.grid.lon
        raise ValueError(
            f"expected values over all that this forecaster sees, {lat[0]:g} to {lat[-1]:g}° N, {lon[0]:g} to {lon[-1]:g}° E, "
            f"got missing ones in {', '.join(bad)}: fill them, or drop the variable"
        )
    return ds


def later(times: np.ndarray, hours: float) -> np.ndarray:
    """Times some hours later, of whatever calendar."""
    if times.dtype == object:
        return times + datetime.timedelta(hours=hours)
    return times + np.timedelta64(round(hours * 3600), "s")


def bar(items: Sequence[Item], unit: str, show: bool) -> Iterable[Item]:
    """A progress bar around a list, if it is wanted and tqdm is there."""
    if not show:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, unit=unit, disable=None)  # silent where nobody watches


# ---------------------------------------------------------------- what is asked for


def _leads(lead_hours: float | Sequence[float]) -> tuple[float, ...]:
    leads = tuple(float(h) for h in np.atleast_1d(np.asarray(lead_hours, dtype=float)))
    if not leads or not all(math.isfinite(h) and h > 0 for h in leads) or len(set(leads)) < len(leads):
        raise ValueError(f"expected lead times above zero hours, each once, got {lead_hours}")
    return tuple(sorted(leads))


def _steps(leads: Sequence[float], step_hours: float | None) -> float:
    step = min(leads) if step_hours is None else float(step_hours)
    if step <= 0 or any(abs(h / step - round(h / step)) > 1e-6 for h in leads):
        raise ValueError(
            f"expected lead times that are multiples of the step of {step:g} h, got {', '.join(f'{h:g}' for h in leads)}: "
            "give another step_hours"
        )
    return step


def _predicted(forecaster: Forecaster, state: xr.Dataset) -> tuple[str, ...]:
    """What of the state the forecaster was trained to predict: all that changes in time, or what fine-tuning was about."""
    tuned = forecaster.about.get("settings", {}).get("out_variables") or state.data_vars
    return tuple(str(v) for v in state.data_vars if "time" in state[v].dims and v in tuned)


def _asked(
    forecaster: Forecaster, predicted: tuple[str, ...], variables: Sequence[str] | None, method: str
) -> tuple[str, ...]:
    names = predicted if variables is None else tuple(v.name for v in look_up(variables))
    known = [v for v in forecaster.normalizer.statistics.variables if v in forecaster.config.variables]
    possible = predicted if method == "rollout" else tuple(v for v in known if variable(v).kind != "static")
    if wrong := [v for v in names if v not in possible]:
        raise ValueError(
            f"expected variables that this {method} can predict, {', '.join(possible)}, got {', '.join(wrong)}"
        )
    if not names:
        raise ValueError(
            "nothing to predict: the initial state holds none of the variables that the forecaster predicts"
        )
    return names


# ---------------------------------------------------------------- through the network


@contextlib.contextmanager
def _ready(forecaster: Forecaster, autocast: torch.dtype | None):
    """No gradients, no dropout, and the precision that was asked for."""
    training = forecaster.training
    device = next(forecaster.parameters()).device
    cast: Any = torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext()
    forecaster.eval()
    try:
        with torch.inference_mode(), cast:
            yield
    finally:
        forecaster.train(training)


def _stack(ds: xr.Dataset, names: Sequence[str]) -> Tensor:
    """(T, V, H, W); maps without time are repeated without copies."""
    shape = (ds.sizes["time"], ds.sizes["lat"], ds.sizes["lon"])
    return torch.stack([torch.from_numpy(np.broadcast_to(ds[v].values, shape).copy()) for v in names], dim=1)


def _direct(
    forecaster: Forecaster,
    x: Tensor,
    names: Sequence[str],
    out: Sequence[str],
    leads: Sequence[float],
    batch_size: int,
    progress: bool,
) -> np.ndarray:
    """(T, V, H, W) → (T, L, V_out, H, W), every lead time in one step."""
    device = next(forecaster.parameters()).device
    y = np.empty((len(x) * len(leads), len(out), *forecaster.out_grid.shape), np.float32)
    hours = torch.tensor(leads, dtype=torch.float32)
    for first in bar(range(0, len(y), batch_size), "batch", progress):
        pair = torch.arange(first, min(first + batch_size, len(y)))
        state, lead = x[pair // len(leads)].to(device), hours[pair % len(leads)].to(device)
        y[first : first + batch_size] = forecaster(state, lead, names, out).float().cpu().numpy()
    return y.reshape(len(x), len(leads), *y.shape[1:])


def _rollout(
    forecaster: Forecaster,
    x: Tensor,
    moving: Sequence[str],
    still: Sequence[str],
    out: Sequence[str],
    leads: Sequence[float],
    step: float,
    batch_size: int,
    progress: bool,
) -> np.ndarray:
    """(T, V, H, W) → (T, L, V_out, H, W), step by step.

    Between two steps nothing has to be normalised anew: both forms divide by numbers that do not depend on time, and the anomaly that
    comes out at its valid time is the one that goes in as the next state's.
    """
    device = next(forecaster.parameters()).device
    y = np.empty((len(x), len(leads), len(out), *x.shape[-2:]), np.float32)
    at = {round(h / step): i for i, h in enumerate(leads)}
    chosen = [list(moving).index(v) for v in out]
    for first in bar(range(0, len(x), batch_size), "batch", progress):
        state = x[first : first + batch_size].to(device)
        lead = torch.full((len(state),), step, device=device)
        for number in range(1, max(at) + 1):
            ahead = forecaster(state, lead, (*moving, *still), moving).float()
            if number in at:
                y[first : first + batch_size, at[number]] = ahead[:, chosen].cpu().numpy()
            state = torch.cat([ahead, state[:, len(moving) :]], dim=1)
    return y


# ---------------------------------------------------------------- names and units again


def _named(
    forecaster: Forecaster,
    y: np.ndarray,
    out: Sequence[str],
    times: np.ndarray,
    leads: Sequence[float],
    how: str,
) -> xr.Dataset:
    """(T, L, V, H, W) normalised → a dataset in physical units; the climatology is that of the valid times."""
    grid = forecaster.out_grid
    valid = np.stack([later(times, h) for h in leads], axis=1)
    dims = ("time", "prediction_timedelta", "lat", "lon")
    flat = xr.Dataset(
        {v: (("time", "lat", "lon"), y[:, :, i].reshape(-1, *grid.shape)) for i, v in enumerate(out)},
        {"time": valid.ravel(), "lat": grid.lat, "lon": grid.lon},
    )
    physical = _physical(forecaster, flat, times)
    ds = xr.Dataset(
        {v: (dims, a.values.reshape(*valid.shape, *grid.shape), a.attrs) for v, a in physical.data_vars.items()},
        {
            "time": ("time", times, {"standard_name": "forecast_reference_time", "long_name": "initial time"}),
            "prediction_timedelta": (
                "prediction_timedelta",
                np.array([round(h * 3600) for h in leads], "timedelta64[s]").astype("timedelta64[ns]"),
                {"standard_name": "forecast_period", "long_name": "lead time"},
            ),
            "valid_time": (dims[:2], valid, {"standard_name": "time", "long_name": "valid time"}),
            "lat": ("lat", grid.lat, {"units": "degrees_north", "standard_name": "latitude", "long_name": "latitude"}),
            "lon": ("lon", grid.lon, {"units": "degrees_east", "standard_name": "longitude", "long_name": "longitude"}),
        },
    )
    about = forecaster.about
    statistics = forecaster.normalizer.statistics
    source = f"ClimaX, {sum(p.numel() for p in forecaster.net.parameters())} parameters"
    for key in ("checkpoint", "task", "sources"):
        if about.get(key):
            source += f"; {key}: {about[key] if isinstance(about[key], str) else ', '.join(about[key])}"
    now = datetime.datetime.now(datetime.UTC)
    ds.attrs = {
        "Conventions": "CF-1.10",
        "title": f"Forecast with ClimaX, {how}",
        "source": f"{source}; normalised with {statistics.source or 'unnamed data'}, {' to '.join(statistics.period)}",
        **({"region": str(forecaster.region)} if forecaster.region else {}),
        **({"window": f"mean over {forecaster.window[0]} to {forecaster.window[1]} h"} if forecaster.window else {}),
        "history": f"{now:%Y-%m-%dT%H:%M:%SZ} {_program()}",
        "references": "arXiv:2301.10343",
    }
    return ds


def _physical(forecaster: Forecaster, flat: xr.Dataset, times: np.ndarray) -> xr.Dataset:
    """Normalised → physical units. With a window, the climatology is the mean of those of its times."""
    normalizer = forecaster.normalizer
    climatology = normalizer.statistics.climatology
    if not forecaster.window or not forecaster.anomalies or climatology is None:
        return normalizer.invert(flat)
    after, until = forecaster.window
    step = 24 // climatology.coefficients.sizes["hour"]
    hours = range(after + step, until + 1, step)
    with xr.set_options(keep_attrs=True):
        parts = [
            normalizer.invert(flat.assign_coords(time=later(times, h))).assign_coords(time=flat["time"]) for h in hours
        ]
        return sum(parts[1:], parts[0]) / len(parts)


def _program() -> str:
    try:
        return f"climax-lite {version('climax-lite')}"
    except PackageNotFoundError:  # from a folder that was not installed
        return "climax-lite"


# ---------------------------------------------------------------- files

_EPOCH = "hours since 1970-01-01"  # one for both kinds of time, and for every file


def write(ds: xr.Dataset, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a dataset as NetCDF (`.nc`) or zarr (`.zarr`), whole or not at all: it has another name until it is.

    Raises:
        ValueError: for another suffix, or when the path exists and `overwrite` is not given.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ValueError(f"expected a path that ends in .nc or .zarr, got {os.fspath(path)!r}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists: give another name, or allow it to be overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    ds = ds.drop_encoding()
    for name, units in (("time", _EPOCH), ("valid_time", _EPOCH), ("prediction_timedelta", "hours")):
        if name in ds.coords:
            ds[name].encoding = {"units": units}
    try:
        if path.suffix == ".nc":
            ds.to_netcdf(part)
        else:
            ds.to_zarr(part, zarr_format=2, consolidated=True)
        _take_name(part, path)
    finally:
        _remove(part)
    return path


def _take_name(part: Path, path: Path) -> None:
    """Rename; a folder cannot take the name of another one, so that one steps aside first."""
    if not path.is_dir():
        os.replace(part, path)
        return
    old = path.with_name(f"{path.name}.{os.getpid()}.old")
    os.replace(path, old)
    os.replace(part, path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
