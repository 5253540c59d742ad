"""Downscaling: interpolation, the mean detail, a U-Net, and ClimaX pretrained and from scratch, on the paired worlds.

    python benchmarks/downscaling.py             # all arms and seeds; about half an hour of one free core
    python benchmarks/downscaling.py --quick     # a few steps of each, prints and writes nothing

Writes benchmarks/results/downscaling.json. All networks see as many cells in a step and take as many steps
(`climax_lite.tasks.downscaling.arms`), keep the weights of the best validation, and conserve the coarse means. Scores are of the test
split, which nothing has learned from; seeds draw new weights, the order of days, crops and noise. Intervals are block bootstraps over days.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import time

import numpy as np
import torch
from skill import HERE, machine

from climax_lite.data import sources
from climax_lite.tasks import downscaling

OUT = HERE / "results" / "downscaling.json"
SEEDS = (0, 1, 2)


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--part", default="test", help="the split that is scored")
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    if a.quick:
        a.steps, a.batch, a.seeds = 4, 2, (0,)
    networks = downscaling.arms(a.steps, a.batch)
    rows: list[dict] = []
    for seed in a.seeds:
        start, cpu = time.time(), time.process_time()
        found = downscaling.results(seed, part=a.part, networks=networks)
        rows += [r for r in found if r["model"] in networks or seed == a.seeds[0]]
        print(f"seed {seed}: {time.time() - start:.0f} s, {time.process_time() - cpu:.0f} of this core", flush=True)
        for r in (r for r in found if r["metric"] == "rmse"):
            print(f"   {r['variable']:26} {r['model']:12} {r['score']:.6g}", flush=True)
        if not a.quick:
            write(rows, a, networks)


def write(rows: list[dict], a: argparse.Namespace, networks: dict) -> None:
    """What there is so far."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    about = {
        "machine": machine(),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "data": sources.version("fine")[:16],
        "split": a.part,
        "days": len(downscaling.open_pairs(a.part)[1].time),
        "seeds": list(a.seeds),
        "steps": a.steps,
        "batch": a.batch,
        "rates": {name: s.optimisation.learning_rate for name, s in networks.items()},
        "settings": {name: dataclasses.asdict(s.net) for name, s in networks.items() if not s.checkpoint},
    }
    kept = ("variable", "metric", "model", "seed", "score", "low", "high")
    lines = [json.dumps({k: _plain(r[k]) for k in kept}) for r in rows]
    OUT.parent.mkdir(exist_ok=True)
    text = json.dumps({"about": about}, indent=1)[:-2] + ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    OUT.write_text(text)


def _plain(x: object) -> object:
    """JSON knows no NaN; six digits are enough."""
    if not isinstance(x, float):
        return x
    return float(f"{x:.6g}") if np.isfinite(x) else None


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
