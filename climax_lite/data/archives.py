"""Readers of the real archives. Each opens lazily, chooses, and hands the rest to the door (`climax_lite.data.door`).

Everything is read anonymously. A path on disk works wherever an address does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import urllib.parse
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..variables import canonical_units, variable
from . import door, packed
from .door import names
from .projection import change_attrs
from .sources import check, select

WEATHERBENCH2 = "gs://weatherbench2/datasets/era5/1959-2023_01_10-6h-64x32_equiangular_conservative.zarr"
WEATHERBENCH2_CLIMATOLOGY = (
    "gs://weatherbench2/datasets/era5-hourly-climatology/1990-2019_6h_64x32_equiangular_conservative.zarr"
)
CMIP6_CATALOGUE = "gs://cmip6/pangeo-cmip6.csv"
WEATHERBENCH1 = "https://dataserv.ub.tum.de/s/m1524895/download?path=%2F5.625deg%2F{variable}&files={file}"
CLIMATEBENCH_DOI = "doi:10.5281/zenodo.5196512/"

Years = tuple[int, int]
"""First and last year, both included."""


@dataclass(frozen=True)
class Cmip6Model:
    """A climate model of the paper's pretraining: what the catalogues call it and its institution."""

    source_id: str
    institution_id: str
    member: str = "r1i1p1f1"


CMIP6_MODELS = {
    m.source_id: m
    for m in (
        Cmip6Model("MPI-ESM1-2-HR", "MPI-M"),
        Cmip6Model("TaiESM1", "AS-RCEC"),
        Cmip6Model("AWI-ESM-1-1-LR", "AWI"),
        Cmip6Model("MPI-ESM-1-2-HAM", "HAMMOZ-Consortium"),
        Cmip6Model("CMCC-CM2-HR4", "CMCC"),
    )
}
"""The five models of the paper."""

_CMIP6_NAMES = {
    "geopotential": "zg", "u_component_of_wind": "ua", "v_component_of_wind": "va", "temperature": "ta", "specific_humidity": "hus",
    "relative_humidity": "hur", "2m_temperature": "tas", "10m_u_component_of_wind": "uas", "10m_v_component_of_wind": "vas",
    "mean_sea_level_pressure": "psl", "surface_pressure": "ps", "total_precipitation_6hr": "pr", "orography": "orog",
    "land_sea_mask": "sftlf",
}  # fmt: skip


# ---------------------------------------------------------------- WeatherBench


def open_weatherbench2(
    url_or_path: str | os.PathLike[str] = WEATHERBENCH2,
    variables: Iterable[str] | None = None,
    years: Years | None = None,
) -> xr.Dataset:
    """ERA5 of WeatherBench 2: 1959 to 10 January 2023, 6-hourly, by default on the 5.625° grid of the paper.

    Args:
        url_or_path: a zarr store of the bucket, or a copy of one.
        variables: names or aliases; by default all that the package knows. Sea surface temperature is NaN on land, and in some
            stores everywhere.
        years: first and last year, both included.

    Raises:
        ValueError: when the store cannot be read, or a variable is not in it.
    """
    ds = _years(_open_zarr(url_or_path), years)
    return door.normalise(door.recognised(ds, "weatherbench2"), source="weatherbench2", variables=variables)


def open_weatherbench2_climatology(
    url_or_path: str | os.PathLike[str] = WEATHERBENCH2_CLIMATOLOGY, variables: Iterable[str] | None = None
) -> xr.Dataset:
    """The climatology 1990–2019 that WeatherBench 2 takes anomalies from, by day of year and hour.

    Its times are those of the year 2000, which has all 366 days.
    """
    ds = _open_zarr(url_or_path)
    if missing := {"dayofyear", "hour"} - set(ds.dims):
        raise ValueError(
            f"expected a climatology by dayofyear and hour, got no {' and no '.join(sorted(missing))}: use open_weatherbench2"
        )
    ds = door.recognised(ds, "weatherbench2").transpose("dayofyear", "hour", ...)
    days = np.datetime64("2000-01-01", "ns") + (ds["dayofyear"].values - 1) * np.timedelta64(1, "D")
    times = (days[:, None] + ds["hour"].values * np.timedelta64(1, "h")).ravel()
    ds = (
        ds.stack(time=("dayofyear", "hour"), create_index=False)
        .drop_vars(("dayofyear", "hour"))
        .assign_coords(time=times)
    )
    return door.normalise(ds, source="weatherbench2", variables=variables)


def open_weatherbench1(
    folder: str | os.PathLike[str], variables: Iterable[str] | None = None, years: Years | None = None
) -> xr.Dataset:
    """ERA5 of WeatherBench 1, hourly, from its files `{variable}_5.625deg.zip` and `constants_5.625deg.nc`.

    Only the yearly files that are asked for are taken out of a zip, into `unpacked` beside it, once. Hourly sums of precipitation
    and sunshine become those over the six hours that end at each time, so a record with one of them begins five hours later.

    Raises:
        ValueError: when the folder lacks a variable or a year, or a zip is damaged.
    """
    folder = Path(folder)
    files = {
        f.stem.removesuffix("_5.625deg"): f for f in sorted(folder.glob("*_5.625deg.*")) if f.suffix in (".zip", ".nc")
    }
    if not files:
        raise ValueError(
            f"{folder} has no file like geopotential_5.625deg.zip: fetch some with 'climax-lite data get weatherbench1'"
        )
    wanted = None if variables is None else names(variables)
    chosen: dict[str, list[str] | None] = {}
    for name in wanted or ():
        held = [stem for stem in weatherbench1_stems(name) if stem in files]
        if not held:
            raise ValueError(f"{folder} has no {name}; it has {', '.join(files)}")
        chosen[held[0]] = [*(chosen.get(held[0]) or ()), name]
    if wanted is None:  # a level that has its own zip is in the whole column's too
        chosen = {stem: None for stem in files if re.sub(r"_\d+$", "", stem) not in set(files) - {stem}}
    raw = {stem: ds for stem in chosen if (ds := _open_years(files[stem], years)) is not None}
    if years and not any("time" in ds.dims for ds in raw.values()):
        raise ValueError(f"{folder} has nothing of the years {years[0]} to {years[1]}")
    parts = [
        door.normalise(door.recognised(ds), source="weatherbench1", variables=chosen[stem]) for stem, ds in raw.items()
    ]
    return _merge(parts, wanted)


def weatherbench1_stems(name: str) -> tuple[str, ...]:
    """The files that may hold a variable: Z500 is in `geopotential_500` and in `geopotential`."""
    known = variable(name)
    base = {"total_precipitation_6hr": "total_precipitation"}.get(name, known.name.removesuffix(f"_{known.level}"))
    return (known.name, base) if known.kind != "static" else ("constants",)


def weatherbench1_stem(name: str) -> str:
    """The file to fetch for a variable: two levels have files of their own, for the others it is the whole column."""
    alone, column = weatherbench1_stems(name)[0], weatherbench1_stems(name)[-1]
    return alone if alone in ("geopotential_500", "temperature_850") else column


def weatherbench1_file(stem: str) -> str:
    """What the archive calls a file."""
    return f"{stem}_5.625deg.{'nc' if stem == 'constants' else 'zip'}"


def weatherbench1_bytes(stem: str) -> float:
    """The size of a file before compression: 40 years of hours, 2,048 points, four bytes, one level or thirteen."""
    return 0.0 if stem == "constants" else 4 * 2048 * 350_640 * (13 if door.quantity(stem) else 1)


def _open_years(path: Path, years: Years | None) -> xr.Dataset | None:
    """One file of the archive as one raw dataset, or None if it has none of the years."""
    if path.suffix == ".nc":
        return _open_file(path)
    parts = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.infolist(), key=lambda m: m.filename):
                year = re.search(r"_(\d{4})_", Path(member.filename).name)
                if year and (years is None or years[0] <= int(year[1]) <= years[1]):
                    parts.append(_open_file(_unpack(archive, member, path.parent / "unpacked")))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and fetch it again") from error
    if not parts:
        return None
    ds = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override")
    for name in {"tp", "tisr"} & set(ds.data_vars):
        ds[name] = ds[name].rolling(time=6).sum().assign_attrs(ds[name].attrs | {"accumulation_hours": 6})
        ds = ds.isel(time=slice(5, None))
    return ds


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    target = folder / Path(member.filename).name
    if not target.exists() or target.stat().st_size != member.file_size:
        folder.mkdir(exist_ok=True)
        part = target.with_suffix(".part")
        with archive.open(member) as source, part.open("wb") as out:
            while block := source.read(1 << 22):
                out.write(block)
        os.replace(part, target)
    return target


# ---------------------------------------------------------------- CMIP6


def open_cmip6(
    model: str,
    variables: Iterable[str],
    *,
    table: str = "6hrPlevPt",
    experiment: str = "historical",
    member: str | None = None,
    years: Years | None = None,
    catalogue: str | os.PathLike[str] | None = CMIP6_CATALOGUE,
) -> xr.Dataset:
    """A climate model's run from the copy of CMIP6 in object storage, or from the archive's own nodes.

    Args:
        model: a key of `CMIP6_MODELS`, or any other `source_id`.
        variables: names or aliases.
        table: `6hrPlevPt` for states on pressure levels every six hours, `day` for daily means; the cloud copy has few of the former.
        member: by default that of the paper, `r1i1p1f1`.
        years: first and last year, both included.
        catalogue: the address or path of `pangeo-cmip6.csv`; None asks the nodes of ESGF, which needs the package `intake-esgf`.

    Raises:
        ValueError: when the catalogue has no such run or more than one, or cannot be read.
    """
    wanted = names(variables)
    facets = {"source_id": model, "experiment_id": experiment, "table_id": table}
    facets["member_id"] = member or (CMIP6_MODELS[model].member if model in CMIP6_MODELS else "r1i1p1f1")
    cmip = {name: _cmip6_name(name) for name in wanted}
    short = set(cmip.values())
    raw = _from_esgf(facets, short) if catalogue is None else _from_cloud(facets, short, catalogue)
    return _merge(
        [
            door.normalise(_years(ds, years), source="cmip6", variables=[n for n in wanted if cmip[n] == v])
            for v, ds in raw.items()
        ],
        wanted,
    )


def _cmip6_name(name: str) -> str:
    known = variable(name)
    base = known.name.removesuffix(f"_{known.level}")
    if base not in _CMIP6_NAMES:
        raise ValueError(f"CMIP6 has no name here for {name}: expected some of {', '.join(_CMIP6_NAMES)}")
    return _CMIP6_NAMES[base]


def _from_cloud(facets: dict[str, str], short: set[str], catalogue: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    import pandas as pd

    copy = "give the catalogue of a copy, a table like pangeo-cmip6.csv with paths under zstore (catalogue, in the command --source)"
    with _reading(catalogue, copy):
        address, options = _anonymous(catalogue)
        table = pd.read_csv(address, dtype=str, storage_options=options or None)
    run = table
    for facet, value in facets.items():
        if not (run[facet] == value).any():
            raise ValueError(
                f"the catalogue has no {facet} {value!r} for {', '.join(f'{k} {v!r}' for k, v in facets.items() if k != facet)}: "
                f"expected one of {', '.join(sorted(run[facet].unique())[:12])}; "
                "in Python, open_cmip6(..., catalogue=None) asks the nodes of ESGF"
            )
        run = run[run[facet] == value]
    found = {}
    for v in sorted(short):
        stores = run[run["variable_id"] == v].sort_values("version")
        if stores.empty:
            raise ValueError(
                f"the catalogue has no {v} of this run; it has {', '.join(sorted(run['variable_id'].unique()))}"
            )
        if len(grids := sorted(stores["grid_label"].unique())) > 1:
            stores = stores[stores["grid_label"] == ("gn" if "gn" in grids else grids[0])]  # native before regridded
        found[v] = _open_zarr(stores["zstore"].iloc[-1])
    return found


def _from_esgf(facets: dict[str, str], short: set[str]) -> dict[str, xr.Dataset]:
    try:
        import intake_esgf
    except ImportError:
        raise ValueError(
            "the nodes of ESGF need the package intake-esgf: pip install intake-esgf, or use the catalogue of the cloud copy"
        ) from None
    with _reading("ESGF", "use the catalogue of the cloud copy"):
        found = intake_esgf.ESGFCatalog().search(**facets, variable_id=sorted(short))
        sets = found.to_dataset_dict(add_measures=False, minimal_keys=False)
    return {v: ds for v in short for key, ds in sets.items() if v in key.split(".")}


# ---------------------------------------------------------------- ClimateBench


CLIMATEBENCH_RUNS = ("historical", "hist-GHG", "hist-aer", "ssp126", "ssp245", "ssp370", "ssp370-lowNTCF", "ssp585")
"""Its runs with maps of emissions; `ssp245` is the one to be scored on."""

_FORCINGS = {  # as in ClimateBench's prep_input_data.ipynb; the files carry no attributes
    "CO2": ("Gt", "CO2 emitted since 1850"),
    "SO2": ("kg m-2 s-1", "emission of SO2"),
    "CH4": ("Gt yr-1", "emission of CH4"),
    "BC": ("kg m-2 s-1", "emission of black carbon"),
}
_ANNUAL = {
    "tas": "2m_temperature",
    "diurnal_temperature_range": "diurnal_temperature_range",
    "pr": "precipitation_rate",
    "pr90": "precipitation_rate_90",
}


def open_climatebench(
    folder: str | os.PathLike[str], run: str, member: int | None = None
) -> tuple[xr.Dataset, xr.Dataset]:
    """One run of ClimateBench: what drove it and what came out, as `climax_lite.data.ProjectionSamples` takes them.

    Args:
        folder: where `train_val.tar.gz` and `test.tar.gz` are unpacked: `inputs_{run}.nc` and `outputs_{run}.nc`, at any depth.
        run: one of `CLIMATEBENCH_RUNS`.
        member: the number of one member of the ensemble; by default the mean of those that a year has, as in the benchmark.

    Returns:
        Both (time, lat, lon) float32, on the 96 x 144 points of NorESM2-LM; `time` is the year, a whole number. Forcings: `CO2` (Gt, summed
        since 1850) and `CH4` (Gt a year), spread over the globe, `SO2` and `BC` (kg m-2 s-1); before a scenario come the historical years,
        for the first windows to look back into. Climate: `2m_temperature` and `diurnal_temperature_range` (K), `precipitation_rate` and
        `precipitation_rate_90` (kg m-2 s-1: times 86,400 is mm a day), each **minus its mean in the pre-industrial control**, as the
        archive has them.

    Raises:
        ValueError: when the run or the member is unknown, a file is missing or not the published one, or the files are not on one grid.
    """
    if run not in CLIMATEBENCH_RUNS:
        raise ValueError(
            f"unknown run {run!r}: expected one of {', '.join(CLIMATEBENCH_RUNS)}; the others have no maps of emissions"
        )
    folder = Path(folder)
    y = _one_member(_yearly(_find(folder, f"outputs_{run}.nc"), _ANNUAL), member, run)
    runs = ("historical", run) if run.startswith("ssp") else (run,)
    inputs = {name: _yearly(_find(folder, f"inputs_{name}.nc"), _FORCINGS) for name in runs}
    parts = [_on_the_grid_of(y, x, name) for name, x in inputs.items()]
    x = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override", join="exact")
    x = x.broadcast_like(x["SO2"]).transpose("time", "lat", "lon").astype("float32")
    for name, (units, long_name) in _FORCINGS.items():
        x[name].attrs = {"units": units, "long_name": long_name}
    y = y.rename(_ANNUAL).transpose("time", "lat", "lon").astype("float32")
    for name in _ANNUAL.values():
        known = variable(name)
        said = canonical_units(y[name].attrs.get("units", known.units))  # subtracting the control dropped them
        if said != known.units:
            raise ValueError(f"expected {name} in {known.units!r}, got {said!r}: this is not the published file")
        y[name].attrs = change_attrs(name)
    return x, y


def _yearly(path: Path, names: Iterable[str]) -> xr.Dataset:
    """The named variables of a file, with the dimensions time, lat and lon; its time is the number of the year, or a date in it."""
    ds = _open_file(path).reset_coords(drop=True)
    ours = {"latitude": "lat", "longitude": "lon", "year": "time"}
    ds = ds.rename({old: new for old, new in ours.items() if old in ds.dims})
    if missing := [n for n in (*names, "time", "lat", "lon") if n not in ds.variables]:
        have = ", ".join(map(str, ds.variables))
        raise ValueError(f"{path} has no {', '.join(missing)}; it has {have}: this is not the published file")
    years = ds["time"] if ds["time"].dtype.kind in "iuf" else ds["time"].dt.year
    return ds[[*names]].assign_coords(time=years.astype(int)).sortby(["time", "lat", "lon"])


def _one_member(ds: xr.Dataset, member: int | None, run: str) -> xr.Dataset:
    """Members that lack a year have NaN there, which the mean leaves out."""
    if "member" not in ds.dims:
        return ds
    if member is None:
        return ds.mean("member", keep_attrs=True)
    if member not in ds["member"].values:
        raise ValueError(f"{run} has no member {member}: expected one of {', '.join(map(str, ds['member'].values))}")
    return ds.sel(member=member, drop=True).dropna("time", how="all")


def _on_the_grid_of(y: xr.Dataset, x: xr.Dataset, run: str) -> xr.Dataset:
    for axis in ("lat", "lon"):
        if x.sizes[axis] != y.sizes[axis] or not np.allclose(x[axis], y[axis], atol=1e-3):
            raise ValueError(
                f"expected inputs and outputs of {run} on one grid, got others in {axis}: fetch both files again"
            )
    return x.assign_coords(lat=y["lat"], lon=y["lon"])  # the last digits may differ


# ---------------------------------------------------------------- a folder of your own


def open_folder(
    path: str | os.PathLike[str],
    variables: Iterable[str] | None = None,
    years: Years | None = None,
    source: str = "",
) -> xr.Dataset:
    """A file or a folder of files: NetCDF, zarr, GRIB (with the package cfgrib) or packed (.cxp), brought into the package's form.

    Args:
        path: the file, the zarr store, or the folder.
        variables: names or aliases; by default all, and a name that the package does not know is an error.
        years: first and last year, both included.
        source: the archive that the files are a copy of, a key of `climax_lite.data.door.STATED_UNITS`: it speaks for units that they
            leave out, and what it holds beyond the names of the package is left out.

    Raises:
        ValueError: when there is nothing to read, the files do not fit together, or the door refuses them.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a file, a zarr store, or a folder of them")
    files = [path] if path.is_file() or _is_zarr(path) else _readable(path)
    if not files:
        hint = "; it is an unfinished download: run the same command again" if path.suffix == ".part" else ""
        raise ValueError(f"{path} holds nothing to read: expected files ending in {', '.join(_ENDINGS)}{hint}")
    wanted = None if variables is None else names(variables)
    raw = [ds for file in files for ds in _open_all(file)]
    parts = [door.normalise(door.recognised(ds, source) if wanted or source else ds, source=source) for ds in raw]
    try:
        joined: Any = xr.combine_by_coords(
            parts,
            combine_attrs="drop_conflicts",
            join="exact",
            data_vars="minimal",
            coords="minimal",
            compat="override",
        )
    except ValueError as error:
        raise ValueError(f"the files of {path} do not fit together ({error}): open them one by one") from error
    ds = _years(joined, years)
    return check(select(ds, wanted) if wanted else ds, values=False)


_ENDINGS = (".nc", ".nc4", ".cdf", ".zarr", ".grib", ".grib2", ".grb", packed.SUFFIX)


def _is_zarr(path: Path) -> bool:
    return any((path / mark).exists() for mark in ("zarr.json", ".zgroup", ".zmetadata"))


def _readable(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in _ENDINGS and (p.is_file() or _is_zarr(p)))


def _open_all(path: Path) -> list[xr.Dataset]:
    """The datasets of a file: one, but for GRIB, which may hold fields that share no axes."""
    if path.suffix in (".grib", ".grib2", ".grb"):
        try:
            import cfgrib
        except ImportError:
            raise ValueError(f"{path} is GRIB, which needs the package cfgrib: pip install cfgrib") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how cfgrib calls xarray
            return cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": ""})
    if path.suffix == packed.SUFFIX:  # its names are ours, and so are its units
        ds = packed.open_files([path])
        return [ds.assign({str(v): ds[v].assign_attrs(variable(str(v)).attrs) for v in ds.data_vars})]
    return [_open_zarr(path) if path.is_dir() else _open_file(path)]


# ---------------------------------------------------------------- opening


def _open_file(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, **_lazy())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} could not be read ({error}): is it whole? Fetch it again") from error


def _open_zarr(address: str | os.PathLike[str]) -> xr.Dataset:
    """A zarr store, of format 2 or 3, on disk or in object storage."""
    with _reading(address, "copy the store to a disk elsewhere and give its path"):
        url, options = _anonymous(address)
        return xr.open_zarr(url, storage_options=options or None, **({"chunks": None} | _lazy(remote="://" in url)))


def _lazy(remote: bool = False) -> dict[str, Any]:
    """Arrays in pieces, so that nothing is read or converted before it is used."""
    if importlib.util.find_spec("dask") is not None:
        return {"chunks": {}}
    if remote:
        raise ImportError("dask", name="dask")
    return {}


def _anonymous(address: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Where to read, and how, without an account. A public bucket of Google answers to HTTPS too, where gcsfs is not installed."""
    url = os.fspath(address)
    if url.startswith("gs://"):
        return (
            (url, {"token": "anon"})
            if importlib.util.find_spec("gcsfs")
            else (url.replace("gs://", "https://storage.googleapis.com/", 1), {})
        )
    return url, {"anon": True} if url.startswith("s3://") else {}


@contextlib.contextmanager
def _reading(address: str | os.PathLike[str], instead: str) -> Iterator[None]:
    """Say in one sentence why something could not be read; object stores, HTTP and zarr raise some thirty kinds of exception."""
    name = os.fspath(address)
    if host := unreachable(name):
        raise ValueError(
            f"no network: {host} cannot be reached, so {name} cannot be read. Try again with a network, or {instead}"
        )
    try:
        yield
    except ImportError as error:
        raise ValueError(f"{name} needs the package {error.name}: pip install 'climax-lite[cloud]'") from error
    except FileNotFoundError as error:
        raise ValueError(f"{name} is not there, or not a whole store: check the address, or {instead}") from error
    except ValueError as error:
        raise ValueError(f"{name} could not be read ({error}): {instead}") from error
    except Exception as error:
        raise ValueError(
            f"{name} could not be read ({type(error).__name__}: {error}): try again, or {instead}"
        ) from error


def unreachable(address: str) -> str | None:
    """The host of an address if nothing answers there within seconds: object stores try for minutes. Behind a proxy nobody can tell."""
    url = urllib.parse.urlsplit(address.replace("gs://", "https://storage.googleapis.com/", 1))
    if url.scheme not in ("http", "https") or url.hostname is None or urllib.request.getproxies():
        return None
    try:
        socket.create_connection((url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]), timeout=5).close()
    except OSError:
        return url.hostname
    return None


def _find(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        have = ", ".join(sorted(p.name for p in folder.rglob("*.nc"))[:8]) or "no NetCDF file"
        raise ValueError(f"{folder} has no {name}; it has {have}: fetch it with 'climax-lite data get climatebench'")
    return found[0]


def _years(ds: xr.Dataset, years: Years | None) -> xr.Dataset:
    if years is None or "time" not in ds.dims:
        return ds
    inside = ds.isel(time=np.flatnonzero((ds["time"].dt.year >= years[0]) & (ds["time"].dt.year <= years[1])))
    if not inside.sizes["time"]:
        first, last = (ds["time"].dt.year.values[i] for i in (0, -1))
        raise ValueError(f"expected years from {first} to {last}, got {years[0]} to {years[1]}")
    return inside


def _merge(parts: list[xr.Dataset], wanted: list[str] | None) -> xr.Dataset:
    """Variables of one run on one grid, at the times that all have; `wanted` of them, in that order."""
    moving, still = ([p for p in parts if ("time" in p.dims) is given] for given in (True, False))
    try:
        moving = list(xr.align(*moving, join="inner", exclude={"lat", "lon"}))
        ds = xr.merge([*moving, *still], join="exact", compat="override", combine_attrs="drop_conflicts")
    except ValueError as error:
        raise ValueError(f"the variables are not on one grid ({error}): open them apart and regrid") from error
    if moving and not ds.sizes["time"]:
        raise ValueError("the variables have no time in common: open them apart")
    return check(select(ds, wanted) if wanted else ds, values=False)
