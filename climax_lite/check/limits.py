"""Checkers of *What it cannot do, and what came after*."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import latitude_weights
from .answers import Mistake, expect, random
from .verdict import Verdict, attempt, checker, right

LAT = np.array([-66.0, -20.0, 5.0, 48.0])


@checker
def contingency(function: Any) -> Verdict:
    """`contingency(forecast, truth, threshold, weights)` → (frequency bias, hit rate, false-alarm ratio)."""
    truth = random(12, 4, 5).numpy() * 1.4
    forecast = 0.7 * truth + 0.5 * random(12, 4, 5, seed=1).numpy()
    weights, threshold = latitude_weights(LAT).numpy()[:, None], 1.0

    def of(f: np.ndarray, t: np.ndarray, w: Any = weights) -> tuple[Any, Any, Any]:
        hits, said, came = ((w * event).mean() for event in (f & t, f, t))
        return hits, said, came

    said, came = forecast > threshold, truth > threshold
    hits, says, comes = of(said, came)
    expected = [says / comes, hits / comes, 1 - hits / says]
    plain = of(said, came, 1.0)
    both = of(np.abs(forecast) > threshold, np.abs(truth) > threshold)
    below = of(forecast < threshold, truth < threshold)
    quiet = (weights * (said & ~came)).mean() / (weights * ~came).mean()
    by_time = [(weights * e).mean((1, 2)) for e in (said & came, said, came)]
    over_times = [
        (by_time[1] / by_time[2]).mean(),
        (by_time[0] / by_time[2]).mean(),
        (1 - by_time[0] / by_time[1]).mean(),
    ]
    cases: list[Mistake] = [
        ([plain[1] / plain[2], plain[0] / plain[2], 1 - plain[0] / plain[1]], "All cells count alike.", "Multiply the events by the weights before you average: a cell at 66° is smaller."),
        ([comes / says, *expected[1:]], "Your frequency bias is upside down.", "A forecast that says it too seldom has a bias below one."),
        ([expected[0], expected[1], hits / says], "Your third number is the share of alarms that were right.", "False alarms are the others."),
        ([expected[0], expected[1], quiet], "Your third number is the false-alarm *rate*: false alarms over the cases without an event.", "The *ratio* divides by the number of alarms."),
        ([expected[0], hits / says, 1 - hits / comes], "Hit rate and alarms have changed places: you divide hits by alarms.", "The hit rate is over what came, the false-alarm ratio over what was said."),
        ([expected[0], hits / says, expected[2]], "Your second number is over what was said: the share of alarms that were right.", "The hit rate is over what came."),
        ([expected[0], expected[1], (says - hits) / comes], "Your third number divides the false alarms by what came.", "By the number of alarms: what was said."),
        ([expected[0] - 1, *expected[1:]], "Your first number is the relative error of the frequency: 0 when it is right.", "The bias is the ratio: 1 when it is right."),
        (over_times, "You averaged ratios of single times.", "One sum over all times first, then one ratio."),
        ([expected[0], (weights * (said == came)).mean(), expected[2]], "Your second number counts the quiet cases too: right whenever nothing was said and nothing came.", "Hits: said *and* came."),
        ([both[1] / both[2], both[0] / both[2], 1 - both[0] / both[1]], "You count events of both signs.", "Above the threshold; no absolute value."),
        ([below[1] / below[2], below[0] / below[2], 1 - below[0] / below[1]], "You count what lies below the threshold.", "An event is a value above it."),
        (lambda g: g.shape == (3,) and np.allclose(np.sort(g), np.sort(expected), rtol=1e-4), "The three numbers are right, their order is another.", "(frequency bias, hit rate, false-alarm ratio)"),
    ]  # fmt: skip
    answer = attempt(function, forecast.copy(), truth.copy(), threshold, weights.copy())
    expect(answer, expected, cases, "These are not frequency bias, hit rate and false-alarm ratio.",
        "Three weighted sums: said, came, said and came.", "three numbers")  # fmt: skip
    never = attempt(function, forecast - 99, truth.copy(), threshold, weights.copy())
    expect(never, [0, 0, np.nan], [], "A forecast that never says it has the false-alarm ratio NaN (none of no alarms), and yours has not.",
        "With numpy's numbers 0/0 is NaN by itself; with a test of yours, return float('nan').", "three numbers")  # fmt: skip
    return right("Right: and no two of the three tell the whole story.")


@checker
def brier_skill(function: Any) -> Verdict:
    """`brier_skill(chance, happened, often, weights)` → 1 − BS / BS of the climatological frequency."""
    happened = random(15, 4, 5).numpy() > 0.8
    chance = np.clip(0.25 + 0.5 * happened + 0.2 * random(15, 4, 5, seed=1).numpy(), 0, 1)
    weights, often = latitude_weights(LAT).numpy()[:, None], 0.3

    def score(p: Any, w: Any = weights, power: float = 2) -> float:
        return float((w * np.abs(1.0 * p - happened) ** power).mean())

    def by_time(p: Any) -> np.ndarray:
        return (weights * (p - happened) ** 2).mean((1, 2))

    expected = 1 - score(chance) / score(often)
    sample = float((weights * happened).mean())
    cases: list[Mistake] = [
        (score(chance), "This is the Brier score: the mean square itself.", "Skill compares it with that of the climatological frequency."),
        (score(often) - score(chance), "This is the difference of the two scores.", "Skill is 1 minus their ratio."),
        (1 - np.sqrt(score(chance) / score(often)), "You took roots.", "The mean squares themselves."),
        (1 - score(chance, weights**2) / score(often, weights**2), "The weights are squared too.", "Square first, then multiply by the weights."),
        (1 - (by_time(chance) / by_time(often)).mean(), "You averaged the skills of single times.", "One mean over all times for each score, then one ratio."),
        (score(chance) / score(often), "Your number is the ratio of the two scores.", "A skill is one for a perfect forecast and zero for climatology: 1 minus the ratio."),
        (1 - score(often) / score(chance), "The ratio is upside down.", "The forecast's score stands above, climatology's below."),
        (1 - score(chance, 1.0) / score(often, 1.0), "All cells count alike.", "The weighted mean of the squares."),
        (1 - score(chance, power=1) / score(often, power=1), "These are absolute differences.", "Squares: with absolute values the best answer to a chance of 30 % would be 0."),
        (1 - score(chance > 0.5) / score(often), "You made a yes or no of the chance.", "The score takes the probability as it is."),
        (1 - score(chance) / score(sample), "Your climatology is the frequency in the cases that are scored.", "`often` is handed in: on this page it comes from the validation split."),
        (1 - score(chance) / float((weights * happened).mean()), "Your reference is a forecast of zero.", "The reference says `often` everywhere."),
        (1 - score(chance) / (often * (1 - often)), "often·(1 − often) is the reference's score only where the event is exactly as frequent as `often`.", "Score the reference as you score the forecast."),
    ]  # fmt: skip
    answer = attempt(function, chance.copy(), happened.copy(), often, weights.copy())
    expect(answer, expected, cases, "This is not the Brier skill score.",
        "Two weighted mean squares, one for `chance` and one for `often`.", "one number")  # fmt: skip
    return right("Right: above zero it knows more than how often it happens.")


@checker
def effective_number(function: Any) -> Verdict:
    """`effective_number(weights)`: (..., V) → (...), the exponential of the entropy."""
    scores = 1.5 * random(3, 4, 6).numpy()
    w = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    w[0, 0] = [0.5, 0.5, 0, 0, 0, 0]
    entropy = -np.where(w > 0, w * np.log(np.where(w > 0, w, 1)), 0).sum(-1)
    expected = np.exp(entropy)
    mean = w.reshape(-1, 6).mean(0)
    cases: list[Mistake] = [
        (lambda g: bool(np.isnan(g).any()), "A weight of zero gives NaN: 0 · ln 0 is 0 in an entropy.", "np.where(w > 0, w, 1) inside the logarithm."),
        (entropy, "This is the entropy itself.", "Its exponential counts: V equal weights have entropy ln V."),
        (entropy / np.log(2), "This is the entropy, in bits.", "Its exponential counts variables; with bits it is 2 to that power."),
        (np.exp(entropy / np.log(2)), "The entropy is in bits and the exponential is of base e.", "One base for both."),
        (np.exp(-entropy), "The sign: you give one over the number.", "Entropy is −Σ w ln w, above zero."),
        (1 / (w**2).sum(-1), "This is one over the sum of squares: an effective number too, another one.", "exp(−Σ w ln w)."),
        (expected.mean(), "You averaged over all places.", "One number for each place and head."),
        (np.exp(-(mean * np.log(mean)).sum()), "You averaged the weights first: heads that look at different things seem undecided.", "Entropy of each first."),
        (lambda g: g.shape == (4, 6), "You summed over the first axis.", "The variables are the last axis: sum(-1)."),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        answer = attempt(function, w.copy())
    expect(answer, expected, cases, "These are not the exponentials of the entropy.",
        "By hand: the weights ½, ½, 0, 0, 0, 0 count 2.", "one number for each place and head")  # fmt: skip
    return right("Right: one when a single variable has all the weight, V when all have the same.")


@checker
def below_the_grid(function: Any) -> Verdict:
    """`below_the_grid(fine, k)`: the share of the mean square that means over k × k cells lose."""
    k, fine = 3, random(5, 6, 12).numpy()
    fine[:, :3] += 0.8
    blocks = fine.reshape(5, 2, k, 4, k)
    means = blocks.mean((2, 4))
    expected = 1 - (means**2).mean() / (fine**2).mean()
    swapped = fine.reshape(5, k, 2, k, 4).mean((1, 3))
    rows = fine.reshape(5, 2, 4, k, k).mean((3, 4))
    cases: list[Mistake] = [
        (1 - expected, "This is the share that the blocks keep.", "What lies below the grid is the rest."),
        ((fine**2).mean() - (means**2).mean(), "This is a mean square, not a share.", "Divide by the mean square of the fine cells."),
        (1 - (swapped**2).mean() / (fine**2).mean(), "Your blocks are made of cells that are no neighbours.", "reshape(T, H // k, k, W // k, k): a block's own cells are the *faster* axis."),
        (1 - (fine[:, ::k, ::k] ** 2).mean() / (fine**2).mean(), "You took one cell of each block, not their mean.", "Mean over both axes of the block."),
        (1 - (means**2).sum() / (fine**2).sum(), "You compare sums, and there are k² times as many fine cells as blocks.", "Means, not sums."),
        (1 - np.sqrt((means**2).mean() / (fine**2).mean()), "This is a ratio of amplitudes.", "The share of the mean square: no root."),
        (1 - means.var() / fine.var(), "You removed a mean: these are departures already.", "Mean squares as they are."),
        (1 - ((means - means.mean(0)) ** 2).mean() / ((fine - fine.mean(0)) ** 2).mean(), "You removed a mean over time: these are departures already.", "Mean squares as they are."),
        (1 - (fine[:, k // 2 :: k, k // 2 :: k] ** 2).mean() / (fine**2).mean(), "You took the middle cell of each block, not their mean.", "Mean over both axes of the block."),
        (1 - (rows**2).mean() / (fine**2).mean(), "Your blocks hold neighbours in one row only.", "reshape(T, H // k, k, W // k, k): each k beside the axis that it divides."),
        (lambda g: g.shape == (5,), "One number over all times, please.", "Mean over times too, before you divide."),
    ]  # fmt: skip
    expect(attempt(function, fine.copy(), k), expected, cases, "This is not the share of the mean square that block means lose.",
        "1 − ⟨block mean²⟩ / ⟨cell²⟩.", "one number")  # fmt: skip
    even = attempt(function, np.repeat(np.repeat(means, k, 1), k, 2), k)
    expect(even, 0, [], "Right for noise, wrong for a map that is constant in each block: nothing lies below its grid.",
        "Its share is 0.", "one number")  # fmt: skip
    return right("Right: however good the forecast of the coarse map, this part is out of reach.")
