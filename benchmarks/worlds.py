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


SHOWN = {
    "2m_temperature": (1.0, 2), "geopotential_500": (1 / GRAVITY, 1), "total_precipitation_6hr": (4000.0, 2),
    "outgoing_longwave_radiation": (1.0, 1),
}  # fmt: skip
"""Global means in the table → factor to the units of its head, digits."""

COMPARED = {"2m_temperature": (1.0, 2), "geopotential_500": (1 / GRAVITY, 1), "temperature_850": (1.0, 2)}
TWIN_DAYS = (0.25, 1, 5, 10, 15)


def whole_years(ds: xr.Dataset) -> xr.Dataset:
    """The years of which a record holds every day: a mean over a part of a year has the wrong seasons."""
    year = ds.time.dt.year
    days = ds.time.dt.floor("D").to_index().unique().year
    return ds.sel(time=year.isin([y for y in set(days) if (days == y).sum() >= 365]))


def table() -> str:
    """`benchmarks/worlds.md`."""
    worlds = {n: open_data(n) for n, s in SOURCES.items() if s.role in ("reanalysis", "climate model")}
    first, second = (worlds["reference"].sel(time=str(year)) for year in (1985, 1986))
    twins = json.loads(TWINS.read_text()) if TWINS.exists() else {}
    rows = {"held": [], "means": [], "twins": [], "missing": []}
    for name, ds in worlds.items():
        files = SOURCES[name].files
        hours = int((ds.time.values[1] - ds.time.values[0]) / np.timedelta64(1, "h"))
        rows["held"].append([
            name, SOURCES[name].role, f"{ds.time.values[0].astype('M8[M]')} to {ds.time.values[-1].astype('M8[M]')}", f"{hours} h",
            f"{ds.sizes['lat']} × {ds.sizes['lon']}", sum("time" in v.dims for v in ds.data_vars.values()),
            f"{sum((ROOT / 'data' / f).stat().st_size for f in files) / 1e6:.2f}", twins.get(name, {}).get("cpu_minutes_a_year", ""),
        ])  # fmt: skip
        cells, ds = [name], whole_years(ds)
        for v, (factor, digits) in SHOWN.items():
            cells.append(f"{factor * float(global_mean(ds[v].mean('time'))):.{digits}f}" if v in ds else "")
        other = second if name == "reference" else ds
        for v, (factor, digits) in COMPARED.items():
            cells.append(f"{factor * mean_difference(other[v], first[v]):.{digits}f}" if v in ds else "")
        z = (first if name == "reference" else ds).geopotential_500.isel(time=slice(0, None, 12 // hours))
        variance = storm_track(z) ** 2 / GRAVITY**2
        for band in (slice(30, 70), slice(-70, -30)):
            cells.append(f"{float(global_mean(variance.sel(lat=band))) ** 0.5:.0f}")
        rows["means"].append(cells)
        if name in twins:
            apart = [twins[name]["geopotential_500"][int(4 * day) - 1] / GRAVITY for day in TWIN_DAYS]
            rows["twins"].append([name, *(f"{a:.2g}" for a in apart)])
        if name != "reference":
            lacks = [variable(str(v)).short for v in first.data_vars if v not in ds]
            more = [variable(str(v)).short for v in ds.data_vars if v not in first]
            rows["missing"].append([name, ", ".join(lacks), ", ".join(more)])
    return HEAD.format(
        **{part: "\n".join(f"| {' | '.join(map(str, r))} |" for r in lines) for part, lines in rows.items()}
    )


HEAD = """# The simulated worlds

Made by `benchmarks/worlds.py` from the embedded data; twins and processor time come from `benchmarks/worlds.json`.

## What is embedded

Processor time: minutes of one core (a two-core cloud machine, one thread, other work beside it) for a simulated year.

| world | plays | time | every | grid | variables in time | MB | processor minutes a year |
|---|---|---|---:|---:|---:|---:|---:|
{held}

## How they differ

Global means over whole years. Δ: root mean square difference of time means from the reference world's 1985; in the row of the
reference itself that of its own 1986, which is what the weather and the sea of another year do. Storms (N, S): standard deviation of
Z500 at periods of 2 to 6 days, 12-hourly, over 30 to 70 degrees north and south.

| world | T2m (K) | Z500 (m) | rain (mm/day) | OLR (W m⁻²) | ΔT2m (K) | ΔZ500 (m) | ΔT850 (K) | storms N (m) | storms S (m) |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{means}

## How fast errors grow

Twins start from one state; in one of them each spectral coefficient of temperature from zonal wavenumber 5 on is off by about a
thousandth. Global root mean square distance of Z500 (m) after so many days. Where there is rain, showers that start in one twin and
not in the other send waves round the globe, which lift the distance to more than a metre within a day, however small the first error
was (in *windy* a hundredth of it leads to the same); the growth of the storms comes on top of it. The dry world has nothing of the kind.
One pair of twins each, so the numbers of days 10 and 15 are those of one winter's weather.

| world | 6 hours | 1 day | 5 days | 10 days | 15 days |
|---|---:|---:|---:|---:|---:|
{twins}

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
