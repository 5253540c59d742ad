"""Checkers of *Weeks three to six*."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import block_bootstrap
from .answers import Mistake, alike, first, numbers, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong


def _floats(answer: Any, names: str) -> list[np.ndarray]:
    """The answer as so many arrays, or numbers, as there are names."""
    count = len(names.split(","))
    if isinstance(answer, (tuple, list, np.ndarray)) and len(answer) == count:
        return [numbers(a) for a in answer]
    raise Stop(wrong(f"Expected {count} things, ({names}).", f"return {names}"))


def _means(values: np.ndarray, first: int, last: int, rows: int) -> np.ndarray:
    """Means over the positions n + first to n + last, both included, of the rows n that have them."""
    return np.stack([values[n + first : n + last + 1].mean(axis=0) for n in range(rows)])


@checker
def window_means(function: Any) -> Verdict:
    """`window_means(values, after, until)`: means over t0 + after < t <= t0 + until."""
    values, after, until, rows = np.random.default_rng(0).normal(size=(20, 3)), 3, 7, 13
    given = np.asarray(attempt(function, values.copy(), after, until), dtype=np.float64)
    if given.ndim != 2 or given.shape[1:] != (3,):
        return wrong(f"For values (20, 3) expected (N, 3), got {given.shape}.", "The mean is over time alone.")
    n = len(given)

    def is_mean(first: int, last: int, scale: float = 1.0) -> bool:
        some = min(n, len(values) - max(last, 0), rows)
        return some > 0 and same(given[:some], scale * _means(values, first, last, some))

    cases: list[Mistake] = [
        (is_mean(after, until - 1), "Your window takes the step t0 + after and misses t0 + until.", "after < t − t0 <= until: the first end is left out, the last one in."),
        (is_mean(after, until), "Your window takes both ends: one step too many.", "The step t0 + after is left out."),
        (is_mean(after + 1, until - 1), "Your window leaves out both ends: one step too few.", "A slice ends before its second number."),
        (is_mean(after + 1, until, until - after), "These are sums.", "Divide by until − after."),
        (is_mean(1, until), "Your window begins right after t0.", "The steps up to t0 + after are left out."),
        (is_mean(1, until - after), "Your window has the right length and begins right after t0.", "Move it by `after`."),
        (n > rows, f"20 steps and until = 7 leave {rows} initial times, got {n}: the last ones have no whole window.", "A slice beyond the end is cut short without an error."),
        (n < rows, f"20 steps and until = 7 leave {rows} initial times, got {n}.", "The last initial time is T − 1 − until, and it counts."),
        (not is_mean(after + 1, until), "These are not the means of the windows.", "By hand: with after = 3 and until = 7, row 0 is the mean of positions 4, 5, 6 and 7."),
    ]  # fmt: skip
    if not (verdict := first(cases, right(""))).ok:
        return verdict
    if not same(attempt(function, values[:, 0].copy(), 0, 2), _means(values[:, 0], 1, 2, 18)):
        return wrong("Right for (T, 3), wrong for a plain series (T,) with after = 0.", "Leave the axes behind the first alone.")  # fmt: skip
    return right("Right: the first end is out, the last one in, and no window leaves the record.")


@checker
def as_states(function: Any) -> Verdict:
    """`as_states(values, after, until)`: (known, came), trailing means at t0 and at t0 + until."""
    values, after, until = np.random.default_rng(1).normal(size=(25, 2)), 4, 7
    count = until - after
    pair = _floats(attempt(function, values.copy(), after, until), "known, came")
    known, came = pair
    trailing = _means(values, 0, count - 1, len(values) - count + 1)
    expected = trailing[:-until], trailing[until:]
    rows = len(expected[0])

    def begins(series: np.ndarray, with_row: Any) -> int | None:
        """Where in the trailing means a series begins."""
        if with_row.ndim != 2 or not len(with_row):
            return None
        return next((k for k, row in enumerate(series) if same(row, with_row[0])), None)

    k, c = begins(trailing, known), begins(trailing, came)
    cases: list[Mistake] = [
        ((k, c) == (until, 0), "Known and came are swapped.", "(known, came)"),
        (begins(values, known) is not None, "Your `known` is the state at t0, not a mean.", "Persistence of the last weeks' anomaly needs their mean."),
        (begins(_means(values, 0, until - 1, 10), known) is not None, "Your means are over `until` steps.", "As long as the target: until − after."),
        (begins(_means(values, 0, after - 1, 10), known) is not None, "Your means are over `after` steps.", "As long as the target: until − after."),
        ((k, c) == (0, after), "Your `came` is `after` steps later: it ends where the target begins.", "The trailing mean is labelled by its last step, which is t0 + until."),
        ((k, c) == (0, count), "Your `came` follows right behind `known`.", "It ends `until` steps after t0."),
        (k is not None and c is not None and c - k == until and k > 0, f"Your first initial time is {k} steps too late.", "The first that has a past of until − after steps is position until − after − 1."),
        (len(known) != len(came), f"Known has {len(known)} rows and came {len(came)}: row n of both must be of one initial time.", "Keep the initial times that have both."),
        (len(known) != rows and (k, c) == (0, until), f"25 steps leave {rows} initial times that have both, got {len(known)}.", "T − until − (until − after) + 1"),
        (not same(known, expected[0]), "Your `known` is not the mean over the until − after steps up to t0.", "t0 itself is the last of them."),
        (not same(came, expected[1]), "Your `came` is not the mean over the steps up to t0 + until.", "The same trailing mean, `until` steps later."),
    ]  # fmt: skip
    return first(cases, right("Right: the target is the trailing mean, later. Every baseline for states now forecasts means."))  # fmt: skip


@checker
def slow_and_fast(function: Any) -> Verdict:
    """`slow_and_fast(means, group)`: (σ_s², σ_n²) from groups of windows."""
    rng = np.random.default_rng(2)
    m, groups = 4, 3
    means = np.repeat(np.array([1.5, 0]) + rng.normal(size=(groups + 1, 2)), m, axis=0)[: m * groups + 2]
    means = means + rng.normal(size=means.shape)
    means[:, 1] = 2 * (-1.0) ** np.arange(len(means)) + 0.1 * means[:, 1]  # nothing slow: the estimate falls below zero
    pair = _floats(attempt(function, means.copy(), m), "slow, fast")
    slow, fast = pair
    if slow.shape != (2,) or fast.shape != (2,):
        return wrong(f"For means (14, 2) expected two arrays (2,), got {slow.shape} and {fast.shape}.", "The variances (slow, fast) of each place; their ratio comes later.")  # fmt: skip
    x = means[: m * groups].reshape(groups, m, 2)
    w, centre = x.var(axis=1, ddof=1).mean(axis=0), x.mean(axis=1)
    expected = (centre**2).mean(axis=0) - w / m
    cases: list[Mistake] = [
        (same(slow, w) and same(fast, expected), "The two are swapped.", "(σ_s², σ_n²): slow first."),
        (same(fast, means[2:].reshape(groups, m, 2).var(axis=1, ddof=1).mean(axis=0)), "You dropped the first windows; what is left over at the end is to be dropped.", "means[: groups * group]"),
        (same(fast, x.var(axis=1).mean(axis=0)), "You divide by m: the mean of a group was found from the same fortnights, and they lie too close to it.", "ddof=1 divides by m − 1."),
        (same(fast, np.sqrt(w)) or same(fast, x.std(axis=1, ddof=1).mean(axis=0)), "These are deviations, not variances.", "Shares of variance are asked for."),
        (same(fast, means[: m * groups].reshape(m, groups, 2).var(axis=0, ddof=1).mean(axis=0)), "Your groups are not neighbours: each takes every third window.", "reshape(groups, group, ...): the window runs fastest."),
        (same(fast, means.var(axis=0, ddof=1)) or same(fast, means.var(axis=0)), "Your σ_n² is the variance of all windows: the slow part is in it.", "Deviations from the mean of their own group."),
        (not same(fast, w), "σ_n² is not W.", "The variance within each group, with m − 1, then the mean over groups."),
        (same(slow, (centre**2).mean(axis=0)), "Your σ_s² is the mean square of the group means: W/m of it is weather.", "Subtract it."),
        (same(slow, (centre**2).mean(axis=0) - w), "You subtract W. A mean of m windows has only W/m of weather in it.", "Divide by `group`."),
        (same(slow, centre.var(axis=0) - w / m) or same(slow, centre.var(axis=0, ddof=1) - w / m), "You took the mean of the record off.", "Zero is the climatology: mean of the squares."),
        (same(slow, expected.clip(min=0)), "You cut σ_s² at zero: averages over cells come out too large.", "Leave negative estimates as they are."),
        (not same(slow, expected), "σ_s² is not that of the equation.", "The mean over groups of the squared group mean, less W/m."),
    ]  # fmt: skip
    return first(cases, right("Right: the ratio slow / (slow + fast) is the share that could be foretold."))


@checker
def skill_interval(function: Any) -> Verdict:
    """`skill_interval(mse, usual, block, repeats, rng)`: (skill, low, high), blocks drawn for both series together."""
    rng = np.random.default_rng(3)
    weather = np.convolve(rng.normal(size=260), np.ones(21) / 21, "valid") * 6
    usual = np.exp(1 + 0.5 * weather[:200])
    mse = usual * (0.8 + 0.12 * np.convolve(rng.normal(size=219), np.ones(20) / 20, "valid") * 4)
    block, repeats, learner = 25, 2000, np.random.default_rng(4)
    found = _floats(attempt(function, mse.copy(), usual.copy(), block, repeats, learner), "skill, low, high")
    skill, low, high = map(float, found)
    expected = 1 - mse.mean() / usual.mean()

    def drawn(size: int, apart: bool = False, level: float = 95.0) -> np.ndarray:
        one, other = (_blocks(len(mse), size, repeats, np.random.default_rng(seed)) for seed in (5, 6 if apart else 5))
        both = 1 - mse[one].mean(axis=1) / usual[other].mean(axis=1)
        return np.asarray(np.percentile(both, [50 - level / 2, 50 + level / 2]))

    ends = drawn(block)

    def near(value: Any, share: float = 0.1) -> bool:
        return bool(np.allclose([low, high], value, atol=share * float(np.ptp(value))))

    cases: list[Mistake] = [
        (same(skill, 1 - expected), "This is the ratio of the errors; the skill is one minus it.", "1 − mean(mse) / mean(usual)"),
        (same(skill, (1 - mse / usual).mean()), "This is the mean of ratios: a quiet day, with little error to divide by, weighs as much as a wild one.", "Two means first, then the ratio."),
        (same(skill, 1 - np.sqrt(mse).mean() / np.sqrt(usual).mean()) or same(skill, 1 - np.sqrt(mse.mean() / usual.mean())), "You took roots: this skill is of squared errors.", "The series are squared errors already."),
        (same(skill, 1 - usual.mean() / mse.mean()), "The two errors are swapped in the ratio.", "The forecast's over climatology's."),
        (not np.isclose(skill, expected, rtol=1e-6), "The skill is not that of the series themselves.", "It is not taken from the drawings: 1 − mean(mse) / mean(usual)."),
        (low > high, "The ends are swapped.", "(skill, low, high)"),
        (near(1 - ends[::-1]), "The ends are of the ratio, not of the skill.", "One minus it."),
        (near(drawn(block, apart=True)) and not near(ends), "Forecast and climatology were drawn apart: the weather that they share does not cancel, and the interval is too wide.", "The same positions for both series."),
        (near(drawn(1)) and not near(ends), "Single times were drawn: neighbours depend on one another, and the interval is too narrow.", "Draw starts, and add np.arange(block)."),
        (near(drawn(block, level=90), 0.05) and not near(ends, 0.06), "This is the middle 90 %.", "np.percentile(..., [2.5, 97.5])"),
        (near(np.array(block_bootstrap(1 - mse / usual, block, 2000)), 0.08) and not near(ends), "The drawings take the mean of ratios.", "Two means for each drawing, then the ratio."),
        (not near(ends, 0.2), "These are not the ends of the block bootstrap.", "One skill for each drawing of blocks, and 2.5 and 97.5 % of these."),
    ]  # fmt: skip
    fine = right("Right: both series share every drawing, and the weather they share cancels.")
    if not (verdict := first(cases, fine)).ok:
        return verdict
    if learner.bit_generator.state == np.random.default_rng(4).bit_generator.state:
        return wrong("The starts were not drawn with `rng`.", "rng.integers(...)")
    return _joined(attempt(function, *_ends_in_an_error(), 20, repeats, np.random.default_rng(7)), fine)


def _ends_in_an_error() -> tuple[np.ndarray, np.ndarray]:
    """(mse, usual) of 30 times, all error at the last: it is drawn by one start of eleven for the first block of 20, and cut from the second."""
    return np.where(np.arange(30) == 29, 30.0, 0.0), np.ones(30)


def _joined(answer: Any, fine: Verdict) -> Verdict:
    """What the lower end of the skill of `_ends_in_an_error` tells of how the blocks were joined."""
    found = _floats(answer, "skill, low, high")
    low, high = map(float, found[1:])
    cases: list[Mistake] = [
        (low == high == 1, "The last time is never drawn: the last start is missing.", "The last whole block starts at T − block, and the end of rng.integers is left out."),
        (bool(np.isclose(low, 0.25)), "Your drawings are longer than the series.", "Join the blocks, then cut at T."),
        (bool(np.isclose(low, -0.5)), "Your drawings are shorter than the series.", "Enough blocks to reach T, the last one cut: -(-T // block)."),
        (not np.isclose([low, high], [0, 1]).all(), "Some blocks do not start at 0 to T − block, or are not joined and cut at T.", "Whole blocks of neighbours; the record does not go on from its end to its beginning."),
    ]  # fmt: skip
    return first(cases, fine)


def _blocks(count: int, size: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Positions (repeats, count) of moving blocks."""
    starts = rng.integers(0, count - size + 1, (repeats, -(-count // size)))
    return (starts[:, :, None] + np.arange(size)).reshape(repeats, -1)[:, :count]


@checker
def parity(mine: Any, package: Any) -> Verdict:
    """The learner's `window_means` and `came` against the package's targets."""
    alike(("window means", "means as states"), mine, package, "rounds 1 and 2", atol=1e-4)
    return right("Equal: your windows, made either way, are the package's targets.")


@checker
def longer_past(function: Any) -> Verdict:
    """`longer_past(share, k)`: (a, skill) for the mean of the last k windows."""
    one, found = (_floats(attempt(function, *probe), "a, skill") for probe in ((0.3, 1), (0.25, 4)))
    a, skill = map(float, found)
    best = 0.25 / (0.25 + 0.75 / 4)
    cases: list[Mistake] = [
        (same([a, skill], [best * 0.25, best]), "Factor and skill are swapped.", "(a, skill)"),
        (same(a, 0.25), "The factor is P, whatever k: the weather in a mean of k is smaller.", "Its variance is (1 − P)/k."),
        (same(a, 0.25 / (0.25 + 0.75 / 2)), "You divided by √k: that is the deviation; its square, the variance, goes with 1/k.", "(1 − P)/k"),
        (same(a, 1.0), "The factor is k · P, without the weather that is left.", "Covariance over the variance of the known."),
        (same(a, 0.25 / 4), "You divided by k what should grow with it.", "With more fortnights the known is cleaner, and the factor nearer to one."),
        (not same(a, best), f"For P = 0.25 and k = 4 expected a = {best:.4f}, got {a:.4f}.", "Covariance P; variance of the known P + (1 − P)/k."),
        (same(skill, best**2), "Skill a² is true for one fortnight only.", "2·a·P − a²·(variance of the known); for the best a this is a·P."),
        (same(skill, 2 * best * 0.25 - best**2), "2aP − a² holds when the known has the variance one; a mean of k has less.", "a · covariance"),
        (not same(skill, best * 0.25), f"For P = 0.25 and k = 4 expected a skill of {best * 0.25:.4f}, got {skill:.4f}.", "a · covariance, over the variance of the target."),
        (not same(one, [0.3, 0.09]), "For k = 1 it must be P and P².", "Try it by hand."),
    ]  # fmt: skip
    return first(cases, right("Right: a longer look back nears P, as long as the slow part stays."))


@checker
def noise_floor(function: Any) -> Verdict:
    """`noise_floor(years, harmonics, window_days, apart)`: the false P of a climatology from few years."""
    probes = ((3, 1, 7, 40), (1, 2, 14, 28))
    given = [float(attempt(function, *probe)) for probe in probes]

    def alike(h: int, apart: float) -> float:
        return 1 + 2 * sum(float(np.cos(2 * np.pi * k * apart / 365.2425)) for k in range(1, h + 1))

    def values(formula: Any) -> list[float]:
        """The formula takes covariance · n, p and n, years and harmonics."""
        return [formula(alike(h, d), 1 + 2 * h, y * 365.2425 / w, y, h) for y, h, w, d in probes]

    def is_one(formula: Any) -> bool:
        return bool(np.allclose(given, values(formula), rtol=5e-4))

    expected = values(lambda c, p, n, y, h: c / (n + p))
    cases: list[Mistake] = [
        (is_one(lambda c, p, n, y, h: c / n), "You divide by the variance of the weather alone.", "An anomaly is weather and the climatology's error: 1 + p/n."),
        (is_one(lambda c, p, n, y, h: p / (n + p)), "`apart` has no effect: this is the variance of the error, not its covariance over `apart` days.", "The cosines."),
        (is_one(lambda c, p, n, y, h: c / (n + c)), "The covariance stands below the line too; there belongs the variance.", "1 + p/n, with p = 1 + 2K."),
        (is_one(lambda c, p, n, y, h: c / (n + p - 1)), "Your p counts the numbers of the waves and leaves out the mean.", "p = 1 + 2K"),
        (is_one(lambda c, p, n, y, h: c / (n + h)), "p is not the number of waves.", "A cosine and a sine for each wave, and the mean."),
        (is_one(lambda c, p, n, y, h: (c - 1) / (n + p)), "You left out the one in the brackets: the error of the mean.", "1 + 2 Σ cos"),
        (is_one(lambda c, p, n, y, h: (1 + c) / 2 / (n + p)), "Each cosine counts twice in the brackets, once for each number of its wave.", "1 + 2 Σ cos"),
        (is_one(lambda c, p, n, y, h: c / (n / y + p)), "The number of years has no effect.", "n = 365.2425 · years / window_days"),
        (is_one(lambda c, p, n, y, h: c / (y * 365.2425 + p)), "You count days; windows are the samples.", "How many windows fit in the years?"),
        (not np.allclose(given, expected, rtol=4e-3), f"For 3 years, one wave, windows of 7 days and 40 days between them expected {expected[0]:.4f}, got {given[0]:.4f}.", "The covariance of the equation over 1 + p/n."),
    ]  # fmt: skip
    return first(cases, right("Right: with one year, pure weather seems to have a memory of four weeks."))
