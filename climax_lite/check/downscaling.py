"""Checkers of *Downscaling*."""

from __future__ import annotations

from typing import Any

import numpy as np

from .answers import Mistake, alike, array, either, expect, first, same
from .verdict import Verdict, attempt, checker, right, wrong


@checker
def mean_detail(function: Any) -> Verdict:
    """`mean_detail(smooth, fine, new)`: new interpolated maps plus the mean over the training days of fine − smooth."""
    rng = np.random.default_rng(1)
    smooth, new = rng.normal(size=(7, 3, 5)), rng.normal(size=(4, 3, 5))
    detail = rng.normal(size=(3, 5))
    fine = smooth + detail + rng.normal(size=(7, 3, 5))
    kept = new.copy()
    given = array(attempt(function, smooth.copy(), fine.copy(), new), (4, 3, 5), "one map for each new day")
    if not np.array_equal(new, kept):
        return wrong("Your function changes `new` in place.", "Make a new array.")
    d = fine - smooth
    cases: list[Mistake] = [
        (kept, "Nothing was added.", "What does interpolation miss on average?"),
        (kept - d.mean(0), "The sign: this takes the detail away.", "The detail is fine minus smooth."),
        (kept + d.mean(), "One number for the whole map: that removes the bias and adds no detail.", "Which axis is time? Average over it alone."),
        (kept + d.mean((1, 2), keepdims=True)[:4], "You averaged over the map, not over the days.", "The first axis is time."),
        (np.broadcast_to(fine.mean(0), kept.shape), "This is the mean of the fine maps: the weather of the new day is lost.", "Add to `new`."),
        (either(kept + d[-1], kept + d[0]), "This is the detail of one day, with its weather.", "The mean over all training days."),
        (kept + np.median(d, axis=0), "This is the median.", "The mean is what makes the squared error least."),
    ]  # fmt: skip
    expect(given, kept + d.mean(0), cases, "This is not new + mean of (fine − smooth).", "One map (H, W), added to each new day.")  # fmt: skip
    return right("Right: what never changes needs no network.")


@checker
def conserve(function: Any) -> Verdict:
    """`conserve(guess, coarse)`: adds to each block of 3 × 3 cells what its mean lacks."""
    rng = np.random.default_rng(2)
    guess, coarse = 4 + rng.normal(size=(2, 6, 12)), 4 + rng.normal(size=(2, 2, 4))
    kept = guess.copy()
    given = array(attempt(function, guess, coarse.copy()), (2, 6, 12), "maps of the shape of `guess`")
    if not np.array_equal(guess, kept):
        return wrong("Your function changes `guess` in place.", "Make a new array.")
    blocks = kept.reshape(2, 2, 3, 4, 3)
    means = blocks.mean((2, 4))

    def spread(x: np.ndarray) -> np.ndarray:
        return x.repeat(3, 1).repeat(3, 2)

    lack = coarse - means
    cases: list[Mistake] = [
        (kept, "Nothing has changed.", "Compare the means of the blocks with `coarse`."),
        (spread(coarse), "Your blocks are flat: all detail is gone.", "Add the difference to the guess."),
        (kept - spread(lack), "The sign: a block that is too low gets lower.", "coarse − mean of the block."),
        (kept + spread(lack) / 9, "Each of the nine cells got a ninth of the difference.", "If a mean is 1 too low, by how much must each cell rise?"),
        (kept + np.tile(lack, (1, 3, 3)), "The differences lie in the wrong cells: `tile` repeats the map, not each cell.", "repeat(3, axis=...), once for each axis."),
        (kept * spread(coarse / means), "You scaled the blocks. Their means are right, but this is not the nearest map (and fails where a mean is near zero).", "Add, do not multiply."),
        (kept + spread(coarse), "You added the coarse value itself.", "Only what the mean of the block lacks."),
        (kept + (coarse.mean((1, 2)) - kept.mean((1, 2)))[:, None, None], "Only the mean of the whole map is right now.", "Block by block."),
        (kept + spread(lack.mean(0, keepdims=True)), "All days got the same difference.", "Do not average over axis 0, the days."),
        (kept + spread(coarse - 9 * means), "You compared with the sum of the nine cells.", "Their mean."),
        (not same(given.reshape(blocks.shape).mean((2, 4)), coarse, 1e-5), "The means of the blocks are not the coarse values.", "guess.reshape(T, h, 3, w, 3).mean((2, 4))"),
    ]  # fmt: skip
    expect(given, kept + spread(lack), cases, "The means are right, but this is not the nearest map: the differences inside a block have changed.", "Add the same number to all nine cells of a block.")  # fmt: skip
    return right("Right: the coarse map is kept, and the detail too.")


@checker
def crop_ids(function: Any) -> Verdict:
    """`crop_ids(row, column, shape, columns)`: ids of a rectangle of patches, round the globe."""
    columns, shape = 6, (2, 3)
    inner, seam = (
        array(attempt(function, 1, column, shape, columns), None, "a flat list of ids", finite="Ids are whole numbers.")
        for column in (2, 4)
    )
    if inner.shape == shape:
        return wrong("Each row of the crop is a list of its own.", "One flat list, row after row.")
    inner, seam = (ids.ravel().astype(int) for ids in (inner, seam))
    want, beyond = [8, 9, 10, 14, 15, 16], [10, 11, 6, 16, 17, 12]
    cases: list[Mistake] = [
        (len(inner) != 6, f"Expected 2 · 3 patches, got {len(inner)}.", "Every row of the crop with every column."),
        ([8, 14, 9, 15, 10, 16], "The patches come column by column.", "Rows outside, columns inside: as the map is numbered."),
        (either([13, 14, 15, 19, 20, 21], [13, 14, 19, 20, 25, 26]), "Row and column are swapped.", "Patch (r, c) has the id r · columns + c."),
        ([5, 6, 7, 8, 9, 10], "You numbered with the width of the crop.", "The map has `columns` patches in a row."),
        (sorted(inner) == want and not same(inner, want), "These are the right patches in another order.", "Row by row, eastwards."),
        (not same(inner, want), f"For row 1, column 2, 2 × 3 patches on a map of 6 columns expected {want}, got {inner.tolist()}.", "Number the patches of the map on paper."),
    ]  # fmt: skip
    if not (known := first(cases, right(""), inner)).ok:
        return known
    cases = [
        ([10, 11, 12, 16, 17, 18], "At the map's edge the crop runs on into the next row.", "East of the last column is the first one of the same row: % columns."),
        (sorted(seam) == sorted(beyond) and not same(seam, beyond), "At the seam the columns are sorted: the piece across Greenwich is torn apart.", "Keep going eastwards: 4, 5, 0."),
        (not same(seam, beyond), f"A crop from column 4 on should be {beyond}, got {seam.tolist()}.", "Columns go round, rows do not."),
    ]  # fmt: skip
    return first(cases, right("Right: and across Greenwich it stays in one piece."), seam)


@checker
def spectrum(function: Any) -> Verdict:
    """`spectrum(rows)`: variance by zonal wavenumber 1 to W/2 of rows (..., W)."""
    lon = 2 * np.pi * np.arange(12) / 12
    rows = np.stack([3 + 2 * np.cos(2 * lon + 0.4), 5 * np.sin(5 * lon), np.cos(6 * lon)])
    given = attempt(function, rows.copy())
    if np.shape(given) == (3, 7):
        return wrong("Wavenumber 0, the mean of the row, is among them.", "Leave the first one out.")
    if np.iscomplexobj(given):
        return wrong("These are complex numbers.", "abs(...) before you square.")
    given = array(given, (3, 6), "powers of the wavenumbers 1 to 6 for each row of 12 cells")
    truth = np.zeros((3, 6))
    truth[0, 1], truth[1, 4], truth[2, 5] = 2, 12.5, 1
    half = truth / 2
    half[2, 5] = 1
    last = truth.copy()
    last[2, 5] = 2
    last_once = np.array([1, 1, 1, 1, 1, 0.5])
    cases: list[Mistake] = [
        (either(truth * 144, half * 144, last * 144), "The numbers grow with the number of cells.", "Divide the transform by W before you square it."),
        (either(truth * 12, half * 12, last * 12), "Divide by W twice: the transform is a sum over W cells, and it is squared.", "abs(rfft / W) ** 2"),
        (either(np.sqrt(half), np.sqrt(truth), 2 * np.sqrt(half), 2 * np.sqrt(half) * last_once), "These are amplitudes. Power is their square.", "** 2"),
        (half, "Half of the variance is missing: rfft leaves out the negative wavenumbers, which hold as much.", "Twice, but for the shortest wave."),
        (last, "The shortest wave, of two cells, has no partner: its power was doubled too.", "The last one only once (for an even number of cells)."),
        (not same(given.sum(-1), rows.var(-1), 1e-5), "The sum over wavenumbers should be the variance of the row.", "A cosine of amplitude 2 has variance 2."),
    ]  # fmt: skip
    expect(given, truth, cases, "The variance is not at its wavenumber.", "The first entry is wavenumber 1.")  # fmt: skip
    return right("Right: a spectrum shares the variance out among the scales.")


@checker
def parity(mine: Any, package: Any) -> Verdict:
    """The learner's `mean_detail`, `crop_ids` and `spectrum` against the package's, as arrays."""
    alike(("mean detail", "crop", "spectrum"), mine, package, "the rounds", 1e-3, 1e-3)
    return right("Equal: your mean detail, your crop and your spectrum are the package's.")


@checker
def lapse_rate(function: Any) -> Verdict:
    """`lapse_rate(warmer, higher, weights)`: K per km from details of temperature and height, weighted, through zero."""
    rng = np.random.default_rng(3)
    higher = 300 * rng.normal(size=(6, 8)) + 100
    weights = np.linspace(0.2, 1.8, 6)
    warmer = -0.0055 * higher + rng.normal(size=(6, 8)) * weights[::-1, None] + 0.4
    given = array(attempt(function, warmer.copy(), higher.copy(), weights.copy()), (), "one number")
    w = weights[:, None]
    slope = 1000 * (w * warmer * higher).sum() / (w * higher**2).sum()
    plain = 1000 * (warmer * higher).sum() / (higher**2).sum()
    x, y = higher - np.average(higher, weights=np.broadcast_to(w, higher.shape)), warmer - np.average(warmer, weights=np.broadcast_to(w, higher.shape))  # fmt: skip
    free = 1000 * (w * x * y).sum() / (w * x**2).sum()
    cases: list[Mistake] = [
        (slope, "Write it as a fall: positive where it is colder higher up.", "A minus."),
        (-slope / 1000, "These are kelvin per metre.", "A kilometre has 1,000 of them."),
        (-1000 * (w * warmer * higher).sum() / (w * warmer**2).sum(), "You divided by the squares of the temperature.", "By those of what it is explained with: the height."),
        (-plain, "The weights are not used: rows near the poles count as much as the equator's.", "Multiply both sums by weights[:, None]."),
        (-free, "This line does not go through zero: it has a constant of its own.", "No detail of height, no detail of temperature: do not take the means away."),
    ]  # fmt: skip
    expect(given, -slope, cases, f"Expected {-slope:.2f} K per km for the test maps, got {given:.2f}.", "Σ w·ΔT·Δh / Σ w·Δh².", rtol=1e-3)  # fmt: skip
    return right("Right: one number for all mountains.")


@checker
def wet_share(function: Any) -> Verdict:
    """`wet_share(rain, lat, least)`: the area share of cells and days with at least `least`."""
    lat = np.array([-60.0, 0.0, 45.0])
    rain = np.zeros((2, 3, 4))
    rain[:, 0], rain[0, 1, :2], rain[1, 1, 0], rain[0, 2, 3], rain[1, 2, 1] = 5, 2, 1, 0.9, 1.5
    given = array(attempt(function, rain.copy(), lat.copy(), 1), (), "one number")
    w = np.cos(np.deg2rad(lat))
    share = np.average((rain >= 1).mean((0, 2)), weights=w)
    cases: list[Mistake] = [
        (100 * share, "These are per cent.", "A share is between 0 and 1."),
        ((rain >= 1).mean(), "Every cell counts alike: near the poles they are small.", "Weigh the rows by cos φ."),
        (np.average((rain > 1).mean((0, 2)), weights=w), "A day with exactly the least amount is wet too.", ">="),
        (1 - share, "This is the dry share.", "rain >= least"),
        (np.average((rain.mean(0) >= 1).mean(1), weights=w), "You averaged the rain over the days first: the mean of a wet and a dry day is neither.", "Compare first, then average."),
        (np.average((rain >= 1).any(0).mean(1), weights=w), "You counted cells with any wet day, not cells and days.", "The mean over days and longitudes."),
        (either(share * w.sum(), share * w.mean()), "The weighted sum was not divided by the sum of the weights.", "np.average(rows, weights=...)"),
        (np.average((rain >= 1).mean((0, 2)), weights=np.cos(lat)), "`np.cos` takes radians, and `lat` is in degrees.", "np.deg2rad"),
        (np.average(rain.mean((0, 2)), weights=w), "This is the mean rain.", "Compare with `least` first."),
    ]  # fmt: skip
    expect(given, share, cases, f"Expected {share:.4f} for the test maps, got {given:.4f}.", "Share of wet days and cells in each row, then the weighted mean over rows.")  # fmt: skip
    return right("Right: what a mean hides, a share shows.")
