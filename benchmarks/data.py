"""The loader's speed: samples a second from a warm record, beside a plain copy of the same bytes in the same run.

    python benchmarks/data.py            # rewrites the table in benchmarks/data.md
    python benchmarks/data.py --quick    # a short run, prints and writes nothing

One thread. A sample is an initial state of 20 channels on 32 × 64 and the state at its target time: 655 kB of numbers are moved for each
(both states read and written once). The copy moves the same bytes with `numpy.copyto`, state by state from random places of the same
array into a batch, so it has the same cache misses and nothing else. Each is the best of its repetitions, taken in turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from climax_lite.data import LEADS, ForecastSamples, Mixture, MixtureLoader, Record
from climax_lite.grid import Grid
from climax_lite.variables import OFFICIAL_VARIABLES

HERE = Path(__file__).parent
CHANNELS = OFFICIAL_VARIABLES[3:23]
BATCH = 32


def record(times: int, path: Path | None = None) -> Record:
    """Noise with the shape of the weather."""
    grid = Grid.regular(32, 64)
    rng = np.random.default_rng(0)
    data = {v: (("time", "lat", "lon"), rng.standard_normal((times, 32, 64), np.float32)) for v in CHANNELS}
    coords = {
        "time": np.datetime64("1985-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h"),
        "lat": grid.lat,
        "lon": grid.lon,
    }
    return Record.of(xr.Dataset(data, coords), "noise", path)


def copying(r: Record, batches: int) -> float:
    """Samples a second of a plain copy: two states each."""
    rng = np.random.default_rng(0)
    x, y = (np.empty((BATCH, *r.values.shape[1:]), np.float32) for _ in range(2))
    places = rng.integers(0, len(r), (batches, 2, BATCH))
    began = time.perf_counter()
    for px, py in places:
        for b in range(BATCH):
            np.copyto(x[b], r.values[px[b]])
            np.copyto(y[b], r.values[py[b]])
    return batches * BATCH / (time.perf_counter() - began)


def loading(loader: MixtureLoader, batches: int) -> float:
    """Samples a second of the loader."""
    began, done = time.perf_counter(), 0
    while done < batches:
        for _ in loader:
            done += 1
            if done == batches:
                break
    return batches * BATCH / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    times, batches, repeat = (400, 20, 2) if args.quick else (2920, 200, 7)
    lines = [
        "# The loader's speed",
        "",
        f"Made by `benchmarks/data.py` on {platform.machine()}, {os.cpu_count()} cores, one thread; numpy {np.__version__}, torch "
        f"{torch.__version__}. {len(CHANNELS)} channels on 32 × 64, batches of {BATCH}, random lead times from 6 to 168 h, {times} times.",
        "A plain copy moves the same bytes from random places of the same array; best of the repetitions, taken in turns.",
        "",
        "| record | loader, samples/s | plain copy, samples/s | loader over copy |",
        "|---|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("resident", None), ("memory-mapped, in the page cache", Path(folder) / "record")):
            r = record(times, path)
            samples = ForecastSamples.of(r, LEADS)
            loader = MixtureLoader(Mixture({"noise": samples, "again": samples}, batch_size=BATCH))
            best = {"loader": 0.0, "copy": 0.0}
            for _ in range(repeat + 1):
                best["loader"] = max(best["loader"], loading(loader, batches))
                best["copy"] = max(best["copy"], copying(r, batches))
            lines.append(
                f"| {name} | {best['loader']:,.0f} | {best['copy']:,.0f} | **{best['loader'] / best['copy']:.2f}** |"
            )
            print(lines[-1], flush=True)
    if not args.quick:
        (HERE / "data.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
