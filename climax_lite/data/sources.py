"""Where data come from: a registry of named sources, one way to open them, and the checks at the door."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import xarray as xr

from ..grid import Grid
from ..variables import canonical_units, variable, variables
from . import packed

REGISTRY = Path(__file__).with_name("registry.txt")
"""The embedded files and their SHA-256, in pooch's format."""

_BARE = {"kg kg-1": ("1",)}
"""Ratios that files also give as plain numbers."""

_REMOTE = "https://raw.githubusercontent.com/climax-lite/climax-lite/main/data/"
_CHECKOUT = Path(__file__).parents[2] / "data"


@dataclass(frozen=True)
class Source:
    """A named dataset.

    Attributes:
        name: what `open` takes.
        title: one line for a human.
        role: what it stands for: `reanalysis`, `climate model`, or `fine` (of pairs for downscaling).
        splits: first and last day of each split, with gaps of at least six weeks: the longest lead time plus averaging window. A climate
            model is there to learn from: its year is all training, and scores come from the reference world.
        simulated: True for the project's own simulated worlds, which are neither ERA5 nor CMIP6.
        path: where data of your own lie; empty for the embedded ones.
    """

    name: str
    title: str
    role: str
    splits: Mapping[str, tuple[str, str]]
    simulated: bool = True
    path: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Its files in the registry, in order of time."""
        return registered(f"{self.name}/")


SOURCES: dict[str, Source] = {
    s.name: s
    for s in (
        Source(
            "reference",
            "The world that plays the reanalysis: SPEEDY at T31 with observed sea-surface temperatures, 6-hourly, 5.625°",
            "reanalysis",
            {
                "train": ("1985-01-01", "1985-12-31"),
                "validation": ("1987-02-15", "1987-06-15"),
                "test": ("1986-02-15", "1986-12-31"),
            },
        ),
        Source(
            "windy",
            "A model world with little friction: SPEEDY at T21, no diurnal cycle, climatological sea, 12-hourly, 32 × 64 Gaussian",
            "climate model",
            {"train": ("2001-01-01", "2001-12-31")},
        ),
        Source(
            "sunny",
            "A model world with few and thin clouds: SPEEDY at T21, the sea of 2005 plus 1 K, 12-hourly, 32 × 64 Gaussian",
            "climate model",
            {"train": ("2005-01-01", "2005-12-31")},
        ),
        Source(
            "rainy",
            "A model world with eager rain: SPEEDY at T31, the sea of 1997, 12-hourly, 48 × 96 Gaussian",
            "climate model",
            {"train": ("1997-01-01", "1997-12-31")},
        ),
        Source(
            "smooth",
            "A model world with lame storms: SPEEDY at T31, strong diffusion and drag, a cool sea, 12-hourly, 48 × 96 Gaussian",
            "climate model",
            {"train": ("2001-01-01", "2001-12-31")},
        ),
        Source(
            "dry",
            "The idealised world of Held and Suarez at T31: no water, no mountains, no seasons, 12-hourly, 48 × 96 Gaussian",
            "climate model",
            {"train": ("2001-01-01", "2001-12-31")},
        ),
        Source(
            "fine",
            "The fine half of the pairs for downscaling: SPEEDY at T63 with its own terrain, daily, 96 × 192 Gaussian",
            "fine",
            {
                "train": ("1985-01-01", "1985-07-31"),
                "validation": ("1985-09-12", "1985-10-10"),
                "test": ("1985-11-22", "1985-12-31"),
            },
        ),
    )
}


def source(name: str) -> Source:
    """A source by name: a key of `SOURCES`, or data of your own with their splits behind the path.

    `data/era5.zarr?train=1979/2015,validation=2016,test=2017/2018` names a store and the first and last year, month or day of each part,
    both included. Parts may touch, but not overlap.

    Raises:
        ValueError: for an unknown name, or parts that are none.
    """
    if name in SOURCES:
        return SOURCES[name]
    path, mark, parts = name.partition("?")
    if not mark:
        raise ValueError(
            f"unknown dataset {name!r}: expected one of {', '.join(SOURCES)}, or a path with the periods of its parts, "
            "such as era5.zarr?train=1979/2015,validation=2016,test=2017/2018"
        )
    splits = {part: _period(dates, name) for part, _, dates in (p.partition("=") for p in parts.split(","))}
    ordered = sorted(splits.items(), key=lambda item: item[1])
    for (before, (_, last)), (after, (first, _)) in itertools.pairwise(ordered):
        if first <= last:
            raise ValueError(
                f"{name}: expected parts that do not overlap, got {before} to {last} and {after} from {first}"
            )
    return Source(Path(path).stem, path, "own", splits, simulated=False, path=path)


def _period(dates: str, name: str) -> tuple[str, str]:
    """`1979/2015`, `2016` or `2016-01/2016-06` → first and last day."""
    first, _, last = dates.partition("/")
    try:
        begin, end = np.datetime64(first), np.datetime64(last or first)
    except ValueError:
        begin = end = np.datetime64("NaT")
    if not begin <= end:
        raise ValueError(f"{name}: expected a period such as 1979/2015, 2016 or 2016-01-01/2016-06-30, got {dates!r}")
    day = np.timedelta64(1, "D")
    return str(begin.astype("M8[D]")), str((end + 1).astype("M8[D]") - day)


def open(name: str | os.PathLike[str], variables: Iterable[str] | None = None) -> xr.Dataset:
    """Open a dataset by name, lazily, with checked names, units and coordinates.

    Args:
        name: one of

            - a key of `SOURCES`, such as `reference`: the embedded worlds (for scenarios: `climax_lite.data.scenarios`);
            - `generated:reference`: all years of a world that `make data` has made, on its own grid;
            - `weatherbench2`, `weatherbench2-climatology`: ERA5 from object storage, which needs a network;
            - the path of a file or folder of NetCDF, zarr, GRIB or packed files: your own data, or what `climax-lite data get` wrote;
              what follows a question mark is for `split`, see `source`.
        variables: names or aliases of the variables to keep, in that order; all of them by default.

    Returns:
        One variable per channel (`geopotential_500`), float32, dimensions (time, lat, lon) or (lat, lon), each with `units`, `long_name`
        and `standard_name`; `lat` ascending, `lon` from 0 eastwards. A channel is decoded when it is first used.

    Raises:
        ValueError: for an unknown source or variable, a damaged file, or no network where one is needed.
    """
    if name in SOURCES:
        return _embedded(SOURCES[str(name)], variables)
    from . import archives

    remote = {
        "weatherbench2": archives.open_weatherbench2,
        "weatherbench2-climatology": archives.open_weatherbench2_climatology,
    }
    if name in remote:
        return remote[str(name)](variables=variables)
    kind, colon, world = os.fspath(name).partition(":")
    if kind == "generated" and colon:
        folder = (data_folder() or Path("data")) / "generated" / world
        if not folder.is_dir():
            raise ValueError(
                f"{folder} does not exist: make it with 'make data WORLD={world}', or open an embedded world"
            )
        return archives.open_folder(folder, variables)
    path = os.fspath(name).partition("?")[0]
    if Path(path).exists() or os.sep in path:
        return archives.open_folder(path, variables)
    if name == "scenarios":
        raise ValueError(
            "scenarios are runs of years, each with its forcings: open them with climax_lite.data.scenarios()"
        )
    known = ", ".join([*SOURCES, *remote])
    raise ValueError(
        f"unknown dataset {str(name)!r}: expected one of {known}, generated:WORLD, or the path of a file or folder"
    )


def _embedded(source: Source, variables: Iterable[str] | None) -> xr.Dataset:
    ds = packed.open_files([local(f) for f in source.files], gaps=True)
    ds["lattitude"] = (
        ("lat", "lon"),
        np.broadcast_to(ds.lat.values[:, None].astype("float32"), (ds.sizes["lat"], ds.sizes["lon"])),
    )
    for v in ds.data_vars:
        ds[v].attrs = variable(str(v)).attrs
    ds["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude", "long_name": "latitude"}
    ds["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude", "long_name": "longitude"}
    ds["time"].attrs = {"standard_name": "time", "long_name": "valid time"}
    if variables is not None:
        ds = select(ds, variables)
    return check(ds, values=False)


def split(name: str, part: str) -> slice:
    """The times of a split, for `ds.sel(time=split("reference", "train"))`.

    Raises:
        ValueError: for an unknown dataset or split.
    """
    splits = source(name).splits
    if part not in splits:
        raise ValueError(f"{name!r} has no split {part!r}: expected one of {', '.join(splits)}")
    return slice(*splits[part])


def select(ds: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    """The named variables of a dataset, in that order; names may be aliases (`z500`, `t2m`)."""
    wanted = [v.name for v in variables(names)]
    if missing := [n for n in wanted if n not in ds.data_vars]:
        raise ValueError(f"this dataset has no {', '.join(missing)}; it has {', '.join(map(str, ds.data_vars))}")
    return ds[wanted]


def check(ds: xr.Dataset, values: bool = True) -> xr.Dataset:
    """Check a dataset at the door, and hand it on unchanged.

    Names must be known, units those of `variables`, latitudes from south to north, longitudes eastwards, times ascending; with `values`
    also no NaN and no infinity, which reads every value.

    Raises:
        ValueError: for the first thing that is wrong: what was expected, what came, and what to do.
    """
    Grid.from_dataset(ds)
    for name, array in ds.data_vars.items():
        known = variable(str(name))
        if known.name != name:
            raise ValueError(
                f"expected the name {known.name!r}, got its alias {name!r}: use ds.rename({{{name!r}: {known.name!r}}})"
            )
        units = array.attrs.get("units")
        if units is None:
            raise ValueError(
                f"expected {name} in {known.units!r}, got no units: set ds[{name!r}].attrs['units'] once you are sure of them"
            )
        if (canonical_units(units) or "1") not in (known.units, *_BARE.get(known.units, ())):
            raise ValueError(
                f"expected {name} in {known.units!r}, got {units!r}: convert the values, then set the attribute"
            )
        dims = ("lat", "lon") if known.kind == "static" else ("time", "lat", "lon")
        if array.dims[-len(dims) :] != dims:
            raise ValueError(
                f"expected {name} with dimensions {dims}, got {array.dims}: use ds.transpose('time', 'lat', 'lon')"
            )
        if values and (bad := int((~np.isfinite(array)).sum())):
            raise ValueError(
                f"expected finite values, got {bad} NaN or infinite ones in {name}: fill them, or drop the variable"
            )
    if "time" in ds.dims:
        if "time" not in ds.coords:
            raise ValueError(
                "expected a coordinate 'time', got a dimension without one: use ds.assign_coords(time=...)"
            )
        times = ds["time"].values  # datetime64, or cftime objects
        if not bool((times[1:] > times[:-1]).all()):
            raise ValueError(
                "expected times in ascending order, each once: use ds.sortby('time').drop_duplicates('time')"
            )
    return ds


def data_folder() -> Path | None:
    """The folder of embedded data: `CLIMAX_LITE_DATA` if it is set, else `data/` of the checkout, else None."""
    if given := os.environ.get("CLIMAX_LITE_DATA"):
        folder = Path(given)
        if not folder.is_dir():
            raise ValueError(
                f"CLIMAX_LITE_DATA names {given!r}, which is not a folder: unset it, or point it at the repository's data/"
            )
        return folder
    return _CHECKOUT if _CHECKOUT.is_dir() else None


def _registry() -> dict[str, str]:
    lines = (line.split() for line in REGISTRY.read_text().splitlines() if line.strip())
    return {name: checksum for name, checksum in lines}


def registered(folder: str) -> tuple[str, ...]:
    """The files that come with the project below a folder of `data/`, in order."""
    return tuple(name for name in _registry() if name.startswith(folder))


def local(name: str) -> Path:
    """The path of an embedded file: in the checkout, or fetched once into the user's cache and checked against its SHA-256."""
    folder = data_folder()
    if folder is not None and (folder / name).exists():
        return folder / name
    fetcher = pooch.create(
        pooch.os_cache("climax_lite"), _REMOTE, registry={name: _registry()[name]}, retry_if_failed=2
    )
    try:
        return Path(fetcher.fetch(name))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name} is not in the folder {folder or 'data/'} and could not be fetched ({error}). Work in a checkout of the repository, "
            "or point CLIMAX_LITE_DATA at its data folder, or try again with a network"
        ) from error


def version(name: str) -> str:
    """What tells one edition of a source's data from another: a digest of the checksums of its files.

    Of data of your own it is one of the names, sizes and dates of the files: reading tens of gigabytes would take minutes.
    """
    known = source(name)
    if not known.path:
        registry = _registry()
        return hashlib.sha256("".join(registry[f] for f in known.files).encode()).hexdigest()
    path = Path(known.path)
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a file, a zarr store, or a folder of them")
    digest = hashlib.sha256(str(path.resolve()).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        about = file.stat()
        digest.update(f"{file.relative_to(path)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
