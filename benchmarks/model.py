"""The model's speed and memory: reference against folded encoder, forward and training step, as ratios measured in one run.

    python benchmarks/model.py                 # on a GPU if there is one; rewrites the table in benchmarks/model-<machine>.md
    python benchmarks/model.py --quick         # the small configuration only, few repetitions, prints and writes nothing

Every case runs in a process of its own, so that its peak memory is its own; the processes of a pair alternate, so that a machine that
slows down slows both. Times are the median of the repetitions after a warm-up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from climax_lite.model import ClimaX, ClimaXConfig, patchify
from climax_lite.variables import OFFICIAL_VARIABLES

HERE = Path(__file__).parent
CONFIGURATIONS = {
    "large": ({}, 1),
    "fine": ({"grid_shape": (128, 256), "patch_size": 4}, 1),
    "small": ({"embed_dim": 128, "depth": 4, "num_heads": 4}, 16),
}
"""Name → (fields of the configuration that differ from the paper's, batch size on a CPU)."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""bf16 matrix peak without sparsity, from the vendor's data sheets; for the share that is reached (MFU)."""


def memory(device: str, reset: bool = False) -> float:
    """Peak memory in bytes since the last reset, after which it is what is in use now."""
    if device == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def calls(case: dict, device: str) -> tuple[ClimaX, dict[str, Callable[[], None]]]:
    """The network of a case, and what can be timed on it."""
    fields, batch = CONFIGURATIONS[case["configuration"]]
    batch = case.get("batch") or batch
    config = ClimaXConfig(OFFICIAL_VARIABLES, encoder=case["encoder"], **fields)
    with torch.device(device):
        net = ClimaX(config)
        x = torch.randn(batch, 48, *config.grid_shape)
        lead = torch.full((batch,), 24.0)
        ids = torch.arange(48)
    run = torch.compile(net) if case["compiled"] else net
    autocast = torch.autocast("cpu" if device == "meta" else device, torch.bfloat16, enabled=case["dtype"] == "bf16")

    def encoder() -> torch.Tensor:
        patches = patchify(x, config.patch_size)
        if net.folds:
            return net.aggregation.folded(patches, net.tokenizer.affine(ids))
        return net.aggregation(net.tokenizer(patches, ids))

    def forward(what=None) -> torch.Tensor:
        with autocast:
            return what() if what else run(x, lead, OFFICIAL_VARIABLES, OFFICIAL_VARIABLES)

    def train(what=None) -> None:
        net.zero_grad(set_to_none=True)
        forward(what).float().square().mean().backward()

    def infer(what=None) -> None:
        with torch.no_grad():
            forward(what)

    return net, {
        "train": train,
        "forward": infer,
        "encoder train": lambda: train(encoder),
        "encoder forward": lambda: infer(encoder),
    }


def flops(case: dict) -> int:
    """Floating-point operations of a call, counted on shapes alone: nothing is computed."""
    net, known = calls({**case, "compiled": False, "dtype": "float32"}, "meta")
    net.train(case["what"].endswith("train"))
    with FlopCounterMode(display=False) as counter:
        known[case["what"]]()
    return counter.get_total_flops()


def measure(case: dict) -> dict:
    """One case, in this process: median seconds after a warm-up, or the peak in bytes above the model and its input."""
    torch.manual_seed(0)
    device = case["device"]
    net, known = calls(case, device)
    call = known[case["what"]]
    net.train(case["what"].endswith("train"))
    if case["repeat"] == 0:
        before = memory(device, reset=True)
        call()
        return {"peak": memory(device) - before}
    call()
    call()
    seconds = []
    for _ in range(case["repeat"]):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds)}


def apart(case: dict) -> dict:
    """`measure` in a fresh process. For memory, freed blocks go back to the system at once, so that the peak is what was alive."""
    environment = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": "262144"} if case["repeat"] == 0 else {})}
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(case: dict) -> dict:
    """Reference and folded, alternating in processes of their own, the faster of two each; with their FLOPs."""
    runs: dict[str, list[dict]] = {"reference": [], "folded": []}
    for _ in range(2):
        for encoder, done in runs.items():
            done.append(apart({**case, "encoder": encoder}))
    best = {
        encoder: next((r for r in done if "error" in r), None) or min(done, key=lambda r: r["seconds"])
        for encoder, done in runs.items()
    }
    for encoder, run in best.items():
        run["flops"] = flops({**case, "encoder": encoder})
        if "error" not in run:
            run |= apart({**case, "encoder": encoder, "repeat": 0})
    return {**case, **best}


def matrix_speed(dtype: str, device: str, name: str) -> float | None:
    """FLOP/s that a network could reach at best: on a GPU the data sheet's for bf16, on a CPU that of a large product, measured here."""
    if device == "cuda":
        return next((p for k, p in PEAK_FLOPS.items() if k in name), None) if dtype == "bf16" else None
    a = torch.randn(2048, 2048, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def row(result: dict, peak: float | None) -> str:
    """A line of the table."""
    r, f = result["reference"], result["folded"]
    mode = "compiled" if result["compiled"] else "eager"
    batch = result["batch"] or CONFIGURATIONS[result["configuration"]][1]
    name = f"| {result['configuration']} | {result['what']} | {result['dtype']} | {mode} | {batch} "
    if "error" in r or "error" in f:
        return name + f"| {r.get('error', 'fine')} | {f.get('error', 'fine')} | | | | | |"
    mfu = f"{100 * f['flops'] / f['seconds'] / peak:.0f} %" if peak else ""
    return name + (
        f"| {1e3 * r['seconds']:.1f} | {1e3 * f['seconds']:.1f} | **{r['seconds'] / f['seconds']:.2f}** "
        f"| {r['peak'] / 2**20:.0f} | {f['peak'] / 2**20:.0f} | **{f['peak'] / max(r['peak'], 1):.2f}** "
        f"| {f['flops'] / f['seconds'] / 1e9:.0f} | {mfu} |"
    )


def stages() -> list[str]:
    """GFLOP of a forward pass of one sample, stage by stage."""
    lines = [
        "| model | encoder, reference | encoder, folded | backbone and head | folded / reference, in all |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in CONFIGURATIONS:
        count = {
            (encoder, what): flops({"configuration": name, "encoder": encoder, "what": what, "batch": 1}) / 1e9
            for encoder in ("reference", "folded")
            for what in ("forward", "encoder forward")
        }
        whole, old, new = (
            count[k]
            for k in (("reference", "forward"), ("reference", "encoder forward"), ("folded", "encoder forward"))
        )
        lines.append(
            f"| {name} | {old:.2f} | {new:.3f} | {whole - old:.2f} | {count['folded', 'forward'] / whole:.2f} |"
        )
    return lines


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="samples per step (default: 16 small, 1 large and fine)")
    parser.add_argument("--eager", action="store_true", help="do not measure under torch.compile too")
    parser.add_argument("--configurations", nargs="+", default=list(CONFIGURATIONS), choices=list(CONFIGURATIONS))
    parser.add_argument("--dtype", nargs="+", default=["float32", "bf16"])
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(json.loads(args.case))))
        return
    if args.quick:
        args.configurations, args.dtype, args.eager = ["small"], ["float32"], True
    name = machine(args.device)
    lines = [
        "# The model's speed and memory",
        "",
        f"Made by `benchmarks/model.py` on {name}; torch {torch.__version__}. *small*: D 128, 4 layers, 4 heads; *large*: the",
        "paper's, D 1024, 8 layers, 16 heads, 32 × 64, patches of 2; *fine*: the same on 128 × 256, patches of 4; 48 variables in all.",
        "A training step is forward and backward, without the optimiser. Memory is the peak above the model and its input, of one call;",
        "that of a training step includes the gradients of all parameters.",
        "Reference and folded ran alternately, each in its own process; the faster of two runs, each the median of its repetitions.",
        "",
        "| model | what | numbers | mode | batch | reference, ms | folded, ms | times faster | reference, MiB | folded, MiB "
        "| memory ratio | folded, GFLOP/s | of the matrix speed |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    speed = {d: matrix_speed(d, args.device, name) for d in args.dtype}
    seconds = {}
    for c, d, compiled in itertools.product(args.configurations, args.dtype, (False, True)):
        for what in ("train", "forward", "encoder train", "encoder forward"):
            if (c == "fine" and what != "forward") or (compiled and (args.eager or what.startswith("encoder"))):
                continue
            case = {"configuration": c, "what": what, "dtype": d, "compiled": compiled, "device": args.device}
            done = compare({**case, "batch": args.batch, "repeat": 5 if c == "small" else 3})
            seconds[c, what, d, compiled] = done["folded"].get("seconds")
            lines.append(row(done, speed[d]))
            print(lines[-1], flush=True)
    lines.append("")
    for c, d in itertools.product(args.configurations, args.dtype):
        whole, part = (seconds.get((c, what, d, False)) for what in ("train", "encoder train"))
        if whole and part:
            share = 100 * (1 - part / whole)
            lines += [
                f"- {share:.0f} % of a {c} training step, {d}, eager, is backbone and head: all but the encoder, timed by itself."
            ]
    lines += [
        f"- The matrix speed in {d} is {v / 1e9:,.0f} GFLOP/s: "
        + (
            "the data sheet's (so the share is the MFU)."
            if args.device == "cuda"
            else "that of a product of two 2048 × 2048 matrices here."
        )
        for d, v in speed.items()
        if v
    ]
    lines += ["", "GFLOP of a forward pass, one sample, counted on shapes:", "", *stages()]
    if not args.quick:
        slug = re.sub(r"[^a-z0-9]+", "-", name.split(",")[0].replace("(R)", "").lower()).strip("-")
        (HERE / f"model-{slug}.md").write_text("\n".join(lines) + "\n")
    else:
        print("\n".join(lines[-6:]))


if __name__ == "__main__":
    main()
