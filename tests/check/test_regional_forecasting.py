"""The checkers of *Regional forecasting*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import pytest
import torch

from climax_lite.check import regional_forecasting as check
from tests.check.exercises import Exercises

# ---------------------------------------------------------------- solutions


def patches_of_box(lat, lon, box, p):
    south, north, west, east = box
    rows = np.flatnonzero((lat >= south) & (lat <= north))
    columns = np.flatnonzero((lon - west) % 360 <= (east - west) % 360)
    return ids(np.unique(rows // p), np.unique(columns // p), len(lon) // p)


def ids(rows, columns, width):
    return (np.asarray(rows)[:, None] * width + np.asarray(columns)).ravel()


def region_tokens(embed, blocks, x, ids, where):
    tokens = embed(x)
    return blocks(tokens[:, ids]) if where == "before" else blocks(tokens)[:, ids]


def in_box(lat, lon, box):
    return (lat >= box[0]) & (lat <= box[1]), (lon - box[2]) % 360 <= (box[3] - box[2]) % 360


def rmse_on_box(forecast, truth, lat, lon, box):
    rows, columns = in_box(lat, lon, box)
    squares = (forecast - truth)[:, rows][:, :, columns] ** 2
    w = np.cos(np.deg2rad(lat[rows]))
    return np.sqrt(((w / w.mean())[:, None] * squares).mean(axis=(1, 2))).mean()


def middles(degrees, p):
    return degrees.reshape(-1, p).mean(axis=1)


def places(lat, lon, old_lat, old_lon, p):
    y, x, old_y, old_x = (middles(d, p) for d in (lat, lon, old_lat, old_lon))
    return (y - old_y[0]) / (old_y[1] - old_y[0]), (x - old_x[0]) % 360 / (old_x[1] - old_x[0])


def hours_inside(lat, lon, west, speed, radius=6.371e6, stretch=lambda c: c, seconds=3600):
    angle = np.deg2rad((lon - west) % 360)
    return radius * stretch(np.cos(np.deg2rad(lat)))[:, None] * angle / speed / seconds


def by_distance(squares, weights, rings, distance=lambda i, j, h, w: np.min([i, h - 1 - i, j, w - 1 - j], axis=0)):
    _, h, w = squares.shape
    ring = distance(*np.indices((h, w)), h, w)
    both = np.broadcast_to(weights[:, None], (h, w))
    mean = squares.mean(axis=0)
    return np.array([np.sqrt(np.average(mean[ring == k], weights=both[ring == k])) for k in range(rings)])


SOLUTIONS = {f.__name__: f for f in (patches_of_box, region_tokens, rmse_on_box, places, hours_inside, by_distance)}


# ---------------------------------------------------------------- mistakes


def mirrored(lat, lon, box, p):
    return patches_of_box(lat[::-1], lon, box, p)


def sorted_latitudes(lat, lon, box, p):
    return patches_of_box(np.sort(lat), lon, box, p)


def whole_patches(lat, lon, box, p):
    rows, columns = (np.flatnonzero(x) for x in in_box(lat, lon, box))
    whole = [[k for k in np.unique(c // p) if (c // p == k).sum() == p] for c in (rows, columns)]
    return ids(*whole, len(lon) // p)


def numbered(rule):
    def function(lat, lon, box, p):
        rows, columns = (np.flatnonzero(x) for x in in_box(lat, lon, box))
        return rule(np.unique(rows // p), np.unique(columns // p), len(lat), len(lon), p, rows, columns)

    return function


def plain_longitudes(lat, lon, box, p):
    rows = np.flatnonzero((lat >= box[0]) & (lat <= box[1]))
    columns = np.flatnonzero((lon >= box[2]) & (lon <= box[3]))
    return ids(np.unique(rows // p), np.unique(columns // p), len(lon) // p)


def only_positive_data(lat, lon, box, p):
    rows = np.flatnonzero((lat >= box[0]) & (lat <= box[1]))
    columns = np.flatnonzero((lon >= box[2] % 360) & (lon <= box[3] % 360))
    return ids(np.unique(rows // p), np.unique(columns // p), len(lon) // p)


def middles_inside(lat, lon, box, p):
    rows, columns = (np.flatnonzero(x) for x in in_box(middles(lat, p), middles(lon, p), box))
    return ids(rows, columns, len(lon) // p)


def open_box(lat, lon, box):
    """Without the cells on the edges."""
    rows, columns = in_box(lat, lon, box)
    rows &= (lat != box[0]) & (lat != box[1])
    return rows, columns & ((lon - box[2]) % 360 != 0) & ((lon - box[3]) % 360 != 0)


def without_edges(lat, lon, box, p):
    rows, columns = (np.flatnonzero(x) for x in open_box(lat, lon, box))
    return ids(np.unique(rows // p), np.unique(columns // p), len(lon) // p)


def from_the_west(lat, lon, box, p):
    rows, columns = (np.flatnonzero(x) for x in in_box(lat, lon, box))
    eastwards = columns[np.argsort((lon[columns] - box[2]) % 360)] // p
    return ids(np.unique(rows // p), list(dict.fromkeys(eastwards)), len(lon) // p)


def between_first_and_last(lat, lon, box, p):
    rows, columns = (np.flatnonzero(x) for x in in_box(lat, lon, box))
    return ids(np.unique(rows // p), np.arange(columns[0] // p, columns[-1] // p + 1), len(lon) // p)


def score(select="box", weigh="box", root="each"):
    def function(forecast, truth, lat, lon, box):
        rows, columns = open_box(lat, lon, box) if select == "open" else in_box(lat, lon, box)
        if select == "plain":
            columns = (lon >= box[2]) & (lon <= box[3])
        if select == "all":
            rows, columns = np.ones_like(rows), np.ones_like(columns)
        if select == "rows":
            columns = np.ones_like(columns)
        cos = np.cos(lat if weigh == "radians" else np.deg2rad(lat))
        w = {
            "box": cos[rows] / cos[rows].mean(),
            "radians": cos[rows] / cos[rows].mean(),
            "patches": (cos / cos.mean())[rows],
            "bare": cos[rows],
            "none": np.ones(rows.sum()),
        }[weigh]
        each = (w[:, None] * (forecast - truth)[:, rows][:, :, columns] ** 2).mean(axis=(1, 2))
        return {"each": np.sqrt(each).mean(), "pooled": np.sqrt(each.mean()), "none": each.mean(), "times": np.sqrt(each)}[root]  # fmt: skip

    return function


def placed(rows=lambda y, old, cells: (y - old[0]) / (old[1] - old[0]), columns=None):
    def function(lat, lon, old_lat, old_lon, p):
        right = places(lat, lon, old_lat, old_lon, p)
        mine = rows(middles(lat, p), middles(old_lat, p), old_lat)
        return mine, columns(middles(lon, p), middles(old_lon, p)) if columns else right[1]

    return function


def filled(squares, weights, rings):
    _, h, w = squares.shape
    i, j = np.indices((h, w))
    ring = np.min([i, h - 1 - i, j, w - 1 - j], axis=0)
    both = np.broadcast_to(weights[:, None], (h, w))
    return np.array([np.sqrt(np.average(squares.mean(0)[ring >= k], weights=both[ring >= k])) for k in range(rings)])


def unnormalised(squares, weights, rings):
    _, h, w = squares.shape
    i, j = np.indices((h, w))
    ring = np.min([i, h - 1 - i, j, w - 1 - j], axis=0)
    both = np.broadcast_to(weights[:, None], (h, w))
    return np.array([np.sqrt((squares * both)[:, ring == k].mean()) for k in range(rings)])


WRONG = [
    ("patches_of_box", mirrored, "the other hemisphere"),
    ("patches_of_box", sorted_latitudes, "With latitudes from north to south you chose patches of the other hemisphere"),
    ("patches_of_box", whole_patches, "lie wholly in the box"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, *_: ids(r, c, w)), "W / p patches, not W"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, *_: (c[:, None] * (h // p) + r).ravel()), "column by column"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, rows, columns: ids(rows, columns, w)), "ids of cells"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, *_: ids(r, c, w // p)[::-1]), "wrong order or shape"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, *_: ids(r, c, w // p)[:, None]), "wrong order or shape"),
    ("patches_of_box", numbered(lambda r, c, h, w, p, rows, columns: ids(rows // p, columns // p, w // p)), "Expected"),
    ("patches_of_box", plain_longitudes, "wrong for a box in degrees west"),
    ("patches_of_box", only_positive_data, "wrong for data from −180 to 180"),
    ("patches_of_box", middles_inside, "or whose middle does"),
    ("patches_of_box", without_edges, "a box whose edges run through centres"),
    ("patches_of_box", from_the_west, "in the wrong order for a box across Greenwich"),
    ("patches_of_box", between_first_and_last, "everything between the first column and the last"),
    ("patches_of_box", lambda lat, lon, box, p: patches_of_box(lat, lon, box, 2), "wrong for patches of 4"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x)[:, i]), "kept the tokens before"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x))[:, i], "kept the tokens after"),
    ("region_tokens", lambda e, b, x, i, w: region_tokens(e, b, x, i, "after" if w == "before" else "before"), "kept the tokens after"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x)), "All tokens of the globe"),
    ("region_tokens", lambda e, b, x, i, w: e(x)[:, i], "never went through"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x))[i], "samples, not patches"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x)[i]), "samples, not patches"),
    ("region_tokens", lambda e, b, x, i, w: b(e(x) * torch.isin(torch.arange(6), torch.tensor(i))[:, None])[:, i], "zeros still take part"),
    ("region_tokens", lambda e, b, x, i, w: b(b(e(x)[:, i])), "not the region's tokens"),
    ("rmse_on_box", score(select="all"), "outside the box"),
    ("rmse_on_box", score(select="rows"), "Longitude is not cut"),
    ("rmse_on_box", score(select="open"), "Cells on the edge are missing"),
    ("rmse_on_box", score(select="plain"), "Here longitudes go from −180"),
    ("rmse_on_box", score(weigh="patches"), "over the patches' rows"),
    ("rmse_on_box", score(weigh="bare"), "bare cosines"),
    ("rmse_on_box", score(weigh="none"), "All rows count alike"),
    ("rmse_on_box", score(weigh="radians"), "as if they were radians"),
    ("rmse_on_box", score(root="pooled"), "One root over all times"),
    ("rmse_on_box", score(root="none"), "The root is missing"),
    ("rmse_on_box", score(root="times"), "Expected one number"),
    ("rmse_on_box", lambda *a: 2 * rmse_on_box(*a), "Expected"),
    ("places", placed(lambda y, old, cells: y), "These are degrees"),
    ("places", placed(lambda y, old, cells: (y - cells[0]) / 45), "not its first cell"),
    ("places", placed(lambda y, old, cells: (y - cells[0]) / 22.5), "rows of cells"),
    ("places", placed(lambda y, old, cells: np.round((y - old[0]) / 45)), "You rounded"),
    ("places", lambda lat, lon, a, b, p: ((lat + 67.5) / 45, places(lat, lon, a, b, p)[1]), "One number for each cell"),
    ("places", placed(lambda y, old, cells: (y - old[0]) % 180 / 45), "latitudes go round"),
    ("places", placed(lambda y, old, cells: np.interp(y, old, np.arange(len(old)))), "stops at the first old patch"),
    ("places", placed(lambda y, old, cells: y / 45), "got ["),
    ("places", lambda lat, lon, a, b, p: ((lat[::p] - a[0]) / 45, places(lat, lon, a, b, p)[1]), "the first cells of patches"),
    ("places", lambda lat, lon, *a: places(lat, lon % 360, *a), "before the mean"),
    ("places", placed(columns=lambda x, old: (x - old[0]) % 360 / 22.5), "got ["),
    ("places", lambda *a: places(*a)[::-1], "Rows and columns are swapped"),
    ("places", placed(columns=lambda x, old: (x - old[0]) / 45), "A negative column"),
    ("places", placed(columns=lambda x, old: x % 360 / 45), "not 0°"),
    ("places", placed(columns=lambda x, old: np.interp(x % 360, old, np.arange(len(old)))), "np.interp stops"),
    ("places", lambda *a: places(*a)[0], "Expected a pair"),
    ("hours_inside", lambda *a: hours_inside(*a, stretch=np.ones_like), "as long everywhere"),
    ("hours_inside", lambda *a: hours_inside(*a, stretch=lambda c: 1 / c), "divided by cos"),
    ("hours_inside", lambda *a: hours_inside(*a, seconds=60), "These are minutes"),
    ("hours_inside", lambda *a: hours_inside(*a, seconds=1), "These are seconds"),
    ("hours_inside", lambda *a: hours_inside(*a, radius=6371), "A thousand times too short"),
    ("hours_inside", lambda lat, *a: hours_inside(np.rad2deg(lat), *a), "cosine of degrees"),
    ("hours_inside", lambda *a: hours_inside(*a, radius=6371e3 * 3.6), "divided kilometres"),
    ("hours_inside", lambda *a: np.rad2deg(hours_inside(*a)), "Degrees are not radians"),
    ("hours_inside", lambda lat, lon, west, speed: hours_inside(lat, lon, west, speed) * (lon - west) / ((lon - west) % 360), "Negative hours"),
    ("hours_inside", lambda *a: hours_inside(*a).T, "Which axes"),
    ("hours_inside", lambda *a: 3 * hours_inside(*a), "in row"),
    ("by_distance", lambda *a: by_distance(*a)[::-1], "other order"),
    ("by_distance", lambda s, w, r: by_distance(s, np.ones_like(w), r), "All rows count alike"),
    ("by_distance", lambda *a: by_distance(*a) ** 2, "The root is missing"),
    ("by_distance", unnormalised, "do not average to one"),
    ("by_distance", lambda *a: by_distance(*a, distance=lambda i, j, h, w: np.minimum(i, h - 1 - i)), "southern and northern"),
    ("by_distance", lambda *a: by_distance(*a, distance=lambda i, j, h, w: np.minimum(j, w - 1 - j)), "western and eastern"),
    ("by_distance", lambda *a: by_distance(*a, distance=lambda i, j, h, w: np.minimum(i, j)), "two edges"),
    ("by_distance", filled, "filled"),
    ("by_distance", lambda *a: 2 * by_distance(*a), "Expected"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [lambda *a: np.full(3, np.nan), lambda *a: []])
def test_nothing_and_nan_get_a_sentence(name, garbage):
    assert getattr(check, name)(garbage).state == "wrong"


class TestParity:
    theirs = ([5, 6], torch.ones(2, 3), torch.zeros(2, 3), [4.5, 8.7])

    def test_equal(self):
        assert check.parity([[5, 6], torch.ones(2, 3), np.zeros((2, 3)), (4.5, 8.7)], self.theirs).ok

    @pytest.mark.parametrize("at", range(4))
    def test_unsolved(self, at):
        mine = [None if i == at else x for i, x in enumerate(self.theirs)]
        assert "Not there yet" in check.parity(mine, self.theirs).sentence

    @pytest.mark.parametrize("at", range(4))
    def test_different(self, at):
        mine = [np.asarray(x) + (i == at) for i, x in enumerate(self.theirs)]
        assert "differ" in check.parity(mine, self.theirs).sentence
