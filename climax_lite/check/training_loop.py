"""Checks of the chapter *The training loop*."""

from __future__ import annotations

import copy
import io
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Batch
from ..forecaster import Forecaster
from ..model import ClimaX, ClimaXConfig
from .answers import Mistake, array, expect, first, random, same
from .verdict import Verdict, attempt, checker, right, wrong

# ---------------------------------------------------------------- a step

WEIGHTS = torch.tensor([0.2, 0.8, 1.6, 1.4])[:, None]  # not symmetric, so that a flip shows; they average to one


class _Affine(nn.Module):
    """A forecaster of two parameters, so that a step can be told from its result."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, lead_hours: Tensor, variables: Sequence[str], out_variables: Sequence[str]) -> Tensor:
        given = x[:, [list(variables).index(v) for v in out_variables]]
        return self.slope * given + self.offset * (lead_hours / 24)[:, None, None, None]


def _batch(size: int, seed: int) -> Batch:
    """As many rows as columns, so that weights on the wrong axis raise nothing."""
    x, y = random(size, 3, 4, 4, seed=seed).float(), random(size, 2, 4, 4, seed=seed + 100).float()
    hours = torch.arange(1.0, size + 1) * 24
    return Batch(x, y, hours, ("a", "b", "c"), ("c", "a"), "check", torch.zeros(size, 2, dtype=torch.int64))


def _forecast(model: nn.Module, b: Batch) -> Tensor:
    return model(b.x, b.lead_hours, b.variables, b.out_variables)


def _mse(prediction: Tensor, y: Tensor) -> Tensor:
    return (WEIGHTS * (prediction - y) ** 2).mean()


Loss = Callable[[Tensor, Tensor], Tensor]


def _run(batches: Iterable[Batch], loss: Loss = _mse, zero: bool = True, moves: bool = True) -> list[float]:
    """Losses and parameters of steps of plain gradient descent, from a known start."""
    model, out = _Affine(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for b in batches:
        value = loss(_forecast(model, b), b.y)
        if zero:
            optimizer.zero_grad()
        value.backward()
        if moves:
            optimizer.step()
        out += [float(value.detach()), *(float(p.detach()) for p in model.parameters())]
    return out


def _number(answer: Any) -> float:
    if isinstance(answer, Tensor) and answer.requires_grad:
        raise ValueError("the loss that you return still carries its graph: whoever keeps it keeps all activations. Return loss.item()")  # fmt: skip
    return float(answer)


@checker
def step(function: Any) -> Verdict:
    """One step: the weighted loss, its gradient alone, and the optimiser."""
    batches = [_batch(2, 0), _batch(2, 1)]
    model, answer = _Affine(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for b in batches:
        value = attempt(function, model, b, optimizer, WEIGHTS)
        try:
            answer += [_number(value), *(float(p.detach()) for p in model.parameters())]
        except (TypeError, ValueError) as error:
            return wrong(f"Expected the loss as a number: {error}.", "loss.item() is a plain number.")
    expected = _run(batches)
    if same(answer, expected):
        return right("Right: forecast, loss, gradient, step.")
    moved = any(abs(a - e) > 1e-6 for a, e in zip(answer[1:3] + answer[4:6], [0.5, 0.1] * 2, strict=True))
    if not moved:
        if model.slope.grad is None or not float(model.slope.grad):
            return wrong("The parameters do not move: there is no gradient when the optimiser steps.", "Is there a `backward()`? Is `zero_grad()` between it and the step?")  # fmt: skip
        return wrong("The parameters do not move, though they have gradients.", "Is `optimizer.step()` missing, or called before `backward()`?")  # fmt: skip
    longitudes = WEIGHTS.T
    mistakes: list[Mistake] = [
        (_run(batches, zero=False), "The second step used the gradients of both batches.", "`backward()` adds to the gradients that are there."),
        (_run(batches, lambda p, y: ((p - y) ** 2).mean()), "All rows count alike: the latitude weights are missing, or were averaged before they met the errors.", "Multiply the squared errors (B, V, H, W) by the weights (H, 1), and then take the mean."),
        (_run(batches, lambda p, y: (WEIGHTS[:, 0] * (p - y).mean(-1) ** 2).mean()), "The errors of a row were averaged before they were squared.", "Square each cell's error first."),
        (_run(batches, lambda p, y: ((WEIGHTS * (p - y)) ** 2).mean()), "The errors were weighted before they were squared, so the weights are squared too.", "Weights times squared errors."),
        (_run(batches, lambda p, y: (WEIGHTS * (p - y) ** 2).sum()), "This is the sum of the errors. With another batch size the rate would mean something else.", "The mean over everything."),
        (_run(batches, lambda p, y: _mse(p, y).sqrt()), "You minimise the root of the error.", "The loss has no root."),
        (_run(batches, lambda p, y: (WEIGHTS * (p - y).abs()).mean()), "You minimise absolute errors.", "The loss has squares."),
        (_run(batches, lambda p, y: _mse(p, y) / WEIGHTS.sum()), "The weights were divided by their sum: the loss is four times too small.", "They average to one already."),
        (_run(batches, lambda p, y: (longitudes * (p - y) ** 2).mean()), "The weights lie along the longitudes.", "The shape (H, 1) is right as it is: the rows are the latitudes."),
    ]  # fmt: skip
    if same(answer[1:3] + answer[4:6], expected[1:3] + expected[4:6]):
        return wrong("The step is right, and the number you return is not the loss before it.", "The loss is known before the parameters move.")  # fmt: skip
    return first(mistakes, wrong("After two steps the parameters are not those of the weighted loss.", "Forecast, loss, zero_grad, backward, step: in this order, each once."), answer)  # fmt: skip


# ---------------------------------------------------------------- rate and groups


@checker
def schedule(function: Any) -> Verdict:
    """Up in a straight line, down as a half cosine, and flat."""
    steps, warmup, final = 110, 10, 0.1
    at = [*range(steps + 1), steps + 50, steps + 100]
    answer = [float(attempt(function, k, steps, warmup, final)) for k in at]

    def curve(up: Callable[[int], float] = lambda k: (k + 1) / warmup, begin: int = warmup, low: float = final, stop: bool = True, form: Callable[[float], float] = lambda t: 0.5 * (1 + math.cos(math.pi * t))) -> list[float]:  # fmt: skip
        part = [(k - begin) / (steps - begin) for k in at]
        return [
            up(k) if k < warmup else low + (1 - low) * form(min(1.0, t) if stop else t)
            for k, t in zip(at, part, strict=True)
        ]

    if same(answer, curve()):
        return right("Right: up, down, and never up again.")
    mistakes: list[Mistake] = [
        (curve(stop=False), "After the last step the rate rises again.", "cos goes on: progress must stop at one."),
        (curve(up=lambda k: k / warmup), "The first step has a rate of zero: it is a step for nothing.", "The first of ten steps of the warm-up has a tenth."),
        (curve(begin=0), "The cosine begins at step 0, so the rate jumps where the warm-up ends.", "Progress counts from the end of the warm-up."),
        (curve(low=0.0), "The rate falls to zero, not to `final`.", "What is left of the way down is 1 − final."),
        (curve(form=lambda t: 1 - t), "The rate falls in a straight line.", "A half cosine: 0.5 · (1 + cos πt)."),
        (curve(form=lambda t: 0.5 * (1 + math.cos(2 * math.pi * t))), "The cosine makes a whole turn.", "Half a turn is π."),
        (curve(up=lambda k: 1.0), "There is no warm-up.", "(step + 1) / warmup."),
    ]  # fmt: skip
    if max(answer) > 2:
        return wrong("Expected a factor between zero and one, not a learning rate or a percentage.", "The peak is 1.")
    if not same(answer[:warmup], curve()[:warmup]):
        return first(
            mistakes, wrong("The warm-up is not 0.1, 0.2, …, 1 for ten steps.", "(step + 1) / warmup."), answer
        )
    if answer[-1] > answer[-3] + 1e-6:
        return wrong("After the last step the rate rises again.", "cos goes on: progress must stop at one.")
    if not same(answer[steps:], curve()[steps:]):
        return first(mistakes, wrong(f"At the last step the factor is {answer[steps]:.3f}, and final was {final}.", "final + (1 − final) · a number from one to zero."), answer)  # fmt: skip
    return first(mistakes, wrong("Between warm-up and end this is not a half cosine.", "final + (1 − final) · 0.5 · (1 + cos π·progress)."), answer)  # fmt: skip


@checker
def decay_groups(function: Any) -> Verdict:
    """Which parameters of a forecaster decay."""
    net = ClimaX(ClimaXConfig(("a", "b"), (4, 8), 2, 8, 1, 2))
    model = Forecaster(net)
    next(net.head.parameters()).requires_grad = False
    groups = attempt(function, model, 0.3)
    if isinstance(groups, dict) or not all(isinstance(g, dict) and "params" in g for g in groups):
        return wrong('Expected a list of dictionaries {"params": [...], "weight_decay": ...}.', "Two groups, as torch.optim.AdamW takes them.")  # fmt: skip
    if missing := [g for g in groups if "weight_decay" not in g]:
        some = "One group says" if len(missing) == 1 else f"{len(missing)} groups say"
        return wrong(f"{some} nothing of weight_decay: AdamW would take 0.01.", "Say 0.0.")
    found: dict[str, float] = {}
    names = {id(p): n for n, p in model.named_parameters()}
    for group in groups:
        for p in group["params"]:
            name = names.get(id(p))
            if name is None:
                return wrong("There is something in your groups that is no parameter of the model.", "The parameters themselves, of named_parameters(): no names, no copies.")  # fmt: skip
            if name in found:
                return wrong(f"{name} is in two groups.", "Each parameter once.")
            found[name] = float(group["weight_decay"])
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    if lost := sorted(trained - {*found}):
        return wrong(f"In no group, so never trained: {', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}.", "Each parameter in one group.")  # fmt: skip
    if {*found.values()} - {0.0, 0.3}:
        return wrong(f"Expected decays of 0.3 and 0.0, got {sorted({*found.values()})}.", "One group each.")
    kinds = {
        "a damping time: decay would pull τ = 60 h to 1 h": lambda n: n == "log_tau",
        "an embedding": lambda n: n.endswith(("pos_embed", "embedding")),
        "a bias, though it has two axes": lambda n: n == "net.tokenizer.bias",
        "a bias": lambda n: n.endswith("bias"),
        "the gain of a norm": lambda n: "norm" in n,
        "the query of the aggregation": lambda n: n.endswith("query"),
    }
    for kind, is_one in kinds.items():
        if bad := [n for n in trained if is_one(n) and found[n]]:
            return wrong(f"{sorted(bad)[0]} decays. It is {kind}.", "Look at the names, and at the number of axes.")
    if kept := sorted(n for n in trained if not found[n] and not any(k(n) for k in kinds.values())):
        return wrong(f"{kept[0]} does not decay. It is a matrix between layers.", "The last part of the name says what it is; `lead_time_embed` is a linear layer.")  # fmt: skip
    return right("Right: matrices decay, and nothing else.")


# ---------------------------------------------------------------- the forecast


@checker
def forecast(function: Any) -> Verdict:
    """a·x + √(1 − a²)·net, each variable and each sample with its own a."""
    variables, out = ("t", "z", "q", "u"), ("u", "t", "z")
    x, said = random(3, 4, 3, 3).float(), random(3, 3, 3, 3, seed=1).float()
    hours, tau = torch.tensor([6.0, 48.0, 168.0]), torch.tensor([30.0, 60.0, 120.0])
    calls: list[tuple] = []

    def net(*args: Any) -> Tensor:
        calls.append(args)
        return said.clone()

    def value(a: Tensor, given: Tensor = x[:, [3, 0, 1]], share: Callable[[Tensor], Tensor] = lambda a: (1 - a**2).sqrt()) -> Tensor:  # fmt: skip
        a = a if a.ndim == 4 else a[:, :, None, None]
        return a * given + share(a) * said

    a = torch.exp(-hours[:, None] / tau)
    kept, learned = x.clone(), tau.clone().requires_grad_()
    answer = attempt(function, net, learned, kept, hours, variables, out)
    if not calls:
        return wrong("The network was never asked.", "net(x, lead_hours, variables, out_variables).")
    mistakes: list[Mistake] = [
        (value(a, x[:, :3]), "The skip took the first three inputs: they are t, z, q, and asked for were u, t, z.", "For each output variable find its place among the inputs."),
        (value(a, share=torch.ones_like), "The network's part has no factor.", "At 6 h little is left open."),
        (value(a, share=lambda a: 1 - a), "The network's part has the factor 1 − a.", "Variances add up to one, not deviations."),
        (value(a, share=lambda a: 1 - a**2), "The network's part has the factor 1 − a²: that is a variance.", "A deviation is the root of a variance."),
        (value(a, x[:, [3, 0, 1]] / a[:, :, None, None]), "The anomaly is not damped.", "a times x."),
        (value((1 - a**2).sqrt()), "The two factors have changed places.", "For Δt = 0 the forecast is x."),
        (value(a[:1]), "All samples have the lead time of the first one.", "a has the shape (B, V_out)."),
        (value(a[:, :1]), "All variables have the damping time of the first one.", "a has the shape (B, V_out)."),
        (value(torch.exp(-tau / hours[:, None])), "The exponent is upside down: −τ/Δt.", "After a long time nothing should be left."),
        (value(torch.exp(-hours[:, None] / tau.exp())), "You took τ for its logarithm.", "τ is in hours."),
        (value(torch.exp(-hours[:, None] / 24 / tau)), "Lead times were taken in days, τ in hours.", "Both are in hours."),
        (value(2 ** (-hours[:, None] / tau)), "a is halved every τ hours: the base is 2, not e.", "exp(−Δt / τ)."),
        (value(1 - hours[:, None] / tau), "a is 1 − Δt/τ, which is right only for short lead times.", "exp(−Δt / τ)."),
        (value(a.T), "Your a is constant over the samples of a variable's row: lead times and variables have changed places.", "lead_hours[:, None] / tau is (B, V_out)."),
        (value(a[None, None]), "a multiplies the wrong axes: it was not given the axes of latitude and longitude.", "a[:, :, None, None]."),
        (value(a, share=torch.zeros_like), "These are the inputs' damped anomalies alone.", "Add the network's part."),
    ]  # fmt: skip
    given = array(answer, (3, 3, 3, 3), "a forecast (B, V_out, H, W)", "a[:, :, None, None] meets (B, V_out, H, W).")
    if not np.isfinite(given).all():
        return wrong("1 − a² is negative and its root is none: your a grows with the lead time.", "The sign in exp(−Δt / τ).")  # fmt: skip
    expect(given, value(a), mistakes, "This is not a·x + √(1 − a²)·net with a = exp(−Δt/τ).",
        "Compare a by hand: Δt = 24 and τ = 47 give 0.6.", atol=1e-5)  # fmt: skip
    if not torch.equal(kept, x):
        return wrong("Your function changes x in place.", "Make new tensors.")
    if not torch.equal(torch.as_tensor(calls[0][0]), x) or not torch.equal(torch.as_tensor(calls[0][1]), hours):
        return wrong("The network was given something else than x and the lead times.", "It sees the anomalies as they are.")  # fmt: skip
    if getattr(answer, "requires_grad", False):
        answer.sum().backward()
    if learned.grad is None or not bool(learned.grad.isfinite().all()) or not bool(learned.grad.all()):
        return wrong("The numbers are right, but no gradient reaches τ, so that it could not be learned.", "Stay in torch: no float(), .item(), numpy or math between τ and the forecast.")  # fmt: skip
    return right("Right: damped persistence, and a network for what it leaves open.")


# ---------------------------------------------------------------- go on after a stop

PARTS = (
    "the weights",
    "the moments of the optimiser",
    "the place in the schedule",
    "the place in the data",
    "the random state",
)


class _Loader:
    """Batch after batch; says where it is, and can be put there."""

    def __init__(self) -> None:
        self.next = 0

    def __next__(self) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(self.next)
        self.next += 1
        return torch.randn(8, 3, generator=g), torch.randn(8, 1, generator=g)

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next = int(state["next"])


def _things() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR, _Loader]:
    model = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.GELU(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k)), _Loader()


def _some_steps(things: Any, count: int) -> Tensor:
    model, optimizer, scheduler, loader = things
    for _ in range(count):
        x, y = next(loader)
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()
        scheduler.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def _until(count: int) -> Any:
    torch.manual_seed(0)
    things = _things()
    _some_steps(things, count)
    return things


def _fresh() -> Any:
    torch.manual_seed(99)
    return _things()


def _without(missing: Iterable[int], states: Sequence[Any]) -> Tensor:
    """The last weights when these parts were not carried over."""
    new = _fresh()
    for i, (thing, state) in enumerate(zip(new, states, strict=False)):
        if i not in missing:
            thing.load_state_dict(copy.deepcopy(state))  # an optimiser goes on in the tensors that it is given
    if 4 not in missing:
        torch.set_rng_state(states[4])
    return _some_steps(new, 4)


@checker
def resume(keep: Any, go_on: Any) -> Verdict:
    """A run of eight steps is killed after four: the rest must give the same weights, to the bit."""
    with torch.random.fork_rng():
        whole = _some_steps(_until(4), 4)
        old = _until(4)
        kept = attempt(keep, *old)
        file = io.BytesIO()
        try:
            torch.save(kept, file)
        except Exception as error:
            return wrong(f"What `keep` returns cannot be written to a file ({type(error).__name__}: {error}).", "Keep the state_dict() of each object, not the object.")  # fmt: skip
        if not torch.equal(_some_steps(old, 4), whole):
            return wrong("`keep` changes the run that it watches.", "Read, and change nothing: no seed, no step, no next batch.")  # fmt: skip
        file.seek(0)
        new = _fresh()
        attempt(lambda state: (go_on(state, *new), True)[1], torch.load(file, weights_only=False))
        answer = _some_steps(new, 4)
        if torch.equal(answer, whole):
            return right("Right: killed after four of eight steps, and the weights are the same to the bit.")
        stopped = _until(4)
        states = [*(thing.state_dict() for thing in stopped), torch.get_rng_state()]
        if torch.equal(answer, _without(range(5), states)):
            return wrong("Nothing was carried over: the run started from fresh weights.", "`go_on` must load what `keep` kept into the new objects.")  # fmt: skip
        for missing in itertools.chain.from_iterable(itertools.combinations(range(5), n) for n in range(1, 5)):
            if torch.equal(answer, _without(missing, states)):
                return wrong(f"The run went on with other numbers. Forgotten: {', '.join(PARTS[i] for i in missing)}.", "Each has a state that can be read, and one that can be set.")  # fmt: skip
        return wrong("The run went on with other numbers, and it is not only something forgotten.", "Is each state loaded into the object that it came from? Does anything draw random numbers afterwards?")  # fmt: skip


# ---------------------------------------------------------------- exercises


@checker
def ema(function: Any) -> Verdict:
    """The exponential moving average of the weights."""
    start, weights = (
        [torch.tensor([1.0, -2.0]), torch.tensor([[4.0]])],
        [torch.tensor([3.0, 6.0]), torch.tensor([[0.0]])],
    )
    average, given = [t.clone() for t in start], [t.clone() for t in weights]
    answer = attempt(function, average, given, 0.75)

    def mix(old: float, new: float) -> Tensor:
        return torch.cat([(old * a + new * w).flatten() for a, w in zip(start, weights, strict=True)])

    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        return wrong("Expected a list with one tensor for each parameter.", "[... for a, w in zip(average, weights)]")
    if not all(same(g, w) for g, w in zip(given, weights, strict=True)):
        return wrong("The weights themselves were changed: training would go on from the average.", "The average only watches.")  # fmt: skip
    found = [
        array(a, tuple(w.shape), "a tensor like its parameter").ravel() for a, w in zip(answer, weights, strict=True)
    ]
    mistakes: list[Mistake] = [
        (mix(0.25, 0.75), "Old and new have changed places: this average follows the last step almost alone.", "A decay near one means a long memory."),
        (mix(0.5, 0.5), "This is the plain mean of two.", "Use `decay`."),
        (mix(1, 0), "The average has not moved.", "decay · average + (1 − decay) · weights."),
        (mix(0.75, 1), "This is a sum: it grows for ever.", "The two parts add up to one."),
    ]  # fmt: skip
    expect(np.concatenate(found), mix(0.75, 0.25), mistakes, "This is not decay · average + (1 − decay) · weights.", "Parameter by parameter.")  # fmt: skip
    return right("Right: a slow copy of the weights.")


@checker
def accumulated(function: Any) -> Verdict:
    """Several small batches, and the step of one large one."""
    parts = [_batch(1, 2), _batch(3, 3), _batch(2, 4)]
    sizes = [len(b) for b in parts]

    def run(shares: Sequence[float], each: bool = False, last: bool = False) -> list[float]:
        model = _Affine()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for share, b in zip(shares, parts, strict=True):
            if last:
                optimizer.zero_grad()
            (share * _mse(_forecast(model, b), b.y)).backward()
            if each:
                optimizer.step()
                optimizer.zero_grad()
        if not each:
            optimizer.step()
        return [float(p.detach()) for p in model.parameters()]

    model = _Affine()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.slope.grad = torch.tensor(5.0)  # what an earlier step left
    waiting, most = 0, 0  # samples that went forward and not yet back: their graphs fill the memory

    def forward(_: Any, given: Any, prediction: Tensor) -> None:
        nonlocal waiting, most
        waiting += len(given[0]) if prediction.requires_grad else 0
        most = max(most, waiting)

    def backward(_: Tensor) -> None:
        nonlocal waiting
        waiting = 0

    model.register_forward_hook(forward)
    model.slope.register_hook(backward)
    loss = _number(attempt(function, model, list(parts), optimizer, WEIGHTS))
    answer = [float(p.detach()) for p in model.parameters()]
    share = [n / sum(sizes) for n in sizes]
    mistakes: list[Mistake] = [
        (run([1, 1, 1]), "This is the sum of the parts' gradients, three times too long or so. AdamW would hide it, and the clipping would not.", "The gradient of a mean is the mean of the gradients."),
        (run([1 / 3] * 3), "Each part counts alike, whatever its size.", "A part of three samples weighs three times one of one."),
        ([run(share)[0] - 0.1 * 5.0, run(share)[1]], "The gradient that an earlier step left still counts.", "zero_grad before the first part."),
        (run(share, each=True), "You step after each part.", "One step for all of them."),
        (run([1, 1, 1], each=True), "You step after each part, with its whole gradient.", "One step for all of them."),
        (run(share, last=True), "Only the last part counts.", "zero_grad once, before the first part."),
        (run([1, 1, 1], last=True), "Only the last part counts, and with its whole gradient.", "zero_grad once, before the first part."),
    ]  # fmt: skip
    expect(answer, run(share), mistakes, "This is not the step of one batch of six.", "Clear once, backward for each part, step once.")  # fmt: skip
    expected = sum(s * float(_mse(_forecast(_Affine(), b), b.y).detach()) for s, b in zip(share, parts, strict=True))
    if abs(loss - expected) > 1e-5:
        return wrong("The step is right, and the loss that you return is not that of the whole batch.", "Add up share · loss.")  # fmt: skip
    if most > max(sizes):
        return wrong(f"The step is right, but {most} samples went forward before the first `backward()`: their graphs fill the memory that the parts were to save.", "Forward and backward for one part, and then the next.")  # fmt: skip
    return right("Right: a large batch in small memory.")


@checker
def parity(raw: Any, lightning: Any) -> Verdict:
    """The same weights from two loops."""
    one, two = ({k: np.asarray(v.detach().cpu()) for k, v in m.state_dict().items()} for m in (raw, lightning))
    if differ := [k for k in one if k not in two or not np.array_equal(one[k], two[k])]:
        worst = max(float(np.abs(one[k] - two[k]).max()) for k in differ if k in two)
        return wrong(f"{len(differ)} of {len(one)} parameters differ, by up to {worst:.0e}.", "Same seeds, same order of data, same clipping?")  # fmt: skip
    return right(f"Equal to the bit: all {sum(v.size for v in one.values()):,} weights.")


__all__ = ["accumulated", "decay_groups", "ema", "forecast", "parity", "resume", "schedule", "step"]
