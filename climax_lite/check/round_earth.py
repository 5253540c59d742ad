"""Checks of the chapter *A round Earth on a rectangular grid*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import metrics
from .answers import Mistake, array, either, expect, first, random, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong


def _listed(indices: np.ndarray) -> str:
    """Indices as a learner reads them: [1, 2], without decimals."""
    return "[" + ", ".join(f"{i:g}" for i in np.atleast_1d(indices)) + "]"


def _indices(answer: Any, what: str) -> np.ndarray:
    """The indices that the learner returned."""
    if isinstance(answer, tuple) and len(answer) == 1 and np.ndim(answer[0]):
        raise Stop(wrong("Expected an array of indices, got a tuple, as np.where returns it.", "np.flatnonzero returns the array."))  # fmt: skip
    if np.ndim(answer) == 0:
        raise Stop(wrong(f"Expected an array of indices of {what}, got a single value.", "Return one index for each."))
    if getattr(answer, "dtype", None) in (bool, torch.bool):
        raise Stop(wrong(f"Expected the indices of the {what}, got true and false for each.", "np.flatnonzero turns one into the other."))  # fmt: skip
    hint = "np.flatnonzero returns a flat array, np.argwhere a column."
    return array(answer, (None,), f"a flat array of indices of {what}", hint)


@checker
def cell_area_fraction(function: Any) -> Verdict:
    """The share of the Earth's surface between two latitudes and over `dlon` degrees of longitude."""
    south, north, dlon = 10.0, 35.0, 20.0
    s, n, width = np.deg2rad([south, north, dlon])
    band, middle = np.sin(n) - np.sin(s), np.cos((s + n) / 2)
    answer = attempt(function, south, north, dlon)
    given = float(array(answer, (), "one number for one cell", "Take sines of the two edges only."))
    raw = np.sin(north) - np.sin(south)
    mistakes: list[Mistake] = [
        (either(raw * width / (4 * np.pi), raw * dlon / 720, raw * dlon / 360, raw), "You took the sine of degrees: NumPy's functions expect radians.", "np.deg2rad converts."),
        ((north - south) * dlon / (180 * 360), "This is the share of the flat map, not of the round Earth.", "Compare a cell at the equator with one at the pole: your function gives both the same."),
        (either(middle * (n - s) * width / (4 * np.pi), middle * (north - south) * dlon / (180 * 360)), "Close: you multiplied the height of the cell by cos φ at its middle. That is right only for a thin cell.", "The height of a band along the Earth's axis is a difference of two sines."),
        (band * width / (2 * np.pi), "Twice too large: the sphere reaches from sin φ = −1 to sin φ = 1.", "The whole Earth, from −90° to 90° and 360° wide, must give 1."),
        (band * width, "4π times too large: this is the area on a sphere of radius 1.", "Divide by the area of that sphere."),
        (band * width / (4 * np.pi) * 100, "This is in per cent.", "The whole Earth must give 1."),
        (either(band / 2, band), "This is the share of the whole band: the width of the cell in longitude is missing.", "A cell dlon degrees wide is dlon/360 of its band."),
        (either(band * dlon, band * dlon / 2, band * dlon / (4 * np.pi)), "The longitude is still in degrees here: divide by the 360° of a full circle.", "The whole Earth must give 1."),
        (-band * width / (4 * np.pi), "The sign is wrong: the northern edge has the larger sine.", "North minus south."),
        (given > 1, "A share of the Earth is at most 1, and this is larger.", "Divide the area by the area of the sphere, 4π R²."),
    ]  # fmt: skip
    expect(given, band * width / (4 * np.pi), mistakes,
        f"Between 10° N and 35° N, 20° wide, expected {band * width / (4 * np.pi):.5f}, got {given:.5f}.",
        "Multiply the band's share of the sphere by the cell's share of the band.", atol=1e-9)  # fmt: skip
    if not same(attempt(function, -90.0, 90.0, 360.0), 1.0) or not same(attempt(function, -30.0, 0.0, 90.0), 0.0625):
        return wrong(
            "Right in the north, wrong in the south.", "Sines of southern latitudes are negative: leave them so."
        )
    return right("Right: the areas of the cells of any latitude-longitude grid now add up to the Earth.")


@checker
def latitude_weights(function: Any) -> Verdict:
    """L(i) = cos φ_i / mean cos φ."""
    lat = np.array([-70.0, -20.0, 5.0, 30.0, 45.0])
    cos = np.cos(np.deg2rad(lat))
    weights = metrics.latitude_weights(lat)
    given = lat.copy()
    answer = attempt(function, given)
    if not np.array_equal(given, lat):
        return wrong(
            "Your function changed the latitudes that it was given: *= writes into the caller's array.",
            "Make a new array, for example with np.deg2rad(lat).",
        )
    answer = array(answer, lat.shape, f"one weight for each of {len(lat)} latitudes", "Do not repeat the weights over longitudes.")  # fmt: skip
    raw = np.cos(lat)
    mistakes: list[Mistake] = [
        (raw, "You took the cosine of degrees, and did not divide by the mean.", "Convert to radians first."),
        (raw / raw.mean(), "You took the cosine of degrees: the weights of neighbouring rows jump, and some are negative.", "Convert to radians first."),
        (cos, "These are the cosines themselves: their mean is not one.", "Divide by the mean, so that the loss keeps its size on every grid."),
        (cos / cos.sum(), "Your weights add up to one; L(i) has the mean one.", "With weights of sum one and a mean over the cells, the loss would shrink as the grid gets finer."),
        (cos / cos.max(), "You divided by the largest weight, so that the equator counts 1.", "Divide by the mean."),
        (np.sin(np.deg2rad(lat)) / np.sin(np.deg2rad(lat)).mean(), "You used the sine: it is the largest at the pole.", "Which rows have the wide cells?"),
    ]  # fmt: skip
    expect(answer, weights, mistakes, "These are not cos φ / mean cos φ.",
        "For the four rows of “By hand” the weights are 0.586, 1.414, 1.414, 0.586. What does yours give?")  # fmt: skip
    if not same(attempt(function, lat[1:].copy()), metrics.latitude_weights(lat[1:])):
        return wrong(
            "Right for these rows, wrong for part of them.",
            "Take the mean over the latitudes that are given, whatever grid they come from.",
        )
    return right("Right: the weights have the mean one over whatever rows you give.")


@checker
def latitude_weighted_mse(function: Any) -> Verdict:
    """The training loss: mean of L(i)·(x̂ − x)² over batch, variable, latitude and longitude."""
    lat = [-65.0, -10.0, 20.0, 50.0]
    # A square grid first: there, weights along the wrong axis raise no error.
    prediction, target = random(2, 2, 3, 4, 4).float().unbind()
    prediction.requires_grad_(True)
    error = (prediction - target).detach()
    cos = torch.cos(torch.deg2rad(torch.tensor(lat)))
    weights = metrics.latitude_weights(lat).to(cos)[:, None]
    raw = torch.cos(torch.tensor(lat))[:, None]
    answer = attempt(function, prediction, target, np.array(lat))
    if isinstance(answer, (float, int, np.ndarray, np.generic)):
        return wrong(
            "Expected a tensor, got a plain number: PyTorch cannot find a gradient through it.",
            "Leave out .item() and .numpy().",
        )
    if not isinstance(answer, torch.Tensor):
        return wrong(f"Expected a tensor without dimensions, got {type(answer).__name__}.", "Return the mean itself.")
    expected = (weights * error**2).mean()
    array(answer, (), "one number", "Take the mean over all four dimensions.")
    mistakes: list[Mistake] = [
        ((error**2).mean(), "This is the plain mean squared error, without weights.", "Multiply the squared error by L(i) before the mean."),
        ((weights[:, 0] * error**2).mean(), "Your weights run along longitude. The grid of this check is square, so no error warned you.", "Broadcasting aligns shapes at their right end: (H,) meets W. What shape must the weights have to meet H?"),
        (((weights * error) ** 2).mean(), "You squared the weights too.", "Square the error first, then multiply."),
        ((raw / raw.mean() * error**2).mean(), "You took the cosine of degrees.", "Convert to radians first."),
        ((weights / len(lat) * error**2).mean(), "Your weights add up to one; L(i) has the mean one.", "Divide the cosines by their mean."),
        (2 * expected, "You divided by V·H·W: a batch of two gives twice the loss.", "The mean is over the batch too."),
        ((cos[:, None] * error**2).mean(), "Your weights do not have the mean one.", "Use L(i) = cos φ / mean cos φ."),
        ((weights * error**2).sum(), "You took the sum where the loss has the mean.", "The loss must not grow with the grid."),
        ((weights * error**2).mean().sqrt(), "This is the root of the loss: an RMSE.", "The training loss has no root."),
        ((weights * error.abs()).mean(), "You averaged the absolute error.", "Square the difference."),
    ]  # fmt: skip
    expect(answer, expected, mistakes, f"Expected {expected.item():.4f}, got {answer.item():.4f}: this is not the mean of L(i)·(x̂ − x)².",
        "Two rows at 0° and 60° with the errors 1 and 2 must give 2: see “The gradient by hand” below the check.")  # fmt: skip
    if not answer.requires_grad:
        return wrong(
            "The value is right, but no gradient flows to the prediction.", "Leave out .detach() and torch.no_grad()."
        )
    if answer.dtype != prediction.dtype:
        return wrong(
            f"The value is right, but a float32 prediction gave a {str(answer.dtype).removeprefix('torch.')} loss.",
            "Weights made by NumPy are float64: give them the prediction's dtype and device, with weights.to(prediction).",
        )
    prediction, target = random(2, 2, 3, 4, 7).float().unbind()
    if not same(attempt(function, prediction, target, np.array(lat)), (weights * (prediction - target) ** 2).mean()):
        return wrong("Right on a square grid, wrong on 4 × 7 cells.", "Which axis is latitude?")
    return right("Right: this is the loss that ClimaX is trained with.")


@checker
def columns_in_box(function: Any) -> Verdict:
    """Indices of the columns from `west` eastwards to `east`, in any convention of longitude."""
    lon = np.arange(0.0, 360.0, 30.0)

    def ask(lon: np.ndarray, west: float, east: float) -> np.ndarray:
        return _indices(attempt(function, lon.copy(), west, east), "columns")

    plain = ask(lon, 200, 300)
    mistakes: list[Mistake] = [
        ([210, 240, 270, 300], "Expected indices of columns, got their longitudes.", "Index 0 is the first column, at 0° E."),
        ([7, 8, 9], "A column that lies on the edge of the box is missing.", "Both edges belong to the box."),
    ]  # fmt: skip
    if not same(plain, [7, 8, 9, 10]):
        otherwise = f"Between 200° E and 300° E expected the columns [7, 8, 9, 10], got {_listed(plain)}."
        return first(mistakes, wrong(otherwise, "Print lon beside its index."), plain)
    # (box, expected, what the box is, where it fails)
    half = np.arange(-180.0, 180.0, 30.0)
    cases = [
        (lon, -40, 40, [11, 0, 1], "A box across Greenwich, −40° to 40°,"),
        (lon, -160, -60, [7, 8, 9, 10], "The same box written as −160° to −60°"),
        (half, 150, 210, [11, 0, 1], "On a grid from −180° to 150°, a box across the date line, 150° to 210°,"),
        (half, 150, -150, [11, 0, 1], "On a grid from −180° to 150°, a box across the date line, 150° to −150°,"),
        (lon, -400, 40, [11, 0, 1], "A box from −400°, which is 320°, to 40°,"),
        (lon, 0, 360, list(range(12)), "The full circle, 0° to 360°,"),
    ]
    for grid, west, east, expected, what in cases:
        found = ask(grid, west, east)
        if same(found, expected):
            continue
        if same(found, sorted(expected)):
            return wrong(
                f"{what} has the right columns in the wrong order.",
                "Start at the western edge and go east: sort by the distance from there.",
            )
        hint = "How many degrees is each column east of the western edge, counted from 0 to 360? The operator % answers for negative numbers too."
        if (west, east) == (0, 360):
            hint = "360 % 360 is 0, and a box of no width holds next to nothing: treat a width of 360 on its own."
        return wrong(f"{what} should hold the columns {expected}, and yours holds {_listed(found)}.", hint)
    return right("Right: Greenwich and the date line are no edges.")


@checker
def rows_in_box(function: Any) -> Verdict:
    """Indices, ascending, of the rows whose centres lie between two latitudes, edges included."""
    lat = np.array([-75.0, -45.0, -15.0, 15.0, 45.0, 75.0])
    # (order, latitudes, box, expected, the rows of the other hemisphere)
    cases = [
        ("ascending", lat, (10.0, 50.0), [3, 4], [1, 2]),
        ("descending", lat[::-1], (10.0, 50.0), [1, 2], [3, 4]),
        ("ascending", lat, (15.0, 45.0), [3, 4], [1, 2]),
    ]
    for way, order, (south, north), expected, mirror in cases:
        found = _indices(attempt(function, order.copy(), south, north), "rows")
        if same(found, expected):
            continue
        if same(np.sort(found), mirror):
            return wrong(
                f"With {way} latitudes you picked the rows of the other hemisphere.",
                "An index is only true for the array it was found in. Is that the array that the data have?",
            )
        if same(np.sort(found), expected):
            return wrong(
                f"With {way} latitudes you found the right rows in the wrong order.",
                "Let the indices ascend, whatever the latitudes do.",
            )
        if south in order:
            return wrong("A row that lies on the edge of the box is missing.", "Both edges belong to the box.")
        return wrong(
            f"With {way} latitudes expected the rows {expected}, got {_listed(found)}.",
            "Compare the latitudes as they are.",
        )
    return right("Right: the rows are those of the data, whichever way the latitudes run.")


@checker
def patch_ids(function: Any) -> Verdict:
    """Which patches, numbered row by row, lie wholly in the given rows and columns, ascending."""

    def ask(rows: Any, columns: Any, width: int, p: int) -> np.ndarray:
        return array(attempt(function, np.array(rows), np.array(columns), width, p), None, "ids of patches")

    # 8 × 10 cells, patches of 2 × 2: 4 rows of 5 patches. The box holds rows 1–6 and columns 2–8, so patch rows 1, 2
    # and patch columns 1, 2, 3.
    expected = [6, 7, 8, 11, 12, 13]
    found = ask(range(1, 7), range(2, 9), 10, 2)
    if not same(np.sort(found.ravel()), expected):
        mistakes: list[Mistake] = [
            ([1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19], "You took every patch that the box touches; some of them reach beyond it.", "Count how many rows of the box each row of patches holds: it must be all p."),
            (either([6, 7, 11, 12, 16, 17], [5, 6, 9, 10, 13, 14]), "You numbered the patches column by column.", "The id grows first from west to east."),
            ([11, 12, 13, 21, 22, 23], "A row of patches has width // p patches, not width.", "What is the id of the first patch of the second row?"),
            ([22, 24, 26, 42, 44, 46], "You returned ids of cells.", "Divide row and column numbers by the patch size."),
        ]  # fmt: skip
        otherwise = wrong(f"Expected the patches {expected}, got {_listed(found.ravel())}.", "Draw the 8 × 10 cells.")
        return first(mistakes, otherwise, np.sort(found.ravel()))
    if not same(found, expected):
        return wrong(
            "These are the right patches, in the wrong shape or order.", "Return a flat array in ascending order."
        )
    if not same(ask(range(2, 6), range(3, 9), 9, 3), [4, 5]):
        return wrong(
            "Right for patches of 2 × 2 cells, wrong for 3 × 3.", "Is patch_size used wherever the patches are counted?"
        )
    # Columns across the end of the grid, eastwards.
    found = ask([2, 3], [8, 9, 0, 1, 2], 10, 2)
    if same(np.sort(found.ravel()), [5, 9]) and not same(found, [5, 9]):
        return wrong(
            "Across Greenwich, with the columns 8, 9, 0, 1, 2, your ids do not ascend.",
            "The docstring asks for ascending ids.",
        )
    if not same(found, [5, 9]):
        return wrong(
            "Wrong for a box across Greenwich, whose columns are 8, 9, 0, 1, 2.",
            "Do not use the first and the last column as limits.",
        )
    return right("Right: these are the patches that a regional model keeps.")


@checker
def masked_mean(function: Any) -> Verdict:
    """The area-weighted mean of a field over the cells where `mask` is true."""
    lat = np.array([-60.0, 0.0, 30.0])
    field = np.array([[1.0, 5.0], [2.0, 9.0], [4.0, 3.0]])
    mask = np.array([[True, False], [True, True], [False, True]])
    weight = np.broadcast_to(metrics.latitude_weights(lat)[:, None], field.shape)
    expected = (weight * field)[mask].sum() / weight[mask].sum()
    raw = np.broadcast_to(np.cos(lat)[:, None], field.shape)
    answer = attempt(function, field.copy(), lat.copy(), mask.copy())
    found = float(array(answer, (), "one number", "Sum over all cells that count."))
    mistakes: list[Mistake] = [
        ((weight * field)[mask].sum() / field.size, "You divided by the number of all cells, masked ones too.", "A field that is 1 everywhere must have the mean 1 under every mask."),
        ((weight * field)[mask].sum() / mask.sum(), "You divided by the number of cells in the mask. Their weights do not have the mean one.", "Divide by the sum of the weights that you used."),
        (field[mask].mean(), "This is the unweighted mean over the mask.", "Multiply by the latitude weights."),
        ((weight * field).mean(), "This is the mean over all cells.", "Leave out the cells where the mask is false."),
        ((weight * field).sum() / weight[mask].sum(), "Your sum runs over all cells, and your weights only over the mask.", "Pick the same cells above and below the line."),
        ((raw * field)[mask].sum() / raw[mask].sum(), "You took the cosine of degrees.", "Convert to radians first."),
        ((weight * field)[~mask].sum() / weight[~mask].sum(), "You kept the cells where the mask is false.", "True means: keep."),
    ]  # fmt: skip
    expect(found, expected, mistakes, f"Expected {expected:.4f}, got {found:.4f}.",
        "Sum of weight times field over the mask, over the sum of weights.")  # fmt: skip
    if not same(attempt(function, np.where(mask, field, np.nan), lat.copy(), mask.copy()), expected):
        return wrong(
            "Right, but NaN under the mask spoils the result: 0 · NaN is NaN.",
            "Pick the cells with the mask, or fill the others first with np.where.",
        )
    return right("Right: land, NaN and all, has no part in the mean over the sea.")
