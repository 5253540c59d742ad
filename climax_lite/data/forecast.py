"""From a record of the weather to batches of an initial state and what came after it.

B batch, V variables, H W latitude × longitude, T times.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from filelock import FileLock

from ..grid import Grid, Region
from . import sources
from .leads import LEADS
from .normalize import Normalizer, on_grid, statistics


def valid_at(ds: xr.Dataset, initial_times: Any, lead_hours: float) -> xr.Dataset:
    """The state `lead_hours` after each initial time, labelled by the initial time, so that forecasts and truth line up.

    Args:
        ds: a record with a `time` coordinate.
        initial_times: times (T,) of the record.
        lead_hours: lead time in hours.

    Returns:
        The record at `initial_times + lead_hours`; `time` holds the initial times and `valid_time` (T,) the valid ones.

    Raises:
        ValueError: when a valid time is not in the record: the last initial times of a record have no later state to be checked against.
    """
    initial = np.atleast_1d(np.asarray(initial_times, dtype="datetime64[ns]"))
    valid = initial + np.timedelta64(round(lead_hours * 3600), "s")
    missing = ~np.isin(valid, ds["time"].values)
    if missing.any():
        last = ds["time"].values[-1] - np.timedelta64(round(lead_hours * 3600), "s")
        raise ValueError(
            f"{int(missing.sum())} of {len(initial)} valid times are not in the record, the first of them {valid[missing][0]!s:.16}: "
            f"at a lead of {lead_hours:g} h use initial times up to {last!s:.16} that lie on the record's steps"
        )
    return ds.sel(time=valid).assign_coords(time=initial, valid_time=("time", valid))


# ---------------------------------------------------------------- a batch


@dataclass(frozen=True)
class Batch:
    """What a training step needs: tensors, and the names that belong to them.

    Attributes:
        x: (B, V, H, W) inputs, float32; (B, T, V, H, W) for projection.
        y: (B, V_out, H', W') targets.
        lead_hours: (B,) float32.
        variables: names of x's channels.
        out_variables: names of y's channels.
        source: where the samples come from; one source per batch.
        samples: (B, 2) int64: position of the initial time in the source's record, and lead time in hours. Tells samples apart.
    """

    x: torch.Tensor
    y: torch.Tensor
    lead_hours: torch.Tensor
    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    source: str
    samples: torch.Tensor

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """The batch on another device."""
        return self._map(lambda t: t.to(*args, **kwargs))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from where a GPU fetches faster."""
        return self._map(lambda t: t.pin_memory())

    def _map(self, f: Any) -> Batch:
        tensors = {k.name: f(v) for k in fields(self) if isinstance(v := getattr(self, k.name), torch.Tensor)}
        return replace(self, **tensors)

    def __len__(self) -> int:
        return len(self.x)


# ---------------------------------------------------------------- the record as an array


@dataclass(frozen=True, eq=False)
class Record:
    """A record as one array, time first, so that a state is one piece of memory; resident, or memory-mapped from a file.

    Attributes:
        values: (T, V, H, W) float32 of the variables that change in time.
        static: (S, H, W) float32 of those that do not.
        variables: V names.
        static_variables: S names.
        times: (T,) as in the dataset, ascending by whole hours.
        lat, lon: (H,) and (W,) in degrees.
        name: the source.
    """

    values: np.ndarray
    static: np.ndarray
    variables: tuple[str, ...]
    static_variables: tuple[str, ...]
    times: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    name: str

    @classmethod
    def of(
        cls,
        ds: xr.Dataset,
        name: str = "",
        path: str | os.PathLike[str] | None = None,
        block: int = 128,
        ready: Callable[[xr.Dataset], xr.Dataset] | None = None,
    ) -> Record:
        """Read a dataset, normalised or not, into memory, or into files at `path` that are mapped into memory.

        Args:
            ds: variables (time, lat, lon) and (lat, lon).
            name: the source, for batches and messages.
            path: a folder; what an earlier call with the same path wrote is opened without reading `ds` again. It is written as a
                whole or not at all.
            block: times that are read at once.
            ready: what is done to every block of times, such as regridding and normalising: so a long record is never in memory as a
                whole before it is ready.

        Raises:
            ValueError: when the folder holds another record, or times do not ascend by whole hours.
        """
        moving = tuple(str(v) for v in ds.data_vars if "time" in ds[v].dims)
        still = tuple(str(v) for v in ds.data_vars if v not in moving)
        if not moving or not ds.sizes["time"]:
            raise ValueError(
                "expected variables that change in time, got none" if not moving else "expected times, got none"
            )
        times = ds["time"].values
        _hours(times)
        first = _readied(ds, slice(0, 1), ready)
        grid = Grid.from_dataset(first)
        static = np.stack([first[v].values for v in still]) if still else np.empty((0, *grid.shape))
        shape = (len(times), len(moving), *grid.shape)
        rest = (static.astype(np.float32), moving, still, times, grid.lat, grid.lon, name)
        if path is None:
            return cls(_fill(np.empty(shape, np.float32), ds, moving, block, ready), *rest)
        folder = Path(path)
        about = {
            "variables": moving,
            "static": still,
            "shape": shape,
            "first": str(times[0]),
            "last": str(times[-1]),
        }
        about = json.loads(json.dumps(about))
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # of several processes the first writes, the others wait
            if not (folder / "about.json").exists():
                part = folder / f"values.{os.getpid()}.part"
                mapped = np.lib.format.open_memmap(part, "w+", np.float32, shape)
                _fill(mapped, ds, moving, block, ready).flush()
                os.replace(part, folder / "values.npy")
                (folder / "about.part").write_text(json.dumps(about))
                os.replace(folder / "about.part", folder / "about.json")
        if (found := json.loads((folder / "about.json").read_text())) != about:
            other = ", ".join(k for k in about if found.get(k) != about[k])
            raise ValueError(f"{folder} holds another record ({other} differ): give another folder, or delete this one")
        return cls(np.load(folder / "values.npy", mmap_mode="r"), *rest)

    @classmethod
    def prepared(
        cls,
        name: str,
        part: str = "train",
        grid_shape: tuple[int, int] | None = (32, 64),
        anomalies: bool = True,
        folder: str | os.PathLike[str] | None = None,
    ) -> Record:
        """A split of a named source as a network takes it: on a regular grid, normalised with the statistics of its training part.

        Args:
            name: what `sources.source` takes.
            part: a split of it.
            grid_shape: (H, W); other grids are regridded conservatively. None stays on the source's own.
            anomalies: from the climatology, in units of their deviation (else the full state).
            folder: where prepared records are kept and mapped into memory, for those that do not fit in it; by default they are held.
        """
        normalizer = Normalizer(statistics(name, grid_shape=grid_shape), anomalies)
        grid = Grid.regular(*grid_shape) if grid_shape else None
        path = None
        if folder:
            about = (
                sources.version(name),
                sources.split(name, part),
                grid_shape,
                anomalies,
                normalizer.statistics.sha256,
            )
            key = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
            path = Path(folder) / f"{sources.source(name).name}-{part}-{key}"
        ds = sources.open(name).sel(time=sources.split(name, part))
        return cls.of(ds, name, path, ready=lambda block: normalizer.apply(on_grid(block, grid) if grid else block))

    @functools.cached_property
    def hours(self) -> np.ndarray:
        """(T,) int64: whole hours since the first time."""
        return _hours(self.times)

    @property
    def grid_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.values.shape[2], self.values.shape[3]

    def crop(self, box: str | Region, patch_size: int = 1, cover: bool = False) -> Record:
        """The cells of the patches that lie in a region: those whose ids `Grid.patch_ids` gives to the model, in their order."""
        grid = Grid(self.lat, self.lon)
        rows, cols = grid.patch_cells(grid.patch_ids(box, patch_size, cover), patch_size)
        return replace(
            self,
            values=self.values[:, :, rows][..., cols],
            static=self.static[:, rows][..., cols],
            lat=self.lat[rows],
            lon=self.lon[cols],
        )

    def whole_patches(self, patch_size: int) -> Record:
        """Without the outermost rows and columns that fill no patch, cut evenly from both ends, one more from the northern and eastern.

        Raises:
            ValueError: when the grid is smaller than a patch.
        """
        if min(self.grid_shape) < patch_size:
            raise ValueError(f"expected a grid of at least {patch_size} x {patch_size} cells, got {self.grid_shape}")
        rows, cols = (slice((n % patch_size) // 2, n - -(-(n % patch_size) // 2)) for n in self.grid_shape)
        return replace(
            self,
            values=self.values[:, :, rows, cols],
            static=self.static[:, rows, cols],
            lat=self.lat[rows],
            lon=self.lon[cols],
        )

    def __len__(self) -> int:
        return len(self.values)

    def autocorrelation(self, lag_hours: int, pairs: int = 240) -> np.ndarray:
        """(V,) Σ x(t)·x(t+lag) / Σ x(t)², weighted by cos φ: of anomalies, the factor by which damped persistence multiplies today's.

        Args:
            lag_hours: the lag.
            pairs: at most so many pairs of times, spread evenly.

        Raises:
            ValueError: when no two times are that far apart.
        """
        later = np.searchsorted(self.hours, self.hours + lag_hours).clip(max=len(self) - 1)
        first = np.flatnonzero(self.hours[later] == self.hours + lag_hours)
        if not len(first):
            raise ValueError(f"{self.name or 'this record'} holds no pair of times {lag_hours} h apart")
        first = first[:: -(-len(first) // pairs)]
        weights = Grid(self.lat, self.lon).weights().astype(np.float32)
        moved, total = (np.zeros(len(self.variables)) for _ in range(2))
        for a, b in zip(first, later[first], strict=True):
            weighted = self.values[a] * weights[:, None]
            moved += np.einsum("vhw,vhw->v", weighted, self.values[b])
            total += np.einsum("vhw,vhw->v", weighted, self.values[a])
        return moved / np.where(total == 0, 1, total)

    def check(self, names: Iterable[str]) -> None:
        """Refuse a variable that the record lacks, before a worker does."""
        known = self.variables + self.static_variables
        if missing := [n for n in names if n not in known]:
            raise ValueError(f"{self.name or 'this record'} has no {', '.join(missing)}; it has {', '.join(known)}")

    def gather(self, positions: np.ndarray, variables: Sequence[str]) -> torch.Tensor:
        """States at the given positions (B,) → (B, len(variables), H, W) float32; each state is copied once."""
        self.check(variables)
        if tuple(variables) == self.variables:  # whole states, which is the fastest
            return torch.from_numpy(self.values.take(positions, axis=0))
        out = np.empty((len(positions), len(variables), *self.grid_shape), np.float32)
        for first, last, start in self._runs(tuple(variables)):
            if start is None:
                out[:, first:last] = self.static[[self.static_variables.index(v) for v in variables[first:last]]]
                continue
            for b, position in enumerate(positions):
                out[b, first:last] = self.values[position, start : start + last - first]
        return torch.from_numpy(out)

    def _runs(self, variables: tuple[str, ...]) -> list[tuple[int, int, int | None]]:
        """The wanted channels as runs of neighbours: (first, last + 1, position in `values`, or None for those without time)."""
        runs: list[tuple[int, int, int | None]] = []
        for i, v in enumerate(variables):
            at = self.variables.index(v) if v in self.variables else None
            if runs:
                first, last, start = runs[-1]
                if (at is None) == (start is None) and (start is None or at == start + last - first):
                    runs[-1] = (first, i + 1, start)
                    continue
            runs.append((i, i + 1, at))
        return runs


def _fill(
    values: np.ndarray,
    ds: xr.Dataset,
    names: Sequence[str],
    block: int,
    ready: Callable[[xr.Dataset], xr.Dataset] | None,
) -> Any:
    for start in range(0, len(values), block):
        part = _readied(ds[list(names)], slice(start, start + block), ready).transpose("time", "lat", "lon")
        for i, v in enumerate(names):
            values[start : start + block, i] = part[v].values
    return values


def _readied(ds: xr.Dataset, times: slice, ready: Callable[[xr.Dataset], xr.Dataset] | None) -> xr.Dataset:
    part = ds.isel(time=times)
    return ready(part.load()) if ready else part


def _hours(times: np.ndarray) -> np.ndarray:
    since = times - times[0]
    seconds = np.array([d.total_seconds() for d in since]) if since.dtype == object else since / np.timedelta64(1, "s")
    hours = np.rint(seconds / 3600).astype(np.int64)
    if (hours * 3600 != seconds).any() or (np.diff(hours) <= 0).any():
        raise ValueError("expected times that ascend by whole hours: sort them, and drop what lies between")
    return hours


# ---------------------------------------------------------------- samples


@dataclass(frozen=True, eq=False)
class ForecastSamples:
    """Every valid pair of an initial state and a later one in a record, or in a part of it.

    A sample is an initial time; its lead time is drawn uniformly from those of `leads` that end inside the record (with one lead time,
    nothing is random). Times are compared as times: a gap in the record costs the pairs that would need the missing times, and no
    others. Nothing outside the record is ever a target, so records of splits that do not overlap share no state.
    """

    record: Record
    leads: tuple[int, ...]
    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    window: tuple[int, int] | None
    initial: np.ndarray  # (N,) positions of initial times with at least one valid lead time
    valid: np.ndarray  # (N, len(leads)) position of the target in `targets`, or -1
    targets: Record

    @classmethod
    def of(
        cls,
        record: Record,
        leads: Iterable[int] | int = LEADS,
        out_variables: Sequence[str] | None = None,
        variables: Sequence[str] | None = None,
        window: tuple[int, int] | None = None,
        region: str | Region | None = None,
        patch_size: int = 1,
        cover: bool = False,
    ) -> ForecastSamples:
        """Find the pairs.

        Args:
            record: what to draw from; only its times count as valid. For a split, make the record of `ds.sel(time=split(...))`.
            leads: lead times in hours; one for a direct forecast. Ignored with `window`.
            out_variables: what to predict; by default all that change in time.
            variables: what to give the model; by default all, those that change in time first.
            window: (after, until) in hours: the target is the mean over times t with after < t − t0 <= until, as for weeks 3 and 4
                (`WEEKS_3_4`); all times of the window must be in the record. The lead time that the model is told is the window's middle.
            region: keep of the targets the whole patches of `patch_size` cells in this region; inputs stay global.
            cover: keep the patches that lie in it partly, too.

        Raises:
            ValueError: when no pair is valid.
        """
        out = tuple(out_variables or record.variables)
        inputs = tuple(variables or record.variables + record.static_variables)
        record.check(inputs)
        record.check(out)
        if window is not None:
            leads = ((window[0] + window[1]) // 2,)
            targets, starts = _window_means(record, out, window)
            valid = np.full((len(record), 1), -1)
            valid[starts, 0] = np.arange(len(starts))
        else:
            leads = (leads,) if isinstance(leads, int) else tuple(leads)
            if not leads or min(leads) < 0:
                raise ValueError(f"expected lead times of zero or more hours, got {leads}")
            targets = record
            wanted = record.hours[:, None] + np.asarray(leads)
            found = np.searchsorted(record.hours, wanted).clip(max=len(record) - 1)
            valid = np.where(record.hours[found] == wanted, found, -1)
        if region is not None:
            targets = targets.crop(region, patch_size, cover)
        initial = np.flatnonzero((valid >= 0).any(axis=1))
        if not len(initial):
            what = f"window {window}" if window else f"lead times {leads}"
            raise ValueError(
                f"no valid pair in {record.name or 'the record'}: {len(record)} times over {record.hours[-1]} h, {what} hours; "
                "take shorter lead times or a longer record"
            )
        return cls(record, leads, inputs, out, window, initial, valid[initial], targets)

    @property
    def source(self) -> str:
        """The source's name."""
        return self.record.name

    def __len__(self) -> int:
        return len(self.initial)

    @property
    def pairs(self) -> int:
        """How many different (initial time, lead time) pairs there are."""
        return int((self.valid >= 0).sum())

    def subset(self, fraction: float) -> ForecastSamples:
        """A part of the initial times, spread evenly: every hundredth for 0.01.

        Raises:
            ValueError: when the fraction is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"expected a fraction above 0 and at most 1, got {fraction:g}")
        count = max(1, round(fraction * len(self)))
        keep = ((np.arange(count) + 0.5) * len(self) / count).astype(int)
        return replace(self, initial=self.initial[keep], valid=self.valid[keep])

    def at_most(self, count: int) -> ForecastSamples:
        """No more than `count` initial times, spread evenly."""
        return self.subset(min(1.0, count / len(self)))

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Choose the lead time of each sample: indices (B,) → (B, 2), index and position in `leads`."""
        allowed = self.valid[indices] >= 0
        rank = (rng.random(len(indices)) * allowed.sum(axis=1)).astype(np.int64)  # the rank-th valid lead
        return np.stack([indices, (allowed.cumsum(axis=1) > rank[:, None]).argmax(axis=1)], axis=1)

    def batch(self, drawn: np.ndarray) -> Batch:
        """The batch of what `draw` chose."""
        index, lead = drawn.T
        hours = np.asarray(self.leads)[lead]
        positions = self.initial[index]
        return Batch(
            x=self.record.gather(positions, self.variables),
            y=self.targets.gather(self.valid[index, lead], self.out_variables),
            lead_hours=torch.from_numpy(hours.astype(np.float32)),
            variables=self.variables,
            out_variables=self.out_variables,
            source=self.source,
            samples=torch.from_numpy(np.stack([positions, hours], axis=1)),
        )


def _window_means(record: Record, names: Sequence[str], window: tuple[int, int]) -> tuple[Record, np.ndarray]:
    """Means over (t0 + after, t0 + until] for every initial time whose window is whole, and the positions of those times."""
    after, until = window
    steps = np.diff(record.hours)
    step = int(steps.min()) if len(steps) else 0
    if not 0 <= after < until or not step or (until - after) % step or after % step:
        raise ValueError(
            f"expected a window (after, until) of whole steps of {step} h with 0 <= after < until, got {window}"
        )
    count = (until - after) // step
    first = np.searchsorted(record.hours, record.hours + after + step).clip(max=len(record) - 1)
    last = first + count - 1
    inside = last < len(record)
    starts = np.flatnonzero(inside)
    # All times of the window are there when its ends are, at the right distance: times ascend, and none is closer than a step.
    whole = (record.hours[first[starts]] == record.hours[starts] + after + step) & (
        record.hours[last[starts]] == record.hours[starts] + until
    )
    starts = starts[whole]
    chosen = [record.variables.index(v) for v in names if v in record.variables]
    if len(chosen) < len(names):
        raise ValueError(f"expected variables that change in time for means over a window, got {', '.join(names)}")
    values = np.empty((len(starts), len(chosen), *record.grid_shape), np.float32)
    for i, c in enumerate(chosen):
        total = np.concatenate(
            [np.zeros((1, *record.grid_shape)), np.cumsum(record.values[:, c], axis=0, dtype=np.float64)]
        )
        values[:, i] = (total[first[starts] + count] - total[first[starts]]) / count
    means = replace(
        record,
        values=values,
        static=record.static[:0],
        variables=tuple(names),
        static_variables=(),
        times=record.times[starts],
    )
    return means, starts
