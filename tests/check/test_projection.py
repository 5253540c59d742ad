"""The checkers of *Climate projection*: solutions pass, mistakes are named, garbage gets a sentence."""

import numpy as np
import torch

from climax_lite.check import projection as check
from tests.check.exercises import Exercises


def stub(*args):
    """Nothing yet."""
    ...


def windows(forcing, history):
    count = len(forcing) - history + 1
    return np.stack([forcing[i : i + history] for i in range(count)])


def pattern_scaling(warmth, maps):
    design = np.stack([np.ones_like(warmth), warmth], axis=1)
    flat = maps.reshape(len(maps), -1)
    return np.linalg.lstsq(design, flat, rcond=None)[0].reshape(2, *maps.shape[1:])


def pool(tokens, query, scale=None, dim=1):
    years = tokens.mean(dim=2)
    scores = years @ query / (len(query) ** 0.5 if scale is None else scale)
    weights = torch.softmax(scores, dim=dim)
    return (weights[..., None] * years).sum(dim=1)


def nrmse(prediction, truth, weights, divide=True, five="g", order=False):
    def space(x):
        return (x * weights[:, None]).mean(axis=(-2, -1))

    wrong = prediction - truth
    size = space(truth).mean() if divide else 1.0
    s = space(wrong.mean(axis=0) ** 2) ** 0.5 / size
    g = (space(wrong) ** 2).mean() ** 0.5 / size
    if order:
        s, g = g, s
    return s, g, s + 5 * g if five == "g" else 5 * s + g


def remembered(forcing, tau, k=None, start=None, late=0):
    k = 1 - np.exp(-1 / tau) if k is None else k(tau)
    m, out = forcing[0] if start is None else start, []
    for t in range(len(forcing)):
        m = m + k * (forcing[max(t - late, 0)] - m)
        out.append(m)
    return np.array(out)


def leave_one_run_out(runs, fit, score):
    out = {}
    for name, (x, y) in runs.items():
        emulator = fit({r: pair for r, pair in runs.items() if r != name})
        out[name] = score(emulator(x), y)
    return out


SOLUTIONS = {f.__name__: f for f in (windows, pattern_scaling, pool, nrmse, remembered, leave_one_run_out)}


def through_the_origin(warmth, maps):
    slope = np.einsum("t,thw->hw", warmth, maps) / (warmth**2).sum()
    return np.stack([0 * slope, slope])


def turned_over(warmth, maps):
    w, m = warmth - warmth.mean(), maps - maps.mean(0)
    slope = (m**2).sum(0) / np.einsum("t,thw->hw", w, m)
    return np.stack([maps.mean(0) - slope * warmth.mean(), slope])


def slope_alone(warmth, maps):
    found = pattern_scaling(warmth, maps)
    return np.stack([maps.mean(0), found[1]])


def over_all_tokens(tokens, query):
    flat = tokens.flatten(1, 2)
    weights = torch.softmax(flat @ query / len(query) ** 0.5, dim=1)
    return (weights[..., None] * flat).sum(1)


def without_softmax(tokens, query):
    years = tokens.mean(2)
    return ((years @ query / len(query) ** 0.5)[..., None] * years).sum(1)


def of_each_year(prediction, truth, weights):
    space = lambda x: (x * weights[:, None]).mean(axis=(-2, -1))  # noqa: E731
    size = space(truth).mean()
    _, g, _ = nrmse(prediction, truth, weights)
    s = (space((prediction - truth) ** 2) ** 0.5).mean() / size
    return s, g, s + 5 * g


def bias_for_g(prediction, truth, weights):
    s, _, _ = nrmse(prediction, truth, weights)
    space = lambda x: (x * weights[:, None]).mean(axis=(-2, -1))  # noqa: E731
    g = abs(space(prediction - truth).mean()) / space(truth).mean()
    return s, g, s + 5 * g


def of_each_year_squared(prediction, truth, weights):
    space = lambda x: (x * weights[:, None]).mean(axis=(-2, -1))  # noqa: E731
    _, g, _ = nrmse(prediction, truth, weights)
    s = space((prediction - truth) ** 2).mean() ** 0.5 / space(truth).mean()
    return s, g, s + 5 * g


def mean_size_for_g(prediction, truth, weights):
    space = lambda x: (x * weights[:, None]).mean(axis=(-2, -1))  # noqa: E731
    s, _, _ = nrmse(prediction, truth, weights)
    g = abs(space(prediction - truth)).mean() / space(truth).mean()
    return s, g, s + 5 * g


def no_root(prediction, truth, weights, of="sg"):
    s, g, _ = nrmse(prediction, truth, weights)
    size = (truth * weights[:, None]).mean()
    s, g = s**2 * size if "s" in of else s, g**2 * size if "g" in of else g
    return s, g, s + 5 * g


def unweighted_size(prediction, truth, weights):
    size = (truth * weights[:, None]).mean() / truth.mean()
    return [x * size for x in nrmse(prediction, truth, weights)]


def learned_from(runs, fit, score):
    return {name: score(fit(runs)(x), y) for name, (x, y) in runs.items()}


def on_itself(runs, fit, score):
    return {name: score(fit({name: (x, y)})(x), y) for name, (x, y) in runs.items()}


def fitted_once(runs, fit, score):
    emulator = fit({r: runs[r] for r in list(runs)[1:]})
    return {name: score(emulator(x), y) for name, (x, y) in runs.items()}


def popped(runs, fit, score):
    found = {}
    for name in list(runs):
        x, y = runs.pop(name)
        found[name] = score(fit(runs)(x), y)
    return found


def popped_and_put_back(runs, fit, score):
    found = {}
    for name in list(runs):
        x, y = runs.pop(name)
        found[name] = score(fit(runs)(x), y)
        runs[name] = x, y
    return found


def swapped(runs, fit, score):
    return leave_one_run_out(runs, fit, lambda prediction, truth: score(truth, prediction))


def of_pairs(runs, fit, score):
    return {n: score(fit([p for r, p in runs.items() if r != n])(x), y) for n, (x, y) in runs.items()}


def against_another(runs, fit, score):
    found = {}
    for name, (x, _) in runs.items():
        others = {r: p for r, p in runs.items() if r != name}
        found[name] = score(fit(others)(x), next(iter(others.values()))[1])
    return found


WRONG = [
    ("windows", lambda x, n: windows(x, n)[:-1], "The last window is missing"),
    ("windows", lambda x, n: windows(x, n)[::n], "do not overlap"),
    ("windows", lambda x, n: np.stack([np.roll(x, -i, 0)[:n] for i in range(len(x))]), "beyond the first or the last"),
    ("windows", lambda x, n: windows(x, n)[:, ::-1], "The years of a window run backwards"),
    ("windows", lambda x, n: windows(x, n)[::-1], "The windows run backwards"),
    ("windows", lambda x, n: windows(x, n).swapaxes(1, 2), "shape (5, 3, 2, 3, 4), got (5, 2, 3, 3, 4)"),
    ("windows", lambda x, n: windows(x, n) * 2, "not the windows"),
    ("pattern_scaling", lambda w, m: pattern_scaling(w, m)[::-1], "in the other order"),
    ("pattern_scaling", through_the_origin, "through the origin"),
    ("pattern_scaling", turned_over, "turned over"),
    ("pattern_scaling", slope_alone, "intercepts are not"),
    ("pattern_scaling", lambda w, m: pattern_scaling(w, m)[1], "shape (2, 3, 5), got (3, 5)"),
    ("pattern_scaling", lambda w, m: pattern_scaling(w, m) + 1, "not the least-squares lines"),
    ("pool", lambda t, q: t.mean((1, 2)), "All years weigh alike"),
    ("pool", lambda t, q: pool(t, q, scale=1), "not divided by √D"),
    ("pool", lambda t, q: pool(t, q, scale=len(q)), "divided by D, not by its root"),
    ("pool", lambda t, q: pool(t.transpose(1, 2), q), "attend over the map"),
    ("pool", lambda t, q: pool(t * t.shape[2], q), "You sum over the map"),
    ("pool", lambda t, q: pool(t, q) / t.shape[1], "You average the weighted years"),
    ("pool", lambda t, q: pool(t, q, dim=0), "over the samples of the batch"),
    ("pool", without_softmax, "There is no softmax"),
    ("pool", over_all_tokens, "all tokens of all years"),
    ("pool", lambda t, q: t.mean(2)[:, -1], "the last year alone"),
    ("pool", lambda t, q: pool(t, q)[:, None], "shape (2, 4), got (2, 1, 4)"),
    ("pool", lambda t, q: -pool(t, q), "not the pooled vector"),
    ("nrmse", lambda p, t, w: nrmse(p, t, np.ones_like(w)), "latitude weights are missing"),
    ("nrmse", lambda p, t, w: nrmse(p, t, w, divide=False), "not divided by the size"),
    ("nrmse", unweighted_size, "divide by is without latitude weights"),
    ("nrmse", of_each_year, "that of single years"),
    ("nrmse", of_each_year_squared, "that of single years"),
    ("nrmse", mean_size_for_g, "the mean size of the error"),
    ("nrmse", lambda p, t, w: nrmse(p, t, w, order=True), "other order"),
    ("nrmse", bias_for_g, "bias of the mean over the years"),
    ("nrmse", lambda p, t, w: nrmse(p, t, w, five="s"), "belongs to the other score"),
    ("nrmse", lambda p, t, w: (*nrmse(p, t, w)[:2], 1.0), "the total is not"),
    ("nrmse", no_root, "A square root is missing"),
    ("nrmse", lambda p, t, w: no_root(p, t, w, "s"), "A square root is missing"),
    ("nrmse", lambda p, t, w: no_root(p, t, w, "g"), "A square root is missing"),
    ("nrmse", lambda p, t, w: nrmse(p, t, w)[0], "shape (3,), got ()"),
    ("nrmse", lambda p, t, w: nrmse(2 * p, t, w), "Expected ["),
    ("remembered", lambda f, tau: f, "nothing is remembered"),
    ("remembered", lambda f, tau: remembered(f, tau, lambda t: np.exp(-1 / t)), "swapped"),
    ("remembered", lambda f, tau: remembered(f, tau, lambda t: 1 / t), "1/τ for"),
    ("remembered", lambda f, tau: remembered(f, tau, start=0.0), "begins at zero"),
    ("remembered", lambda f, tau: remembered(f, tau, late=1), "a year late"),
    ("remembered", lambda f, tau: remembered(f, tau)[1:], "shape (6,), got (5,)"),
    ("remembered", lambda f, tau: -remembered(f, tau), "not the memory"),
    ("leave_one_run_out", learned_from, "has been learned from"),
    ("leave_one_run_out", on_itself, "on one run and score the same"),
    ("leave_one_run_out", fitted_once, "You fit once"),
    ("leave_one_run_out", popped, "does not come back"),
    ("leave_one_run_out", swapped, "in the other order"),
    ("leave_one_run_out", of_pairs, "something else than a dictionary"),
    ("leave_one_run_out", against_another, "not those of the runs left out"),
    ("leave_one_run_out", lambda r, f, s: list(leave_one_run_out(r, f, s).values()), "Expected a dictionary"),
]


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_a_run_may_be_taken_out_and_put_back():
    assert check.leave_one_run_out(popped_and_put_back).ok


def test_parity():
    package = ([1.0, 2.0], [[3.0]], [4.0], [5.0, 6.0])
    assert check.parity(package, package).ok
    assert "patterns" in check.parity(([1.0, 2.0], [[3.5]], [4.0], [5.0, 6.0]), package).sentence
    assert "scores" in check.parity(([1.0, 2.0], [[3.0]], [4.0], [5.0, 7.0]), package).sentence
    assert "Not there yet" in check.parity((None, None, None, None), package).sentence
