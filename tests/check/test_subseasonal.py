"""The checkers of *Weeks three to six*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np

from climax_lite.check import subseasonal as check
from climax_lite.metrics import block_bootstrap
from tests.check.exercises import Exercises

# ---------------------------------------------------------------- windows


def window_means(values, after, until, first=1, last=1, rows=0):
    """Means over positions n + after + first to n + until + last - 1."""
    count = len(values) - until + rows
    return np.stack([values[n + after + first : n + until + last].mean(axis=0) for n in range(count)])


def windows(**how):
    return lambda values, after, until: window_means(values, after, until, **how)


def trailing(values, count):
    return np.stack([values[t : t + count].mean(axis=0) for t in range(len(values) - count + 1)])


def as_states(values, after, until, ahead=None, skip=0, count=None):
    ahead = until if ahead is None else ahead
    series = trailing(values, count or until - after)[skip:]
    return series[:-ahead], series[ahead:]


def state_known(values, after, until):
    count = until - after
    return values[count - 1 : -until], as_states(values, after, until)[1]


def unequal(values, after, until):
    series = trailing(values, until - after)
    return series, series[until:]


def shortened(values, after, until):
    known, came = as_states(values, after, until)
    return known[:-2], came[:-2]


# ---------------------------------------------------------------- variances


def grouped(means, group):
    groups = len(means) // group
    return means[: groups * group].reshape(groups, group, *means.shape[1:])


def slow_and_fast(means, group, ddof=1, part=1.0, centred=False, clip=False, x=None):
    x = grouped(means, group) if x is None else x
    weather = x.var(axis=1, ddof=ddof).mean(axis=0)
    centre = x.mean(axis=1)
    slow = (centre.var(axis=0) if centred else (centre**2).mean(axis=0)) - part * weather / group
    return slow.clip(min=0) if clip else slow, weather


def splitting(**how):
    return lambda means, group: slow_and_fast(means, group, **how)


def from_the_end(means, group):
    return slow_and_fast(means[len(means) % group :], group)


def interleaved(means, group):
    groups = len(means) // group
    x = means[: groups * group].reshape(group, groups, *means.shape[1:]).swapaxes(0, 1)
    return slow_and_fast(means, group, x=x)


def deviations(means, group):
    return tuple(np.sqrt(np.abs(v)) for v in slow_and_fast(means, group))


def of_everything(means, group):
    return slow_and_fast(means, group)[0], means.var(axis=0, ddof=1)


# ---------------------------------------------------------------- skill


def skill_interval(mse, usual, block, repeats, rng, apart=False, level=95, ratio=False, ends=None):
    def positions():
        starts = rng.integers(0, len(mse) - block + 1, (repeats, -(-len(mse) // block)))
        return (starts[:, :, None] + np.arange(block)).reshape(repeats, -1)[:, : len(mse)]

    one = positions()
    other = positions() if apart else one
    drawn = 1 - mse[one].mean(axis=1) / usual[other].mean(axis=1)
    low, high = np.percentile(1 - drawn if ratio else drawn, [50 - level / 2, 50 + level / 2])
    return 1 - mse.mean() / usual.mean(), low, high


def joined(mse, usual, block, repeats, rng, starts=1, count=None, cut=True, around=False):
    """Blocks drawn and joined in other ways."""
    last = len(mse) if around else len(mse) - block + starts
    first = rng.integers(0, last, (repeats, count or -(-len(mse) // block)))
    index = (first[:, :, None] + np.arange(block)).reshape(repeats, -1) % len(mse)
    index = index[:, : len(mse)] if cut else index
    low, high = np.percentile(1 - mse[index].mean(axis=1) / usual[index].mean(axis=1), [2.5, 97.5])
    return 1 - mse.mean() / usual.mean(), low, high


def joining(**how):
    return lambda *args: joined(*args, **how)


def too_few(mse, usual, block, repeats, rng):
    return joined(mse, usual, block, repeats, rng, count=len(mse) // block)


def own_chance(mse, usual, block, repeats, rng):
    return skill_interval(mse, usual, block, repeats, np.random.default_rng(0))


def drawing(**how):
    return lambda *args: skill_interval(*args, **how)


def with_skill(formula):
    return lambda mse, usual, *rest: (formula(mse, usual), *skill_interval(mse, usual, *rest)[1:])


def single(mse, usual, block, repeats, rng):
    return skill_interval(mse, usual, 1, repeats, rng)


def mean_of_ratios(mse, usual, block, repeats, rng):
    return 1 - mse.mean() / usual.mean(), *block_bootstrap(1 - mse / usual, block, repeats, rng)


def swapped_ends(*args):
    skill, low, high = skill_interval(*args)
    return skill, high, low


# ---------------------------------------------------------------- exercises


def longer_past(share, k):
    a = share / (share + (1 - share) / k)
    return a, a * share


def looking(a=None, skill=None):
    def function(share, k):
        factor = a(share, k) if a else longer_past(share, k)[0]
        return factor, skill(share, factor) if skill else factor * share

    return function


def noise_floor(years, harmonics, window_days, apart, formula=lambda c, p, n: c / (n + p), days=None):
    n = 365.2425 * years / (days or window_days)
    c = 1 + 2 * sum(np.cos(2 * np.pi * k * apart / 365.2425) for k in range(1, harmonics + 1))
    return formula(c, 1 + 2 * harmonics, n)


def floor(formula):
    return lambda years, harmonics, days, apart: noise_floor(years, harmonics, days, apart, formula)


SOLUTIONS = {
    "window_means": window_means,
    "as_states": as_states,
    "slow_and_fast": slow_and_fast,
    "skill_interval": skill_interval,
    "longer_past": longer_past,
    "noise_floor": noise_floor,
}

WRONG = [
    ("window_means", windows(first=0, last=0), "misses t0 + until"),
    ("window_means", windows(first=0), "takes both ends"),
    ("window_means", windows(last=0), "leaves out both ends"),
    ("window_means", lambda v, a, u: (u - a) * window_means(v, a, u), "These are sums"),
    ("window_means", lambda v, a, u: window_means(v, 0, u), "begins right after t0"),
    ("window_means", lambda v, a, u: window_means(v, 0, u - a), "Your window has the right length"),
    ("window_means", windows(rows=3), "have no whole window"),
    ("window_means", windows(rows=-1), "leave 13 initial times, got 12"),
    ("window_means", lambda v, a, u: window_means(v, a, u).mean(axis=1), "time alone"),
    ("window_means", lambda v, a, u: 2 * window_means(v, a, u), "not the means of the windows"),
    ("window_means", lambda v, a, u: window_means(v.reshape(20, 3) if v.ndim > 1 else v[:-1], a, u), "plain series"),
    ("as_states", lambda *a: as_states(*a)[::-1], "swapped"),
    ("as_states", state_known, "the state at t0"),
    ("as_states", lambda v, a, u: as_states(v, a, u, count=u), "over `until` steps"),
    ("as_states", lambda v, a, u: as_states(v, a, u, count=a), "over `after` steps"),
    ("as_states", lambda v, a, u: as_states(v, a, u, ahead=a), "`after` steps later"),
    ("as_states", lambda v, a, u: as_states(v, a, u, ahead=u - a), "right behind"),
    ("as_states", lambda v, a, u: as_states(v, a, u, skip=2), "2 steps too late"),
    ("as_states", unequal, "Known has 23 rows and came 16"),
    ("as_states", shortened, "leave 16 initial times"),
    ("as_states", lambda *a: tuple(2 * x for x in as_states(*a)), "not the mean over the until − after steps up to t0"),
    ("as_states", lambda *a: (as_states(*a)[0], 2 * as_states(*a)[1]), "up to t0 + until"),
    ("as_states", lambda *a: as_states(*a)[0], "Expected 2 things"),
    ("slow_and_fast", lambda *a: slow_and_fast(*a)[::-1], "swapped"),
    ("slow_and_fast", from_the_end, "dropped the first windows"),
    ("slow_and_fast", splitting(ddof=0), "divide by m"),
    ("slow_and_fast", deviations, "deviations, not variances"),
    ("slow_and_fast", interleaved, "not neighbours"),
    ("slow_and_fast", of_everything, "variance of all windows"),
    ("slow_and_fast", lambda m, g: (slow_and_fast(m, g)[0], 3 * slow_and_fast(m, g)[1]), "is not W"),
    ("slow_and_fast", splitting(part=0), "W/m of it is weather"),
    ("slow_and_fast", splitting(part=4), "You subtract W."),
    ("slow_and_fast", splitting(centred=True), "mean of the record off"),
    ("slow_and_fast", splitting(clip=True), "cut σ_s² at zero"),
    ("slow_and_fast", splitting(part=-1), "not that of the equation"),
    ("slow_and_fast", lambda m, g: slow_and_fast(m, g)[0] / sum(slow_and_fast(m, g)), "their ratio comes later"),
    ("skill_interval", with_skill(lambda m, u: m.mean() / u.mean()), "ratio of the errors"),
    ("skill_interval", with_skill(lambda m, u: (1 - m / u).mean()), "This is the mean of ratios"),
    ("skill_interval", with_skill(lambda m, u: 1 - (m.mean() / u.mean()) ** 0.5), "took roots"),
    ("skill_interval", with_skill(lambda m, u: 1 - u.mean() / m.mean()), "swapped in the ratio"),
    ("skill_interval", with_skill(lambda m, u: 0.5), "not that of the series"),
    ("skill_interval", swapped_ends, "ends are swapped"),
    ("skill_interval", drawing(ratio=True), "ends are of the ratio"),
    ("skill_interval", drawing(apart=True), "drawn apart"),
    ("skill_interval", single, "Single times"),
    ("skill_interval", drawing(level=90), "middle 90"),
    ("skill_interval", mean_of_ratios, "The drawings take the mean of ratios"),
    ("skill_interval", lambda *a: (skill_interval(*a)[0], -1, 1), "not the ends"),
    ("skill_interval", lambda *a: skill_interval(*a)[1:], "Expected 3 things"),
    ("skill_interval", own_chance, "not drawn with `rng`"),
    ("skill_interval", joining(starts=0), "last start is missing"),
    ("skill_interval", joining(cut=False), "longer than the series"),
    ("skill_interval", too_few, "shorter than the series"),
    ("skill_interval", joining(around=True), "do not start at 0"),
    ("longer_past", lambda p, k: longer_past(p, k)[::-1], "swapped"),
    ("longer_past", looking(a=lambda p, k: p), "whatever k"),
    ("longer_past", looking(a=lambda p, k: p / (p + (1 - p) / k**0.5)), "√k"),
    ("longer_past", looking(a=lambda p, k: k * p), "k · P"),
    ("longer_past", looking(a=lambda p, k: p / k), "divided by k"),
    ("longer_past", looking(a=lambda p, k: 0.9), "expected a = 0.5714"),
    ("longer_past", looking(skill=lambda p, a: a**2), "one fortnight only"),
    ("longer_past", looking(skill=lambda p, a: 2 * a * p - a**2), "variance one"),
    ("longer_past", looking(skill=lambda p, a: 0.7), "expected a skill of 0.1429"),
    ("longer_past", lambda p, k: longer_past(p, 4), "For k = 1"),
    ("longer_past", lambda p, k: p, "Expected 2 things"),
    ("noise_floor", floor(lambda c, p, n: c / n), "weather alone"),
    ("noise_floor", floor(lambda c, p, n: p / (n + p)), "`apart` has no effect"),
    ("noise_floor", floor(lambda c, p, n: c / (n + c)), "below the line"),
    ("noise_floor", floor(lambda c, p, n: c / (n + (p - 1) / 2)), "number of waves"),
    ("noise_floor", floor(lambda c, p, n: c / (n + p - 1)), "leaves out the mean"),
    ("noise_floor", floor(lambda c, p, n: (c - 1) / (n + p)), "left out the one"),
    ("noise_floor", floor(lambda c, p, n: (1 + c) / 2 / (n + p)), "counts twice"),
    ("noise_floor", lambda y, h, w, d: noise_floor(1, h, w, d), "number of years"),
    ("noise_floor", lambda *a: noise_floor(*a, days=1), "You count days"),
    ("noise_floor", floor(lambda c, p, n: 1 - c / (n + p)), "expected 0.0160"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_other_right_answers():
    def by_sums(values, after, until):
        total = np.cumsum(np.concatenate([np.zeros((1, *values.shape[1:])), values]), axis=0)
        n = len(values) - until
        return (total[until + 1 :][:n] - total[after + 1 :][:n]) / (until - after)

    assert check.window_means(by_sums).ok

    def from_targets(values, after, until):
        return trailing(values, until - after)[:-until], window_means(values, after, until)[until - after - 1 :]

    assert check.as_states(from_targets).ok
    assert check.skill_interval(lambda *a: list(map(np.float64, skill_interval(*a)))).ok

    def one_by_one(mse, usual, block, repeats, rng):
        drawn = []
        for _ in range(repeats):
            starts = rng.integers(0, len(mse) - block + 1, -(-len(mse) // block))
            index = np.concatenate([np.arange(s, s + block) for s in starts])[: len(mse)]
            drawn.append(1 - mse[index].mean() / usual[index].mean())
        return 1 - mse.mean() / usual.mean(), *np.percentile(drawn, [2.5, 97.5])

    assert check.skill_interval(one_by_one).ok
    assert check.noise_floor(lambda y, h, w, d: noise_floor(y, h, w, d, lambda c, p, n: c / (int(n) + p))).ok


def test_the_variances_of_a_case_by_hand():
    # Two groups, (1, 3) and (-2, -2): means 2 and -2, W = (2 + 0) / 2 = 1, so 4 - 1/2 are slow.
    slow, fast = slow_and_fast(np.array([1.0, 3.0, -2.0, -2.0]), 2)
    assert (slow, fast) == (3.5, 1.0)


def test_parity():
    package = (np.arange(6.0).reshape(3, 2), np.arange(4.0))
    assert check.parity(package, package).ok
    assert "Solve rounds" in check.parity((None, None), package).hint
    assert "window means" in check.parity((package[0] + 1, package[1]), package).sentence
    assert "means as states" in check.parity((package[0], package[1][:-1]), package).sentence
