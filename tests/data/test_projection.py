"""Runs of forcings and annual climate: in the embedded form, and normalised."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[2]))

from climax_lite import data, emulators, metrics
from climax_lite.data import ProjectionSamples, Scaling, archives, projection, sources
from climax_lite.grid import Grid
from tools.simulate import embed
from tools.simulate.world import find

from . import archive_fakes as fakes

GRID = Grid([-60.0, 0.0, 60.0], [0.0, 180.0])  # cosines ½, 1, ½: weights ¾, 1½, ¾


def write(folder, run, first, co2, warmth):
    """A run as `tools/simulate` writes it: `warmth` kelvin above 280, and a haze of a thousandth of CO2 in the north."""
    co2, warmth = np.asarray(co2, "float32"), np.asarray(warmth, "float32")
    maps, ones = ("time", "lat", "lon"), np.ones((len(co2), 3, 2), "float32")
    haze = ones * np.array([0.0, 0.0, 1.0], "float32")[:, None] * co2[:, None, None] / 1000
    fields = {
        "2m_temperature": (maps, 280 + ones * warmth[:, None, None]),
        "diurnal_temperature_range": (maps, 6 * ones),
        "precipitation_rate": (maps, 3e-5 * ones),
        "precipitation_rate_90": (maps, 9e-5 * ones),
        "dimming": (maps, haze, {"units": "1"}),
        "CO2": (("time",), co2, {"units": "ppm"}),
    }
    coords = {"time": first + np.arange(len(co2)), "lat": GRID.lat, "lon": GRID.lon}
    coords["scenario_year"] = (("time",), 1850 + 5.0 * np.arange(len(co2)))
    folder.mkdir(exist_ok=True)
    xr.Dataset(fields, coords).to_netcdf(folder / f"{run}.nc")


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("netCDF4")
    write(tmp_path, "piControl", 1840, [284, 284], [-1, 3])  # mean 281 K
    write(tmp_path, "historical", 1850, [300, 310, 320], [1, 1.5, 2])
    write(tmp_path, "ssp245", 1853, [400, 500], [4, 5])
    write(tmp_path, "ssp245-2", 1853, [400, 500], [5, 7])
    return tmp_path


class TestRuns:
    def test_a_scenario_has_the_historical_forcings_before_it(self, folder):
        runs = data.scenarios(folder=folder)
        assert list(runs) == ["piControl", "historical", "ssp245"] == list(data.scenario_runs(folder))
        x, y = runs["ssp245"]
        assert {v: (a.dims, a.dtype) for ds in (x, y) for v, a in ds.data_vars.items()} == {
            v: (("time", "lat", "lon"), np.float32) for v in ("CO2", "dimming", *projection.CLIMATE)
        }
        assert x.time.values.tolist() == [1850, 1851, 1852, 1853, 1854]
        assert y.time.values.tolist() == [1853, 1854]
        np.testing.assert_array_equal(x["CO2"][:, 1, 1], [300, 310, 320, 400, 500])
        np.testing.assert_allclose(x["dimming"][:, 2, 0], [0.3, 0.31, 0.32, 0.4, 0.5], rtol=1e-6)
        np.testing.assert_array_equal(y["scenario_year"], [1850, 1855])
        assert (x["CO2"].attrs["units"], x["dimming"].attrs["units"]) == ("ppm", "1")

    def test_changes_are_counted_from_the_control_and_members_are_averaged(self, folder):
        _, y = data.scenarios(["ssp245"], folder=folder)["ssp245"]
        np.testing.assert_allclose(y["2m_temperature"][:, 0, 0], [4.5 - 1, 6 - 1], rtol=1e-6)
        assert y.attrs["members"] == 2
        assert y["2m_temperature"].attrs["units"] == "K"
        assert "minus its mean in the pre-industrial control" in y["2m_temperature"].attrs["long_name"]
        _, first = data.scenarios(["ssp245"], member=1, folder=folder)["ssp245"]
        np.testing.assert_allclose(first["2m_temperature"][:, 0, 0], [3, 4], rtol=1e-6)
        assert first.attrs["members"] == 1
        _, second = data.scenarios(["ssp245"], member=2, anomalies=False, folder=folder)["ssp245"]
        np.testing.assert_allclose(second["2m_temperature"][:, 0, 0], [285, 287])
        assert second["2m_temperature"].attrs["long_name"] == "2 m temperature"

    def test_bad_requests_get_a_sentence(self, folder):
        with pytest.raises(
            ValueError, match=r"no run ssp585, which is needed for ssp585; there is piControl, historical"
        ):
            data.scenarios(["ssp585"], folder=folder)
        with pytest.raises(ValueError, match=r"ssp245 has no member 3: expected one of 1, 2"):
            data.scenarios(["ssp245"], member=3, folder=folder)
        (folder / "historical.nc").write_bytes(b"half a file")
        with pytest.raises(ValueError, match=r"historical.nc could not be read"):
            data.scenarios(["ssp245"], folder=folder)
        (folder / "historical.nc").unlink()
        with pytest.raises(ValueError, match="no run historical, which is needed for ssp245"):
            data.scenarios(["ssp245"], folder=folder)
        with pytest.raises(ValueError, match=r"open them with climax_lite.data.scenarios\(\)"):
            data.open("scenarios")

    def test_no_network_gets_a_sentence(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "_CHECKOUT", tmp_path / "nowhere")
        monkeypatch.delenv("CLIMAX_LITE_DATA", raising=False)
        monkeypatch.setattr(sources, "_REMOTE", "http://127.0.0.1:9/")
        monkeypatch.setattr(sources.pooch, "os_cache", lambda name: tmp_path / "cache")
        monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
        monkeypatch.setattr(sources, "_registry", lambda: {"scenarios/piControl.nc": "sha256:0"})
        assert data.scenario_runs() == ("piControl",)
        with pytest.raises(ValueError, match="point CLIMAX_LITE_DATA at its data folder, or try again with a network"):
            data.scenarios()

    def test_windows_emulators_and_scores_take_them(self, folder):
        runs = data.scenarios(["historical", "ssp245"], folder=folder)
        samples = ProjectionSamples.of(runs, history=3)
        assert samples.years.tolist() == [1852, 1853, 1854]
        self.emulated(runs, "CO2")

    def test_and_so_they_do_those_of_climatebench(self, tmp_path):
        pytest.importorskip("netCDF4")
        fakes.climatebench(tmp_path)
        runs = {run: archives.open_climatebench(tmp_path, run) for run in ("historical", "ssp245")}
        assert len(ProjectionSamples.of(runs)) == 3 + 12
        self.emulated(runs, "CO2")

    def emulated(self, runs, forcing):
        x, y = (emulators.joined({r: runs[r][i].sel(time=runs[r][1].time) for r in runs}) for i in (0, 1))
        fitted = emulators.PatternScaling.fit(x, y, [forcing], temperature="2m_temperature")
        truth = runs["ssp245"][1]
        found = fitted(runs["ssp245"][0].sel(time=truth.time))
        assert np.isfinite(float(metrics.nrmse(found, truth)["2m_temperature"]))


@pytest.fixture(scope="module")
def embedded():
    pytest.importorskip("netCDF4")
    return data.scenarios(anomalies=False)


def warmth(y):
    """Global mean temperature, year by year."""
    return emulators.global_mean(y["2m_temperature"]).values


class TestEmbedded:
    """Every run that comes with the project."""

    @pytest.mark.parametrize("run", data.scenario_runs())
    def test_it_is_finite_and_within_the_bounds_of_physics(self, embedded, run):
        x, y = embedded[run]
        assert all(np.isfinite(v).all() for ds in (x, y) for v in ds.data_vars.values())
        low, high = ([f(y[v]).item() for v in projection.CLIMATE] for f in (np.min, np.max))
        assert 200 < low[0] < high[0] < 320
        assert 0 < low[1] < high[1] < 25  # kelvin between day and night, in the mean of a year
        assert 0 <= low[2] < high[2] < 30 / 86400  # kg m-2 s-1: millimetres a second
        assert 0 <= low[3] < high[3] < 100 / 86400
        rain = 86400 * emulators.global_mean(y["precipitation_rate"]).values
        assert rain.min() > 2.4  # mm a day
        warmer = warmth(y) - warmth(embedded["piControl"][1]).mean()
        assert (rain < 3.1 * (1 + 0.03 * warmer.clip(0))).all()  # a kelvin brings two or three per cent

    @pytest.mark.parametrize("run", data.scenario_runs())
    def test_its_forcings_are_those_of_its_world_file(self, embedded, run):
        x, _ = embedded[run]
        name = {run: world for world, run in embed.SCENARIOS.items()}[run]
        worlds = [find("hist"), find(name)] if run.startswith("ssp") else [find(name)]
        borders = [*(w.scenario_start for w in worlds), 2200]
        co2, haze = [], []
        for world, begin, end in zip(worlds, borders[:-1], borders[1:], strict=True):
            years = x.scenario_year.values[(x.scenario_year >= begin) & (x.scenario_year < end)]
            path = world.sun.co2_path or [(1850, world.sun.co2_ppm)]
            co2 += np.interp(years, *zip(*path, strict=True)).tolist()
            europe = [h for h in world.haze if h.name == "Europe"]
            haze += (np.interp(years, *zip(*europe[0].path, strict=True)) if europe else 0 * years).tolist()
        np.testing.assert_allclose(x["CO2"][:, 5, 7], co2, rtol=1e-4)
        assert float(x["CO2"].std(("lat", "lon")).max()) < 1e-3
        # a Gaussian of 8 by 16 degrees, averaged over cells of 5.6: at its centre a tenth or so is lost
        centre = x["dimming"].sel(lat=slice(45, 53), lon=slice(11, 24)).max(("lat", "lon"))
        np.testing.assert_allclose(centre, haze, rtol=0.15, atol=2e-4)

    def test_the_control_does_not_drift(self, embedded):
        years = warmth(embedded["piControl"][1])
        assert abs(np.polyfit(np.arange(len(years)), years, 1)[0]) < 0.05  # K a year
        assert np.ptp(years) < 0.5

    def test_twice_the_carbon_dioxide_warms(self, embedded):
        years = warmth(embedded["abrupt-2xCO2"][1]) - warmth(embedded["piControl"][1]).mean()
        assert years[-3:].mean() > 1
        assert years[-3:].mean() > years[:2].mean()

    def test_the_scenario_of_the_test_lies_between_those_of_the_training(self, embedded):
        low, middle, high = (warmth(embedded[run][1])[-10:].mean() for run in ("ssp126", "ssp245", "ssp585"))
        assert low < middle < high
        assert {run: climate.attrs["members"] for run, (_, climate) in embedded.items()} == {
            run: 3 if run == "ssp245" else 1 for run in data.projection.EXPERIMENTS
        }

    def test_carbon_dioxide_warms_and_haze_cools(self, embedded):
        ghg, aer, both = (warmth(embedded[run][1])[-10:].mean() for run in ("hist-GHG", "hist-aer", "historical"))
        assert aer < both < ghg


class TestScaling:
    def maps(self, *values):
        """Runs of one year each with the values of the three latitudes."""
        maps = ("time", "lat", "lon")
        return [
            xr.Dataset(
                {"tas": (maps, np.broadcast_to(np.array(v, "float32")[:, None], (1, 3, 2)), {"units": "K"})},
                {"time": [2000 + k], "lat": GRID.lat, "lon": GRID.lon},
            )
            for k, v in enumerate(values)
        ]

    def test_mean_and_deviation_by_hand(self):
        # parts of the area ¼, ½, ¼: means 3 and 5, together 4
        fitted = Scaling.fit(self.maps([2, 4, 2], [4, 6, 4]))
        assert fitted.mean == pytest.approx({"tas": 4})
        # squares about it: in the first year ¼·4 + ½·0 + ¼·4 = 2, in the second ¼·0 + ½·4 + ¼·0 = 2
        assert fitted.std == pytest.approx({"tas": 2**0.5})

    def test_there_and_back(self):
        (one, two) = self.maps([2, 4, 2], [4, 6, 4])
        fitted = Scaling.fit([one, two])
        normal = fitted.apply(one)
        np.testing.assert_allclose(normal["tas"][0, :, 0], np.array([-2, 0, -2]) / 2**0.5, rtol=1e-6)
        assert (normal["tas"].attrs["units"], normal["tas"].dtype) == ("1", np.float32)
        np.testing.assert_allclose(fitted.invert(normal)["tas"], one["tas"], rtol=1e-6)
        mean, std = fitted.arrays(["tas"])
        np.testing.assert_allclose([mean, std], [[4], [2**0.5]], rtol=1e-6)
        kept = json.loads(json.dumps(dataclasses.asdict(fitted)))  # plain numbers, as a model keeps them
        assert Scaling(**kept) == fitted

    def test_what_never_changes_is_divided_by_one(self):
        fitted = Scaling.fit(self.maps([7, 7, 7]))
        assert fitted.std == {"tas": 1.0}
        np.testing.assert_array_equal(fitted.apply(self.maps([8, 8, 8])[0])["tas"], 1)

    def test_bad_requests_get_a_sentence(self):
        (one,) = self.maps([1, 2, 3])
        with pytest.raises(ValueError, match="one run or more"):
            Scaling.fit([])
        with pytest.raises(ValueError, match="expected the variables tas in every run"):
            Scaling.fit([one, one.rename(tas="pr")])
        with pytest.raises(ValueError, match="NaN or infinity in tas"):
            Scaling.fit([one.where(one.lat > 0)])
        with pytest.raises(ValueError, match="no numbers for pr; there are some for tas"):
            Scaling.fit([one]).apply(one.rename(tas="pr"))
