"""The checkers of *The training loop*: solutions pass, usual mistakes are named."""

import math

import pytest
import torch

from climax_lite import train as package
from climax_lite.check import training_loop as check
from climax_lite.forecaster import Forecaster
from climax_lite.model import ClimaX, ClimaXConfig


def stub(*args): ...


# ---------------------------------------------------------------- steps


def mse(p, b, w):
    return (w * (p - b.y) ** 2).mean()


def step(
    model, b, optimizer, weights, loss=mse, zero="before", backward=True, moves=True, out=lambda loss: loss.item()
):
    value = loss(model(b.x, b.lead_hours, b.variables, b.out_variables), b, weights)
    if zero == "before":
        optimizer.zero_grad()
    if backward:
        value.backward()
    if zero == "between":
        optimizer.zero_grad()
    if moves:
        optimizer.step()
    if zero == "after":
        optimizer.zero_grad()
    return out(value)


def step_with(**change):
    return lambda *a: step(*a, **change)


def step_before_backward(model, b, optimizer, weights):
    optimizer.zero_grad()
    loss = mse(model(b.x, b.lead_hours, b.variables, b.out_variables), b, weights)
    optimizer.step()
    loss.backward()
    return loss.item()


def loss_afterwards(model, b, optimizer, weights):
    step(model, b, optimizer, weights)
    return mse(model(b.x, b.lead_hours, b.variables, b.out_variables), b, weights).item()


def accumulated(
    model,
    parts,
    optimizer,
    weights,
    share=lambda b, parts: len(b) / sum(map(len, parts)),
    each=False,
    zero="before",
    total=True,
):
    if zero == "before":
        optimizer.zero_grad()
    whole = 0.0
    for b in parts:
        if zero == "each":
            optimizer.zero_grad()
        loss = mse(model(b.x, b.lead_hours, b.variables, b.out_variables), b, weights) * share(b, parts)
        loss.backward()
        whole = whole + loss.item() if total else loss.item()
        if each:
            optimizer.step()
            optimizer.zero_grad()
    if not each:
        optimizer.step()
    return whole


def one_graph(model, parts, optimizer, weights):
    optimizer.zero_grad()
    samples = [
        (weights * (model(b.x, b.lead_hours, b.variables, b.out_variables) - b.y) ** 2).mean((1, 2, 3)) for b in parts
    ]
    loss = torch.cat(samples).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def all_forward_first(model, parts, optimizer, weights):
    optimizer.zero_grad()
    losses = [mse(model(b.x, b.lead_hours, b.variables, b.out_variables), b, weights) for b in parts]
    losses = [loss * len(b) / sum(map(len, parts)) for loss, b in zip(losses, parts, strict=True)]
    for loss in losses:
        loss.backward()
    optimizer.step()
    return sum(loss.item() for loss in losses)


def one_large_batch(model, parts, optimizer, weights):
    x, y, hours = (torch.cat([getattr(b, name) for b in parts]) for name in ("x", "y", "lead_hours"))
    optimizer.zero_grad()
    loss = (weights * (model(x, hours, parts[0].variables, parts[0].out_variables) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def accumulated_with(**change):
    return lambda *a: accumulated(*a, **change)


# ---------------------------------------------------------------- rates and groups


def schedule(step, steps, warmup, final, up=lambda k, w: (k + 1) / w, stop=True, begin=None, turn=1, linear=False):
    if step < warmup:
        return up(step, warmup)
    begin = warmup if begin is None else begin
    t = (step - begin) / (steps - begin)
    t = min(1.0, t) if stop else t
    return final + (1 - final) * (1 - t if linear else 0.5 * (1 + math.cos(turn * math.pi * t)))


def schedule_with(**change):
    return lambda *a: schedule(*a, **change)


def groups(decays, second=0.0, said=True):
    def function(model, weight_decay):
        named = list(model.named_parameters())
        none = {"params": [p for n, p in named if not decays(n, p)]}
        return [
            {"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay},
            none | ({"weight_decay": second} if said else {}),
        ]

    return function


def right_ones(name, p):
    last = name.rpartition(".")[2]
    return p.ndim >= 2 and "embed" not in last and last not in ("bias", "query")


# ---------------------------------------------------------------- forecasts


def forecast(
    net,
    tau,
    x,
    lead_hours,
    variables,
    out_variables,
    a=lambda h, tau: torch.exp(-h[:, None] / tau),
    share=lambda a: (1 - a**2).sqrt(),
    pick=True,
):
    damping = a(lead_hours, tau)
    damping = damping if damping.ndim == 4 else damping[:, :, None, None]
    given = x[:, [variables.index(v) for v in out_variables]] if pick else x[:, : len(out_variables)]
    return damping * given + share(damping) * net(x, lead_hours, variables, out_variables)


def forecast_in_floats(net, tau, x, lead_hours, variables, out_variables):
    said = net(x, lead_hours, variables, out_variables)
    out = torch.empty_like(said)
    for b, hours in enumerate(lead_hours.tolist()):
        for i, v in enumerate(out_variables):
            a = math.exp(-hours / tau.tolist()[i])
            out[b, i] = a * x[b, variables.index(v)] + math.sqrt(1 - a**2) * said[b, i]
    return out


def forecast_with(**change):
    return lambda *a: forecast(*a, **change)


# ---------------------------------------------------------------- stops

PARTS = ("model", "optimizer", "scheduler", "loader", "random")


def keep(*things, but=()):
    state = {n: t.state_dict() for n, t in zip(PARTS, things, strict=False) if n not in but}
    return state if "random" in but else state | {"random": torch.get_rng_state()}


def go_on(state, *things):
    for name, thing in zip(PARTS, things, strict=False):
        if name in state:
            thing.load_state_dict(state[name])
    if "random" in state:
        torch.set_rng_state(state["random"])


def forgetting(*names):
    return lambda *things: keep(*things, but=names)


def seeds_anew(*things):
    torch.manual_seed(0)
    return keep(*things)


def draws_afterwards(state, *things):
    go_on(state, *things)
    torch.rand(1)


class Resume:
    """`resume` takes two functions; the tables below give one."""

    def __init__(self, keep, go_on=go_on):
        self.both = keep, go_on


def call(name, answer):
    if name == "resume":
        return check.resume(*(answer.both if isinstance(answer, Resume) else (answer, answer)))
    return getattr(check, name)(answer)


def ema(average, weights, d):
    return [d * a + (1 - d) * w for a, w in zip(average, weights, strict=True)]


def in_place(average, weights, d):
    for a, w in zip(average, weights, strict=True):
        w.mul_(1 - d).add_(a, alpha=d)
    return weights


SOLUTIONS = {
    "step": step,
    "schedule": schedule,
    "decay_groups": groups(right_ones),
    "forecast": forecast,
    "resume": Resume(keep),
    "ema": ema,
    "accumulated": accumulated,
}

WRONG = [
    ("step", step_with(zero=None), "gradients of both batches"),
    ("step", step_with(zero="between"), "no gradient when the optimiser steps"),
    ("step", step_with(backward=False), "no gradient when the optimiser steps"),
    ("step", step_with(moves=False), "though they have gradients"),
    ("step", step_before_backward, "though they have gradients"),
    ("step", step_with(loss=lambda p, b, w: (w / w.sum() * (p - b.y) ** 2).mean()), "divided by their sum"),
    ("step", step_with(loss=lambda p, b, w: ((p - b.y) ** 2).mean()), "All rows count alike"),
    ("step", step_with(loss=lambda p, b, w: w.mean() * ((p - b.y) ** 2).mean()), "All rows count alike"),
    ("step", step_with(loss=lambda p, b, w: (w[:, 0] * (p - b.y).mean(-1) ** 2).mean()), "averaged before they were squared"),
    ("step", step_with(loss=lambda p, b, w: ((w * (p - b.y)) ** 2).mean()), "weights are squared too"),
    ("step", step_with(loss=lambda p, b, w: mse(p, b, w).sqrt()), "root of the error"),
    ("step", step_with(loss=lambda p, b, w: (w * (p - b.y) ** 2).sum()), "the sum of the errors"),
    ("step", step_with(loss=lambda p, b, w: (w * (p - b.y).abs()).mean()), "absolute errors"),
    ("step", step_with(loss=lambda p, b, w: (w.T * (p - b.y) ** 2).mean()), "along the longitudes"),
    ("step", step_with(loss=lambda p, b, w: 2 * mse(p, b, w)), "not those of the weighted loss"),
    ("step", step_with(out=lambda loss: loss), "carries its graph"),
    ("step", loss_afterwards, "not the loss before it"),
    ("schedule", schedule_with(stop=False), "rises again"),
    ("schedule", lambda k, n, w, f: schedule(k % (n + 1), n, w, f), "rises again"),
    ("schedule", schedule_with(up=lambda k, w: k / w), "a rate of zero"),
    ("schedule", schedule_with(up=lambda k, w: 1.0), "no warm-up"),
    ("schedule", schedule_with(up=lambda k, w: ((k + 1) / w) ** 2), "The warm-up is not"),
    ("schedule", schedule_with(begin=0), "begins at step 0"),
    ("schedule", lambda k, n, w, f: schedule(k, n, w, 0.0), "falls to zero"),
    ("schedule", schedule_with(linear=True), "in a straight line"),
    ("schedule", schedule_with(turn=2), "a whole turn"),
    ("schedule", lambda k, n, w, f: 100 * schedule(k, n, w, f), "between zero and one"),
    ("schedule", lambda k, n, w, f: max(f, schedule(k, n, w, 0.0)) if k >= w else (k + 1) / w, "not a half cosine"),
    ("decay_groups", groups(lambda n, p: True), "decay would pull"),
    ("decay_groups", groups(lambda n, p: p.ndim >= 2), "an embedding"),
    ("decay_groups", groups(lambda n, p: p.ndim >= 2 and "embed" not in n), "a bias, though it has two axes"),
    ("decay_groups", groups(lambda n, p: p.ndim >= 2 and "embed" not in n and "bias" not in n), "It is a matrix between layers"),
    ("decay_groups", groups(lambda n, p: right_ones(n, p) or (n.endswith("bias") and p.ndim == 1)), "It is a bias"),
    ("decay_groups", groups(lambda n, p: right_ones(n, p) or ("norm" in n and n.endswith("weight"))), "the gain of a norm"),
    ("decay_groups", groups(lambda n, p: right_ones(n, p) or n.endswith("query")), "the query of the aggregation"),
    ("decay_groups", groups(lambda n, p: not right_ones(n, p)), "decay would pull"),
    ("decay_groups", groups(right_ones, said=False), "AdamW would take 0.01"),
    ("decay_groups", groups(right_ones, second=0.1), "Expected decays of 0.3 and 0.0"),
    ("decay_groups", lambda m, d: groups(right_ones)(m, d)[:1], "In no group"),
    ("decay_groups", lambda m, d: groups(right_ones)(m, d) * 2, "in two groups"),
    ("decay_groups", lambda m, d: [{"params": [n for n, _ in m.named_parameters()], "weight_decay": d}], "no parameter of the model"),
    ("decay_groups", lambda m, d: list(m.parameters()), "Expected a list of dictionaries"),
    ("forecast", forecast_with(pick=False), "took the first three inputs"),
    ("forecast", forecast_with(share=torch.ones_like), "has no factor"),
    ("forecast", forecast_with(share=lambda a: 1 - a), "the factor 1 − a."),
    ("forecast", forecast_with(share=lambda a: 1 - a**2), "that is a variance"),
    ("forecast", forecast_with(share=torch.zeros_like), "damped anomalies alone"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:1, None] / tau)), "lead time of the first one"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:, None] / tau[:1])), "damping time of the first one"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:, None] / tau).T), "have changed places"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:, None] / tau)[None, None]), "multiplies the wrong axes"),
    ("forecast", forecast_with(a=lambda h, tau: 2 ** (-h[:, None] / tau)), "the base is 2"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(h[:, None] / tau)), "your a grows with the lead time"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-tau / h[:, None])), "upside down"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:, None] / tau.exp())), "for its logarithm"),
    ("forecast", forecast_with(a=lambda h, tau: torch.exp(-h[:, None] / 24 / tau)), "in days"),
    ("forecast", forecast_in_floats, "no gradient reaches τ"),
    ("forecast", lambda net, tau, *rest: forecast(net, tau.detach(), *rest), "no gradient reaches τ"),
    ("forecast", forecast_with(a=lambda h, tau: (1 - torch.exp(-2 * h[:, None] / tau)).sqrt()), "two factors have changed places"),
    ("forecast", lambda net, tau, x, h, v, o: x[:, [v.index(n) for n in o]] + (1 - torch.exp(-2 * h[:, None] / tau)).sqrt()[:, :, None, None] * net(x, h, v, o), "is not damped"),
    ("forecast", lambda net, tau, x, h, v, o: x[:, :3], "never asked"),
    ("forecast", lambda net, tau, x, h, v, o: forecast(lambda *a: net(2 * x, h, v, o), tau, x, h, v, o), "something else than x"),
    ("forecast", lambda net, tau, x, h, v, o: forecast(net, 2 * tau, x, h, v, o), "This is not a·x"),
    *[("resume", Resume(forgetting(p)), words) for p, words in zip(PARTS, check.PARTS, strict=True)],
    ("resume", Resume(forgetting("loader", "random")), "the place in the data, the random state"),
    ("resume", Resume(keep, lambda *a: None), "Nothing was carried over"),
    ("resume", Resume(seeds_anew), "changes the run that it watches"),
    ("resume", Resume(lambda *things: {"loader": lambda: 0}), "cannot be written"),
    ("resume", Resume(keep, draws_afterwards), "not only something forgotten"),
    ("ema", lambda a, w, d: ema(a, w, 1 - d), "changed places"),
    ("ema", lambda a, w, d: ema(a, w, 0.5), "plain mean"),
    ("ema", lambda a, w, d: a, "has not moved"),
    ("ema", lambda a, w, d: [d * x + y for x, y in zip(a, w, strict=True)], "grows for ever"),
    ("ema", in_place, "weights themselves were changed"),
    ("ema", lambda a, w, d: [x + d for x in a], "This is not decay"),
    ("accumulated", accumulated_with(share=lambda b, parts: 1.0), "the sum of the parts' gradients"),
    ("accumulated", accumulated_with(share=lambda b, parts: 1 / len(parts)), "Each part counts alike"),
    ("accumulated", accumulated_with(each=True), "step after each part"),
    ("accumulated", accumulated_with(each=True, share=lambda b, parts: 1.0), "with its whole gradient"),
    ("accumulated", accumulated_with(zero="each"), "Only the last part counts"),
    ("accumulated", accumulated_with(zero=None), "an earlier step left"),
    ("accumulated", accumulated_with(total=False), "not that of the whole batch"),
    ("accumulated", one_graph, "6 samples went forward before the first"),
    ("accumulated", all_forward_first, "6 samples went forward before the first"),
    ("accumulated", one_large_batch, "6 samples went forward before the first"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_passes(name):
    verdict = call(name, SOLUTIONS[name])
    assert verdict.ok, verdict


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_stub_is_not_yet(name):
    assert call(name, stub).state == "not yet"


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=[f"{name}: {message}" for name, _, message in WRONG])
def test_a_usual_mistake_is_named(name, answer, message):
    verdict = call(name, answer)
    assert verdict.state == "wrong", verdict
    assert message in verdict.sentence
    assert verdict.hint


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


def fails(*args):
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize(
    "garbage",
    [
        None,
        3,
        "text",
        fails,
        lambda *a: "text",
        lambda *a: {},
        lambda: 1,
        lambda *a: [[1], [2, 3]],
        lambda *a: torch.zeros(2),
    ],
)
def test_garbage_gets_a_sentence(name, garbage):
    verdict = call(name, garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 20


def test_other_right_answers_pass():
    assert check.step(step_with(zero="after")).ok
    assert check.step(step_with(out=lambda loss: loss.detach())).ok
    assert check.decay_groups(package.decay_groups).ok
    assert check.schedule(
        lambda k, n, w, f: package.schedule(k, package.Optimisation(n, warmup_steps=w, final_fraction=f))
    ).ok

    def trained_only(model, weight_decay):
        return [
            g | {"params": [p for p in g["params"] if p.requires_grad]} for g in groups(right_ones)(model, weight_decay)
        ]

    assert check.decay_groups(trained_only).ok


def test_the_package_s_forecaster_passes():
    def of_the_package(net, tau, x, lead_hours, variables, out_variables):
        known = (*out_variables, *(v for v in variables if v not in out_variables))
        forecaster = Forecaster(ClimaX(ClimaXConfig(known, (4, 4), 2, 8, 1, 2)))
        forecaster.net.forward = lambda x, h, v, o, ids: net(x, h, v, o)
        del forecaster.log_tau
        forecaster.log_tau = torch.cat([tau.log(), torch.zeros(1)])  # not a parameter here: τ comes from outside
        return forecaster(x, lead_hours, variables, out_variables)

    assert check.forecast(of_the_package).ok


class TestParity:
    def test_equal_weights(self):
        one = torch.nn.Linear(2, 3)
        assert "all 9 weights" in check.parity(one, one).sentence

    def test_the_last_bit_counts(self):
        one, two = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        two.load_state_dict(one.state_dict())
        with torch.no_grad():
            two.bias.copy_(torch.nextafter(two.bias, torch.tensor(9.0)))
        verdict = check.parity(one, two)
        assert not verdict.ok
        assert "1 of 2 parameters differ" in verdict.sentence
