"""`climax-lite data`: list the archives, fetch a part of one, check a folder.

A store is written block by block of times into `OUT.part`, with a manifest of the whole blocks beside it, and gets its name when all are
there. Until then it has no root metadata, so nothing opens half of it. The same command again goes on where the last ended, and where
nothing is left it says so.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import xarray as xr

from ..variables import OFFICIAL_VARIABLES
from . import archives, door

BLOCK_BYTES = 64 << 20
"""About how much of the output one worker holds in memory."""

# Computed from the shapes: 4 bytes a value, 2,048 points, 1,461 times a year in 6-hourly and 8,766 in hourly steps.
ARCHIVES = {
    "weatherbench2": ("ERA5 1959 to 10 Jan 2023, 6-hourly, 5.625° (WeatherBench 2)", "12 MB a variable and year; 45 in 40 years: 22 GB"),
    "weatherbench1": ("ERA5 1979-2018, hourly, 5.625° (WeatherBench 1, zip files)", "at most 2.9 GB a variable, 37 GB one on 13 levels"),
    "cmip6": ("climate models of CMIP6; by default the paper's: historical, 6-hourly", "on 96 x 192 points 108 MB a variable and year"),
    "climatebench": ("forcings and annual climate of NorESM2-LM, 1850-2100 (ClimateBench)", "about 1 GB unpacked"),
}  # fmt: skip
"""Name: what it is, and what a part of it takes."""


# ---------------------------------------------------------------- a store, block by block


def write_store(
    ds: xr.Dataset,
    out: str | os.PathLike[str],
    *,
    workers: int = 8,
    block: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write a dataset of the package's form to a zarr store that appears whole or not at all; one that is there already is left alone.

    Args:
        ds: what the door handed out, lazy or not.
        out: the store's path; `OUT.part` and `OUT.part.json` are used on the way.
        workers: blocks that are read at the same time.
        block: times in a block, and in a chunk of the store; by default what fits `BLOCK_BYTES`.
        say: takes the line that tells the size before the start, or that there is nothing to do.

    Raises:
        ValueError: when `OUT` holds something else, `OUT.part` belongs to another download, the disk is or becomes full, or reading fails.
    """
    out = Path(out)
    moving = [str(v) for v in ds.data_vars if "time" in ds[v].dims]
    if not moving:
        raise ValueError("expected variables that change in time, got none")
    times = ds.sizes["time"]
    state = 4 * len(moving) * ds.sizes["lat"] * ds.sizes["lon"]
    block = block or _block(ds[moving[0]], max(1, BLOCK_BYTES // state))
    part = out.with_name(out.name + ".part")
    manifest = part.with_name(part.name + ".json")
    about = _about(ds, block)
    what = f"{_count(len(ds.data_vars), 'variable')} at {_count(times, 'time')}"
    if out.exists():
        if not _is_there(out, about, block):
            raise ValueError(f"{out} exists and holds something else: {_ANOTHER_NAME}")
        say(f"nothing to fetch: {what}, all there already")
        return out
    done = _resume(part, manifest, about)
    left = [s for s in range(0, times, block) if s not in done]
    size = state * sum(min(block, times - s) for s in left)
    say(f"{what}: {_bytes(size)} before compression, {_count(len(left), 'block')}, to {out}")
    _room(out.parent, size)
    with _full_disk(part):
        if not manifest.exists():
            _skeleton(ds, part, moving, block)
            _save(manifest, about, done)
        with ThreadPoolExecutor(workers) as pool:
            jobs = {pool.submit(_write_block, ds[moving], part, slice(s, s + block)): s for s in left}
            try:
                for job in _progress(as_completed(jobs), len(jobs)):
                    job.result()
                    done.add(jobs[job])
                    _save(manifest, about, done)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for name in _ROOT:
            with contextlib.suppress(FileNotFoundError):  # a command that was stopped just here
                os.replace(_hidden(part / name), part / name)
        os.replace(part, out)
    manifest.unlink()
    return out


_ANOTHER_NAME = "give another name with --out, or delete it first"
_ROOT = (".zgroup", ".zmetadata")  # what readers look for first; it has another name until the store is whole


def _hidden(file: Path) -> Path:
    return file.with_name(f"unfinished{file.name}")


def _block(array: xr.DataArray, fits: int) -> int:
    """Whole chunks of the source, so that none is read twice; one of them if they are large."""
    chunk = array.chunksizes.get("time", (1,))[0]
    return min(max(fits - fits % chunk, chunk), array.sizes["time"])


def _about(ds: xr.Dataset, block: int) -> dict[str, str]:
    """What tells one download from another; two models may share their variables, grid and times."""
    digest = hashlib.sha256(f"{block} {sorted(map(str, ds.data_vars))} {sorted(ds.attrs.items())}".encode())
    for axis in ("time", "lat", "lon"):
        digest.update(str(ds[axis].values.tolist()).encode())
    first, last = (str(ds["time"].values[i])[:10] for i in (0, -1))
    return {
        "of": f"{ds.attrs.get('archive', 'data')}, {len(ds.data_vars)} variables, {first} to {last}",
        "digest": digest.hexdigest(),
    }


def _is_there(out: Path, about: dict[str, str], block: int) -> bool:
    """Whether a path is the store that this download would make."""
    try:
        with xr.open_zarr(out, chunks=None) as found:
            return _about(found, block)["digest"] == about["digest"]
    except (OSError, ValueError, KeyError):  # no store, or one without times
        return False


def _resume(part: Path, manifest: Path, about: dict[str, str]) -> set[int]:
    """The blocks that are there already; a store without its manifest, or a manifest without its store, is the trace of a kill."""
    if not (manifest.exists() and part.exists()):
        shutil.rmtree(part, ignore_errors=True)
        manifest.unlink(missing_ok=True)
        return set()
    found = json.loads(manifest.read_text())
    if found["digest"] != about["digest"]:
        raise ValueError(
            f"{part} is the beginning of another download ({found['of']}), not of this one ({about['of']}): "
            f"finish that one, give another --out, or delete {part.name} and {manifest.name}"
        )
    return set(found["done"])


def _save(manifest: Path, about: dict[str, str], done: set[int]) -> None:
    new = manifest.with_suffix(".new")
    new.write_text(json.dumps({**about, "done": sorted(done)}))
    os.replace(new, manifest)


def _skeleton(ds: xr.Dataset, part: Path, moving: list[str], block: int) -> None:
    """Coordinates, constants, and an empty array for each variable that changes in time."""
    import zarr

    # In memory first: on disk the root metadata would come before what they promise, and a kill would leave a store that opens.
    files: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(files)
    ds.drop_vars(moving).to_zarr(store, mode="w", zarr_format=2, consolidated=False)
    root = zarr.open_group(store, mode="r+")
    for name in moving:
        chunks = (block, *ds[name].shape[1:])
        attributes = {**ds[name].attrs, "_ARRAY_DIMENSIONS": ["time", "lat", "lon"]}
        root.create_array(
            name, shape=ds[name].shape, chunks=chunks, dtype="float32", fill_value=np.nan, attributes=attributes
        )
    zarr.consolidate_metadata(store)
    for key, content in files.items():
        file = _hidden(part / key) if key in _ROOT else part / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def _write_block(ds: xr.Dataset, part: Path, times: slice) -> None:
    import zarr

    # All variables at once: levels that share a chunk of the source share its reading.
    loaded = _patiently(ds.isel(time=times).load)
    for name in map(str, loaded.data_vars):
        zarr.open_array(part / name, mode="r+")[times] = loaded[name].values


def _patiently(read: Callable[[], xr.Dataset], tries: int = 4) -> xr.Dataset:
    """Networks fail for a moment: try again, after 1, 4 and 16 seconds."""
    for attempt in range(tries):
        try:
            return read()
        except Exception as error:  # object stores, HTTP and dask raise some thirty kinds
            if attempt + 1 == tries:
                raise ValueError(
                    f"reading failed {tries} times ({type(error).__name__}: {error}): what is done is kept, "
                    "and the same command goes on from there"
                ) from error
            time.sleep(4**attempt)
    raise AssertionError


def _progress(jobs: Iterable, total: int) -> Iterable:
    try:
        from tqdm import tqdm
    except ImportError:
        return jobs
    return tqdm(jobs, total=total, unit="block", disable=None)  # silent where nobody watches


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


# ---------------------------------------------------------------- disk


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _room(folder: Path, needed: float) -> None:
    """Refuse what cannot fit, before the first byte."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"expected {_bytes(needed)} of free disk in {folder.resolve()}, got {_bytes(free)}: "
            "choose fewer years or variables, or another --out"
        )


@contextlib.contextmanager
def _full_disk(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"the disk is full: make room; {part} is kept, and the same command goes on from there"
        ) from error


# ---------------------------------------------------------------- the archives


def get_weatherbench2(
    out: Path, variables: list[str] | None, years: archives.Years | None, address: str | None, workers: int
) -> Path:
    """A part of ERA5; by default the variables of ClimaX that the store has."""
    ds = archives.open_weatherbench2(address or archives.WEATHERBENCH2, variables, years)
    if variables is None:
        ds = ds[[v for v in OFFICIAL_VARIABLES if v in ds.data_vars]]
    _say_what_is_lacking(ds, years)
    return write_store(ds, out, workers=workers)


def get_cmip6(
    out: Path, variables: list[str] | None, years: archives.Years | None, address: str | None, workers: int,
    model: str, table: str, experiment: str,
) -> Path:  # fmt: skip
    """A part of a climate model's run."""
    if not variables:
        raise ValueError("expected --variables, such as z500,t850: a model has terabytes of them")
    ds = archives.open_cmip6(
        model, variables, table=table, experiment=experiment, years=years, catalogue=address or archives.CMIP6_CATALOGUE
    )
    _say_what_is_lacking(ds, years)
    return write_store(ds, out, workers=workers)


def _say_what_is_lacking(ds: xr.Dataset, years: archives.Years | None) -> None:
    """A line where the archive begins after the years that were asked for, or ends before them, by more than a step."""
    if years is None or "time" not in ds.dims:
        return
    times = ds.indexes["time"]
    first, last = times[0], times[-1]
    near = 1.5 * (last - first) / max(len(times) - 1, 1)
    if (first - near).year >= years[0] or (last + near).year <= years[1]:
        asked = f"year {years[0]}" if years[0] == years[1] else f"years {years[0]} to {years[1]}"
        print(f"of the {asked} there is only {str(first)[:10]} to {str(last)[:10]}")


def get_weatherbench1(out: Path, variables: list[str] | None, address: str | None) -> Path:
    """The zip files of the variables, one after another, each whole or not there; `archives.open_weatherbench1` reads them."""
    if not variables:
        raise ValueError(
            "expected --variables, such as geopotential_500,temperature_850: all of WeatherBench 1 is 250 GB"
        )
    stems = dict.fromkeys(archives.weatherbench1_stem(v) for v in variables)
    left = {stem: file for stem in stems if not (file := out / archives.weatherbench1_file(stem)).exists()}
    size = sum(archives.weatherbench1_bytes(stem) for stem in left)
    if not left:
        print("nothing to fetch: all files are there already")
        return out
    print(f"{len(left)} of {_count(len(stems), 'file')} to fetch to {out}, at most {_bytes(size)}")
    _room(out, size if address is None else 0)
    for stem, file in left.items():
        url = (address or archives.WEATHERBENCH1).format(variable=stem, file=file.name)
        with _full_disk(out), _fetching(file.name, url):
            path = Path(pooch.retrieve(url, None, f"{file.name}.part", out, progressbar=_bar()))
        if not _whole(path, file.suffix):
            path.unlink()
            raise ValueError(f"what came for {file.name} is not a whole file: the server may be down, try again later")
        os.replace(path, file)
    return out


def _whole(path: Path, suffix: str) -> bool:
    """No checksum is published for these files; a zip holds one for each file in it, and a NetCDF file begins with its mark."""
    if suffix == ".nc":
        with path.open("rb") as file:
            return file.read(4) in (b"\x89HDF", b"CDF\x01", b"CDF\x02")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


def get_climatebench(out: Path, address: str | None) -> Path:
    """Both archives of ClimateBench, checked against the checksums of the record, unpacked."""
    if out.exists():
        if not all(any(out.rglob(f"outputs_{run}.nc")) for run in ("historical", "ssp245")):  # one of each archive
            raise ValueError(f"{out} exists and does not hold ClimateBench: {_ANOTHER_NAME}")
        print("nothing to fetch: both archives are there already")
        return out
    part = out.with_name(out.name + ".part")
    _room(out.parent, 3e9 if address is None else 0)  # packed and unpacked at the same time
    print(f"train_val.tar.gz and test.tar.gz to {out}, about 1 GB unpacked")
    with _full_disk(part), _fetching("ClimateBench", address or "https://zenodo.org/"):
        fetcher = pooch.create(part, address or archives.CLIMATEBENCH_DOI, registry=None, retry_if_failed=2)
        if address is None:
            fetcher.load_registry_from_doi()
        else:  # a mirror: its checksums in a file beside
            lines = urllib.request.urlopen(f"{address}registry.txt", timeout=30).read().decode().splitlines()
            fetcher.registry = dict(line.split() for line in lines if line.strip())
        for name in ("train_val.tar.gz", "test.tar.gz"):
            with tarfile.open(fetcher.fetch(name, progressbar=_bar())) as archive:
                archive.extractall(part, filter="data")
    for name in ("train_val.tar.gz", "test.tar.gz"):
        (part / name).unlink()
    os.replace(part, out)
    return out


def _bar() -> bool:
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


@contextlib.contextmanager
def _fetching(what: str, address: str) -> Iterator[None]:
    try:
        if host := archives.unreachable(address):
            raise OSError(f"no network: {host} cannot be reached")
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"{what} could not be fetched ({_reason(error)}): try again with a network, or give a mirror "
            "with --source; whole files are kept"
        ) from error


def _reason(error: BaseException) -> str:
    """What went wrong at the bottom: HTTP libraries wrap it several times, and print every layer in one message."""
    while type(error).__module__.startswith(("requests", "urllib3")) and (
        below := error.__cause__ or error.__context__
    ):
        error = below
    return str(error) or type(error).__name__


# ---------------------------------------------------------------- what came


def summary(ds: xr.Dataset) -> list[str]:
    """Lines that tell what is in a dataset: variables with units, least, mean and greatest value, missing ones; grid and times.

    Reads every value, a few hundred times at once.
    """
    wide = max(map(len, ["variable", *map(str, ds.data_vars)])) + 2
    rows = [f"{'variable':{wide}}{'units':12}{'min':>12}{'mean':>12}{'max':>12}  missing"]
    for name, array in ds.data_vars.items():
        low, total, high, count = np.inf, 0.0, -np.inf, 0
        for start in range(0, ds.sizes["time"] if "time" in array.dims else 1, 256):
            values = (array.isel(time=slice(start, start + 256)) if "time" in array.dims else array).values
            good = values[np.isfinite(values)].astype(np.float64)
            if good.size:
                low, high = min(low, good.min()), max(high, good.max())
            total, count = total + good.sum(), count + good.size
        mean = total / count if count else np.nan
        rows.append(
            f"{name!s:{wide}}{array.attrs['units']:12}{low:12.5g}{mean:12.5g}{high:12.5g}  {1 - count / array.size:.1%}"
        )
    rows.append(f"{_count(len(ds.data_vars), 'variable')} on {ds.sizes['lat']} x {ds.sizes['lon']} points")
    if "time" in ds.dims:
        first, last = (str(ds["time"].values[i])[:16] for i in (0, -1))
        rows.append(f"{_count(ds.sizes['time'], 'time')} from {first} to {last}, calendar {ds['time'].dt.calendar}")
    return rows


def main(argv: list[str]) -> int:
    """The command `climax-lite data`."""
    args = _parser().parse_args(argv)
    if args.subcommand == "list":
        for name, (title, size) in ARCHIVES.items():
            print(f"{name:15}{title}\n{'':15}{size}")
        print("\nModels of the paper for cmip6 --model:", ", ".join(archives.CMIP6_MODELS))
    elif args.subcommand == "check":
        ds = archives.open_folder(args["check"].path, source=args["check"].archive or "")
        print(*summary(ds), sep="\n")
    else:
        print(f"{_get(args['get'])} is whole; 'climax-lite data check' prints what is in it")
    return 0


def _get(args) -> Path:
    variables = door.names(args.variables.split(",")) if args.variables else None
    years = _parse_years(args.years)
    ending = ".zarr" if args.archive in ("weatherbench2", "cmip6") else ""
    out = Path(args.out or f"{args.archive}{ending}")
    if args.workers < 1:
        raise ValueError(f"expected one worker or more, got {args.workers}")
    if args.archive == "weatherbench2":
        return get_weatherbench2(out, variables, years, args.source, args.workers)
    if args.archive == "cmip6":
        if args.model is None:
            raise ValueError(f"expected --model, such as {', '.join(archives.CMIP6_MODELS)}")
        return get_cmip6(out, variables, years, args.source, args.workers, args.model, args.table, args.experiment)
    if years is not None:
        raise ValueError(f"{args.archive} comes as a whole: leave out --years, and choose years when you open it")
    if args.archive == "weatherbench1":
        return get_weatherbench1(out, variables, args.source)
    if variables is not None:
        raise ValueError("climatebench comes as a whole: leave out --variables")
    return get_climatebench(out, f"{args.source.rstrip('/')}/" if args.source else None)


def _parse_years(text: str | None) -> archives.Years | None:
    """`2015:2018` → (2015, 2018); both years belong."""
    if text is None:
        return None
    first, _, last = text.partition(":")
    if not (first.isdigit() and (last or first).isdigit()) or int(first) > int(last or first):
        raise ValueError(f"expected years such as 2015:2018 or 2015, got {text!r}")
    return int(first), int(last or first)


_OPTIONS = (
    ("--years", str, None, "first and last, both included: 2015:2018"),
    ("--variables", str, None, "names or aliases, with commas: geopotential_500,t850,t2m"),
    ("--out", str, None, "what to write; by default the archive's name in this folder"),
    ("--source", str, None, "another address or path of the store, the catalogue or the files: a mirror or a copy"),
    ("--workers", int, 8, "blocks that are fetched at the same time"),
    ("--model", str, None, "cmip6: the model's source_id"),
    ("--table", str, "6hrPlevPt", "cmip6: the table, such as 6hrPlevPt or day"),
    ("--experiment", str, "historical", "cmip6: the experiment"),
)


def _parser():
    from jsonargparse import ArgumentParser

    command = functools.partial(ArgumentParser, allow_abbrev=False)  # half an option is a mistake
    parser = command(prog="climax-lite data", description="Real weather and climate archives.")
    commands = parser.add_subcommands()
    commands.add_subcommand("list", command(description="What there is, and its size."))
    check = command(description="Bring files through the door and print a table of what they hold. Reads every value.")
    check.add_argument("path", help="NetCDF, zarr, GRIB or packed; a file or a folder of them")
    check.add_argument(
        "--archive",
        choices=list(door.STATED_UNITS),
        help="the archive that it is a copy of, whose documentation has the units that the files leave out",
    )
    commands.add_subcommand("check", check)
    get = command(description="Fetch a part of an archive. A command that was stopped goes on when it is given again.")
    get.add_argument("archive", choices=list(ARCHIVES), help="a name that 'climax-lite data list' prints")
    for flag, kind, default, text in _OPTIONS:
        get.add_argument(flag, type=kind, default=default, help=text)
    commands.add_subcommand("get", get)
    return parser
