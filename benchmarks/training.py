"""Training at tier tiny: the whole loop, the step alone, the loader alone; the time that is spent waiting, and the share of the machine.

    python benchmarks/training.py            # on a GPU if there is one; rewrites the table in benchmarks/training-<machine>.md
    python benchmarks/training.py --quick    # one world and a few steps, prints and writes nothing

The network, the batch and the precision of `configs/pretrain.yaml --tier tiny`, on the embedded worlds. The loop is
`climax_lite.train.fit` with all that it does but validation: log, schedule, clipping, the guard against NaN. The step is forward, backward,
clipping and AdamW, in a bare loop on one batch that never changes and lies on the device. The loader is asked for batches that nobody
uses. Each is the best of its repetitions, taken in turns after a warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import tempfile
import time
from pathlib import Path

import lightning as L
import torch
from model import machine, matrix_speed
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from climax_lite.data import LEADS, Batch, ForecastSamples, Mixture, MixtureLoader, Record
from climax_lite.forecaster import Forecaster
from climax_lite.grid import Grid
from climax_lite.train import DataModule, Net, Optimisation, Pretrain, Run, Speed, Training, fit, new_network

HERE = Path(__file__).parent
NET = Net(num_heads=4)
BATCH = 16
WARM = 5


class Timed(Speed):
    """The callback that logs the speed, asked for the figures of all steps after the warm-up."""

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *rest) -> None:
        """Forget the warm-up."""
        super().on_train_batch_end(trainer, module, *rest)
        if trainer.global_step == WARM:
            self.samples, self.working, self.waiting = 0, 0.0, 0.0


class Resident:
    """Samples whose record lies on the device: a batch is gathered there, and nothing crosses the bus but indices."""

    def __init__(self, samples: ForecastSamples, device: str) -> None:
        self.samples = samples
        self.values, self.static = (
            torch.from_numpy(a).to(device) for a in (samples.record.values, samples.record.static)
        )

    @property
    def source(self) -> str:
        return self.samples.source

    def __len__(self) -> int:
        return len(self.samples)

    def draw(self, indices, rng):
        return self.samples.draw(indices, rng)

    def batch(self, drawn) -> Batch:
        s, (index, lead) = self.samples, drawn.T
        device = self.values.device
        first, last = (torch.from_numpy(i).to(device) for i in (s.initial[index], s.valid[index, lead]))
        hours = torch.tensor([float(s.leads[i]) for i in lead], device=device)
        x = torch.cat([self.values[first], self.static.expand(len(drawn), -1, -1, -1)], dim=1)
        return Batch(x, self.values[last], hours, s.variables, s.out_variables, s.source, torch.empty(len(drawn), 2))


def forecaster(samples: dict[str, ForecastSamples]) -> Forecaster:
    """A new network for the variables of all worlds."""
    torch.manual_seed(0)
    names = dict.fromkeys(v for s in samples.values() for v in s.variables)
    return Forecaster(new_network(NET, tuple(names)))


def attention(device: str) -> contextlib.AbstractContextManager:
    """The form of attention that `fit` chooses."""
    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" else contextlib.nullcontext()


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def stepping(f: Forecaster, batches, count: int, device: str, kind: str) -> float:
    """Samples a second of training steps, as `Training` makes them, without Lightning."""
    o = Optimisation()
    training = Training(f.train(), o, Grid.regular(*NET.grid_shape).lat).to(device)
    optimizer = torch.optim.AdamW(training.parameters(), lr=1e-4, betas=o.betas)
    began = 0.0
    for i, batch in enumerate(itertools.islice(batches, WARM + count)):
        if i == WARM:
            synchronise(device)
            began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=kind == "bf16"), attention(device):
            loss = training.shared_step(batch, "train")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(training.parameters(), o.clip_norm)
        optimizer.step()
    synchronise(device)
    return count * BATCH / (time.perf_counter() - began)


def loading(loader: MixtureLoader, count: int, device: str) -> float:
    """Samples a second of the loader, over as many epochs as it takes."""
    endless = (batch for _ in itertools.count() for batch in loader)
    next(endless)
    synchronise(device)
    began = time.perf_counter()
    for _ in itertools.islice(endless, count):
        pass
    synchronise(device)
    return count * BATCH / (time.perf_counter() - began)


def looping(
    samples: dict[str, ForecastSamples], count: int, device: str, kind: str, workers: int
) -> tuple[float, float]:
    """Samples a second of the whole loop, and the share of its time that is between steps."""
    timed = Timed(every=10**9)
    with tempfile.TemporaryDirectory() as out:
        run = Run(
            out,
            batch_size=BATCH,
            workers=workers,
            precision="bf16-mixed" if kind == "bf16" else "32-true",
            accelerator="gpu" if device == "cuda" else "cpu",
            validate_every=0,
            save_every=10**9,
            progress=False,
        )
        data = DataModule(samples, None, BATCH, workers=workers)
        steps = Optimisation(steps=WARM + count, warmup_steps=1)
        fit(forecaster(samples), data, steps, run, Grid.regular(*NET.grid_shape), callbacks=[timed])
    total = timed.working + timed.waiting
    return timed.samples / total, timed.waiting / total


def flops(f: Forecaster, batch: Batch) -> float:
    """Floating-point operations of forward and backward, per sample; those of the optimiser are not counted."""
    training = Training(f.train(), Optimisation(), Grid.regular(*NET.grid_shape).lat)
    with FlopCounterMode(display=False) as counter:
        training.shared_step(batch, "train").backward()
    return counter.get_total_flops() / len(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sources", nargs="+", default=Pretrain().sources)
    parser.add_argument("--steps", type=int, help="of a repetition (default: 40 on a CPU, 400 on a GPU)")
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "float32"))
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches ahead in the whole loop")
    args = parser.parse_args()
    device = args.device
    steps, repeat = args.steps or (400 if device == "cuda" else 40), 3
    if args.quick:
        args.sources, steps, repeat = args.sources[:1], args.steps or 4, 1
    samples = {name: ForecastSamples.of(Record.prepared(name, "train", NET.grid_shape), LEADS) for name in args.sources}
    loader = MixtureLoader(Mixture(samples, BATCH), pin_memory=device == "cuda")
    batch = loader.mixture[0]
    operations = flops(forecaster(samples), batch)
    name, kind = machine(device), args.dtype
    peak = matrix_speed(kind, device, name)
    best = {"loop": 0.0, "step": 0.0, "loader": 0.0}
    waiting = 1.0
    resident = {"step": 0.0, "loader": 0.0}
    if device == "cuda":
        there = MixtureLoader(Mixture({n: Resident(s, device) for n, s in samples.items()}, BATCH))
    for _ in range(repeat):
        best["loader"] = max(best["loader"], loading(loader, 10 * steps, device))
        best["step"] = max(
            best["step"], stepping(forecaster(samples), itertools.repeat(batch.to(device)), steps, device, kind)
        )
        speed, share = looping(samples, steps, device, kind, args.workers)
        best["loop"], waiting = max(best["loop"], speed), min(waiting, share)
        if device == "cuda":
            endless = (b for _ in itertools.count() for b in there)
            resident["loader"] = max(resident["loader"], loading(there, 10 * steps, device))
            resident["step"] = max(resident["step"], stepping(forecaster(samples), endless, steps, device, kind))

    def row(what: str, speed: float, computes: bool = True) -> str:
        share = f"{100 * speed * operations / peak:.0f} %" if computes and peak else ""
        return f"| {what} | {speed:,.0f} | {share} |"

    net = forecaster(samples)
    lines = [
        "# The speed of training",
        "",
        f"Made by `benchmarks/training.py` on {name}; torch {torch.__version__}, lightning {L.__version__}. Tier *tiny*:",
        f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f} million parameters, D {NET.embed_dim}, {NET.depth} layers, "
        f"patches of {NET.patch_size} on {NET.grid_shape[0]} × {NET.grid_shape[1]}, {len(batch.variables)} variables in and "
        f"{len(batch.out_variables)} out,",
        f"batches of {BATCH}, {kind}, {args.workers} workers; worlds: {', '.join(args.sources)}. Best of {repeat}, of {steps} steps each.",
        "",
        "| what | samples/s | of the matrix speed (MFU) |",
        "|---|---:|---:|",
        row("the whole loop", best["loop"]),
        row("the step alone, the same batch again", best["step"]),
        row("the loader alone", best["loader"], computes=False),
    ]
    if device == "cuda":
        lines += [
            row("steps on data resident on the GPU, without Lightning", resident["step"]),
            row("the loader alone, data resident on the GPU", resident["loader"], computes=False),
        ]
    lines += [
        "",
        f"- Loader over step: **{best['loader'] / best['step']:.1f}** (wanted: 2 or more).",
        f"- Time between two steps, when the loop waits for data: **{100 * waiting:.1f} %** (wanted: under 3 %).",
        f"- Loop over step: {best['loop'] / best['step']:.2f}.",
        f"- {operations / 1e9:.2f} GFLOP a sample, forward and backward.",
    ]
    if peak:
        source = (
            "the data sheet's" if device == "cuda" else "that of a product of two 2048 × 2048 matrices, measured here"
        )
        lines.append(f"- The matrix speed in {kind} is {peak / 1e9:,.0f} GFLOP/s: {source}.")
    print("\n".join(lines))
    if not args.quick:
        slug = re.sub(r"[^a-z0-9]+", "-", name.split(",")[0].replace("(R)", "").lower()).strip("-")
        (HERE / f"training-{slug}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
