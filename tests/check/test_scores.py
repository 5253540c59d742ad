"""The checkers of *Scores and honest baselines*: solutions pass, stubs and wrong answers fail with their own message."""

import numpy as np
import pytest
import torch

from climax_lite import metrics
from climax_lite.check import scores as check


def weights(lat):
    w = torch.cos(torch.deg2rad(lat))
    return (w / w.mean())[:, None]


def rmse(p, t, lat):
    return (weights(lat) * (p - t) ** 2).mean((-2, -1)).sqrt().mean(0)


def acc(p, t, c, lat):
    w, p, t = weights(lat), p - c, t - c
    return ((w * p * t).mean((-2, -1)) / ((w * p**2).mean((-2, -1)) * (w * t**2).mean((-2, -1))).sqrt()).mean(0)


def columns(days, harmonics):
    angle = 2 * np.pi * days / 365.2425
    return np.stack(
        [np.ones_like(days), *(f(k * angle) for k in range(1, harmonics + 1) for f in (np.cos, np.sin))], axis=1
    )


def fit_harmonics(values, days, harmonics):
    return np.linalg.lstsq(columns(days, harmonics), values, rcond=None)[0]


def damping_factor(x, lead):
    return max(0.0, (x[:-lead] * x[lead:]).sum() / (x[:-lead] ** 2).sum())


def block_bootstrap(scores, block, repeats, rng, replace=True, ends=(2.5, 97.5)):
    starts = rng.integers(0, len(scores) - block + 1, (repeats, -(-len(scores) // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(repeats, -1)[:, : len(scores)]
    return np.percentile(scores[index].mean(axis=1), ends)


def common_initial_times(count, lead_hours, step_hours):
    return np.arange(count - max(lead_hours) // step_hours)


def of_rows(p, t, lat, rows):
    return rmse(p[..., rows, :], t[..., rows, :], lat[rows])


def band_rmse(p, t, lat, south, north):
    return of_rows(p, t, lat, (lat >= south) & (lat <= north))


def pooled_band(p, t, lat, rows):
    return (weights(lat[rows]) * error2(p, t)[..., rows, :]).mean((0, -2, -1)).sqrt()


SOLUTIONS = {
    "rmse": rmse,
    "acc": acc,
    "fit_harmonics": fit_harmonics,
    "damping_factor": damping_factor,
    "block_bootstrap": block_bootstrap,
    "common_initial_times": common_initial_times,
    "band_rmse": band_rmse,
}


def in_radians(lat):
    return (torch.cos(lat) / torch.cos(lat).mean())[:, None]


def error2(p, t):
    return (p - t) ** 2


def official_acc(p, t, c, lat):
    return metrics.acc_climax(p, t, c, lat)


def half_weighted(p, t, w):
    return ((w * p * t).sum((-2, -1)) / ((p**2).sum((-2, -1)) * (t**2).sum((-2, -1))).sqrt()).mean(0)


def projection(values, days, harmonics):
    out = 2 / len(days) * columns(days, harmonics).T @ values
    out[0] /= 2
    return out


def swapped(values, days, harmonics):
    c = fit_harmonics(values, days, harmonics)
    for k in range(harmonics):
        c[[1 + 2 * k, 2 + 2 * k]] = c[[2 + 2 * k, 1 + 2 * k]]
    return c


def cosines_first(values, days, harmonics):
    c = fit_harmonics(values, days, harmonics)
    return np.concatenate([c[:1], c[1::2], c[2::2]])


def shuffled(scores, block, repeats, rng):
    return np.percentile([rng.permutation(scores).mean() for _ in range(repeats)], [2.5, 97.5])


def single(scores, block, repeats, rng):
    return block_bootstrap(scores, 1, repeats, rng)


def of_scores(scores, block, repeats, rng):
    starts = rng.integers(0, len(scores) - block + 1, (repeats, len(scores) // block))
    means = scores[starts[..., None] + np.arange(block)].mean(axis=2)
    return np.percentile(means, [2.5, 97.5])


WRONG = [
    ("rmse", lambda p, t, lat: (weights(lat) * error2(p, t)).mean((0, -2, -1)).sqrt(), "one root over space and samples"),
    ("rmse", lambda p, t, lat: (weights(lat) * error2(p, t)).mean((0, -2, -1)), "without a root"),
    ("rmse", lambda p, t, lat: error2(p, t).mean((-2, -1)).sqrt().mean(0), "every row alike"),
    ("rmse", lambda p, t, lat: (torch.cos(torch.deg2rad(lat))[:, None] * error2(p, t)).mean((-2, -1)).sqrt().mean(0), "divided by its mean"),
    ("rmse", lambda p, t, lat: (weights(lat) * error2(p, t)).mean((-2, -1)).sqrt().mean(), "one number per variable"),
    ("rmse", lambda p, t, lat: (weights(lat) * error2(p, t)).mean((-2, -1)).sqrt(), "shape (2,), got (3, 2)"),
    ("rmse", lambda p, t, lat: (weights(lat) * (p - t).abs()).mean((0, -2, -1)), "mean absolute error"),
    ("rmse", lambda p, t, lat: ((weights(lat) * (p - t)) ** 2).mean((-2, -1)).sqrt().mean(0), "squared the weights"),
    ("rmse", lambda p, t, lat: (in_radians(lat) * error2(p, t)).mean((-2, -1)).sqrt().mean(0), "as if they were radians"),
    ("rmse", lambda p, t, lat: torch.zeros(2), "not the latitude-weighted RMSE"),
    ("acc", lambda p, t, c, lat: acc(p, t, 0 * c, lat), "without subtracting the climatology"),
    ("acc", lambda p, t, c, lat: acc(p, t, c, 0 * lat), "every row alike"),
    ("acc", official_acc, "depends on the batch"),
    ("acc", lambda p, t, c, lat: acc(p, t - c, 0 * c, lat), "from the target only"),
    ("acc", lambda p, t, c, lat: acc(p - c, t, 0 * c, lat), "from the prediction only"),
    ("acc", lambda p, t, c, lat: acc(*(x - (weights(lat) * x).mean((-2, -1), keepdim=True) for x in (p - c, t - c)), 0 * c, lat), "spatial mean"),
    ("acc", lambda p, t, c, lat: acc(*(x - x.mean((-2, -1), keepdim=True) for x in (p - c, t - c)), 0 * c, lat), "unweighted spatial mean"),
    ("acc", lambda p, t, c, lat: half_weighted(p - c, t - c, weights(lat)), "above the line"),
    ("acc", lambda p, t, c, lat: half_weighted(p - c, t - c, torch.cos(torch.deg2rad(lat))[:, None]), "above the line"),
    ("acc", lambda p, t, c, lat: acc(p, t, c, torch.rad2deg(lat)), "as if they were radians"),
    ("acc", lambda p, t, c, lat: torch.ones(2), "not the anomaly correlation"),
    ("fit_harmonics", projection, "not orthogonal"),
    ("fit_harmonics", swapped, "wrong way round"),
    ("fit_harmonics", cosines_first, "cosines come first"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d, h)[1:], "all ones, is missing"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d, h)[:3], "shape (5,), got (3,)"),
    ("fit_harmonics", lambda v, d, h: np.linalg.lstsq(columns(d, h), v, rcond=None), "all four things"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d + 1, h), "calendar is shifted"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d + 0.5, h), "calendar is shifted"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d * 365.2425 / 365, h), "Your year has 365 days"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d * 365.2425 / 365.25, h), "Your year has 365.25 days"),
    ("fit_harmonics", lambda v, d, h: np.append(fit_harmonics(v, d, 2), np.zeros(2 * h - 4)), "wrong for three"),
    ("fit_harmonics", lambda v, d, h: fit_harmonics(v, d / 2 / np.pi, h), "not the coefficients"),
    ("damping_factor", lambda x, s: x[:-s] @ x[s:] / np.sqrt((x[:-s] @ x[:-s]) * (x[s:] @ x[s:])), "divided by both spreads"),
    ("damping_factor", lambda x, s: x[:-s] @ x[s:] / (x @ x), "runs over all times"),
    ("damping_factor", lambda x, s: x[:-s] @ x[s:] / (x[s:] @ x[s:]), "later anomalies squared"),
    ("damping_factor", lambda x, s: x @ np.roll(x, -s) / (x @ x), "np.roll goes round"),
    ("damping_factor", lambda x, s: damping_factor(x, s - 1 or s), "one step too close"),
    ("damping_factor", lambda x, s: damping_factor(x, s + 1), "one step too far"),
    ("damping_factor", lambda x, s: np.polyfit(x[:-s], x[s:], 1)[0], "with an intercept"),
    ("damping_factor", lambda x, s: np.corrcoef(x[:-s], x[s:])[0, 1], "means removed"),
    ("damping_factor", lambda x, s: (x[s:] / x[:-s]).mean(), "averaged ratios"),
    ("damping_factor", lambda x, s: x[:-s] @ x[s:] / (x[:-s] @ x[:-s]), "came out negative"),
    ("damping_factor", lambda x, s: abs(x[:-s] @ x[s:] / (x[:-s] @ x[:-s])), "turned into a positive one"),
    ("damping_factor", lambda x, s: min(1.0, damping_factor(x, s)), "yours is 1."),
    ("block_bootstrap", single, "draw single scores"),
    ("block_bootstrap", shuffled, "without replacement"),
    ("block_bootstrap", lambda s, b, r, rng: block_bootstrap(s, b, r, np.random.default_rng()), "two different intervals"),
    ("block_bootstrap", lambda s, b, r, rng: block_bootstrap(s, b, r, np.random.default_rng(0)), "comes from somewhere else"),
    ("block_bootstrap", lambda s, b, r, rng: block_bootstrap(s, b, r, rng)[::-1], "lower end is above"),
    ("block_bootstrap", lambda s, b, r, rng: block_bootstrap(s, b, r, rng, ends=(10, 90)), "too narrow"),
    ("block_bootstrap", of_scores, "that of single scores"),
    ("block_bootstrap", lambda s, b, r, rng: block_bootstrap(s, b, r, rng) - s.mean(), "does not lie about the mean"),
    ("block_bootstrap", lambda s, b, r, rng: s[:5], "two numbers"),
    ("common_initial_times", lambda n, leads, step: np.arange(n - min(leads) // step), "shortest lead"),
    ("common_initial_times", lambda n, leads, step: np.arange(n - max(leads) // step - 1), "is missing"),
    ("common_initial_times", lambda n, leads, step: np.arange(n - max(leads) // step + 1), "One time too many"),
    ("common_initial_times", lambda n, leads, step: np.arange(max(0, n - max(leads))), "hours as steps"),
    ("common_initial_times", lambda n, leads, step: np.arange(n - max(leads) // 6), "12 hours a step"),
    ("common_initial_times", lambda n, leads, step: np.arange(n - leads[-1] // step), "another order"),
    ("common_initial_times", lambda n, leads, step: n - max(leads) // step, "array of indices"),
    ("band_rmse", lambda p, t, lat, s, n: rmse(p, t, lat), "whole globe"),
    ("band_rmse", lambda p, t, lat, s, n: rmse(p[..., (lat >= s) & (lat <= n), :], t[..., (lat >= s) & (lat <= n), :], torch.zeros(3)), "every row of the band alike"),
    ("band_rmse", lambda p, t, lat, s, n: (weights(lat) * error2(p, t))[..., (lat >= s) & (lat <= n), :].mean((-2, -1)).sqrt().mean(0), "over the globe, not over the band"),
    ("band_rmse", lambda p, t, lat, s, n: (weights(lat) * error2(p, t) * ((lat >= s) & (lat <= n))[:, None]).mean((-2, -1)).sqrt().mean(0), "rows without error"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, (lat > s) & (lat < n)), "belongs to it"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, (lat > s) & (lat <= n)), "belongs to it"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, (lat >= s) & (lat < n)), "belongs to it"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, lat < n), "northern edge"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, lat > s), "belongs to it"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, lat <= n), "whole globe"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, lat >= s), "wrong for the one from 4"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, lat, (lat.abs() >= s) & (lat.abs() <= n)), "wrong for the one from 4"),
    ("band_rmse", lambda p, t, lat, s, n: pooled_band(p, t, lat, (lat >= s) & (lat <= n)), "pooled RMSE"),
    ("band_rmse", lambda p, t, lat, s, n: of_rows(p, t, torch.rad2deg(lat), (lat >= s) & (lat <= n)), "as if they were radians"),
    ("band_rmse", lambda p, t, lat, s, n: torch.zeros(2), "not the RMSE of the band"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_passes(name):
    verdict = getattr(check, name)(SOLUTIONS[name])
    assert verdict.ok, verdict


def test_other_right_ways_pass():
    assert check.rmse(metrics.rmse)
    assert check.acc(metrics.acc)
    assert check.fit_harmonics(lambda v, d, h: np.linalg.pinv(columns(d, h)) @ v)
    assert check.damping_factor(lambda x, s: torch.tensor(damping_factor(x, s)))

    def separate_blocks(scores, block, repeats, rng):
        blocks = scores[: len(scores) // block * block].reshape(-1, block).mean(axis=1)
        return tuple(np.quantile(rng.choice(blocks, (repeats, len(blocks))).mean(axis=1), [0.025, 0.975]))

    assert check.block_bootstrap(separate_blocks)


@pytest.mark.parametrize(("name", "function", "message"), WRONG)
def test_a_wrong_answer_gets_its_message(name, function, message):
    verdict = getattr(check, name)(function)
    assert verdict.state == "wrong"
    assert message in verdict.sentence
    assert verdict.hint


def test_every_wrong_answer_has_its_own_message():
    said = {name: [getattr(check, n)(f).sentence for n, f, _ in WRONG if n == name] for name in SOLUTIONS}
    for name, sentences in said.items():
        assert len(set(sentences)) >= 3, name


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_stub_is_not_yet(name):
    assert getattr(check, name)(lambda *args: None).state == "not yet"


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize(
    "garbage",
    [
        None,
        3,
        "text",
        lambda: 1,
        lambda *a: "text",
        lambda *a: {},
        lambda *a: 1 / 0,
        lambda *a: np.nan,
        lambda *a: np.full(2, np.nan),
        lambda *a: [[1.0, 2.0], [3.0]],
    ],
)
def test_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 10
