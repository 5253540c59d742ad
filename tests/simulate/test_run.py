"""From steps of the model to what is kept and embedded; no model is needed."""

import dataclasses
import datetime as dt
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.simulate import embed
from tools.simulate.run import _continue_from, _lock, _next, monthly_q_flux, open_run, reduce_day, run, statistics
from tools.simulate.world import Embedded, World


def field(*values: float) -> np.ndarray:
    return np.array(values)[:, None, None] * np.ones((1, 3, 2))


def test_a_day_of_four_outputs():
    out = {
        "2m_temperature": field(280, 284, 288, 284), "total_precipitation_6hr": field(0, 0.001, 0.002, 0),
        "coldest": field(279, 281, 285, 280), "warmest": field(281, 286, 290, 285),
    }  # fmt: skip
    assert reduce_day(out, "6h") is out
    day = reduce_day(out, "day")
    assert {name: float(x[0, 0, 0]) for name, x in day.items()} == pytest.approx(
        {"2m_temperature": 284, "total_precipitation_24hr": 0.003, "range": 290 - 279}
    )
    assert all(x.shape == (1, 3, 2) for x in day.values())


def test_statistics_of_a_year():
    # Eleven days with 0, 1, ... 10 mm: nine tenths of them at or below 9 mm; 1 mm a day is 1/86400 kg m-2 s-1.
    days = [
        {"mean_2m_temperature": field(280 + d), "range": field(2 * d), "total_precipitation_24hr": field(d / 1000)}
        for d in range(11)
    ]
    got = {name: float(x[0, 0, 0]) for name, x in statistics(days).items()}
    assert got == pytest.approx(
        {"tas": 285, "diurnal_temperature_range": 10, "pr": 5 / 86400, "pr90": 9 / 86400}, rel=1e-6
    )


def test_stretches_end_with_months_and_years():
    assert _next(dt.date(1984, 11, 30), False) == dt.date(1984, 12, 1)
    assert _next(dt.date(1984, 12, 15), False) == dt.date(1985, 1, 1)
    assert _next(dt.date(1984, 6, 15), True) == dt.date(1985, 1, 1)


def test_a_world_that_has_run_is_passed_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tools.simulate.atmosphere", None)  # an import of it fails
    np.savez(tmp_path / "state.npz", day="2002-01-01")
    run(World("w", "w", dt.date(2001, 1, 1), 1), tmp_path)
    assert capsys.readouterr().out == "w: has run to 2002-01-01 already\n"
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]
    with pytest.raises(ImportError):
        run(World("w", "w", dt.date(2001, 1, 1), 2), tmp_path)


def test_a_world_does_not_go_on_from_one_that_still_runs(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "hist").mkdir()
    held = _lock(tmp_path / "hist/lock")
    with pytest.raises(ValueError, match="hist is being run by another process: wait for it"):
        _continue_from(None, tmp_path / "hist")
    held.close()


def fake_run(folder: Path, every_hours: int = 6) -> None:
    """Two months of a Gaussian world, its value counting hours."""
    folder.mkdir(parents=True)
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(4)[0]))
    for first, last in (("2000-12-01", "2001-01-01"), ("2001-01-01", "2001-02-01"), ("2001-02-01", "2001-03-01")):
        times = np.arange(
            np.datetime64(first, "ns") + np.timedelta64(every_hours, "h"),
            np.datetime64(last, "ns") + np.timedelta64(1, "h"),
            np.timedelta64(every_hours, "h"),
        )
        hours = (times - np.datetime64("2001-01-01")) / np.timedelta64(1, "h")
        x = (hours[:, None, None] * np.ones((1, 4, 8))).astype("float32")
        data = {
            "2m_temperature": (("time", "lat", "lon"), x),
            "orography": (("lat", "lon"), np.zeros((4, 8), "float32")),
        }
        xr.Dataset(data, {"time": times, "lat": lat, "lon": np.arange(8) * 45.0}, {"world": "{}"}).to_netcdf(
            folder / f"{first[:7]}.nc"
        )


YEAR = (dt.date(2001, 1, 1), dt.date(2001, 12, 31))
WORLD = World(
    "fake", "fake", dt.date(2001, 1, 1), 1,
    embedded=Embedded(grid=(), hours=12, variables=("2m_temperature", "orography")),
)  # fmt: skip


def test_a_year_that_has_not_run_is_not_embedded(tmp_path):
    pytest.importorskip("netCDF4")
    pytest.importorskip("dask")
    fake_run(tmp_path / "fake")
    with pytest.raises(ValueError, match="expected 730 times 12 hours apart from 2001-01-01 to 2001-12-31, got 119"):
        embed.part(WORLD, open_run(tmp_path / "fake"), *YEAR)
    with pytest.raises(ValueError, match=r"no files in .*nowhere: run the world first"):
        open_run(tmp_path / "nowhere")


def test_the_embedded_part_keeps_the_native_grid_and_every_twelfth_hour(tmp_path, monkeypatch):
    days = np.datetime64("2001-01-01", "ns") + np.arange(1, 1 + 365 * 4) * np.timedelta64(6, "h")
    times = np.concatenate([[np.datetime64("2001-01-01", "ns")], days])
    hours = (times - times[0]) / np.timedelta64(1, "h")
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(4)[0]))
    x = hours[:, None, None] * np.ones((1, 4, 8))
    data = {"2m_temperature": (("time", "lat", "lon"), x), "orography": (("lat", "lon"), np.ones((4, 8)))}
    ds = xr.Dataset(data, {"time": times, "lat": lat, "lon": np.arange(8) * 45.0}, {"world": "{}"})
    out = embed.part(WORLD, ds, *YEAR)
    assert dict(out.sizes) == {"time": 730, "lat": 4, "lon": 8}
    np.testing.assert_array_equal(out.lat, lat)
    np.testing.assert_array_equal(out["2m_temperature"][:, 0, 0], np.arange(730) * 12)
    regular = dataclasses.replace(WORLD, embedded=Embedded(grid=(2, 4), hours=6, variables=("2m_temperature",)))
    out = embed.part(regular, ds, *YEAR)
    np.testing.assert_allclose(out["2m_temperature"][:, 1, 2], np.arange(1460) * 6)
    out = embed.part(WORLD, ds, dt.date(2001, 2, 1), dt.date(2001, 2, 2))  # day 32 of the year; the last day counts too
    np.testing.assert_array_equal(out["2m_temperature"][:, 0, 0], (31 + np.array([0, 0.5, 1, 1.5])) * 24)


def test_the_q_flux_is_the_mean_of_each_calendar_month(tmp_path):
    pytest.importorskip("netCDF4")
    pytest.importorskip("dask")
    for year in (2001, 2002):
        for month in range(1, 13):
            time = np.array([f"{year}-{month:02}-15"], "datetime64[ns]")
            x = np.full((1, 2, 4), month + 10.0 * (year - 2001))
            ds = xr.Dataset({"sea_heat_flux": (("time", "lat", "lon"), x)}, {"time": time, "lat": [-45.0, 45.0]})
            ds.to_netcdf(tmp_path / f"{year}-{month:02}.nc")
    flux = monthly_q_flux(tmp_path)
    assert flux.shape == (12, 4, 2)
    np.testing.assert_allclose(flux[:, 0, 0], np.arange(1, 13) + 5.0)


def year_of(lat, value, year):
    shape = (1, len(lat), 4)
    maps = {name: (("time", "lat", "lon"), np.full(shape, value)) for name in (*embed.ANNUAL, "dimming")}
    series = {"co2": (("time",), [300.0 + value]), "scenario_year": (("time",), [1850.0 + value])}
    time = np.array([f"{year}-07-02"], "datetime64[ns]")
    coords = {"time": time, "lat": lat, "lon": np.arange(4) * 90.0}
    return xr.Dataset(maps | series, coords, {"title": "t", "world": "{}"})


def years_of(first: int, values: range) -> xr.Dataset:
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(2)[0]))
    parts = [year_of(lat, float(v), first + k) for k, v in enumerate(values)]
    return xr.concat(parts, "time", data_vars="minimal")


RUN = World("hist", "historical, as it were", dt.date(1905, 1, 1), 3, spinup_days=0, settling_days=0)


def test_a_scenario_keeps_years_and_its_forcing():
    out = embed.scenario(RUN, years_of(1905, range(5, 8)))
    assert dict(out.sizes) == {"time": 3, "lat": 32, "lon": 64}
    assert out.attrs == {"title": "historical, as it were", "experiment": "historical", "world": "{}"}
    assert out.time.values.tolist() == [1905, 1906, 1907]
    np.testing.assert_allclose(out["2m_temperature"][:, 4, 7], [5, 6, 7])
    np.testing.assert_allclose(out.CO2, [305, 306, 307])
    np.testing.assert_allclose(out.scenario_year, [1855, 1856, 1857])
    assert out["scenario_year"].dims == ("time",)
    units = ["K", "K", "kg m-2 s-1", "kg m-2 s-1", "1", "ppm"]
    assert [v.attrs["units"] for v in out.data_vars.values()] == units


def test_years_in_which_a_world_settles_are_left_out():
    settling = dataclasses.replace(RUN, spinup_days=365, settling_days=365 + 365)  # to 1 January 1906
    assert embed.scenario(settling, years_of(1905, range(3))).time.values.tolist() == [1906, 1907]


def test_a_scenario_is_rounded_to_a_small_part_of_what_changes(tmp_path):
    pytest.importorskip("netCDF4")
    rng = np.random.default_rng(1)
    maps = ("time", "lat", "lon")
    tas = 280 + rng.normal(size=(30, 8, 16))
    rain = np.maximum(rng.normal(size=(30, 8, 16)), 0)
    ds = xr.Dataset({"tas": (maps, tas), "pr": (maps, rain), "CO2": (("time",), np.arange(30.0))})
    ds.to_netcdf(tmp_path / "a.nc", encoding={name: embed._rounding(v) for name, v in ds.data_vars.items()})
    with xr.open_dataset(tmp_path / "a.nc") as got:
        # Rounding to a tenth of the deviation leaves an error of 0.1/sqrt(12) of it.
        assert float(np.sqrt(((got.tas - tas) ** 2).mean())) == pytest.approx(0.1 / np.sqrt(12), rel=0.1)
        assert float(got.pr.min()) == 0.0
        np.testing.assert_array_equal(got.CO2, np.arange(30.0))


class TestEmbeddingScenarios:
    @pytest.fixture(autouse=True)
    def places(self, tmp_path, monkeypatch):
        pytest.importorskip("netCDF4")
        monkeypatch.setattr(embed, "DATA", tmp_path / "data")
        monkeypatch.setattr(embed, "REGISTRY", tmp_path / "registry.txt")
        monkeypatch.setattr(embed, "SCENARIOS", {"hist": "historical", "ssp126": "ssp126"})
        monkeypatch.setattr(embed, "find", lambda name: dataclasses.replace(RUN, name=name))
        monkeypatch.setattr(embed, "open_run", lambda folder: years_of(1905, range(5, 8)))
        monkeypatch.setattr(embed, "check", lambda world, folder: "drift: none")
        (tmp_path / "registry.txt").write_text("windy/2001.cxp sha256:0\n")

    def ran(self, folder, name, years):
        (folder / name).mkdir(exist_ok=True)
        for year in range(1905, 1905 + years):
            (folder / name / f"{year}.nc").touch()

    def test_those_that_have_finished_are_taken_and_the_others_named(self, tmp_path):
        self.ran(tmp_path, "hist", 3)
        self.ran(tmp_path, "ssp126", 2)
        said = embed.embed_scenarios(tmp_path).splitlines()
        assert re.fullmatch(r"scenarios/historical.nc \d\.\d\d MB; drift: none", said[0])
        assert said[1] == "ssp126: 2 of 3 years have run: 'python -m tools.simulate run ssp126' goes on with it"
        first = (tmp_path / "data/scenarios/historical.nc").read_bytes()
        self.ran(tmp_path, "ssp126", 3)
        assert len(embed.embed_scenarios(tmp_path).splitlines()) == 1  # what is there is left alone
        assert (tmp_path / "data/scenarios/historical.nc").read_bytes() == first
        lines = (tmp_path / "registry.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == [
            "scenarios/historical.nc",
            "scenarios/ssp126.nc",
            "windy/2001.cxp",
        ]
