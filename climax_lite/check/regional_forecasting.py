"""Checkers of *Regional forecasting*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .answers import Mistake, alike, array, expect, first, random, same
from .verdict import Verdict, attempt, checker, right, wrong

EARTH_RADIUS_KM = 6371.0
NOTHING = "Was anything selected at all?"
"""The hint where a number is NaN."""


# ---------------------------------------------------------------- which patches


def _ids(rows: Any, columns: Any, width: int, p: int, whole: bool = False) -> list[int]:
    """Ids of the patches that hold these rows and columns of cells; with `whole`, nothing but them."""

    def patches(cells: Any) -> np.ndarray:
        found, held = np.unique(np.asarray(cells, int) // p, return_counts=True)
        return found[held == p] if whole else found

    return [int(r * (width // p) + c) for r in patches(rows) for c in patches(columns)]


@checker
def patches_of_box(function: Any) -> Verdict:
    """`patches_of_box(lat, lon, box, p)`: ids of the patches that cover a box, whichever way the coordinates are written."""
    # 8 rows from −78.75 to 78.75, 16 columns from 0 to 337.5, patches of 2 × 2: the box touches rows 5–6 and columns 10–13.
    up, east = np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5
    signed = np.sort((east + 180) % 360 - 180)
    box, other = (30.0, 60.0, 222.0, 300.0), (30.0, 60.0, -138.0, -60.0)

    def ask(lat: np.ndarray, lon: np.ndarray, box: tuple[float, ...], p: int = 2) -> np.ndarray:
        return array(attempt(function, lat.copy(), lon.copy(), box, p), None, "a list of ids", finite=NOTHING)

    rows, columns, mirrored = [5, 6], [10, 11, 12, 13], [1, 2]
    given = ask(up, east, box)
    cases: list[Mistake] = [
        (_ids(mirrored, columns, 16, 2), "You chose patches of the other hemisphere.", "An index is only true for the array it was found in."),
        (_ids(rows, columns, 16, 2, whole=True), "You kept patches that lie wholly in the box, or whose middle does: they do not cover it.", "Keep every patch that holds a cell of the box."),
        ([r * 16 + c for r in (2, 3) for c in (5, 6)], "A row of patches has W / p patches, not W.", "What is the id of the first patch of the second row?"),
        ([c * 4 + r for c in (5, 6) for r in (2, 3)], "You numbered the patches column by column.", "The id grows from west to east first."),
        ([r * 16 + c for r in rows for c in columns], "These are ids of cells, not of patches.", "Divide rows and columns by p."),
        (_ids(range(16), columns, 16, 2), "Every latitude is in your box.", "Both conditions: south and north."),
    ]  # fmt: skip
    expected = _ids(rows, columns, 16, 2)
    got = given.ravel().astype(int).tolist()
    if np.sort(given.ravel()).tolist() == expected and not same(given, expected):
        return wrong("The right patches, in the wrong order or shape.", "A flat array of ids that ascend, each once.")
    if not same(given, expected):
        return first(cases, wrong(f"Expected {expected}, got {got[:12]}.", "Draw the 4 × 8 patches, and number them."), given)  # fmt: skip
    flipped = _ids([1, 2], columns, 16, 2)
    turned = _ids(rows, np.flatnonzero(np.isin(signed % 360, east[columns])), 16, 2)
    seam = _ids(rows, [0, 1, 14, 15], 16, 2)
    everything = _ids(rows, range(16), 16, 2)
    edges = (33.75, 56.25, 247.5, 315.0)  # through the centres of rows 5 and 6 and of columns 11 and 14
    tries: list[tuple[str, np.ndarray, list[int], list[Mistake], str]] = [
        ("latitudes from north to south", ask(up[::-1], east, box), flipped, [(expected, "With latitudes from north to south you chose patches of the other hemisphere.", "Ids count the rows as the data have them.")], "A comparison does not mind the order."),
        ("a box in degrees west, −138 to −60", ask(up, east, other), expected, [], "Compare distances eastwards from the western edge: (lon − west) % 360."),
        ("data from −180 to 180", ask(up, signed, box), turned, [], "Compare distances eastwards from the western edge: (lon − west) % 360."),
        ("a box across Greenwich, 330 to 40", ask(up, east, (30.0, 60.0, 315.0, 40.0)), seam, [(everything, "Across Greenwich you took everything between the first column and the last.", "The columns of a box need not be neighbours in the array.")], "How wide is the box? (east − west) % 360."),
        ("a box whose edges run through centres of cells", ask(up, east, edges), _ids(rows, [11, 12, 13, 14], 16, 2), [], "The edges belong to the box: <=, not <."),
        ("patches of 4 × 4", ask(up, east, box, 4), _ids(rows, columns, 16, 4), [], "Use p wherever patches are counted."),
    ]  # fmt: skip
    for what, given, wanted, known, hint in tries:
        got = given.ravel().astype(int).tolist()[:12]
        if sorted(got) == wanted and got != wanted:
            return wrong(
                f"Right at first, in the wrong order for {what}.", "Ids ascend, whatever the box: np.unique sorts."
            )
        if not same(given, wanted):
            return first(known, wrong(f"Right at first, wrong for {what}: expected {wanted}, got {got}.", hint), given)
    return right("Right: the same places, however latitudes and longitudes are written.")


# ---------------------------------------------------------------- before or after attention


@checker
def region_tokens(function: Any) -> Verdict:
    """`region_tokens(embed, blocks, x, ids, where)`: the region's tokens, kept before or after the blocks."""
    x = random(6, 6, 4).float()  # as many samples as patches: no shape complains when they are mixed up
    ids = [1, 2, 4]

    def embed(x: Tensor) -> Tensor:
        return 2 * x + torch.arange(6.0)[:, None]

    def blocks(tokens: Tensor) -> Tensor:
        return tokens**2 + tokens.mean(dim=1, keepdim=True)

    everything = embed(x)
    answers = {
        "before": blocks(everything[:, ids]),
        "after": blocks(everything)[:, ids],
        "nothing": blocks(everything),
        "no blocks": everything[:, ids],
        "samples": blocks(everything)[ids],
        "samples first": blocks(everything[ids]),
        "zeros": blocks(everything * torch.isin(torch.arange(6), torch.tensor(ids))[:, None])[:, ids],
    }
    for where in ("before", "after"):
        other = {"before": "after", "after": "before"}[where]
        given = array(
            attempt(function, embed, blocks, x.clone(), ids, where), None, "a tensor (B, L', D)", finite=NOTHING
        )
        cases: list[Mistake] = [
            (answers[other], f"For where={where!r} you kept the tokens {other} the blocks.", "What does `where` say?"),
            (answers["nothing"], "All tokens of the globe are still there.", "Index the axis of the patches with `ids`."),
            (answers["no blocks"], "The tokens never went through the blocks.", "Call `blocks` once, on what is to see one another."),
            (answers["samples"], "You chose samples, not patches.", "Tokens are (B, L, D): the second axis."),
            (answers["zeros"], "You set the other tokens to zero; zeros still take part in attention.", "Leave them out: index."),
            (answers["samples first"], "You chose samples, not patches.", "Tokens are (B, L, D): the second axis."),
        ]  # fmt: skip
        expect(given, answers[where], cases, f"For where={where!r} these are not the region's tokens.",
            "embed, then either keep and blocks, or blocks and keep.", "a tensor (B, L', D)")  # fmt: skip
    return right("Right: kept before, the tokens see one another alone; kept after, they have seen the globe.")


# ---------------------------------------------------------------- scores on the box


@checker
def rmse_on_box(function: Any) -> Verdict:
    """`rmse_on_box(forecast, truth, lat, lon, box)`: weights that average to one on the box, a root for every time."""
    rng = np.random.default_rng(0)
    lat, lon = np.array([5.0, 25.0, 45.0, 65.0]), np.array([-150.0, -130.0, -110.0, -90.0, -70.0])
    truth = rng.normal(size=(3, 4, 5))
    error = rng.normal(size=(3, 4, 5)) * np.array([1.0, 2.0, 4.0])[:, None, None] * np.array([3.0, 1, 2, 5])[:, None]
    box = (25.0, 50.0, 225.0, 270.0)  # its southern and eastern edges run through centres of cells
    inside, columns = [1, 2], [1, 2, 3]
    cos = np.cos(np.deg2rad(lat))

    def score(w: np.ndarray, e: np.ndarray, pooled: bool = False, plain: bool = False) -> float:
        each = (w[:, None] * e**2).mean(axis=(1, 2))
        return float(np.sqrt(each.mean())) if pooled else float(each.mean() if plain else np.sqrt(each).mean())

    cut = error[:, inside][..., columns]
    own = cos[inside] / cos[inside].mean()
    expected = score(own, cut)
    answer = attempt(function, truth + error, truth.copy(), lat.copy(), lon.copy(), box)
    given = array(answer, (), "one number", finite=f"{NOTHING} Here longitudes go from −180: (lon − west) % 360.")
    cases: list[Mistake] = [
        (score(cos / cos.mean(), error), "You scored all cells of the patches; some lie outside the box.", "Select rows and columns of the box first."),
        (score((cos / cos.mean())[inside], cut), "Your weights average to one over the patches' rows, not over those of the box.", "Divide by the mean of the cosines that are left."),
        (score(cos[inside], cut), "Your weights are bare cosines: their mean is not one.", "Divide by their mean."),
        (score(np.ones(2), cut), "All rows count alike.", "A cell at 45° N is smaller than one at 25° N."),
        (score(np.cos(lat[inside]) / np.cos(lat[inside]).mean(), cut), "You took the cosine of degrees as if they were radians.", "np.deg2rad"),
        (score(own, cut, pooled=True), "One root over all times: here each time has its own root, and these are averaged.", "Average over space, take the root, average over time."),
        (score(own, cut, plain=True), "The root is missing.", "Root mean squared error."),
        (score(np.ones(1), error[:, [2]][..., [1, 2]]), "Cells on the edge are missing.", "The edges belong to the box: <=, not <."),
        (score(own, error[:, inside]), "Longitude is not cut to the box.", "225 is −135: compare (lon − west) % 360."),
    ]  # fmt: skip
    expect(given, expected, cases, f"Expected {expected:.4f}, got {given:.4f}.", "Select, weigh, average over space, root, average over time.")  # fmt: skip
    return right("Right: a score of the box alone, in units of the field.")


# ---------------------------------------------------------------- places on another grid


@checker
def places(function: Any) -> Verdict:
    """`places(lat, lon, old_lat, old_lon, p)`: the middles of patches, in rows and columns of patches of another grid."""
    old_lat, old_lon = np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5
    # The first rows lie south of the first old middle, the last patch across Greenwich.
    lat, lon = np.arange(-80.0, -56.0, 4), np.arange(-18.0, 6.0, 4)
    p = 2
    middle, across = lat.reshape(-1, p).mean(axis=1), lon.reshape(-1, p).mean(axis=1)
    rows, columns = (middle + 67.5) / 45, (across - 11.25) % 360 / 45
    answer = attempt(function, lat.copy(), lon.copy(), old_lat.copy(), old_lon.copy(), p)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return wrong("Expected a pair, (rows, columns).", "return rows, columns")
    given_rows, given_columns = (array(a, None, "numbers of rows and columns", finite=NOTHING) for a in answer)
    of_cells: list[Mistake] = [
        (middle, "These are degrees.", "Count from the middle of the first old patch, in steps of one patch."),
        ((middle + 78.75) / 45, "Row 0 is where the middle of the first old *patch* lies, not its first cell.", "Average the cells of each old patch too."),
        ((middle + 78.75) / 22.5, "You counted in rows of cells; rows of patches are asked for.", "A step is p cells wide."),
        ((middle + 67.5) / 22.5, "You counted in rows of cells; rows of patches are asked for.", "A step is p cells wide."),
        ((lat + 67.5) / 45, "One number for each cell; one for each patch is asked for.", "reshape(-1, p), then the mean."),
        (np.round(rows), "You rounded: places between two old patches are wanted.", "1.5 is midway between the second and the third."),
        (columns, "Rows and columns are swapped.", "return rows, columns"),
        ((middle + 67.5) % 180 / 45, "You let latitudes go round; only longitudes do.", "South of the first old middle a row is negative."),
        (np.interp(middle, old_lat.reshape(-1, p).mean(1), np.arange(4)), "np.interp stops at the first old patch; the equation goes on.", "(degrees from the first middle) / (degrees a patch)"),
        ((lat[::p] + 78.75) / 45, "You compared the first cells of patches, not their middles.", "reshape(-1, p), then the mean."),
    ]  # fmt: skip
    expect(given_rows, rows, of_cells, f"Expected the rows {rows.round(3).tolist()}, got {given_rows.round(3).tolist()}.",
        "(degrees from the first old middle) / (degrees a patch)", "rows, one number for each patch")  # fmt: skip
    of_columns: list[Mistake] = [
        ((across - 11.25) / 45, "A negative column: longitudes go round.", "% 360 before you divide."),
        (((lon % 360).reshape(-1, p).mean(1) - 11.25) % 360 / 45, "You took % 360 before the mean: a patch across Greenwich lands on the other side of the Earth.", "The mean of the patch first, then % 360."),
        (across % 360 / 45, "Column 0 is where the middle of the first old patch lies, not 0°.", "Subtract its longitude."),
        (np.interp(across % 360, old_lon.reshape(-1, p).mean(1), np.arange(8)), "np.interp stops at the last old patch; longitudes go round.", "(degrees east of the first middle) / (degrees a patch)"),
        (np.interp(across, old_lon.reshape(-1, p).mean(1), np.arange(8)), "np.interp stops at the outermost patches; longitudes go round.", "(degrees east of the first middle) / (degrees a patch)"),
    ]  # fmt: skip
    expect(given_columns, columns, of_columns, f"Expected the columns {columns.round(3).tolist()}, got {given_columns.round(3).tolist()}.",
        "Degrees east of the first old middle, modulo 360, over degrees a patch.", "columns, one number for each patch")  # fmt: skip
    return right("Right: every new patch knows where it lies among the old ones.")


@checker
def parity(mine: Any, package: Any) -> Verdict:
    """The learner's ids, tokens and places against the package's."""
    alike(("ids", "tokens before", "tokens after", "places"), mine, package, "rounds 1, 2 and 4", 1e-5)
    return right("Equal: your ids, tokens and places are the package's.")


# ---------------------------------------------------------------- exercises


@checker
def hours_inside(function: Any) -> Verdict:
    """`hours_inside(lat, lon, west, speed)`: hours since westerly air crossed the western edge, (H, W)."""
    lat, lon, west, speed = np.array([0.0, 60.0, 30.0]), np.array([-140.0, -130.0, -120.0, -60.0]), 215.0, 10.0
    degrees = (lon - west) % 360

    def hours(km: Callable[[np.ndarray], np.ndarray], factor: float = 1 / 3.6) -> np.ndarray:
        return km(np.cos(np.deg2rad(lat)))[:, None] * degrees * factor / speed

    def arc(cos: np.ndarray) -> np.ndarray:
        return EARTH_RADIUS_KM * cos * np.pi / 180

    answer = attempt(function, lat.copy(), lon.copy(), west, speed)
    given = array(answer, (3, 4), "hours for each cell", "Which axes should be left?", NOTHING)
    expected = hours(arc)
    cases: list[Mistake] = [
        (hours(lambda cos: arc(np.ones_like(cos))), "A degree of longitude is as long everywhere for you.", "At latitude φ it is shorter by cos φ."),
        (hours(lambda cos: arc(1 / cos)), "You divided by cos φ: meridians meet at the poles, so degrees shrink.", "Multiply."),
        (hours(arc, 1000 / 60), "These are minutes.", "3600 seconds are an hour."),
        (hours(arc, 1 / 3600), "A thousand times too short.", "6,371 km are 6.371e6 m."),
        (EARTH_RADIUS_KM * np.deg2rad(degrees) * np.cos(lat)[:, None] / 3.6 / speed, "You took the cosine of degrees as if they were radians.", "np.deg2rad"),
        (hours(arc, 1000), "These are seconds.", "3600 seconds are an hour."),
        (hours(arc, 1.0), "You divided kilometres by metres a second.", "Radius in metres, seconds to hours."),
        (hours(lambda cos: EARTH_RADIUS_KM * cos), "Degrees are not radians.", "np.deg2rad of the distance in degrees."),
        (arc(np.cos(np.deg2rad(lat)))[:, None] * (lon - west) / 3.6 / speed, "Negative hours: longitudes are written in two ways here.", "(lon − west) % 360"),
    ]  # fmt: skip
    row, column = np.unravel_index(np.abs(given - expected).argmax(), expected.shape)
    expect(given, expected, cases, f"Expected {expected[row, column]:.1f} h in row {row}, column {column}, got {given[row, column]:.1f}.",
        "Distance along the parallel over speed, in hours.", rtol=5e-3)  # fmt: skip
    return right("Right: now compare these hours with the lead time.")


@checker
def by_distance(function: Any) -> Verdict:
    """`by_distance(squares, weights, rings)`: RMSE of the cells at 0, 1, 2, ... cells from the edge of the box."""
    rng = np.random.default_rng(1)
    h, w, rings = 5, 7, 3
    i, j = np.indices((h, w))
    ring = np.minimum(np.minimum(i, h - 1 - i), np.minimum(j, w - 1 - j))
    weights = np.array([1.7, 1.1, 0.9, 0.7, 0.6])
    squares = rng.random((4, h, w)) * (1 + ring) ** 2

    def score(ring: np.ndarray, weigh: np.ndarray = weights, root: bool = True) -> np.ndarray:
        both = np.broadcast_to(weigh[:, None], (h, w))
        at = [ring == k for k in range(rings)]
        mean = np.array([(squares * both)[:, m].sum() / (both[m].sum() * 4) for m in at])
        return np.sqrt(mean) if root else mean

    given = array(
        attempt(function, squares.copy(), weights.copy(), rings), (rings,), "one number for each ring", finite=NOTHING
    )
    expected = score(ring)
    both = np.broadcast_to(weights[:, None], (h, w))
    cases: list[Mistake] = [
        (expected[::-1], "The rings are in the other order: ring 0 is the edge.", "Distance to the nearest edge, in cells."),
        (score(ring, np.ones(h)), "All rows count alike.", "Weigh the squares, and divide by the sum of the weights of the ring."),
        (score(ring, root=False), "The root is missing.", "Root mean squared error."),
        (np.sqrt([(squares * both)[:, ring == k].mean() for k in range(rings)]), "In a ring the weights do not average to one.", "Divide by the sum of the weights of the ring's cells."),
        (score(np.minimum(i, h - 1 - i)), "You measured the distance to the southern and northern edges alone.", "The nearest of four edges."),
        (score(np.minimum(j, w - 1 - j)), "You measured the distance to the western and eastern edges alone.", "The nearest of four edges."),
        (score(np.minimum(i, j)), "You measured the distance to two edges; there are four.", "The nearest of four edges."),
        (np.array([np.sqrt((squares * both)[:, ring >= k].sum() / (both[ring >= k].sum() * 4)) for k in range(rings)]), "Your rings are filled: each holds all that lies within.", "A ring is what lies at exactly that distance."),
    ]  # fmt: skip
    expect(given, expected, cases, f"Expected {expected.round(3).tolist()}, got {given.round(3).tolist()}.",
        "For each ring: weighted mean of the squares over cells and times, then the root.")  # fmt: skip
    return right("Right: one score for each distance from the edge.")
