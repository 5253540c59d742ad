"""Climate projection: windows, scores and baselines by hand, and emulators that are trained, kept and asked."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite.data import Scaling
from climax_lite.grid import Grid
from climax_lite.model import ClimaX, ClimaXConfig
from climax_lite.model.recurrent import CNNLSTM, CNNLSTMConfig
from climax_lite.predictor import Predictor
from climax_lite.tasks import projection
from climax_lite.tasks.projection import ClimateEmulator, Projection
from climax_lite.train import Net, Optimisation, Run

from ..data import archive_fakes as fakes
from . import energy_balance

GRID = Grid([-60.0, 0.0, 60.0], [0.0, 180.0])  # cosines ½, 1, ½: weights ¾, 1½, ¾
SMALL = Grid.regular(8, 16)
RUN = Run(precision="32-true", accelerator="cpu", progress=False, batch_size=4, validate_every=0, save_every=100)
NET = Net(patch_size=4, embed_dim=16, depth=2, num_heads=2)


def maps(values, name="2m_temperature", first=2015):
    """Years (T, 3, 2) on the grid by hand."""
    values = np.asarray(values, "float32")
    return xr.Dataset(
        {name: (("time", "lat", "lon"), values)},
        {"time": first + np.arange(len(values)), "lat": GRID.lat, "lon": GRID.lon},
    )


def flat(numbers, **how):
    return maps(np.asarray(numbers, float)[:, None, None] * np.ones((3, 2)), **how)


@pytest.fixture(scope="module")
def runs():
    return energy_balance.runs(("historical", "ssp126", "ssp245", "ssp585"), SMALL)


# ---------------------------------------------------------------- scores


class TestScores:
    def test_the_last_third_by_hand(self):
        """Six years, so two are scored: truth 3 and 5 K everywhere, prediction 5 and 6 K."""
        truth, prediction = flat([9, 9, 9, 9, 3, 5]), flat([0, 0, 0, 0, 5, 6])
        s = projection.score(prediction, truth)["2m_temperature"]
        # Time means 4 and 5.5: 1.5 / 4. Global means are off by 2 and 1 K: √2.5 / 4.
        assert float(s.sel(metric="NRMSE_s")) == pytest.approx(1.5 / 4)
        assert float(s.sel(metric="NRMSE_g")) == pytest.approx(2.5**0.5 / 4, rel=1e-6)
        assert float(s.sel(metric="total")) == pytest.approx(1.5 / 4 + 5 * 2.5**0.5 / 4, rel=1e-6)

    def test_space_is_weighted(self):
        """An error of 2 K in the belt at the equator alone, half of the area: √(4 · ½)."""
        truth = flat([1, 1, 1])
        prediction = truth.copy(deep=True)
        prediction["2m_temperature"][:, 1] += 2
        s = projection.score(prediction, truth)["2m_temperature"]
        assert float(s.sel(metric="NRMSE_s")) == pytest.approx(2**0.5, rel=1e-6)
        assert float(s.sel(metric="NRMSE_g")) == pytest.approx(1, rel=1e-6)

    def test_a_mean_below_zero_gives_no_score_below_zero(self):
        s = projection.score(flat([0, 0, 0]), flat([-2, -2, -2]))
        assert float(s["2m_temperature"].min()) == 1

    def test_years_are_matched_by_name(self):
        truth = flat([1, 2, 3])
        early = flat([0, 0, 1, 2, 3], first=2013)
        assert float(abs(projection.score(early, truth)["2m_temperature"]).max()) < 1e-6
        with pytest.raises(KeyError):
            projection.score(truth.isel(time=slice(2)), truth)

    def test_the_noise_floor_by_hand(self):
        """Residuals 1, −2, 1 about a line have the sum of squares 6, and one degree of freedom: s² = 6."""
        line = np.array([10.0, 11.0, 12.0])
        truth = flat([0, 0, 0, 0, 0, 0, *(line + np.array([1, -2, 1]))])
        s = projection.noise_floor(truth)["2m_temperature"]
        size = 11.0
        assert float(s.sel(metric="NRMSE_s")) == pytest.approx((6 / 3) ** 0.5 / size, rel=1e-5)
        assert float(s.sel(metric="NRMSE_g")) == pytest.approx(6**0.5 / size, rel=1e-5)

    def test_the_floor_is_what_the_forced_climate_scores(self):
        """Ten members of one scenario against the climate without weather."""
        forced = energy_balance.runs(["ssp245"], SMALL, noise=0.0)["ssp245"][1]
        found, floor = [], []
        for seed in range(10):
            truth = energy_balance.runs(["ssp245"], SMALL, seed=seed)["ssp245"][1]
            for scores, out in ((projection.score(forced, truth), found), (projection.noise_floor(truth), floor)):
                out.append([float(scores[v].sel(metric="NRMSE_s")) for v in scores.data_vars])
        ratio = np.mean(found, axis=0) / np.mean(floor, axis=0)
        assert ((ratio > 0.7) & (ratio < 1.6)).all(), ratio  # the sea remembers: years are not quite independent


# ---------------------------------------------------------------- the climate of one equation


class TestEnergyBalance:
    def test_it_has_the_form_of_the_scenarios(self, runs):
        x, y = runs["ssp245"]
        assert [*x.data_vars] == ["CO2", "dimming"]
        assert [*y.data_vars] == list(projection.CLIMATE)
        assert x.sizes == {"time": 68, "lat": 8, "lon": 16}
        assert y.sizes["time"] == 35
        assert all(a.dtype == np.float32 for ds in (x, y) for a in ds.data_vars.values())
        assert x.time.values[-1] == y.time.values[-1] == 1917

    def test_it_comes_to_rest_where_forcing_and_damping_balance(self):
        """Uniform damping, no diffusion across a uniform field: T → F / λ for constant F; checked by the equation itself."""
        land = np.zeros(SMALL.shape)
        capacity, factors = energy_balance._step(SMALL, land)
        t = np.zeros(SMALL.shape)
        for _ in range(400):
            t = factors.solve((3.7 + capacity * t).ravel()).reshape(SMALL.shape)
        again = factors.solve((3.7 + capacity * t).ravel()).reshape(SMALL.shape)
        np.testing.assert_allclose(again, t, atol=1e-6)
        damping = 1.7 - 0.9 * np.sin(np.deg2rad(SMALL.lat)) ** 2
        # Diffusion only moves heat: what all cells lose together is what they get.
        assert np.average((damping[:, None] * t).mean(1), weights=SMALL.weights()) == pytest.approx(3.7, rel=1e-6)

    def test_more_carbon_dioxide_is_warmer_and_haze_cools(self):
        quiet = energy_balance.runs(grid=SMALL, noise=0.0)
        last = {r: float(y["2m_temperature"].isel(time=-1).mean()) for r, (_, y) in quiet.items()}
        assert last["ssp126"] < last["ssp245"] < last["ssp585"]
        assert last["historical"] > 0

    def test_weather_differs_and_can_be_repeated(self):
        one, same, other = (energy_balance.runs(["ssp126"], SMALL, seed=s)["ssp126"][1] for s in (1, 1, 2))
        xr.testing.assert_identical(one, same)
        assert not np.allclose(one["2m_temperature"], other["2m_temperature"])

    def test_unknown_runs_get_a_sentence(self):
        with pytest.raises(ValueError, match=r"unknown runs ssp999: expected some of historical"):
            energy_balance.runs(["ssp999"])


# ---------------------------------------------------------------- networks


class TestCNNLSTM:
    CONFIG = CNNLSTMConfig(("a", "b"), ("y", "z"), (4, 8), time_history=3, channels=5, width=6)

    def network(self):
        torch.manual_seed(0)
        return CNNLSTM(self.CONFIG).eval()

    def test_shapes_and_names(self):
        net, x, lead = self.network(), torch.randn(2, 3, 2, 4, 8), torch.zeros(2)
        both = net(x, lead, ("a", "b"), ("y", "z"))
        assert both.shape == (2, 2, 4, 8)
        torch.testing.assert_close(net(x.flip(2), lead, ("b", "a"), ("z",)), both[:, 1:])

    def test_it_predicts_sums_of_fixed_maps(self):
        """As many independent patterns as the LSTM has numbers, however many forcings there are."""
        net = self.network()
        with torch.no_grad():
            y = net(3 * torch.randn(40, 3, 2, 4, 8), torch.zeros(40), ("a", "b"), ("y", "z")).flatten(1)
        assert torch.linalg.matrix_rank(y - y[0], rtol=1e-4) <= 6

    def test_turning_the_forcing_changes_nothing(self):
        """The mean over the map forgets where the haze was."""
        net, x = self.network(), torch.randn(1, 3, 2, 4, 8)
        lead = torch.zeros(1)
        torch.testing.assert_close(net(x.roll(3, -1), lead, ("a", "b"), ("y",)), net(x, lead, ("a", "b"), ("y",)))

    def test_what_it_refuses(self):
        net, lead = self.network(), torch.zeros(2)
        with pytest.raises(ValueError, match="needs all of its variables, and b is missing"):
            net(torch.randn(2, 3, 1, 4, 8), lead, ("a",), ("y",))
        with pytest.raises(ValueError, match=r"\(batch, 3, 2, 4, 8\), got \(2, 4, 2, 4, 8\)"):
            net(torch.randn(2, 4, 2, 4, 8), lead, ("a", "b"), ("y",))
        with pytest.raises(ValueError, match="does not predict x"):
            net(torch.randn(2, 3, 2, 4, 8), lead, ("a", "b"), ("x",))
        with pytest.raises(ValueError, match="each once"):
            CNNLSTMConfig(("a", "a"), ("y",))


def emulator(kind=CNNLSTM):
    torch.manual_seed(0)
    names, out = ("CO2", "dimming"), ("2m_temperature", "precipitation_rate")
    if kind is CNNLSTM:
        net = CNNLSTM(CNNLSTMConfig(names, out, SMALL.shape, 4))
    else:
        net = ClimaX(ClimaXConfig(names, SMALL.shape, 4, 16, 1, 2, time_history=4, out_variables=out))
    return ClimateEmulator(
        net,
        Scaling({"CO2": 400.0, "dimming": 0.01}, {"CO2": 100.0, "dimming": 0.02}),
        Scaling(dict.fromkeys(out, 1.0), {"2m_temperature": 2.0, "precipitation_rate": 1e-6}),
        SMALL,
        {"note": "toy"},
    ).eval()


@pytest.mark.parametrize("kind", [CNNLSTM, ClimaX])
class TestEmulator:
    def test_the_file_tells_all(self, kind, tmp_path, runs):
        one = emulator(kind)
        one.save(tmp_path / "e.safetensors")
        again = ClimateEmulator.load(tmp_path / "e.safetensors")
        assert isinstance(again, Predictor)
        assert (again.forcings, again.climate, again.about) == (one.forcings, one.climate, one.about)
        x = runs["ssp126"][0].isel(time=slice(0, 6))
        xr.testing.assert_identical(again.project(x), one.project(x))

    def test_windows_end_at_their_year(self, kind, runs):
        """A projection of a year depends on it and the three before, and on no other; and is physical."""
        one, x = emulator(kind), runs["ssp585"][0].isel(time=slice(0, 8))
        whole = one.project(x, batch_size=2)
        assert whole.time.values.tolist() == x.time.values[3:].tolist()
        part = one.project(x.isel(time=slice(2, 6)))
        np.testing.assert_allclose(part["2m_temperature"][0], whole["2m_temperature"].sel(time=part.time[0]), atol=1e-5)
        batch = torch.stack(
            [torch.from_numpy(np.stack([(x["CO2"].values - 400) / 100, (x["dimming"].values - 0.01) / 0.02], 1))[2:6]]
        )
        with torch.no_grad():
            y = one.net(batch.float(), torch.zeros(1), ("CO2", "dimming"), ("2m_temperature",))
        np.testing.assert_allclose(part["2m_temperature"][0], 1 + 2 * y[0, 0].numpy(), atol=1e-4)
        assert whole["precipitation_rate"].attrs["units"] == "kg m-2 s-1"

    def test_what_it_refuses(self, kind, runs):
        one, x = emulator(kind), runs["ssp585"][0]
        with pytest.raises(ValueError, match="needs CO2, dimming; dimming is not among CO2"):
            one.project(x[["CO2"]])
        with pytest.raises(ValueError, match="expected 4 years of forcings or more, got 3"):
            one.project(x.isel(time=slice(0, 3)))
        with pytest.raises(ValueError, match=r"grid of the training runs, \(8, 16\), got \(4, 16\)"):
            one.project(x.isel(lat=slice(0, 4)))


def test_an_emulator_needs_numbers_for_all_of_its_variables():
    net = CNNLSTM(CNNLSTMConfig(("CO2",), ("2m_temperature",), SMALL.shape, 4))
    one = Scaling({"CO2": 0.0}, {"CO2": 1.0})
    with pytest.raises(ValueError, match="no numbers for 2m_temperature"):
        ClimateEmulator(net, one, one, SMALL)


# ---------------------------------------------------------------- training


def settings(out, **changes):
    o = Optimisation(steps=3, learning_rate=1e-3, warmup_steps=1)
    return Projection(
        **{
            "checkpoint": "",
            "net": NET,
            "optimisation": o,
            "run": dataclasses.replace(RUN, out=str(out)),
            "history": 4,
            **changes,
        }
    )


def test_the_test_run_is_never_learned_from(tmp_path, runs):
    """Whatever is written into it, the emulator is the same: neither weights nor normalisation have seen it."""
    x, y = runs["ssp245"]
    spoilt = runs | {"ssp245": (x * 2, y + 7)}
    one, other = (projection.train(settings(tmp_path / n), r) for n, r in (("a", runs), ("b", spoilt)))
    assert one.about["runs"] == ["historical", "ssp126", "ssp585"]
    assert one.climate == other.climate
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_learns_and_is_kept(tmp_path, runs):
    long = Optimisation(steps=60, learning_rate=1e-2, warmup_steps=5)
    how = settings(tmp_path, architecture="cnn-lstm", optimisation=long)
    one = projection.train(how, runs)
    start = projection.untrained(how, {r: runs[r] for r in one.about["runs"]})
    x, y = runs["ssp245"]
    before, after = (
        float(projection.score(e.project(x).sel(time=y.time), y)["2m_temperature"][2]) for e in (start, one)
    )
    assert after < before / 2
    again = projection.train(how, runs)  # finished: read, not trained
    xr.testing.assert_allclose(again.project(x), one.project(x))


def test_a_validation_run_decides_and_is_not_learned_from(tmp_path, runs):
    run = dataclasses.replace(RUN, out=str(tmp_path), validate_every=1)
    one = projection.train(settings(tmp_path, validation="ssp126", run=run), runs)
    assert one.about["runs"] == ["historical", "ssp585"]
    assert one.about["best_validation_loss"] <= one.about["starting_validation_loss"]
    with pytest.raises(ValueError, match="cannot decide about the weights and be scored on"):
        settings(tmp_path, validation="ssp245")


def test_frozen_attention_stays_and_norms_move(tmp_path, runs):
    """From the shipped checkpoint, on a small grid: what the policy fixes is bit for bit what was pretrained."""
    from climax_lite.checkpoints import load

    how = settings(tmp_path, checkpoint="tiny", policy="frozen", test="ssp126")
    few = {
        r: (x.isel(time=slice(0, 8)), y.isel(time=slice(0, 8)))
        for r, (x, y) in runs.items()
        if r in ("historical", "ssp126")
    }
    one = projection.train(how, few)
    old, new = load("tiny").net.state_dict(), one.net.state_dict()
    assert torch.equal(old["blocks.3.attn.qkv.weight"], new["blocks.3.attn.qkv.weight"])
    assert torch.equal(old["blocks.5.mlp.fc2.bias"], new["blocks.5.mlp.fc2.bias"])
    assert not torch.equal(old["blocks.3.norm1.weight"], new["blocks.3.norm1.weight"])
    assert not torch.equal(old["aggregation.in_proj_weight"], new["aggregation.in_proj_weight"])


def test_a_new_network_can_be_frozen_as_it_was_drawn(tmp_path, runs):
    how = settings(tmp_path, policy="frozen", test="ssp126")
    learn = {r: pair for r, pair in runs.items() if r != "ssp126"}
    drawn = projection.untrained(how, learn).net.state_dict()
    trained = projection.train(how, runs).net.state_dict()
    assert torch.equal(drawn["blocks.0.attn.qkv.weight"], trained["blocks.0.attn.qkv.weight"])
    assert not torch.equal(drawn["blocks.0.norm1.weight"], trained["blocks.0.norm1.weight"])


def test_results_are_rows(runs):
    two = {r: (x, y[["2m_temperature", "precipitation_rate"]]) for r, (x, y) in runs.items()}
    rows = projection.results(0, two, "toy", networks={"small": settings("", architecture="cnn-lstm")})
    models = [
        "noise floor",
        "no change",
        "global mean",
        "pattern scaling",
        "pattern scaling, haze",
        "Gaussian process",
        "small",
    ]
    assert list(dict.fromkeys(r["model"] for r in rows)) == models
    assert len(rows) == len(models) * 2 * 3
    score = {(r["model"], r["variable"], r["metric"]): r["score"] for r in rows}
    assert score["no change", "2m_temperature", "NRMSE_g"] == pytest.approx(1, abs=0.1)
    assert score["pattern scaling", "2m_temperature", "NRMSE_s"] < score["global mean", "2m_temperature", "NRMSE_s"] < 1


def test_networks_that_are_kept_are_not_trained_again(runs, tmp_path, monkeypatch):
    two = {r: (x, y[["2m_temperature"]]) for r, (x, y) in runs.items()}
    networks = {"small": settings("", architecture="cnn-lstm")}
    rows = projection.results(0, two, "toy", networks=networks, folder=tmp_path)
    monkeypatch.setattr("lightning.Trainer.fit", None)
    assert projection.results(0, two, "toy", networks=networks, folder=tmp_path) == rows
    fewer = {r: pair for r, pair in two.items() if r != "ssp126"}
    with pytest.raises(ValueError, match=r"holds a network that learned from \[.*'ssp126'.*\], not from"):
        projection.results(0, fewer, "toy", networks=networks, folder=tmp_path)


def test_runs_come_from_what_there_is():
    found, source = projection.open_runs()
    assert source == "scenarios"
    assert projection.TEST in found
    assert len(found) >= 3
    with pytest.raises(ValueError, match=r"expected source 'scenarios' or a folder .* got 'era5'"):
        projection.open_runs("era5")


def test_the_files_of_climatebench_are_runs(tmp_path):
    """On the task's grid, with its forcings; a file has a few years, so that a window is short."""
    pytest.importorskip("netCDF4")
    fakes.climatebench(tmp_path)
    found, source = projection.open_runs(str(tmp_path))
    assert source == "ClimateBench"
    x, y = found["ssp245"]
    assert set(x.data_vars) == {"CO2", "SO2", "CH4", "BC"}
    assert y["2m_temperature"].shape[1:] == x["BC"].shape[1:] == (32, 64)
    assert bool(np.isfinite(y["precipitation_rate"]).all())
    learn = {r: pair for r, pair in found.items() if r != "ssp245"}
    how = settings(tmp_path / "run", architecture="cnn-lstm", source="ClimateBench")
    one = projection.train(how, found)
    assert one.about["runs"] == [*learn]
    assert one.project(x).sel(time=y.time)["2m_temperature"].shape == y["2m_temperature"].shape
