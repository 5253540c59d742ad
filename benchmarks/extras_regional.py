"""The real-data half of regional forecasting: NCEP's analysed air temperature over North America, 2013 and 2014.

    python benchmarks/extras_regional.py                            # through xarray.tutorial, with a network
    python benchmarks/extras_regional.py --data air_temperature.zarr
    python benchmarks/extras_regional.py --quick                    # a few steps, prints and writes nothing

Trained on 2013, validated on a month of 2014, tested on the rest, with gaps of a week, the longest lead time, between them. The variable
and the grid are new to the checkpoint; beside it stand the same network from scratch and the baselines. Learning rates are the better of
two by the validation loss with seed 0. Finished runs lie in runs/results and are not made again. Four minutes on a quiet core; writes
benchmarks/results/ncep.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pooch
import torch
import xarray as xr
from results import CHECKPOINT, OUT, RUNS, SEEDS, differences, rows, write
from skill import HERE, machine

from climax_lite.data import sources
from climax_lite.evaluate import BASELINES, evaluate
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.train import Finetune, Net, Optimisation, Run, finetune

LEADS = (6, 24, 72, 120, 168)
SPLITS = "train=2013,validation=2014-01-08/2014-02-07,test=2014-02-15/2014-12-31"
VARIABLE = "sigma_995_temperature"
EVERY_HOURS = 54
"""Between the initial times that are scored: each of the four times of day in turn."""
STEPS = 120
BATCH = 16
RATES = {"pretrained": (3e-4, 1e-3), "scratch": (5e-4, 1e-3)}
"""Learning rates that an arm chooses from."""


def store(data: str) -> str:
    """The data as a source with its parts; fetched once through xarray.tutorial where no path is given."""
    path = Path(data) if data else RUNS / "ncep" / "air.nc"
    if not data and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        xr.tutorial.open_dataset("air_temperature").to_netcdf(part)
        part.rename(path)
    return f"{path}?{SPLITS}"


def checkpoint_hash() -> str:
    """What tells this checkpoint from the next."""
    return pooch.file_hash(str(sources.local(f"checkpoints/{CHECKPOINT}.safetensors")))[:16]


def one(arm: str, source: str, seed: int, rate: float, steps: int) -> Forecaster:
    """A run."""
    name = f"ncep-{arm}-{seed}-{rate:g}-{steps}"
    return finetune(
        Finetune(
            checkpoint=CHECKPOINT if arm == "pretrained" else "",
            source=source,
            leads=LEADS,
            own_grid=True,
            net=Net(),
            optimisation=Optimisation(steps=steps, learning_rate=rate, warmup_steps=steps // 10),
            run=Run(
                out=str(RUNS / (f"{name}-{checkpoint_hash()}" if arm == "pretrained" else name)),
                seed=seed,
                batch_size=BATCH,
                validate_every=max(1, steps // 6),
                save_every=10**9,
                progress=False,
                accelerator="cpu",
            ),
        )
    )


def train(source: str, steps: int, seeds: tuple[int, ...]) -> tuple[dict[str, Forecaster], dict[str, float]]:
    """All runs by arm and seed; the learning rate of each arm."""
    made: dict[str, Forecaster] = {}
    rates: dict[str, float] = {}
    for arm, some in RATES.items():
        tried = {rate: one(arm, source, seeds[0], rate, steps) for rate in some}
        loss = {rate: f.about["best_validation_loss"] for rate, f in tried.items()}
        rates[arm] = min(loss, key=lambda rate: loss[rate])
        print(f"{arm}: validation loss {', '.join(f'{v:.4f} ({r:g})' for r, v in loss.items())}", flush=True)
        made[f"{arm}, {seeds[0]}"] = tried[rates[arm]]
        made |= {f"{arm}, {seed}": one(arm, source, seed, rates[arm], steps) for seed in seeds[1:]}
    return made, rates


def record(card: xr.Dataset, source: str, made: dict[str, Forecaster], rates: dict[str, float]) -> dict[str, Any]:
    """What the file holds."""
    values = sources.open(source.partition("?")[0])[VARIABLE].load()
    commit = ["git", "rev-parse", "--short", "HEAD"]
    about = {
        "task": "NCEP's air temperature over North America, 2.5°, trained on 2013",
        "commit": subprocess.run(commit, capture_output=True, text=True, cwd=HERE).stdout.strip(),
        "machine": machine(),
        "checkpoint": CHECKPOINT,
        "checkpoint_sha256": checkpoint_hash(),
        "data": "NCEP/NCAR reanalysis 1, air temperature at sigma 0.995, as xarray.tutorial has it",
        "values_sha256": hashlib.sha256(values.values.tobytes()).hexdigest()[:16],
        "splits": SPLITS,
        "seeds": sorted({int(name.rpartition(", ")[2]) for name in made}),
        "steps": STEPS,
        "batch": BATCH,
        "rates": rates,
        "validation_loss": {
            name: [f.about[k] for k in ("starting_validation_loss", "best_validation_loss")] for name, f in made.items()
        },
        **{k: card.attrs[k] for k in ("split", "initial_times", "grid", "climatology", "rmse")},
    }
    found = {"about": about, "rows": rows(card), "differences": differences(card)}
    return found | {"persistence_of_all_2014": _persistence(values)}


def _persistence(values: xr.DataArray) -> dict[str, float]:
    """RMSE of persistence over all pairs of 2014 and the whole grid, one root over everything: to compare with other work."""
    x = values.sel(time="2014").values
    weights = Grid.from_dataset(values).weights()[:, None]
    squares = {h: ((x[h // 6 :] - x[: -(h // 6)]) ** 2 * weights).mean() for h in LEADS}
    return {str(h): round(float(s**0.5), 4) for h, s in squares.items()}


def extra_regional(data: str = "", quick: bool = False) -> dict[str, Any]:
    """Train, score, and write benchmarks/results/ncep.json.

    Args:
        data: the store; empty to fetch it through xarray.tutorial.
        quick: a few steps of one seed, and nothing written.
    """
    torch.set_num_threads(1)
    source = store(data)
    made, rates = train(source, *((4, SEEDS[:1]) if quick else (STEPS, SEEDS)))
    every = 240 if quick else EVERY_HOURS
    card = evaluate(made, source, leads=LEADS, every_hours=every, baselines=BASELINES, autocast=torch.bfloat16)
    result = record(card, source, made, rates)
    if not quick:
        write(OUT / "ncep.json", json.dumps(result) + "\n")
    return result


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="the store; fetched through xarray.tutorial by default")
    parser.add_argument("--quick", action="store_true", help="a few steps of one seed, nothing written")
    args = parser.parse_args()
    result = extra_regional(args.data, args.quick)
    for row in result["rows"]:
        if row["metric"] == "rmse":
            seed = "" if row["seed"] is None else row["seed"]
            print(f"{row['model']:22}{seed:>3}{row['lead']:6g} h{row['score']:8.3f} K")
    print(result["about"]["rates"], result["persistence_of_all_2014"])


if __name__ == "__main__":
    main()
