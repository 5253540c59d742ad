"""The checkers of *A round Earth on a rectangular grid*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import pytest
import torch

from climax_lite.check import round_earth as check
from climax_lite.grid import Grid
from tests.check.exercises import Exercises

RAD = np.pi / 180


def cosine_weights(lat):
    w = np.cos(np.deg2rad(np.asarray(lat)))
    return w / w.mean()


def loss_weights(lat, like):
    return torch.as_tensor(cosine_weights(lat)).to(like)[:, None]


SOLUTIONS = {
    "cell_area_fraction": lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) * d / 720,
    "latitude_weights": cosine_weights,
    "latitude_weighted_mse": lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).mean(),
    "columns_in_box": lambda lon, west, east: Grid(np.arange(-80, 81, 10.0), lon).columns(_box(west, east)),
    "rows_in_box": lambda lat, s, n: np.flatnonzero((lat >= s) & (lat <= n)),
    "patch_ids": lambda r, c, w, p: (_whole(r, p)[:, None] * (w // p) + _whole(c, p)).ravel(),
    "masked_mean": lambda f, lat, m: np.average(
        f[m], weights=np.broadcast_to(cosine_weights(lat)[:, None], f.shape)[m]
    ),
}


def _box(west, east):
    from climax_lite.grid import Region

    return Region(-90, 90, west, east)


def _whole(cells, p):
    patches, held = np.unique(cells // p, return_counts=True)
    return patches[held == p]


def _touched(cells, p):
    return np.unique(cells // p)


def _naive_columns(lon, west, east):
    return np.flatnonzero((lon >= west) & (lon <= east))


def _modulo_columns(lon, west, east):
    return np.flatnonzero((lon - west) % 360 <= (east - west) % 360)


def _every_column_if_wide(lon, west, east):
    if east - west >= 360:
        return np.arange(len(lon))
    return SOLUTIONS["columns_in_box"](lon, west, east)


def _in_place(lat):
    lat *= RAD
    return np.cos(lat) / np.cos(lat).mean()


def _in_box_order(rows, columns, width, p):
    """Ids in the order in which an eastward box meets the patches."""
    order = [c for c in dict.fromkeys(columns // p) if c in _whole(columns, p)]
    return (_whole(rows, p)[:, None] * (width // p) + np.array(order)).ravel()


def _rows(lat, south, north):
    return np.flatnonzero((lat >= south) & (lat <= north))


WRONG = [
    # exercise, wrong answer, a part of the message
    ("cell_area_fraction", lambda s, n, d: (np.sin(n) - np.sin(s)) * d / 720, "sine of degrees"),
    ("cell_area_fraction", lambda s, n, d: (n - s) * d / (180 * 360), "flat map"),
    ("cell_area_fraction", lambda s, n, d: np.cos((s + n) / 2 * RAD) * (n - s) * RAD * d * RAD / (4 * np.pi), "thin cell"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) * d / 360, "Twice too large"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) / 2, "width of the cell in longitude is missing"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) * d / (4 * np.pi), "still in degrees"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(s * RAD) - np.sin(n * RAD)) * d / 720, "sign is wrong"),
    ("cell_area_fraction", lambda s, n, d: 6.371e6**2 * (np.sin(n * RAD) - np.sin(s * RAD)) * d * RAD, "at most 1"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) * d * RAD, "4π times too large"),
    ("cell_area_fraction", lambda s, n, d: (np.sin(n * RAD) - np.sin(s * RAD)) * d / 7.2, "per cent"),
    ("cell_area_fraction", lambda s, n, d: abs(np.sin(abs(n) * RAD) - np.sin(abs(s) * RAD)) * d / 720, "wrong in the south"),
    ("cell_area_fraction", lambda s, n, d: 0.123, "got 0.12300"),
    ("cell_area_fraction", lambda s, n, d: np.full(3, 0.1), "one number for one cell: shape (), got (3,)"),
    ("latitude_weights", lambda lat: np.cos(lat) / np.cos(lat).mean(), "cosine of degrees: the weights"),
    ("latitude_weights", np.cos, "did not divide"),
    ("latitude_weights", lambda lat: np.cos(lat * RAD), "their mean is not one"),
    ("latitude_weights", lambda lat: np.cos(lat * RAD) / np.cos(lat * RAD).sum(), "add up to one"),
    ("latitude_weights", lambda lat: np.cos(lat * RAD) / np.cos(lat * RAD).max(), "largest weight"),
    ("latitude_weights", lambda lat: np.sin(lat * RAD) / np.sin(lat * RAD).mean(), "sine"),
    ("latitude_weights", lambda lat: np.tile(cosine_weights(lat)[:, None], 8), "one weight for each"),
    ("latitude_weights", lambda lat: np.ones(len(lat)), "not cos φ / mean cos φ"),
    ("latitude_weights", lambda lat: np.cos(lat * RAD) / np.cos(np.array([-70, -20, 5, 30, 45]) * RAD).mean(), "wrong for part"),
    ("latitude_weights", _in_place, "changed the latitudes"),
    ("latitude_weighted_mse", lambda p, t, lat: ((p - t) ** 2).mean(), "plain mean squared error"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p)[:, 0] * (p - t) ** 2).mean(), "run along longitude"),
    ("latitude_weighted_mse", lambda p, t, lat: ((loss_weights(lat, p) * (p - t)) ** 2).mean(), "squared the weights"),
    ("latitude_weighted_mse", lambda p, t, lat: (torch.as_tensor(np.cos(lat * RAD))[:, None] * (p - t) ** 2).mean(), "mean one"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).sum(), "took the sum"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).mean().sqrt(), "root of the loss"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t).abs()).mean(), "absolute error"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).mean((0, 2, 3)), "Expected one number"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).mean().item(), "plain number"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).mean().detach(), "no gradient flows"),
    ("latitude_weighted_mse", lambda p, t, lat: (torch.as_tensor(cosine_weights(lat))[:, None] * (p - t) ** 2).mean(), "float64"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat / RAD, p) * (p - t) ** 2).mean(), "cosine of degrees"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) / len(lat) * (p - t) ** 2).mean(), "add up to one"),
    ("latitude_weighted_mse", lambda p, t, lat: (loss_weights(lat, p) * (p - t) ** 2).sum() / p[0].numel(), "divided by V·H·W"),
    ("latitude_weighted_mse", lambda p, t, lat: (p - t).mean(), "not the mean of"),
    ("latitude_weighted_mse", lambda p, t, lat: 0 * p.sum() + 0.125, "got 0.1250"),
    ("columns_in_box", _naive_columns, "across Greenwich"),
    ("columns_in_box", lambda lon, west, east: _naive_columns(lon, west % 360, east % 360), "across Greenwich"),
    ("columns_in_box", _modulo_columns, "wrong order"),
    ("columns_in_box", lambda lon, west, east: lon[_naive_columns(lon, west, east)], "got their longitudes"),
    ("columns_in_box", lambda lon, west, east: (lon >= west) & (lon <= east), "true and false"),
    ("columns_in_box", lambda lon, west, east: np.flatnonzero((lon > west) & (lon < east)), "edge of the box is missing"),
    ("columns_in_box", lambda lon, west, east: np.arange(5), "Between 200° E and 300° E"),
    ("columns_in_box", lambda *box: (SOLUTIONS["columns_in_box"](*box),), "got a tuple"),
    ("columns_in_box", lambda *box: SOLUTIONS["columns_in_box"](*box)[:, None], "shape (any,), got (4, 1)"),
    ("columns_in_box", lambda *box: SOLUTIONS["columns_in_box"](*box)[0], "single value"),
    ("columns_in_box", _every_column_if_wide, "−400°"),
    ("rows_in_box", lambda lat, s, n: np.flatnonzero((lat[::-1] >= s) & (lat[::-1] <= n)), "other hemisphere"),
    ("rows_in_box", lambda lat, s, n: np.flatnonzero((np.sort(lat) >= s) & (np.sort(lat) <= n)), "With descending latitudes you picked"),
    ("rows_in_box", lambda lat, s, n: (lat >= s) & (lat <= n), "true and false"),
    ("rows_in_box", lambda lat, s, n: np.flatnonzero(abs(lat) <= n), "expected the rows"),
    ("rows_in_box", lambda lat, s, n: np.flatnonzero((lat > s) & (lat < n)), "edge of the box is missing"),
    ("rows_in_box", lambda lat, s, n: _rows(lat, s, n)[::-1], "With ascending latitudes you found the right rows in the wrong order"),
    ("rows_in_box", lambda lat, s, n: len(lat) - 1 - _rows(lat[::-1], s, n), "right rows in the wrong order"),
    ("rows_in_box", lambda lat, s, n: np.where((lat >= s) & (lat <= n)), "got a tuple"),
    ("rows_in_box", lambda lat, s, n: np.argwhere((lat >= s) & (lat <= n)), "shape (any,), got (2, 1)"),
    ("patch_ids", lambda r, c, w, p: (_touched(r, p)[:, None] * (w // p) + _touched(c, p)).ravel(), "touches"),
    ("patch_ids", lambda r, c, w, p: (_whole(c, p)[:, None] * 4 + _whole(r, p)).ravel(), "column by column"),
    ("patch_ids", lambda r, c, w, p: np.sort((_whole(c, p)[:, None] * (w // p) + _whole(r, p)).ravel()), "column by column"),
    ("patch_ids", lambda r, c, w, p: (_whole(r, p)[:, None] * p * w + _whole(c, p) * p).ravel(), "ids of cells"),
    ("patch_ids", lambda r, c, w, p: (_whole(r, 2)[:, None] * (w // 2) + _whole(c, 2)).ravel(), "wrong for 3 × 3"),
    ("patch_ids", lambda r, c, w, p: (r[r % p == 0][:, None] // p * (w // p) + c[c % p == 0] // p).ravel(), "got [6, 7, 8, 9, 11"),
    ("patch_ids", _in_box_order, "do not ascend"),
    ("patch_ids", lambda r, c, w, p: (_whole(r, p)[:, None] * w + _whole(c, p)).ravel(), "width // p"),
    ("patch_ids", lambda r, c, w, p: _whole(r, p)[:, None] * (w // p) + _whole(c, p), "wrong shape or order"),
    ("patch_ids", lambda r, c, w, p: np.arange(3), "Expected the patches"),
    (
        "patch_ids",
        lambda r, c, w, p: np.array([
            i * (w // p) + j for i in range(4) for j in range(w // p)
            if i * p >= r[0] and i * p + p - 1 <= r[-1] and j * p >= c[0] and j * p + p - 1 <= c[-1]
        ]),
        "across Greenwich",
    ),
    ("masked_mean", lambda f, lat, m: np.nansum(cosine_weights(lat)[:, None] * f * m) / f.size, "number of all cells"),
    ("masked_mean", lambda f, lat, m: np.nansum(cosine_weights(lat)[:, None] * f * m) / m.sum(), "number of cells in the mask"),
    ("masked_mean", lambda f, lat, m: f[m].mean(), "unweighted"),
    ("masked_mean", lambda f, lat, m: (cosine_weights(lat)[:, None] * f).mean(), "over all cells"),
    ("masked_mean", lambda f, lat, m: np.nansum(cosine_weights(lat)[:, None] * f) / (cosine_weights(lat)[:, None] * m).sum(), "only over the mask"),
    ("masked_mean", lambda f, lat, m: SOLUTIONS["masked_mean"](f, lat / RAD, m), "cosine of degrees"),
    ("masked_mean", lambda f, lat, m: 1 / 3, "got 0.3333."),
    ("masked_mean", lambda f, lat, m: f[m], "shape (), got (4,)"),
    ("masked_mean", lambda f, lat, m: SOLUTIONS["masked_mean"](f, lat, ~m), "mask is false"),
    ("masked_mean", lambda f, lat, m: (cosine_weights(lat)[:, None] * f * m).sum() / (cosine_weights(lat)[:, None] * m).sum(), "NaN"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_tensors_and_lists_pass_too():
    assert check.latitude_weights(lambda lat: torch.tensor(cosine_weights(lat))).ok
    assert check.latitude_weights(lambda lat: cosine_weights(lat).tolist()).ok
    assert check.columns_in_box(lambda *box: SOLUTIONS["columns_in_box"](*box).tolist()).ok


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda *a: [[1], [2, 3]], lambda: 1, lambda *a: np.nan])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert not verdict.ok
    assert verdict.sentence.endswith((".", ":", ")")) or "argument" in verdict.sentence
