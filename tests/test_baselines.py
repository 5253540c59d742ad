"""Baselines: values derived by hand, what they refuse, and that fitting sees the training record only."""

import numpy as np
import pytest
import xarray as xr

from climax_lite import baselines
from climax_lite.baselines import DAYS_A_YEAR, Climatology, DampedPersistence, LinearModel, persistence
from climax_lite.grid import Grid

GRID = Grid.regular(4, 6)
NAMES = ("2m_temperature", "geopotential_500")


def world(function, start="1985-01-01", count=1460, names=NAMES, step=6):
    """Variables (time, lat, lon) from `function(days since the start of 1985, variable's number)` → (T,) or (T, H, W)."""
    time = np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(step, "h")
    days = (time - np.datetime64("1985-01-01", "ns")) / np.timedelta64(1, "D")
    data = {}
    for i, name in enumerate(names):
        values = np.asarray(function(days, i), dtype=np.float32)
        values = values[:, None, None] if values.ndim == 1 else values
        data[name] = (("time", "lat", "lon"), np.broadcast_to(values, (count, *GRID.shape)).copy())
    return xr.Dataset(data, {"time": time, "lat": GRID.lat, "lon": GRID.lon})


def noisy(days, i, memory=0.9, seed=0):
    """A season and red noise, another in every cell."""
    draw = np.random.default_rng(seed + i)
    x = draw.normal(size=(len(days), *GRID.shape))
    for t in range(1, len(x)):
        x[t] += memory * x[t - 1]
    return 280 + i + 5 * np.cos(2 * np.pi * days / DAYS_A_YEAR)[:, None, None] + x


ZERO = Climatology.fit(world(lambda days, i: 0 * days))


class TestPersistence:
    def test_is_the_initial_state(self):
        initial = world(noisy, count=3)
        xr.testing.assert_identical(persistence(initial, 120), initial)


class TestClimatology:
    def test_recovers_season_and_daily_cycle(self):
        def season(days, i):
            return 280 + 10 * i + 7 * np.cos(2 * np.pi * days / DAYS_A_YEAR - 1) + 3 * np.sin(2 * np.pi * days)

        climatology = Climatology.fit(world(season))
        again = world(season, start="1985-06-03T06", count=40)
        got = climatology.at(again.time.values)
        for name in NAMES:
            np.testing.assert_allclose(got[name], again[name], atol=2e-3)

    def test_the_same_day_of_another_year_has_the_same_climate(self):
        climatology = Climatology.fit(world(noisy))
        a, b = climatology.at([np.datetime64("1985-02-10T06")]), climatology.at([np.datetime64("1999-02-10T06")])
        np.testing.assert_array_equal(a["2m_temperature"], b["2m_temperature"])

    def test_zero_harmonics_are_the_mean_of_each_hour(self):
        record = world(noisy)
        got = Climatology.fit(record, harmonics=0).at([np.datetime64("1986-05-05T12")])["2m_temperature"][0]
        np.testing.assert_allclose(got, record["2m_temperature"][2::4].mean("time"), rtol=1e-5)

    def test_a_forecast_is_of_the_valid_time_under_the_initial_time(self):
        climatology = Climatology.fit(world(noisy))
        initial = world(noisy, start="1985-12-30T18", count=2)
        forecast = climatology(initial, 36)  # into the next year
        np.testing.assert_array_equal(forecast.time, initial.time)
        np.testing.assert_array_equal(
            forecast["2m_temperature"], climatology.at(initial.time.values + np.timedelta64(36, "h"))["2m_temperature"]
        )

    def test_the_variables_are_those_of_the_initial_state(self):
        assert list(Climatology.fit(world(noisy))(world(noisy, count=2)[["geopotential_500"]], 6)) == [
            "geopotential_500"
        ]

    def test_statics_are_left_out(self):
        record = world(noisy).assign(orography=(("lat", "lon"), np.ones(GRID.shape)))
        assert set(Climatology.fit(record).coefficients) == set(NAMES)
        assert set(DampedPersistence.fit(record).record) == set(NAMES)

    def test_a_short_record_is_refused(self):
        with pytest.raises(ValueError, match="a year or more to tell the seasons, got 10 days"):
            Climatology.fit(world(noisy, count=40))

    def test_no_time_is_refused(self):
        with pytest.raises(ValueError, match="with a time dimension"):
            Climatology.fit(world(noisy, count=1).isel(time=0))

    def test_an_hour_that_was_not_seen_is_refused(self):
        with pytest.raises(ValueError, match=r"knows the hours \[0, 6, 12, 18\] UTC, not \[3\]"):
            ZERO.at([np.datetime64("1986-01-01T03")])


class TestDampedPersistence:
    def test_the_factor_by_hand(self):
        # x = 2, -1, 3, 0, ... : at one step Σ x(t)x(t+1) over Σ x(t)², the last without a partner
        few = [2.0, -1.0, 3.0, 4.0]
        record = world(lambda days, i: few if i == 0 else few[::-1], count=4)
        damped = DampedPersistence(ZERO, record)
        factor = damped.factor(6)
        assert factor["2m_temperature"].item() == pytest.approx((-2 - 3 + 12) / (4 + 1 + 9))
        assert factor["geopotential_500"].item() == pytest.approx((12 - 3 - 2) / (16 + 9 + 1))
        assert damped.factor(12)["2m_temperature"].item() == pytest.approx((6 - 4) / (4 + 1))

    def test_rows_count_by_their_area(self):
        # one row keeps its anomaly, another flips it
        values = np.zeros((2, *GRID.shape))
        values[:, 0], values[:, 1] = 1.0, 1.0
        values[1, 0] = -0.1
        factor = DampedPersistence(ZERO, world(lambda days, i: values, count=2)).factor(6)["2m_temperature"].item()
        polar, middle = np.cos(np.deg2rad(GRID.lat[:2]))
        assert factor == pytest.approx((middle - 0.1 * polar) / (middle + polar))

    def test_never_below_zero(self):
        record = world(lambda days, i: np.where(np.arange(len(days)) % 2, 1.0, -1.0), count=10)
        damped = DampedPersistence(ZERO, record)
        assert damped.factor(6)["2m_temperature"].item() == 0
        assert damped.factor(12)["2m_temperature"].item() == pytest.approx(1)

    def test_a_forecast_is_climatology_plus_a_share_of_the_anomaly(self):
        record = world(noisy)
        damped, initial = DampedPersistence.fit(record), world(noisy, start="1986-03-01", count=3)
        c, a = damped.climatology, damped.factor(24)["geopotential_500"].item()
        expected = c(initial, 24)["geopotential_500"] + a * (initial - c.at(initial.time.values))["geopotential_500"]
        np.testing.assert_allclose(damped(initial, 24)["geopotential_500"], expected, rtol=1e-5)
        assert damped(initial, 24)["geopotential_500"].dims == ("time", "lat", "lon")
        assert 0.5 < a < 0.8  # 0.9⁴ = 0.66

    def test_a_lead_beyond_the_record_is_refused(self):
        with pytest.raises(ValueError, match="the record of 4 times holds no pair 48 h apart"):
            DampedPersistence(ZERO, world(noisy, count=4)).factor(48)

    def test_pairs_do_not_bridge_a_gap(self):
        record = world(lambda days, i: 1 + days, count=8).isel(time=[0, 1, 2, 5, 6, 7])
        initial, later = baselines._pairs(record.time.values, 6)
        assert (initial.tolist(), later.tolist()) == ([0, 1, 3, 4], [1, 2, 4, 5])


def travelling(days, i):
    """A wave that goes round in ten days, which persistence cannot follow and a linear map can."""
    lon = np.deg2rad(GRID.lon)
    wave = np.cos(lon[None, :] - 2 * np.pi * days[:, None] / 10 + i) * (1.5 + np.sin(days / 7.3))[:, None]
    return np.broadcast_to(wave[:, None, :], (len(days), *GRID.shape))


class TestLinearModel:
    def test_follows_a_wave_that_persistence_loses(self):
        record, after = world(travelling), world(travelling, start="1986-01-10", count=60)
        linear = LinearModel.fit(record, components=4, ridge=1e-6)
        damped = DampedPersistence.fit(record)
        truth = world(travelling, start="1986-01-12T12", count=60)  # 60 h later

        def error(forecast):
            return float(((forecast["2m_temperature"].values - truth["2m_temperature"].values) ** 2).mean())

        assert error(linear(after, 60)) < 0.15 * error(damped(after, 60))

    def test_a_strong_ridge_is_damped_persistence(self):
        record, initial = world(noisy), world(noisy, start="1986-03-01", count=5)
        linear = LinearModel.fit(record, components=10, ridge=1e12)
        for name in NAMES:
            np.testing.assert_allclose(
                linear(initial, 24)[name], DampedPersistence.fit(record)(initial, 24)[name], rtol=1e-5
            )

    def test_patterns_are_orthonormal_and_amplitudes_are_projections(self):
        linear = LinearModel.fit(world(noisy), components=10)
        np.testing.assert_allclose(linear.patterns @ linear.patterns.T, np.eye(10), atol=1e-4)
        anomalies = baselines._stack(linear.damped.record, linear.variables)
        np.testing.assert_allclose(linear._project(anomalies), linear.amplitudes, atol=1e-2)

    def test_ridge_regression_by_hand(self):
        # one component: Σab / (Σa² + r·Σa²)
        a, b = np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])
        for r, m in zip((0.0, 1.0), baselines._regress(a, b, (0.0, 1.0)), strict=True):
            assert m.item() == pytest.approx(7 / (5 + 5 * r))

    def test_noise_asks_for_a_stronger_ridge_than_a_law(self):
        draw = np.random.default_rng(0)
        a, steps = draw.normal(size=(400, 30)), np.arange(400)
        law = a @ draw.normal(size=(30, 30))
        assert baselines._best_ridge(a, law, steps, steps + 4) == min(baselines.RIDGES)
        assert baselines._best_ridge(a, draw.normal(size=(400, 30)), steps, steps + 4) == max(baselines.RIDGES)

    def test_the_ridge_can_be_given(self):
        assert LinearModel.fit(world(noisy), components=5, ridge=0.3).ridge(24) == 0.3
        assert LinearModel.fit(world(noisy), components=5).ridge(24) in baselines.RIDGES

    def test_a_pole_row_gets_no_correction_and_no_nan(self):
        record = world(noisy).assign_coords(lat=[-90.0, -30.0, 30.0, 90.0])
        forecast = LinearModel.fit(record, components=5)(record.isel(time=slice(0, 3)), 24)
        assert bool(np.isfinite(forecast["2m_temperature"]).all())

    def test_a_missing_variable_is_named(self):
        linear = LinearModel.fit(world(noisy), components=5)
        with pytest.raises(ValueError, match="needs geopotential_500 in the initial state too"):
            linear(world(noisy, count=2)[["2m_temperature"]], 24)
        with pytest.raises(ValueError, match="the training record has no temperature_850; it has"):
            LinearModel.fit(world(noisy), variables=["temperature_850"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"components": 1460}, "fewer than times, got 1460 of 1460"),
            ({"components": 0}, "at least one component"),
            ({"ridge": -1.0}, "zero or more, got -1"),
        ],
    )
    def test_what_it_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            LinearModel.fit(world(noisy), **arguments)


@pytest.mark.parametrize("kind", [Climatology, DampedPersistence, LinearModel])
def test_a_forecast_looks_at_its_own_initial_state_and_the_training_record_only(kind):
    arguments = {"components": 10} if kind is LinearModel else {}
    model = kind.fit(world(noisy), **arguments)
    together = world(noisy, start="1986-03-01", count=6)
    changed = together.copy(deep=True)
    for name in NAMES:
        changed[name][3:] += 50.0  # later states, which the forecasts from the first three must not know
    a, b, alone = model(together, 24), model(changed, 24), model(together.isel(time=[1]), 24)
    for name in NAMES:
        np.testing.assert_array_equal(a[name][:3], b[name][:3])
        np.testing.assert_allclose(a[name][[1]], alone[name], rtol=1e-5)


@pytest.mark.parametrize("kind", [Climatology, DampedPersistence, LinearModel])
def test_fitting_leaves_the_record_as_it_was(kind):
    record = world(noisy)
    before = record.copy(deep=True)
    model = kind.fit(record, **({"components": 10} if kind is LinearModel else {}))
    model(record.isel(time=slice(0, 2)), 24)
    xr.testing.assert_identical(record, before)
