"""Run a world month by month. A kill at any moment loses at most the month in hand, and the next call goes on without a seam."""

from __future__ import annotations

import calendar
import datetime as dt
import json
import os
from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

from climax_lite.variables import variable

from .world import World


def run(world: World, folder: Path, years: int | None = None) -> None:
    """Integrate `world` and write `YYYY-MM.nc` on the native grid into `folder`, from the
    last month of the spin-up on.

    Every month ends with the state of the model in `state.npz`; both files appear whole or not at all, the state last.
    """
    from .atmosphere import Atmosphere  # JAX starts here, after the world has been checked

    folder.mkdir(parents=True, exist_ok=True)
    atmosphere = Atmosphere.build(world)
    day = _restore(atmosphere, folder / "state.npz") or world.first_day
    end = world.start.replace(year=world.start.year + (world.years if years is None else years))
    progress = tqdm(
        total=(end - world.first_day).days, initial=(day - world.first_day).days, unit="day", desc=world.name
    )
    while day < end:
        days = calendar.monthrange(day.year, day.month)[1] - day.day + 1
        if day < world.start:
            days = min(days, (world.start - day).days)
        outputs = []
        for _ in range(days):
            outputs.append(atmosphere.advance_a_day(day))
            day += dt.timedelta(days=1)
            progress.update()
        first = day - dt.timedelta(days=days)
        if not np.isfinite(outputs[-1]["surface_pressure"]).all():
            raise FloatingPointError(
                f"{world.name}: not finite by {day}; the last good state is that of {first}. Try a shorter time step."
            )
        if day >= world.start:  # the last month of the spin-up too: it ends with 00 UTC of the first day
            _write_month(atmosphere, outputs, first, folder / f"{first:%Y-%m}.nc")
        _save(atmosphere, day, folder / "state.npz")
    progress.close()


def _write_month(atmosphere, outputs: list[dict[str, np.ndarray]], first: dt.date, path: Path) -> None:
    times = np.datetime64(first, "ns") + np.arange(1, 4 * len(outputs) + 1) * np.timedelta64(6, "h")
    data = {}
    for name in outputs[0]:
        values = np.concatenate([o[name] for o in outputs]).swapaxes(-1, -2)
        data[name] = (("time", "lat", "lon"), values.astype("float32"), {"units": variable(name).units})
    data["orography"] = (("lat", "lon"), atmosphere.orography.T.astype("float32"), {"units": "m"})
    data["land_sea_mask"] = (("lat", "lon"), atmosphere.land_fraction.T.astype("float32"), {"units": "1"})
    world = atmosphere.world
    attrs = {
        "title": world.title,
        "world": json.dumps(world.__dict__, default=lambda o: getattr(o, "__dict__", str(o))),
    }
    ds = xr.Dataset(data, {"time": times, "lat": atmosphere.latitude, "lon": atmosphere.longitude}, attrs)
    # 15 significant bits leave 1 m2 s-2 of geopotential; the rest is noise that does not compress.
    lossy = {"zlib": True, "complevel": 1, "shuffle": True, "significant_digits": 15, "quantize_mode": "BitRound"}
    part = path.with_suffix(".part")
    ds.to_netcdf(part, encoding={name: lossy for name in outputs[0]})
    os.replace(part, path)


def _save(atmosphere, day: dt.date, path: Path) -> None:
    import jax

    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(atmosphere.carry)]
    part = path.with_name("state.part.npz")
    np.savez(part, day=day.isoformat(), **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})
    os.replace(part, path)


def _restore(atmosphere, path: Path) -> dt.date | None:
    import jax

    if not path.exists():
        return None
    with np.load(path) as saved:
        leaves, tree = jax.tree_util.tree_flatten(atmosphere.carry)
        atmosphere.carry = jax.tree_util.tree_unflatten(
            tree, [jax.numpy.asarray(saved[f"leaf{i}"]) for i in range(len(leaves))]
        )
        return dt.date.fromisoformat(str(saved["day"]))
