"""Checkers of *Scores and honest baselines*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics import latitude_weights
from .answers import Mistake, array, expect, first, random
from .verdict import Verdict, attempt, checker, right, wrong

YEAR = 365.2425
RADIANS = ("You took the cosine of degrees as if they were radians.", "torch.cos wants radians: torch.deg2rad.")
AXES = "Name the axes that you average over, and count the ones that stay."
NAN = "Something is divided by zero, or a root is taken of a negative number."


def _fields(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A small asymmetric case: prediction, target, climatology (3, 2, 4, 5) and latitudes (4,)."""
    climatology, target, prediction = random(3, 3, 2, 4, 5, seed=seed)
    # Read as radians, these have positive cosines too: that slip then gives a number of its own, and no NaN.
    lat = torch.tensor([-75.0, -20.0, 5.0, 57.0], dtype=torch.float64)
    size = torch.tensor([1.0, 2.0, 4.0])[:, None, None, None] * torch.tensor([3.0, 1.0])[None, :, None, None]
    target = 5 * climatology + 2 * target + 0.7 * torch.arange(4.0)[:, None]
    return target + size * prediction + 0.5, target, 5 * climatology, lat


def _weights(lat: Tensor) -> Tensor:
    return latitude_weights(lat)[:, None]


def _of_radians(lat: Tensor) -> Tensor:
    """What the weights are when degrees are taken for radians."""
    return (torch.cos(lat) / torch.cos(lat).mean())[:, None]


@checker
def rmse(function: Any) -> Verdict:
    """`rmse(prediction, target, lat)`: tensors (B, V, H, W) and latitudes (H,) in degrees → (V,)."""
    p, t, _, lat = _fields()
    given = array(attempt(function, p, t, lat), (2,), "one number per variable", AXES, NAN)
    square, w = (p - t) ** 2, _weights(lat)
    space = (w * square).mean((-2, -1))
    mistakes: list[Mistake] = [
        (space.mean(0).sqrt(), "You took one root over space and samples together: that is the pooled RMSE, as in the tables of WeatherBench.",
         "Which axes does the mean under the root run over?"),
        (space.mean(0), "You returned the mean squared error, without a root.", "The unit of a score tells: m⁴ s⁻⁴ is not m² s⁻²."),
        (square.mean((-2, -1)).sqrt().mean(0), "You weighted every row alike, so the poles count as much as the equator.",
         "Multiply the squared error by the weights before you average over latitude."),
        ((torch.cos(torch.deg2rad(lat))[:, None] * square).mean((-2, -1)).sqrt().mean(0),
         "Your weights do not average to one: cos φ has to be divided by its mean.", "What is the score of a forecast that is 1 too high everywhere?"),
        (((w * (p - t)) ** 2).mean((-2, -1)).sqrt().mean(0), "You squared the weights together with the error.",
         "Square first, weight afterwards."),
        ((w * square.sqrt()).mean((-2, -1)).mean(0), "You took the root cell by cell: that is the mean absolute error.", "The root comes after the mean over space."),
        ((_of_radians(lat) * square).mean((-2, -1)).sqrt().mean(0), *RADIANS),
    ]  # fmt: skip
    expect(given, space.sqrt().mean(0), mistakes, "This is not the latitude-weighted RMSE: it differs on random fields on four latitudes.",
        "Square the error, weight the rows, mean over latitude and longitude, root, mean over samples: in this order.")  # fmt: skip
    return right("The root of the weighted mean of every sample, then the mean over samples: the RMSE of ClimaX.")


@checker
def acc(function: Any) -> Verdict:
    """`acc(prediction, target, climatology, lat)`: tensors (B, V, H, W) and latitudes (H,) → (V,)."""
    p, t, c, lat = _fields(1)
    given = array(attempt(function, p, t, c, lat), (2,), "one number per variable", AXES, NAN)
    w = _weights(lat)

    def ratio(a, b, w=w, pooled=False):
        axes = (0, -2, -1) if pooled else (-2, -1)
        r = (w * a * b).sum(axes) / ((w * a * a).sum(axes) * (w * b * b).sum(axes)).sqrt()
        return r if pooled else r.mean(0)

    a, b = p - c, t - c
    d, e = (x - x.mean((0, -2, -1), keepdim=True) for x in (a, b))
    f, g = (x - (w * x).mean((-2, -1), keepdim=True) for x in (a, b))
    h, i = (x - x.mean((-2, -1), keepdim=True) for x in (a, b))
    plain = ((a * a).sum((-2, -1)) * (b * b).sum((-2, -1))).sqrt()
    mistakes: list[Mistake] = [
        (ratio(p, t), "You correlated the fields themselves: without subtracting the climatology everybody knows that the tropics are warm.",
         "An anomaly is a field minus its climatology."),
        (ratio(a, b, torch.ones_like(w)), "You weighted every row alike.", "All three sums carry the latitude weights."),
        (ratio(d, e, pooled=True), "You removed a mean over batch and space: that is the official ClimaX code's definition, and depends on the batch.",
         "Nothing but the climatology is subtracted here."),
        (ratio(f, g), "You removed the spatial mean of the anomalies, and lost what a forecast knows about the global mean.",
         "Nothing but the climatology is subtracted here."),
        (ratio(h, i), "You removed an unweighted spatial mean of the anomalies.", "Nothing but the climatology is subtracted here."),
        *(((v * a * b).sum((-2, -1)).div(plain).mean(0), "You weighted the sum above the line, and not the two below it.", "All three sums carry the latitude weights.")
          for v in (w, torch.cos(torch.deg2rad(lat))[:, None])),
        (ratio(a, b, torch.cos(lat)[:, None]), *RADIANS),
        (ratio(a, b, pooled=True), "You summed over samples and space together: one ratio for the batch, in which strong anomalies count most.",
         "One ratio for every sample, then their mean."),
        (ratio(p, b), "You subtracted the climatology from the target only.", "Both fields become anomalies."),
        (ratio(a, t), "You subtracted the climatology from the prediction only.", "Both fields become anomalies."),
    ]  # fmt: skip
    expect(given, ratio(a, b), mistakes, "This is not the anomaly correlation: it differs on random fields on four latitudes.",
        "For every sample Σ L p'·t' over the root of Σ L p'² times Σ L t'².")  # fmt: skip
    return right("The anomaly correlation of WeatherBench 2: one ratio for every sample, no mean removed, then the mean over samples.")  # fmt: skip


@checker
def fit_harmonics(function: Any) -> Verdict:
    """`fit_harmonics(values, days, harmonics)`: series (T,) and days of the year (T,) → (1 + 2·harmonics,)."""
    truth = np.array([280.0, -9.0, 4.0, 1.5, -2.5])
    days = np.sort(np.random.default_rng(2).uniform(0, 300, 90))  # neither evenly spaced nor the whole year

    def waves(year=YEAR, first=0.0, harmonics=2):
        angle = 2 * np.pi * (days + first) / year
        return np.stack(
            [np.ones_like(angle), *(f(k * angle) for k in range(1, harmonics + 1) for f in (np.cos, np.sin))], 1
        )

    def least_squares(matrix):
        return np.linalg.lstsq(matrix, values, rcond=None)[0]

    values = waves() @ truth
    answer = attempt(function, values, days, 2)
    if isinstance(answer, tuple) and len(answer) == 4:
        return wrong(
            "You returned all four things that np.linalg.lstsq gives.", "The coefficients are the first of them: [0]."
        )
    if np.shape(answer) == (4,):
        return wrong(
            "Four coefficients of five: the first column, all ones, is missing.", "The mean is a coefficient too."
        )
    given = array(answer, (5,), "1 + 2·harmonics coefficients", finite=NAN)
    projection = 2 / len(days) * waves().T @ values
    projection[0] /= 2
    mistakes: list[Mistake] = [
        (truth[[0, 2, 1, 4, 3]], "Sines and cosines are the wrong way round.", "The order is mean, cos, sin, cos 2, sin 2."),
        (truth[[0, 1, 3, 2, 4]], "The cosines come first and the sines after them.", "The order is mean, cos, sin, cos 2, sin 2."),
        (projection, "You projected on each wave by itself: on a record with holes the waves are not orthogonal.", "np.linalg.lstsq solves for all at once."),
        *((least_squares(waves(first=shift)), "Your calendar is shifted by a day or a part of one.", "The days come counted from zero: use them as they are.")
          for shift in (1.0, 0.5, -1.0)),
        *((least_squares(waves(year)), f"Your year has {year:g} days.", "A mean year of our calendar has 365.2425, leap years included.")
          for year in (360.0, 364.0, 365.0, 365.25, 366.0)),
    ]  # fmt: skip
    # A year of 365.25 days moves no coefficient by more than 1.4e-4 of itself.
    expect(given, truth, mistakes, "These are not the coefficients from which the series was made.",
        "The angle goes once round (2π) in 365.2425 days; the columns are 1, cos, sin, cos of twice the angle, sin of twice it.", rtol=1e-5, atol=1e-5)  # fmt: skip
    more = np.append(truth, [0.5, 2.0])
    expect(attempt(function, waves(harmonics=3) @ more, days, 3), more, [], "Right for two harmonics, wrong for three.",
        "Wave k has the angle kθ, with a cosine and a sine.", "1 + 2·harmonics coefficients", rtol=1e-5, atol=1e-5)  # fmt: skip
    return right("Least squares finds the mean and the waves of the year, even where the record has holes.")


@checker
def damping_factor(function: Any) -> Verdict:
    """`damping_factor(anomalies, lead_steps)`: series (T,) → the factor, not below zero."""
    draw = np.random.default_rng(3)
    x = np.cumsum(draw.normal(size=40)) * np.linspace(3, 0.5, 40) + 2.0
    lag = 3
    given = array(attempt(function, x.copy(), lag), (), "one number", finite=NAN)
    a, b = x[:-lag], x[lag:]

    def ratio(s):
        return (x[:-s] * x[s:]).sum() / (x[:-s] ** 2).sum()

    mistakes: list[Mistake] = [
        (a @ b / np.sqrt((a @ a) * (b @ b)), "That is a correlation, divided by both spreads; least squares divides by the initial one alone.",
         "Differentiate Σ (later − a·now)² with respect to a."),
        (a @ b / (x @ x), "The sum below runs over all times, the one above over pairs only.", "Both sums run over the same initial times."),
        (a @ b / (b @ b), "You divided by the later anomalies squared.", "Which of the two does the factor multiply?"),
        ((x * np.roll(x, -lag)).sum() / (x @ x), "The end of the record met its beginning: np.roll goes round.", "The last lead_steps times have no partner: leave them out."),
        (ratio(lag - 1), "The two series are one step too close.", "Which index belongs to x[0] at a lead of three steps?"),
        (ratio(lag + 1), "The two series are one step too far apart.", "Which index belongs to x[0] at a lead of three steps?"),
        (np.polyfit(a, b, 1)[0], "You fitted a line with an intercept; anomalies are departures already.", "One factor, no constant."),
        (np.corrcoef(a, b)[0, 1], "That is a correlation with the means removed; anomalies are departures already.",
         "Differentiate Σ (later − a·now)² with respect to a."),
        ((b / a).mean(), "You averaged ratios: one anomaly near zero spoils them all.", "The ratio of two sums."),
    ]  # fmt: skip
    expect(given, ratio(lag), mistakes, "This is not the factor of least squares.",
        "Σ x(t)·x(t+lead) over Σ x(t)², on the times that have a partner.")  # fmt: skip
    negative = array(attempt(function, np.array([1.0, -1.0, 1.0, -1.0, 1.0]), 1), (), "one number", finite=NAN)
    if negative < 0:
        return wrong("The factor came out negative for a series that changes sign at every step.", "Keep it at zero or above: then the forecast is climatology.")  # fmt: skip
    expect(negative, 0, [], "A series that changes sign at every step has the factor −1, which you turned into a positive one.",
        "Not the absolute value: what is below zero becomes zero.")  # fmt: skip
    growing = array(attempt(function, 1.25 ** np.arange(8.0), 1), (), "one number", finite=NAN)
    expect(growing, 1.25, [], f"A series that grows by a quarter at every step has the factor 1.25; yours is {growing:.3g}.",
        "Zero is the only limit: least squares may exceed one.")  # fmt: skip
    return right("The least-squares factor: the sum of products of today and later, over the sum of squares of today.")


@checker
def block_bootstrap(function: Any) -> Verdict:
    """`block_bootstrap(scores, block, repeats, rng)`: series (T,) → the 2.5 % and 97.5 % points of its mean."""

    def interval(scores, block, repeats=2000, seed=0):
        answer = attempt(function, scores, block, repeats, np.random.default_rng(seed))
        return array(answer, (2,), "two numbers, the lower and the upper", finite=NAN)

    plain, trend = np.random.default_rng(4).normal(10.0, 1.0, 100), np.arange(60.0)
    pairs, single, again = interval(np.tile([1.0, -1.0], 30), 2), interval(plain, 1), interval(plain, 1)
    other, slope, slope_of_singles = interval(plain, 1, seed=1), interval(trend, 6), interval(trend, 1)
    if single[0] > single[1]:
        return wrong("The lower end is above the upper one.", "First the 2.5 % point, then the 97.5 % point.")
    if not np.array_equal(single, again):
        return wrong(
            "The same generator gave two different intervals.",
            "Draw from the `rng` that is handed in, not from np.random.",
        )
    if np.ptp(slope) < 1e-9:
        return wrong(
            "Every sample of your bootstrap has the same mean: you draw without replacement.",
            "A block may come twice, and another not at all.",
        )
    if np.abs(pairs).max() > 1e-9:
        return wrong("You draw single scores: a series of +1, −1, +1, … in blocks of two must have the mean zero in every sample.",
                     "Draw where a block starts, then take `block` scores that follow one another.")  # fmt: skip
    width, expected = float(np.ptp(single)), 2 * 1.96 * plain.std() / np.sqrt(len(plain))
    if width > 3 * expected:
        return wrong(
            "Your interval is that of single scores, not of their mean.",
            "Average each sample first; then take the percentiles of these means.",
        )
    if not plain.min() < single.mean() < plain.max():
        return wrong(
            "Your interval does not lie about the mean of the scores.",
            "Return the ends themselves, not distances from the mean.",
        )
    if width < 0.9 * expected:
        return wrong(
            "Your interval is too narrow.",
            "2.5 % and 97.5 % leave 95 % between them, and every sample is as long as the series.",
        )
    if width > 1.12 * expected:
        return wrong(
            "Your interval is too wide.",
            "2.5 % and 97.5 % leave 95 % between them, and every sample is as long as the series.",
        )
    if np.ptp(slope) < 1.6 * np.ptp(slope_of_singles):
        return wrong(
            "Longer blocks do not widen your interval of a series with a trend, and they should.",
            "How many independent blocks make one sample?",
        )
    if np.array_equal(single, other):
        return wrong(
            "Two different generators gave the same interval: your chance comes from somewhere else.",
            "Draw from the `rng` that is handed in, and make none of your own.",
        )
    return right("Blocks keep neighbours together, so the interval knows that they are not independent.")


@checker
def common_initial_times(function: Any) -> Verdict:
    """`common_initial_times(count, lead_hours, step_hours)`: indices of the initial times from which every lead can be verified."""
    answer = attempt(function, 20, [6, 24, 72], 6)
    if isinstance(answer, (int, float, str, bool)):
        return wrong(f"Expected an array of indices, got {type(answer).__name__}.", "np.arange.")
    given = np.asarray(answer)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        return wrong(
            f"Expected a list of whole numbers, got shape {given.shape} of {given.dtype}.",
            "np.arange, and // instead of /.",
        )
    if np.array_equal(given, np.arange(8)):
        other = np.asarray(attempt(function, 20, [72, 24], 12))
        if not np.array_equal(other, np.arange(14)):
            return wrong(
                "At 12 hours a step, or with the leads in another order, the answer is wrong.",
                "Divide the longest lead by step_hours.",
            )
        return right("One set of initial times for every lead time: now a curve of scores compares like with like.")
    mistakes: list[Mistake] = [
        (np.arange(19), "These are the times from which the shortest lead can be verified.", "The longest lead has to fit as well."),
        (np.arange(7), "The last time that can be used is missing.", "20 times, numbered 0 to 19: which one lies 12 steps before the last?"),
        (np.arange(9), "One time too many: its longest lead ends after the record.", "20 times, numbered 0 to 19: which one lies 12 steps before the last?"),
        (np.arange(0), "You counted hours as steps: 72 steps of six hours are 18 days.", "A lead of 72 h is 72 / 6 steps."),
    ]  # fmt: skip
    otherwise = (
        f"For 20 six-hourly times and leads to 72 h you return {len(given)} indices, and they are not the right ones."
    )
    return first(mistakes, wrong(otherwise, "Start at 0, stop where the longest lead still fits."), given)


@checker
def band_rmse(function: Any) -> Verdict:
    """`band_rmse(prediction, target, lat, south, north)`: the RMSE between two latitudes, tensors → (V,)."""
    p, t, _, lat = _fields(5)
    square, w = (p - t) ** 2, _weights(lat)

    def score(rows, weights=None):
        weights = _weights(lat[rows]) if weights is None else weights
        return (weights * square[..., rows, :]).mean((-2, -1)).sqrt().mean(0)

    south, north = -20.0, 57.0  # both edges are rows
    given = array(attempt(function, p, t, lat, south, north), (2,), "one number per variable", AXES, NAN)
    inside = (lat >= south) & (lat <= north)
    edges = "A row that lies on an edge of the band belongs to it.", "south <= latitude <= north: <= and >=."
    mistakes: list[Mistake] = [
        (score(lat < 90), "This is the score of the whole globe.", "Take the rows of the band before you average."),
        (score((lat > south) & (lat < north)), *edges),
        (score((lat >= south) & (lat < north)), *edges),
        (score((lat > south) & (lat <= north)), *edges),
        (score(lat < north), "Only the northern edge counts in your band, and a row on it is lost.", "Both edges, with <= and >=."),
        (score(inside, w[inside]), "Your weights average to one over the globe, not over the band.", "Crop the latitudes first, then make the weights."),
        (score(inside, 1.0), "You weighted every row of the band alike.", "57° is inside: its cells are about half as wide as those at the equator."),
        ((w * square * inside[:, None]).mean((-2, -1)).sqrt().mean(0), "Rows outside the band count as rows without error.", "Leave them out of the mean, instead of setting them to zero."),
        ((_weights(lat[inside]) * square[..., inside, :]).mean((0, -2, -1)).sqrt(), "You took one root over space and samples together: that is the pooled RMSE.",
         "Which axes does the mean under the root run over?"),
        (score(inside, _of_radians(lat[inside])), *RADIANS),
    ]  # fmt: skip
    expect(given, score(inside), mistakes, "This is not the RMSE of the band.",
        "Choose rows, make weights of their latitudes, then RMSE as before.")  # fmt: skip
    expect(attempt(function, p, t, lat, 4.0, 21.0), score(lat == 5), [], "Right for the band from −20° to 57°, wrong for the one from 4° to 21°.",
        "Compare every latitude, with its sign, with both edges.", "one number per variable")  # fmt: skip
    return right("Weights that average to one over the band: a forecast that is 1 too high scores 1 in every band.")
