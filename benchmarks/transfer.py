"""Is pretraining worth anything? Pretrained against from scratch, at the same budget, on a hundredth, a tenth and all of the data.

    python benchmarks/transfer.py            # rewrites benchmarks/transfer.json and transfer.md; about a quarter of an hour on two cores
    python benchmarks/transfer.py --quick    # a few steps of each run, prints and writes nothing

Task: the state of the reference world three days ahead, all variables. The pretrained network has never seen that world. Both arms have the
same network, samples, steps, batch, normalisation (deviations and climatology of the whole training year) and the same way to stop: the
weights of the best validation. The learning rate of each arm is the better of two by the validation loss, tried with seed 0 on a tenth of
the data; seeds draw the order of the data, the noise and, from scratch, the weights. Scores come from the test split.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time

import numpy as np
import torch
from skill import HERE, errors, machine, persistence_of_state, rmse

from climax_lite.forecaster import Forecaster
from climax_lite.train import Finetune, Net, Optimisation, Run, finetune

LEAD = 72
SOURCE = "reference"
STEPS = 200
RATES = {"pretrained": (1e-4, 3e-4), "scratch": (3e-4, 1e-3)}
FRACTIONS = (0.01, 0.1, 1.0)
SEEDS = (0, 1, 2)
CHOSEN_AT = 0.1
TRAINING_TIMES = 1448  # initial times of the training year whose third day lies in it too
TEST_TIMES = 160
NET = Net(num_heads=4)


def settings(arm: str, fraction: float, seed: int, rate: float, steps: int, out: str) -> Finetune:
    """One run."""
    return Finetune(
        checkpoint="tiny" if arm == "pretrained" else "",
        leads=(LEAD,),
        fraction=fraction,
        net=NET,
        optimisation=Optimisation(steps=steps, learning_rate=rate, warmup_steps=steps // 10, weight_decay=0.05),
        run=Run(out=out, seed=seed, validate_every=max(1, steps // 8), save_every=10**9, progress=False),
    )


def tuned(arm: str, fraction: float, seed: int, rate: float, steps: int) -> Forecaster:
    """The result of one run, whose folder is thrown away."""
    out = tempfile.mkdtemp()
    try:
        return finetune(settings(arm, fraction, seed, rate, steps, out))
    finally:
        shutil.rmtree(out)


def score(predict, count: int) -> dict:
    """RMSE of the headline variables, and the normalised loss over all, on the test split."""
    squared, names = errors(predict, SOURCE, "test", LEAD, count)
    return {"rmse": rmse(squared, names, SOURCE), "loss": float(squared.mean())}


def baselines(count: int) -> dict:
    """Forecasts without fine-tuning."""
    from climax_lite.checkpoints import load

    start = load("tiny")

    def damped(x, hours, names, out):
        a = start.damping(hours, out)[:, :, None, None]
        return a * x[:, : len(out)]

    found = {
        "persistence": {"rmse": persistence_of_state(SOURCE, "test", LEAD, count)},
        "climatology": score(lambda x, h, i, o: torch.zeros_like(x[:, : len(o)]), count),
        "damped persistence": score(damped, count),
        "pretrained, not tuned": score(start, count),
    }
    return {name: one["rmse"] | ({"loss": one["loss"]} if "loss" in one else {}) for name, one in found.items()}


def one(run: tuple[str, float, int, float, int, int]) -> dict:
    """A row of the result: (arm, fraction, seed, rate, steps, times to score at)."""
    arm, fraction, seed, rate, steps, count = run
    torch.set_num_threads(1)
    forecaster = tuned(arm, fraction, seed, rate, steps)
    row = {
        "arm": arm, "policy": "full", "fraction": fraction, "seed": seed, "steps": steps, "rate": rate,
        "samples": max(1, round(fraction * TRAINING_TIMES)), "validation_loss": forecaster.about["best_validation_loss"],
    }  # fmt: skip
    return row | score(forecaster, count)


def main() -> None:
    """Choose the rates, then run everything; every row is written as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of each, nothing written")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps, count = (4, 16) if args.quick else (STEPS, TEST_TIMES)
    began = time.time()
    about = {
        "machine": machine(), "lead_hours": LEAD, "steps": steps, "batch": 16, "net": "3.2 M parameters",
        "rates": {arm: list(rates) for arm, rates in RATES.items()}, "test_times": count,
    }  # fmt: skip
    result: dict = {"about": about, "rows": [], "baselines": baselines(count)}
    print(json.dumps(result["baselines"], indent=1), flush=True)

    def keep(row: dict) -> None:
        result["rows"] = sorted([*result["rows"], row], key=lambda r: (r["fraction"], r["arm"], r["seed"]))
        print(f"{time.time() - began:6.0f} s", row, flush=True)
        if not args.quick:
            for path, text in (("transfer.json", json.dumps(result, indent=1) + "\n"), ("transfer.md", table(result))):
                part = HERE / f"{path}.part"
                part.write_text(text)
                os.replace(part, HERE / path)

    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        tried = [(arm, CHOSEN_AT, SEEDS[0], rate, steps, count) for arm, rates in RATES.items() for rate in rates]
        best: dict[str, dict] = {}
        for row in pool.imap(one, tried, chunksize=1):
            print("tried", row["arm"], row["rate"], row["validation_loss"], flush=True)
            if row["arm"] not in best or row["validation_loss"] < best[row["arm"]]["validation_loss"]:
                best[row["arm"]] = row
        for row in best.values():
            keep(row)
        rest = [
            (arm, fraction, seed, best[arm]["rate"], steps, count)
            for fraction in FRACTIONS
            for seed in SEEDS
            for arm in RATES
            if (fraction, seed) != (CHOSEN_AT, SEEDS[0])
        ]
        for row in pool.imap_unordered(one, rest, chunksize=1):
            keep(row)
    print(table(result))


def table(result: dict) -> str:
    """Mean and range over the seeds, in Markdown."""
    lines = [
        "# Pretrained against from scratch, three days ahead",
        "",
        f"`python benchmarks/transfer.py` on {result['about']['machine']}. RMSE on the test split of the reference world: mean (lowest to "
        f"highest of {len(SEEDS)} seeds); {result['about']['steps']} steps of {result['about']['batch']} samples in every run.",
        "",
        "| | Z500 m² s⁻² | T850 K | T2m K | U10 m s⁻¹ | gain at Z500 |",
        "|---|---|---|---|---|---|",
    ]
    names = ("geopotential_500", "temperature_850", "2m_temperature", "10m_u_component_of_wind")
    for name, values in result["baselines"].items():
        lines.append(f"| {name} | " + " | ".join(f"{values[v]:.4g}" for v in names) + " | |")
    for fraction in FRACTIONS:
        means = {}
        for arm in RATES:
            rows = [r for r in result["rows"] if r["arm"] == arm and r["fraction"] == fraction]
            if not rows:
                continue
            each = {v: np.array([r["rmse"][v] for r in rows]) for v in names}
            means[arm] = each[names[0]].mean()
            gain = (
                f"{1 - means['pretrained'] / means['scratch']:.1%}"
                if arm == "scratch" and "pretrained" in means
                else ""
            )
            cells = " | ".join(f"{e.mean():.4g} ({e.min():.4g} to {e.max():.4g})" for e in each.values())
            lines.append(f"| {arm}, {fraction:.0%} of the data | {cells} | {gain} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
