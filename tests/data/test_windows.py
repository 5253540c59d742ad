"""Windows of years and coarse–fine pairs."""

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import (
    Mixture,
    MixtureLoader,
    PairSamples,
    ProjectionSamples,
    Record,
    by_run,
    daily_means,
    ordered,
    same_days,
)

from .test_forecast import toy


def run(first, years, target_from=None):
    """Forcings whose value is the year, targets whose value is the year times ten."""
    year = np.arange(first, first + years)
    lat, lon = [-45.0, 45.0], [0.0, 90.0, 180.0, 270.0]
    field = np.broadcast_to(year[:, None, None], (years, 2, 4)).astype("float32")
    x = xr.Dataset(
        {"CO2": (("time", "lat", "lon"), field), "SO2": (("time", "lat", "lon"), -field)},
        {"time": year, "lat": lat, "lon": lon},
    )
    y = xr.Dataset({"tas": (("time", "lat", "lon"), 10 * field)}, {"time": year, "lat": lat, "lon": lon})
    return x, y.sel(time=slice(target_from, None))


def test_windows_end_at_their_target_and_stay_in_their_run():
    samples = ProjectionSamples.of({"a": run(1850, 15), "b": run(2015, 12)}, history=10, source="scenarios")
    assert len(samples) == 6 + 3
    (batch,) = ordered(samples, 100)
    assert batch.x.shape == (9, 10, 2, 2, 4)
    assert batch.y.shape == (9, 1, 2, 4)
    for x, y in zip(batch.x, batch.y, strict=True):
        years = x[:, 0, 0, 0].tolist()
        assert years == list(range(int(years[0]), int(years[0]) + 10))
        assert float(y[0, 0, 0]) == 10 * years[-1]
        assert float(x[-1, 1, 0, 0]) == -years[-1]
    assert batch.samples.tolist() == [[0, y] for y in range(1859, 1865)] + [[1, y] for y in range(2024, 2027)]
    assert batch.lead_hours.tolist() == [0.0] * 9


def test_forcings_may_begin_before_the_targets():
    samples = ProjectionSamples.of({"a": run(1850, 30, target_from=1870)})
    assert len(samples) == 10


def test_runs_that_do_not_fit_get_a_sentence():
    x, y = run(1850, 15)
    with pytest.raises(ValueError, match="in every run, got others in b"):
        ProjectionSamples.of({"a": (x, y), "b": (x.rename(CO2="CH4"), y)})
    with pytest.raises(ValueError, match="got a gap in a"):
        ProjectionSamples.of({"a": (x.drop_sel(time=1855), y)})
    with pytest.raises(ValueError, match=r"a coordinate 'time' that counts years.*got none in a: use ds.assign_coords"):
        ProjectionSamples.of({"a": (x, y.assign_coords(time=y.time.values.astype("M8[Y]").astype("M8[ns]")))})
    with pytest.raises(ValueError, match="forcings for every year of the targets, got fewer in a"):
        ProjectionSamples.of({"a": (x.sel(time=slice(1855, None)), y)})
    with pytest.raises(ValueError, match="no run has 20 years"):
        ProjectionSamples.of({"a": (x, y)}, history=20)
    with pytest.raises(ValueError, match="one run or more"):
        ProjectionSamples.of({})


def test_splits_divide_by_run():
    runs = ("historical", "ssp126", "ssp245", "ssp585")
    assert by_run(runs, ["ssp245"]) == (("historical", "ssp126", "ssp585"), ("ssp245",))
    with pytest.raises(ValueError, match="unknown runs ssp246"):
        by_run(runs, ["ssp246"])
    with pytest.raises(ValueError, match="nothing is left"):
        by_run(runs, runs)


def test_projection_serves_the_mixture():
    samples = ProjectionSamples.of({"a": run(1850, 29)}, source="scenarios")
    seen = [s for b in MixtureLoader(Mixture({"scenarios": samples}, batch_size=4)) for s in b.samples[:, 1].tolist()]
    assert sorted(seen) == list(range(1859, 1879))


def test_pairs_have_the_same_time():
    coarse, fine = Record.of(toy(20), "coarse"), Record.of(toy(40, static=False).isel(time=slice(10, 40)), "fine")
    samples = PairSamples.of(coarse, fine, out_variables=("2m_temperature",))
    (batch,) = ordered(samples, 100)
    assert len(samples) == 10
    np.testing.assert_array_equal(batch.x[:, 0], batch.y[:, 0])
    assert batch.source == "fine"
    assert batch.variables[-1] == "orography"


def test_pairs_without_a_common_time_get_a_sentence():
    later = toy(5)
    later = later.assign_coords(time=later.time.values + np.timedelta64(1000, "D"))
    with pytest.raises(ValueError, match="expected times in common"):
        PairSamples.of(Record.of(toy(5)), Record.of(later))


def test_unpaired_worlds_meet_on_the_same_day_of_the_year():
    """Two years against half a year of another one: the first year that has the day serves; where dates are shared, dates count."""
    fine = toy(20, static=False)
    other = (fine + 9).assign_coords(
        time=fine.time.values + np.timedelta64(365, "D")
    )  # 2001 and 2002: no leap year between
    elsewhere = fine.assign_coords(time=fine.time.values + np.timedelta64(2 * 365, "D"))
    twice = xr.concat([fine.isel(time=slice(5, 20)), other], "time")
    left, right = same_days(twice, elsewhere)
    # days that the first year has come from it (15 states), the first five states from the second
    expected = twice.isel(time=[*range(15, 20), *range(15)])
    np.testing.assert_array_equal(left["2m_temperature"], expected["2m_temperature"])
    np.testing.assert_array_equal(left.time, elsewhere.time)
    assert right.sizes["time"] == 20
    left, _ = same_days(twice, other)
    np.testing.assert_array_equal(left["2m_temperature"], twice["2m_temperature"].isel(time=slice(15, 35)))
    with pytest.raises(ValueError, match="days of the year that both worlds have, got none"):
        same_days(fine, fine.assign_coords(time=fine.time.values + np.timedelta64(100, "D")))


class TestDailyMeans:
    def world(self, hours, step=12):
        """A constant 280, a wave of one day with amplitude 3, and a trend of one a day."""
        t = np.arange(0, hours + 1, step)
        x = 280 + 3 * np.cos(2 * np.pi * t / 24) + t / 24
        maps = np.broadcast_to(x[:, None, None], (len(t), 2, 3)).astype("float32")
        times = np.datetime64("2001-01-01", "ns") + t * np.timedelta64(1, "h")
        return xr.Dataset(
            {
                "2m_temperature": (("time", "lat", "lon"), maps, {"units": "K"}),
                "orography": (("lat", "lon"), np.ones((2, 3), "float32")),
            },
            {"time": times, "lat": [-45.0, 45.0], "lon": [0.0, 120.0, 240.0]},
        )

    @pytest.mark.parametrize("step", [12, 6])
    def test_the_wave_of_the_day_cancels_and_a_trend_stays(self, step):
        got = daily_means(self.world(72, step))
        assert got.time.values.astype("M8[h]").astype(str).tolist() == [
            "2001-01-02T00",
            "2001-01-03T00",
            "2001-01-04T00",
        ]
        np.testing.assert_allclose(got["2m_temperature"][:, 1, 2], [280.5, 281.5, 282.5], rtol=1e-6)
        assert got["2m_temperature"].attrs == {"units": "K"}
        assert got["2m_temperature"].dtype == np.float32
        assert list(got.data_vars) == ["2m_temperature", "orography"]
        assert got["orography"].dims == ("lat", "lon")

    def test_a_day_with_a_gap_is_left_out(self):
        ds = self.world(72).isel(time=[0, 1, 2, 4, 5, 6])  # without noon of the second day
        assert daily_means(ds).time.values.astype("M8[D]").astype(str).tolist() == ["2001-01-02", "2001-01-04"]

    def test_bad_requests_get_a_sentence(self):
        ds = self.world(48)
        with pytest.raises(ValueError, match="leave out total_precipitation_6hr"):
            daily_means(ds.assign(total_precipitation_6hr=ds["2m_temperature"]))
        with pytest.raises(ValueError, match="got no whole day"):
            daily_means(ds.isel(time=slice(1, 3)))
        with pytest.raises(ValueError, match="steps that divide a day"):
            daily_means(ds.isel(time=[0]))
        with pytest.raises(ValueError, match="steps that divide a day, got 2 and 48 h"):
            daily_means(ds.isel(time=[0, 4]))
