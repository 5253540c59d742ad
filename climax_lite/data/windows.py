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

from .forecast import Batch, Record


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
            runs: name → (forcings, targets), both (year, lat, lon), normalised or not. Targets whose year has fewer than `history`
                years of forcings up to it are not used.
            history: T, years of forcings that a sample sees, its own included.

        Raises:
            ValueError: when runs differ in variables, years have gaps, a target's year has no forcing, or no window is whole.
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
                if (np.diff(ds["year"].values) != 1).any():
                    raise ValueError(f"expected consecutive years, got a gap in {run}")
            at = y["year"].values - int(x["year"].values[0])
            if at[0] < 0 or at[-1] >= x.sizes["year"]:
                raise ValueError(f"expected forcings for every year of the targets, got fewer in {run}")
            xs.append(_stack(x, names))
            ys.append(_stack(y, out))
            for position in np.flatnonzero(at >= history - 1):
                ends.append((number, at[position], position))
                years.append(int(y["year"].values[position]))
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
    return np.stack([ds[n].transpose("year", "lat", "lon").values for n in names], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PairSamples:
    """A coarse state and the fine state of the same time, for downscaling.

    Attributes:
        coarse: the input, on its own grid or already interpolated to the fine one.
        fine: the target.
        at: (N, 2) positions of the common times in both.
        paired: whether both come from the same weather; an unpaired set has the same seasons and other weather.
    """

    coarse: Record
    fine: Record
    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    at: np.ndarray
    paired: bool = True

    @classmethod
    def of(
        cls,
        coarse: Record,
        fine: Record,
        variables: Iterable[str] | None = None,
        out_variables: Iterable[str] | None = None,
        paired: bool = True,
    ) -> PairSamples:
        """Match the times of two records; those that only one of them has are left out.

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
        return cls(coarse, fine, inputs, out, np.stack([left, right], axis=1), paired)

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
