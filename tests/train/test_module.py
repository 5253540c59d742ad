"""The schedule, the decay groups, the loss, and the message of a loss that is none."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from climax_lite.metrics import latitude_weighted_mse
from climax_lite.train import Optimisation, Training, decay_groups, schedule

from .worlds import FAST, GRID, RUN, WIND, data, forecaster, samples, train

TEN = Optimisation(steps=110, warmup_steps=10, final_fraction=0.2)


def batch(count=4):
    s = samples()
    return s.batch(s.draw(np.arange(count), np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.1),
        (4, 0.5),
        (9, 1.0),
        (10, 1.0),
        (60, 0.6),
        (35, 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2),
        (110, 0.2),
        (500, 0.2),
    ],
)
def test_the_schedule_by_hand(step, expected):
    """Ten steps up, a hundred down to a fifth: half-way down is the mean of one and a fifth."""
    assert schedule(step, TEN) == pytest.approx(expected)


def test_without_warm_up_it_starts_at_the_top():
    assert schedule(0, dataclasses.replace(TEN, warmup_steps=0)) == 1.0


@settings(max_examples=50, deadline=None)
@given(steps=st.integers(1, 300), share=st.floats(0, 1), final=st.floats(0, 1))
def test_it_never_rises_after_the_warm_up(steps, share, final):
    o = Optimisation(steps=steps, warmup_steps=int(share * steps), final_fraction=final)
    rates = [schedule(s, o) for s in range(2 * steps + 2)]
    after = rates[o.warmup_steps :]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))
    assert min(rates) >= 0
    assert max(rates) <= 1
    assert rates[-1] == pytest.approx(final)


def test_settings_that_make_no_schedule():
    with pytest.raises(ValueError, match="0 <= warmup_steps <= steps, got 20 of 10"):
        Optimisation(steps=10, warmup_steps=20)
    with pytest.raises(ValueError, match="final fraction from 0 to 1"):
        Optimisation(final_fraction=1.5)


def test_which_parameters_decay():
    f = forecaster()
    names = {id(p): n for n, p in f.named_parameters()}
    decaying, free = ({names[id(p)] for p in g["params"]} for g in decay_groups(f, 0.05))
    block = [f"net.blocks.{i}.{m}.weight" for i in (0, 1) for m in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    assert decaying == {
        "net.tokenizer.weight",
        "net.aggregation.in_proj_weight",
        "net.aggregation.out_proj.weight",
        "net.lead_time_embed.weight",  # a linear map, as in the official code
        "net.head.0.weight",
        "net.head.2.weight",
        "net.head.4.weight",
        *block,
    }
    assert free == set(names.values()) - decaying
    assert {
        "log_tau",
        "net.pos_embed",
        "net.tokenizer.embedding",
        "net.tokenizer.bias",
        "net.aggregation.query",
    } <= free
    assert [g["weight_decay"] for g in decay_groups(f, 0.05)] == [0.05, 0.0]


def test_every_free_parameter_once_and_no_other():
    f = forecaster()
    f.net.blocks[0].requires_grad_(False)
    grouped = [id(p) for g in decay_groups(f, 0.1) for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in f.parameters() if p.requires_grad)


def test_the_loss_is_that_of_the_metrics():
    b = batch()
    f = forecaster().eval()
    training = Training(f, FAST, GRID.lat)
    expected = latitude_weighted_mse(f(b.x, b.lead_hours, b.variables, b.out_variables), b.y, GRID.lat)
    torch.testing.assert_close(training.shared_step(b, "train"), expected)
    assert training.errors(b).shape == (4, 3)


def test_the_gradient_reaches_every_damping_time_that_was_asked_for():
    b = batch()
    f = forecaster()
    Training(f, FAST, GRID.lat).shared_step(b, "train").backward()
    asked = [v in b.out_variables for v in f.config.variables]
    assert [bool(g != 0) for g in f.log_tau.grad] == asked
    assert [v for v, a in zip(f.config.variables, asked, strict=True) if a] == [
        "2m_temperature",
        *(v for v in WIND if v != "2m_temperature"),
    ]


def test_balance_weighs_by_what_damped_persistence_leaves_open():
    """Two leads of one variable each: weights 1 / (1 − a² + balance), divided by their mean."""
    b = batch(2)
    b = dataclasses.replace(b, lead_hours=torch.tensor([6.0, 24.0]), y=b.y[:, :1], out_variables=b.out_variables[:1])
    f = forecaster().eval()
    errors = Training(f, FAST, GRID.lat).errors(b)[:, 0]
    w = [1 / (1 - math.exp(-2 * h / 60) + 0.1) for h in (6, 24)]  # every τ starts at 60 h
    expected = (w[0] * errors[0] + w[1] * errors[1]) / (w[0] + w[1])
    balanced = Training(f, dataclasses.replace(FAST, balance=0.1), GRID.lat)
    torch.testing.assert_close(balanced.shared_step(b, "train"), expected)
    torch.testing.assert_close(balanced.shared_step(b, "validation"), errors.mean())


# ---------------------------------------------------------------- what is not a number


def test_bad_data_stop_the_run_by_name(tmp_path):
    """A NaN in the state that the first batch begins with."""
    d = data(validation=False)
    first = next(iter(d.train_dataloader()))
    windy = d.train[first.source]
    windy.record.values[int(first.samples[0, 0]), 1] = np.nan
    from climax_lite.train import fit

    name = windy.record.variables[1]
    with pytest.raises(ValueError, match=rf"loss is nan at step 0: source '{first.source}', lead times [\d, ]+ h") as e:
        fit(forecaster(), d, FAST, dataclasses.replace(RUN, out=str(tmp_path)), GRID)
    assert f"NaN or infinity in the inputs {name}" in str(e.value)
    assert ", ".join(first.out_variables) in str(e.value)
    assert not (tmp_path / "forecaster.safetensors").exists()


def test_diverged_weights_are_told_from_bad_data(tmp_path):
    def spoil(trainer, module):
        if trainer.global_step == 2:
            with torch.no_grad():
                module.predictor.net.norm.weight.fill_(torch.inf)

    import lightning as L

    class Spoil(L.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            spoil(trainer, module)

    with pytest.raises(
        ValueError, match=r"at step 2: .*the batch is finite, so the weights diverged: .* lower learning rate"
    ):
        train(tmp_path, callbacks=[Spoil()])
