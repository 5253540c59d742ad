"""Samples that are not a state and a later one: windows of years for climate projection, coarse–fine pairs for downscaling.

B batch, T years, V variables, H W latitude × longitude. Both serve the same loaders as `ForecastSamples`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from ..variables import variable
from .forecast import Batch, Record
from .normalize import hours_of_day


def by_run(runs: Iterable[str], held_out: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split runs into those to learn from and those to be scored on. Windows of one run overlap, so a run is never divided.

    Raises:
        ValueError: when a held-out run is unknown, or nothing is left to learn from.
    """
    runs, held = tuple(runs), tuple(held_out)
    if unknown := sorted(set(held) - set(runs)):
        raise ValueError(f"unknown runs {', '.join(unknown)}: expected some of {', '.join(runs)}")
    rest = tuple(r for r in runs if r not in held)
    if not rest:
        raise ValueError("every run is held out: nothing is left to learn from")
    return rest, held


@dataclass(frozen=True, eq=False)
class ProjectionSamples:
    """Ten years of forcings and the climate of the last of them (ClimateBench's protocol, section 4.4 of Nguyen et al. 2023).

    A sample is a year of a run with `history` - 1 years of forcings before it. Windows never cross from one run into another.
    """

    source: str
    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    history: int
    forcings: tuple[np.ndarray, ...]  # one a run: (years, V, H, W) float32
    targets: tuple[np.ndarray, ...]  # one a run: (years, V_out, H, W) float32
    ends: np.ndarray  # (N, 2): run, position of the window's last year
    years: np.ndarray  # (N,) that year
    runs: tuple[str, ...]

    @classmethod
    def of(
        cls, runs: Mapping[str, tuple[xr.Dataset, xr.Dataset]], history: int = 10, source: str = ""
    ) -> ProjectionSamples:
        """Find the windows.

        Args:
            runs: name → (forcings, targets), both (time, lat, lon), normalised or not, as `scenarios` and `open_climatebench` give them;
                `time` counts years. Targets whose year has fewer than `history` years of forcings up to it are not used.
            history: T, years of forcings that a sample sees, its own included.

        Raises:
            ValueError: when runs differ in variables, `time` counts no years or has gaps, a target's year has no forcing, or no window
                is whole.
        """
        if not runs:
            raise ValueError("expected one run or more, got none")
        first_x, first_y = next(iter(runs.values()))
        names, out = tuple(map(str, first_x.data_vars)), tuple(map(str, first_y.data_vars))
        xs, ys, ends, years = [], [], [], []
        for number, (run, (x, y)) in enumerate(runs.items()):
            if tuple(x.data_vars) != names or tuple(y.data_vars) != out:
                raise ValueError(f"expected the variables {names} and {out} in every run, got others in {run}")
            for ds in (x, y):
                if "time" not in ds.coords or ds["time"].dtype.kind not in "iu":
                    raise ValueError(
                        f"expected a coordinate 'time' that counts years, such as 2015, got none in {run}: "
                        "use ds.assign_coords(time=ds.time.dt.year)"
                    )
                if (np.diff(ds["time"].values) != 1).any():
                    raise ValueError(f"expected consecutive years, got a gap in {run}")
            at = y["time"].values - int(x["time"].values[0])
            if at[0] < 0 or at[-1] >= x.sizes["time"]:
                raise ValueError(f"expected forcings for every year of the targets, got fewer in {run}")
            xs.append(_stack(x, names))
            ys.append(_stack(y, out))
            for position in np.flatnonzero(at >= history - 1):
                ends.append((number, at[position], position))
                years.append(int(y["time"].values[position]))
        if not ends:
            raise ValueError(f"no run has {history} years of forcings up to a year with a target")
        return cls(source, names, out, history, tuple(xs), tuple(ys), np.array(ends), np.array(years), tuple(runs))

    def __len__(self) -> int:
        return len(self.ends)

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Nothing is random: (B,) → (B, 1)."""
        return indices[:, None]

    def batch(self, drawn: np.ndarray) -> Batch:
        """x (B, T, V, H, W), y (B, V_out, H, W), lead time 0; `samples` holds the run's number and the year."""
        index = drawn[:, 0]
        ends = self.ends[index]
        x = np.stack([self.forcings[r][e - self.history + 1 : e + 1] for r, e, _ in ends])
        y = np.stack([self.targets[r][p] for r, _, p in ends])
        samples = np.stack([ends[:, 0], self.years[index]], axis=1)
        return Batch(
            torch.from_numpy(x),
            torch.from_numpy(y),
            torch.zeros(len(index)),
            self.variables,
            self.out_variables,
            self.source,
            torch.from_numpy(samples),
        )


def _stack(ds: xr.Dataset, names: Iterable[str]) -> np.ndarray:
    return np.stack([ds[n].transpose("time", "lat", "lon").values for n in names], axis=1).astype(np.float32)


def daily_means(ds: xr.Dataset) -> xr.Dataset:
    """Means over the 24 hours that end at each 00 UTC, and are labelled by it, as the days of the world `fine` are.

    For states at equal steps, by the trapezoidal rule: those at the two ends count half. Of states at 00 and 12 UTC a wave of one day
    cancels, and one of half a day stays. Days with a state missing are left out; maps that do not change in time are kept.

    Args:
        ds: (time, lat, lon) at steps that divide a day, among them 00 UTC.

    Raises:
        ValueError: when the steps do not divide a day, no day is whole, or a variable is none of a state: what belongs to the six hours
            before its time says nothing about the other half of twelve.
    """
    if fluxes := [str(v) for v in ds.data_vars if variable(str(v)).kind == "flux"]:
        raise ValueError(f"expected states, got sums or means over six hours: leave out {', '.join(fluxes)}")
    times = ds["time"].values
    step = (times[1:] - times[:-1]).min() if len(times) > 1 else np.timedelta64(0, "h")
    day = np.timedelta64(1, "D")
    if not step or day % step:
        raise ValueError(
            f"expected two times or more, at steps that divide a day, got {len(times)} and {step / day * 24:g} h"
        )
    n = int(day // step)
    ends = np.flatnonzero(hours_of_day(times) == 0)
    ends = ends[ends >= n]
    ends = ends[times[ends] - times[ends - n] == day]
    if not len(ends):
        raise ValueError("expected all states from one 00 UTC to the next, got no whole day")
    moving = ds[[v for v in ds.data_vars if "time" in ds[v].dims]]
    shares = [0.5 / n, *[1 / n] * (n - 1), 0.5 / n]
    coords = {"time": ds["time"][ends]}
    with xr.set_options(keep_attrs=True):
        parts = [share * moving.isel(time=ends - k).assign_coords(coords) for k, share in enumerate(shares)]
        mean = sum(parts[1:], parts[0]).astype("float32")
    return ds.drop_dims("time").assign(mean)[list(ds.data_vars)]


def same_days(coarse: xr.Dataset, fine: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Maps of the same dates in two worlds, or, where they share none, of the same days of the year, the first year that has them in
    `coarse`; labelled with the fine ones' times.

    Raises:
        ValueError: when they share no day.
    """
    ours, theirs = fine["time"].values, coarse["time"].values
    if not np.isin(ours, theirs).any():
        ours, theirs = _day_and_hour(ours), _day_and_hour(theirs)
    known, first = np.unique(theirs, return_index=True)
    held = np.isin(ours, known)
    if not held.any():
        raise ValueError("expected days of the year that both worlds have, got none")
    fine = fine.isel(time=held)
    at = first[np.searchsorted(known, ours[held])]
    return coarse.isel(time=at).assign_coords(time=fine["time"]), fine


def _day_and_hour(times: np.ndarray) -> np.ndarray:
    """Month, day and hour as one number: the same for every year."""
    if times.dtype == object:  # cftime
        return np.array([10_000 * t.month + 100 * t.day + t.hour for t in times])
    months = times.astype("datetime64[M]")
    days = (times.astype("datetime64[D]") - months).astype(int) + 1
    return 10_000 * (months.astype(int) % 12 + 1) + 100 * days + hours_of_day(times)


@dataclass(frozen=True, eq=False)
class PairSamples:
    """A coarse state and the fine state of the same time, for downscaling; for two worlds with weather of their own see `same_days`.

    Attributes:
        coarse: the input, on its own grid or already interpolated to the fine one.
        fine: the target.
        at: (N, 2) positions of the common times in both.
    """

    coarse: Record
    fine: Record
    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    at: np.ndarray

    @classmethod
    def of(
        cls,
        coarse: Record,
        fine: Record,
        variables: Iterable[str] | None = None,
        out_variables: Iterable[str] | None = None,
    ) -> PairSamples:
        """Match the times of two records; those that only one of them has are left out.

        Args:
            variables: the inputs; by default all of `coarse`, those that do not change in time last.
            out_variables: the targets; by default all of `fine` that change in time.

        Raises:
            ValueError: when they have no time in common.
        """
        _, left, right = np.intersect1d(coarse.times, fine.times, return_indices=True)
        if not len(left):
            raise ValueError(
                f"expected times in common, got {coarse.times[0]!s:.16} to {coarse.times[-1]!s:.16} "
                f"and {fine.times[0]!s:.16} to {fine.times[-1]!s:.16}"
            )
        inputs = tuple(variables or coarse.variables + coarse.static_variables)
        out = tuple(out_variables or fine.variables)
        coarse.check(inputs)
        fine.check(out)
        return cls(coarse, fine, inputs, out, np.stack([left, right], axis=1))

    @property
    def source(self) -> str:
        """The fine record's name."""
        return self.fine.name

    def __len__(self) -> int:
        return len(self.at)

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Nothing is random: (B,) → (B, 1)."""
        return indices[:, None]

    def batch(self, drawn: np.ndarray) -> Batch:
        """x (B, V, h, w) coarse, y (B, V_out, H, W) fine, lead time 0."""
        left, right = self.at[drawn[:, 0]].T
        samples: Any = np.stack([right, np.zeros_like(right)], axis=1)
        return Batch(
            self.coarse.gather(left, self.variables),
            self.fine.gather(right, self.out_variables),
            torch.zeros(len(left)),
            self.variables,
            self.out_variables,
            self.source,
            torch.from_numpy(samples),
        )
