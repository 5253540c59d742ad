"""The store of the embedded data: weather packed as JPEG packs a picture, in three dimensions.

A year of one channel, (T, H, W), is written in waves: a real Fourier series along longitude, cosines along latitude and time (DCT-II).
Weather is smooth and slow, so most coefficients are tiny. Each is rounded to a multiple of `step`, which is chosen from the channel's
standard deviation in time, and the integers are compressed with LZMA. At the same noise this takes half the room of rounding and
differencing on the grid; `benchmarks/store.py` prints the comparison.

A file is a zip archive: `header.json`, and one member per channel. It is read with the standard library, NumPy and SciPy alone, and no
code in it is ever executed. `xarray.open_dataset(path, engine="climax_lite")` opens one, lazily.
"""

from __future__ import annotations

import functools
import itertools
import json
import lzma
import os
import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

FORMAT = "climax-lite packed 1"
SUFFIX = ".cxp"


# ---------------------------------------------------------------- transform


def _forward(x: np.ndarray) -> np.ndarray:
    """(T, H, W) field → (T, H, W) coefficients of an orthonormal basis, so that rounding noise is the same in both."""
    # Not above: it takes a quarter of a second, for which a command that reads no packed file need not wait.
    from scipy import fft

    half = x.shape[2] // 2
    c = fft.rfft(x, axis=2, norm="ortho", workers=-1)
    c[..., 1:half] *= np.sqrt(2)
    real = np.concatenate([c[..., : half + 1].real, c[..., 1:half].imag], axis=2)
    return fft.dctn(real, axes=(0, 1), norm="ortho", workers=-1)


def _inverse(a: np.ndarray) -> np.ndarray:
    """The inverse of `_forward`."""
    from scipy import fft

    half = a.shape[2] // 2
    a = fft.idctn(a, axes=(0, 1), norm="ortho", workers=-1)
    c = a[..., : half + 1].astype(np.result_type(a.dtype, np.complex64))
    c[..., 1:half] += 1j * a[..., half + 1 :]
    c[..., 1:half] /= np.sqrt(2)
    return fft.irfft(c, n=a.shape[2], axis=2, norm="ortho", workers=-1)


@functools.lru_cache(maxsize=4)
def _order(shape: tuple[int, int, int]) -> np.ndarray:
    """The permutation that puts coefficients of like size together: by octave of frequency, then by ring of spatial wavenumber."""
    t, h, w = shape
    zonal = np.concatenate([np.arange(w // 2 + 1), np.arange(1, w // 2)])
    ring = np.floor(16 * np.hypot(np.arange(h)[:, None] / h, 2 * zonal[None, :] / w)).astype(np.int32)
    octave = np.floor(1.3 * np.log2(1 + np.arange(t))).astype(np.int32)
    return np.argsort((100 * octave[:, None, None] + ring).ravel(), kind="stable")


def encode(x: np.ndarray, step: float) -> bytes:
    """Pack (T, H, W), W even; the error of the decoded field has a standard deviation of at most step/√12."""
    q = np.rint(_forward(x.astype(np.float64)) / step).astype(np.int32).ravel()[_order(x.shape)]
    zigzag = ((q << 1) ^ (q >> 31)).astype("<u4")  # the sign goes to the lowest bit, so that high bytes are zero
    planes = np.ascontiguousarray(zigzag.view(np.uint8).reshape(-1, 4).T)
    return lzma.compress(planes.tobytes(), preset=6)


def decode(payload: bytes, step: float, shape: tuple[int, int, int]) -> np.ndarray:
    """The inverse of `encode`, as float32 (T, H, W)."""
    planes = np.frombuffer(lzma.decompress(payload), np.uint8).reshape(4, -1)
    # Nearly all values fit in two bytes; skipping the empty high planes halves the time.
    used = 4 if planes[2:].any() else 2
    zigzag = np.ascontiguousarray(planes[:used].T).view(f"<u{used}")[:, 0].astype(np.int32)
    coefficients = np.empty(len(zigzag), np.float32)
    coefficients[_order(shape)] = (zigzag >> 1) ^ -(zigzag & 1)
    return _inverse(coefficients.reshape(shape) * np.float32(step))


# ---------------------------------------------------------------- files


def write(
    path: str | Path,
    ds: xr.Dataset,
    noise: Mapping[str, float],
    default_noise: float = 0.06,
    roots: Container[str] = (),
) -> None:
    """Pack a dataset of (time, lat, lon) and (lat, lon) variables with a regular time axis.

    Args:
        noise: by variable, the rounding step's noise step/√12 in units of the area-weighted standard deviation in time.
        default_noise: for variables not in `noise`.
        roots: variables that are packed as their square root, in whose units their noise then is. Rounding in waves is as large in the
            desert as in the storm, and what is cut off below zero there would make a world of 2.8 mm of rain a day one of 3.2.

    The file appears whole or not at all.
    """
    path = Path(path)
    hours = np.diff(ds.time.values) / np.timedelta64(1, "h")
    if len(np.unique(hours)) != 1:
        raise ValueError(f"expected a regular time axis, got steps of {sorted(set(hours.tolist()))} hours")
    header: dict[str, Any] = {
        "format": FORMAT,
        "start": str(ds.time.values[0].astype("datetime64[s]")),
        "step_hours": int(hours[0]),
        "count": ds.sizes["time"],
        "lat": ds.lat.values.tolist(),
        "lon": ds.lon.values.tolist(),
        "attrs": ds.attrs,
        "variables": {},
    }
    weights = np.cos(np.deg2rad(ds.lat.values))[:, None]
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, payload: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), payload)  # ZipInfo without a date: the same bytes every time

        for name, v in ds.data_vars.items():
            x = v.transpose(..., "lat", "lon").values
            if not np.isfinite(x).all():
                raise ValueError(f"expected finite values, got NaN or infinity in {name!r}")
            if x.ndim == 2:
                header["variables"][name] = {"dims": 2}
                add(str(name), lzma.compress(x.astype("<f4").tobytes()))
                continue
            if name in roots:
                x = np.sqrt(x)
            offset = float(x.mean(dtype=np.float64))
            variance = x.var(axis=0, dtype=np.float64)
            deviation = float(np.sqrt((variance * weights).sum() / (weights.sum() * x.shape[2])))
            step = noise.get(str(name), default_noise) * deviation * np.sqrt(12)
            header["variables"][name] = {"dims": 3, "offset": offset, "step": step} | (
                {"root": True} if name in roots else {}
            )
            add(str(name), encode(x - offset, step))
        add("header.json", json.dumps(header, indent=1).encode())
    os.replace(part, path)


class PackedFile:
    """One packed file, opened lazily: a channel is decoded when it is asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self.header = json.loads(archive.read("header.json"))
        except FileNotFoundError:
            raise
        except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, OSError) as error:
            raise ValueError(
                f"{self.path} is not a whole packed file ({error}): delete it and fetch it again ('git checkout' brings embedded data back)"
            ) from error
        if self.header.get("format") != FORMAT:
            raise ValueError(
                f"{self.path}: expected format {FORMAT!r}, got {self.header.get('format')!r}; a newer climax_lite may read it"
            )
        start = np.datetime64(self.header["start"], "ns")
        self.time = start + np.arange(self.header["count"]) * np.timedelta64(self.header["step_hours"], "h")
        self.lat = np.array(self.header["lat"])
        self.lon = np.array(self.header["lon"])

    def read(self, name: str) -> np.ndarray:
        """(T, H, W) or (H, W), float32. Do not write into it: it is shared."""
        return _read(str(self.path), os.stat(self.path).st_mtime_ns, name)

    def _decode(self, name: str) -> np.ndarray:
        entry = self.header["variables"][name]
        with zipfile.ZipFile(self.path) as archive:
            payload = archive.read(name)
        shape = (len(self.lat), len(self.lon))
        if entry["dims"] == 2:
            return np.frombuffer(lzma.decompress(payload), "<f4").reshape(shape)
        values = decode(payload, entry["step"], (len(self.time), *shape))
        values += np.float32(entry["offset"])
        if name.startswith(("specific_humidity", "total_precipitation")):
            np.maximum(values, 0.0, out=values)  # rounding may leave a little less than nothing
        if entry.get("root"):
            np.square(values, out=values)
        values.flags.writeable = False
        return values


@functools.lru_cache(maxsize=96)  # two years of the reference world: about 500 MB
def _read(path: str, mtime: int, name: str) -> np.ndarray:
    return PackedFile(path)._decode(name)


class _PackedArray(BackendArray):
    """A channel over consecutive files; only the files that an index touches are decoded."""

    def __init__(self, files: list[PackedFile], name: str) -> None:
        self.files, self.name = files, name
        self.edges = np.cumsum([0, *(len(f.time) for f in files)])
        self.shape = (int(self.edges[-1]), len(files[0].lat), len(files[0].lon))
        self.dtype = np.dtype("float32")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._get)

    def _get(self, key: tuple) -> np.ndarray:
        wanted, *space = key
        steps = np.arange(self.shape[0])[wanted]
        scalar = np.ndim(steps) == 0
        steps = np.atleast_1d(steps)
        out = np.empty((len(steps), *self.shape[1:]), np.float32)
        for i, file in enumerate(self.files):
            mine = (steps >= self.edges[i]) & (steps < self.edges[i + 1])
            if mine.any():
                out[mine] = file.read(self.name)[steps[mine] - self.edges[i]]
        # A scalar would drop its axis and shift the next one: take it as a slice, and squeeze at the end.
        lat, lon = (slice(k, k + 1) if isinstance(k, (int, np.integer)) else k for k in space)
        out = out[:, lat][:, :, lon]
        drop = [
            axis for axis, k in enumerate((0 if scalar else slice(None), *space)) if isinstance(k, (int, np.integer))
        ]
        return out.squeeze(axis=tuple(drop)) if drop else out


def open_files(paths: list[str | Path], gaps: bool = False) -> xr.Dataset:
    """Open consecutive packed files of one world as a lazy dataset, variables without attributes.

    Args:
        gaps: whether times may be missing between two files; where they are not on purpose, a file has been forgotten.

    Raises:
        ValueError: when a file is damaged, or the files have different grids or variables, or times that do not follow on.
    """
    files = sorted((PackedFile(p) for p in paths), key=lambda f: f.time[0])
    first = files[0]
    for before, after in itertools.pairwise(files):
        if not (np.array_equal(before.lat, after.lat) and np.array_equal(before.lon, after.lon)):
            raise ValueError(f"expected one grid, got two: {before.path.name} and {after.path.name} differ")
        if list(before.header["variables"]) != list(after.header["variables"]):
            raise ValueError(f"expected the same variables in {before.path.name} and {after.path.name}")
        step, ahead = np.timedelta64(before.header["step_hours"], "h"), after.time[0] - before.time[-1]
        if ahead < step or (ahead > step and not gaps):
            raise ValueError(
                f"expected consecutive files, got a gap or an overlap between {before.path.name} and {after.path.name}"
            )
    data: dict[str, Any] = {}
    for name, entry in first.header["variables"].items():
        if entry["dims"] == 2:
            data[name] = (("lat", "lon"), first.read(name))
        else:
            data[name] = (("time", "lat", "lon"), indexing.LazilyIndexedArray(_PackedArray(files, name)))
    coords = {"time": np.concatenate([f.time for f in files]), "lat": first.lat, "lon": first.lon}
    return xr.Dataset(data, coords, first.header["attrs"])


class PackedBackend(BackendEntrypoint):
    """`xarray.open_dataset("1985.cxp", engine="climax_lite")`."""

    description = "Packed simulated weather of climax_lite (.cxp)"

    def open_dataset(self, filename_or_obj, *, drop_variables=None):
        return open_files([filename_or_obj]).drop_vars(drop_variables or [])

    def guess_can_open(self, filename_or_obj) -> bool:
        return str(filename_or_obj).endswith(SUFFIX)
