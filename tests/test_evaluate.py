"""Scorecards: scores, initial times, intervals and differences that can be computed by hand."""

import numpy as np
import pytest
import xarray as xr

from climax_lite import evaluate as room
from climax_lite.evaluate import block_length, compare, evaluate, initial_times, score_times, table, to_csv
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Region
from climax_lite.inference import write
from climax_lite.variables import variable
from tests.toys import GRID, ORO, T, Z, damped, own_world

HOUR = np.timedelta64(1, "h")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A source whose 2 m temperature rises by 0.01 K an hour everywhere; its training part is 1985."""
    folder = tmp_path_factory.mktemp("rise")
    times = np.arange("1985-01-01", "1986-07-01", 12 * HOUR, dtype="datetime64[ns]")
    hours = ((times - times[0]) / HOUR)[:, None, None]
    wiggle = np.cos(np.deg2rad(GRID.lon)) * np.ones((4, 1))
    ds = xr.Dataset(
        {T: (("time", "lat", "lon"), (280 + 0.01 * hours + wiggle).astype("float32"), variable(T).attrs)},
        {"time": times, "lat": GRID.lat, "lon": GRID.lon},
    )
    ds.to_netcdf(folder / "rise.nc")
    return f"{folder / 'rise.nc'}?train=1985,test=1986-01/1986-06"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("climax_lite.data.normalize.pooch.os_cache", lambda name: tmp_path)


def perfect(state, hours):
    return state + 0.01 * hours


def score(**given):
    options = {"split": "test", "leads": (24, 72), "every_hours": 72, "grid_shape": (4, 8), "variables": [T]}
    return evaluate(given.pop("models", perfect), given.pop("source"), **{**options, **given})


class TestScores:
    def test_by_hand(self):
        """cos φ is 1 and 1/2, so the weights are 4/3 and 2/3; an error of 3 in the first row alone."""
        ds = xr.DataArray(
            np.zeros((2, 2, 4)),
            {"time": [0, 1], "lat": [0.0, 60.0], "lon": np.arange(4) * 90.0},
            ("time", "lat", "lon"),
        )
        off = ds + xr.DataArray([3.0, 0.0], dims="lat", coords={"lat": ds.lat})
        found = score_times(off, ds, ds - 1, ("rmse", "mse", "bias", "acc"))
        assert found.dims == ("metric", "time")
        # anomalies from −1: forecast 4 and 1, truth 1 and 1; (4·4/3 + 1·2/3) / √((16·4/3 + 2/3)(4/3 + 2/3))
        expected = [6**0.5, 6, 2, 6 / (22 * 2) ** 0.5]
        np.testing.assert_allclose(found.values, np.repeat(np.array(expected)[:, None], 2, 1))
        north = score_times(off, ds, ds - 1, ("rmse",), Region(30, 90, 0, 360))
        np.testing.assert_allclose(north.values, 0)
        south = score_times(off, ds, ds - 1, ("mse",), Region(-30, 30, 0, 180))
        np.testing.assert_allclose(south.values, 9)  # the weights of a box average to one over it

    def test_persistence_and_a_perfect_forecast(self, world):
        card = score(source=world, baselines=("persistence", "climatology"))
        np.testing.assert_allclose(card.score.sel(model="perfect", metric="rmse"), 0, atol=1e-4)
        np.testing.assert_allclose(card.score.sel(model="perfect", metric="acc"), 1, atol=1e-6)
        np.testing.assert_allclose(card.score.sel(model="persistence", metric="rmse"), [[0.24, 0.72]], rtol=1e-3)
        np.testing.assert_allclose(card.score.sel(model="persistence", metric="bias"), [[-0.24, -0.72]], rtol=1e-3)
        assert (card.score.sel(model="climatology", metric="rmse") > 10).all()  # it has not seen the rise
        assert np.isnan(card.score.sel(model="climatology", metric="acc")).all()  # its anomaly is none
        assert card.units.values.tolist() == [["K", "1", "K"]]

    def test_means_over_a_window(self, world):
        """Every 12 hours: the truth is the mean of 36 and 48 h, 0.42 K above the initial time; a baseline knows the mean of 12 h before
        and of the initial time, and is asked for 48 h later: 0.48 K more."""
        card = score(source=world, window=(24, 48), baselines=())
        assert card.lead.values.tolist() == [36]
        np.testing.assert_allclose(card.score.sel(model="perfect", metric="rmse"), 0, atol=1e-4)
        late = score(models=lambda known, hours: known, source=world, window=(24, 48), baselines=())
        np.testing.assert_allclose(late.score.sel(metric="bias"), -0.48, rtol=1e-3)
        assert card.attrs["window"] == "mean over 24 to 48 h"
        assert card.scores.attrs["window_hours"] == 24
        with pytest.raises(ValueError, match=r"expected a forecaster of the window \(24, 48\), got one of None"):
            score(models=damped(), source=world, window=(24, 48), baselines=())

    def test_persistence_of_a_window_is_that_of_the_anomaly(self, tmp_path):
        """A year of nothing but a season, and one that is 2 K warmer: the anomaly of the means stays, the season goes on."""
        times = np.arange("1985-01-01", "1987-01-01", 12 * HOUR, dtype="datetime64[ns]")
        day = (times - times[0]) / np.timedelta64(1, "D")
        season = 10 * np.cos(2 * np.pi * day / 365) + 2 * (day >= 365)
        values = np.broadcast_to(280 + season[:, None, None], (len(day), 4, 8)).astype("float32")
        ds = xr.Dataset(
            {T: (("time", "lat", "lon"), values, variable(T).attrs)},
            {"time": times, "lat": GRID.lat, "lon": GRID.lon},
        )
        ds.to_netcdf(tmp_path / "season.nc")
        source = f"{tmp_path / 'season.nc'}?train=1985,test=1986"
        card = score(models={}, source=source, window=(24, 504), baselines=("persistence", "climatology"))
        rmse = card.score.sel(metric="rmse", variable=T).squeeze("lead")
        assert float(rmse.sel(model="climatology")) == pytest.approx(2, rel=0.1)
        assert float(rmse.sel(model="persistence")) < 0.2

    def test_baselines_learn_from_the_last_times_of_the_training_part(self, world, monkeypatch):
        monkeypatch.setattr(room, "MOST_TIMES", 10)
        truth = room._Truth.of(world, "test", [T], None, None)
        assert truth.training.time.values[[0, -1]].astype("datetime64[h]").astype(str).tolist() == [
            "1985-12-27T00",
            "1985-12-31T12",
        ]

    def test_baselines_of_a_window(self, tmp_path):
        source = own_world(tmp_path / "world")
        card = score(
            models={},
            source=source,
            window=(24, 48),
            variables=[Z],
            baselines=("persistence", "climatology", "linear model"),
        )
        assert set(card.model.values) == {"persistence", "climatology", "linear model"}
        # A wave that goes round in 171 h: its mean over 24 h, 48 h later. Damping and a rotation of two components foresee it.
        rmse = card.score.sel(metric="rmse", variable=Z, lead=36)
        assert float(rmse.sel(model="linear model")) < 0.1 * float(rmse.sel(model="climatology"))
        turned = 2 * np.sin(np.pi * 48 / 171)
        assert float(rmse.sel(model="persistence") / rmse.sel(model="climatology")) == pytest.approx(turned, rel=0.05)

    def test_a_region_is_scored_where_it_is_forecast(self, tmp_path):
        """A forecaster of the box, and one of the globe that is scored in it: of damped persistence the same."""
        source = own_world(tmp_path / "world")
        box = Region(-40, 40, 100, 200)
        globe = damped()
        part = Forecaster(globe.net, region=box)
        part.load_state_dict(globe.state_dict())
        globe.statistics = part.statistics = None
        card = score(models={"globe": globe, "part": part}, source=source, region=box, variables=[T, Z], baselines=())
        np.testing.assert_allclose(card.scores.sel(model="part"), card.scores.sel(model="globe"), rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match="a forecaster of a region is scored with that region, or one inside it"):
            score(models={"part": part}, source=source, variables=[T], baselines=())

    def test_a_forecaster_is_scored_on_what_it_forecasts(self, tmp_path):
        """Of a network that answers zero: damped persistence with τ = ∞ is persistence of the anomaly."""
        source = own_world(tmp_path / "world")
        forecaster = damped(tau=(1e9, 1e9, 1e9))
        forecaster.statistics = None  # those of the source's training part are taken

        card = evaluate(
            {"mine": forecaster}, source, leads=(24,), every_hours=60, baselines=("damped persistence", "climatology")
        )
        assert forecaster.statistics is None
        assert card.variable.values.tolist() == ["geopotential_500", "2m_temperature"]
        # the wave runs 360° in 171 h: on the grid, the difference of two waves 24 h apart is 2 sin(π 24/171) times a wave
        factor = 2 * np.sin(np.pi * 24 / 171)
        ratio = card.score.sel(model="mine", metric="rmse") / card.score.sel(model="climatology", metric="rmse")
        np.testing.assert_allclose(ratio, factor, rtol=0.02)
        # damping by the correlation cos(2π 24/171) leaves sin(2π 24/171)
        ratio = card.score.sel(model="damped persistence", metric="rmse") / card.score.sel(
            model="climatology", metric="rmse"
        )
        np.testing.assert_allclose(ratio, np.sin(2 * np.pi * 24 / 171), rtol=0.02)

    def test_a_region(self, world):
        card = score(source=world, region=Region(0, 90, 0, 180), baselines=("persistence",), metrics=("rmse",))
        np.testing.assert_allclose(card.score.sel(model="persistence"), [[[0.24], [0.72]]], rtol=1e-3)
        assert card.attrs["region"] == "Region(south=0, north=90, west=0, east=180)"


class TestTimes:
    def test_one_set_for_all_leads_inside_the_split(self, world):
        """January to June 1986: the last initial time is three days before the last time, 30 June 12 UTC, and at 00 UTC as the first."""
        card = score(source=world, baselines=())
        assert str(card.time.values[0])[:13] == "1986-01-01T00"
        assert str(card.time.values[-1])[:13] == "1986-06-27T00"
        assert card.sizes["time"] == (31 + 28 + 31 + 30 + 31 + 27 - 1) // 3 + 1
        assert np.isfinite(card.scores).all()

    def test_a_gap_costs_only_what_needs_it(self):
        times = np.delete(np.datetime64("1986-01-01") + np.arange(20) * 6 * HOUR, 8)
        found = initial_times(times, (6, 24), 12)
        # multiples of 12 h of 0..114 h without the missing 48 h, that have +6 h and +24 h: not 24 (+24 is missing), nor 96 and later
        assert ((found - times[0]) / HOUR).tolist() == [0, 12, 36, 60, 72, 84]

    def test_none(self):
        times = np.datetime64("1986-01-01") + np.arange(4) * 6 * HOUR
        with pytest.raises(
            ValueError, match="no initial time in 4 times over 18 h whose valid times at 24 h lie in it too"
        ):
            initial_times(times, (24,), 6)

    @pytest.mark.parametrize(("lead", "every", "block"), [(24, 30, 9), (168, 24, 17), (6, 6, 41)])
    def test_a_block_is_the_lead_time_and_ten_days(self, lead, every, block):
        assert block_length(np.datetime64("1986-01-01") + np.arange(9) * every * HOUR, lead) == block


class TestIntervals:
    def test_constant_scores_have_no_width_and_short_series_no_interval(self, world):
        card = score(source=world, baselines=("persistence",), metrics=("rmse",))
        one = card.sel(model="persistence", lead=24)  # 60 initial times, blocks of 4
        np.testing.assert_allclose(one.high - one.low, 0, atol=2e-4)
        short = score(source=world.replace("1986-06", "1986-02"), baselines=("persistence",), metrics=("rmse",))
        assert short.sizes["time"] == 19  # 59 days less 3: four blocks of 4 for 24 h, not four of 5 for 72 h
        assert np.isfinite(short.sel(lead=24).low).all()
        assert np.isnan(short.sel(lead=72).low).all()

    def test_a_difference_of_what_shares_its_weather(self):
        """Two noisy scores that differ by exactly 1: their intervals overlap, that of the difference is a point."""
        noise = np.random.default_rng(0).normal(0, 10, 400)
        scores = xr.DataArray(
            np.stack([noise, noise + 1])[:, None, None, None],
            dims=("model", "variable", "lead", "metric", "time"),
            coords={
                "model": ["a", "b"],
                "variable": [T],
                "lead": [24.0],
                "metric": ["rmse"],
                "time": np.datetime64("1986-01-01") + np.arange(400) * 24 * HOUR,
            },
        )
        # 400 days hold four blocks of 11 days (a day ahead), but not of 101: of means over 180 days about that day
        assert np.isnan(room.scorecard(scores.assign_attrs(window_hours=180 * 24)).low).all()
        card = room.scorecard(scores)
        a, b = card.sel(model="a"), card.sel(model="b")
        assert a.high.item() > b.low.item()
        found = compare(b, a)
        np.testing.assert_allclose([found.difference.item(), found.low.item(), found.high.item()], 1)
        with pytest.raises(ValueError, match="expected one model on each side, got 2 on the second"):
            compare(a, card)
        with pytest.raises(ValueError, match="the same variables, leads, metrics and initial times"):
            compare(a, b.isel(time=slice(1, None)))


class TestOut:
    def test_table_and_csv(self, world, tmp_path):
        card = score(source=world, baselines=("persistence",))
        lines = table(card).splitlines()
        assert lines[0].split() == ["T2m", "RMSE", "(K)", "1", "d", "3", "d"]
        assert lines[1].startswith("perfect")
        assert "*" in lines[1]
        assert lines[2].split()[:2] == ["persistence", "0.24"]
        assert "*" not in lines[2]
        to_csv(card, tmp_path / "s.csv")
        rows = [r.split(",") for r in (tmp_path / "s.csv").read_text().splitlines()]
        assert rows[0] == [
            "model",
            "variable",
            "lead_hours",
            "metric",
            "score",
            "low",
            "high",
            "units",
            "initial_times",
        ]
        assert len(rows) == 1 + 2 * 2 * 3
        assert rows[7][:4] == ["persistence", T, "24.0", "rmse"]
        assert float(rows[7][4]) == pytest.approx(0.24, rel=1e-3)
        assert rows[7][-2:] == ["K", "60"]
        for name in ("s.nc", "s.zarr"):
            write(card, tmp_path / name)
            xr.testing.assert_equal(xr.open_dataset(tmp_path / name).load()["scores"], card["scores"])
        with pytest.raises(ValueError, match="exists"):
            to_csv(card, tmp_path / "s.csv")
        with pytest.raises(ValueError, match="expected one of rmse, acc, bias, got 'mse'"):
            table(card, "mse")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"split": "validation"}, "has no split 'validation': expected one of train, test"),
            (
                {"variables": [Z]},
                "expected variables of the source that change in time, 2m_temperature, got geopotential_500",
            ),
            ({"variables": [ORO]}, "got orography"),
            ({"metrics": ["rsme"]}, "unknown metric rsme: expected some of rmse"),
            ({"baselines": ["luck"]}, "unknown baseline 'luck': expected some of persistence"),
            ({"leads": [0, 6]}, "lead times above zero"),
            ({"leads": [24 * 365]}, "no initial time"),
            ({"models": {"a": damped()}, "grid_shape": (8, 16)}, "forecasters on one grid"),
        ],
    )
    def test_what_a_user_can_get_wrong(self, world, change, says):
        with pytest.raises(ValueError, match=says):
            score(source=world, **change)
