"""The simulated worlds side by side: what they hold, how they differ, how fast errors grow in them.

    python benchmarks/worlds.py            # from the embedded data: rewrites benchmarks/worlds.md, in about a minute
    python benchmarks/worlds.py --twins    # first runs the twins again (needs the extra `simulate` and data/generated): worlds.json

The functions take datasets and give arrays, so that a page or a notebook can import them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import xarray as xr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from climax_lite.data import open as open_data  # noqa: E402
from climax_lite.data.sources import SOURCES  # noqa: E402
from climax_lite.grid import Grid  # noqa: E402
from climax_lite.regrid import regrid  # noqa: E402
from climax_lite.variables import variable  # noqa: E402

TWINS = Path(__file__).with_name("worlds.json")
GRAVITY = 9.81


def global_mean(x: xr.DataArray) -> xr.DataArray:
    """Area-weighted mean over the globe of (..., lat, lon)."""
    grid = Grid.from_dataset(x)
    return x.weighted(xr.DataArray(grid.weights("area"), dims="lat", coords={"lat": x.lat})).mean(("lat", "lon"))


def mean_difference(x: xr.DataArray, reference: xr.DataArray) -> float:
    """Root mean square over the globe of the difference of two time means, on the grid of `reference` (conservative)."""
    here, there = x.mean("time"), reference.mean("time")
    if here.shape != there.shape or not np.allclose(here.lat, there.lat):
        here = regrid(here, Grid.from_dataset(there), method="conservative")
    return float(np.sqrt(global_mean((here - there) ** 2)))


def storm_track(z: xr.DataArray, shortest: float = 2.0, longest: float = 6.0) -> xr.DataArray:
    """Standard deviation (lat, lon) of the part of (time, lat, lon) with periods between two numbers of days: passing weather.

    A record of a year is cut out of the sky with sharp edges in frequency, after its mean and its straight trend are taken away.
    """
    step = float((z.time.values[1] - z.time.values[0]) / np.timedelta64(1, "D"))
    x = z.values.astype("float64")
    t = np.linspace(-0.5, 0.5, len(x))[:, None, None]
    x = x - x.mean(axis=0) - t * (x * t).sum(axis=0) / (t**2).sum()
    power = np.abs(np.fft.rfft(x, axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(x), step)
    band = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    twice = np.where((frequency > 0) & (frequency < 0.5 / step - 1e-9), 2.0, 1.0)[:, None, None]
    variance = (power * twice)[band].sum(axis=0) / len(x) ** 2
    return xr.DataArray(np.sqrt(variance), dims=("lat", "lon"), coords={"lat": z.lat, "lon": z.lon})


def zonal_spectrum(x: xr.DataArray, south: float = 30.0, north: float = 60.0) -> xr.DataArray:
    """Variance by zonal wavenumber from 1 on, mean over times and over the latitudes between two (both hemispheres)."""
    part = x.sel(lat=x.lat[(abs(x.lat) >= south) & (abs(x.lat) <= north)])
    power = 2 * np.abs(np.fft.rfft(part.values.astype("float64"), axis=-1)) ** 2 / part.sizes["lon"] ** 2
    weights = np.cos(np.deg2rad(part.lat.values))
    mean = (power.mean(axis=0) * weights[:, None]).sum(axis=0) / weights.sum()
    numbers = np.arange(len(mean))
    return xr.DataArray(mean[1:], dims="wavenumber", coords={"wavenumber": numbers[1:]})


def error_growth(path: Path = TWINS) -> xr.Dataset:
    """Distance of twins, (world, lead): global root mean square difference of Z500 (m² s⁻²) and T850 (K) after `lead` hours.

    The twins of a world start from one state; in one of them each spectral coefficient of temperature from zonal
    wavenumber 5 on is off by about a thousandth.
    """
    twins = json.loads(path.read_text())
    names = list(twins)
    data = {
        v: (("world", "lead"), np.array([twins[n][v] for n in names])) for v in ("geopotential_500", "temperature_850")
    }
    return xr.Dataset(data, {"world": names, "lead": 6 * np.arange(1, len(twins[names[0]]["geopotential_500"]) + 1)})


def run_twins(generated: Path, names: list[str], days: int = 15) -> dict[str, dict]:
    """Twins of each world from its last saved state, and the processor time of a simulated year (one thread)."""
    import datetime as dt
    import time

    from tools.simulate.atmosphere import Atmosphere
    from tools.simulate.run import restore
    from tools.simulate.world import find

    out: dict[str, dict] = {}
    for name in names:
        atmosphere = Atmosphere.build(find(name))
        weights = np.polynomial.legendre.leggauss(len(atmosphere.latitude))[1] / 2
        runs = []
        for twin in (False, True):
            day = restore(atmosphere, generated / name / "state.npz")
            if day is None:
                raise ValueError(f"{name} has not run: 'python -m tools.simulate run {name}'")
            if twin:
                atmosphere.perturb(1e-3)
            began, results = time.process_time(), []
            for _ in range(days):
                results.append(atmosphere.advance_a_day(day)[0])
                day += dt.timedelta(days=1)
            seconds = time.process_time() - began
            runs.append(results)
        entry: dict = {"cpu_minutes_a_year": round(seconds / days * 365 / 60, 1)}
        for v in ("geopotential_500", "temperature_850"):
            if v not in runs[0][0]:
                continue
            a, b = (np.concatenate([r[v] for r in run]) for run in runs)
            entry[v] = [float(f"{d:.4g}") for d in np.sqrt((((a - b) ** 2).mean(axis=1) * weights).sum(axis=1))]
        # Read again, since twins of other worlds may run beside these.
        out = (json.loads(TWINS.read_text()) if TWINS.exists() else {}) | {name: entry}
        TWINS.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items()) + "\n}\n")
        print(name, entry["cpu_minutes_a_year"], entry["geopotential_500"][::12], flush=True)
    return out


def table() -> str:
    """`benchmarks/worlds.md`."""
    worlds = {n: open_data(n) for n, s in SOURCES.items() if s.role in ("reanalysis", "climate model", "fine")}
    reference = worlds["reference"]
    years = [reference.sel(time=str(y)) for y in (1985, 1986)]
    growth = error_growth() if TWINS.exists() else None
    rows, means, tracks = [], [], {}
    for name, ds in worlds.items():
        source = SOURCES[name]
        size = sum((ROOT / "data" / f).stat().st_size for f in source.files) / 1e6
        hours = int((ds.time.values[1] - ds.time.values[0]) / np.timedelta64(1, "h"))
        span = f"{str(ds.time.values[0])[:7]} to {str(ds.time.values[-1])[:7]}"
        changing = sum("time" in v.dims for v in ds.data_vars.values())
        cost = json.loads(TWINS.read_text()).get(name, {}).get("cpu_minutes_a_year", "") if TWINS.exists() else ""
        grid = f"{ds.sizes['lat']} × {ds.sizes['lon']}"
        rows.append(f"| {name} | {source.role} | {span} | {hours} h | {grid} | {changing} | {size:.2f} | {cost} |")
        cells = [name]
        for v, digits in (
            ("2m_temperature", 2),
            ("geopotential_500", 1),
            ("total_precipitation_6hr", 2),
            ("outgoing_longwave_radiation", 1),
        ):
            if v == "total_precipitation_6hr" and "total_precipitation_24hr" in ds:
                cells.append(f"{1000 * float(global_mean(ds['total_precipitation_24hr'].mean('time'))):.{digits}f}")
                continue
            if v not in ds:
                cells.append("")
                continue
            value = float(global_mean(ds[v].mean("time")))
            value = (
                value / GRAVITY
                if v == "geopotential_500"
                else value * 4000
                if v == "total_precipitation_6hr"
                else value
            )
            cells.append(f"{value:.{digits}f}")
        for v, factor, digits in (
            ("2m_temperature", 1.0, 2),
            ("geopotential_500", GRAVITY, 1),
            ("temperature_850", 1.0, 2),
        ):
            other = years[1] if name == "reference" else ds
            known = v in ds and name != "fine"
            cells.append(f"{mean_difference(other[v], years[0][v]) / factor:.{digits}f}" if known else "")
        if name != "fine":
            every = ds.geopotential_500.isel(time=slice(0, None, 12 // hours))
            if name == "reference":
                every = every.sel(time="1985")
            tracks[name] = storm_track(every) / GRAVITY
            for band in (slice(30, 70), slice(-70, -30)):
                cells.append(f"{float(global_mean(tracks[name].sel(lat=band) ** 2)) ** 0.5:.0f}")
            cells.append(
                f"{doubling_days(growth.geopotential_500.sel(world=name)):.1f}"
                if growth is not None and name in growth.world
                else ""
            )
        else:
            cells += ["", "", ""]
        means.append("| " + " | ".join(cells) + " |")
    missing = []
    for name, ds in worlds.items():
        if name in ("reference", "fine"):
            continue
        lacks = [variable(v).short for v in reference.data_vars if v not in ds]
        more = [variable(v).short for v in ds.data_vars if v not in reference]
        missing.append(f"| {name} | {', '.join(lacks)} | {', '.join(more)} |")
    return HEAD.format(rows="\n".join(rows), means="\n".join(means), missing="\n".join(missing))


HEAD = """# The simulated worlds

Made by `benchmarks/worlds.py` from the embedded data; error growth and processor time from `benchmarks/worlds.json`.

## What is embedded

Processor time: minutes of one core (two-core cloud machine, one thread, other work beside it) for a simulated year.

| world | plays | time | every | grid | variables in time | MB | processor minutes a year |
|---|---|---|---:|---:|---:|---:|---:|
{rows}

## How they differ

Global means over the whole record. Δ: root mean square difference of time means from the reference world's 1985; in the row of the
reference itself that of its own 1986, which is what the weather and the sea of another year do. Storm track (N, S): standard deviation of
Z500 at periods of 2 to 6 days, 12-hourly, over 30 to 70 degrees north and south. Doubling: days in which twins, a thousandth apart,
double their distance in Z500, from day 4 to day 12.

| world | T2m (K) | Z500 (m) | rain (mm/day) | OLR (W m⁻²) | ΔT2m (K) | ΔZ500 (m) | ΔT850 (K) | N (m) | S (m) | doubling (days) |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{means}

## What each lacks, and has beyond the reference

| world | lacks | has besides |
|---|---|---|
{missing}
"""


def main() -> None:
    if "--twins" in sys.argv:
        generated = next((Path(a) for a in sys.argv[2:]), ROOT / "data/generated")
        run_twins(generated, [n for n, s in SOURCES.items() if s.role in ("reanalysis", "climate model")])
    text = table()
    Path(__file__).with_name("worlds.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
