"""Climate projection: networks beside pattern scaling and a Gaussian process, on simulated runs and on pieces of real model output.

    python benchmarks/projection.py                        # the embedded scenarios (climax_lite.tasks.projection.open_runs)
    python benchmarks/projection.py --real ../shared/data/real   # IPSL-CM6A-LR and NorESM2-LM, where their files are
    python benchmarks/projection.py --quick                # a few steps of each run, prints and writes nothing

Rewrites its section of benchmarks/results/projection.json and leaves the others. All networks have the same windows, steps and batches
(`climax_lite.tasks.projection.arms`); seeds draw the new weights and the order of the windows. With --keep FOLDER trained networks are
kept, and a benchmark that was stopped goes on.

The real pieces: annual temperature of IPSL-CM6A-LR on 20 x 20 cells (the mesmer project's test data, CC BY 4.0), with the emissions of
RCMIP as forcing, spread over the globe; learnt from historical, ssp126 and ssp585, the first member of each, and scored on the second
member of ssp585. And global numbers of ClimateBench (NorESM2-LM): temperature from summed carbon dioxide. Neither is in the repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from skill import HERE, machine

from climax_lite.data.projection import Runs, change_attrs
from climax_lite.tasks import projection

OUT = HERE / "results" / "projection.json"
SEEDS = (0, 1, 2)
GASES = {"CO2": "Emissions|CO2", "CH4": "Emissions|CH4", "SO2": "Emissions|Sulfur", "BC": "Emissions|BC"}
MODELS = {"ssp126": "IMAGE", "ssp585": "REMIND-MAGPIE"}  # the marker scenarios


def of_seed(
    runs: Runs, source: str, test: str, seed: int, steps: int, only: str = "", folder: Path | None = None
) -> list[dict]:
    """Rows of one seed; what does not depend on the seed stands with the first one."""
    arms = {name: s for name, s in projection.arms(steps).items() if only in name}
    start = time.time()
    found = projection.results(seed, runs, source, test=test, networks=arms, folder=folder)
    print(f"{source}, seed {seed}: {time.time() - start:.0f} s", flush=True)
    return [
        {k: r[k] for k in ("variable", "metric", "model", "seed", "score")}
        for r in found
        if seed == SEEDS[0] or r["model"] in arms
    ]


def ipsl(folder: Path) -> Runs:
    """Annual temperature of IPSL-CM6A-LR minus its mean of 1850 to 1900, and emissions."""

    def read(run: str, first: int) -> xr.DataArray:
        path = folder / f"cmip6_ipsl_annual/mesmer_tas_ann_IPSL-CM6A-LR_{run}_g025.nc"
        tas = xr.open_dataset(path, decode_times=False)["tas"].load()
        return tas.assign_coords(time=first + np.arange(tas.sizes["time"])).sortby(["lat", "lon"])

    runs: Runs = {}
    for member in ("r1i1p1f1", "r2i1p1f1"):
        past = read(f"historical_{member}", 1850)
        usual = past.sel(time=slice(1850, 1900)).mean("time")
        for run in ("ssp126", "ssp585"):
            if member == "r2i1p1f1" and run == "ssp126":
                continue  # has none
            name = run if member == "r1i1p1f1" else f"{run} r2"
            future = read(f"{run}_{member}", 2015)
            forcing = emissions(folder, run, past)
            for what, y in (("historical", past), (name, future)):
                if what == "historical" and (what in runs or member == "r2i1p1f1"):
                    continue
                climate = (y - usual).astype("float32").rename("2m_temperature").to_dataset()
                climate["2m_temperature"].attrs = change_attrs("2m_temperature")
                runs[what] = forcing.sel(time=slice(1850, int(y.time[-1]))), climate
    return runs


def emissions(folder: Path, run: str, like: xr.DataArray) -> xr.Dataset:
    """World totals of RCMIP as maps (time, lat, lon): CO2 summed since 1850 (Gt), the others a year (Mt)."""
    path = next((folder / "climatebench_pieces").glob("rcmip-emissions-*.csv"))
    with open(path, newline="") as file:
        rows = {
            r["Variable"]: r
            for r in csv.DictReader(file)
            if r["Scenario"] == run and r["Region"] == "World" and MODELS[run] in r["Model"]
        }
    years = np.arange(1850, 2101)
    shape = (len(years), like.sizes["lat"], like.sizes["lon"])
    maps = {}
    for gas, name in GASES.items():
        known = {int(k): float(v) for k, v in rows[name].items() if k.isdigit() and v}
        values = np.interp(years, list(known), list(known.values()))
        values = np.cumsum(values) / 1000 if gas == "CO2" else values
        maps[gas] = (("time", "lat", "lon"), np.broadcast_to(values[:, None, None], shape).astype("float32"))
    return xr.Dataset(maps, {"time": years, "lat": like.lat, "lon": like.lon})


def noresm(folder: Path) -> dict:
    """Global temperature of NorESM2-LM from summed CO2: a line through the training years, scored on the last 21 of ssp245."""
    x, y, x2, y2 = (
        np.load(folder / f"climatebench_pieces/cb_{part}_{what}.npy").ravel().astype(float)
        for part in ("train", "test")
        for what in ("input", "target")
    )
    slope, start = np.polyfit(x, y, 1)
    wrong = start + slope * x2[-21:] - y2[-21:]
    return {
        "slope_K_per_1000_Gt": 1000 * slope,
        "NRMSE_g": float(np.sqrt(np.mean(wrong**2)) / y2[-21:].mean()),
        "published_CNN_LSTM_NRMSE_g": 0.044,
        "training_years": len(x),
        "test_years": 21,
    }


def write(name: str, section: dict) -> None:
    """Put a section into the file; rows of other seeds with as many steps stay in it."""
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    old = found.get(name, {})
    if "rows" in section and old.get("steps") == section["steps"]:
        made = {(r["model"], r["seed"]) for r in section["rows"]}
        section["rows"] = [r for r in old["rows"] if (r["model"], r["seed"]) not in made] + section["rows"]
        section["rows"].sort(key=lambda r: r["seed"])
    found[name] = section
    OUT.parent.mkdir(exist_ok=True)
    text = json.dumps({k: found[k] for k in sorted(found)}, indent=1)
    part = OUT.with_suffix(".part")
    part.write_text(re.sub(r"\n {4,}|\n {3}(?=[}\]])", " ", text) + "\n")
    part.replace(OUT)
    print(f"wrote {name} into {OUT}", flush=True)


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="the folder of the real pieces")
    parser.add_argument("--source", default="scenarios", help="scenarios, or a folder with the files of ClimateBench")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--keep", type=Path, help="a folder for the trained networks")
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    if a.quick:
        a.steps, a.seeds = 5, (0,)
    if a.real:
        runs, source, test = ipsl(a.real), "IPSL-CM6A-LR", "ssp585 r2"
        if not a.quick:
            write("NorESM2-LM", noresm(a.real))
    else:
        (runs, source), test = projection.open_runs(a.source), projection.TEST
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    for seed in a.seeds:
        rows = of_seed(runs, source, test, seed, a.steps, a.only, a.keep)
        if a.quick:
            print(*rows, sep="\n")
            continue
        section = {
            "machine": machine(),
            "commit": commit.stdout.strip(),
            "date": time.strftime("%Y-%m-%d"),
            "runs": {name: y.sizes["time"] for name, (_, y) in runs.items()},
            "test": test,
            "members": runs[test][1].attrs.get("members", 1),
            "steps": a.steps,
            "rows": rows,
        }
        write(source, section)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
