"""The table of results: every forecasting task, the fine-tuned checkpoint beside baselines and networks of equal budget, three seeds.

    python benchmarks/results.py                      # global, regional, weeks_3_4, weeks_5_6; about an hour on two cores
    python benchmarks/results.py global --jobs 1      # one of them
    python benchmarks/results.py --quick              # a few steps of each, prints and writes nothing
    python benchmarks/results.py --table              # benchmarks/results.md from what is recorded

Each task: `climax_lite.tasks.TASKS`. Every arm has the same samples, steps, batch and validation, and keeps its best weights by the latter,
the starting ones among them; its learning rate is the better of two by the validation loss, tried with seed 0. Seeds draw the order of the
data, the noise and, from scratch, the weights. Scores come from the test split, which nothing has seen; intervals are block bootstraps over
initial times. Finished runs lie in runs/results and are not made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
import xarray as xr
from skill import HERE, machine

from climax_lite.checkpoints import load
from climax_lite.data import sources
from climax_lite.evaluate import compare, scorecard
from climax_lite.forecaster import Forecaster
from climax_lite.tasks import TASKS
from climax_lite.train import Finetune, Net, Optimisation, Run, finetune

OUT = HERE / "results"
RUNS = HERE.parent / "runs" / "results"
NAMES = {name.replace(" ", "_").replace("-", "_"): name for name in TASKS}
SEEDS = (0, 1, 2)
STEPS = 200
STEPS_OF = {"weeks_3_4": 100, "weeks_5_6": 100}  # a run keeps its best weights, and those of the weeks are found early
BATCH = 16
CHECKPOINT = "tiny"
ARMS: dict[str, dict[str, Any]] = {
    "pretrained": {"checkpoint": CHECKPOINT},
    "scratch": {"checkpoint": "", "net": Net()},
    "ResNet": {"checkpoint": "", "net": Net(architecture="resnet", embed_dim=64, depth=6)},
    "UNet": {"checkpoint": "", "net": Net(architecture="unet", embed_dim=48, depth=3)},
}
RATES = {"pretrained": (1e-4, 3e-4), "scratch": (5e-4, 1e-3), "ResNet": (5e-4, 1e-3), "UNet": (5e-4, 1e-3)}
"""Learning rates that an arm chooses from."""


def settings(task: str, arm: str, seed: int, rate: float, steps: int) -> Finetune:
    """One run."""
    folder = RUNS / f"{task}-{arm}-{seed}-{rate:g}-{steps}"
    return TASKS[NAMES[task]].settings(
        **ARMS[arm],
        optimisation=Optimisation(steps=steps, learning_rate=rate, warmup_steps=steps // 10, weight_decay=0.05),
        run=Run(
            out=str(folder),
            seed=seed,
            batch_size=BATCH,
            validate_every=max(1, steps // 10),
            save_every=10**9,
            progress=False,
        ),
    )


def one(run: tuple[str, str, int, float, int]) -> tuple[tuple[str, str, int, float, int], float]:
    """Make a run; its validation loss."""
    torch.set_num_threads(1)
    return run, finetune(settings(*run)).about["best_validation_loss"]


def train(task: str, steps: int, seeds: tuple[int, ...], pool: Any) -> dict[str, float]:
    """All runs of a task; the learning rate of each arm."""
    tried: dict[str, dict[float, float]] = {arm: {} for arm in ARMS}
    first = [(task, arm, seeds[0], rate, steps) for arm in ARMS for rate in RATES[arm]]
    for (_, arm, _, rate, _), loss in pool.imap_unordered(one, first, chunksize=1):
        tried[arm][rate] = loss
        print(f"{task} {arm} {rate:g}: validation loss {loss:.4f}", flush=True)
    best = {arm: min(losses, key=lambda rate: losses[rate]) for arm, losses in tried.items()}
    rest = [(task, arm, seed, best[arm], steps) for seed in seeds[1:] for arm in ARMS]
    for (_, arm, seed, _, _), loss in pool.imap_unordered(one, rest, chunksize=1):
        print(f"{task} {arm}, seed {seed}: validation loss {loss:.4f}", flush=True)
    return best


def models(task: str, rates: dict[str, float], steps: int, seeds: tuple[int, ...]) -> dict[str, Forecaster]:
    """The forecasters to score, by arm and seed."""
    found = {
        f"{arm}, {seed}": Forecaster.load(
            Path(settings(task, arm, seed, rates[arm], steps).run.out) / "forecaster.safetensors"
        )
        for arm in ARMS
        for seed in seeds
    }
    if task == "global":
        found["pretrained, not tuned"] = load(CHECKPOINT)
    if task == "regional" and (OUT / "global.json").exists():
        # Global forecasting's arms learn from the whole globe.
        rates = json.loads((OUT / "global.json").read_text())["about"]["rates"]
        for arm in ARMS:
            for seed in seeds:
                file = Path(settings("global", arm, seed, rates[arm], steps).run.out) / "forecaster.safetensors"
                if file.exists():
                    found[f"{arm}, whole globe, {seed}"] = Forecaster.load(file)
    return found


def split(model: str) -> tuple[str, int | None]:
    """Arm and seed."""
    arm, _, seed = model.rpartition(", ")
    return (arm, int(seed)) if seed.isdigit() else (model, None)


def rows(card: xr.Dataset) -> list[dict[str, Any]]:
    """A scorecard as the JSON has it."""
    found = []
    for model in card["model"].values:
        arm, seed = split(str(model))
        for v in card["variable"].values:
            for lead in card["lead"].values:
                for metric in card["metric"].values:
                    at = card.sel(model=model, variable=v, lead=lead, metric=metric)
                    low, high = (None if np.isnan(x) else round(float(x), 6) for x in (at["low"], at["high"]))
                    found.append(
                        {
                            "model": arm,
                            "seed": seed,
                            "variable": str(v),
                            "lead": float(lead),
                            "metric": str(metric),
                            "score": round(float(at["score"]), 6),
                            "low": low,
                            "high": high,
                        }
                    )
    return found


def differences(card: xr.Dataset) -> list[dict[str, Any]]:
    """RMSE of the pretrained arm minus that of the others at the same initial times, seeds averaged, with its 95 % interval."""
    arms: dict[str, list[str]] = {}
    for model in map(str, card["model"].values):
        arms.setdefault(split(model)[0], []).append(model)
    mean = {
        arm: scorecard(card["scores"].sel(model=m).mean("model", keep_attrs=True).expand_dims("model")).squeeze("model")
        for arm, m in arms.items()
    }
    found = []
    for other in arms:
        if other == "pretrained":
            continue
        difference = compare(mean["pretrained"], mean[other]).sel(metric="rmse")
        for v in difference["variable"].values:
            for lead in difference["lead"].values:
                at = difference.sel(variable=v, lead=lead)
                d, low, high = (
                    None if np.isnan(at[k]) else round(float(at[k]), 6) for k in ("difference", "low", "high")
                )
                found.append(
                    {"than": other, "variable": str(v), "lead": float(lead), "difference": d, "low": low, "high": high}
                )
    return found


def record(
    task: str, steps: int, seeds: tuple[int, ...], rates: dict[str, float], every_hours: int | None
) -> dict[str, Any]:
    """Score everything."""
    made = models(task, rates, steps, seeds)
    card = TASKS[NAMES[task]].evaluate(
        made, **({"every_hours": every_hours} if every_hours else {}), autocast=torch.bfloat16
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    ).stdout.strip()
    about = {
        "task": TASKS[NAMES[task]].title, "commit": commit, "machine": machine(), "checkpoint": CHECKPOINT,
        "checkpoint_sha256": pooch.file_hash(str(sources.local(f"checkpoints/{CHECKPOINT}.safetensors")))[:16],
        "seeds": list(seeds), "steps": steps, "batch": BATCH, "rates": rates,
        "parameters": {arm: sum(p.numel() for p in made[f"{arm}, {seeds[0]}"].net.parameters()) for arm in ARMS},
        **{k: card.attrs[k] for k in ("source", "version", "split", "initial_times", "region", "window", "climatology")},
    }  # fmt: skip
    return {"about": about, "rows": rows(card), "differences": differences(card)}


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def main() -> None:
    """Train, score, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"some of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few steps of each, nothing written")
    parser.add_argument("--table", action="store_true", help="only write the table of what is recorded")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    args = parser.parse_args()
    if unknown := [t for t in args.tasks if t not in NAMES]:
        parser.error(f"unknown task {', '.join(unknown)}: expected some of {', '.join(NAMES)}")
    torch.set_num_threads(1)
    seeds = SEEDS[:1] if args.quick else SEEDS
    if not args.table:
        with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
            for task in args.tasks or NAMES:
                steps = 4 if args.quick else STEPS_OF.get(task, STEPS)
                rates = train(task, steps, seeds, pool)
                result = record(task, steps, seeds, rates, 240 if args.quick else None)
                if args.quick:
                    print(json.dumps(result["rows"][:3], indent=1))
                else:
                    write(OUT / f"{task}.json", json.dumps(result) + "\n")
    if not args.quick:
        write(HERE / "results.md", table())
        print(table())


# ---------------------------------------------------------------- the table

SHORT = {"geopotential_500": "Z500, m² s⁻²", "temperature_850": "T850, K", "2m_temperature": "T2m, K",
         "10m_u_component_of_wind": "U10, m s⁻¹", "10m_v_component_of_wind": "V10, m s⁻¹",
         "sigma_995_temperature": "T, K", "total_precipitation_24hr": "rain, mm a day",
         "diurnal_temperature_range": "diurnal range", "precipitation_rate": "rain",
         "precipitation_rate_90": "heavy rain"}  # fmt: skip
TIMES = {"total_precipitation_24hr": 1000.0}
"""Factors to the units of `SHORT`."""

TO_BEAT = ("climatology", "persistence")

Cells = dict[tuple[str, str], list[float]]
"""(row, column) → one score for each seed."""


def table() -> str:
    """What is recorded, in Markdown."""
    parts = [
        "# Results\n\nMade by `make results`; intervals, other metrics and differences stand in [results/](results). Scores are of the "
        "test split: the mean over the seeds (lowest to highest), lower is better, the lowest of each column is bold. All arms of a task "
        "have equal budgets.\n"
    ]
    for task in (*NAMES, "ncep"):
        path = OUT / f"{task}.json"
        if path.exists():
            parts += _forecasts(json.loads(path.read_text()))
    for section, make in (("projection", _projection), ("downscaling", _downscaling)):
        path = OUT / f"{section}.json"
        if path.exists():
            parts += make(json.loads(path.read_text()))
    return "".join(parts)


def _forecasts(result: dict[str, Any]) -> list[str]:
    """RMSE by variable and lead time; a star where climatology or persistence is as good."""
    a = result["about"]
    data = f"`{a['source']}` ({a['version']})" if "source" in a else f"{a['data']} ({a['values_sha256']})"
    parts = [
        f"\n## {a['task']}\n\nRMSE. A star: no better than the better of climatology and persistence. {a['steps']} steps of {a['batch']} "
        f"samples, seeds {_list(a['seeds'])}; initial times: {a['initial_times']}; checkpoint `{a['checkpoint']}` "
        f"({a['checkpoint_sha256']}); data {data}; commit {a['commit']}; {a['machine']}.\n"
    ]
    scored = [r for r in result["rows"] if r["metric"] == "rmse"]
    if len({r["lead"] for r in scored}) == 1:
        return [*parts, _grid("RMSE", _cells((r["model"], SHORT[r["variable"]], r["score"]) for r in scored), TO_BEAT)]
    for v in dict.fromkeys(r["variable"] for r in scored):
        mine = [r for r in scored if r["variable"] == v]
        leads = {r["lead"]: f"{r['lead'] / 24:g} d" if r["lead"] >= 24 else f"{r['lead']:g} h" for r in mine}
        parts.append(_grid(SHORT[v], _cells((r["model"], leads[r["lead"]], r["score"]) for r in mine), TO_BEAT))
    return parts


def _projection(result: dict[str, Any]) -> list[str]:
    """Total NRMSE by variable, one table for the simulated runs and one for the real model's."""
    parts = ["\n## Climate projection\n"]
    for name, section in result.items():
        if "rows" not in section:
            continue
        runs = ", ".join(f"{run} ({years})" for run, years in section["runs"].items() if run != section["test"])
        cells = _cells(
            (r["model"], SHORT[r["variable"]].partition(",")[0], r["score"])
            for r in section["rows"]
            if r["metric"] == "total"
        )
        members = section.get("members", 1)
        test = f"the mean of the {members} members of {section['test']}" if members > 1 else section["test"]
        parts.append(
            f"\n{name[0].upper()}{name[1:]}: NRMSE_s + 5 NRMSE_g of ClimateBench, on the last third of {test}; learned from "
            f"(years) {runs}. {section['steps']} steps, seeds {_list({r['seed'] for r in section['rows']})}; commit {section['commit']}; "
            f"{section['machine']}. Below the noise floor, the weather left in what is scored, there is only luck.\n"
        )
        parts.append(_grid("total NRMSE", cells, apart=("noise floor",)))
    return parts


def _downscaling(result: dict[str, Any]) -> list[str]:
    """RMSE by variable."""
    a = result["about"]
    cells = _cells(
        (r["model"], SHORT[r["variable"]], r["score"] * TIMES.get(r["variable"], 1.0))
        for r in result["rows"]
        if r["metric"] == "rmse"
    )
    return [
        f"\n## Downscaling\n\nRMSE on {a['days']} days, coarse means of 5.625° to a grid of a third of the spacing, perfect-model pairs. "
        f"{a['steps']} steps of {a['batch']} maps, seeds {_list(a['seeds'])}; checkpoint `{CHECKPOINT}`; data `fine` ({a['data']}); commit "
        f"{a['commit']}; {a['machine']}.\n",
        _grid("RMSE", cells),
    ]


def _cells(scores: Iterable[tuple[str, str, float]]) -> Cells:
    found: Cells = {}
    for row, column, score in scores:
        found.setdefault((row, column), []).append(score)
    return found


def _list(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _grid(corner: str, cells: Cells, starred: Iterable[str] = (), apart: Iterable[str] = ()) -> str:
    """A table with the lowest mean of each column in bold.

    Args:
        starred: rows that others are to beat; those that do not beat all of them get a star.
        apart: rows that are no competitors.
    """
    rows, columns = (list(dict.fromkeys(at)) for at in zip(*cells, strict=True))
    mean = {at: float(np.mean(scores)) for at, scores in cells.items()}
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        line = []
        for column in columns:
            scores = cells.get((row, column), [])
            if not scores:
                line.append("")
                continue
            text = f"{mean[row, column]:.4g}"
            best = min(mean[r, column] for r in rows if r not in apart and (r, column) in mean)
            text = f"**{text}**" if mean[row, column] == best else text
            text += f" ({min(scores):.4g} to {max(scores):.4g})" if len(scores) > 1 else ""
            bars = [mean[b, column] for b in starred if (b, column) in mean]
            line.append(f"{text}\\*" if bars and mean[row, column] >= min(bars) else text)
        lines.append(f"| {row} | " + " | ".join(line) + " |")
    return "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
