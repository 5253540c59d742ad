"""The checkers of *Many simulations, one model*: solutions pass, and every usual mistake gets its own sentence."""

import functools

import numpy as np
import pytest
import torch

from climax_lite.check import many_simulations as check
from climax_lite.data import ForecastSamples, Mixture, Record

CHECKS = [check.apportion, check.schedule, check.batch, check.cosine, check.extend, check.power_law]


def stub(*args, **kwargs): ...


# ---------------------------------------------------------------- solutions, each with switches for its mistakes


def apportion(shares, total, least=1, left="remainders", divide=True):
    exact = total * shares / shares.sum() if divide else shares.astype(float)
    quota = np.maximum(least, exact.astype(int))
    if left == "lost":
        return quota
    if left == "rounded":
        return np.rint(exact).astype(int)
    if left == "first":
        quota[0] += total - quota.sum()
        return quota
    if left == "in order":
        for i in range(total - quota.sum()):
            quota[i] += 1
        return quota
    while quota.sum() < total:
        quota[np.argmax(exact - quota)] += 1
    while quota.sum() > total and left != "not taken":
        above = quota if left == "from the largest" else quota - exact
        quota[np.argmax(np.where(quota > 1, above, -np.inf))] -= 1
    return quota


def schedule(quota, epoch, seed, shuffled=True, fresh=False, key=True, numbered="after", drawn=False):
    order = np.repeat(np.arange(len(quota)), quota)
    rng = np.random.default_rng((seed, 0, epoch) if key else (seed, 0))
    if drawn:
        order = rng.choice(len(quota), size=sum(quota), p=np.array(quota) / sum(quota))
    if numbered == "before":
        pairs = [(s, epoch * q + i) for s, q in enumerate(quota) for i in range(q)]
        return [pairs[i] for i in rng.permutation(len(pairs))]
    if shuffled:
        rng.shuffle(order)
    following = [0 if fresh else epoch * q for q in quota]
    pairs = []
    for s in order.tolist():
        pairs.append((s, following[s]))
        following[s] += 1
    return pairs


def stream(first, last, count, key):
    at = np.arange(first, last)
    order = {p: np.random.default_rng((*key, p)).permutation(count) for p in set((at // count).tolist())}
    return np.array([order[i // count][i % count] for i in at.tolist()])


STATE = np.random.default_rng(0)


def batch(n, rank, ranks, size, count, leads, seed, source, mistake=None):
    whole = size * ranks
    begin = {"overlap": n * size, "own part only": n * size}.get(mistake, n * whole)
    index = stream(begin, begin + whole, count, (seed, 2, 0 if mistake == "no source" else source))
    key = {
        "no number": (seed, 1, source),
        "rank in key": (seed, 1, source, n, rank),
        "no seed": (1, source, n),
    }.get(mistake, (seed, 1, source, n))
    rng = STATE if mistake == "state" else np.random.default_rng(key)
    count_of_leads = len(leads) - (mistake == "never 168")
    mine = slice(rank * size, (rank + 1) * size)
    if mistake in ("same leads", "rank in key"):
        hours = np.asarray(leads)[(count_of_leads * rng.random(size)).astype(int)]
        return np.stack([index[mine], hours], axis=1)
    places = (count_of_leads * rng.random(whole)).astype(int)
    drawn = np.stack([index, places if mistake == "places" else np.asarray(leads)[places]], axis=1)
    if mistake == "no rank":
        return drawn[:size]
    return drawn[rank::ranks] if mistake == "every R-th" else drawn[mine]


def cosine(a, b, shared, mistake=None):
    names = list(a) if mistake == "all" else shared
    x, y = (torch.cat([g[n].flatten() for n in names]) for g in (a, b))
    if mistake == "inner":
        return float(x @ y)
    if mistake == "mean":
        return float(np.mean([torch.cosine_similarity(a[n].flatten(), b[n].flatten(), dim=0).item() for n in shared]))
    value = float(x @ y / (x.norm() * y.norm()))
    return {"abs": abs(value), "minus": -value}.get(mistake, value)


def extend(vocabulary, names, mistake=None):
    longer = tuple(dict.fromkeys((*vocabulary, *names)))
    if mistake == "sorted":
        longer = tuple(sorted(longer))
    if mistake == "twice":
        longer = (*vocabulary, *names)
    if mistake == "new only":
        longer = tuple(n for n in names if n not in vocabulary)
        return longer, [0] * len(names)
    ids = [longer.index(n) for n in names]
    if mistake == "list":
        return list(longer), ids
    return longer, sorted(ids) if mistake == "order" else ids


def power_law(n, loss, mistake=None):
    x, y = (n, loss) if mistake == "linear" else (np.log(n), np.log(loss))
    x, y = x - x.mean(), y - y.mean()
    slope = (x * y).sum() / (x**2).sum()
    rest = ((y - slope * x) ** 2).sum() / (len(x) - (0 if mistake == "N" else 2))
    error = {"variance": rest / (x**2).sum(), "spread": rest**0.5}.get(mistake, (rest / (x**2).sum()) ** 0.5)
    return (slope if mistake == "sign" else -slope), error


SOLUTIONS = [apportion, schedule, batch, cosine, extend, power_law]


@pytest.mark.parametrize(("checked", "solution"), list(zip(CHECKS, SOLUTIONS, strict=True)))
def test_solution_passes(checked, solution):
    assert checked(solution).ok, repr(checked(solution))


@pytest.mark.parametrize("checked", CHECKS)
def test_stub_is_not_yet(checked):
    assert checked(stub).state == "not yet"


@pytest.mark.parametrize("checked", CHECKS)
@pytest.mark.parametrize(
    "garbage", [3, None, "text", lambda *a, **k: "text", lambda *a, **k: 1 / 0, lambda *a, **k: [[1], [1, 2]]]
)
def test_garbage_gets_a_sentence(checked, garbage):
    verdict = checked(garbage)
    assert verdict.state == "wrong"
    assert verdict.sentence


def wrong(checked, solution, sentence, **switches):
    return pytest.param(checked, functools.partial(solution, **switches), sentence, id=sentence[:40])


@pytest.mark.parametrize(
    ("checked", "mistaken", "sentence"),
    [
        wrong(check.apportion, apportion, "is lost", left="lost"),
        wrong(check.apportion, apportion, "Rounding", left="rounded"),
        wrong(check.apportion, apportion, "goes to one source", left="first"),
        wrong(check.apportion, apportion, "in their order", left="in order"),
        wrong(check.apportion, apportion, "got no batch at all", least=0),
        wrong(check.apportion, apportion, "small source", left="not taken"),
        wrong(
            check.apportion, apportion, "you get [1, 1, 1, 4, 3] in place of [1, 1, 1, 5, 2]", left="from the largest"
        ),
        wrong(check.schedule, schedule, "one after the other", shuffled=False),
        wrong(check.schedule, schedule, "streams anew", fresh=True),
        wrong(check.schedule, schedule, "same order", key=False),
        wrong(check.schedule, schedule, "not in the order of its number", numbered="before"),
        wrong(check.schedule, schedule, "more or fewer", drawn=True),
        wrong(check.batch, batch, "same samples", mistake="no rank"),
        wrong(check.batch, batch, "All ranks draw the same lead times", mistake="same leads"),
        wrong(check.batch, batch, "other lead times than three", mistake="rank in key"),
        wrong(check.batch, batch, "Every batch has the same lead times", mistake="no number"),
        wrong(check.batch, batch, "After a stop", mistake="state"),
        wrong(check.batch, batch, "overlap", mistake="overlap"),
        wrong(check.batch, batch, "168 h never", mistake="never 168"),
        wrong(check.batch, batch, "places in `leads`", mistake="places"),
        wrong(check.batch, batch, "neighbouring slices", mistake="every R-th"),
        wrong(check.batch, batch, "Two sources draw alike", mistake="no source"),
        wrong(check.batch, batch, "not the one of the docstring", mistake="no seed"),
        wrong(check.cosine, cosine, "all parameters", mistake="all"),
        wrong(check.cosine, cosine, "inner product", mistake="inner"),
        wrong(check.cosine, cosine, "mean of the cosines", mistake="mean"),
        wrong(check.cosine, cosine, "opposite", mistake="abs"),
        wrong(check.cosine, cosine, "turned round", mistake="minus"),
        wrong(check.extend, extend, "have moved", mistake="sorted"),
        wrong(check.extend, extend, "twice", mistake="twice"),
        wrong(check.extend, extend, "union", mistake="new only"),
        wrong(check.extend, extend, "order of the names", mistake="order"),
        wrong(check.extend, extend, "as a tuple, got list", mistake="list"),
        wrong(check.power_law, power_law, "sign", mistake="sign"),
        wrong(check.power_law, power_law, "slope of the loss itself", mistake="linear"),
        wrong(check.power_law, power_law, "two of them were used up", mistake="N"),
        wrong(check.power_law, power_law, "variance of alpha", mistake="variance"),
        wrong(check.power_law, power_law, "spread of the points", mistake="spread"),
    ],
)
def test_mistake_is_named(checked, mistaken, sentence):
    verdict = checked(mistaken)
    assert verdict.state == "wrong"
    assert sentence in verdict.sentence, verdict.sentence


@pytest.fixture(scope="module")
def mixture():
    """Two small sources, one six-hourly and one twelve-hourly."""
    sources = {}
    for name, step, count in (("six", 6, 80), ("twelve", 12, 50)):
        times = np.datetime64("2001-01-01", "ns") + np.arange(count) * np.timedelta64(step, "h")
        values = np.zeros((count, 1, 4, 8), np.float32)
        record = Record(
            values, np.empty((0, 4, 8), np.float32), ("geopotential_500",), (), times, np.linspace(-67.5, 67.5, 4), np.arange(8) * 45.0, name
        )  # fmt: skip
        sources[name] = ForecastSamples.of(record)
    return Mixture(sources, batch_size=4, temperature=2, seed=7)


def test_parity(mixture):
    assert check.parity([apportion, schedule, batch], mixture).ok


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ([stub, schedule, batch], "Not yet"),
        ([functools.partial(apportion, left="lost"), schedule, batch], "quotas"),
        ([apportion, functools.partial(schedule, fresh=True), batch], "order"),
        ([apportion, schedule, functools.partial(batch, mistake="every R-th")], "batches are not"),
        ([apportion, schedule, functools.partial(batch, mistake="no number")], "batches are not"),
    ],
)
def test_parity_names_the_piece(mixture, pieces, sentence):
    verdict = check.parity(pieces, mixture)
    assert not verdict.ok
    assert sentence in verdict.sentence
