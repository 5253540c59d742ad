"""A climate of one equation, with the scenarios of the simulated world: runs whose forced climate and whose weather are known.

The temperature change T of every cell follows

    C ∂T/∂t = 5.35 W m⁻² · ln(CO2 / 284 ppm) − Q·dimming − λ·T + D·∇²T + weather,

an energy balance (Budyko 1969, Sellers 1969) that is stirred by noise (Hasselmann 1976). Land has a small heat capacity C, the sea
a mixed layer of 20 m; λ falls towards the poles, which therefore warm more. Diurnal range and precipitation follow from T and the
haze, cell by cell. All runs take a second or two, and any number of members can be had. It has no winds, no clouds and no seasons.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse
from scipy.sparse.linalg import splu

from climax_lite.data.projection import CLIMATE, Runs, change_attrs
from climax_lite.grid import Grid

CO2: dict[str, tuple[tuple[float, float], ...]] = {
    "historical": ((1850, 284), (1900, 296), (1950, 311), (1970, 326), (1990, 354), (2000, 369), (2015, 400)),
    "ssp126": ((2015, 400), (2030, 435), (2045, 467), (2060, 474), (2080, 463), (2101, 445)),
    "ssp245": ((2015, 400), (2030, 444), (2050, 507), (2070, 560), (2085, 592), (2101, 603)),
    "ssp370": ((2015, 400), (2030, 455), (2050, 540), (2075, 690), (2101, 870)),
    "ssp585": ((2015, 400), (2030, 465), (2050, 563), (2075, 800), (2101, 1150)),
}
"""(year, ppm), joined by straight lines."""

HAZE: dict[str, tuple[tuple[float, float], ...]] = {
    "historical": ((1850, 0.0), (1900, 0.02), (1950, 0.05), (1980, 0.10), (2015, 0.08)),
    "ssp126": ((2015, 0.08), (2040, 0.02), (2101, 0.005)),
    "ssp245": ((2015, 0.08), (2050, 0.05), (2101, 0.015)),
    "ssp370": ((2015, 0.08), (2101, 0.09)),
    "ssp585": ((2015, 0.08), (2050, 0.04), (2101, 0.01)),
}
"""(year, part of the sunshine that is taken at the centre of each haze)."""

CENTRES = ((38.0, 272.0), (50.0, 18.0), (32.0, 113.0), (23.0, 80.0))
"""(latitude, longitude) of the hazes, each a Gaussian of 9 by 14 degrees."""

YEAR = 3.156e7
"""Seconds."""


def runs(
    names: Iterable[str] = ("historical", "ssp126", "ssp245", "ssp370", "ssp585"),
    grid: Grid | None = None,
    land: np.ndarray | None = None,
    *,
    seed: int = 0,
    noise: float = 1.0,
) -> Runs:
    """Runs in the form of `climax_lite.data.scenarios`: 33 years of history at five years of forcing a year, then 35 at 2.43.

    Args:
        names: some of `CO2`; a scenario goes on from the historical run, which has the same weather for all.
        grid: 32 × 64 by default.
        land: (H, W) part of the cell that is land; by default two continents.
        seed: of the weather.
        noise: size of the weather; zero gives what the forcing alone does.

    Raises:
        ValueError: for an unknown run.
    """
    names = tuple(names)
    if unknown := [n for n in names if n not in CO2]:
        raise ValueError(f"unknown runs {', '.join(unknown)}: expected some of {', '.join(CO2)}")
    grid = grid or Grid.regular(32, 64)
    land = _two_continents(grid) if land is None else np.asarray(land)
    step = _step(grid, land)
    past = _forcing("historical", grid)
    weather = np.random.default_rng(seed)
    warmth = _integrate(past, step, np.zeros(grid.shape), noise, weather)
    out = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng((seed, number + 1))
        x, t = past, warmth
        if name != "historical":
            future = _forcing(name, grid)
            x = xr.concat([past, future], "time")
            t = _integrate(future, step, warmth[-1], noise, rng)
        out[name] = x, _climate(t, x.isel(time=slice(-len(t), None)), land, noise, rng)
    return out


def _forcing(run: str, grid: Grid) -> xr.Dataset:
    """CO2 (ppm) and dimming (1), both as maps (time, lat, lon)."""
    start, pace, first, count = (1850, 5.0, 1850, 33) if run == "historical" else (2015, 2.43, 1883, 35)
    years = start + pace * (np.arange(count) + 0.5)
    co2, haze = (np.interp(years, *np.array(table[run]).T)[:, None, None] for table in (CO2, HAZE))
    away = [(lat, (grid.lon - lon + 180) % 360 - 180) for lat, lon in CENTRES]
    shapes = [np.exp(-0.5 * (((grid.lat - lat) / 9)[:, None] ** 2 + (x / 14) ** 2)) for lat, x in away]
    maps = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "CO2": (maps, np.broadcast_to(co2, (count, *grid.shape)).astype("float32"), {"units": "ppm"}),
            "dimming": (maps, (haze * sum(shapes)).astype("float32"), {"units": "1"}),
        },
        {
            "time": first + np.arange(count),
            "lat": grid.lat,
            "lon": grid.lon,
            "scenario_year": ("time", years),
        },
    )


def _step(grid: Grid, land: np.ndarray) -> tuple[np.ndarray, Any]:
    """C per year (H, W), and C + λ − D·∇² factorised: an implicit step of a year solves it."""
    rows, columns = grid.shape
    phi = np.deg2rad(grid.lat)
    index = np.arange(rows * columns).reshape(rows, columns)
    area = np.repeat(np.cos(phi), columns)
    capacity = (8.4e7 * (1 - land) + 0.5e7 * land) / YEAR
    damping = (1.7 - 0.9 * np.sin(phi) ** 2)[:, None] * np.ones(columns)
    d, dy, dx = 0.55, np.diff(phi).mean(), 2 * np.pi / columns
    between = np.cos((phi[1:] + phi[:-1]) / 2)[:, None] * np.ones(columns)
    beside = np.ones(columns) / np.cos(phi)[:, None]
    matrix = sparse.diags((capacity + damping).ravel())
    for a, b, strength in (
        (index[:-1], index[1:], d / dy**2 * between),
        (index, np.roll(index, -1, axis=1), d / dx**2 * beside),
    ):
        for here, there in ((a.ravel(), b.ravel()), (b.ravel(), a.ravel())):
            flux = strength.ravel() / area[here]
            matrix = matrix + sparse.coo_matrix((flux, (here, here)), matrix.shape)
            matrix = matrix - sparse.coo_matrix((flux, (here, there)), matrix.shape)
    return capacity, splu(matrix.tocsc())


def _integrate(
    x: xr.Dataset, step: tuple[np.ndarray, Any], start: np.ndarray, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Temperature changes (T, H, W), one a year, from `start`."""
    capacity, factors = step
    sunshine = 240 * (1.25 - 0.75 * np.sin(np.deg2rad(x["lat"].values)) ** 2)[:, None]
    forcing = 5.35 * np.log(x["CO2"].values / 284) - sunshine * x["dimming"].values
    out, t = [], start
    for f in forcing:
        stirring = noise * 8 * rng.standard_normal(t.shape)
        t = factors.solve((f + stirring + capacity * t).ravel()).reshape(t.shape)
        out.append(t)
    return np.array(out)


def _climate(t: np.ndarray, x: xr.Dataset, land: np.ndarray, noise: float, rng: np.random.Generator) -> xr.Dataset:
    """The four annual maps."""
    lat = np.deg2rad(x["lat"].values)[:, None]
    haze, mean = x["dimming"].values, np.average(t.mean(-1), axis=-1, weights=np.cos(lat[:, 0]))[:, None, None]
    wetter = 7e-7 * (mean * (np.cos(6 * lat) * np.exp(-((lat / 1.0) ** 2)) + 0.9) + 0.5 * (t - mean)) - 2e-5 * haze
    fields = {
        CLIMATE[0]: t + noise * 0.2 * rng.standard_normal(t.shape),
        CLIMATE[1]: land * (-0.06 * t - 12 * haze) + noise * 0.15 * rng.standard_normal(t.shape),
        CLIMATE[2]: wetter + noise * 2e-6 * rng.standard_normal(t.shape),
        CLIMATE[3]: 2.7 * wetter + noise * 5e-6 * rng.standard_normal(t.shape),
    }
    data = {v: (("time", "lat", "lon"), a.astype("float32"), change_attrs(v)) for v, a in fields.items()}
    return xr.Dataset(data, {k: x[k] for k in ("time", "lat", "lon", "scenario_year")})


def _two_continents(grid: Grid) -> np.ndarray:
    """(H, W): one from 60° S to the Arctic over 60° of longitude, one in the northern half over 120°."""
    lat, lon = grid.lat[:, None], grid.lon
    narrow = (lat > -60) & (abs((lon - 285 + 180) % 360 - 180) < 30)
    broad = (lat > 5) & (abs((lon - 70 + 180) % 360 - 180) < 60)
    return (narrow | broad).astype(float)
