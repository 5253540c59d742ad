"""What the packed store costs and saves: one year of the reference world, packed and on the grid, at the same noise.

    python benchmarks/store.py [FOLDER]     # the generated world's monthly files; default data/generated/reference

Needs the generated year (`make data WORLD=reference YEARS=1`), since rounding error is measured against fields that were
never rounded. Prints the table of `benchmarks/store.md` and writes it.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import xarray as xr

from climax_lite.data.packed import PackedFile
from climax_lite.grid import Grid

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tools.simulate.embed import conservative  # noqa: E402


def on_the_grid(x: np.ndarray, step: float) -> dict[str, int]:
    """Bytes of the field rounded to `step`, differenced in time, its bytes shuffled, under three compressors."""
    q = np.rint(x / step).astype(np.int32)
    d = np.diff(q, axis=0, prepend=0)
    zigzag = ((d << 1) ^ (d >> 31)).astype("<u4").transpose(1, 2, 0)
    planes = np.ascontiguousarray(np.ascontiguousarray(zigzag).view(np.uint8).reshape(-1, 4).T).tobytes()
    return {
        "zlib": len(zlib.compress(planes, 6)),
        "bz2": len(bz2.compress(planes)),
        "lzma": len(lzma.compress(planes, preset=6)),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data/generated/reference"
    if not (files := [*sorted(folder.glob("1984-12.nc")), *sorted(folder.glob("1985-*.nc"))]):
        sys.exit(f"no generated year in {folder}: make it with 'make data WORLD=reference YEARS=1'")
    packed = PackedFile(ROOT / "data/reference/1985.cxp")
    ds = xr.open_mfdataset(
        files, combine="nested", concat_dim="time", data_vars="minimal", coords="minimal", compat="override"
    )
    ds = ds.sel(time=packed.time)
    source, target = Grid.from_dataset(ds), Grid(packed.lat, packed.lon)
    weights = target.weights()[:, None]
    rows, total = [], {"packed": 0, "zlib": 0, "bz2": 0, "lzma": 0, "float32": 0}
    names = [n for n, e in packed.header["variables"].items() if e["dims"] == 3]
    with zipfile.ZipFile(packed.path) as archive:
        sizes = {i.filename: i.file_size for i in archive.infolist()}
    seconds = 0.0
    for name in names:
        x = conservative(ds[name].values.astype(np.float64), source, target)
        began = time.perf_counter()
        y = packed._decode(name)
        seconds += time.perf_counter() - began
        error = float(np.sqrt(((y - x) ** 2 * weights).mean()))
        deviation = float(np.sqrt((x.var(axis=0) * weights).mean()))
        grid = on_the_grid(
            x - x.mean(), error * np.sqrt(12)
        )  # the step whose rounding error is the packed store's error
        rows.append(
            (
                name,
                ds[name].attrs["units"],
                deviation,
                error,
                error / deviation,
                sizes[name] / 1e6,
                min(grid.values()) / 1e6,
            )
        )
        for key, n in {**grid, "packed": sizes[name], "float32": x.size * 4}.items():
            total[key] += n
    lines = [
        "# The packed store",
        "",
        "Made by `benchmarks/store.py`: one year of the reference world, 6-hourly, 32 × 64. Rounding error against the fields",
        "before packing, area-weighted; *on the grid*: rounded on the grid to the same error, differenced in time, bytes shuffled,",
        "the best of zlib, bz2 and LZMA.",
        "",
        "| variable | units | deviation in time | rounding error | error / deviation | packed (MB) | on the grid (MB) |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(f"| {n} | {u} | {d:.4g} | {e:.2g} | {r:.3f} | {p:.2f} | {g:.2f} |" for n, u, d, e, r, p, g in rows),
        "",
        f"Sum of {len(rows)} variables: float32 {total['float32'] / 1e6:.1f} MB; on the grid zlib {total['zlib'] / 1e6:.1f}, "
        f"bz2 {total['bz2'] / 1e6:.1f}, "
        f"LZMA {total['lzma'] / 1e6:.1f} MB; packed {total['packed'] / 1e6:.1f} MB, "
        f"{min(total[k] for k in ('zlib', 'bz2', 'lzma')) / total['packed']:.2f} times less than the best of them. "
        f"Decoding the year took {seconds:.1f} s.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (ROOT / "benchmarks/store.md").write_text(text)


if __name__ == "__main__":
    main()
