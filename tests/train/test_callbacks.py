"""Speed by a clock of our own; when a state is saved."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from climax_lite.train import SavedState, Speed, WholeCheckpoints, callbacks

from .worlds import FAST, RUN, train


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(callbacks.time, "perf_counter", lambda: self.now)


def test_speed_and_waiting(monkeypatch):
    """Two processes, batches of four; steps of 3 s after 1 s of waiting each; ten seconds of validation and of saving between."""
    clock, logged = Clock(monkeypatch), {}
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}])
    trainer = SimpleNamespace(world_size=2, global_step=0, optimizers=[optimizer])
    module = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    speed, batch = Speed(every=4), [0] * 4

    def step():
        optimizer.param_groups[0]["lr"] = 0.5
        speed.on_train_batch_start(trainer, module, batch, 0)
        clock.now += 3
        trainer.global_step += 1
        optimizer.param_groups[0]["lr"] = 0.25  # the schedule has moved on
        speed.on_train_batch_end(trainer, module, None, batch, 0)

    step()  # nothing was waited for before the first
    assert logged == {"samples_per_second": pytest.approx(8 / 3), "waiting_for_data": 0.0, "learning_rate": 0.5}
    clock.now += 1
    step()
    assert logged["samples_per_second"] == pytest.approx(16 / 7)
    assert logged["waiting_for_data"] == pytest.approx(1 / 7)
    speed.on_validation_start(trainer, module)
    clock.now += 10
    step()
    assert logged["samples_per_second"] == pytest.approx(24 / 10)
    speed.on_save_checkpoint(trainer, module, {})
    clock.now += 10
    step()
    assert logged["waiting_for_data"] == pytest.approx(1 / 13)
    clock.now += 1
    step()  # a new line of the log, a new average
    assert logged["samples_per_second"] == pytest.approx(8 / 4)
    assert logged["waiting_for_data"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("every", "busy", "expected"),
    [(3, (), [3, 6, 9]), (4, (2,), [5, 9]), (5, (5, 2), [7, 11]), (1, (1, 6), [1, 2, 3, 4, 5, 7, 8, 9, 10, 11])],
)
def test_states_keep_clear_of_the_log_and_of_validation(every, busy, expected):
    saved = []
    trainer = SimpleNamespace(
        global_step=0, max_steps=12, save_checkpoint=lambda path, weights_only: saved.append(trainer.global_step)
    )
    callback = SavedState("state.ckpt", every, busy)
    for trainer.global_step in range(1, 13):
        callback.on_train_batch_end(trainer, None, None, None, 0)
    assert saved == expected


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path, io = tmp_path / "state.ckpt", WholeCheckpoints()
    io.save_checkpoint({"step": 1}, path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(callbacks.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        io.save_checkpoint({"step": 2}, path)
    assert torch.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["state.ckpt"]


def test_what_a_run_leaves(tmp_path):
    train(tmp_path, FAST, dataclasses.replace(RUN, validate_every=4), keep_best=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "forecaster.safetensors", "logs", "state.ckpt"]
