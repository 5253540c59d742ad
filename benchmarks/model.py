"""The model's speed and memory: reference against folded encoder, forward and training step, as ratios measured in one run.

    python benchmarks/model.py                 # on a GPU if there is one; rewrites the table in benchmarks/model-<machine>.md
    python benchmarks/model.py --quick         # the small configuration only, few repetitions, prints and writes nothing

Every case runs in a process of its own, so that its peak memory is its own; the processes of a pair alternate, so that a machine that
slows down slows both. Times are the median of the repetitions after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
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


def memory(device: str) -> float:
    """Peak memory so far, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def measure(case: dict) -> dict:
    """One case, in this process: median seconds, peak bytes above the model, FLOPs."""
    torch.manual_seed(0)
    fields, batch = CONFIGURATIONS[case["configuration"]]
    batch = case.get("batch") or batch
    device = case["device"]
    config = ClimaXConfig(OFFICIAL_VARIABLES, encoder=case["encoder"], **fields)
    net = ClimaX(config).to(device)
    x = torch.randn(batch, 48, *config.grid_shape, device=device)
    lead = torch.full((batch,), 24.0, device=device)
    run = torch.compile(net) if case["compiled"] else net
    autocast = torch.autocast(device, torch.bfloat16, enabled=case["dtype"] == "bf16")
    ids = torch.arange(48, device=device)

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

    calls = {
        "train": train,
        "forward": infer,
        "encoder train": lambda: train(encoder),
        "encoder forward": lambda: infer(encoder),
    }
    call = calls[case["what"]]
    net.train(case["what"].endswith("train"))
    before = memory(device)
    call()
    peak = memory(device) - before
    with FlopCounterMode(display=False) as counter:
        calls[case["what"]]() if not case["compiled"] else None
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
    return {"seconds": statistics.median(seconds), "peak": peak, "flops": counter.get_total_flops(), "batch": batch}


def apart(case: dict) -> dict:
    """`measure` in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--case", json.dumps(case)], capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    configuration: str, what: str, dtype: str, compiled: bool, device: str, repeat: int, batch: int | None
) -> dict:
    """Reference and folded, alternating, and their ratio."""
    case = {"configuration": configuration, "what": what, "dtype": dtype, "compiled": compiled, "device": device}
    case |= {"repeat": repeat, "batch": batch}
    runs: dict[str, list[dict]] = {"reference": [], "folded": []}
    for _ in range(2):
        for encoder in runs:
            runs[encoder].append(apart({**case, "encoder": encoder}))
    best = {
        e: next((r for r in rs if "error" in r), None) or min(rs, key=lambda r: r["seconds"]) for e, rs in runs.items()
    }
    return {**case, **best}


def row(result: dict) -> str:
    r, f = result["reference"], result["folded"]
    name = f"| {result['configuration']} | {result['what']} | {result['dtype']} | {'compiled' if result['compiled'] else 'eager'} "
    if "error" in r or "error" in f:
        return name + f"| {r.get('error', '')} {f.get('error', '')} | | | | | | |"
    mfu = ""
    peak = next(
        (p for k, p in PEAK_FLOPS.items() if result["device"] == "cuda" and k in torch.cuda.get_device_name()), None
    )
    if peak and f["flops"]:
        mfu = f"{100 * f['flops'] / f['seconds'] / peak:.0f} %"
    return name + (
        f"| {f['batch']} | {1e3 * r['seconds']:.1f} | {1e3 * f['seconds']:.1f} | **{r['seconds'] / f['seconds']:.2f}** "
        f"| {r['flops'] / 1e9:.1f} / {f['flops'] / 1e9:.1f} | {r['peak'] / 2**20:.0f} / {f['peak'] / 2**20:.0f} "
        f"| {f['peak'] / max(r['peak'], 1):.2f} {mfu} |"
    )


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
    parser.add_argument("--compiled", action="store_true", help="measure under torch.compile too")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bf16"])
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(json.loads(args.case))))
        return
    cases = [
        (c, w, d, k)
        for c in (("small",) if args.quick else ("small", "large", "fine"))
        for d in (("float32",) if args.quick else args.dtype)
        for k in ((False, True) if args.compiled else (False,))
        for w in (("forward",) if c == "fine" else ("train", "forward", "encoder train", "encoder forward"))
        if not (k and w.startswith("encoder"))
    ]
    lines = [
        "# The model's speed and memory",
        "",
        f"Made by `benchmarks/model.py` on {machine(args.device)}; torch {torch.__version__}. *small*: D 128, 4 layers, 4 heads;",
        "*large*: the paper's, D 1024, 8 layers, 16 heads, 32 × 64, patches of 2; *fine*: the same on 128 × 256, patches of 4;",
        "48 variables.",
        "Memory is the peak above the model and its input. Ratios are reference over folded for time, folded over reference for memory.",
        "",
        "| model | what | numbers | mode | batch | reference (ms) | folded (ms) | times faster | GFLOP ref. / folded "
        "| peak MiB ref. / folded | memory ratio, MFU |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for c, w, d, k in cases:
        lines.append(row(compare(c, w, d, k, args.device, 3 if args.quick else 5, args.batch)))
        print(lines[-1], flush=True)
    if not args.quick:
        name = machine(args.device).split(",")[0].replace(" ", "-").replace("(R)", "").replace("@", "at").lower()
        (HERE / f"model-{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
