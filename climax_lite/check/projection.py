"""Checkers of *Climate projection*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .answers import Mistake, alike, array, either, expect, first, random, same
from .verdict import Verdict, attempt, checker, right, wrong


@checker
def windows(function: Any) -> Verdict:
    """`windows(forcing, history)`: (T, V, H, W) → (N, history, V, H, W), each window ending a year later."""
    rng = np.random.default_rng(0)
    x, history = rng.standard_normal((7, 2, 3, 4)), 3
    answer = attempt(function, x.copy(), history)
    count = len(answer) if hasattr(answer, "__len__") else -1
    cases: list[Mistake] = [
        (count == 4, "The last window is missing: seven years have five windows of three.", "T − history + 1"),
        (count == 2, "Your windows do not overlap: seven years have five windows of three.", "The next one begins one year later, not `history` years later."),
        (count in (6, 7), "Some windows reach beyond the first or the last year.", "Only whole windows: the first one ends at year `history` − 1, counted from 0."),
    ]  # fmt: skip
    if not (known := first(cases, right(""))).ok:
        return known
    expected = np.stack([x[i : i + history] for i in range(5)])
    cases = [
        (
            expected[:, ::-1],
            "The years of a window run backwards.",
            "The last year is the one whose climate is predicted.",
        ),
        (expected[::-1], "The windows run backwards.", "Window 0 ends first."),
    ]
    expect(answer, expected, cases, "These are not the windows.", "Window i holds the years i to i + history − 1.",
        "an array (windows, years, forcings, lat, lon)")  # fmt: skip
    return right("Right: seven years, windows of three: five, each ending at its own year.")


@checker
def pattern_scaling(function: Any) -> Verdict:
    """`pattern_scaling(warmth, maps)`: (T,), (T, H, W) → intercept and slope of each cell, (2, H, W)."""
    rng = np.random.default_rng(1)
    warmth = rng.uniform(1, 4, 30)
    true = np.stack([rng.standard_normal((3, 5)), 1 + rng.uniform(0, 2, (3, 5))])
    maps = true[0] + true[1] * warmth[:, None, None] + 0.3 * rng.standard_normal((30, 3, 5))
    given = array(attempt(function, warmth.copy(), maps.copy()), (2, 3, 5), "intercept and slope of each cell")
    design = np.stack([np.ones(30), warmth], axis=1)
    expected = np.linalg.lstsq(design, maps.reshape(30, -1), rcond=None)[0].reshape(2, 3, 5)
    origin = np.einsum("t,thw->hw", warmth, maps) / (warmth**2).sum()
    w, m = warmth - warmth.mean(), maps - maps.mean(axis=0)
    backwards = (m**2).sum(axis=0) / np.einsum("t,thw->hw", w, m)
    cases: list[Mistake] = [
        (expected[::-1], "Intercept and slope are in the other order.", "(2, H, W): the intercept first."),
        (same(given[1], origin), "Your lines go through the origin.", "A column of ones gives each cell its own intercept."),
        (same(given[1], backwards), "This is the line from the map to the global mean, turned over.", "The global mean temperature is x, the cell is y."),
        (same(given[1], expected[1]), "The slopes are right, the intercepts are not.", "mean of the cell − slope · mean warmth"),
    ]  # fmt: skip
    expect(given, expected, cases, "These are not the least-squares lines.",
        "`np.linalg.lstsq(design, maps.reshape(T, -1), rcond=None)[0]`, the design with two columns.")  # fmt: skip
    return right("Right: two numbers for each cell, and the whole map follows from one temperature.")


@checker
def pool(function: Any) -> Verdict:
    """`pool(tokens, query)`: tokens (B, T, L, D), query (D,) → (B, D)."""
    tokens, query = random(2, 3, 5, 4, seed=2).float(), 2 * random(4, seed=3).float()
    years = tokens.mean(dim=2)

    def attended(scores: Tensor, dim: int = 1, over: Tensor = years) -> Tensor:
        return (torch.softmax(scores, dim=dim)[..., None] * over).sum(1)

    scores = years @ query / 2.0  # √D = 2
    places, sums = tokens.mean(dim=1), tokens.sum(dim=2)
    every = torch.softmax((tokens @ query / 2.0).flatten(1), dim=1)
    cases: list[Mistake] = [
        (years.mean(1), "All years weigh alike: the query has no effect.", "softmax over the years of ⟨query, year⟩ / √D"),
        (attended(2 * scores), "The scores are not divided by √D.", "As in every attention of this book."),
        (attended(scores / 2), "The scores are divided by D, not by its root.", "⟨query, year⟩ / √D"),
        (attended(scores, 0), "Your softmax runs over the samples of the batch.", "`dim=1`: the weights of the years of one sample sum to one."),
        ((scores[..., None] * years).sum(1), "There is no softmax.", "The weights of the years sum to one."),
        ((every[..., None] * tokens.flatten(1, 2)).sum(1), "You attend over all tokens of all years.", "First the mean over the map, then attention over the years."),
        (attended(places @ query / 2.0, over=places), "You average over the years and attend over the map.", "The mean is over the L tokens: `dim=2`."),
        (attended(sums @ query / 2.0, over=sums), "You sum over the map.", "The *mean* over the L tokens."),
        (attended(scores) / 3, "You average the weighted years.", "The weights sum to one already: `.sum(dim=1)`."),
        (years[:, -1], "This is the last year alone.", "The climate remembers the years before."),
    ]  # fmt: skip
    expect(attempt(function, tokens.clone(), query.clone()), attended(scores), cases, "This is not the pooled vector.",
        "mean over L, scores (B, T), softmax over T, weighted sum over T", "one vector for each sample")  # fmt: skip
    return right("Right: a map becomes one vector, ten years become one.")


@checker
def nrmse(function: Any) -> Verdict:
    """`nrmse(prediction, truth, weights)` → (NRMSE_s, NRMSE_g, total) of (T, H, W), weights (H,) with mean one."""
    rng = np.random.default_rng(3)
    weights = np.array([0.5, 1.4, 1.1])
    truth = 2 + rng.standard_normal((6, 3, 4))
    prediction = truth + 0.4 * rng.standard_normal((6, 3, 4)) + np.linspace(-0.3, 0.6, 6)[:, None, None]
    given = array(attempt(function, prediction.copy(), truth.copy(), weights.copy()), (3,), "three numbers")

    def space(x: np.ndarray, w: np.ndarray = weights) -> np.ndarray:
        return (x * w[:, None]).mean(axis=(-2, -1))

    def three(s: float, g: float) -> np.ndarray:
        return np.array([s, g, s + 5 * g])

    def scores(w: np.ndarray = weights, size: float | None = None) -> np.ndarray:
        d = prediction - truth
        size = space(truth, w).mean() if size is None else size
        return three(space(d.mean(axis=0) ** 2, w) ** 0.5 / size, (space(d, w) ** 2).mean() ** 0.5 / size)

    d, size = prediction - truth, space(truth).mean()
    expected = scores()
    each_year = either((space(d**2) ** 0.5).mean() / size, space(d**2).mean() ** 0.5 / size)
    unrooted = space(d.mean(axis=0) ** 2) / size, (space(d) ** 2).mean() / size
    cases: list[Mistake] = [
        (scores(np.ones(3)), "All rows count alike: the latitude weights are missing.", "(x · weights[:, None]).mean(axis=(-2, -1))"),
        (scores(size=truth.mean()), "The mean that you divide by is without latitude weights.", "Both by `space(truth).mean()`."),
        (scores(size=1.0), "The errors are not divided by the size of the truth.", "Both by the mean of the truth over years and globe."),
        (each_year(given[0]), "Your spatial score is that of single years: it counts the weather of each.", "First the mean over the years, then the error."),
        (same(given[:2], expected[1::-1]), "The spatial and the global score are in the other order.", "Spatial first."),
        (same(given[1], abs(space(d).mean()) / size), "Your global score is the bias of the mean over the years.", "The error of each year's global mean is squared, then averaged over the years."),
        (same(given[1], abs(space(d)).mean() / size), "Your global score is the mean size of the error.", "The *root* of the mean *square* over the years."),
        (same(given, [*expected[:2], 5 * expected[0] + expected[1]]), "The five belongs to the other score.", "total = NRMSE_s + 5 · NRMSE_g"),
        (same(given[:2], expected[:2]), "The first two are right, the total is not.", "total = NRMSE_s + 5 · NRMSE_g"),
        (same(given[0], unrooted[0]) or same(given[1], unrooted[1]), "A square root is missing.", "It is the *root* of the mean square."),
    ]  # fmt: skip
    expect(given, expected, cases, f"Expected {expected.round(4)}, got {given.round(4)}.",
        "Do NRMSE_s first: mean over the years, square, weighted mean, root, divide.")  # fmt: skip
    return right("Right: one score for the map, one for the globe year by year, and their sum.")


@checker
def parity(mine: Any, package: Any) -> Verdict:
    """The learner's windows, patterns, pooled vector and scores against the package's."""
    alike(("windows", "patterns", "pooled vector", "scores"), mine, package, "rounds 1 to 4", 1e-3, 1e-5)
    return right("Equal: your four pieces are the package's.")


@checker
def remembered(function: Any) -> Verdict:
    """`remembered(forcing, tau)`: m(0) = F(0), m(t) = m(t−1) + (1 − e^(−1/τ)) · (F(t) − m(t−1))."""
    forcing, tau = np.array([1.0, 4.0, 2.0, 8.0, 8.0, 3.0]), 2.5

    def run(k: float, start: float = forcing[0], late: bool = False) -> np.ndarray:
        m, out = start, []
        for t, f in enumerate(forcing):
            target = forcing[max(t - 1, 0)] if late else f
            m = m + k * (target - m)
            out.append(m)
        return np.array(out)

    k = 1 - np.exp(-1 / tau)
    cases: list[Mistake] = [
        (forcing, "This is the forcing itself: nothing is remembered.", "A part 1 − e^(−1/τ) of the way is gone each year."),
        (run(1 - k), "e^(−1/τ) and 1 − e^(−1/τ) are swapped.", "A long memory, large τ, moves slowly."),
        (run(1 / tau), "You took 1/τ for 1 − e^(−1/τ).", "They agree for long memories only; with τ below one it would overshoot."),
        (run(k, 0.0), "Your memory begins at zero.", "It begins with the first year's forcing."),
        (run(k, late=True), "The memory is a year late: year t does not see the forcing of year t.", "m moves towards F(t)."),
    ]  # fmt: skip
    expect(attempt(function, forcing.copy(), tau), run(k), cases, "This is not the memory of the docstring.",
        "By hand for two years: 1, then 1 + 0.33 · (4 − 1).", "one number for each year")  # fmt: skip
    return right("Right: the sea in one number.")


@checker
def leave_one_run_out(function: Any) -> Verdict:
    """`leave_one_run_out(runs, fit, score)` → {name: score of that run by an emulator fitted on all others}."""
    runs = {"a": (1, 10), "b": (2, 20), "c": (3, 30)}
    parts = {"a": 0.1, "b": 0.2, "c": 0.4}  # of the score: it tells which runs were learned from
    fitted: list[tuple[str, ...] | None] = []
    swapped: list[bool] = []

    def fit(some: Any) -> Any:
        names = tuple(sorted(some)) if isinstance(some, dict) else None
        fitted.append(names)
        return lambda x: ("prediction", x, sum(parts.get(r, 0) for r in names or ()))

    def score(prediction: Any, truth: Any) -> float:
        swapped.append(isinstance(truth, tuple))
        _, x, learned = truth if swapped[-1] else prediction
        return 7 * x + (0 if swapped[-1] else truth) + learned

    answer = attempt(function, dict(runs), fit, score)
    if not isinstance(answer, dict) or set(answer) != set(runs):
        return wrong("Expected a dictionary with one score for each run.", "{name: ... for name in runs}")
    given = array([answer[r] for r in runs], (3,), "one number for each run")
    expected = np.array([7 * x + y + 0.7 - parts[r] for r, (x, y) in runs.items()])
    cases: list[Mistake] = [
        (None in fitted, "`fit` was given something else than a dictionary of runs.", "{r: pair for r, pair in runs.items() if …}"),
        (any(swapped), "The prediction and the climate are in the other order in `score`.", "score(prediction, climate)"),
        (bool(fitted) and all(f == ("a", "b", "c") for f in fitted), "The run that is scored has been learned from.", "Fit on a dictionary without it."),
        (bool(fitted) and all(len(f or ()) == 1 for f in fitted), "You fit on one run and score the same one.", "Fit on all the *others*."),
        (any(len(f or ()) < 2 for f in fitted), "A run that was left out does not come back.", "`pop` and `del` change `runs` itself: make a new dictionary for each run."),
        (len(set(fitted)) < 3, "You fit once; a new emulator is needed for each run that is left out.", "`fit` inside the loop."),
        (not same(given, expected), "The scores are not those of the runs left out.", "emulator(forcing of the run), against the climate of the same run"),
    ]  # fmt: skip
    return first(cases, right("Right: every run is foreign once."))
