"""Direct, continuous and iterative forecasts, fine-tuned at equal cost: what the chapter on global forecasting compares.

    python benchmarks/extras_global.py            # rewrites benchmarks/results/global_extra.json; about three minutes of one core
    python benchmarks/extras_global.py --quick    # three steps of each, prints and writes nothing

All networks start from the checkpoint. A direct network is tuned for one lead time; the continuous one for all of them, once with the steps
of one direct network and once with those of all; the iterative one for its step, all variables, and rolled out. One seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from results import CHECKPOINT, OUT, rows, write
from skill import machine

from climax_lite.checkpoints import load
from climax_lite.forecaster import Forecaster
from climax_lite.tasks import TASKS
from climax_lite.train import Optimisation, Run, finetune

TASK = TASKS["global"]
LEADS = (24, 72, 168)
STEP = 24
STEPS = 60
RATE = 1e-4
EVERY = 90  # hours between initial times that are scored


def tuned(folder: Path, name: str, leads: tuple[int, ...], steps: int, **changes: Any) -> Forecaster:
    """The checkpoint, tuned for some lead times; records are prepared once for all."""
    settings = TASK.settings(
        checkpoint=CHECKPOINT,
        leads=leads,
        validation_samples=48,
        optimisation=Optimisation(steps=steps, learning_rate=RATE, warmup_steps=steps // 10, weight_decay=0.05),
        run=Run(
            out=str(folder / name),
            seed=0,
            records=str(folder / "records"),
            validate_every=steps // 3,
            save_every=10**9,
            progress=False,
        ),
        **changes,
    )
    return finetune(settings)


def extra_global(steps: int = STEPS, every: int = EVERY) -> dict[str, Any]:
    """Tune and score; what `global_extra.json` holds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at_once = {f"direct {h}": tuned(folder, f"direct-{h}", (h,), steps) for h in LEADS}
        at_once["continuous"] = tuned(folder, "continuous", LEADS, steps)
        at_once["continuous, three times the steps"] = tuned(folder, "longer", LEADS, 3 * steps)
        stepped = {"iterative": tuned(folder, "iterative", (STEP,), steps, out_variables=())}
    at_once["at once, not tuned"] = stepped["iterative, not tuned"] = load(CHECKPOINT)
    how: dict[str, Any] = {"leads": LEADS, "every_hours": every, "baselines": (), "autocast": torch.bfloat16}
    cards = TASK.evaluate(at_once, **how), TASK.evaluate(stepped, **how, method="rollout", step_hours=STEP)
    found = []
    for row in (row for card in cards for row in rows(card)):
        model, _, lead = row["model"].partition(" ")
        if model != "direct" or float(lead) == row["lead"]:
            name = model if model == "direct" else row["model"]
            found.append(row | {"model": name, "seed": None if "not tuned" in name else 0})
    about = {
        "task": TASK.title, "machine": machine(), "checkpoint": CHECKPOINT, "steps": steps, "rate": RATE, "step_hours": STEP,
        "batch": 16, "seeds": [0], **{k: cards[0].attrs[k] for k in ("source", "version", "split", "initial_times")},
    }  # fmt: skip
    return {"about": about, "rows": found}


def main() -> None:
    """Tune, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three steps of each, nothing written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.quick:
        print(json.dumps(extra_global(3, 960), indent=1)[:3000])
    else:
        write(OUT / "global_extra.json", json.dumps(extra_global()) + "\n")


if __name__ == "__main__":
    main()
