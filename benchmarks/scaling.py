"""How the loss falls with data, parameters and compute: short runs of one recipe, scored zero-shot on a world that none of them has seen.

    python benchmarks/scaling.py            # rewrites benchmarks/scaling.json; about ten minutes on two cores
    python benchmarks/scaling.py --quick    # a few steps of each run, prints and writes nothing

Data: the middle network on one, two and all five worlds, the same number of steps. Parameters: three networks on all five. Compute: the
middle network on all five for a quarter, half and twice as many steps. The score is the latitude-weighted squared error in units of the
anomaly's variance in the training year, on the validation split of the reference world, averaged over variables: all of them (`loss`), and
all but sea-surface temperature (`loss_without_sea`), which hardly changes within a week, and whose anomalies in the spring of 1987 are so
large that they alone are a third of the mean. `climatology` is what predicting no anomaly scores: more than one, since a climatology of
one year fits its own year best.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time

import numpy as np
import torch
from skill import HERE, SCORED, SOURCES, errors, machine, samples, trained, variables
from torch.utils.flop_counter import FlopCounterMode

from climax_lite.forecaster import Forecaster
from climax_lite.train import Optimisation, new_network
from climax_lite.train.settings import Net

SMALL = Net(embed_dim=64, depth=2, num_heads=2)
MIDDLE = Net(embed_dim=128, depth=4, num_heads=2)
LARGE = Net(embed_dim=192, depth=6, num_heads=4)
STEPS = 400
PAIRS = (("windy", "rainy"), ("sunny", "smooth"), ("rainy", "dry"))
SCORED_TIMES = 96
SEA = "sea_surface_temperature"


def plan() -> list[tuple[tuple[str, ...], Net, int, int]]:
    """(sources, network, steps, seed) of every run."""
    runs = [(SOURCES, LARGE, STEPS, 0), (SOURCES, MIDDLE, STEPS * 2, 0)]
    runs += [(SOURCES, MIDDLE, STEPS, seed) for seed in (0, 1, 2)]
    runs += [((s,), MIDDLE, STEPS, 0) for s in SOURCES]
    runs += [(pair, MIDDLE, STEPS, 0) for pair in PAIRS]
    runs += [(SOURCES, SMALL, STEPS, 0)]
    runs += [(SOURCES, MIDDLE, steps, 0) for steps in (STEPS // 4, STEPS // 2)]
    return runs


def flops_per_sample(net: Net) -> int:
    """Of a training step: forward and backward, counted by torch."""
    forecaster = Forecaster(new_network(net, variables()))
    windy = samples("windy")
    batch = windy.batch(windy.draw(np.arange(1), np.random.default_rng(0)))
    with FlopCounterMode(display=False) as counter:
        forecaster(batch.x, batch.lead_hours, batch.variables, batch.out_variables).sum().backward()
    return counter.get_total_flops()


def losses(predict, count: int) -> dict[str, dict[str, float]]:
    """By lead time, and their mean; with and without the sea."""
    found: dict[str, dict[str, float]] = {"loss": {}, "loss_without_sea": {}}
    for lead in SCORED:
        squared, names = errors(predict, "reference", "validation", lead, count, variables())
        found["loss"][str(lead)] = float(squared.mean())
        found["loss_without_sea"][str(lead)] = float(np.delete(squared, names.index(SEA), axis=1).mean())
    return {name: each | {"mean": sum(each.values()) / len(SCORED)} for name, each in found.items()}


def one(run: tuple[tuple[str, ...], Net, int, int, bool]) -> dict:
    """A row of the result."""
    torch.set_num_threads(1)
    sources, net, steps, seed, quick = run
    o = Optimisation(steps=4 if quick else steps, warmup_steps=2 if quick else 50, weight_decay=0.05, balance=0.2)
    forecaster = trained(sources, net, o, seed)
    return {
        "sources": list(sources),
        "embed_dim": net.embed_dim,
        "depth": net.depth,
        "parameters": sum(p.numel() for p in forecaster.parameters()),
        "steps": o.steps,
        "samples": o.steps * 16,
        "flops": flops_per_sample(net) * o.steps * 16,
        "seed": seed,
        **losses(forecaster, 16 if quick else SCORED_TIMES),
    }


def main() -> None:
    """Run the plan, the longest first, writing after every run what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of each, nothing written")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    climatology = losses(lambda x, h, i, o: torch.zeros(len(x), len(o), 1, 1), 16 if args.quick else SCORED_TIMES)
    about = {
        "machine": machine(),
        "recipe": "AdamW 1e-3, 50 steps of warm-up, cosine, batch 16, bf16",
        "scored": "reference:validation",
        "climatology": climatology["loss"],
        "climatology_without_sea": climatology["loss_without_sea"],
    }
    rows, began = [], time.time()
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for row in pool.imap(one, [(*run, args.quick) for run in plan()], chunksize=1):
            rows.append(row)
            print(f"{time.time() - began:6.0f} s", row, flush=True)
            if not args.quick:
                part = HERE / "scaling.part"
                part.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
                os.replace(part, HERE / "scaling.json")


if __name__ == "__main__":
    main()
