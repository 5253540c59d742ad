"""Two processes with half the batch each learn what one learns with the whole, by ddp and by fsdp, under torchrun."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from climax_lite.forecaster import Forecaster
from climax_lite.train import Run, read_log
from climax_lite.train.loop import strategy

from .parallel import CALM, OPTIMISATION
from .worlds import FAST, RUN, train, weights

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    run = dataclasses.replace(RUN, validate_every=8)
    return out, train(out, OPTIMISATION, run, batch_size=8, net=CALM)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, str(ROOT / "tests/train/parallel.py"), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_same_loss_curve(alone, together, kind):
    """fsdp was stopped on the way, so this is also its saved state."""
    one, two = read_log(alone[0]), read_log(together / kind)
    assert np.isfinite(one["train_loss"]).sum() == 10
    assert np.isfinite(one["validation_loss"]).sum() == 2
    for column in ("step", "train_loss", "validation_loss", "learning_rate"):
        np.testing.assert_allclose(two[column], one[column], rtol=1e-5, err_msg=column)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_same_weights(alone, together, kind):
    expected, got = weights(alone[1]), weights(Forecaster.load(together / kind / "forecaster.safetensors"))
    assert got.keys() == expected.keys()
    for name in got:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_flags_choose_strategies():
    assert strategy(Run(accelerator="cpu")) == "auto"
    assert isinstance(strategy(Run(accelerator="cpu", strategy="ddp")), DDPStrategy)
    assert isinstance(strategy(Run(accelerator="cpu", strategy="fsdp", devices=2)), ModelParallelStrategy)
    with pytest.raises(ValueError, match="auto, ddp or fsdp"):
        Run(strategy="deepspeed")


def test_averages_need_whole_weights(tmp_path):
    with pytest.raises(ValueError, match="use strategy ddp, or ema_decay 0"):
        train(tmp_path, dataclasses.replace(FAST, ema_decay=0.9), dataclasses.replace(RUN, strategy="fsdp", devices=2))
