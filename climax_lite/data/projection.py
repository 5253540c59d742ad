"""Climate projection: runs of forcings and annual climate, and their normalisation.

A run is a pair (forcings, climate) of datasets (time, lat, lon) whose `time` counts years. `scenarios` gives the embedded runs of the
simulated world, `archives.open_climatebench` those of ClimateBench, in the same form.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ..grid import Grid
from ..variables import variable
from . import sources

Runs = dict[str, tuple[xr.Dataset, xr.Dataset]]
"""Name → (forcings, climate)."""

CONTROL = "piControl"
"""The run that changes are counted from."""

EXPERIMENTS = (
    CONTROL, "abrupt-2xCO2", "historical", "hist-GHG", "hist-aer", "ssp126", "ssp245", "ssp370", "ssp585",
)  # fmt: skip
"""The experiments that there may be, in this order; `scenario_runs` says which there are."""

CLIMATE = ("2m_temperature", "diurnal_temperature_range", "precipitation_rate", "precipitation_rate_90")
"""What came out: annual means, and the 90th percentile of the daily precipitation within the year."""


def scenario_runs(folder: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """The runs that are there: embedded, or as `{run}.nc` in a folder of your own."""
    there = _files(folder)
    return tuple(run for run in EXPERIMENTS if run in there)


def scenarios(
    runs: Iterable[str] | None = None,
    *,
    member: int | None = None,
    anomalies: bool = True,
    folder: str | os.PathLike[str] | None = None,
) -> Runs:
    """Runs of the simulated world under changing carbon dioxide and haze, as `ProjectionSamples` and the emulators take them.

    Args:
        runs: some of `scenario_runs()`; all by default. `ssp245` is the one to be scored on.
        member: the number of one member of the runs, from 1; by default the mean of those that each run has.
        anomalies: climate minus its mean in the control run, as ClimateBench has it; else as it is, a temperature near 288 K.
        folder: where `{run}.nc` lie, further members as `{run}-2.nc`, if not the embedded ones.

    Returns:
        Name → (forcings, climate), each (time, lat, lon) float32 on the 32 × 64 grid; `time` is the year of the simulation, a whole number.
        The forcing is compressed: `scenario_year`, beside `time`, is the year that it belongs to, five a year until 2014, then 2.43.
        Forcings: `CO2` (ppm), the same everywhere, and `dimming` (1), the part of the sunshine that haze takes; before a scenario come the
        historical years, for the first windows to look back into. Climate: `CLIMATE`, in K and kg m-2 s-1 (times 86,400 is mm a day);
        its attribute `members` says how many it is the mean of.

    Raises:
        ValueError: for a run or a member that is not there, or a damaged file.
    """
    there = _files(folder)
    wanted = scenario_runs(folder) if runs is None else tuple(runs)
    needed = [*wanted]
    needed += ["historical"] if any(run.startswith("ssp") for run in wanted) else []
    needed += [CONTROL] if anomalies else []
    if missing := [run for run in dict.fromkeys(needed) if run not in there]:
        have = ", ".join(scenario_runs(folder)) or "none"
        raise ValueError(
            f"there is no run {', '.join(missing)}, which is needed for {', '.join(wanted)}; there is {have}"
        )
    control = _climate(_members(CONTROL, None, there)).mean("time") if anomalies else None
    past = [_opened(there["historical"])[["CO2", "dimming"]]] if "historical" in needed else []
    out = {}
    for run in wanted:
        members = _members(run, member, there)
        before = past if run.startswith("ssp") else []
        x = xr.concat([*before, members[0][["CO2", "dimming"]]], "time", join="exact")
        y = _climate(members)
        if control is not None:
            y = y - control
        for name in CLIMATE:
            y[name].attrs = variable(name).attrs if control is None else change_attrs(name)
        y.attrs["members"] = len(members)
        out[run] = x.broadcast_like(x["dimming"]).transpose("time", "lat", "lon").astype("float32"), y.astype("float32")
    return out


def _files(folder: str | os.PathLike[str] | None) -> dict[str, Path]:
    """Name of a run, with the number of a member behind it from the second on → its file; an embedded one is fetched where it is used."""
    if folder is None:
        return {Path(name).stem: Path(name) for name in sources.registered("scenarios/")}
    return {path.stem: path for path in sorted(Path(folder).resolve().glob("*.nc"))}


def _members(run: str, member: int | None, there: Mapping[str, Path]) -> list[xr.Dataset]:
    numbers = [
        1,
        *(int(n) for name in there if name.startswith(f"{run}-") and (n := name.removeprefix(f"{run}-")).isdigit()),
    ]
    if member is not None and member not in numbers:
        raise ValueError(f"{run} has no member {member}: expected one of {', '.join(map(str, numbers))}")
    chosen = numbers if member is None else [member]
    return [_opened(there[run if number == 1 else f"{run}-{number}"]) for number in chosen]


def _climate(members: Sequence[xr.Dataset]) -> xr.Dataset:
    """The mean of the members."""
    parts = [ds[list(CLIMATE)].astype("float64") for ds in members]
    return xr.concat(parts, "member", join="exact").mean("member").transpose("time", "lat", "lon")


def _opened(file: Path) -> xr.Dataset:
    path = file if file.is_absolute() else sources.local(file.as_posix())
    try:
        return xr.load_dataset(path, engine="netcdf4")
    except (OSError, ValueError) as error:
        if importlib.util.find_spec("netCDF4") is None:
            raise ValueError(f"{path} needs the package netCDF4: pip install 'climax-lite[notebook]'") from None
        raise ValueError(f"{path} could not be read ({error}): is it whole? Fetch it again") from error


def change_attrs(name: str) -> dict[str, str | int]:
    """Attributes of a variable that is counted from its mean in the control run."""
    known = variable(name)
    return {
        "units": known.units,
        "long_name": f"{known.long_name} minus its mean in the pre-industrial control",
        "short_name": f"Δ{known.short}",
    }


# ---------------------------------------------------------------- normalisation


@dataclass(frozen=True)
class Scaling:
    """(x − mean) / deviation of annual maps: one pair of numbers a variable, from the training runs, to be kept with the model.

    Both weigh cells by cos φ, and are taken over years and places together. `Normalizer` does this for the weather, whose climatology
    has seasons; years have none.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]

    @classmethod
    def fit(cls, runs: Iterable[xr.Dataset]) -> Scaling:
        """Of the forcings of some runs, or of their climates: `Scaling.fit(x for x, _ in training.values())`.

        A variable that never changes is divided by one.

        Raises:
            ValueError: when there is no run, runs differ in variables, or a value is not finite.
        """
        parts = list(runs)
        if not parts:
            raise ValueError("expected one run or more, got none")
        names = [str(v) for v in parts[0].data_vars]
        if any([*map(str, ds.data_vars)] != names for ds in parts):
            raise ValueError(f"expected the variables {', '.join(names)} in every run, got others in some")
        mean, std = {}, {}
        for name in names:
            x = np.concatenate([ds[name].transpose("time", "lat", "lon").values.astype(np.float64) for ds in parts])
            if not np.isfinite(x).all():
                raise ValueError(f"expected finite values, got NaN or infinity in {name}")
            weights = Grid.from_dataset(parts[0]).weights()[:, None]
            mean[name] = float((x * weights).mean())
            std[name] = float((((x - mean[name]) ** 2) * weights).mean()) ** 0.5 if np.ptp(x) else 1.0
        return cls(mean, std)

    def apply(self, ds: xr.Dataset) -> xr.Dataset:
        """Normalised maps, without units, of physical ones."""
        mean, std = self._of(ds)
        out = ((ds - mean) / std).astype("float32")
        for name in out.data_vars:
            out[name].attrs = ds[name].attrs | {"units": "1"}
        return out

    def invert(self, ds: xr.Dataset) -> xr.Dataset:
        """Physical maps of normalised ones; their units are those of the maps that `fit` saw."""
        mean, std = self._of(ds)
        return (ds * std + mean).astype("float32")

    def arrays(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation as (V,) float32, for tensors whose channels are `names`."""
        self._known(names)
        return tuple(np.array([table[n] for n in names], np.float32) for table in (self.mean, self.std))  # type: ignore[return-value]

    def _of(self, ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        names = [str(v) for v in ds.data_vars]
        self._known(names)
        return xr.Dataset({n: self.mean[n] for n in names}), xr.Dataset({n: self.std[n] for n in names})

    def _known(self, names: Iterable[str]) -> None:
        if missing := [n for n in names if n not in self.mean]:
            raise ValueError(f"no numbers for {', '.join(missing)}; there are some for {', '.join(self.mean)}")
