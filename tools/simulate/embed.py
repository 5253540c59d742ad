"""Regrid a year of a generated world and pack it into `data/`, with its line in the registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch
import xarray as xr

from climax_lite.data import packed
from climax_lite.data.sources import REGISTRY
from climax_lite.grid import Grid
from climax_lite.variables import variable

from .world import World

FREEZING = 271.35  # K, of sea water
DATA = Path(__file__).parents[2] / "data"


def overlap(source_edges: np.ndarray, target_edges: np.ndarray) -> np.ndarray:
    """(target, source) shares of each target interval that each source interval covers; rows sum to one."""
    low = np.maximum(source_edges[None, :-1], target_edges[:-1, None])
    high = np.minimum(source_edges[None, 1:], target_edges[1:, None])
    length = np.clip(high - low, 0.0, None)
    return length / length.sum(axis=1, keepdims=True)


def conservative(x: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """First-order conservative means over the target's cells of (..., lat, lon): areas are exact, the date line is no edge."""
    lat = overlap(np.sin(np.deg2rad(source.lat_edges)), np.sin(np.deg2rad(target.lat_edges)))
    # One source grid to the west and one to the east, so that every target cell lies within.
    edges = source.lon_edges
    wide = np.concatenate([edges[:-1] - 360, edges[:-1], edges + 360])
    lon = overlap(wide, target.lon_edges).reshape(len(target.lon), 3, -1).sum(axis=1)
    return np.einsum("ij,...jk,lk->...il", lat, x, lon, optimize=True)


def embed(world: World, folder: Path, year: int) -> str:
    """Write `data/<world>/<year>.cxp` and its checksum; refuses to overwrite a file, since history would keep both."""
    path = DATA / world.name / f"{year}{packed.SUFFIX}"
    if path.exists():
        raise FileExistsError(
            f"{path} exists; a committed data file is never rewritten. Remove it first if it was never committed."
        )
    first, last = np.datetime64(f"{year}-01-01"), np.datetime64(f"{year + 1}-01-01")
    files = sorted(folder.glob(f"{year - 1}-12.nc")) + sorted(folder.glob(f"{year}-*.nc"))
    ds = xr.open_mfdataset(
        files, combine="nested", concat_dim="time", data_vars="minimal", coords="minimal", compat="override"
    )
    ds = ds.sel(time=(ds.time >= first) & (ds.time < last))
    expected = int((last - first) / np.timedelta64(6, "h"))
    if ds.sizes["time"] != expected:
        raise ValueError(
            f"expected {expected} six-hourly times in {year}, got {ds.sizes['time']}: run the world further first"
        )
    source, target = Grid.from_dataset(ds), Grid.regular(*world.embedded.grid)
    out = xr.Dataset(
        coords={"time": ds.time, "lat": target.lat, "lon": target.lon},
        attrs={"title": world.title, "world": ds.attrs["world"]},
    )
    # Where there is ice or land, SPEEDY's boundary field goes on down to 236 K; under ice the sea is at its freezing point.
    ds["sea_surface_temperature"] = np.maximum(ds["sea_surface_temperature"], FREEZING)
    for name in world.embedded.variables:
        out[variable(name).name] = (
            ds[name].dims,
            conservative(ds[name].values.astype("float64"), source, target).astype("float32"),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    packed.write(path, out, world.embedded.noise, world.embedded.default_noise)
    key, checksum = path.relative_to(DATA).as_posix(), pooch.file_hash(str(path))
    lines = (
        [line for line in REGISTRY.read_text().splitlines() if line.split()[:1] != [key]] if REGISTRY.exists() else []
    )
    REGISTRY.write_text("\n".join(sorted([*lines, f"{key} sha256:{checksum}"])) + "\n")
    return f"{key} {path.stat().st_size / 1e6:.2f} MB sha256:{checksum}"
