"""The checkpoints that ship: small enough, described, what the configuration says, and worth something."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import climax_lite as cl
from climax_lite import checkpoints, commands, data
from climax_lite.metrics import latitude_weights
from climax_lite.train.settings import Pretrain

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny():
    return cl.load("tiny")


def test_all_of_them_are_small_and_have_a_card():
    files = list((ROOT / "data" / "checkpoints").glob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) < 18e6
    assert {f.stem for f in files} == set(checkpoints.shipped())
    for f in files:
        card = f.with_suffix(".md").read_text()
        assert all(part in card for part in ("seed", "steps", "Limits", "RMSE", "minutes"))


def test_a_checkpoint_describes_itself(tiny):
    assert not tiny.training
    assert tiny.about["task"] == "pretraining"
    assert {name: data.sources.version(name)[:16] for name in tiny.about["sources"]} == tiny.about["sources"]
    assert "reference" not in tiny.about["sources"]  # on which it is scored


def test_the_configuration_in_the_repository_is_the_one_that_made_it(tiny):
    settings = commands.read_settings(
        "pretrain", Pretrain, "", [str(ROOT / "configs" / "pretrain.yaml"), "--tier", "tiny"]
    )
    made = json.loads(json.dumps(tiny.about["settings"]))
    now = json.loads(json.dumps(dataclasses.asdict(settings)))
    free = ("accelerator", "save_every", "progress", "workers", "records", "tensorboard")
    for tree in (made, now):
        for name in free:
            tree["run"].pop(name, None)
    assert now == made


@pytest.mark.parametrize("lead", [24, 72, 120])
def test_it_beats_climatology_and_damped_persistence_on_a_world_it_has_not_seen(tiny, lead):
    """In normalised squared error over all variables, 24 initial times of the test year; the card has the full scores."""
    record = data.Record.prepared("reference", "test")
    samples = data.ForecastSamples.of(record, lead).at_most(24)
    batch = samples.batch(samples.draw(np.arange(len(samples)), np.random.default_rng(0)))
    weights = latitude_weights(record.lat).float()[:, None]
    with torch.inference_mode():
        forecast = tiny(batch.x, batch.lead_hours, batch.variables, batch.out_variables)
        a = tiny.damping(batch.lead_hours, batch.out_variables)[:, :, None, None]
    damped = a * batch.x[:, : len(batch.out_variables)]

    def error(x):
        return float(((x - batch.y) ** 2 * weights).mean())

    assert error(forecast) < error(damped) < error(torch.zeros_like(batch.y))
