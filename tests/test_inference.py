"""Forecasts in physical units: the numbers by hand, the door, the files."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import climax_lite as cl
from climax_lite import inference
from climax_lite.data import Climatology
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid, Region
from climax_lite.inference import forecast, write
from climax_lite.variables import variable
from tests.toys import GRID, ORO, UNIT, Halves, T, Z, damped, normal, states, statistics

JULY = np.datetime64("1986-07-01", "ns")
DAY = np.timedelta64(24, "h")


class TestNumbers:
    def test_a_network_that_answers_zero_is_damped_persistence(self):
        fc = forecast(damped(tau=(60.0, 30.0, 1.0)), states(JULY, 1.5), [6, 24, 72])
        for name, tau in ((T, 60.0), (Z, 30.0)):
            for i, h in enumerate((6, 24, 72)):
                expected = normal(name, JULY + np.timedelta64(h, "h")) + 1.5 * UNIT[name] * np.exp(-h / tau)
                np.testing.assert_allclose(fc[name].values[0, i], np.broadcast_to(expected, (4, 8)), rtol=2e-7)

    def test_the_climatology_is_that_of_the_valid_time(self):
        """90 days on, half a season: of the anomaly e⁻³⁶ is left, and the climatology has moved by degrees."""
        fc = forecast(damped(), states(JULY, 1.0), 90 * 24)
        moved = normal(T, JULY + 90 * DAY) - normal(T, JULY)
        assert abs(float(moved.squeeze())) > 5
        np.testing.assert_allclose(
            fc[T].values[0, 0], np.broadcast_to(normal(T, JULY + 90 * DAY)[0], (4, 8)), rtol=2e-7
        )

    def test_full_states_know_no_climatology(self):
        """(x − mean) / std halved: the departure from the mean is halved."""
        forecaster = Forecaster(Halves((T, Z)), anomalies=False, skip=False, statistics=statistics((T, Z)))
        ds = states(JULY, names=(T, Z))
        fc = forecast(forecaster, ds, 24)
        np.testing.assert_allclose(fc[T].values[0, 0], 280 + (ds[T].values[0] - 280) / 2, rtol=1e-6)

    def test_a_mean_over_a_window(self):
        """The anomaly is damped to the middle of the window; the climatology is the mean of 30, 36, 42 and 48 hours later."""
        forecaster = damped(tau=(60.0, 30.0, 1.0))
        forecaster.window = (24, 48)
        fc = forecast(forecaster, states([JULY, JULY + 30 * DAY], 1.5), 36)
        for i, time in enumerate((JULY, JULY + 30 * DAY)):
            usual = np.mean([normal(T, time + np.timedelta64(h, "h")) for h in (30, 36, 42, 48)])
            expected = usual + 1.5 * UNIT[T] * np.exp(-36 / 60)
            np.testing.assert_allclose(fc[T].values[i, 0], np.full((4, 8), expected), rtol=2e-7)
        assert fc.attrs["window"] == "mean over 24 to 48 h"
        with pytest.raises(ValueError, match="means over 24 to 48 h: ask for lead_hours=36, the middle"):
            forecast(forecaster, states(JULY), 24)

    def test_a_region_is_a_part_of_the_globe(self):
        """Where no token looks at another: the same numbers in the cells of the patches that cover the box."""
        box = Region(-40, 40, 100, 200)  # rows at ±22.5, columns at 135 and 180: patches of 2 x 2 cover 90 to 225
        globe, part = damped(), damped()
        part = Forecaster(part.net, statistics=statistics(), region=box)
        part.load_state_dict(globe.state_dict())
        a, b = (forecast(f, states([JULY, JULY + DAY], 1.5), [6, 24]) for f in (globe, part))
        assert b.lon.values.tolist() == [90, 135, 180, 225]
        assert b.sizes["lat"] == 4
        xr.testing.assert_allclose(b.drop_attrs(), a.sel(lon=b.lon).drop_attrs())
        with pytest.raises(ValueError, match="gives a region only"):
            forecast(part, states(JULY), 24, method="rollout")

    def test_a_grid_of_its_own(self):
        """A forecaster of a part of the globe takes its cells out of a larger record, and refuses one that lacks them."""
        rows, columns = slice(2, 4), slice(2, 6)
        whole = damped()
        grid = Grid(GRID.lat[rows], GRID.lon[columns])
        net = cl.model.ClimaX(dataclasses.replace(whole.config, grid_shape=(2, 4)))
        with torch.no_grad():
            for p in net.parameters():
                p.zero_()
        mine = Forecaster(net, statistics=statistics(), grid=grid)
        with torch.no_grad():
            mine.log_tau.copy_(whole.log_tau)
        a, b = (forecast(f, states(JULY, 1.5), [6, 24]) for f in (whole, mine))
        xr.testing.assert_allclose(b.drop_attrs(), a.isel(lat=rows, lon=columns).drop_attrs())
        with pytest.raises(ValueError, match=r"this forecaster sees, 22\.5 to 67\.5° N, 90 to 225° E"):
            forecast(mine, states(JULY).isel(lat=slice(0, 2), lon=slice(0, 3)), 6)

    def test_a_rollout_is_a_power(self):
        """x ↦ x/2 three times is x/8; the orography of 3 stays and adds 3, 3/2, 3/4."""
        forecaster = Forecaster(Halves(), skip=False, statistics=statistics())
        start = [JULY, JULY + DAY, JULY + 2 * DAY]
        fc = forecast(forecaster, states(start, 8.0), [24, 72], method="rollout", batch_size=2)
        for i, units in enumerate((4 + 3, 1 + 3 + 1.5 + 0.75)):
            valid = np.array(start) + (24, 72)[i] * np.timedelta64(1, "h")
            expected = normal(T, valid) + units * UNIT[T]
            np.testing.assert_allclose(fc[T].values[:, i], np.broadcast_to(expected, (3, 4, 8)), rtol=2e-7)
        direct = forecast(forecaster, states(start, 8.0), [24, 72])
        np.testing.assert_allclose(
            direct[T].values[:, 1], np.broadcast_to(normal(T, np.array(start) + 3 * DAY) + 14, (3, 4, 8)), rtol=2e-7
        )

    def test_a_rollout_of_damped_persistence_is_damped_persistence(self):
        one, many = (forecast(damped(), states(JULY), [24, 48], method=m, step_hours=6) for m in inference.METHODS)
        xr.testing.assert_allclose(one, many, rtol=1e-6)

    def test_batches_do_not_matter(self):
        torch.manual_seed(0)
        net = cl.model.ClimaX(
            cl.model.ClimaXConfig((T, Z, ORO), (4, 8), 2, embed_dim=8, depth=1, num_heads=2, dropout=0.5)
        )
        forecaster = Forecaster(net, statistics=statistics()).train()
        ds = states([JULY, JULY + DAY, JULY + 2 * DAY], 2.0)
        ds[T] = ds[T] + np.random.default_rng(0).normal(size=ds[T].shape)
        ds[T].attrs = variable(T).attrs
        results = [forecast(forecaster, ds, [6, 24], batch_size=size) for size in (1, 4, 100)]
        for other in results[1:]:
            xr.testing.assert_allclose(results[0], other, rtol=1e-6)
        alone = forecast(forecaster, ds.isel(time=1), 24)
        np.testing.assert_allclose(alone[T].values[0, 0], results[0][T].values[1, 1], rtol=1e-6)
        assert forecaster.training

    def test_autocast_is_close_and_gives_float32(self):
        fc = forecast(damped(), states(JULY), 24, autocast=torch.bfloat16)
        assert fc[T].dtype == np.float32
        xr.testing.assert_allclose(fc, forecast(damped(), states(JULY), 24), rtol=1e-3)


class TestForm:
    def test_names_as_weatherbench_and_cf_have_them(self):
        fc = cl.forecast(damped(), states([JULY, JULY + DAY]), [24, 6])
        assert fc[T].dims == ("time", "prediction_timedelta", "lat", "lon")
        assert fc["prediction_timedelta"].values.tolist() == [6 * 3600 * 10**9, 24 * 3600 * 10**9]
        assert fc["valid_time"].values[1, 1] == JULY + 2 * DAY
        assert list(fc.data_vars) == [T, Z]
        assert fc[T].attrs["units"] == "K"
        assert fc[T].attrs["standard_name"] == "air_temperature"
        assert fc["time"].attrs["standard_name"] == "forecast_reference_time"
        assert fc["prediction_timedelta"].attrs["standard_name"] == "forecast_period"
        assert {"Conventions", "title", "source", "history"} <= set(fc.attrs)

    def test_another_grid_order_and_units(self):
        """Twice as fine, north to south, west of Greenwich first, in °C: the same forecast."""
        fine = Grid.regular(8, 16)
        ds = states(JULY).interp(lat=fine.lat[::-1], lon=fine.lon - 180, kwargs={"fill_value": "extrapolate"})
        ds[T] = (ds[T] - 273.15).assign_attrs(variable(T).attrs | {"units": "degC"})
        ds = ds.rename({T: "t2m"})
        for n in ds.data_vars:
            ds[n] = ds[n].astype("float32")
        fc, expected = forecast(damped(), ds, 24), forecast(damped(), states(JULY), 24)
        np.testing.assert_allclose(fc["lat"], GRID.lat)
        np.testing.assert_allclose(fc[T], expected[T], rtol=1e-6)

    def test_one_time_without_a_dimension(self):
        xr.testing.assert_allclose(
            forecast(damped(), states(JULY).isel(time=0), 6), forecast(damped(), states(JULY), 6)
        )

    def test_other_calendars(self):
        import cftime

        t = cftime.DatetimeNoLeap(1986, 7, 1)
        fc = forecast(damped(), states(JULY).assign_coords(time=[t]), [24])
        assert fc["valid_time"].values[0, 0] == cftime.DatetimeNoLeap(1986, 7, 2)

    def test_what_is_strange_or_missing_is_said_once(self):
        ds = states(JULY, names=(T, ORO)).assign(vorticity=states(JULY)[T], temperature_850=states(JULY)[T])
        with pytest.warns(UserWarning, match="forecaster") as said:
            fc = forecast(damped(), ds, 24)
        assert [str(w.message) for w in said] == [
            "left out, since the forecaster does not know them: temperature_850, vorticity",
            "the forecaster was trained with geopotential_500 too, and makes do without",
        ]
        assert list(fc.data_vars) == [T]

    @pytest.mark.filterwarnings("ignore:the forecaster was trained")
    def test_a_variable_that_is_not_given_is_forecast_when_asked_for(self):
        fc = forecast(damped(), states(JULY, names=(T, ORO)), 24, variables=["z500"])
        np.testing.assert_allclose(fc[Z].values, 50000)

    def test_what_fine_tuning_was_about_is_what_is_forecast(self):
        forecaster = damped()
        forecaster.about["settings"] = {"out_variables": [Z]}
        assert list(forecast(forecaster, states(JULY), 24).data_vars) == [Z]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"lead_hours": [0]}, "expected lead times above zero hours"),
            ({"lead_hours": []}, "expected lead times above zero hours"),
            ({"lead_hours": [24, 36], "method": "rollout"}, "multiples of the step of 24 h, got 24, 36"),
            ({"method": "guess"}, "expected method direct or rollout, got 'guess'"),
            ({"variables": ["orography"]}, "can predict, 2m_temperature, geopotential_500, got orography"),
            ({"variables": ["nonsense"]}, "unknown variable 'nonsense'"),
            ({"batch_size": 0}, "batch_size of one or more"),
            ({"initial": states(JULY).where(states(JULY).lat > 0)}, r"67\.5° N, 0 to 315° E, got missing ones in"),
            (
                {"initial": states(JULY).isel(lat=slice(2, 4), lon=slice(0, 4))},
                r"67\.5° N, 0 to 315° E, got missing ones in",
            ),
            ({"initial": states(JULY, names=(ORO,)).drop_vars("time")}, "knows none of orography that change in time"),
            ({"initial": states(JULY).drop_attrs()}, "units"),
        ],
    )
    def test_what_a_user_can_get_wrong(self, change, says):
        with pytest.raises(ValueError, match=says):
            forecast(**{"forecaster": damped(), "initial": states(JULY), "lead_hours": [24], **change})

    def test_no_statistics(self):
        forecaster = damped()
        forecaster.statistics = None
        with pytest.raises(ValueError, match="has the statistics of none: fine-tune it"):
            forecast(forecaster, states(JULY), 24)

    def test_an_hour_that_the_climatology_does_not_know(self):
        with pytest.raises(ValueError, match=r"knows the hours \[0, 6, 12, 18\] UTC, not \[3\]"):
            forecast(damped(), states(JULY), 27)


class TestFiles:
    @pytest.mark.parametrize("name", ["fc.nc", "deep/fc.zarr"])
    def test_there_and_back(self, name, tmp_path):
        fc = forecast(damped(), states([JULY, JULY + DAY]), [6, 24])
        assert write(fc, tmp_path / name) == tmp_path / name
        xr.testing.assert_identical(xr.open_dataset(tmp_path / name).load(), fc)
        with pytest.raises(ValueError, match="exists: give another name"):
            write(fc, tmp_path / name)
        write(fc.isel(time=[0]), tmp_path / name, overwrite=True)
        assert xr.open_dataset(tmp_path / name).sizes["time"] == 1
        assert [p.name for p in (tmp_path / name).parent.iterdir()] == [(tmp_path / name).name]

    @pytest.mark.parametrize("name", ["fc.nc", "fc.zarr"])
    def test_whole_or_not_at_all(self, name, tmp_path, monkeypatch):
        fc = forecast(damped(), states(JULY), 6)
        write(fc, tmp_path / name)

        def half(self, path, **kwargs):
            (path.mkdir if path.suffixes[0] == ".zarr" else path.touch)()
            raise KeyboardInterrupt

        monkeypatch.setattr(xr.Dataset, "to_netcdf", half)
        monkeypatch.setattr(xr.Dataset, "to_zarr", half)
        for target, overwrite in ((tmp_path / name, True), (tmp_path / f"new_{name}", False)):
            with pytest.raises(KeyboardInterrupt):
                write(fc, target, overwrite)
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert xr.open_dataset(tmp_path / name).sizes["time"] == 1

    def test_another_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends in .nc or .zarr, got 'fc.grib'"):
            write(xr.Dataset(), "fc.grib")


def test_the_toy_climatology_is_the_package_s():
    at = Climatology(statistics().climatology.coefficients).at(np.array([JULY]))
    np.testing.assert_allclose(at[T].values, np.broadcast_to(normal(T, np.array([JULY])), (1, 4, 8)), rtol=1e-6)
