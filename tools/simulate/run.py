"""Run a world month by month (statistics of years: year by year). A kill at any moment loses at most the stretch in hand, and the next
call goes on without a seam."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from climax_lite.variables import variable

from . import checks
from .world import World

STATISTICS = {
    "tas": ("K", "2 m temperature, annual mean"),
    "diurnal_temperature_range": ("K", "warmest less coldest 2 m temperature of a day, annual mean"),
    "pr": ("kg m-2 s-1", "precipitation, annual mean"),
    "pr90": ("kg m-2 s-1", "90th percentile of daily precipitation within the year"),
    "sea_heat_flux": ("W m-2", "heat flux into the sea, monthly mean"),
}
"""Names, units and meaning of what is kept of months and years; the first four are those of ClimateBench."""


def run(world: World, folder: Path, years: int | None = None, position: int = 0) -> None:
    """Integrate `world` and write its files on the native grid into `folder` (beside it: the worlds that it needs).

    Every stretch ends with the state of the model in `state.npz`; files appear whole or not at all, the state last. `log.csv` keeps
    global means day by day. The last month of the spin-up is kept too: it ends with 00 UTC of the first day.

    Raises:
        checks.Refused: when the atmosphere leaves its bounds; the last good state stays.
    """
    end = world.start.replace(year=world.start.year + (world.years if years is None else years))
    if (reached := _reached(folder / "state.npz")) is not None and reached >= end:
        print(f"{world.name}: has run to {reached} already")
        return
    from .atmosphere import Atmosphere  # JAX starts here, after the world has been checked

    folder.mkdir(parents=True, exist_ok=True)
    _lock_held = _lock(folder / "lock")
    q_flux = monthly_q_flux(folder.parent / world.sea.q_flux) if world.sea.slab else None
    atmosphere = Atmosphere.build(world, q_flux)
    day = restore(atmosphere, folder / "state.npz")
    if day is None:
        day = world.first_day
        if world.restart:
            _continue_from(atmosphere, folder.parent / world.restart)
        if world.perturbation:
            atmosphere.perturb(world.perturbation, seed=1)
    checks.cut_log(folder / "log.csv", day)
    yearly = world.output.every == "year"
    with tqdm(
        total=(end - world.first_day).days,
        initial=(day - world.first_day).days,
        unit="day",
        desc=f"{world.name:12}",
        position=position,
        mininterval=1.0,
    ) as progress:
        while day < end:
            first, last = day, _next(day, yearly)
            if first < world.start:
                last = min(last, world.start)
            days, log = [], []
            while day < last:
                out, monitor = atmosphere.advance_a_day(day)
                checks.a_day(world, day, monitor, atmosphere.latitude, atmosphere.longitude)
                log.append({"day": day.isoformat(), **{k: f"{v:.7g}" for k, v in monitor.items()}})
                if last >= world.start:
                    days.append(reduce_day(out, world.output.every))
                day += dt.timedelta(days=1)
                progress.update()
            checks.append_log(folder / "log.csv", log)
            if first >= world.start:
                columns = {k: np.array([float(row[k]) for row in log]) for k in log[0] if k != "day"}
                checks.means(world, f"from {first} to {last}", columns)
            if days and not (yearly and first < world.start):
                ds = _dataset(atmosphere, days, first, last)
                _write(ds, folder / (f"{first:%Y}.nc" if yearly else f"{first:%Y-%m}.nc"))
            save(atmosphere, day, folder / "state.npz")


def _reached(path: Path) -> dt.date | None:
    """The day of a saved state, or None where there is none."""
    if not path.exists():
        return None
    with np.load(path) as saved:
        return dt.date.fromisoformat(str(saved["day"]))


def _lock(path: Path):
    """An open file that no other process can lock, released when it is closed or its process dies."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = open(path, "w")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError(f"{path.parent.name} is being run by another process: wait for it, or stop it") from error
    return file


def _next(day: dt.date, yearly: bool) -> dt.date:
    """The first day of the next month, or of the next year."""
    if yearly or day.month == 12:
        return dt.date(day.year + 1, 1, 1)
    return dt.date(day.year, day.month + 1, 1)


def reduce_day(out: dict[str, np.ndarray], every: str) -> dict[str, np.ndarray]:
    """From four outputs of (4, lon, lat) to what is kept of a day: the same, or one value each, (1, lon, lat).

    Precipitation is summed (and called `total_precipitation_24hr`), extremes give the diurnal range, everything else is averaged.
    """
    if every == "6h":
        return out
    day = {}
    for name, x in out.items():
        if name == "total_precipitation_6hr":
            day["total_precipitation_24hr"] = x.sum(axis=0, keepdims=True)
        elif name == "warmest":
            day["range"] = x.max(axis=0, keepdims=True) - out["coldest"].min(axis=0, keepdims=True)
        elif name != "coldest":
            day[name] = x.mean(axis=0, keepdims=True)
    return day


def statistics(days: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Statistics of a month or a year, (1, lon, lat) each, from its days; rates of precipitation in kg m-2 s-1."""
    every = {name: np.concatenate([d[name] for d in days]) for name in days[0]}
    out = {}
    for name, x in every.items():
        if name == "total_precipitation_24hr":
            rate = x * (1000.0 / 86400.0)  # metres of water a day
            out["pr"], out["pr90"] = rate.mean(axis=0), np.percentile(rate, 90, axis=0)
        else:
            out[{"mean_2m_temperature": "tas", "range": "diurnal_temperature_range"}.get(name, name)] = x.mean(axis=0)
    return {name: x[None] for name, x in out.items()}


def _dataset(atmosphere, days: list[dict[str, np.ndarray]], first: dt.date, last: dt.date) -> xr.Dataset:
    world = atmosphere.world
    every = world.output.every
    if every in ("6h", "day"):
        stacked = {name: np.concatenate([d[name] for d in days]) for name in days[0]}
        step = np.timedelta64(6 if every == "6h" else 24, "h")
        times = np.datetime64(first, "ns") + np.arange(1, len(next(iter(stacked.values()))) + 1) * step
    else:
        stacked = statistics(days)
        times = np.array([first + (last - first) // 2], "datetime64[ns]")
    grid = ("time", "lat", "lon")
    data = {}
    for name, x in stacked.items():
        units = STATISTICS[name][0] if name in STATISTICS else variable(name).units
        data[name] = (grid, x.swapaxes(-1, -2).astype("float32"), {"units": units})
    data["orography"] = (grid[1:], atmosphere.orography.T.astype("float32"), {"units": "m"})
    data["land_sea_mask"] = (grid[1:], atmosphere.land_fraction.T.astype("float32"), {"units": "1"})
    if every == "year":
        middle = first + (last - first) // 2
        data["co2"] = (("time",), np.array([atmosphere.co2(middle)], "float32"), {"units": "ppm"})
        data["dimming"] = (grid, atmosphere.dimming(middle).T[None], {"units": "1"})
        data["scenario_year"] = (("time",), np.array([world.scenario_year(middle)], "float32"), {"units": "year"})
    attrs = {"title": world.title, "world": json.dumps(asdict(world), default=str)}
    return xr.Dataset(data, {"time": times, "lat": atmosphere.latitude, "lon": atmosphere.longitude}, attrs)


def _write(ds: xr.Dataset, path: Path) -> None:
    # 15 significant bits leave 1 m2 s-2 of geopotential; the rest is noise that does not compress.
    lossy = {"zlib": True, "complevel": 1, "shuffle": True, "significant_digits": 15, "quantize_mode": "BitRound"}
    part = path.with_suffix(".part")
    ds.to_netcdf(part, encoding={name: lossy for name, v in ds.data_vars.items() if v.dims == ("time", "lat", "lon")})
    os.replace(part, path)


def open_run(folder: Path, first: str | None = None, last: str | None = None) -> xr.Dataset:
    """The files of a run as one dataset, lazily; `first` and `last` are the beginnings of file names, such as 1985 or 1985-03."""
    files = [
        p for p in sorted(folder.glob("*.nc")) if (first or "") <= p.stem and (last is None or p.stem <= last + "~")
    ]
    if not files:
        raise ValueError(f"no files in {folder}: run the world first ('python -m tools.simulate run {folder.name}')")
    return xr.open_mfdataset(
        files, combine="nested", concat_dim="time", data_vars="minimal", coords="minimal", compat="override"
    )


def monthly_q_flux(folder: Path) -> np.ndarray:
    """(12, lon, lat): the mean heat flux into the sea of each calendar month of a run with prescribed sea, W m-2.

    The global mean over the sea is kept: it is the imbalance of that run, which would otherwise warm or cool the slab for ever.
    """
    ds = open_run(folder)
    flux = ds.sea_heat_flux.groupby("time.month").mean()
    if flux.sizes["month"] < 12:
        raise ValueError(
            f"{folder.name}: expected all twelve months, got {flux.sizes['month']}: run it for a year first"
        )
    return flux.transpose("month", "lon", "lat").values.astype("float32")


def save(atmosphere, day: dt.date, path: Path) -> None:
    """Keep the state of the model at 00 UTC of `day`."""
    import jax

    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(atmosphere.carry)]
    part = path.with_name("state.part.npz")
    np.savez(part, day=day.isoformat(), **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
    os.replace(part, path)


def restore(atmosphere, path: Path) -> dt.date | None:
    """Put a saved state back; returns its day, or None where there is none."""
    import jax

    if not path.exists():
        return None
    with np.load(path) as saved:
        leaves, tree = jax.tree_util.tree_flatten(atmosphere.carry)
        if len(saved.files) != len(leaves) + 1:
            raise ValueError(
                f"{path} holds {len(saved.files) - 1} arrays, this world has {len(leaves)}: another recipe made it; move the folder away"
            )
        atmosphere.carry = jax.tree_util.tree_unflatten(
            tree, [jax.numpy.asarray(saved[f"leaf{i}"]) for i in range(len(leaves))]
        )
        return dt.date.fromisoformat(str(saved["day"]))


def _continue_from(atmosphere, folder: Path) -> None:
    """Start from the last state of another run, with this world's own clock.

    Raises:
        ValueError: when the other has no state, or is still running: its last state would be that of some year in the middle.
    """
    if folder.exists() and (free := _lock(folder / "lock")):
        free.close()
    _, _, clock, n, _ = atmosphere.carry
    if restore(atmosphere, folder / "state.npz") is None:
        raise ValueError(f"{folder} has no state: run {folder.name} first")
    state, physics, _, _, slabs = atmosphere.carry
    atmosphere.carry = (state, physics, clock, n, slabs)
