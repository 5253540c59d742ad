"""Make a finished pretraining run a checkpoint that ships: weights in float16, a model card, the joined log, the scores.

    python tools/ship.py runs/pretrain tiny

Writes data/checkpoints/NAME.safetensors and NAME.md, its line in climax_lite/data/registry.txt, and benchmarks/pretraining.json. The scores
are those on the test split of the reference world, which the run must not have seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pooch
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from skill import HEADLINES, SCORED, errors, machine, persistence_of_state, rmse  # noqa: E402

from climax_lite.data.sources import REGISTRY  # noqa: E402
from climax_lite.forecaster import Forecaster  # noqa: E402
from climax_lite.train import read_log  # noqa: E402

TIMES = 160
LIMITS = """\
- Its worlds are simulated by a climate model of intermediate complexity. It has seen no reanalysis and no observation, and is not for
  forecasts of the real atmosphere: fine-tune it on the data that it is to forecast.
- It takes anomalies from a climatology, so it needs one of the world in question, from a year or more of it.
- It forecasts expected values: at long lead times smooth maps, close to the climatology. Rain and extremes are not what it is for.
- One grid, 5.625°; another one needs its positions interpolated and some fine-tuning (`climax_lite.model.adapt.on_grid_shape`).
"""


def scores(forecaster: Forecaster) -> dict:
    """RMSE by variable and lead time, of the checkpoint and of what it has to beat."""

    def damped(x, hours, names, out):
        return forecaster.damping(hours, out)[:, :, None, None] * x[:, : len(out)]

    forecasts = {
        "pretrained": forecaster,
        "climatology": lambda x, h, i, o: torch.zeros_like(x[:, : len(o)]),
        "damped persistence": damped,
    }
    found: dict[str, dict[str, list[float]]] = {
        name: {v: [] for v in HEADLINES} for name in ("persistence", *forecasts)
    }
    for lead in SCORED:
        for name, predict in forecasts.items():
            one = rmse(*errors(predict, "reference", "test", lead, TIMES), "reference")
            for v in HEADLINES:
                found[name][v].append(one[v])
        for v, value in persistence_of_state("reference", "test", lead, TIMES).items():
            found["persistence"][v].append(value)
    return {"variables": list(HEADLINES), "leads": list(SCORED), "initial_times": TIMES, "rmse": found}


def card(name: str, forecaster: Forecaster, log: dict[str, np.ndarray], result: dict, seconds: float) -> str:
    """The model card, every number from the run."""
    about, settings = forecaster.about, forecaster.about["settings"]
    c = forecaster.config
    count = sum(p.numel() for p in forecaster.parameters())
    optimisation = settings["optimisation"]
    units = {
        "geopotential_500": "m² s⁻²",
        "temperature_850": "K",
        "2m_temperature": "K",
        "10m_u_component_of_wind": "m s⁻¹",
    }
    rows = [
        f"| {v} ({units[v]}), {forecast} | " + " | ".join(f"{x:.4g}" for x in values[v]) + " |"
        for v in result["variables"]
        for forecast, values in result["rmse"].items()
    ]
    validation = log["validation_loss"][np.isfinite(log["validation_loss"])]
    return f"""# {name}

A ClimaX of {count / 1e6:.2f} million parameters, pretrained on {len(settings["sources"])} simulated worlds: `climax_lite.load("{name}")`. Made by
`tools/ship.py` from a run of `climax-lite pretrain configs/pretrain.yaml --tier {name}`.

| | |
|---|---|
| network | patch {c.patch_size}, D = {c.embed_dim}, {c.depth} blocks, {c.num_heads} heads, grid {c.grid_shape[0]} × {c.grid_shape[1]}, {len(c.variables)} variables |
| form | {"anomalies from each world’s climatology" if forecaster.anomalies else "full states"}{", around a damped-persistence skip" if forecaster.log_tau is not None else ""} |
| data | {", ".join(f"{s} ({v})" for s, v in about["sources"].items())}: the training year of each, with the first digits of its checksum |
| lead times | {min(settings["leads"])} to {max(settings["leads"])} h, drawn uniformly |
| training | {about["steps"]} steps of {settings["run"]["batch_size"]} samples, AdamW {optimisation["learning_rate"]:g}, {optimisation["warmup_steps"]} steps of warm-up, cosine, weight decay {optimisation["weight_decay"]:g}, average of the weights {optimisation["ema_decay"]:g}, drop path {c.drop_path:g}, {settings["run"]["precision"]}, seed {settings["run"]["seed"]} |
| cost | {seconds / 60:.0f} minutes on one thread of {machine().split(",")[0]}; {np.nanmedian(log["samples_per_second"]):.0f} samples a second |
| validation loss | {validation[0]:.3f} at first, {validation.min():.3f} at best, whose weights these are, {validation[-1]:.3f} at the end (reference world, never trained on) |
| stored as | float16 |

## Scores without fine-tuning

RMSE on {result["initial_times"]} initial times of the test split of the reference world, a world it has not seen. Climatology and deviations
are those of that world's training year.

| lead time | {" | ".join(f"{h} h" for h in result["leads"])} |
|---|{"---|" * len(result["leads"])}
{chr(10).join(rows)}

## Limits

{LIMITS}"""


def curves(log: dict[str, np.ndarray]) -> dict[str, list[float | None]]:
    """A log as JSON, to six digits."""
    return {k: [None if np.isnan(x) else float(f"{x:.6g}") for x in v] for k, v in log.items() if k != "epoch"}


def main() -> None:
    """Ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name")
    parser.add_argument("--earlier", type=Path, help="folder of an earlier try, whose log goes into the record too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    forecaster, log = Forecaster.load(args.run / "forecaster.safetensors"), read_log(args.run)
    forecaster.about["settings"]["run"]["out"] = (
        f"runs/pretrain_{args.name}"  # not whatever folder it was on this machine
    )
    if "reference" in forecaster.about["sources"]:
        sys.exit("this run has seen the reference world, on which checkpoints are scored")
    speed = log["samples_per_second"]
    batch = forecaster.about["settings"]["run"]["batch_size"]
    seconds = float(forecaster.about["steps"] * batch / np.nanmean(speed))
    target = ROOT / "data" / "checkpoints" / f"{args.name}.safetensors"
    forecaster.save(target, torch.float16)
    shipped = Forecaster.load(target)
    result = scores(shipped)
    target.with_suffix(".md").write_text(card(args.name, shipped, log, result, seconds))
    lines = [x for x in REGISTRY.read_text().splitlines() if not x.startswith(f"checkpoints/{target.name} ")]
    REGISTRY.write_text("\n".join([*lines, f"checkpoints/{target.name} sha256:{pooch.file_hash(str(target))}"]) + "\n")
    record = {
        "about": shipped.about | {"machine": machine(), "seconds": round(seconds), "file": target.name},
        "log": curves(log),
        "scores": result,
    }
    if args.earlier:
        settings = json.loads((args.earlier / "settings.json").read_text())
        settings["run"]["out"] = f"runs/pretrain_{args.name}"
        record["earlier"] = {"settings": settings, "log": curves(read_log(args.earlier))}
    (ROOT / "benchmarks" / "pretraining.json").write_text(json.dumps(record, indent=None) + "\n")
    print(target.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
