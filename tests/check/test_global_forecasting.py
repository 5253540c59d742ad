"""The checkers of *Global forecasting*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import pytest
import torch

from climax_lite.check import global_forecasting as check
from climax_lite.metrics import acc_climax, block_bootstrap
from tests.check.exercises import Exercises


def weights(lat):
    cos = np.cos(np.deg2rad(lat))
    return (cos / cos.mean())[:, None]


# ---------------------------------------------------------------- rollout


def rollout(step, state, still, count, first=False, last=True, again=True, order=1, add=torch.stack):
    states, x = [state] * first, state
    for _ in range(count if last else count - 1):
        parts = [x, still][::order]
        y = step(torch.cat(parts, dim=1))
        states.append(y)
        x = y if again else x
    return add(states)


def rolling(**how):
    return lambda *args: rollout(*args, **how)


def without_still(step, state, still, count):
    states = []
    for _ in range(count):
        state = step(state)
        states.append(state)
    return torch.stack(states)


def in_place(step, state, still, count):
    states = []
    for _ in range(count):
        state[...] = step(torch.cat([state, still], 1))
        states.append(state.clone())
    return torch.stack(states)


def with_still(step, state, still, count):
    states = rollout(step, state, still, count)
    return torch.cat([states, still.expand(count, *still.shape)], 2)


# ---------------------------------------------------------------- score


def score(scores, lead, every, block=None, few=4, ends=block_bootstrap):
    size = int(np.ceil((lead + 240) / every)) if block is None else block(lead, every)
    if len(scores) < few * size:
        return scores.mean(), np.nan, np.nan
    return scores.mean(), *ends(scores, min(len(scores), max(1, size)))


def scoring(**how):
    return lambda *args: score(*args, **how)


def another_generator(scores, lead, every):
    return score(scores, lead, every, ends=lambda s, b: block_bootstrap(s, b, 4000, np.random.default_rng(7)))


# ---------------------------------------------------------------- spectrum


def spectrum(maps, lat, twice=slice(1, -1), drop=1, norm=1.0, weight=lambda c: c / c.sum(), before=False, root=1, add=np.mean):  # fmt: skip
    maps = maps.reshape(-1, *maps.shape[-2:])
    maps = maps.mean(0, keepdims=True) if before else maps
    power = np.abs(np.fft.rfft(maps) / maps.shape[-1]) ** 2
    power[..., twice] *= 2
    power = power[..., drop:] ** root
    return norm * add((power * weight(np.cos(np.deg2rad(lat)))[:, None]).sum(1), axis=0)


def waves(**how):
    return lambda *args: spectrum(*args, **how)


def moduli(maps, lat):
    cos = np.cos(np.deg2rad(lat))
    sizes = 2 * np.abs(np.fft.rfft(maps)[..., 1:] / maps.shape[-1])
    sizes[..., -1] /= 2
    return np.average(sizes, axis=-2, weights=cos).reshape(-1, maps.shape[-1] // 2).mean(0)


# ---------------------------------------------------------------- activity


def activity(f, t, lat, w=None, axis=None):
    w = weights(lat) if w is None else w
    ff, tt, ft = ((w * p).mean(axis) for p in (f * f, t * t, f * t))
    return np.mean(np.sqrt(ff / tt)), np.mean(ft / np.sqrt(ff * tt))


def from_activity(change):
    def function(f, t, lat):
        return change(*activity(f, t, lat))

    return function


def centred(f, t, lat):
    w = weights(lat)
    return activity(f - (w * f).mean(), t - (w * t).mean(), lat)


# ---------------------------------------------------------------- the other ACC


def acc_official(forecast, truth, climatology, lat, mean=np.mean, w=None, axis=None):
    w = weights(lat) if w is None else w
    p, t = forecast - climatology, truth - climatology
    p, t = p - mean(p), t - mean(t)
    return np.mean((w * p * t).sum(axis) / np.sqrt((w * p * p).sum(axis) * (w * t * t).sum(axis)))


def correlating(**how):
    return lambda *args: acc_official(*args, **how)


def weighted_mean(forecast, truth, climatology, lat):
    return acc_official(forecast, truth, climatology, lat, mean=lambda x: (weights(lat) * x).mean())


# ---------------------------------------------------------------- doubling time


def doubling_time(distance, hours, ceiling, part=4.0, log=np.log, time=lambda rate: np.log(2) / rate):
    small = distance < ceiling / part
    return time(np.polyfit(hours[small], log(distance[small]), 1)[0])


def doubling(**how):
    return lambda *args: doubling_time(*args, **how)


def first_and_last(distance, hours, ceiling):
    small = distance < ceiling / 4
    h, d = hours[small], distance[small]
    return (h[-1] - h[0]) * np.log(2) / np.log(d[-1] / d[0])


def swapped(distance, hours, ceiling):
    small = distance < ceiling / 4
    return np.log(2) / np.polyfit(np.log(distance[small]), hours[small], 1)[0]


SOLUTIONS = {
    "rollout": rollout,
    "score": score,
    "spectrum": spectrum,
    "activity": activity,
    "acc_official": acc_official,
    "doubling_time": doubling_time,
}

PER_MAP = (-2, -1)

WRONG = [
    ("rollout", rolling(first=True), "there are four"),
    ("rollout", rolling(first=True, last=False), "the last is missing"),
    ("rollout", rolling(again=False), "begins at the initial state"),
    ("rollout", lambda *a: rollout(*a)[-1], "Only the last state"),
    ("rollout", lambda *a: rollout(*a).transpose(0, 1), "Samples come first"),
    ("rollout", rolling(add=torch.cat), "on one axis"),
    ("rollout", rolling(add=list), "got list"),
    ("rollout", rolling(order=-1), "before the moving ones"),
    ("rollout", without_still, "moving and still fields"),
    ("rollout", in_place, "changes what it was given"),
    ("rollout", with_still, "hold the still fields too"),
    ("rollout", lambda *a: 2 * rollout(*a), "not the states"),
    ("score", lambda *a: score(*a)[0], "three numbers"),
    ("score", lambda *a: [score(*a)[i] for i in (1, 0, 2)], "order is another"),
    ("score", lambda *a: [score(*a)[i] for i in (0, 2, 1)], "ends are swapped"),
    ("score", scoring(block=lambda lead, every: 1), "drawn alone"),
    ("score", scoring(block=lambda lead, every: -(-lead // every)), "lead time alone"),
    ("score", scoring(block=lambda lead, every: -(-240 // every)), "at every lead time"),
    ("score", scoring(block=lambda lead, every: (lead + 240) // every), "rounds down"),
    ("score", scoring(block=lambda lead, every: lead + 240, few=0), "counts hours"),
    ("score", scoring(ends=lambda s, b: np.percentile(s, [2.5, 97.5])), "spread of single forecasts"),
    ("score", lambda *a: (np.median(a[0]), *score(*a)[1:]), "not the mean"),
    ("score", scoring(few=1), "fewer than four blocks"),
    ("score", scoring(few=5), "four blocks of 30"),
    ("score", lambda *a: (score(*a)[1] * 0 + a[0].mean(), *score(*a)[1:]), "there is still a mean"),
    ("score", scoring(ends=lambda s, b: (0.0, 1.0)), "not the interval"),
    ("spectrum", waves(drop=0), "wavenumber 0"),
    ("spectrum", waves(twice=slice(1, None)), "has no partner"),
    ("spectrum", waves(twice=slice(0, 0)), "you count one"),
    ("spectrum", waves(before=True), "before they were squared"),
    ("spectrum", waves(weight=lambda c: np.full(len(c), 1 / len(c))), "All rows count alike"),
    ("spectrum", waves(weight=lambda c: c), "do not sum to one"),
    ("spectrum", waves(weight=lambda c: c / c.mean()), "average to one and are then summed"),
    ("spectrum", waves(norm=100.0), "not divided by W"),
    ("spectrum", waves(norm=10.0), "once, not twice"),
    ("spectrum", waves(norm=0.5), "you count one"),
    ("spectrum", waves(root=0.5), "amplitudes"),
    ("spectrum", moduli, "amplitudes"),
    ("spectrum", lambda maps, lat: spectrum(maps, np.rad2deg(lat)), "cosine was taken of degrees"),
    ("spectrum", waves(add=np.sum), "are summed"),
    ("spectrum", waves(norm=1.7), "not the powers"),
    ("spectrum", lambda maps, lat: spectrum(maps.swapaxes(-1, -2), np.ones(maps.shape[-1])), "shape (5,)"),
    ("spectrum", lambda maps, lat: spectrum(np.stack(list(maps))[None], lat) if maps.ndim == 3 else np.zeros(5), "single one"),
    ("activity", from_activity(lambda a, r: (r, a)), "other order"),
    ("activity", from_activity(lambda a, r: (1 / a, r)), "truth over that of the forecast"),
    ("activity", from_activity(lambda a, r: (a**2, r)), "ratio of mean squares"),
    ("activity", from_activity(lambda a, r: (a, a * r)), "Σ f t / Σ t²"),
    ("activity", from_activity(lambda a, r: (a, r / a)), "Σ f t / Σ f²"),
    ("activity", lambda f, t, lat: activity(f, t, lat, 1.0), "not weighted"),
    ("activity", lambda f, t, lat: activity(f, t, lat, axis=PER_MAP), "ratios of each time"),
    ("activity", centred, "removed a mean"),
    ("activity", lambda f, t, lat: (activity(f, t, lat)[0], centred(f, t, lat)[1]), "np.corrcoef"),
    ("activity", lambda f, t, lat: activity(f, t, lat)[0], "two numbers"),
    ("activity", from_activity(lambda a, r: (a, 0.5)), "not amplitude and correlation"),
    ("acc_official", correlating(mean=lambda x: 0, axis=PER_MAP), "WeatherBench 2"),
    ("acc_official", correlating(mean=lambda x: 0), "No mean was removed"),
    ("acc_official", weighted_mean, "theirs is not"),
    ("acc_official", correlating(mean=lambda x: x.mean(PER_MAP, keepdims=True)), "mean of each sample"),
    ("acc_official", correlating(mean=lambda x: x.mean(0)), "in each cell"),
    ("acc_official", correlating(axis=PER_MAP), "ratio was taken for each sample"),
    ("acc_official", correlating(w=1.0), "sums are not weighted"),
    ("acc_official", lambda f, t, c, lat: acc_official(f, t, 0, lat), "climatology was not subtracted"),
    ("acc_official", lambda *a: 0.5, "not the official code's"),
    ("doubling_time", doubling(time=lambda rate: 1 / rate), "e-fold"),
    ("doubling_time", doubling(part=0.1), "saturated part"),
    ("doubling_time", doubling(log=lambda x: x), "not through its logarithm"),
    ("doubling_time", doubling(log=np.log10), "log10 with ln 2"),
    ("doubling_time", doubling(time=lambda rate: rate), "growth rate"),
    ("doubling_time", doubling(time=lambda rate: np.log(2) / rate / 24), "These are days"),
    ("doubling_time", first_and_last, "first and the last"),
    ("doubling_time", swapped, "axes are swapped"),
    ("doubling_time", doubling(time=lambda rate: abs(np.log(2) / rate)), "halves in 48 h"),
    ("doubling_time", lambda d, h, c: 55.0, "not the doubling time"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_other_right_answers():
    assert check.score(another_generator).ok
    assert check.score(lambda *a: np.array(score(*a))).ok
    assert check.activity(lambda *a: list(activity(*a))).ok

    def of_the_package(f, t, c, lat):
        f, t = (torch.tensor(x)[:, None] for x in (f, t))
        return acc_climax(f, t, torch.tensor(c), lat)[0]

    assert check.acc_official(of_the_package).ok


def test_spectrum_by_hand():
    """cos 2x has the variance ½, all of it at wavenumber 2, in whatever row."""
    row = np.cos(2 * 2 * np.pi * np.arange(8) / 8)
    assert spectrum(np.tile(row, (3, 2, 1)), np.array([10.0, 50.0])) == pytest.approx([0, 0.5, 0, 0])
