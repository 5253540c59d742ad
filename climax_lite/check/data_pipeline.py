"""Checkers of *The data pipeline*."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..data import ForecastSamples, Mixture, Record, Statistics
from ..grid import Grid
from .answers import Mistake, array, either, expect, first, same
from .verdict import Verdict, attempt, checker, right, wrong


def _rows(pairs: Any) -> set[tuple[int, ...]]:
    return {tuple(int(i) for i in row) for row in pairs}


@checker
def pairs(function: Any) -> Verdict:
    """`pairs(hours, lead, split)` → (N, 2) positions of initial and target times."""
    hours = np.delete(np.arange(0, 103, 6), [7, 8])  # 42 and 48 h are missing
    begin, end, lead = 12, 84, 12
    given = array(attempt(function, hours.copy(), lead, (begin, end)), (None, 2), "positions (N, 2)")
    got, place = _rows(given), {int(h): i for i, h in enumerate(hours)}
    if not all(0 <= i < len(hours) for pair in got for i in pair):
        return wrong("These are no positions in `hours`: some are negative or too large.", "From 0 to len(hours) - 1.")
    inside = {h: i for h, i in place.items() if begin <= h <= end}
    expected = {(i, inside[h + lead]) for h, i in inside.items() if h + lead in inside}
    if got == expected and len(given) == len(expected):
        return right("Times are compared as times: a hole costs the pairs that need it, and none leaves the split.")
    apart = sorted(int(hours[j] - hours[i]) for i, j in got) or [0]
    usual = max(set(apart), key=apart.count)
    before = min(inside.values())
    cases: list[Mistake] = [
        (not got, "There are no pairs at all.", "Are hours taken for steps?"),
        (len(got) < len(given), "Some pairs come twice.", "One pair for each initial time."),
        (got == {(i - before, j - before) for i, j in expected}, "These positions count from the start of the split, and not from that of `hours`.",
         "How many hours of the record come before the split?"),
        (set(apart) == {-lead}, "The target comes before the initial time.", "Column 0 holds the initial times, column 1 the later ones."),
        (got == {(i, place[h + lead]) for h, i in inside.items() if h + lead in place},
         "Some targets leave the split: their initial times lie in it, and they do not.", "Both times have to pass the same test."),
        (got == {(i, place[h + lead]) for h, i in place.items() if h + lead in place},
         "You use the whole record, also outside the split.", "first <= time <= last, for both times."),
        (got == {(i, j) for i, j in expected if hours[j] < end}, "The last hour of the split is missing: both ends belong to it.", "<= and not <."),
        (usual == lead and set(apart) != {lead}, f"Some pairs reach across the hole: they are {apart[-1]} h apart in place of {lead}.",
         "Is the time `hours[i] + lead` in the record at all?"),
        (usual in (lead - 6, lead + 6), f"The lead is off by one step: most pairs are {usual} h apart in place of {lead}.", "Is one of the ends counted twice?"),
        (usual != lead, f"The lead is {lead} hours, and most of your pairs are {usual} h apart.", "Are hours taken for steps?"),
    ]  # fmt: skip
    return first(cases, wrong("Some valid pairs are missing.", "Do the toy of the chapter by hand."))


def _blocks(hours: np.ndarray, values: np.ndarray, cuts: Sequence[int], kept: list[Any]) -> Iterator[Any]:
    """Blocks that can be read once; in the end `kept` refers to those that somebody still holds."""
    for h, v in zip(np.split(hours, cuts), np.split(values, cuts), strict=True):
        block = v.copy()
        kept.append(weakref.ref(block))
        yield h, block
    kept[:] = [r for r in kept if r() is not None]


@checker
def statistics(function: Any) -> Verdict:
    """`statistics(blocks, lat, split)` → means (V,) and deviations (V,) of the training times, in one pass."""
    rng = np.random.default_rng(4)
    lat, hours = np.array([-70.0, -30.0, 20.0, 65.0]), np.arange(40) * 6
    trend = np.linspace(0, 3, 40)[:, None, None, None] + 1.5 * np.arange(4)[:, None]
    spread = np.array([20.0, 2.0, 0.5])[:, None, None]
    x = spread * (rng.standard_normal((40, 3, 4, 5)) + trend) + np.array([5e5, -30.0, 1.0])[:, None, None]
    x, cuts, split = x.astype("float32"), (7, 18, 24, 33), (12, 168)
    kept: list[Any] = []
    answer = attempt(function, _blocks(hours, x, cuts, kept), lat.copy(), split)
    given = array(answer, (2, 3), "a pair (means, deviations) with one of each per channel")
    m, s = given
    y, mine, cosine = x.astype("float64"), (hours >= split[0]) & (hours <= split[1]), np.cos(np.deg2rad(lat))
    weight = (cosine / cosine.mean())[:, None]

    def moments(times: Any, w: Any = weight) -> np.ndarray:
        mean = (y[times] * w).mean((0, 2, 3))
        return np.stack([mean, np.sqrt((((y[times] - mean[:, None, None]) ** 2) * w).mean((0, 2, 3)))])

    mean, std = moments(mine)

    def gives(value: Any) -> bool:
        return bool(np.allclose(m, value[0], rtol=0, atol=0.01 * std) and np.allclose(s, value[1], rtol=2e-3))

    if gives((mean, std)):
        if len(kept) > len(cuts):
            return wrong("The numbers are right, but every block is kept in memory until the end.", "Keep sums, and let the blocks go.")  # fmt: skip
        return right("Each channel has its own numbers, from the training times only, in one pass.")
    parts = [p[mine[p]] for p in np.split(np.arange(40), cuts) if mine[p].any()]
    share = np.array([[len(p)] for p in parts]) / mine.sum()
    means, stds = np.stack([moments(p) for p in parts], axis=1)
    starts = np.array([[y[p][0].mean((-2, -1)), (y[p][0] * weight).mean((-2, -1))] for p in parts])  # (blocks, 2, V)
    degrees = np.cos(lat)[:, None]
    kappa = cosine.mean()

    def near_mean(*values: Any) -> bool:
        return any(np.allclose(m, value, rtol=0, atol=0.01 * std) for value in values)

    near = np.allclose(m, mean, rtol=1e-3)
    cases: list[Mistake] = [
        (gives(moments(slice(None))), "These are the statistics of all times: the test times have leaked in.", "Drop from every block the hours outside the split."),
        (gives(moments(parts[-1])), "Only the last training block counts: each block overwrites the one before.",
         "Add to the sums of earlier blocks. The official code makes this mistake for its pressure levels."),
        (gives(moments(parts[0])), "Only the first training block counts.", "Return after the loop, not in it."),
        (near_mean(means.mean(0)), "You averaged the statistics of the blocks, which differ in length and in mean.",
         "Add up counts and sums, and divide once at the end."),
        (gives((mean, (share * stds).sum(0))), "Your means are right; your deviations are averages of those of the blocks, and the blocks differ in mean.",
         "Add up the squares over all blocks, and take one root at the end."),
        (near_mean(*(((means - c) * share).sum(0) + c[-1] for c in starts.swapaxes(0, 1))), "The constant changes from block to block: the sums do not belong together.",
         "Choose c once, in the first block with training times, and keep it."),
        (near_mean(*(mean - c for c in starts[0])), "The constant is missing from your means.", "μ = c + the mean of y."),
        (near_mean((y[mine] * degrees / degrees.mean()).mean((0, 2, 3))), "np.cos takes radians, and `lat` is in degrees.", "np.deg2rad"),
        (gives(moments(mine, 1.0)), "Every row counts alike, the polar ones too.", "Weigh each row by cos φ, divided by its mean."),
        (near_mean(mean * kappa, *(c + kappa * (mean - c) for c in starts[0])), "Your weights do not average to one.", "Divide cos φ by its mean."),
        (gives((mean, std**2)), "The second number is the variance.", "A deviation has the unit of its channel: take the root."),
        (gives((mean, np.sqrt((y[mine].var(axis=0) * weight).mean((-2, -1))))), "Your deviation is in time, at each place: differences between places are left out.", "One mean for the whole channel, and departures from it."),
        (gives(moments(mine & (hours < split[1]))), "The last hour of the split is missing.", "Both ends belong to it."),
        (np.ptp(m) <= 1e-9 * abs(m).max(), "All channels have the same numbers.", "The mean runs over time, latitude and longitude, and not over channels."),
        (not near and np.allclose(np.sort(m), np.sort(mean), rtol=1e-3), "Some channels have the numbers of another one: the wrong level.", "The answer has the order of axis 1."),
        (near and np.allclose(s[1:], std[1:], rtol=0.01), f"The channel of {mean[0]:.0f} ± {std[0]:.0f} has lost its deviation ({s[0]:.3g}), the small ones are right: float32 cancels.",
         "Its square has 12 digits, and float32 keeps 7. Sum in float64, or subtract a constant first."),
    ]  # fmt: skip
    return first(cases, wrong("These are not the means and deviations of the training times.", "Try one block of one channel by hand."))  # fmt: skip


@checker
def draw_leads(function: Any) -> Verdict:
    """`draw_leads(valid, rng)` → (B,): for each row one of its valid places, all alike."""
    table = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0]], bool)
    valid = np.tile(table, (3000, 1))
    given, again = (attempt(function, valid.copy(), np.random.default_rng(1)) for _ in range(2))
    given = array(given, (len(valid),), "one place for each row, (B,)")
    if not ((given >= 0) & (given < 6) & (given == np.rint(given))).all():
        return wrong("These are not places in a row of `valid`.", "Whole numbers from 0 to K - 1.")
    given = given.astype(int)
    rates = [np.bincount(given[r::4], minlength=6)[row] * row.sum() / 3000 for r, row in enumerate(table)]
    low, high = min(r.min() for r in rates), max(r.max() for r in rates)
    cases: list[Mistake] = [
        (not valid[np.arange(len(valid)), given].all(), "Some samples have a lead time that is not valid for them.", "np.flatnonzero(row) lists the valid places."),
        (not np.array_equal(given, again), "The same generator gave other lead times the second time: you do not draw from `rng` alone.",
         "np.random.… is another generator, which nobody keyed."),
        (len(np.unique(given[::4])) == 1, "All samples with the same choice got the same lead time.", "Each row needs a draw of its own."),
        (any(r[-1] == 0 for r in rates), "The longest valid lead never comes.", "Is an upper end excluded? In the official code 168 h never comes."),
        (any(r[0] == 0 for r in rates), "The shortest valid lead never comes.", "Places count from 0."),
        (low < 0.8 or high > 1.2, f"Not all valid leads are alike: they come {low:.2f} to {high:.2f} times as often as they should.",
         "First list the valid places, then draw one of them."),
    ]  # fmt: skip
    return first(cases, right("Every valid lead is as likely as every other, both ends included."))


@checker
def stream(function: Any) -> Verdict:
    """`stream(number, size, count, key)` → (size,): the indices of a batch, from its number alone."""
    size, count, key = 4, 10, (7, 3)
    found: dict[Any, np.ndarray] = {}
    for name, number, k in [(n, n, key) for n in (4, 0, 2, 1, 3)] + [("again", 2, key), ("other", 0, (8, 3))]:
        found[name] = array(attempt(function, number, size, count, k), (size,), f"{size} indices")
    order = np.concatenate([found[n] for n in range(5)])
    passes, one = (order[:count], order[count:]), list(range(count))
    expected = [int(i) for p in (0, 1) for i in np.random.default_rng((*key, p)).permutation(count)]
    cases: list[Mistake] = [
        (not np.array_equal(found["again"], found[2]), "Batch 2 is another one when it is asked for again: it depends on what came before.",
         "Make the generator inside the function, from the key and the pass."),
        (not set(order.tolist()) <= set(one), f"Indices run from 0 to {count - 1}; yours do not.", "Position modulo count."),
        (sorted(passes[0]) != one and len(set(order[:8].tolist())) == 8,
         "Batch 2 should begin with the last samples of the first pass, and they are lost.", "A batch may begin in one pass and end in the next."),
        (sorted(passes[0]) != one, "In the first pass some samples come twice and others never.", "A permutation draws without replacement, and batch n begins at n · size."),
        ((np.diff(passes[0]) == 1).all(), "The samples come in order of time: nothing is shuffled.", "rng.permutation(count)"),
        (np.array_equal(*passes), "Every pass has the same order.", "The number of the pass belongs to the key of the generator."),
        (sorted(passes[1]) != one, "The second pass loses some samples.", "Look at the batch that begins in one pass and ends in the next."),
        (np.array_equal(found["other"], found[0]), "Another key gives the same order.", "Seed the generator with the whole key."),
        (order.tolist() != expected, "No sample is lost or doubled, but the order is not the one of the docstring.", "default_rng((*key, p)).permutation(count) for pass p."),
    ]  # fmt: skip
    verdict = first(cases, right("No sample is lost or doubled, and a batch depends on its number alone."))
    if not verdict.ok:
        return verdict
    three_passes = [i for p in (2, 3, 4) for i in np.random.default_rng((*key, p)).permutation(3)]
    if np.array_equal(attempt(function, 1, 7, 3, key), three_passes[1:8]):
        return verdict
    return wrong("Batch 1 of 7 indices, when the source has 3 samples, comes out wrong.", "Through how many passes does it go?")  # fmt: skip


@checker
def parity(pieces: Any, record: xr.Dataset) -> Verdict:
    """`parity([pairs, statistics, stream], record)`: against the package, on a real record with a hole."""
    ds = record.isel(time=np.delete(np.arange(record.sizes["time"]), slice(100, 131)))
    package = Record.of(ds, "record")
    samples, everything = ForecastSamples.of(package, 72), (0, int(package.hours[-1]))
    expected = _rows(np.stack([samples.initial, samples.valid[:, 0]], axis=1))
    if _rows(attempt(pieces[0], package.hours, 72, everything)) != expected:
        return wrong("Your pairs are not those of ForecastSamples.", "Solve round 1 first.")
    blocks = ((package.hours[i : i + 200], package.values[i : i + 200]) for i in range(0, len(package), 200))
    mean, std = attempt(pieces[1], blocks, Grid.from_dataset(ds).lat, everything)
    s = Statistics.fit(ds[list(package.variables)])
    if not (np.allclose((mean - s.mean) / s.std, 0, atol=1e-4) and np.allclose(std, s.std, rtol=1e-4)):
        return wrong("Your numbers are not those of Statistics.", "Solve round 2 first.")
    mixture = Mixture({"record": samples}, batch_size=32, seed=5)
    for k, (_, number) in enumerate(mixture.schedule()):
        mine = attempt(pieces[2], number, 32, len(samples), (5, 2, 0))
        if not np.array_equal(samples.initial[mine], mixture[k].samples[:, 0]):
            return wrong("Your batches are not those of Mixture.", "Solve round 4 first.")
    return right(f"{len(expected)} pairs, {len(std)} channels, {len(mixture)} batches: equal to the package's.")


@checker
def shares(function: Any) -> Verdict:
    """`shares(counts, temperature)` → the part of the batches that each source gets."""
    n, t = np.array([900.0, 100.0, 400.0]), 2.0
    given = array(attempt(function, n.copy(), t), (3,), "one share per source")
    cases: list[Mistake] = [
        (n / n.sum(), "These are the proportions: the temperature has no effect.", "Only T = 1 gives these."),
        (n**t / (n**t).sum(), "A higher temperature makes your large source larger: the exponent is upside down.", "At T = 2 take the square root, not the square."),
        ([1 / 3, 1 / 3, 1 / 3], "All sources have equal shares: that is an infinite temperature.", "Here T is 2."),
        ([1, 0, 0], "This is a softmax of the counts.", "A power of the counts: the root of 900 is 30."),
        (not np.isclose(given.sum(), 1), "Your shares do not add up to one.", "Divide by their sum, last."),
    ]  # fmt: skip
    expect(given, [1 / 2, 1 / 6, 1 / 3], cases, "These are not the shares.", "900, 100 and 400 have the square roots 30, 10 and 20.")  # fmt: skip
    return right("In proportion at T = 1, and more and more alike as T grows.")


@checker
def window_starts(function: Any) -> Verdict:
    """`window_starts(hours, after, until, step)` → positions of initial times whose window is whole."""
    hours, after, until, step = np.delete(np.arange(0, 121, 6), [11]), 12, 36, 6  # 66 h is missing
    given = array(attempt(function, hours.copy(), after, until, step), (None,), "positions (N,)")
    known, whole = set(hours.tolist()), range(after + step, until + step, step)

    def starts(needed: Any) -> list[int]:
        return [i for i, h in enumerate(hours.tolist()) if all(h + n in known for n in needed)]

    cases: list[Mistake] = [
        (starts((after, *whole)), "You ask for the hour `after` itself, which is outside the window.", "after < t - t0 <= until"),
        (starts(whole[:-1]), "The last hour of the window is not looked at.", "range ends before its second argument."),
        (either(starts((whole[0], until)), starts((until,)), starts((after, until))), "Only ends of the window are looked at: a hole inside it is not seen.", "All of its times have to be there."),
        (starts(range(after + 1, until + 1)), "You ask for every hour, and the record has one state every `step` hours.", "range takes a step."),
        (starts(range(step, until + step, step)), "You ask for the whole way from the initial time, and the window begins after `after`.", "A hole before the window does no harm."),
        (list(range(len(hours) - until // step)), "Positions are counted, not times: the hole is not seen.", "Is `hours[i] + n` in the record?"),
        (hours[starts(whole)], "These are hours; positions were asked for.", "enumerate(hours) gives both."),
        (not same(given, starts(whole)), "These are not the initial times with a whole window.", "Write down the four hours that position 0 needs."),
    ]  # fmt: skip
    verdict = first(cases, right("A window with a hole is left out, and no other."), given)
    if not verdict.ok or np.array_equal(attempt(function, np.arange(0, 121, 12), after, until, 12), np.arange(8)):
        return verdict
    return wrong("With a state every 12 hours the answer is wrong: is a step of 6 built in?", "Use `step`.")
