"""The checkers of *Downscaling*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import pytest

from climax_lite.check import downscaling as check
from tests.check.exercises import Exercises


def mean_detail(smooth, fine, new):
    return new + (fine - smooth).mean(axis=0)


def in_place(smooth, fine, new):
    new += (fine - smooth).mean(axis=0)
    return new


def conserve(guess, coarse, factor=1.0, spread=None):
    t, h, w = coarse.shape
    lack = coarse - guess.reshape(t, h, 3, w, 3).mean(axis=(2, 4))
    return guess + factor * (spread or repeat)(lack)


def repeat(x):
    return x.repeat(3, axis=1).repeat(3, axis=2)


def rough(guess, coarse):
    lumps = np.zeros((1, *guess.shape[1:]))
    lumps[:, ::3, ::3], lumps[:, 1::3, ::3] = 1, -1
    return conserve(guess, coarse) + lumps


def scaled(guess, coarse):
    t, h, w = coarse.shape
    return guess * repeat(coarse / guess.reshape(t, h, 3, w, 3).mean(axis=(2, 4)))


def one_for_all_days(guess, coarse):
    lack = coarse - guess.reshape(*coarse.shape[:2], 3, -1, 3).mean(axis=(2, 4))
    return guess + repeat(lack.mean(axis=0, keepdims=True))


def conserve_in_place(guess, coarse):
    guess += repeat(coarse - guess.reshape(*coarse.shape[:2], 3, -1, 3).mean(axis=(2, 4)))
    return guess


def crop_ids(row, column, shape, columns):
    return [r * columns + c % columns for r in range(row, row + shape[0]) for c in range(column, column + shape[1])]


def no_wrap(row, column, shape, columns):
    return [r * columns + c for r in range(row, row + shape[0]) for c in range(column, column + shape[1])]


def by_column(row, column, shape, columns):
    return [r * columns + c % columns for c in range(column, column + shape[1]) for r in range(row, row + shape[0])]


def own_width(row, column, shape, columns):
    return [r * shape[1] + c for r in range(row, row + shape[0]) for c in range(column, column + shape[1])]


def spectrum(rows):
    w = rows.shape[-1]
    power = 2 * abs(np.fft.rfft(rows)[..., 1:] / w) ** 2
    power[..., -1] /= 2
    return power


def lapse_rate(warmer, higher, weights):
    w = weights[:, None]
    return -1000 * (w * warmer * higher).sum() / (w * higher**2).sum()


def with_constant(warmer, higher, weights):
    w = np.broadcast_to(weights[:, None], warmer.shape)
    x, y = higher - np.average(higher, weights=w), warmer - np.average(warmer, weights=w)
    return -1000 * (w * x * y).sum() / (w * x**2).sum()


def wet_share(rain, lat, least):
    return np.average((rain >= least).mean(axis=(0, 2)), weights=np.cos(np.deg2rad(lat)))


SOLUTIONS = {
    "mean_detail": mean_detail,
    "conserve": conserve,
    "crop_ids": crop_ids,
    "spectrum": spectrum,
    "lapse_rate": lapse_rate,
    "wet_share": wet_share,
}

WRONG = [
    ("mean_detail", in_place, "in place"),
    ("mean_detail", lambda s, f, n: n.copy(), "Nothing was added"),
    ("mean_detail", lambda s, f, n: n + (s - f).mean(0), "sign"),
    ("mean_detail", lambda s, f, n: n + (f - s).mean(), "One number"),
    ("mean_detail", lambda s, f, n: n + (f - s).mean((1, 2))[:4, None, None], "over the map"),
    ("mean_detail", lambda s, f, n: np.repeat(f.mean(0)[None], len(n), 0), "weather of the new day"),
    ("mean_detail", lambda s, f, n: n + (f - s)[-1], "one day"),
    ("mean_detail", lambda s, f, n: n + np.median(f - s, 0), "median"),
    ("mean_detail", lambda s, f, n: n + 2 * (f - s).mean(0), "not new"),
    ("mean_detail", lambda s, f, n: (f - s).mean(0), "shape"),
    ("conserve", conserve_in_place, "in place"),
    ("conserve", lambda g, c: g.copy(), "Nothing has changed"),
    ("conserve", lambda g, c: repeat(c), "flat"),
    ("conserve", lambda g, c: conserve(g, c, -1), "sign"),
    ("conserve", lambda g, c: conserve(g, c, 1 / 9), "a ninth"),
    ("conserve", lambda g, c: conserve(g, c, spread=lambda x: np.tile(x, (1, 3, 3))), "wrong cells"),
    ("conserve", scaled, "scaled"),
    ("conserve", lambda g, c: g + repeat(c), "coarse value itself"),
    ("conserve", lambda g, c: g + (c.mean((1, 2)) - g.mean((1, 2)))[:, None, None], "whole map"),
    ("conserve", lambda g, c: conserve(g, c, 0.5), "not the coarse values"),
    ("conserve", one_for_all_days, "same difference"),
    ("conserve", lambda g, c: g + repeat(c - g.reshape(*c.shape[:2], 3, -1, 3).sum(axis=(2, 4))), "sum of the nine"),
    ("conserve", rough, "nearest map"),
    ("conserve", lambda g, c: c, "shape"),
    ("crop_ids", lambda *a: crop_ids(*a)[:3], "got 3"),
    ("crop_ids", by_column, "column by column"),
    ("crop_ids", lambda *a: np.reshape(crop_ids(*a), a[2]), "list of its own"),
    ("crop_ids", lambda r, c, s, n: crop_ids(c, r, s, n), "swapped"),
    ("crop_ids", own_width, "width of the crop"),
    ("crop_ids", lambda *a: crop_ids(*a)[::-1], "another order"),
    ("crop_ids", lambda r, c, s, n: crop_ids(r + 1, c, s, n), "expected"),
    ("crop_ids", no_wrap, "next row"),
    ("crop_ids", lambda *a: sorted(crop_ids(*a)), "sorted"),
    ("crop_ids", lambda r, c, s, n: crop_ids(r, min(c, n - s[1]), s, n), "from column 4"),
    ("spectrum", lambda x: 2 * abs(np.fft.rfft(x) / x.shape[-1]) ** 2, "Wavenumber 0"),
    ("spectrum", lambda x: spectrum(x) * 144, "grow with"),
    ("spectrum", lambda x: spectrum(x) * 12, "twice"),
    ("spectrum", lambda x: abs(np.fft.rfft(x)[..., 1:] / 12), "amplitudes"),
    ("spectrum", lambda x: 2 * abs(np.fft.rfft(x)[..., 1:] / 12) / [1, 1, 1, 1, 1, 2], "amplitudes"),
    ("spectrum", lambda x: 2 * (np.fft.rfft(x)[..., 1:] / 12) ** 2, "complex"),
    ("spectrum", lambda x: abs(np.fft.rfft(x)[..., 1:] / 12) ** 2, "negative wavenumbers"),
    ("spectrum", lambda x: 2 * abs(np.fft.rfft(x)[..., 1:] / 12) ** 2, "shortest wave"),
    ("spectrum", lambda x: np.roll(spectrum(x), 1, -1), "its wavenumber"),
    ("spectrum", lambda x: spectrum(x) * 3, "variance of the row"),
    ("lapse_rate", lambda *a: -lapse_rate(*a), "positive"),
    ("lapse_rate", lambda *a: lapse_rate(*a) / 1000, "per metre"),
    ("lapse_rate", lambda t, h, w: lapse_rate(t, h, np.ones_like(w)), "weights"),
    ("lapse_rate", with_constant, "through zero"),
    ("lapse_rate", lambda t, h, w: lapse_rate(h, t, w), "squares of the temperature"),
    ("lapse_rate", lambda t, h, w: 6.5, "Expected"),
    ("wet_share", lambda *a: 100 * wet_share(*a), "per cent"),
    ("wet_share", lambda r, lat, m: (r >= m).mean(), "counts alike"),
    ("wet_share", lambda r, lat, m: wet_share(r, lat, m + 1e-9), "wet too"),
    ("wet_share", lambda *a: 1 - wet_share(*a), "dry share"),
    ("wet_share", lambda r, lat, m: wet_share(r.mean(0, keepdims=True), lat, m), "over the days first"),
    ("wet_share", lambda r, lat, m: np.average(r.mean((0, 2)), weights=np.cos(np.deg2rad(lat))), "mean rain"),
    ("wet_share", lambda r, lat, m: wet_share(r.max(0, keepdims=True), lat, m), "any wet day"),
    ("wet_share", lambda r, lat, m: ((r >= m).mean((0, 2)) * np.cos(np.deg2rad(lat))).sum(), "not divided"),
    ("wet_share", lambda r, lat, m: ((r >= m).mean((0, 2)) * np.cos(np.deg2rad(lat))).mean(), "not divided"),
    ("wet_share", lambda r, lat, m: wet_share(r, np.rad2deg(lat), m), "radians"),
    ("wet_share", lambda r, lat, m: 0.3, "Expected"),
]


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_list_of_none_gets_a_sentence(name):
    verdict = getattr(check, name)(lambda *a: [None])
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 10


def test_parity():
    package = [np.ones((2, 3)), [1, 2], np.ones(4)]
    assert check.parity(package, package).ok
    assert "Not there yet" in check.parity([None, [1, 2], np.ones(4)], package).sentence
    assert "crop" in check.parity([np.ones((2, 3)), [1, 3], np.ones(4)], package).sentence
