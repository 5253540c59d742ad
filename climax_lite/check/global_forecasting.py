"""Checkers of *Global forecasting*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics import block_bootstrap, latitude_weights
from .answers import Mistake, array, expect, first, numbers, random
from .verdict import Verdict, attempt, checker, right, wrong


@checker
def rollout(function: Any) -> Verdict:
    """`rollout(step, state, still, count)` → (count, B, V, H, W): every state on the way."""
    count, moving = 3, 2
    state, still = (random(4, v, 2, 5, seed=v).float() for v in (moving, 1))
    kept, kept_still, seen = state.clone(), still.clone(), []

    def step(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return 0.5 * torch.roll(x[:, :moving], 1, -1) + x[:, -1:]

    answer = attempt(function, step, state, still, count)
    states = [0.5 * torch.roll(kept, 1, -1) + kept_still]
    while len(states) < count:
        states.append(0.5 * torch.roll(states[-1], 1, -1) + kept_still)
    if odd := [tuple(x.shape) for x in seen if x.shape != (4, moving + 1, 2, 5)]:
        return wrong(f"A step was given the shape {odd[0]}; it takes moving and still fields, (4, {moving + 1}, 2, 5).", "torch.cat([state, still], dim=1), in every step.")  # fmt: skip
    if seen and not any(torch.equal(x[:, -1:], kept_still) for x in seen):
        return wrong("The still fields stand before the moving ones.", "The docstring says that they come last.")
    if not torch.equal(state, kept) or not torch.equal(still, kept_still):
        return wrong("Your function changes what it was given.", "`state = ...` makes a new name; `state[...] = ...` and `+=` do not.")  # fmt: skip
    if not isinstance(answer, Tensor):
        return wrong(f"Expected one tensor, got {type(answer).__name__}.", "torch.stack joins a list along a new first axis.")  # fmt: skip
    expected, early, late, alike = (torch.stack(x).numpy() for x in (states, [kept, *states], [kept, *states[:-1]], [states[0]] * count))  # fmt: skip
    cases: list[Mistake] = [
        (early, "The initial state is the first of your states: there are four.", "State 1 is the one after the first step."),
        (late, "Your states begin with the initial one, and the last is missing.", "Append after the step, not before it."),
        (alike, "Every step begins at the initial state.", "A step takes what the last one gave."),
        (states[-1].numpy(), "Only the last state is returned.", "Keep all of them: a list, then torch.stack."),
        (expected.swapaxes(0, 1), "Samples come first, then steps.", "The docstring wants (count, B, V, H, W)."),
        (lambda g: g.shape == (count * 4, moving, 2, 5), "Steps and samples lie on one axis.", "torch.stack makes a new axis, torch.cat does not."),
        (lambda g: g.shape == (count, 4, moving + 1, 2, 5), "Your states hold the still fields too.", "Only what moves is asked for."),
    ]  # fmt: skip
    expect(answer, expected, cases, "These are not the states after 1, 2 and 3 steps.",
        "x = step(cat([x, still])), in a loop.", "the states after 1, 2 and 3 steps")  # fmt: skip
    return right("Right: what is predicted goes in again, and what stands still is handed to every step.")


@checker
def score(function: Any) -> Verdict:
    """`score(scores, lead_hours, every_hours)` → (mean, low, high), with blocks that know the lead time."""
    noise = random(400).numpy()
    series = np.array([noise[max(0, i - 25) : i + 1].mean() for i in range(400)])[100:]

    def interval(block: int) -> list[float]:
        return [series.mean(), *block_bootstrap(series, min(len(series), block))]

    for lead, every, block in ((480, 24, 30), (70, 50, 7)):
        mean, low, high = expected = interval(block)
        cases: list[Mistake] = [
            ([low, mean, high], "The order is another: (mean, low, high).", "The mean comes first."),
            ([mean, high, low], "The two ends are swapped.", "(mean, low, high)"),
            (interval(1), "Every initial time was drawn alone, as if neighbours were independent.", "A block is the second argument of block_bootstrap."),
            (interval(-(-lead // every)), "Your block is as long as the lead time alone.", "The flow has a memory of its own: 240 h more."),
            (interval(-(-240 // every)), "Your block is 240 h long at every lead time.", "Forecasts less than a lead time apart pass through the same days."),
            (interval((lead + 240) // every), f"({lead} + 240) h are {(lead + 240) / every:g} intervals of {every} h, and your block rounds down.", "np.ceil, or -(-a // b)."),
            (interval(lead + 240), "Your block counts hours, not initial times.", "Divide by `every_hours`."),
            ([mean, *np.percentile(series, [2.5, 97.5])], "This is the spread of single forecasts, not of their mean.", "metrics.block_bootstrap"),
            (lambda g, m=mean: g.shape == (3,) and abs(g[0] - m) > 1e-4, "The first number is not the mean of the scores.", "scores.mean()"),
        ]  # fmt: skip
        answer = array(attempt(function, series.copy(), lead, every), None, "three numbers, (mean, low, high)")
        other_draws = answer.shape == (3,) and np.abs(answer - expected).max() < 0.12 * (high - low)
        known = first(cases, right(""), answer)
        if not (known.ok and other_draws):
            expect(answer, expected, cases, "This is not the interval of the block bootstrap.",
                "metrics.block_bootstrap(scores, block) gives both ends.", "three numbers, (mean, low, high)")  # fmt: skip
    if not np.isfinite(numbers(attempt(function, series[:120].copy(), 480, 24))).all():
        return wrong("120 times are four blocks of 30, and you give no interval.", "Fewer than four blocks give NaN; four are enough.")  # fmt: skip
    short = numbers(attempt(function, series[:119].copy(), 480, 24))
    if len(short) != 3 or not np.isnan(short[1:]).all():
        return wrong("119 times are fewer than four blocks of 30, and you give an interval for them.", "float('nan') for both ends: three blocks cannot tell a spread.")  # fmt: skip
    if not np.isclose(short[0], series[:119].mean()):
        return wrong("Without an interval there is still a mean.", "Only the two ends are NaN.")
    return right("Right: at 30 days a year of test holds few independent blocks, and now the table says so.")


@checker
def spectrum(function: Any) -> Verdict:
    """`spectrum(maps, lat)` → (W/2,): power of the zonal wavenumbers 1 to W/2."""
    lat = np.array([31.0, 40.0, 58.0])
    maps = random(4, 3, 10).numpy() + 3.0
    width, cos = maps.shape[-1], np.cos(np.deg2rad(lat))
    rows = cos / cos.sum()

    def power(some: np.ndarray) -> np.ndarray:
        return np.abs(np.fft.rfft(some) / width) ** 2

    def pooled(p: np.ndarray, weights: np.ndarray = rows) -> np.ndarray:
        return (p * weights[:, None]).sum(-2).mean(0)

    both = power(maps)
    both[..., 1:-1] *= 2
    expected = pooled(both)[1:]
    last = np.where(np.arange(width // 2) == width // 2 - 1, 2.0, 1.0)
    first = power(maps.mean(0, keepdims=True))
    first[..., 1:-1] *= 2
    plain = pooled(power(maps))[1:]
    moduli, of_degrees = np.sqrt(power(maps)), np.cos(lat)
    moduli[..., 1:-1] *= 2
    cases: list[Mistake] = [
        (lambda g: g.shape == (width // 2 + 1,), "Your first number belongs to wavenumber 0, the mean along the row.", "Wavenumbers begin at 1: leave it out."),
        (expected * last, "The shortest wave, W/2, is counted twice: it has no partner.", "Halve the last number, or double only [1:-1]."),
        (plain, "Each wave stands for two terms of the Fourier sum, +k and −k, and you count one.", "Twice |c|², but for the shortest wave."),
        (pooled(first)[1:], "The maps were averaged before they were squared: waves that move cancel.", "Power of each map first, then the mean."),
        (pooled(both, np.full(3, 1 / 3))[1:], "All rows count alike.", "Weights cos φ, which sum to one over the rows."),
        (pooled(both, cos)[1:], "The weights do not sum to one.", "cos / cos.sum()"),
        (pooled(both, cos / cos.mean())[1:], "The weights average to one and are then summed.", "cos / cos.sum(), or the mean over rows."),
        (expected * width**2, "The transform is not divided by W.", "numpy's rfft sums over the row."),
        (expected * width, "The power is divided by W once, not twice.", "Divide the coefficients, before they are squared."),
        (expected / 2, "Each wave stands for two terms of the Fourier sum, +k and −k, and you count one.", "Twice |c|², but for the shortest wave."),
        (pooled(np.sqrt(both))[1:], "These are amplitudes: square them.", "np.abs(...) ** 2"),
        (pooled(moduli)[1:], "These are amplitudes: square them.", "np.abs(...) ** 2"),
        (pooled(both, of_degrees / of_degrees.sum())[1:], "The cosine was taken of degrees.", "np.cos(np.deg2rad(lat))"),
        (len(maps) * expected, "The powers of the maps are summed.", "The mean over all maps."),
    ]  # fmt: skip
    meaning = "one number for each wavenumber from 1 to W/2"
    expect(attempt(function, maps.copy(), lat.copy()), expected, cases, "These are not the powers of the waves.",
        "A check by hand: cos(2x) has ½ at wavenumber 2 and 0 elsewhere.", meaning)  # fmt: skip
    expect(attempt(function, maps[0], lat), pooled(both[:1])[1:], [], "Right for many maps, wrong for a single one (H, W).",
        "Flatten what stands before the rows: reshape(-1, H, W).", meaning)  # fmt: skip
    return right("Right: and the powers add up to the variance along the rows.")


@checker
def activity(function: Any) -> Verdict:
    """`activity(forecast, truth, lat)` → (a, r) of anomalies (T, H, W)."""
    lat = np.array([-60.0, 0.0, 50.0])
    t = random(5, 3, 4).numpy() * np.array([1, 2, 3, 1, 4])[:, None, None] + 0.4
    f = 0.4 * t + 0.3 * random(5, 3, 4, seed=1).numpy()
    w = latitude_weights(lat).numpy()[:, None]

    def of(f: np.ndarray, t: np.ndarray, w: Any = w, axis: Any = None) -> list[Any]:
        ff, tt, ft = ((w * p).mean(axis) for p in (f * f, t * t, f * t))
        return [np.mean(np.sqrt(ff / tt)), np.mean(ft / np.sqrt(ff * tt))]

    a, r = expected = of(f, t)
    centred = of(f - (w * f).mean(), t - (w * t).mean())
    cases: list[Mistake] = [
        ([r, a], "The two are in the other order.", "(a, r)"),
        ([1 / a, r], "Your a is the size of the truth over that of the forecast.", "A pale forecast has a < 1."),
        ([a**2, r], "Your a is a ratio of mean squares.", "The ratio of sizes is its root."),
        ([a, a * r], "Your second number is the slope Σ f t / Σ t², not the correlation.", "Divide by the root of both mean squares."),
        ([a, r / a], "Your second number is the slope Σ f t / Σ f², not the correlation.", "Divide by the root of both mean squares."),
        (of(f, t, 1.0), "The rows are not weighted.", "metrics.latitude_weights(lat), as (H, 1)."),
        (of(f, t, axis=(-2, -1)), "You took the ratios of each time, and then their mean.", "Average the squares over times too, and divide then."),
        (centred, "You removed a mean: these are anomalies already.", "Sums of f², t² and f·t, no more."),
        (lambda g: g.shape == (2,) and np.isclose(g[1], centred[1]), "r has a mean removed, which np.corrcoef does.", "Σ w f t / √(Σ w f² · Σ w t²)"),
    ]  # fmt: skip
    expect(attempt(function, f.copy(), t.copy(), lat.copy()), expected, cases, "These are not amplitude and correlation of the anomalies.",
        "Three weighted means: of f², of t², of f·t.", "two numbers, (a, r)")  # fmt: skip
    return right("Right: with these two, 1 + a² − 2ar is the mean square error over the variance of the truth.")


@checker
def acc_official(function: Any) -> Verdict:
    """`acc_official(forecast, truth, climatology, lat)` → one number for the whole batch."""
    lat = np.array([-70.0, -10.0, 35.0])
    climatology = random(3, 4, seed=5).numpy()
    of_sample, of_row = np.array([2.0, -1, 4, 0, 1, -3])[:, None, None], np.array([3.0, 0.8, -2.0])[:, None]
    truth = 2 * random(6, 3, 4).numpy() + of_sample + of_row
    forecast = 2 * random(6, 3, 4, seed=2).numpy() + of_sample - of_row / 2 + 1.5
    w = latitude_weights(lat).numpy()[:, None]

    def ratio(p: np.ndarray, t: np.ndarray, w: Any = w, axis: Any = None) -> Any:
        return np.mean((w * p * t).sum(axis) / np.sqrt((w * p * p).sum(axis) * (w * t * t).sum(axis)))

    def official(mean: Any, w: Any = w, axis: Any = None, c: Any = climatology) -> Any:
        p, t = forecast - c, truth - c
        return ratio(p - mean(p), t - mean(t), w, axis)

    cases: list[Mistake] = [
        (official(lambda x: 0, axis=(-2, -1)), "This is WeatherBench 2's ACC: a ratio for each sample, no mean removed.", "The official code removes a mean, and sums over the batch."),
        (official(lambda x: 0), "No mean was removed.", "One number for the forecast, one for the truth: the mean over batch and space."),
        (official(lambda x: (w * x).mean()), "The mean that was removed is weighted; theirs is not.", "Weights come in the sums only."),
        (official(lambda x: x.mean((-2, -1), keepdims=True)), "A mean of each sample was removed.", "One mean over batch and space together."),
        (official(lambda x: x.mean(0)), "The mean over the batch was removed in each cell.", "One number, over batch and space."),
        (official(lambda x: x.mean(), axis=(-2, -1)), "A ratio was taken for each sample.", "Sum over batch and space together, then divide once."),
        (official(lambda x: x.mean(), w=1.0), "The sums are not weighted.", "metrics.latitude_weights(lat), as (H, 1)."),
        (official(lambda x: x.mean(), c=0), "The climatology was not subtracted.", "Anomalies first."),
    ]  # fmt: skip
    answer = attempt(function, forecast.copy(), truth.copy(), climatology.copy(), lat.copy())
    expect(answer, official(lambda x: x.mean()), cases, "This is not the official code's number.",
        "Anomalies; minus one unweighted mean each; three weighted sums over everything.", "one number")  # fmt: skip
    return right("Right: and it depends on what else is in the batch.")


@checker
def doubling_time(function: Any) -> Verdict:
    """`doubling_time(distance, hours, ceiling)` → hours; the line goes through small distances only."""
    hours = np.arange(0.0, 601.0, 24.0)
    wiggle = 0.03 * np.sin(hours)
    distance = np.minimum(2.0 * 2 ** (hours / 60 + wiggle), 0.9 * 200.0)
    small = distance < 50.0

    h, d, slope = hours[small], distance[small], lambda x, y: np.polyfit(x, y, 1)[0]
    rate = slope(h, np.log(d))
    cases: list[Mistake] = [
        (1 / rate, "This is the time in which the distance grows e-fold.", "ln 2 over the slope."),
        (np.log(2) / slope(hours, np.log(distance)), "The line goes through the saturated part too.", "Only where distance < ceiling / 4."),
        (np.log(2) / slope(np.log(d), h), "The axes are swapped.", "np.polyfit(hours, log distance, 1)"),
        (np.log(2) / slope(h, d), "The line goes through the distance, not through its logarithm.", "Doubling is a straight line in the logarithm."),
        (np.log(2) / slope(h, np.log10(d)), "log10 with ln 2.", "The same logarithm in both places."),
        (rate, "This is the growth rate per hour.", "In what time does it grow by ln 2?"),
        (np.log(2) / rate / 24, "These are days.", "Hours are asked for."),
        ((h[-1] - h[0]) * np.log(2) / np.log(d[-1] / d[0]), "Only the first and the last distance were used.", "A least-squares line: np.polyfit."),
    ]  # fmt: skip
    expect(attempt(function, distance.copy(), hours.copy(), 200.0), np.log(2) / rate, cases, "This is not the doubling time of the straight part.",
        "Where the distance is below a quarter of the ceiling: a line through its logarithm.", "one number of hours")  # fmt: skip
    shrinking = attempt(function, 8.0 * 2 ** (-hours / 48), hours.copy(), 200.0)
    expect(shrinking, -48, [], "A distance that halves in 48 h has a doubling time of −48 h, and yours is another.",
        "No absolute value: the sign says whether it grows.", "one number of hours")  # fmt: skip
    return right("Right: this is the yardstick of predictability.")
