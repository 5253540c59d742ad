"""Is this an atmosphere? Bounds on a running world and on a finished one; what fails is refused with what, where and how much.

Pure NumPy: a world can be checked where the model is not installed.
"""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import xarray as xr

from .world import World

PRESSURE = (920.0, 1070.0)
"""Mean-sea-level pressure (hPa) anywhere at any time; `bounds.pressure` of a world file may move it."""

BOUNDS = {
    "2m_temperature": (280.0, 294.0, "K"),
    "total_precipitation_6hr": (0.4e-3, 1.3e-3, "m"),
    "outgoing_longwave_radiation": (205.0, 260.0, "W m-2"),
    "total_cloud_cover": (0.3, 0.85, "1"),
    "surface_pressure": (96000.0, 102000.0, "Pa"),
}
"""Global means, averaged over a file: lowest, highest, unit. A world file may move them in [bounds]."""

SETTLING = 20
"""Days in which an atmosphere that starts from rest above mountains throws its pressure about; only finite values are asked for."""

DRIFT = {"surface_pressure": (50.0, "Pa"), "2m_temperature": (0.5, "K")}
"""The most that a global mean may change from one year to the next; `bounds.drift_NAME` of a world file moves it."""


class Refused(ValueError):
    """A world that is not an atmosphere, or not a steady one."""


def values(name: str, data: np.ndarray, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> None:
    """Refuse NaN and infinity in (time, lat, lon) `data`, naming the first place."""
    bad = ~np.isfinite(data)
    if bad.any():
        t, j, i = np.argwhere(bad)[0]
        raise Refused(
            f"{name} is not finite at {np.datetime_as_string(times[t], 'h')} UTC, {lat[j]:.1f}° N, {lon[i]:.1f}° E, "
            f"and at {int(bad.sum()) - 1} other places: try a shorter time step or stronger diffusion"
        )


def a_day(world: World, day: dt.date, monitor: dict[str, float], lat: np.ndarray, lon: np.ndarray) -> None:
    """Refuse a day that is not finite or whose pressure at sea level is beyond `PRESSURE`; `monitor` is that of `advance_a_day`."""
    for name, value in monitor.items():
        if not np.isfinite(value):
            raise Refused(f"{world.name}: {name} is not finite on {day}: try a shorter time step or stronger diffusion")
    if not world.restart and (day - world.first_day).days < SETTLING:
        return
    low, high = world.bounds.get("pressure", PRESSURE)
    for end in ("lowest", "highest"):
        pressure = monitor[f"{end}_pressure"] / 100
        if not low <= pressure <= high:
            i, j = divmod(int(monitor[f"{end}_at"]), len(lat))
            raise Refused(
                f"{world.name}: mean-sea-level pressure of {pressure:.0f} hPa at {lat[j]:.1f}° N, {lon[i]:.1f}° E on {day}; "
                f"expected {low:.0f} to {high:.0f} hPa"
            )


def means(world: World, label: str, log: dict[str, np.ndarray]) -> None:
    """Refuse a stretch of days, columns of `read_log`, whose global means are out of bounds."""
    for name, (low, high, unit) in BOUNDS.items():
        low, high = world.bounds.get(name, (low, high))
        if name in log and not low <= (mean := float(np.mean(log[name]))) <= high:
            raise Refused(
                f"{world.name} {label}: the global mean of {name} is {mean:.4g} {unit}; expected {low:g} to {high:g}"
            )


def drift(world: World, log: dict[str, np.ndarray]) -> dict[str, float]:
    """The change of each global mean in `DRIFT` from one year to the next, over all pairs of days 365 days apart.

    The first days of a run are left out (`World.settling_days`): an atmosphere starts from rest, and a slab of sea takes years to find
    its own balance around the climate that its flux correction was read from.

    Raises:
        Refused: for a change beyond the bound.
    """
    found = {}
    for name, (bound, unit) in DRIFT.items():
        if name not in log or len(series := log[name][world.settling_days :]) < 365 + 30:
            continue
        low, high = world.bounds.get(f"drift_{name}", (-bound, bound))
        found[name] = change = float(np.mean(series[365:] - series[:-365]))
        if not low <= change <= high:
            raise Refused(
                f"{world.name}: the global mean of {name} drifts by {change:.3g} {unit} a year; expected {low:g} to {high:g}"
            )
    return found


def finished(world: World, ds: xr.Dataset, log: dict[str, np.ndarray]) -> dict[str, float]:
    """All checks of a world before a part of it is embedded: finite values, pressure, global means, drift."""
    lat, lon = ds.lat.values, ds.lon.values
    for name, v in ds.data_vars.items():
        if "time" in v.dims:
            values(f"{world.name}: {name}", v.values, ds.time.values, lat, lon)
    if "mean_sea_level_pressure" in ds:
        p = ds.mean_sea_level_pressure.values / 100
        low, high = world.bounds.get("pressure", PRESSURE)
        for k in (p.argmin(), p.argmax()):
            if not low <= p.flat[k] <= high:
                t, j, i = np.unravel_index(k, p.shape)
                raise Refused(
                    f"{world.name}: mean-sea-level pressure of {p[t, j, i]:.0f} hPa at {lat[j]:.1f}° N, {lon[i]:.1f}° E on "
                    f"{np.datetime_as_string(ds.time.values[t], 'h')} UTC; expected {low:.0f} to {high:.0f} hPa"
                )
    means(world, "as a whole", {k: v[world.settling_days :] for k, v in log.items()})
    return drift(world, log)


def append_log(path: Path, rows: list[dict[str, float | str]]) -> None:
    """Add days to the log of a run (CSV: `day`, then the numbers of `advance_a_day`)."""
    columns = path.read_text().split("\n", 1)[0].strip().split(",") if path.exists() else list(rows[0])
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="nan", extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def cut_log(path: Path, day: dt.date | None) -> None:
    """Drop the days from `day` on, all for None: after a kill they are integrated again."""
    if path.exists():
        with open(path, newline="") as file:
            head, *lines = file.read().splitlines()
        kept = [line for line in lines if day and line.split(",")[0] < day.isoformat()]
        path.write_text("\n".join([head, *kept]) + "\n")


def read_log(path: Path) -> dict[str, np.ndarray]:
    """The columns of a log, without the day itself."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else {}) if name != "day"}
