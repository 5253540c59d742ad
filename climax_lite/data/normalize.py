"""What normalisation needs to know of a source: means, deviations and the climatology, in one pass over its training part.

Every channel is a variable on its own level, so every level has its own numbers. Means and deviations weigh grid cells by cos φ: the
same record on a finer grid has the same statistics. Sums run in float64 over blocks of times, so memory does not grow with the record.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import xarray as xr

from ..grid import Grid
from ..regrid import regrid
from ..variables import variable

DAYS_A_YEAR = 365.2425
FORMAT = "climax-lite statistics 1"
BLOCK = 256
"""Times that are read at once."""


# ---------------------------------------------------------------- time


def year_angle(times: np.ndarray) -> np.ndarray:
    """The time of year as an angle (radians, from 1 January) of `datetime64` or `cftime` times, whatever their calendar.

    A Gregorian year is 365.2425 days for every year, so that a day's angle does not depend on the leap year; calendars without leap
    years have their own length.
    """
    times = np.atleast_1d(times)
    if times.dtype != object:
        days = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "D")
        return 2 * np.pi * days.astype(np.float64) / DAYS_A_YEAR
    length = {"360_day": 360.0, "noleap": 365.0, "365_day": 365.0, "all_leap": 366.0, "366_day": 366.0}
    days = np.array([t.dayofyr - 1 + (t.hour + t.minute / 60 + t.second / 3600) / 24 for t in times])
    return 2 * np.pi * days / length.get(times[0].calendar, DAYS_A_YEAR)


def hours_of_day(times: np.ndarray) -> np.ndarray:
    """The full hour (UTC) of each time."""
    times = np.atleast_1d(times)
    if times.dtype == object:
        return np.array([t.hour for t in times])
    return ((times - times.astype("datetime64[D]")) // np.timedelta64(1, "h")).astype(int)


def _waves(times: np.ndarray, harmonics: int) -> np.ndarray:
    """(T, 1 + 2·harmonics): one, and cosines and sines of the year's angle."""
    angle = year_angle(times)
    columns = [np.ones_like(angle)]
    for k in range(1, harmonics + 1):
        columns += [np.cos(k * angle), np.sin(k * angle)]
    return np.stack(columns, axis=1)


# ---------------------------------------------------------------- climatology


@dataclass(frozen=True, eq=False)
class Climatology:
    """The mean state by day of year and hour of day: for each hour that the record has, a mean and harmonics of the year.

    One or two years give a handful of samples for each calendar day, so their plain mean would carry their weather; `harmonics`
    smooths it. The same function of time serves every year.
    """

    coefficients: xr.Dataset  # (hour, harmonic, lat, lon): mean, cos, sin, cos 2, sin 2, ...

    @classmethod
    def fit(cls, record: xr.Dataset, harmonics: int = 2) -> Climatology:
        """Least squares on a training record (time, lat, lon), in one pass.

        Raises:
            ValueError: when the record is too short to tell the seasons.
        """
        return _Sums.over(record, harmonics).climatology()

    def part(self, ds: xr.Dataset) -> Climatology:
        """That of a dataset's variables, on its cells, which may be some of this one's.

        Raises:
            ValueError: when it has cells that this one has not.
        """
        found, grid = self.coefficients[list(ds.data_vars)], Grid.from_dataset(ds)
        if _cells(found, grid) is None:
            raise ValueError(
                f"expected cells of the climatology's {found.sizes['lat']} x {found.sizes['lon']} grid, "
                f"got {grid.shape[0]} x {grid.shape[1]} others: put the data on its grid first"
            )
        return Climatology(on_grid(found, grid))

    def at(self, times: xr.DataArray | np.ndarray) -> xr.Dataset:
        """The climatology at the given times: variables (time, lat, lon)."""
        times = np.atleast_1d(np.asarray(times))
        times = times if times.dtype == object else times.astype("datetime64[ns]")
        hours = hours_of_day(times)
        known = self.coefficients["hour"].values
        if unknown := sorted(set(hours.tolist()) - set(known.tolist())):
            raise ValueError(
                f"this climatology knows the hours {known.tolist()} UTC, not {unknown}: fit it on a record that has them"
            )
        waves = _waves(times, (self.coefficients.sizes["harmonic"] - 1) // 2).astype(np.float32)
        data = {}
        for v, a in self.coefficients.data_vars.items():
            values = np.empty((len(times), *a.shape[2:]), np.float32)
            for i, hour in enumerate(known):
                mine = hours == hour
                values[mine] = np.tensordot(waves[mine], a.values[i], 1)
            data[v] = (("time", "lat", "lon"), values, a.attrs)
        return xr.Dataset(data, {"time": times, "lat": self.coefficients.lat, "lon": self.coefficients.lon})

    def __call__(self, initial: xr.Dataset, lead_hours: float) -> xr.Dataset:
        """The forecast: the climatology at the valid times, whatever the initial state."""
        initial_times = np.atleast_1d(initial["time"].values)
        forecast = self.at(initial_times + np.timedelta64(round(lead_hours * 3600), "s"))
        return forecast[list(initial.data_vars)].assign_coords(time=initial_times)

    def anomaly(self, state: xr.Dataset) -> xr.Dataset:
        """A state minus the climatology at its own time."""
        return state - self.at(state["time"].values)[list(state.data_vars)]


# ---------------------------------------------------------------- one pass


@dataclass(eq=False)
class _Sums:
    """Everything that means, deviations and the climatology need, as sums over times at every grid cell, in float64.

    With the waves a(t) of `_waves` and departures y from a constant `offset`, the climatology of an hour solves (Σ a aᵀ) c = Σ a y, and
    Σ y² − cᵀ Σ a y is the squared anomaly that it leaves: one pass serves both.
    """

    grid: Grid
    times: np.ndarray
    offset: dict[str, float]  # keeps the squares of numbers such as 50,000 ± 500 from losing the 500
    gram: dict[int, np.ndarray]  # hour → Σ a aᵀ (K, K)
    moments: dict[str, dict[int, np.ndarray]]  # variable → hour → Σ a y (K, H, W)
    squares: dict[str, np.ndarray]  # variable → Σ y² (H, W)
    attrs: dict[str, dict]
    sha256: str

    @classmethod
    def over(cls, record: xr.Dataset, harmonics: int) -> _Sums:
        if "time" not in record.dims:
            raise ValueError("expected a record with a time dimension to average over, got none")
        names = [str(v) for v in record.data_vars if "time" in record[v].dims]
        times, grid = record["time"].values, Grid.from_dataset(record)
        sums = cls(
            grid=grid,
            times=times,
            offset={v: float(record[v].isel(time=0).mean()) for v in names},
            gram={},
            moments={v: {} for v in names},
            squares={v: np.zeros(grid.shape) for v in names},
            attrs={v: dict(record[v].attrs) for v in names},
            sha256="",
        )
        sha = hashlib.sha256(repr((names, grid.lat.tolist(), grid.lon.tolist(), str(times[0]), len(times))).encode())
        for start in range(0, len(times), BLOCK):
            block = record[names].isel(time=slice(start, start + BLOCK)).transpose("time", "lat", "lon")
            sums._add(block, harmonics, sha)
        sums.sha256 = sha.hexdigest()
        return sums

    def _add(self, block: xr.Dataset, harmonics: int, sha: Any) -> None:
        times = block["time"].values
        waves, hours = _waves(times, harmonics), hours_of_day(times)
        members = {int(h): np.flatnonzero(hours == h) for h in np.unique(hours)}
        for hour, mine in members.items():
            self.gram[hour] = self.gram.get(hour, 0.0) + waves[mine].T @ waves[mine]
        for v in self.moments:
            x = np.ascontiguousarray(block[v].values)
            finite = np.isfinite(x).all(axis=(1, 2))
            if not finite.all():
                raise ValueError(
                    f"expected finite values, got NaN or infinity in {v}, first at {times[~finite][0]!s:.16}: "
                    "fill them, or drop those times or the variable"
                )
            sha.update(x.tobytes())
            y = x.astype(np.float64) - self.offset[v]
            self.squares[v] += np.einsum("thw,thw->hw", y, y)
            for hour, mine in members.items():
                self.moments[v][hour] = self.moments[v].get(hour, 0.0) + np.tensordot(waves[mine], y[mine], (0, 0))

    def coefficients(self, v: str) -> np.ndarray:
        """(hour, harmonic, H, W) of the departures from the offset."""
        return np.stack(
            [
                np.tensordot(np.linalg.pinv(self.gram[hour], hermitian=True), self.moments[v][hour], 1)
                for hour in sorted(self.gram)
            ]
        )

    def climatology(self) -> Climatology:
        span = (
            (self.times[-1] - self.times[0]) / np.timedelta64(1, "D")
            if self.times.dtype != object
            else ((self.times[-1] - self.times[0]).days)
        )
        if span < 330:
            raise ValueError(f"expected a record of a year or more to tell the seasons, got {span:.0f} days")
        data = {}
        for v, attrs in self.attrs.items():
            c = self.coefficients(v)
            c[:, 0] += self.offset[v]
            data[v] = (("hour", "harmonic", "lat", "lon"), c.astype(np.float32), attrs)
        return Climatology(xr.Dataset(data, {"hour": sorted(self.gram), "lat": self.grid.lat, "lon": self.grid.lon}))

    def mean(self, v: str) -> float:
        """Over times and the globe, weighted by cos φ."""
        total = sum(m[0] for m in self.moments[v].values()) / len(self.times)
        return self.offset[v] + float((total.mean(axis=1) * self.grid.weights()).mean())

    def variance(self, v: str) -> float:
        """About `mean`."""
        square = (self.squares[v].mean(axis=1) * self.grid.weights()).mean() / len(self.times)
        return max(0.0, float(square) - (self.mean(v) - self.offset[v]) ** 2)

    def anomaly_variance(self, v: str) -> float:
        """About the climatology."""
        explained = sum(
            (c * self.moments[v][hour]).sum(axis=0)
            for hour, c in zip(sorted(self.gram), self.coefficients(v), strict=True)
        )
        left = (self.squares[v] - explained).mean(axis=1)
        return max(0.0, float((left * self.grid.weights()).mean()) / len(self.times))


# ---------------------------------------------------------------- statistics


def on_grid(ds: xr.Dataset, grid: Grid) -> xr.Dataset:
    """A dataset on another grid: its own cells where all of the grid's are among them, conservative means where they are not."""
    if (places := _cells(ds, grid)) is not None:
        if all(len(at) == ds.sizes[c] and (np.diff(at) == 1).all() for c, at in places.items()):
            return ds
        return ds.isel(places).assign_coords(lat=("lat", grid.lat, ds.lat.attrs), lon=("lon", grid.lon, ds.lon.attrs))
    out = regrid(ds, grid)
    if "lattitude" in out:  # a coordinate as a field: not a mean, but that of the new grid
        out["lattitude"] = out["lattitude"].copy(data=np.repeat(grid.lat[:, None], len(grid.lon), 1).astype("float32"))
    return out


def _cells(ds: xr.Dataset, grid: Grid) -> dict[str, np.ndarray] | None:
    """Where a grid's rows and columns are among a dataset's; None when some are not."""
    away = np.abs(ds["lat"].values[:, None] - grid.lat)
    across = np.abs((ds["lon"].values[:, None] - grid.lon + 180) % 360 - 180)
    if max(away.min(axis=0).max(), across.min(axis=0).max()) > 1e-3:
        return None
    return {"lat": away.argmin(axis=0), "lon": across.argmin(axis=0)}


@dataclass(frozen=True, eq=False)
class Statistics:
    """Means and deviations of a source, one number per variable, from its training part.

    Attributes:
        variables: V names; those that do not change in time have the statistics of their map.
        mean: (V,) over times and the globe, in the variable's units.
        std: (V,) about the mean; over times and space together, so differences between places count.
        anomaly_std: (V,) about the climatology; that of a map that does not change in time is its `std`.
        climatology: None when the record is too short for one.
        period: first and last time of the training part.
        sha256: of the training values, so that numbers fitted on other data can be told.
        source: a name for messages.
    """

    variables: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    anomaly_std: np.ndarray
    climatology: Climatology | None
    period: tuple[str, str]
    sha256: str
    source: str = ""

    @classmethod
    def fit(cls, record: xr.Dataset, source: str = "", harmonics: int = 2) -> Statistics:
        """One pass over a training record (time, lat, lon), in memory that does not grow with its length.

        Raises:
            ValueError: when there is no time dimension, or a value is not finite.
        """
        sums = _Sums.over(record, harmonics)
        try:
            climatology = sums.climatology()
        except ValueError:
            climatology = None
        weights = Grid.from_dataset(record).weights()[:, None]
        rows = []
        for v in map(str, record.data_vars):
            if v in sums.attrs:
                std = sums.variance(v) ** 0.5
                rows.append((sums.mean(v), std, sums.anomaly_variance(v) ** 0.5 if climatology else std))
            else:
                x = record[v].values.astype(np.float64)
                mean = float((x * weights).mean())
                std = float((((x - mean) ** 2) * weights).mean()) ** 0.5
                rows.append((mean, std, std))
        mean, std, anomaly_std = np.array(rows).T
        period = (str(sums.times[0])[:19], str(sums.times[-1])[:19])
        return cls(tuple(map(str, record.data_vars)), mean, std, anomaly_std, climatology, period, sums.sha256, source)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz`; it appears whole or not at all."""
        header: dict[str, Any] = {
            "format": FORMAT,
            "variables": self.variables,
            "period": self.period,
            "sha256": self.sha256,
            "source": self.source,
        }
        arrays = {"mean": self.mean, "std": self.std, "anomaly_std": self.anomaly_std}
        if self.climatology is not None:
            c = self.climatology.coefficients
            arrays |= {f"climatology {v}": c[v].values for v in c.data_vars}
            arrays |= {k: c[k].values for k in ("hour", "lat", "lon")}
            header["attrs"] = {str(v): c[v].attrs for v in c.data_vars}
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part.npz")
        np.savez(part, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Statistics:
        """Read what `save` wrote; no code in the file is ever run.

        Raises:
            ValueError: when the file is damaged, or not one of ours.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {k: file[k] for k in file.files}
            header = json.loads(str(arrays.pop("header")))
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a whole statistics file ({error}): delete it, and fit again") from error
        if header.get("format") != FORMAT:
            raise ValueError(f"{path}: expected format {FORMAT!r}, got {header.get('format')!r}: fit again")
        climatology = None
        if "hour" in arrays:
            dims = ("hour", "harmonic", "lat", "lon")
            data = {v: (dims, arrays[f"climatology {v}"], attrs) for v, attrs in header["attrs"].items()}
            climatology = Climatology(xr.Dataset(data, {k: arrays[k] for k in ("hour", "lat", "lon")}))
        return cls(
            tuple(header["variables"]),
            arrays["mean"],
            arrays["std"],
            arrays["anomaly_std"],
            climatology,
            tuple(header["period"]),
            header["sha256"],
            header["source"],
        )


@functools.lru_cache(maxsize=32)
def statistics(name: str, split: str = "train", grid_shape: tuple[int, int] | None = None) -> Statistics:
    """The statistics of a named source's training part, fitted once and kept in the user's cache.

    The cache is keyed by the checksums of the source's files, the split and the grid: other data, other numbers.

    Args:
        name: what `sources.source` takes.
        split: which part of it; anything but the training part is a leak.
        grid_shape: (H, W) of a regular grid to fit on after conservative regridding; by default the source's own grid.
    """
    from . import sources

    period = sources.split(name, split)
    key = hashlib.sha256(repr((FORMAT, sources.version(name), period, grid_shape)).encode()).hexdigest()[:16]
    path = Path(pooch.os_cache("climax_lite")) / "statistics" / f"{Path(name.partition('?')[0]).stem}-{split}-{key}.npz"
    if path.exists():
        try:
            return Statistics.load(path)
        except ValueError:
            path.unlink(missing_ok=True)  # a damaged cache is no reason to stop
    record = sources.open(name).sel(time=period)
    if grid_shape is not None:
        record = on_grid(record, Grid.regular(*grid_shape))
    found = Statistics.fit(record, name)
    with contextlib.suppress(OSError):  # nor is a disk that is full or read-only
        found.save(path)
    return found


# ---------------------------------------------------------------- normalisation


@dataclass(frozen=True, eq=False)
class Normalizer:
    """From physical values to numbers of order one, and back.

    Full state, as the paper: (x − mean) / std. Anomalies: (x − climatology at its time) / anomaly_std, for variables that change in
    time; maps that do not are always normalised as full state. A constant variable is divided by one.
    """

    statistics: Statistics
    anomalies: bool = False

    def __post_init__(self) -> None:
        if self.anomalies and self.statistics.climatology is None:
            raise ValueError(
                f"anomalies need a climatology, and the record from {' to '.join(self.statistics.period)} is too short for one: "
                "normalise the full state, or fit on a year or more"
            )

    def scale(self, names: Sequence[str]) -> np.ndarray:
        """(V,) what one normalised unit is worth, in each variable's units."""
        s = self.statistics
        std = dict(zip(s.variables, s.anomaly_std if self.anomalies else s.std, strict=True))
        if missing := [n for n in names if n not in std]:
            raise ValueError(
                f"no statistics for {', '.join(missing)} in source {s.source or 'unnamed'!r}; it has {', '.join(s.variables)}"
            )
        return np.array([std[n] or 1.0 for n in names])

    def apply(self, ds: xr.Dataset, times: np.ndarray | None = None) -> xr.Dataset:
        """Normalised fields, without units, of a dataset in physical units; `times` where the values are valid, if not `ds.time`."""
        centre = self._centre(ds, times)
        return self._each(ds, lambda x, name, scale: (x - centre[name]) / scale, units="1")

    def invert(self, ds: xr.Dataset, times: np.ndarray | None = None) -> xr.Dataset:
        """Physical fields of normalised ones."""
        centre = self._centre(ds, times)
        return self._each(ds, lambda x, name, scale: x * scale + centre[name], units=None)

    def _each(self, ds: xr.Dataset, convert: Any, units: str | None) -> xr.Dataset:
        names = [str(v) for v in ds.data_vars]
        out = ds.copy(
            data={
                n: convert(ds[n].values, n, np.float32(s)).astype(np.float32)
                for n, s in zip(names, self.scale(names), strict=True)
            }
        )
        for n in names:
            out[n].attrs = variable(n).attrs | ({"units": units} if units else {})
        return out

    def _centre(self, ds: xr.Dataset, times: np.ndarray | None) -> dict[str, Any]:
        mean = dict(zip(self.statistics.variables, self.statistics.mean, strict=True))
        centre: dict[str, Any] = {str(v): np.float32(mean.get(str(v), 0.0)) for v in ds.data_vars}
        moving = [str(v) for v in ds.data_vars if "time" in ds[v].dims]
        climatology = self.statistics.climatology
        if self.anomalies and climatology is not None and moving:
            missing = [v for v in moving if v not in climatology.coefficients]
            self.scale(missing)
            at = climatology.part(ds[moving]).at(ds["time"].values if times is None else times)
            centre |= {v: at[v].values for v in moving}
        return centre
