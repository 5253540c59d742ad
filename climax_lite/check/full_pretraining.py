"""Checkers of *Full pretraining on a GPU*."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..model import ClimaX, ClimaXConfig
from .answers import Mistake, array, first, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong


def _figures(answer: Any, keys: Sequence[str]) -> dict[str, float]:
    """A dictionary with these keys and one number for each."""
    wanted = "{" + ", ".join(f'"{k}": ...' for k in keys) + "}"
    if not isinstance(answer, Mapping) or set(answer) != set(keys):
        got = f"the keys {', '.join(map(str, answer))}" if isinstance(answer, Mapping) else type(answer).__name__
        raise Stop(wrong(f"Expected a dictionary {wanted}, got {got}.", "Return one number for each of the keys."))
    return {k: _number(answer[k]) for k in keys}


def _number(answer: Any) -> float:
    return float(array(answer, None, "one number").reshape(()))


def _same(a: float, b: float) -> bool:
    """Counts are exact: seven digits."""
    return same(a, b, rtol=1e-6, atol=0)


def counted(config: ClimaXConfig, num_in: int, num_out: int, batch: int) -> dict[str, int]:
    """What PyTorch counts of a forward pass, on shapes alone; the small map of the lead time is left out."""
    with torch.device("meta"):
        net = ClimaX(config)
        x, lead = torch.empty(batch, num_in, *config.grid_shape), torch.empty(batch)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(x, lead, config.variables[:num_in], config.variables[:num_out])
    parts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    blocks = sum(parts.get(f"ClimaX.blocks.{i}", 0) for i in range(config.depth))
    head = parts["ClimaX.head"]
    return {"encoder": parts["Global"] - blocks - head - 2 * batch * config.embed_dim, "blocks": blocks, "head": head}


def _rows(given: float, truth: float, v: int, p: int, d: int, n: int, batch: int, places: int) -> list[Mistake]:
    """The mistakes that touch one row of the table of the folded encoder."""
    rows = {
        "the query, or the query times the key weights": 2 * d * d,
        "score vectors": 2 * n * d * v * (p + 1),
        "matrices for the values": 2 * d * d * v * (p + 1),
        "scores": batch * places * 2 * v * (p + 1) * n,
        "outputs of all heads": batch * places * 2 * v * (p + 1) * d,
        "output projection": batch * places * 2 * d * d,
    }
    factors = {"A product of (m, k) with (k, n) takes 2·m·k·n operations.": 2, "The whole row is missing.": np.inf}
    often = {"For each of V variables.": v, "At each of L patches.": places, "For each sample.": batch}
    return [
        (_same(given, truth - rows[row] * (1 - 1 / factor)), f"One row of the encoder is not right: {row}.", hint)
        for number, row in enumerate(rows)
        for hint, factor in (factors | (often if number > 2 else {})).items()
    ]


@checker
def forward_flops(function: Any) -> Verdict:
    """`forward_flops(config, num_in, num_out, batch)` → FLOPs of a forward pass with the folded encoder."""
    config = ClimaXConfig(tuple("abcdefg"), (6, 12), 3, 24, 5, 2, encoder="folded")
    v, out, batch, places, d, n, p = 5, 3, 4, 8, 24, 2, 9
    truth = counted(config, v, out, batch)
    given = _figures(attempt(function, config, v, out, batch), ("encoder", "blocks", "head"))
    once = 4 * d * d + 2 * (n * d + d * d) * v * (p + 1)
    place = 2 * (n + d) * v * (p + 1) + 2 * d * d
    e, blocks, head = given["encoder"], given["blocks"], given["head"]
    cases: list[Mistake] = [
        (all(_same(2 * given[k], truth[k]) for k in truth), "These are multiply-adds.", "A multiply-add is two operations."),
        (all(_same(batch * given[k], truth[k]) for k in ("blocks", "head")), "That is one sample, and the batch has more.", "What is made at each patch, is made for every sample."),
        (_same(blocks * config.depth, truth["blocks"]), "That is one block.", "`config.depth` of them."),
        (_same(blocks, batch * config.depth * 24 * places * d * d), "The part of the blocks that grows with L² is missing.", "Scores and weighted means: 4·L²·D."),
        (_same(blocks, batch * config.depth * (24 * places * d * d + 4 * (batch * places) ** 2 * d)), "Patches of one sample do not look at those of another.", "L² for every sample, not (B·L)²."),
        (not _same(blocks, truth["blocks"]), f"The blocks take {truth['blocks']:,} FLOPs here, you have {blocks:,.0f}.", "24·L·D² + 4·L²·D for each block and sample; L counts patches, not cells."),
        (_same(head, batch * places * (4 * d * d + 2 * d * p * 7)), "The head computes only the variables that are asked for.", "num_out, not all that the network knows."),
        (_same(head, batch * places * (4 * d * d + 2 * d * p * v)), "The head has num_out variables, not num_in.", "Which of the two leave the network?"),
        (_same(head, batch * places * (4 * d * d + 2 * d * out)), "Every variable has p² pixels in a patch.", "The last map has num_out·p² rows."),
        (not _same(head, truth["head"]), f"The head takes {truth['head']:,} FLOPs here, you have {head:,.0f}.", "Two maps D → D, and one to num_out·p² numbers, at each patch."),
        (_same(e, batch * (once + places * place)), "The score vectors and matrices are made once for the whole batch.", "They depend on weights only."),
        (_same(e, batch * places * place), "What is made once for the batch is missing.", "The first four rows of the table."),
        (_same(e, 4 * d * d + 2 * (n * d + d * d) * v * p + batch * places * (2 * (n + d) * v * p + 2 * d * d)), "The one that joins the pixels is missing: a patch has p² + 1 numbers.", "It carries bias and name of the variable."),
        (_same(e, once + batch * places * (2 * (n + n * d) * v * (p + 1) + 2 * d * d)), "A head makes D/N of the D numbers, so all heads together make D.", "N products with D/N columns each."),
        *_rows(e, truth["encoder"], v, p, d, n, batch, places),
        (not _same(e, truth["encoder"]), f"The encoder takes {truth['encoder']:,} FLOPs here, you have {e:,.0f}.", "Add up the table: the first four rows once, the last three for each of B·L patches."),
    ]  # fmt: skip
    verdict = first(cases, right("PyTorch counts the same, to the last operation."))
    other = ClimaXConfig(tuple("abcd"), (8, 8), 2, 16, 3, 4, encoder="folded")
    if verdict.ok and attempt(function, other, 4, 1, 1) != counted(other, 4, 1, 1):
        return wrong("For another network the count is off.", "Take every number from `config`.")
    return verdict


@checker
def mfu(function: Any) -> Verdict:
    """`mfu(samples_per_second, flops, peak, gpus)` → model FLOPs over what the GPUs could do."""
    given, one = (_number(attempt(function, 1500.0, 2e11, 1e15, gpus)) for gpus in (4, 1))
    above = _number(attempt(function, 1500.0, 2e11, 6e14, 1))
    truth = 3 * 1500 * 2e11 / 4e15
    cases: list[Mistake] = [
        (_same(given, truth / 3), "That is the forward pass alone.", "The backward pass takes twice as much again."),
        (_same(given, 2 * truth / 3), "That is the backward pass alone, or a forward and a half.", "One forward, and twice that backward."),
        (_same(given, 4 * truth), "The number of GPUs is missing: four of them could do four times as much.", "The rate is that of all GPUs together."),
        (_same(given, 16 * truth), "More GPUs make your MFU larger, at the same samples per second.", "They belong below the line."),
        (_same(given, 1 / truth), "That is upside down: an MFU is at most one.", "What was done over what could have been done."),
        (_same(given, 100 * truth), "That is per cent.", "Return the share itself."),
        (not _same(given, truth) or not _same(one, 4 * truth), f"1,500 samples per second of 2·10¹¹ FLOPs forward, on four GPUs of 10¹⁵ FLOP/s, are {truth:.3f}, not {given:.3g}.", "FLOP/s of the training over FLOP/s of all GPUs."),
        (not _same(above, 1.5), f"With a peak that is too small the share is 1.5, and you say {above:.3g}.", "An MFU above one tells of a wrong peak or a wrong count: do not hide it."),
    ]  # fmt: skip
    return first(cases, right("What the model needs over what the machines could do."))


@checker
def training_bytes(function: Any) -> Verdict:
    """`training_bytes(parameters, tokens, width, depth, checkpointing, shards)` → bytes on one GPU."""
    n, tokens, d, depth = 1_000_000, 640, 96, 5
    truth = {(c, s): (16 * n / s, tokens * d * (4 * depth + 36 if c else 36 * depth)) for c in (False, True) for s in (1, 4)}  # fmt: skip
    found = {}
    for case in truth:
        given = _figures(attempt(function, n, tokens, d, depth, *case), ("state", "activations"))
        found[case] = (given["state"], given["activations"])
    state, act = found[False, 1]
    kept = found[True, 1][1]
    sharded = found[False, 4]
    cases: list[Mistake] = [
        (_same(state, 12 * n), "AdamW keeps two numbers for each weight, or the gradient is missing: 16 bytes, not 12.", "Weight, gradient, mean, mean square."),
        (_same(state, 4 * n), "These are the weights alone.", "Gradient and AdamW's two means have the same size."),
        (_same(state, 4 * n * tokens), "Weights do not grow with the batch.", "Only activations do."),
        (not _same(state, 16 * n), f"A million weights have a state of 16 million bytes, not {state:,.0f}.", "Four numbers of four bytes for each weight."),
        (_same(act, 36 * tokens * d), "That is one block.", "Every block keeps its own."),
        (not _same(act, 36 * tokens * d * depth), f"{tokens} tokens of {d} numbers in {depth} blocks keep {36 * tokens * d * depth:,} bytes, not {act:,.0f}.", "36 bytes for each token, number and block."),
        (_same(kept, act), "Checkpointing changes nothing in your function.", "Then a block keeps its input only, 4 bytes a number."),
        (_same(kept, 4 * tokens * d * depth), "The block that is being recomputed is missing.", "One block at a time has all of its activations."),
        (_same(kept, 4 * tokens * d + 36 * tokens * d), "Every block keeps its input.", "One input for each block, the rest for one block."),
        (not _same(kept, truth[True, 1][1]), f"With checkpointing {depth} blocks keep {truth[True, 1][1]:,} bytes here, not {kept:,.0f}.", "4 bytes for each input of a block, and 36 for one block."),
        (_same(sharded[0], 16 * n), "With four shards each GPU holds a quarter of the state.", "Divide by `shards`."),
        (not _same(sharded[1], act), "Sharding shares out the state, not the activations.", "Each GPU has samples of its own."),
        (found != truth and not all(_same(a, b) for c in truth for a, b in zip(found[c], truth[c], strict=True)), "One of the four cases is wrong.", "Checkpointing and shards do not know of each other."),
    ]  # fmt: skip
    return first(cases, right("Sharding makes the state smaller, checkpointing the activations."))


@checker
def run_cost(function: Any) -> Verdict:
    """`run_cost(flops, gpus, peak, mfu, watts, pue, kg_per_kwh)` → hours, kWh and kg of CO2."""
    flops, gpus, peak, share, watts, pue, kg = 9e19, 8, 1e15, 0.25, 1000.0, 1.25, 0.4
    given = _figures(attempt(function, flops, gpus, peak, share, watts, pue, kg), ("hours", "kwh", "kg"))
    hours, kwh = 12.5, 125.0
    h, e = given["hours"], given["kwh"]
    cases: list[Mistake] = [
        (_same(h, 45000), "These are seconds.", "3,600 of them make an hour."),
        (_same(h, hours * gpus), "These are GPU hours: eight GPUs work at the same time.", "Divide by their number."),
        (_same(h, hours * share), "That is the time at full speed.", "A run at a quarter of the peak takes four times as long."),
        (_same(h, hours * share**2), "A lower MFU makes your run shorter.", "Which side of the line does it belong to?"),
        (_same(h, 3 * hours), "The backward pass is counted twice: `flops` is that of the whole training.", "No factor of three here."),
        (not _same(h, hours), f"9·10¹⁹ FLOPs on 8 GPUs of 10¹⁵ FLOP/s at a quarter take 12.5 hours, not {h:,.4g}.", "Work over speed; the speed is GPUs times peak times MFU."),
        (_same(e, kwh / gpus), "That is the energy of one GPU.", "All of them draw power."),
        (_same(e, 1000 * kwh), "These are watt hours.", "A thousand of them make a kWh."),
        (_same(e, kwh / pue), "The building is missing.", "PUE: for each kWh of the machines it takes that many."),
        (_same(e, kwh / pue**2), "A building never saves energy: PUE is at least one.", "Multiply."),
        (_same(e, kwh * share), "A GPU at a quarter of its FLOP/s draws much more than a quarter of its power.", "`watts` is what it draws in the run; the MFU has made the run long already."),
        (not _same(e, kwh), f"8 machines of 1,000 W for 12.5 hours at a PUE of 1.25 take 125 kWh, not {e:,.4g}.", "Hours, GPUs, kilowatts, PUE."),
        (_same(given["kg"], kg * kwh / pue), "The carbon leaves out the building.", "It burns every kWh that the meter of the site sees."),
        (not _same(given["kg"], kg * kwh), f"125 kWh at 0.4 kg each make 50 kg, not {given['kg']:,.4g}.", "kWh times kg per kWh."),
    ]  # fmt: skip
    return first(cases, right("More GPUs: fewer hours, the same energy, if the MFU stays."))


def made_up(kind: str, seed: int = 0, lines: int = 60) -> dict[str, np.ndarray]:
    """A simulated log with one fault, or something odd that is none (`LOGS`). No network was trained for it."""
    rng = np.random.default_rng(seed)
    loss = (0.7 + 0.5 * np.exp(-np.arange(lines) / 12)) * np.exp(0.06 * rng.standard_normal(lines))
    rate = 200 * np.exp(0.03 * rng.standard_normal(lines))
    validation, wait = np.full(lines, np.nan), np.full(lines, 0.02)
    validation[9::10] = (0.65 if kind == "leak" else 0.97) * loss[9::10]
    at = int(rng.integers(lines // 3, lines // 2))
    if kind == "learning rate":
        loss[at : at + 4] *= [3.0, 3.0, 2.5, 1.8]
    if kind == "uneven":
        loss[[at, at + 4]] *= [0.45, 1.5]
    if kind == "one low validation":
        validation[lines // 10 * 10 - 1] *= 0.5
    slow = {"data": slice(5 * lines // 8, None), "always": slice(None), "at the start": slice(lines // 3), "one late line": slice(-6, -5), "five late lines": slice(-6, -1)}.get(kind, slice(0))  # fmt: skip
    rate[slow], wait[slow] = 0.3 * rate[slow], 0.7
    for column in (loss, rate, wait):
        column[4::20] = np.nan  # a line that knows nothing
    log = {"train_loss": loss, "validation_loss": validation, "samples_per_second": rate, "waiting_for_data": wait}
    return {"step": 4 * np.arange(lines) + 3} | log


def three_logs() -> dict[str, dict[str, np.ndarray]]:
    """The simulated logs of the chapter's figure, with one fault each."""
    return {name: made_up(kind, seed, 40) for seed, (name, kind) in enumerate(zip("ABC", ("learning rate", "data", "leak"), strict=True))}  # fmt: skip


LOGS: dict[str, tuple[str, str, str]] = {
    "none": ("none", "A sound run gets an alarm: you said {said!r}.", "Noise of a few per cent is no fault. Does a NaN get into a comparison?"),
    "uneven": ("none", "A sound run with one low loss, and one of half as much again four lines later, is called {said!r}.", "Compare with the median of the five lines before; one line, or the lowest so far, may be odd."),
    "learning rate": ("learning rate", "A loss that jumps to three times what it was, and comes back after four lines, is called {said!r}.", "Compare each line with the median of the five before it. Does a NaN hide the jump?"),
    "data": ("data", "A run that waits for its data in the last three eighths of its lines is called {said!r}.", "The later half decides, not the whole run. Does a NaN get into the median?"),
    "always": ("data", "A run that waits for its data from the first line on is called {said!r}.", "A rate that does not fall can be too low; the share of waiting tells."),
    "at the start": ("none", "A run that waits in the first third of its lines only is called {said!r}.", "The later half decides."),
    "one late line": ("none", "One slow line in sixty raises the alarm {said!r}.", "The median line of the later half, not the worst."),
    "five late lines": ("none", "Five slow lines of the later thirty raise the alarm {said!r}.", "The median line waits little: no mean."),
    "leak": ("leak", "A validation loss of 0.65 of the training loss is called {said!r}.", "Most lines have no validation loss: leave out the NaN, then compare with the training loss of the same lines."),
    "one low validation": ("none", "One low validation loss of six, the last, raises the alarm {said!r}.", "Compare medians."),
}  # fmt: skip
"""Kinds of `made_up` logs: what is right to say, the sentence for anything else, and a hint."""


@checker
def fault(function: Any) -> Verdict:
    """`fault(log)` → "learning rate", "data", "leak" or "none"."""
    for kind, (truth, sentence, hint) in LOGS.items():
        for seed in range(4):
            said = attempt(function, {k: v.copy() for k, v in made_up(kind, seed).items()})
            if said not in ("learning rate", "data", "leak", "none"):
                return wrong(f"Expected one of 'learning rate', 'data', 'leak' and 'none', got {str(said)[:40]!r}.", "Return the name of the fault.")  # fmt: skip
            if said != truth:
                return wrong(sentence.format(said=said), hint)
    return right("Three faults found, and no alarm without one.")


@checker
def workers(function: Any) -> Verdict:
    """`workers(step_rate, worker_rate)` → loader processes for twice the rate of the steps."""
    for step, worker, truth in ((300, 100, 6), (300, 170, 4), (50, 400, 1), (1000, 90, 23)):
        given = _number(attempt(function, step, worker))
        cases: list[Mistake] = [
            (given == -(-step // worker), "That is just enough, without a margin.", "The loader must deliver twice."),
            (given == 2 * step // worker, "Rounded down, the loader delivers less than twice.", "math.ceil"),
            (given == -(-2 * worker // step), "That is upside down.", "What is needed, over what one worker makes."),
            (given != int(given), "Half a process does not exist.", "math.ceil"),
            (True, f"Steps of {step} samples per second and workers of {worker} need {truth}, not {given:g}.", "Twice the need over the rate of one, rounded up."),
        ]  # fmt: skip
        if given != truth:
            return first(cases, right(""))
    return right("Twice the need, rounded up.")


@checker
def power_law(function: Any) -> Verdict:
    """`power_law(x, loss)` → the exponent a of loss ∝ x^(−a), and its standard error."""
    x = np.array([1.0, 3.0, 8.0, 20.0, 90.0])
    loss = 2.5 * x**-0.2 * np.exp(np.array([0.02, -0.03, 0.01, 0.03, -0.03]))

    def fit(scale: Callable[[np.ndarray], np.ndarray], free: int) -> tuple[float, float]:
        u, w = np.log(x), scale(loss)
        du = u - u.mean()
        slope = float((du * w).sum() / (du**2).sum())
        left = w - w.mean() - slope * du
        return -slope, float(np.sqrt((left**2).sum() / free / (du**2).sum()))

    a, error = (_number(value) for value in attempt(function, x.copy(), loss.copy()))
    truth = fit(np.log, 3)
    cases: list[Mistake] = [
        (_same(a, -truth[0]), "The sign: a loss that falls has a positive exponent here.", "loss ∝ x^(−a)"),
        (_same(a, fit(lambda v: v, 3)[0]), "That is a straight line in the loss itself.", "Take the logarithm of both."),
        (not _same(a, truth[0]), f"The exponent is {truth[0]:.3f} here, not {a:.3g}.", "A straight line through log(loss) against log(x)."),
        (_same(error, fit(np.log, 5)[1]), "You divided by the number of points: two of five are spent on the line.", "n − 2."),
        (_same(error, fit(np.log, 4)[1]), "You divided by n − 1: a line has two parameters.", "n − 2."),
        (_same(error, truth[1] ** 2), "That is the variance.", "Take the root."),
        (not _same(error, truth[1]), f"The standard error is {truth[1]:.4f} here, not {error:.4g}.", "√(Σ r² / (n − 2) / Σ (u − ū)²), with the residuals r and u = log x."),
    ]  # fmt: skip
    return first(cases, right("The exponent, with what five points say about it."))
