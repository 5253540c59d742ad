"""A run that is killed and called again gives the numbers of one that was left alone."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from climax_lite.train import loop, read_log, run

from .worlds import FAST, RUN, train, weights

WATCHED = dataclasses.replace(RUN, validate_every=4)
# A server that has imported the heavy packages and trained nothing forks the processes that are to die.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["climax_lite.train", "tests.train.worlds"])


class KillAt(L.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def _doomed(out, how, step, while_writing):
    torch.set_num_threads(1)
    if while_writing:
        from lightning.pytorch.plugins.io import TorchCheckpointIO

        write, seen = TorchCheckpointIO.save_checkpoint, []

        def half(self, checkpoint, path, storage_options=None):
            write(self, checkpoint, path, storage_options)
            seen.append(path)
            if len(seen) == 2:
                whole = Path(path).read_bytes()
                Path(path).write_bytes(whole[: len(whole) // 2])
                os.kill(os.getpid(), signal.SIGKILL)

        TorchCheckpointIO.save_checkpoint = half
    train(out, callbacks=[] if while_writing else [KillAt(step)], **how)


def killed(out, how, step=None):
    """Run and be killed: at the end of a step, or, without one, half-way through writing the second state."""
    process = context.Process(target=_doomed, args=(out, how, step, step is None))
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL


def same(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module", params=[0.0, 0.8], ids=["plain", "averaged"])
def unbroken(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    how = {
        "optimisation": dataclasses.replace(FAST, steps=30, ema_decay=request.param),
        "run": WATCHED,
        "keep_best": True,
    }
    return out, how, train(out, **how)


# The mixture's epoch is thirteen batches. States are saved clear of the log (every 2) and of validation (every 4).
@pytest.mark.parametrize("steps", [[2], [8], [13], [17, 20, 29]], ids=str)
def test_killed_at_a_step(unbroken, steps, tmp_path):
    """Before the first state; at a validation; at the mixture's end; and three times over."""
    out, how, expected = unbroken
    for step in steps:
        killed(tmp_path, how, step)
    got = train(tmp_path, **how)
    assert same(got, expected)
    assert got.about == expected.about
    assert_same_log(tmp_path, out)


def test_killed_while_a_state_is_written(unbroken, tmp_path):
    out, how, expected = unbroken
    killed(tmp_path, how)
    assert list(tmp_path.glob("*.part"))
    assert torch.load(tmp_path / loop.STATE, weights_only=False)["global_step"] == 3
    assert same(train(tmp_path, **how), expected)
    assert not list(tmp_path.glob("*.part"))
    assert_same_log(tmp_path, out)


def assert_same_log(a, b):
    a, b = read_log(a), read_log(b)
    assert a.keys() == b.keys()
    for column in ("step", "train_loss", "learning_rate", "validation_loss"):
        np.testing.assert_array_equal(a[column], b[column], err_msg=column)


def test_the_log_has_every_line(unbroken):
    log = read_log(unbroken[0])
    assert np.flatnonzero(np.isfinite(log["train_loss"])).size == 15  # every second of thirty steps
    assert (log["step"][np.isfinite(log["validation_loss"])] + 1).tolist() == [
        1,  # the starting weights
        *(4, 8, 12, 16, 20, 24, 28),
    ]


@pytest.mark.parametrize("unbroken", [0.0], indirect=True, ids=["plain"])
def test_a_run_with_workers_is_the_same(unbroken, tmp_path):
    """They make batches ahead of the one that the run is at; states at other steps change nothing either."""
    _, how, expected = unbroken
    killed(tmp_path, {**how, "run": dataclasses.replace(WATCHED, save_every=7), "workers": 1}, 16)
    assert same(train(tmp_path, **how), expected)


def test_a_finished_run_returns_at_once(unbroken, monkeypatch):
    out, how, expected = unbroken
    monkeypatch.setattr(L, "Trainer", None)
    assert same(train(out, **how), expected)


def test_other_settings_are_refused_by_name(tmp_path):
    from climax_lite.train import Finetune

    first = Finetune(run=dataclasses.replace(RUN, out=str(tmp_path)))
    run.claim(first)
    run.claim(first)
    run.claim(dataclasses.replace(first, run=dataclasses.replace(first.run, workers=2, save_every=9)))
    other = dataclasses.replace(first, fraction=0.1, optimisation=dataclasses.replace(first.optimisation, steps=70))
    with pytest.raises(ValueError, match=r"other settings \(fraction, optimisation\.steps\): give another run\.out"):
        run.claim(other)
    assert json.loads((tmp_path / "settings.json").read_text())["fraction"] == 1.0


def test_a_folder_without_a_log(tmp_path):
    with pytest.raises(ValueError, match="holds no log"):
        read_log(tmp_path)
