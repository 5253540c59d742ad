"""The measures of `benchmarks/worlds.py`, on waves whose answer is known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import worlds

from climax_lite.grid import Grid


def wave(days: float, amplitude: float, wavenumber: int = 0) -> xr.DataArray:
    """A year, twice a day, of amplitude · sin(2πt/days) · cos(wavenumber · λ) on 4 × 8 points, with a mean and a trend."""
    grid = Grid.regular(4, 8)
    t = np.arange(730) * 0.5
    x = amplitude * np.sin(2 * np.pi * t / days)[:, None] * np.cos(wavenumber * np.deg2rad(grid.lon))[None]
    x = (x + 100 + 0.1 * t[:, None])[:, None, :] * np.ones((1, 4, 1))
    times = np.datetime64("2001-01-01", "ns") + (24 * t).astype(int) * np.timedelta64(1, "h")
    return xr.DataArray(x, dims=("time", "lat", "lon"), coords={"time": times, "lat": grid.lat, "lon": grid.lon})


def test_a_storm_track_holds_passing_weather_only():
    # A sine of amplitude 10 has the standard deviation 10/sqrt(2); 365/91 days is inside 2 to 6 days, 36.5 and 1.25 days are not.
    np.testing.assert_allclose(worlds.storm_track(wave(365 / 91, 10.0)), 10 / np.sqrt(2), rtol=1e-3)
    assert float(worlds.storm_track(wave(36.5, 10.0)).max()) < 0.2
    assert float(worlds.storm_track(wave(1.25, 10.0)).max()) < 0.2


def test_a_part_of_a_year_counts_for_nothing_in_a_mean():
    time = np.arange("1985-01-01", "1987-06-16", 12, dtype="datetime64[h]").astype("datetime64[ns]")
    ds = xr.Dataset({"x": ("time", np.zeros(len(time)))}, {"time": time})
    kept = worlds.whole_years(ds)
    assert kept.sizes["time"] == 2 * 365 * 2
    assert str(kept.time.values[-1])[:13] == "1986-12-31T12"


def test_differences_of_means_are_taken_on_the_grid_of_the_reference():
    a, b = wave(5.0, 10.0), wave(7.3, 3.0)
    assert worlds.mean_difference(a + 3, a) == pytest.approx(3.0, rel=1e-6)
    fine = xr.DataArray(
        np.full((2, 8, 16), float(b.mean()) + 2),
        dims=b.dims,
        coords={"lat": Grid.regular(8, 16).lat, "lon": Grid.regular(8, 16).lon},
    )
    assert worlds.mean_difference(fine, b) == pytest.approx(2.0, rel=1e-3)


def test_twins_are_read_by_world_and_lead(tmp_path):
    path = tmp_path / "twins.json"
    one = {"geopotential_500": [1.0, 2.0], "temperature_850": [0.1, 0.2], "cpu_minutes_a_year": 2.0}
    path.write_text(json.dumps({"a": one, "b": one}))
    ds = worlds.error_growth(path)
    assert float(ds.geopotential_500.sel(world="b", lead=12)) == 2.0
    assert float(ds.temperature_850.sel(world="a", lead=6)) == 0.1
