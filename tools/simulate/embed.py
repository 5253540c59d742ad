"""Check a generated world and pack a part of it into `data/`, with its line in the registry."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pooch
import xarray as xr

from climax_lite.data import packed
from climax_lite.data.sources import REGISTRY
from climax_lite.grid import Grid
from climax_lite.regrid import weights
from climax_lite.variables import variable

from . import checks
from .run import open_run
from .world import World, find

FREEZING = 271.35  # K, of sea water
DATA = Path(__file__).parents[2] / "data"


def conservative(x: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """First-order conservative means over the target's cells of (..., lat, lon)."""
    lat, lon = weights(source, target, "conservative")
    return np.einsum("ij,...jk,lk->...il", lat, x, lon, optimize=True)


def check(world: World, folder: Path, first: dt.date | None = None, last: dt.date | None = None) -> str:
    """All checks of a run, or of the files from `first` to `last` and of the log as a whole; returns its drift in words.

    Raises:
        checks.Refused: naming what is out of bounds, where and by how much.
    """
    ds = open_run(folder, first and f"{first:%Y-%m}", last and f"{last:%Y-%m}")
    drifts = checks.finished(world, ds, checks.read_log(folder / "log.csv"))
    words = [f"{name} {change:+.3g} {checks.DRIFT[name][1]} a year" for name, change in drifts.items()]
    return "drift: " + (", ".join(words) or "not measured, since the run is shorter than 15 months")


def embed(world: World, folder: Path, first: dt.date, last: dt.date) -> str:
    """Check the days from `first` to `last`, both included, write `data/<world>/<year>.cxp` and its checksum.

    Refuses to overwrite a file, since history would keep both.
    """
    path = DATA / world.name / f"{first:%Y}{packed.SUFFIX}"
    if path.exists():
        raise FileExistsError(
            f"{path} exists; a committed data file is never rewritten. Remove it first if it was never committed."
        )
    drift = check(world, folder, first, last)
    before = first - dt.timedelta(days=1)  # its file ends with 00 UTC of the first day
    out = part(world, open_run(folder, f"{before:%Y-%m}", f"{last:%Y-%m}"), first, last)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed.write(path, out, world.embedded.noise, world.embedded.default_noise, world.embedded.roots)
    register(path)
    return f"{path.relative_to(DATA)} {path.stat().st_size / 1e6:.2f} MB; {drift}"


def part(world: World, ds: xr.Dataset, first: dt.date, last: dt.date) -> xr.Dataset:
    """What is embedded of the days from `first` to `last`: the times, variables and grid that the world file names, still unpacked."""
    kept = world.embedded
    start, end = np.datetime64(first), np.datetime64(last + dt.timedelta(days=1))
    hours = (ds.time.values - start) / np.timedelta64(1, "h")
    ds = ds.sel(time=(ds.time >= start) & (ds.time < end) & (hours % kept.hours == 0))
    expected = int((end - start) / np.timedelta64(kept.hours, "h"))
    if ds.sizes["time"] != expected:
        raise ValueError(
            f"expected {expected} times {kept.hours} hours apart from {first} to {last}, got {ds.sizes['time']}: "
            "run the world further first"
        )
    source = Grid.from_dataset(ds)
    target = Grid.regular(*kept.grid) if kept.grid else source
    out = xr.Dataset(
        coords={"time": ds.time, "lat": target.lat, "lon": target.lon},
        attrs={"title": world.title, "world": ds.attrs["world"]},
    )
    for name in kept.variables:
        x = ds[name].values
        if name == "sea_surface_temperature":
            # Where there is ice or land, SPEEDY's boundary field goes on down to 236 K; under ice the sea is at its freezing point.
            x = np.maximum(x, FREEZING)
        if kept.grid:
            x = conservative(x.astype("float64"), source, target).astype("float32")
        out[variable(name).name] = (ds[name].dims, x)
    return out


SCENARIOS = {
    "slab": "piControl", "doubled": "abrupt-2xCO2", "hist": "historical", "hist-ghg": "hist-GHG", "hist-aer": "hist-aer",
    "ssp126": "ssp126", "ssp245": "ssp245", "ssp245-2": "ssp245-2", "ssp245-3": "ssp245-3", "ssp370": "ssp370", "ssp585": "ssp585",
}  # fmt: skip
"""Worlds → their files in `data/scenarios`, named as in CMIP6; a number behind it is that of a member."""

ANNUAL = {
    "tas": "2m_temperature",
    "diurnal_temperature_range": "diurnal_temperature_range",
    "pr": "precipitation_rate",
    "pr90": "precipitation_rate_90",
}
"""Statistics of a year as a run keeps them → the package's names."""


def embed_scenarios(generated: Path) -> str:
    """Write `data/scenarios/<experiment>.nc` for every run that has finished and is not there yet; says which have not finished."""
    lines = []
    for name, experiment in SCENARIOS.items():
        path = DATA / "scenarios" / f"{experiment}.nc"
        if path.exists():  # and a committed data file is never rewritten
            continue
        world, folder = find(name), generated / name
        done = len(list(folder.glob("[0-9][0-9][0-9][0-9].nc")))
        if done < world.years:
            lines.append(
                f"{name}: {done} of {world.years} years have run: 'python -m tools.simulate run {name}' goes on with it"
            )
            continue
        drift = check(world, folder)
        ds = scenario(world, open_run(folder).load())
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.to_netcdf(path, encoding={str(v): _rounding(ds[v]) for v in ds.data_vars})
        register(path)
        lines.append(f"{path.relative_to(DATA)} {path.stat().st_size / 1e6:.2f} MB; {drift}")
    return "\n".join(lines)


def scenario(world: World, run: xr.Dataset) -> xr.Dataset:
    """What is embedded of a run: (time, lat, lon) on the regular 32 x 64 grid; `time` is the year of the run's own clock.

    Years in which the world was still settling are left out.
    """
    settled = world.first_day + dt.timedelta(days=world.settling_days)
    run = run.isel(time=[i for i, year in enumerate(run.time.dt.year.values) if dt.date(int(year), 1, 1) >= settled])
    source, target = Grid.from_dataset(run), Grid.regular(32, 64)
    out = xr.Dataset(
        coords={"time": run.time.dt.year.values.astype("int32"), "lat": target.lat, "lon": target.lon},
        attrs={"title": world.title, "experiment": SCENARIOS.get(world.name, world.name), "world": run.attrs["world"]},
    )
    out["time"].attrs = {"long_name": "year of the simulation"}
    maps = ("time", "lat", "lon")
    for name, ours in ANNUAL.items():
        x = conservative(run[name].values.astype("float64"), source, target)
        out[ours] = (maps, x.astype("float32"), variable(ours).attrs)
    dimming = conservative(run.dimming.values.astype("float64"), source, target).astype("float32")
    out["dimming"] = (maps, dimming, {"units": "1", "long_name": "fraction of insolation that the haze takes"})
    out["CO2"] = (("time",), run.co2.values, {"units": "ppm", "long_name": "concentration of carbon dioxide"})
    words = {"units": "year", "long_name": "year of the forcing, which is compressed in time"}
    return out.assign_coords(scenario_year=(("time",), run.scenario_year.values, words))


def _rounding(v: xr.DataArray) -> dict:
    """Multiples of a tenth of the deviation from year to year: less than 3 % of it is lost, and what was none stays none."""
    if "lat" not in v.dims:
        return {}
    step = 1e-4 if v.name == "dimming" else 0.1 * float(v.diff("time").std() / np.sqrt(2))
    if not step:
        return {}
    packing = {"dtype": "int16", "scale_factor": step, "_FillValue": -32768}
    return packing | {"zlib": True, "complevel": 9, "shuffle": True}


def register(path: Path) -> None:
    """Put a file and its SHA-256 into the registry."""
    key, checksum = path.relative_to(DATA).as_posix(), pooch.file_hash(str(path))
    lines = [line for line in REGISTRY.read_text().splitlines() if line.split()[:1] != [key]]
    REGISTRY.write_text("\n".join(sorted([*lines, f"{key} sha256:{checksum}"])) + "\n")
