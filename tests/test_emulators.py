"""Emulators of climate: lines by hand, patterns recovered, and the real pieces where they are there."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from climax_lite import emulators, metrics
from climax_lite.grid import Grid

GRID = Grid.regular(6, 12)
T = "2m_temperature"
REAL = Path(os.environ.get("CLIMAX_LITE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data" / "real"))


def forcing(co2, haze=None):
    data = {"CO2": (("time",), np.asarray(co2, float))}
    if haze is not None:
        shape = np.exp(-((GRID.lat[:, None] - 30) ** 2) / 400) * np.ones(12)
        data["SO2"] = (("time", "lat", "lon"), np.asarray(haze, float)[:, None, None] * shape)
    return xr.Dataset(data, {"time": np.arange(len(co2)), "lat": GRID.lat, "lon": GRID.lon})


def climate(warmth, pattern=None, start=287.0):
    pattern = 1 + 0.5 * np.sin(np.deg2rad(GRID.lat))[:, None] * np.ones(12) if pattern is None else pattern
    tas = start + np.asarray(warmth)[:, None, None] * pattern
    pr = 3e-5 * (1 + 0.02 * np.asarray(warmth)[:, None, None] * np.ones((6, 12)))
    return xr.Dataset(
        {T: (("time", "lat", "lon"), tas), "pr": (("time", "lat", "lon"), pr)},
        {"time": np.arange(len(warmth)), "lat": GRID.lat, "lon": GRID.lon},
    )


def test_the_global_mean_by_hand():
    grid = Grid([-60.0, 0.0, 60.0], [0.0, 180.0])  # cosines ½, 1, ½
    field = xr.DataArray(
        [[1.0, 1.0], [4.0, 4.0], [1.0, 1.0]], dims=("lat", "lon"), coords={"lat": grid.lat, "lon": grid.lon}
    )
    assert float(emulators.global_mean(field)) == pytest.approx((0.5 * 1 + 4 + 0.5 * 1) / 2)


def test_pattern_scaling_recovers_a_pattern_and_goes_beyond_what_it_saw():
    co2 = np.linspace(0, 1000, 30)
    fitted = emulators.PatternScaling.fit(forcing(co2), climate(0.002 * co2))
    found = fitted(forcing([2000.0]))  # twice as far as it was shown
    truth = climate([4.0])
    np.testing.assert_allclose(found[T], truth[T], atol=1e-3)
    np.testing.assert_allclose(found["pr"], truth["pr"], rtol=1e-5)
    np.testing.assert_allclose(
        fitted.patterns[T][1], 1 + 0.5 * np.sin(np.deg2rad(GRID.lat))[:, None] * np.ones(12), atol=1e-9
    )


def test_a_global_line_has_the_mean_right_and_the_map_flat():
    co2 = np.linspace(0, 1000, 30)
    found = emulators.GlobalMeanRegression.fit(forcing(co2), climate(0.002 * co2))(forcing([500.0]))
    truth = climate([1.0])
    assert float(emulators.global_mean(found[T])[0]) == pytest.approx(
        float(emulators.global_mean(truth[T])[0]), abs=1e-3
    )
    assert float(found[T].std()) < 1e-3
    assert float(metrics.nrmse_s(found, truth)[T]) > float(metrics.nrmse_g(found, truth)[T])


def test_forcings_can_be_chosen():
    rng = np.random.default_rng(0)
    co2, haze = np.linspace(0, 1000, 40), rng.random(40)
    runs = forcing(co2, haze)
    truth = climate(0.002 * co2 - haze)
    both = emulators.PatternScaling.fit(runs, truth)
    alone = emulators.PatternScaling.fit(runs, truth, ["CO2"])
    error = [float(metrics.nrmse_g(e(runs), truth)[T]) for e in (both, alone)]
    assert error[0] < 1e-6 < error[1]


def test_runs_with_the_same_years_are_joined():
    a, b = climate([0.0, 1.0]), climate([2.0, 3.0])
    both = emulators.joined({"ssp126": a, "ssp585": b})
    assert both.sizes["time"] == 4
    np.testing.assert_allclose(both[T][2], b[T][0])


def test_a_gaussian_process_bends_where_lines_cannot():
    pytest.importorskip("sklearn")
    co2, haze = np.linspace(0, 1000, 60), 0.5 + 0.5 * np.sin(np.arange(60.0))
    warmth = 3 * np.tanh(co2 / 300) - haze
    runs, truth = forcing(co2, haze), climate(warmth)
    every = slice(None, None, 2)
    gp = emulators.GaussianProcess.fit(runs.isel(time=every), truth.isel(time=every), components=2)
    line = emulators.PatternScaling.fit(runs.isel(time=every), truth.isel(time=every))
    rest = slice(1, None, 2)
    later = truth.isel(time=rest).astype("float32")
    error = [float(metrics.rmse(e(runs.isel(time=rest)), later)[T]) for e in (gp, line)]
    assert error[0] < error[1] / 3


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="expected '2m_temperature' among the variables, got pr"):
        emulators.PatternScaling.fit(forcing([0, 1]), climate([0.0, 1.0])[["pr"]])
    with pytest.raises(ValueError, match=r"this forcing has no CH4; it has CO2"):
        emulators.PatternScaling.fit(forcing([0, 1]), climate([0.0, 1.0]), ["CH4"])
    with pytest.raises(ValueError, match="got none"):
        emulators.joined({})


@pytest.mark.skipif(not (REAL / "climatebench_pieces").exists(), reason=f"no real data in {REAL}")
class TestTheRealPieces:
    def test_warming_is_a_line_in_cumulative_co2(self):
        """NorESM2's global temperature from cumulative CO2: fitted on the training years, tested on historical and ssp245."""
        pieces = REAL / "climatebench_pieces"
        x, y, x2, y2 = (
            np.load(pieces / f"cb_{part}_{what}.npy").ravel()
            for part in ("train", "test")
            for what in ("input", "target")
        )
        a, b = emulators._least_squares(np.stack([np.ones_like(x), x], axis=1), y)
        error = np.sqrt(np.mean((a + b * x2 - y2) ** 2))
        assert b > 0
        assert error < 0.5 * y2.std()  # the rest is haze and weather

    def test_the_pattern_of_a_scenario_serves_another_member(self):
        """IPSL-CM6A-LR, annual temperature: fitted on member 1 of ssp126 and ssp585, tested on member 2 of ssp585."""
        name = "cmip6_ipsl_annual/mesmer_tas_ann_IPSL-CM6A-LR_{}_g025.nc"
        runs = {}
        for run in ("ssp126_r1i1p1f1", "ssp585_r1i1p1f1", "ssp585_r2i1p1f1"):
            ds = xr.open_dataset(REAL / name.format(run), decode_times=False)[["tas"]]
            runs[run] = ds.sortby("lat").assign_coords(lon=ds.lon % 360).sortby("lon").assign_coords(time=np.arange(86))
        held_out = runs.pop("ssp585_r2i1p1f1")
        train = emulators.joined(runs)
        fitted = emulators.PatternScaling.fit(
            emulators.global_mean(train).rename(tas="warmth"), train, temperature="tas"
        )
        found = fitted(emulators.global_mean(held_out).rename(tas="warmth")).isel(time=slice(-21, None))
        truth = held_out.isel(time=slice(-21, None)).astype("float32")
        constant = xr.zeros_like(truth) + train["tas"].mean("time").astype("float32")
        error, without = (float(metrics.rmse(p[["tas"]], truth)["tas"]) for p in (found, constant))
        assert error < 0.35 * without
