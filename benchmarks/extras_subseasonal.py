"""What the chapter on weeks three to six shows beside the table: the network tuned with and without the sea's temperature among its inputs.

    python benchmarks/extras_subseasonal.py           # some minutes on one core; writes benchmarks/results/weeks_3_4_extra.json

Both arms start from the shipped checkpoint and have the same samples but for that one variable, steps, batches, seeds and validation, and
keep their best weights by the latter, the starting ones among them. Skill is 1 − MSE / MSE of climatology on the test split, of normalised
anomalies of a variable, over a region; its interval is the block bootstrap, with blocks of 42 days, as far as forecast and target reach.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

import numpy as np
import torch
import xarray as xr
from skill import HERE, machine

from climax_lite import metrics
from climax_lite.checkpoints import load
from climax_lite.data import ForecastSamples, Record, sources, statistics
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.model.adapt import with_config, with_variables
from climax_lite.tasks import TASKS
from climax_lite.train import DataModule, Optimisation, Run, fit

TASK = TASKS["weeks 3-4"]
SEA = "sea_surface_temperature"
SEEDS = (0, 1, 2)
STEPS = 100
RATE = 1e-4
EVERY_HOURS = 48
BLOCK_HOURS = 14 * 24 + 672


def samples(record: Record, sea: bool) -> ForecastSamples:
    """Windows of a record, with or without the sea among the inputs."""
    inputs = [v for v in (*record.variables, *record.static_variables) if sea or v != SEA]
    return ForecastSamples.of(record, (), TASK.out_variables, inputs, TASK.window)


def tune(train: ForecastSamples, validation: ForecastSamples, seed: int, steps: int) -> Forecaster:
    """The shipped checkpoint, tuned."""
    torch.manual_seed(seed)
    start = load("tiny")
    net = with_config(with_variables(start.net, train.variables), dropout=0.0, drop_path=0.1)
    grid = Grid.regular(*start.config.grid_shape)
    model = Forecaster(
        net,
        start.anomalies,
        start.log_tau is not None,
        statistics(TASK.source, grid_shape=grid.shape),
        window=TASK.window,
    )
    if start.log_tau is not None and model.log_tau is not None:
        model.fit_damping([train.record], [v for v in model.config.variables if v not in start.config.variables])
        with torch.no_grad():
            model.log_tau[: len(start.log_tau)] = start.log_tau
    data = DataModule({TASK.source: train}, validation.at_most(128), seed=seed)
    how = Optimisation(steps=steps, learning_rate=RATE, warmup_steps=steps // 10, weight_decay=0.05)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            out=folder,
            seed=seed,
            accelerator="cpu",
            validate_every=max(1, steps // 5),
            save_every=10**9,
            progress=False,
        )
        return fit(model, data, how, run, grid, keep_best=True)


@torch.no_grad()
def errors(model: Forecaster, test: ForecastSamples) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of the forecast and of climatology: (T, V, H, W) each."""
    step = int(np.diff(test.record.hours[:2])[0])
    chosen = np.arange(0, len(test), EVERY_HOURS // step)
    mine, usual = [], []
    for some in np.array_split(chosen, -(-len(chosen) // 16)):
        b = test.batch(np.stack([some, 0 * some], axis=1))
        y = model.eval()(b.x, b.lead_hours, b.variables, b.out_variables)
        mine.append(((y - b.y) ** 2).numpy())
        usual.append((b.y**2).numpy())
    return np.concatenate(mine), np.concatenate(usual)


def regions(lat: np.ndarray, land: xr.DataArray) -> dict[str, np.ndarray]:
    """Weights (H, W) that sum to one over a region."""
    rows = np.broadcast_to(lat[:, None], land.shape)
    sea, tropics = land.values < 0.5, np.abs(rows) < 20
    masks = {"tropical sea": sea & tropics, "other sea": sea & ~tropics, "land": ~sea, "globe": sea | ~sea}
    weights = {r: m * np.cos(np.deg2rad(rows)) for r, m in masks.items()}
    return {r: w / w.sum() for r, w in weights.items()}


def extra_subseasonal(seeds: tuple[int, ...] = SEEDS, steps: int = STEPS) -> dict[str, Any]:
    """Tune and score both arms."""
    records = {part: Record.prepared(TASK.source, part) for part in ("train", "validation", "test")}
    land = sources.open(TASK.source)["land_sea_mask"].load()
    weights = regions(records["test"].lat, land)
    rows = []
    for sea in (True, False):
        parts = {part: samples(record, sea) for part, record in records.items()}
        for seed in seeds:
            model = tune(parts["train"], parts["validation"], seed, steps)
            mine, usual = errors(model, parts["test"])
            for region, w in weights.items():
                for v, name in enumerate(TASK.out_variables):
                    a, b = ((e[:, v] * w).sum(axis=(1, 2)) for e in (mine, usual))
                    gain = (b - a) / b.mean()
                    low, high = metrics.block_bootstrap(gain, min(len(gain), BLOCK_HOURS // EVERY_HOURS))
                    numbers = {"skill": float(gain.mean()), "low": low, "high": high}
                    rows.append(
                        {"model": "pretrained", "sea": sea, "seed": seed, "region": region, "variable": name}
                        | {k: round(x, 6) for k, x in numbers.items()}
                    )
            print(f"sea {sea}, seed {seed}: {model.about['best_validation_loss']:.4f}", flush=True)
    about = {
        "checkpoint": "tiny", "source": TASK.source, "version": sources.version(TASK.source)[:16], "seeds": list(seeds),
        "steps": steps, "rate": RATE, "initial_times": len(mine), "machine": machine(),
    }  # fmt: skip
    return {"about": about, "rows": rows}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = HERE / "results" / "weeks_3_4_extra.json"
    part = out.with_name(f"{out.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(extra_subseasonal()) + "\n")
    os.replace(part, out)
