"""The checkers of *The data pipeline*: solutions pass, and every usual mistake gets its own sentence."""

import functools

import numpy as np
import pytest

import climax_lite as cl
from climax_lite.check import data_pipeline as check


def stub(*args, **kwargs): ...


# ---------------------------------------------------------------- pairs


def pairs(hours, lead, split, shift=0, target=None, initial=None):
    first, last = split
    inside = {h: i for i, h in enumerate(hours.tolist()) if first <= h <= last}
    everywhere = {h: i for i, h in enumerate(hours.tolist())}
    later = everywhere if target == "anywhere" else inside
    now = everywhere if initial == "anywhere" else inside
    return np.array([(i, later[h + lead + shift]) for h, i in now.items() if h + lead + shift in later])


def by_position(hours, lead, split, steps=2):
    start = np.flatnonzero((hours >= split[0]) & (hours <= split[1]))
    start = start[start + steps < len(hours)]
    end = start + steps
    keep = hours[end] <= split[1]
    return np.stack([start, end], 1)[keep]


def next_there(hours, lead, split):
    start = np.flatnonzero((hours >= split[0]) & (hours + lead <= split[1]))
    return np.stack([start, np.searchsorted(hours, hours[start] + lead)], 1)


# ---------------------------------------------------------------- statistics


def statistics(blocks, lat, split, dtype="float64", centre=True, which=None, weights=None, last_in=True):
    w = np.cos(np.deg2rad(lat))[:, None]
    w = w / w.mean() if weights is None else weights(w)
    count, total, squares, constant = 0, 0.0, 0.0, 0.0
    for hours, values in blocks:
        mine = (hours >= split[0]) & ((hours <= split[1]) if last_in else (hours < split[1]))
        y = values[mine | (which == "all")].astype(dtype)
        if not len(y):
            continue
        if which == "last":
            count, total, squares = 0, 0.0, 0.0
        if which == "first" and count:
            continue
        if centre and not np.ndim(constant):
            constant = y[0].mean((-2, -1))
        y = y - np.reshape(constant, (-1, 1, 1)).astype(dtype) if np.ndim(constant) else y
        count += len(y)
        total = total + (w.astype(dtype) * y).mean((-2, -1)).sum(0, dtype=dtype)
        squares = squares + (w.astype(dtype) * y**2).mean((-2, -1)).sum(0, dtype=dtype)
    mean = total / count
    return constant + mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def mean_of_blocks(blocks, lat, split):
    parts = []
    for block in blocks:
        if ((block[0] >= split[0]) & (block[0] <= split[1])).any():
            parts.append(statistics([block], lat, split))
    return np.mean([m for m, _ in parts], 0), np.mean([s for _, s in parts], 0)


def all_at_once(blocks, lat, split, kind="both"):
    hours, x = (np.concatenate(a) for a in zip(*list(blocks), strict=True))
    x = x[(hours >= split[0]) & (hours <= split[1])].astype("float64")
    w = np.cos(np.deg2rad(lat))[:, None]
    w /= w.mean()
    if kind == "no channels":
        m = (x * w).mean()
        return np.full(3, m), np.full(3, x.std())
    m = (x * w).mean((0, 2, 3))
    if kind == "in time":
        return m, np.sqrt((x.var(0) * w).mean((-2, -1)))
    return m, np.sqrt((((x - m[:, None, None]) ** 2) * w).mean((0, 2, 3)))


def of(change, *args, **kwargs):
    return lambda *a: change(*statistics(*a, *args, **kwargs))


def deviations_of_blocks(blocks, lat, split):
    count, mean, std = 0, 0.0, 0.0
    for hours, x in blocks:
        n = ((hours >= split[0]) & (hours <= split[1])).sum()
        if n:
            m, s = statistics([(hours, x)], lat, split)
            count, mean, std = count + n, mean + n * m, std + n * s
    return mean / count, std / count


def constants(blocks, lat, split, weighted=False, keep=False, add=True):
    """A constant for each block (or only for the first one), perhaps not added back."""
    w = np.cos(np.deg2rad(lat))[:, None]
    w /= w.mean()
    count, total, squares, constant = 0, 0.0, 0.0, None
    for hours, values in blocks:
        y = values[(hours >= split[0]) & (hours <= split[1])].astype("float64")
        if len(y):
            if constant is None or not keep:
                constant = (y[0] * (w if weighted else 1)).mean((-2, -1))
            y -= constant[:, None, None]
            count += len(y)
            total = total + (y * w).mean((-2, -1)).sum(0)
            squares = squares + (y**2 * w).mean((-2, -1)).sum(0)
    mean = total / count
    return add * constant + mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def in_degrees(blocks, lat, split):
    return statistics(blocks, lat, split, weights=lambda w: np.cos(lat)[:, None] / np.cos(lat).mean())


# ---------------------------------------------------------------- leads


def draw_leads(valid, rng, pick=lambda row, rng: rng.choice(row)):
    return np.array([pick(np.flatnonzero(row), rng) for row in valid])


def clipped(valid, rng):
    last = valid.shape[1] - 1 - valid[:, ::-1].argmax(1)
    any_lead = np.minimum(rng.integers(valid.shape[1], size=len(valid)), last)
    return np.array(
        [row[row <= k].max(initial=row[0]) for row, k in zip(map(np.flatnonzero, valid), any_lead, strict=True)]
    )


# ---------------------------------------------------------------- streams


def stream(number, size, count, key, with_pass=True, shuffle=True):
    at = range(number * size, (number + 1) * size)
    order = lambda p: (  # noqa: E731
        np.random.default_rng((*key, p) if with_pass else key).permutation(count) if shuffle else np.arange(count)
    )
    return np.array([order(i // count)[i % count] for i in at])


def dropping_the_tail(number, size, count, key):
    each = count // size
    order = np.random.default_rng((*key, number // each)).permutation(count)
    return order[number % each * size :][:size]


def two_passes(number, size, count, key):
    """Right unless a batch goes through more than two passes."""
    first, at = divmod(number * size, count)
    return np.concatenate([np.random.default_rng((*key, p)).permutation(count) for p in (first, first + 1)])[at:][:size]


def within(hours, needed):
    return np.array([i for i, h in enumerate(hours) if np.isin(h + np.array(needed), hours).all()])


history = np.random.default_rng(0)


SOLUTIONS = {
    "pairs": pairs,
    "statistics": statistics,
    "draw_leads": draw_leads,
    "stream": stream,
    "shares": lambda n, t: n ** (1 / t) / (n ** (1 / t)).sum(),
    "window_starts": lambda hours, a, u, s: np.array(
        [i for i, h in enumerate(hours) if np.isin(h + np.arange(a + s, u + s, s), hours).all()]
    ),
}

WRONG = [
    ("pairs", functools.partial(pairs, target="anywhere"), "Some targets leave the split"),
    ("pairs", functools.partial(pairs, target="anywhere", initial="anywhere"), "whole record"),
    ("pairs", lambda h, n, s: pairs(h, n, (s[0], s[1] - 1)), "last hour of the split is missing"),
    ("pairs", lambda h, n, s: pairs(h, n, s)[:, ::-1], "before the initial time"),
    ("pairs", functools.partial(pairs, shift=-6), "off by one step: most pairs are 6 h"),
    ("pairs", functools.partial(pairs, shift=6), "off by one step: most pairs are 18 h"),
    ("pairs", by_position, "reach across the hole: they are 24 h apart"),
    ("pairs", functools.partial(by_position, steps=1), "off by one step"),
    ("pairs", functools.partial(by_position, steps=4), "most of your pairs are 36 h apart"),
    ("pairs", lambda h, n, s: pairs(h[(h >= s[0]) & (h <= s[1])], n, s), "count from the start of the split"),
    ("pairs", next_there, "reach across the hole"),
    ("pairs", lambda h, n, s: h[pairs(h, n, s)], "no positions in `hours`"),
    ("pairs", lambda h, n, s: np.repeat(pairs(h, n, s), 2, 0), "come twice"),
    ("pairs", lambda h, n, s: pairs(h, n, s)[2:], "valid pairs are missing"),
    ("pairs", lambda h, n, s: np.empty((0, 2), int), "no pairs at all"),
    ("statistics", functools.partial(statistics, which="all"), "test times have leaked in"),
    ("statistics", functools.partial(statistics, which="last"), "Only the last training block"),
    ("statistics", functools.partial(statistics, which="first"), "Only the first training block"),
    ("statistics", mean_of_blocks, "averaged the statistics of the blocks"),
    ("statistics", functools.partial(statistics, weights=np.ones_like), "Every row counts alike"),
    ("statistics", functools.partial(statistics, weights=lambda w: w, centre=False), "do not average to one"),
    ("statistics", functools.partial(statistics, weights=lambda w: w), "do not average to one"),
    ("statistics", deviations_of_blocks, "your deviations are averages"),
    ("statistics", constants, "The constant changes from block to block"),
    ("statistics", functools.partial(constants, weighted=True), "The constant changes from block to block"),
    ("statistics", functools.partial(constants, keep=True, add=False), "The constant is missing"),
    ("statistics", functools.partial(constants, keep=True, add=False, weighted=True), "The constant is missing"),
    ("statistics", in_degrees, "np.cos takes radians"),
    ("statistics", functools.partial(statistics, last_in=False), "last hour of the split"),
    ("statistics", functools.partial(statistics, dtype="float32", centre=False), "float32 cancels"),
    ("statistics", of(lambda m, s: (m, s**2)), "is the variance"),
    ("statistics", of(lambda m, s: (m[[1, 0, 2]], s[[1, 0, 2]])), "the wrong level"),
    ("statistics", of(lambda m, s: (np.full(3, m[0]), np.full(3, s[0]))), "All channels have the same numbers"),
    ("statistics", functools.partial(all_at_once, kind="no channels"), "All channels have the same numbers"),
    ("statistics", functools.partial(all_at_once, kind="in time"), "differences between places"),
    ("statistics", all_at_once, "every block is kept in memory"),
    ("statistics", of(lambda m, s: (m, 2 * s)), "These are not the means"),
    ("statistics", of(lambda m, s: m), "Expected a pair"),
    ("statistics", of(lambda m, s: (m[:, None], s)), "with one of each per channel"),
    ("draw_leads", lambda valid, rng: rng.integers(valid.shape[1], size=len(valid)), "not valid for them"),
    ("draw_leads", functools.partial(draw_leads, pick=lambda row, rng: row[rng.integers(max(1, len(row) - 1))]), "longest valid lead never"),
    ("draw_leads", functools.partial(draw_leads, pick=lambda row, rng: row[min(len(row) - 1, 1 + rng.integers(max(1, len(row) - 1)))]), "shortest valid lead never"),
    ("draw_leads", clipped, "Not all valid leads are alike"),
    ("draw_leads", functools.partial(draw_leads, pick=lambda row, rng: history.choice(row)), "the second time"),
    ("draw_leads", lambda valid, rng: valid.argmax(1), "All samples with the same choice"),
    ("draw_leads", lambda valid, rng: draw_leads(valid, rng) + 0.5, "not places in a row"),
    ("draw_leads", lambda valid, rng: draw_leads(valid[:4], rng), "one place for each row"),
    ("stream", functools.partial(stream, with_pass=False), "Every pass has the same order"),
    ("stream", functools.partial(stream, shuffle=False), "nothing is shuffled"),
    ("stream", dropping_the_tail, "they are lost"),
    ("stream", lambda n, s, c, k: np.random.default_rng((*k, n)).permutation(c)[:s], "come twice"),
    ("stream", lambda n, s, c, k: history.permutation(c)[:s], "depends on what came before"),
    ("stream", lambda n, s, c, k: stream(n, s, c, (0, 0)), "Another key gives the same order"),
    ("stream", lambda n, s, c, k: stream(n, s, c, (*k, 1)), "not the one of the docstring"),
    ("stream", lambda n, s, c, k: stream(n, s, c, k) + 1, "Indices run from 0 to 9"),
    ("stream", lambda n, s, c, k: stream(n, c, c, k), "Expected 4 indices"),
    ("stream", two_passes, "when the source has 3 samples"),
    ("shares", lambda n, t: n / n.sum(), "no effect"),
    ("shares", lambda n, t: n**t / (n**t).sum(), "upside down"),
    ("shares", lambda n, t: n ** (1 / t), "add up to one"),
    ("shares", lambda n, t: np.full(3, 1 / 3), "infinite temperature"),
    ("shares", lambda n, t: np.exp((n - n.max()) / t) / np.exp((n - n.max()) / t).sum(), "softmax"),
    ("shares", lambda n, t: np.log(n) / np.log(n).sum(), "not the shares"),
    ("window_starts", lambda h, a, u, s: SOLUTIONS["window_starts"](h, a - s, u, s), "the hour `after` itself"),
    ("window_starts", lambda h, a, u, s: SOLUTIONS["window_starts"](h, a, u - s, s), "last hour of the window"),
    ("window_starts", lambda h, a, u, s: np.flatnonzero(np.isin(h + u, h)), "Only ends of the window"),
    ("window_starts", lambda h, a, u, s: np.flatnonzero(np.isin(h + u, h) & np.isin(h + a + s, h)), "Only ends of the window"),
    ("window_starts", lambda h, a, u, s: within(h, range(a + 1, u + 1)), "You ask for every hour"),
    ("window_starts", lambda h, a, u, s: within(h, range(s, u + s, s)), "the whole way from the initial time"),
    ("window_starts", lambda h, a, u, s: within(h, range(a + 6, u + 6, 6)), "is a step of 6 built in"),
    ("window_starts", lambda h, a, u, s: np.arange(len(h) - u // s), "Positions are counted"),
    ("window_starts", lambda h, a, u, s: h[SOLUTIONS["window_starts"](h, a, u, s)], "positions were asked for"),
    ("window_starts", lambda h, a, u, s: SOLUTIONS["window_starts"](h, a, u, s)[1:], "not the initial times"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_passes(name):
    verdict = getattr(check, name)(SOLUTIONS[name])
    assert verdict.ok, verdict


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_stub_is_not_yet(name):
    assert getattr(check, name)(stub).state == "not yet"


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=[f"{name}: {message}" for name, _, message in WRONG])
def test_a_usual_mistake_is_named(name, answer, message):
    verdict = getattr(check, name)(answer)
    assert verdict.state == "wrong", verdict
    assert message in verdict.sentence
    assert verdict.hint


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


def fails(*args):
    raise ZeroDivisionError("on purpose")


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize(
    "garbage", [None, 3, "text", fails, lambda *a: "text", lambda *a: {}, lambda: 1, lambda *a: [[1], [2, 3]], lambda *a: np.zeros(2)]
)  # fmt: skip
def test_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 20


@pytest.mark.parametrize(
    "answer",
    [
        lambda n, t: (n ** (1 / t) / (n ** (1 / t)).sum()).tolist(),
        lambda n, t: np.sqrt(n) / np.sqrt(n).sum(),
    ],
)
def test_other_right_shares_pass(answer):
    assert check.shares(answer).ok


def test_a_vectorised_draw_passes():
    def vectorised(valid, rng):
        rank = (rng.random(len(valid)) * valid.sum(1)).astype(int)
        return (valid.cumsum(1) > rank[:, None]).argmax(1)

    assert check.draw_leads(vectorised).ok
    assert check.draw_leads(lambda valid, rng: (rng.random(valid.shape) * valid).argmax(1)).ok


def test_statistics_of_welford_in_float64_pass():
    def welford(blocks, lat, split):
        w = np.cos(np.deg2rad(lat))[:, None]
        w, n, mean, m2 = w / w.mean(), 0, 0.0, 0.0
        for hours, values in blocks:
            for state in values[(hours >= split[0]) & (hours <= split[1])].astype("float64"):
                n += 1
                new = mean + ((state - np.reshape(mean, (-1, 1, 1))) * w).mean((-2, -1)) / n
                square = (state - np.reshape(mean, (-1, 1, 1))) * (state - new[:, None, None])
                m2, mean = m2 + (square * w).mean((-2, -1)), new
        return mean, np.sqrt(m2 / n)

    assert check.statistics(welford).ok


class TestParity:
    @pytest.fixture
    def record(self):
        ds = cl.open_data("reference", ["2m_temperature", "mean_sea_level_pressure"])
        return ds.isel(time=slice(0, 400))

    def test_the_solutions_equal_the_package(self, record):
        verdict = check.parity([pairs, statistics, stream], record)
        assert verdict.ok, verdict
        assert "345 pairs, 2 channels, 11 batches" in verdict.sentence

    @pytest.mark.parametrize(
        ("place", "piece", "message"),
        [
            (0, by_position, "not those of ForecastSamples"),
            (1, functools.partial(statistics, which="last"), "not those of Statistics"),
            (2, functools.partial(stream, with_pass=False), "not those of Mixture"),
        ],
    )
    def test_others_do_not(self, record, place, piece, message):
        pieces = [pairs, statistics, stream]
        pieces[place] = piece
        assert message in check.parity(pieces, record).sentence

    def test_stubs_are_not_yet(self, record):
        assert check.parity([stub, stub, stub], record).state == "not yet"
