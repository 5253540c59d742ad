"""How the loss falls with data, parameters and compute: short runs of one recipe, scored zero-shot on a world that none of them has seen.

    python benchmarks/scaling.py            # rewrites benchmarks/scaling.json; about a quarter of an hour on one core
    python benchmarks/scaling.py --quick    # a few steps of each run, prints and writes nothing

Data: the middle network on one, two and all five worlds, the same number of steps. Parameters: three networks on all five. Compute: the
middle network on all five for a quarter, half and twice as many steps. The score is the latitude-weighted squared error in units of the
anomaly's variance in the training year, on the validation split of the reference world; `climatology` in the file is what predicting no
anomaly scores there, which is more than one, since a climatology of one year fits its own year best.
"""

from __future__ import annotations

import argparse
import json
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


def plan() -> list[tuple[tuple[str, ...], Net, int, int]]:
    """(sources, network, steps, seed) of every run."""
    runs = [(SOURCES, MIDDLE, STEPS, seed) for seed in (0, 1, 2)]
    runs += [((s,), MIDDLE, STEPS, 0) for s in SOURCES]
    runs += [(pair, MIDDLE, STEPS, 0) for pair in PAIRS]
    runs += [(SOURCES, net, STEPS, 0) for net in (SMALL, LARGE)]
    runs += [(SOURCES, MIDDLE, steps, 0) for steps in (STEPS // 4, STEPS // 2, STEPS * 2)]
    return runs


def flops_per_sample(net: Net) -> int:
    """Of a training step: forward and backward, counted by torch."""
    forecaster = Forecaster(new_network(net, variables()))
    batch = samples("windy").batch(samples("windy").draw(np.arange(1), np.random.default_rng(0)))
    with FlopCounterMode(display=False) as counter:
        forecaster(batch.x, batch.lead_hours, batch.variables, batch.out_variables).sum().backward()
    return counter.get_total_flops()


def main() -> None:
    """Run the plan, writing after every run what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of each, nothing written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rows, began = [], time.time()
    count = 16 if quick else SCORED_TIMES
    climatology = {
        str(lead): float(
            errors(
                lambda x, h, i, o: torch.zeros(len(x), len(o), 1, 1),
                "reference",
                "validation",
                lead,
                count,
                variables(),
            )[0].mean()
        )
        for lead in SCORED
    }
    for sources, net, steps, seed in plan():
        o = Optimisation(steps=4 if quick else steps, warmup_steps=2 if quick else 50, weight_decay=0.05, balance=0.2)
        forecaster = trained(sources, net, o, seed)
        loss = {}
        for lead in SCORED:
            squared, _ = errors(forecaster, "reference", "validation", lead, count, variables())
            loss[str(lead)] = float(squared.mean())
        loss["mean"] = sum(loss.values()) / len(SCORED)
        rows.append(
            {
                "sources": list(sources),
                "embed_dim": net.embed_dim,
                "depth": net.depth,
                "parameters": sum(p.numel() for p in forecaster.parameters()),
                "steps": o.steps,
                "samples": o.steps * 16,
                "flops": flops_per_sample(net) * o.steps * 16,
                "seed": seed,
                "loss": loss,
            }
        )
        print(f"{time.time() - began:6.0f} s", ",".join(sources), net.embed_dim, o.steps, seed, loss, flush=True)
        if not quick:
            about = {
                "machine": machine(),
                "recipe": "AdamW 1e-3, 50 steps of warm-up, cosine, batch 16, bf16",
                "scored": "reference:validation",
                "climatology": climatology,
            }
            part = HERE / "scaling.part"
            part.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
            os.replace(part, HERE / "scaling.json")


if __name__ == "__main__":
    main()
