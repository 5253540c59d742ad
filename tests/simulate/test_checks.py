"""What is not an atmosphere is refused, with what, where and how much. On small fake months; no model is needed."""

import dataclasses
import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.simulate import checks
from tools.simulate.world import World

LAT, LON = np.array([-60.0, 0.0, 60.0]), np.array([0.0, 90.0, 180.0, 270.0])
WORLD = World("fake", "fake", dt.date(2001, 1, 1), 1, spinup_days=0)
GOOD = {
    "2m_temperature": 287.0, "total_precipitation_6hr": 7e-4, "outgoing_longwave_radiation": 230.0, "total_cloud_cover": 0.6,
    "surface_pressure": 98400.0, "lowest_pressure": 95500.0, "lowest_at": 2.0, "highest_pressure": 104500.0, "highest_at": 7.0,
}  # fmt: skip


def month() -> xr.Dataset:
    times = np.datetime64("2001-01-01T06", "ns") + np.arange(8) * np.timedelta64(6, "h")
    shape = (8, 3, 4)
    data = {
        "mean_sea_level_pressure": (("time", "lat", "lon"), np.full(shape, 101000.0)),
        "2m_temperature": (("time", "lat", "lon"), np.full(shape, 287.0)),
    }
    return xr.Dataset(data, {"time": times, "lat": LAT, "lon": LON})


def log(days: int = 500, **changes) -> dict[str, np.ndarray]:
    return {name: np.full(days, changes.get(name, value)) for name, value in GOOD.items()}


def test_a_good_world_passes():
    assert checks.finished(WORLD, month(), log()) == {"surface_pressure": 0.0, "2m_temperature": 0.0}
    checks.a_day(WORLD, dt.date(2001, 3, 1), GOOD, LAT, LON)
    checks.means(WORLD, "March", log())


def test_nan_is_refused():
    ds = month()
    ds["2m_temperature"][5, 2, 1] = np.nan
    ds["2m_temperature"][6, 0, 0] = np.inf
    says = r"2m_temperature is not finite at 2001-01-02T12 UTC, 60.0° N, 90.0° E, and at 1 other places"
    with pytest.raises(checks.Refused, match=says):
        checks.finished(WORLD, ds, log())


@pytest.mark.parametrize("pressure", [90500.0, 107500.0])
def test_impossible_pressure_is_refused(pressure):
    ds = month()
    ds["mean_sea_level_pressure"][3, 0, 2] = pressure
    says = f"pressure of {pressure / 100:.0f} hPa at -60.0° N, 180.0° E on 2001-01-02T00 UTC; expected 920 to 1070 hPa"
    with pytest.raises(checks.Refused, match=says):
        checks.finished(WORLD, ds, log())


def test_a_running_world_is_refused_on_the_day():
    # Place 5 of (lon, lat) with three latitudes: the second longitude and the third latitude.
    low = GOOD | {"lowest_pressure": 88000.0, "lowest_at": 5.0}
    with pytest.raises(checks.Refused, match=r"pressure of 880 hPa at 60\.0° N, 90\.0° E on 2001-03-01"):
        checks.a_day(WORLD, dt.date(2001, 3, 1), low, LAT, LON)
    checks.a_day(WORLD, dt.date(2001, 1, 5), low, LAT, LON)  # it started from rest five days before
    with pytest.raises(checks.Refused, match="surface_pressure is not finite on 2001-01-05"):
        checks.a_day(WORLD, dt.date(2001, 1, 5), GOOD | {"surface_pressure": np.nan}, LAT, LON)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("2m_temperature", 297.0, "fake March: the global mean of 2m_temperature is 297 K; expected 280 to 294"),
        ("total_precipitation_6hr", 1e-4, "total_precipitation_6hr is 0.0001 m; expected 0.0004 to 0.0013"),
        ("outgoing_longwave_radiation", 300.0, "outgoing_longwave_radiation is 300 W m-2"),
        ("total_cloud_cover", 0.1, "total_cloud_cover is 0.1 1; expected 0.3"),
        ("surface_pressure", 95000.0, "surface_pressure is 9.5e.04 Pa; expected 96000"),
    ],
)
def test_global_means_out_of_bounds_are_refused(name, value, says):
    with pytest.raises(checks.Refused, match=says):
        checks.means(WORLD, "March", log(**{name: value}))


def test_a_world_file_may_move_the_bounds():
    hot = World("hot", "hot", dt.date(2001, 1, 1), 1, bounds={"2m_temperature": (290.0, 300.0)})
    checks.means(hot, "March", log(**{"2m_temperature": 297.0}))
    with pytest.raises(checks.Refused, match="is 287 K; expected 290 to 300"):
        checks.means(hot, "March", log())


def test_drift_is_refused_and_seasons_are_none():
    days = np.arange(500)
    season = log() | {"2m_temperature": 287 + 2 * np.sin(2 * np.pi * days / 365)}
    assert checks.drift(WORLD, season)["2m_temperature"] == pytest.approx(0, abs=1e-6)
    rising = log() | {"2m_temperature": 287 + days / 365}
    with pytest.raises(checks.Refused, match=r"2m_temperature drifts by 1 K a year; expected -0\.5 to 0\.5"):
        checks.drift(WORLD, rising)
    leaking = log() | {"surface_pressure": 98400 - 0.5 * days}
    with pytest.raises(checks.Refused, match="surface_pressure drifts by -182 Pa a year; expected -50 to 50"):
        checks.drift(WORLD, leaking)
    warming = dataclasses.replace(WORLD, bounds={"drift_2m_temperature": (0.03, 2.0)})
    assert checks.drift(warming, rising)["2m_temperature"] == pytest.approx(1.0)
    with pytest.raises(checks.Refused, match=r"drifts by 0 K a year; expected 0\.03 to 2"):
        checks.drift(warming, log())
    assert checks.drift(WORLD, log(days=200)) == {}  # too short for a pair of years


def test_a_log_is_cut_where_a_run_was_killed(tmp_path):
    path = tmp_path / "log.csv"
    rows = [{"day": f"2001-01-{d:02}", "2m_temperature": f"{280 + d}"} for d in range(1, 6)]
    checks.append_log(path, rows[:3])
    checks.append_log(path, rows[3:])
    np.testing.assert_array_equal(checks.read_log(path)["2m_temperature"], [281, 282, 283, 284, 285])
    checks.cut_log(path, dt.date(2001, 1, 4))
    checks.append_log(path, [{"day": "2001-01-04", "2m_temperature": "300", "more": "1"}])
    np.testing.assert_array_equal(checks.read_log(path)["2m_temperature"], [281, 282, 283, 300])
    checks.cut_log(path, None)
    assert checks.read_log(path) == {}
