"""Validation, the best weights, stopping early, averages; and whole runs on fake worlds."""

import csv
import dataclasses
import shutil

import lightning as L
import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite.data import Record, Statistics, ordered, sources
from climax_lite.evaluate import evaluate
from climax_lite.forecaster import Forecaster
from climax_lite.train import Finetune, Net, Pretrain, Training, finetune, new_network, pretrain, read_log, run
from climax_lite.train.loop import RESULT
from tests.toys import ORO, T, Z, own_world

from .worlds import DRY, FAST, GRID, NET, RUN, WIND, data, forecaster, record, train, weights

WATCHED = dataclasses.replace(RUN, validate_every=3)
LONG = dataclasses.replace(FAST, steps=18)


def validation_loss(f):
    """By hand: every sample by itself."""
    losses = []
    for b in ordered(data().validation, 1):
        with torch.no_grad():
            losses.append(float(Training(f, FAST, GRID.lat).shared_step(b, "validation")))
    return np.mean(losses)


class Worsen(L.Callback):
    """Spoils the head after step 13, so that the last weights are not the best."""

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == 13:
            with torch.no_grad():
                module.predictor.net.head[-1].bias.fill_(5.0)


class Spy(L.Callback):
    """The weights after every step, and the averaged ones, made here."""

    def __init__(self, decay):
        self.decay, self.average, self.raw = decay, None, None

    def on_train_batch_end(self, trainer, module, *_):
        self.raw = weights(module.predictor)
        if self.average is None:
            self.average = dict(self.raw)
        else:
            self.average = {k: self.decay * a + (1 - self.decay) * self.raw[k] for k, a in self.average.items()}


def test_the_validation_loss_does_not_depend_on_the_batch_size(tmp_path):
    """Eleven samples: batches of four leave a smaller one."""
    logged = []
    for size in (1, 4, 11):
        d = dataclasses.replace(WATCHED, out=str(tmp_path / str(size)))
        still = dataclasses.replace(FAST, steps=3, learning_rate=1e-30)
        f = train(d.out, still, d, batch_size=size)
        logged.append(read_log(d.out)["validation_loss"])
        assert logged[-1][np.isfinite(logged[-1])] == pytest.approx([validation_loss(f)], rel=1e-5)
    assert len(logged[0][np.isfinite(logged[0])]) == 1


def test_the_best_is_kept(tmp_path):
    f = train(tmp_path, LONG, WATCHED, keep_best=True, callbacks=[Worsen()])
    log = read_log(tmp_path)["validation_loss"]
    log = log[np.isfinite(log)]
    assert len(log) == 7  # that of the starting weights too
    assert log.min() < log[-1]
    assert f.about["best_validation_loss"] == pytest.approx(log.min())
    assert validation_loss(f) == pytest.approx(log.min(), rel=1e-5)
    assert validation_loss(Forecaster.load(tmp_path / RESULT)) == pytest.approx(log.min(), rel=1e-5)


def test_starting_weights_that_nothing_beats_are_kept(tmp_path):
    """What every validation after a step sees is spoilt."""

    class Spoil(L.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            with torch.no_grad():
                module.predictor.net.head[-1].bias.fill_(5.0)

    before = weights(forecaster())
    f = train(tmp_path, LONG, WATCHED, keep_best=True, callbacks=[Spoil()])
    log = read_log(tmp_path)
    assert log["step"][0] == 0
    assert f.about["best_validation_loss"] == f.about["starting_validation_loss"]
    assert f.about["best_validation_loss"] == pytest.approx(log["validation_loss"][0])
    assert all(torch.equal(v, before[k]) for k, v in weights(f).items())


def test_without_it_the_last_is(tmp_path):
    f = train(tmp_path, LONG, WATCHED, callbacks=[Worsen()])
    assert "best_validation_loss" not in f.about
    assert validation_loss(f) == pytest.approx(read_log(tmp_path)["validation_loss"][-1], rel=1e-5)


def test_a_run_shorter_than_the_interval_is_validated_at_its_end(tmp_path):
    f = train(tmp_path, FAST, dataclasses.replace(RUN, validate_every=500), keep_best=True)
    assert f.about["best_validation_loss"] == pytest.approx(validation_loss(f), rel=1e-5)


def test_it_stops_early_and_not_before(tmp_path):
    """With a learning rate of nothing no validation is better than that of the starting weights: two, and it ends."""
    still = dataclasses.replace(FAST, steps=30, learning_rate=1e-30)
    f = train(tmp_path, still, WATCHED, keep_best=True, patience=2)
    assert f.about["steps"] == 6
    log = read_log(tmp_path)["validation_loss"]
    assert np.isfinite(log).sum() == 3


def test_patience_without_validation_is_no_error(tmp_path):
    assert train(tmp_path, FAST, RUN, keep_best=True, patience=2).about["steps"] == FAST.steps


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_is_the_result(decay, tmp_path):
    spy = Spy(decay)
    f = train(tmp_path, dataclasses.replace(FAST, ema_decay=decay), callbacks=[spy])
    saved = weights(Forecaster.load(tmp_path / RESULT))
    for name, got in weights(f).items():
        torch.testing.assert_close(got, spy.average[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(got, saved[name])
    assert any(not torch.allclose(spy.raw[k], saved[k], atol=1e-4) for k in saved)


def test_validation_sees_the_average_and_the_best_keeps_it(tmp_path):
    spy = Spy(0.7)
    o = dataclasses.replace(LONG, ema_decay=0.7)
    f = train(tmp_path, o, WATCHED, keep_best=True, callbacks=[Worsen(), spy])
    log = read_log(tmp_path)["validation_loss"]
    log = log[np.isfinite(log)]
    assert log.argmin() < len(log) - 1
    assert validation_loss(f) == pytest.approx(log.min(), rel=1e-5)
    last = Forecaster(f.net, f.anomalies, True)
    last.load_state_dict(spy.average)
    assert validation_loss(last) == pytest.approx(log[-1], rel=1e-3)


@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"accelerator": "auto"}], ids=str)
def test_other_ways_to_run(changes, tmp_path):
    f = train(tmp_path, FAST, dataclasses.replace(RUN, **changes))
    assert all(v.dtype == torch.float32 and bool(torch.isfinite(v).all()) for v in weights(f).values())


def test_recomputed_activations_change_nothing(tmp_path):
    plain = train(tmp_path / "plain")
    again = train(tmp_path / "again", net=dataclasses.replace(NET, checkpointing=True))
    for name, w in weights(plain).items():
        torch.testing.assert_close(weights(again)[name], w, rtol=1e-4, atol=1e-6)


def test_compiling_for_several_cpu_threads_is_refused(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="OMP_NUM_THREADS=1"):
            train(tmp_path / "run", FAST, dataclasses.replace(RUN, compile=True))
    finally:
        torch.set_num_threads(threads)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_network_learns_the_same(tmp_path):
    """Without noise: a compiled dropout draws other numbers."""
    o, calm = dataclasses.replace(FAST, steps=4), dataclasses.replace(NET, dropout=0.0, drop_path=0.0)
    plain = train(tmp_path / "plain", o, net=calm)
    compiled = train(tmp_path / "compiled", o, dataclasses.replace(RUN, compile=True), net=calm)
    for name, w in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], w, rtol=1e-4, atol=1e-5)


def test_the_seed_is_all_that_matters(tmp_path):
    torch.manual_seed(1)
    a = train(tmp_path / "a")
    torch.manual_seed(2)
    np.random.default_rng(3)
    b = train(tmp_path / "b")
    c = train(tmp_path / "c", run=dataclasses.replace(RUN, seed=1))
    assert all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())
    assert any(not torch.equal(v, weights(c)[k]) for k, v in weights(a).items())


def test_the_log_is_joined_over_runs(tmp_path):
    """The second went on after step 1: its word counts; columns that one of them lacks are NaN there."""
    for version, rows in enumerate(([{"step": 1, "a": 1}, {"step": 3, "a": 2}], [{"step": 3, "a": 5, "b": 7}])):
        folder = tmp_path / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        with open(folder / "metrics.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    log = read_log(tmp_path)
    np.testing.assert_array_equal(log["step"], [1, 3])
    np.testing.assert_array_equal(log["a"], [1, 5])
    np.testing.assert_array_equal(log["b"], [np.nan, 7])


# ---------------------------------------------------------------- pretraining and fine-tuning


@pytest.fixture
def worlds(monkeypatch):
    """Three sources in place of the real ones; `windy` and `dry` to pretrain on, `new` to fine-tune on."""
    variables = {"windy": WIND, "dry": DRY, "new": (*WIND, "specific_humidity_850")}

    def prepared(name, part="train", grid_shape=(8, 16), anomalies=True, path=None):
        assert tuple(grid_shape) == (8, 16)
        return record(name, 30 if part == "train" else 12, variables[name], seed=sum(map(ord, name + part)))

    def statistics(name, split="train", grid_shape=None):
        names = (*variables[name], "orography")
        one = np.ones(len(names))
        return Statistics(names, 0 * one, one, one, None, ("1985", "1986"), "0" * 64, name)

    monkeypatch.setattr(Record, "prepared", prepared)
    monkeypatch.setattr(run, "statistics", statistics)
    monkeypatch.setattr(sources, "version", lambda name: f"{name}-0123456789abcdef")


def pretraining(out):
    return Pretrain(
        ("windy", "dry"), leads=(6, 12), also_variables=("specific_humidity_850",), validation="new:validation",
        net=NET, optimisation=FAST, run=dataclasses.replace(WATCHED, out=str(out)),
    )  # fmt: skip


def test_pretraining_and_fine_tuning(worlds, tmp_path):
    base = pretrain(pretraining(tmp_path / "base"))
    assert set(base.config.variables) == {"orography", *WIND, *DRY, "specific_humidity_850"}
    assert base.config.variables[0] == "orography"  # the paper's order
    assert base.about["sources"]["windy"] == "windy-0123456789"
    assert base.about["steps"] == FAST.steps
    assert base.statistics is None
    settings = Finetune(
        str(tmp_path / "base"), "new", (6,), out_variables=("2m_temperature",), policy="frozen", fraction=0.5,
        validation="", optimisation=FAST, run=dataclasses.replace(RUN, out=str(tmp_path / "tuned")),
    )  # fmt: skip
    before = weights(base)
    tuned = finetune(settings)
    assert tuned.statistics.source == "new"
    assert tuned.about["started_from"]["about"]["task"] == "pretraining"
    assert tuned.config.variables == base.config.variables
    after = weights(tuned)
    assert all(torch.equal(before[k], after[k]) for k in before if ".attn." in k or ".mlp." in k)
    assert not torch.equal(before["net.pos_embed"], after["net.pos_embed"])
    # It goes on, or returns, by the same call; another one is refused.
    assert all(torch.equal(v, weights(finetune(settings))[k]) for k, v in after.items())
    with pytest.raises(ValueError, match=r"other settings \(fraction\)"):
        finetune(dataclasses.replace(settings, fraction=0.1))


def test_fine_tuning_on_a_new_variable_and_from_scratch(worlds, tmp_path):
    base = pretrain(dataclasses.replace(pretraining(tmp_path / "base"), also_variables=(), validation=""))
    assert "specific_humidity_850" not in base.config.variables
    how = dict(
        source="new",
        leads=(6,),
        optimisation=FAST,
        dropout=0.0,
        run=dataclasses.replace(WATCHED, out=str(tmp_path / "t")),
    )
    tuned = finetune(Finetune(str(tmp_path / "base"), **how))
    assert tuned.config.variables == (*base.config.variables, "specific_humidity_850")
    assert len(tuned.log_tau) == len(base.log_tau) + 1
    how["run"] = dataclasses.replace(WATCHED, out=str(tmp_path / "scratch"))
    scratch = finetune(Finetune("", net=NET, **how))
    assert scratch.config.variables == (*WIND, "specific_humidity_850", "orography")
    assert scratch.about["started_from"] == {"checkpoint": ""}


# ---------------------------------------------------------------- where, when and with which network


def tuning(out, source, **how):
    run_ = dataclasses.replace(RUN, out=str(out), validate_every=6)
    small = Net((4, 8), patch_size=2, embed_dim=16, depth=2, num_heads=2)
    return Finetune(
        **{
            "checkpoint": "", "source": source, "leads": (24,), "net": small, "optimisation": FAST, "run": run_,
            "validation_samples": 16, "drop_path": 0.0, **how,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return own_world(tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize("crop", [False, True], ids=["kept", "cropped"])
def test_a_region_and_what_it_is_scored_on(own, tmp_path, crop):
    """On 4 x 8 cells North America (15 to 65° N, 220 to 300° E) has those at 225 and 270 in one row: patches of 2 x 2 cover it."""
    f = finetune(tuning(tmp_path, own, region="NorthAmerica", crop=crop))
    assert f.out_grid.lat.tolist() == [22.5, 67.5]
    assert f.out_grid.lon.tolist() == [180, 225, 270, 315]
    assert f.grid.shape == ((2, 4) if crop else (4, 8))
    assert f.about["best_validation_loss"] <= f.about["starting_validation_loss"]
    card = evaluate({"f": f}, own, leads=(24,), every_hours=72, region="NorthAmerica", baselines=("climatology",))
    assert np.isfinite(card.scores.sel(metric="rmse")).all()


def test_a_region_kept_and_cropped_learn_the_same(own, tmp_path):
    """One function, so one training: the patches beyond the region are never looked at."""
    base = pretrain_like(tmp_path / "base")
    how = {"checkpoint": str(base), "region": "NorthAmerica"}
    kept, cropped = (finetune(tuning(tmp_path / str(c), own, crop=c, **how)) for c in (False, True))
    for name, w in weights(cropped).items():
        other = weights(kept)[name]
        other = other[:, kept.patch_ids] if name == "net.pos_embed" else other
        torch.testing.assert_close(w, other, rtol=1e-4, atol=1e-6, msg=name)


def pretrain_like(folder):
    """A checkpoint of 4 x 8 cells."""
    torch.manual_seed(0)
    f = Forecaster(new_network(Net((4, 8), patch_size=2, embed_dim=16, depth=2, num_heads=2), (T, Z, ORO)))
    f.save(folder / RESULT)
    return folder


def test_a_window(own, tmp_path):
    f = finetune(tuning(tmp_path, own, window=(24, 72)))
    assert f.window == (24, 72)
    card = evaluate({"f": f}, own, window=(24, 72), every_hours=72, baselines=("climatology",))
    assert card.lead.values.tolist() == [48]
    assert np.isfinite(card.scores.sel(metric="rmse")).all()


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_the_networks_to_compare_with(own, tmp_path, architecture):
    net = Net((4, 8), patch_size=2, embed_dim=8, depth=2, architecture=architecture)
    f = finetune(tuning(tmp_path, own, net=net, out_variables=(Z,)))
    assert type(f.net).__name__.lower() == architecture
    assert f.config.out_variables == (Z,)
    with pytest.raises(ValueError, match="expected a checkpoint of ClimaX, got one of"):
        finetune(tuning(tmp_path / "again", own, checkpoint=str(tmp_path)))


def test_the_grid_of_a_source_and_damping_times_of_its_variables(own, tmp_path):
    """A part of the globe in a file: five columns, of which four are two patches; positions are those of the places."""
    path, _, parts = own.partition("?")
    with xr.open_dataset(path) as ds:
        ds.isel(lat=slice(2, 4), lon=slice(2, 7)).to_netcdf(tmp_path / "part.nc")
    base = pretrain_like(tmp_path / "base")
    f = finetune(tuning(tmp_path / "run", f"{tmp_path / 'part.nc'}?{parts}", checkpoint=str(base), own_grid=True))
    assert (f.grid.lat.tolist(), f.grid.lon.tolist()) == ([22.5, 67.5], [90, 135, 180, 225])
    source = f"{tmp_path / 'part.nc'}?{parts}"
    card = evaluate({"f": f}, source, leads=(24,), every_hours=72, baselines=("persistence", "climatology"))
    assert card.attrs["grid"] == "2 x 4"
    assert np.isfinite(card.scores.sel(metric="rmse")).all()
    still = finetune(
        dataclasses.replace(
            tuning(tmp_path / "still", source, checkpoint=str(base), own_grid=True),
            optimisation=dataclasses.replace(FAST, learning_rate=1e-30),
        )
    )
    # the patches at 90-135 and 180-225 E are the third and fourth of the old second row
    start = Forecaster.load(base / RESULT).net.pos_embed[0].unflatten(0, (2, 4))
    torch.testing.assert_close(still.net.pos_embed[0].detach(), start[1, 1:3].detach())
