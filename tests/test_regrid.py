"""Regridding against a loop over pairs of cells, against scipy, and against what every regridding must keep."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from climax_lite.grid import Grid, Region
from climax_lite.regrid import regrid, weights

METHODS = ("conservative", "bilinear")


def gaussian(height: int, width: int, west: float = 0.0) -> Grid:
    sine = np.polynomial.legendre.leggauss(height)[0]
    return Grid(np.rad2deg(np.arcsin(sine)), west + np.arange(width) * 360 / width)


def with_poles(height: int, width: int, west: float = 0.0) -> Grid:
    return Grid(np.linspace(-90, 90, height), west + np.arange(width) * 360 / width)


def regular(height: int, width: int, west: float = 0.0) -> Grid:
    return Grid(Grid.regular(height, width).lat, west + np.arange(width) * 360 / width)


def random_field(grid: Grid, *more: int, missing: float = 0.0, dtype="float64") -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = 280 + rng.standard_normal((*more, *grid.shape))
    values[rng.random(values.shape) < missing] = np.nan
    dims = (*("time", "level")[: len(more)], "lat", "lon")
    return xr.DataArray(values.astype(dtype), dims=dims, coords={"lat": grid.lat, "lon": grid.lon}, name="x")


def constant(grid: Grid, value: float = 1.0) -> xr.DataArray:
    return xr.full_like(random_field(grid), value)


def area_mean(x: xr.DataArray) -> np.ndarray:
    area = Grid.from_dataset(x).area()
    return (x.values.astype("float64") * area).sum((-2, -1)) / area.sum()


def east(grid: Grid, degrees: float) -> Grid:
    return Grid(grid.lat, grid.lon + degrees)


def crop(x: xr.DataArray, box: Region) -> xr.DataArray:
    return Grid.from_dataset(x).crop(x.to_dataset(name="x"), box)["x"]


globes = st.builds(
    lambda make, height, width, west: make(height, width, west),
    st.sampled_from([regular, gaussian, with_poles]),
    st.integers(3, 24),
    st.integers(2, 24),
    st.sampled_from([0.0, -180.0, -179.5, 7.3]),
)


# ---------------------------------------------------------------- by hand


def test_rows_in_halves_by_hand():
    """Four rows to two: of the northern half of the sphere, sin 45° = 0.7071 lies south of 45°."""
    lat, lon = weights(Grid.regular(4, 2), Grid.regular(2, 1))
    low, high = np.sin(np.pi / 4), 1 - np.sin(np.pi / 4)
    np.testing.assert_allclose(lat, [[high, low, 0, 0], [0, 0, low, high]], atol=1e-15)
    np.testing.assert_allclose(lon, [[0.5, 0.5]])


def test_a_column_across_the_date_line_by_hand():
    """Columns of 90°, to columns of 180° about 0° and 180°: the first gets half of 270°, all of 0°, half of 90°."""
    lon = weights(Grid.regular(2, 4), Grid.regular(2, 2))[1]
    np.testing.assert_allclose(lon, [[0.5, 0.25, 0, 0.25], [0, 0.25, 0.5, 0.25]])
    shifted = weights(Grid.regular(2, 4), Grid(Grid.regular(2, 2).lat, [-180.0, 0.0]))[1]
    np.testing.assert_allclose(shifted, lon[::-1])


def test_bilinear_by_hand():
    source = Grid([-60.0, 0.0, 60.0], [0.0, 90.0, 180.0, 270.0])
    lat, lon = weights(source, Grid([-75.0, -60.0, 45.0, 89.0], [-45.0, 0.0, 30.0]), "bilinear")
    # Beyond the outermost row the nearest; between 270° and 360° a half of each.
    np.testing.assert_allclose(lat, [[1, 0, 0], [1, 0, 0], [0, 0.25, 0.75], [0, 0, 1]])
    np.testing.assert_allclose(lon, [[0.5, 0, 0, 0.5], [1, 0, 0, 0], [2 / 3, 1 / 3, 0, 0]], atol=1e-15)


def test_missing_values_by_hand():
    """One row band, four columns to one: the mean of what is valid, if it is enough."""
    source = xr.DataArray(
        [[1.0, 3.0, np.nan, np.nan], [1.0, 3.0, 5.0, np.nan]],
        dims=("lat", "lon"),
        coords={"lat": [-45.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]},
    )
    target = Grid([-45.0, 45.0], [135.0])
    assert regrid(source, target).values.tolist() == [[2.0], [3.0]]  # half of the southern cell is just enough
    np.testing.assert_equal(regrid(source, target, min_valid=0.51).values, [[np.nan], [3.0]])
    np.testing.assert_equal(regrid(source, target, min_valid=1.0).values, [[np.nan], [np.nan]])
    np.testing.assert_equal(regrid(source, target, skipna=False).values, [[np.nan], [np.nan]])
    # Bilinear half-way between 3 and 5, and between 5 and a missing value.
    there = Grid([45.0], [135.0, 225.0])
    assert regrid(source, there, "bilinear").values.tolist() == [[4.0, 5.0]]
    np.testing.assert_equal(regrid(source, there, "bilinear", skipna=False).values, [[4.0, np.nan]])


# ---------------------------------------------------------------- against other implementations


def brute_force(x: xr.DataArray, target: Grid, min_valid: float) -> np.ndarray:
    """Area means, target cell by target cell over all source cells at once, trying every turn of the globe."""
    source = Grid.from_dataset(x)
    valid = np.isfinite(x.values)
    values = np.where(valid, x.values, 0)
    south, north = np.sin(np.deg2rad(source.lat_edges[:-1])), np.sin(np.deg2rad(source.lat_edges[1:]))
    out = np.full(target.shape, np.nan)
    for i, j in np.ndindex(target.shape):
        low, high = np.sin(np.deg2rad(target.lat_edges[i : i + 2]))
        west, east = target.lon_edges[j : j + 2]
        band = (np.minimum(north, high) - np.maximum(south, low)).clip(min=0)
        width = np.zeros(len(source.lon))
        for turn in (-720, -360, 0, 360, 720):
            inside = np.minimum(source.lon_edges[1:] + turn, east) - np.maximum(source.lon_edges[:-1] + turn, west)
            width += inside.clip(min=0)
        area = np.outer(band, width) * valid
        if area.sum() >= min_valid * (high - low) * (east - west):
            out[i, j] = (area * values).sum() / area.sum()
    return out


PAIRS = {
    "coarser": (regular(12, 16), regular(5, 6)),
    "finer": (regular(5, 6), regular(12, 15)),
    "Gaussian to regular": (gaussian(12, 16), regular(6, 8)),
    "regular to Gaussian": (regular(8, 10), gaussian(6, 9)),
    "pole rows": (with_poles(9, 12), gaussian(6, 8)),
    "to pole rows": (gaussian(10, 12), with_poles(5, 7)),
    "other meridian": (regular(6, 9, -180.0), gaussian(4, 7, 11.0)),
    "from a crop": (Grid(gaussian(12, 16).lat[3:9], np.arange(-4, 5) * 22.5), regular(9, 8)),
    "to a crop": (gaussian(8, 12), Grid([10.0, 20.0, 30.0], [170.0, 180.0, 190.0])),
    "crop to crop across the date line": (
        Grid([0.0, 10.0, 20.0], [165.0, 175.0, 185.0]),
        Grid([3.0, 12.0], [-185.0, -178.0, -171.0]),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_conservative_equals_pairs_of_cells(pair, missing):
    source, target = PAIRS[pair]
    x = random_field(source, missing=missing)
    for least in (0.3, 0.7):
        expected = brute_force(x, target, least)
        assert np.isfinite(expected).any()
        np.testing.assert_allclose(regrid(x, target, min_valid=least).values, expected, rtol=1e-12)


@pytest.mark.parametrize("pair", PAIRS)
def test_bilinear_equals_scipy_between_the_rows(pair):
    source, target = PAIRS[pair]
    if "crop" in pair:
        target = Grid(
            np.linspace(source.lat[0], source.lat[-1], 5), np.linspace(source.lon[0], source.lon[-1], 6) + 360
        )
    x = random_field(source)
    between = (target.lat >= source.lat[0]) & (target.lat <= source.lat[-1])
    turns = np.concatenate([source.lon + turn for turn in ((-360, 0, 360, 720) if source.periodic else (0, 360))])
    wide = np.tile(x.values, len(turns) // len(source.lon))
    points = np.stack(np.meshgrid(target.lat[between], target.lon, indexing="ij"), axis=-1)
    expected = RegularGridInterpolator((source.lat, turns), wide)(points)
    np.testing.assert_allclose(regrid(x, target, "bilinear").values[between], expected, rtol=1e-12)


# ---------------------------------------------------------------- what must be kept


@settings(max_examples=30, deadline=None)
@given(globes, globes, st.sampled_from(METHODS))
def test_a_constant_stays_and_nothing_overshoots(source, target, method):
    lat, lon = weights(source, target, method)
    assert lat.shape == (target.shape[0], source.shape[0])
    assert lon.shape == (target.shape[1], source.shape[1])
    for matrix in (lat, lon):
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(regrid(constant(source, 271.35), target, method), 271.35, rtol=1e-14)


@settings(max_examples=30, deadline=None)
@given(globes, globes)
def test_the_mean_over_the_globe_is_kept(source, target):
    x = random_field(source, 2, dtype="float32")
    out = regrid(x, target)
    assert out.dtype == "float32"
    np.testing.assert_allclose(area_mean(out), area_mean(x), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 24), st.integers(2, 24), st.integers(1, 3), st.integers(1, 3))
def test_finer_and_back_is_where_we_were(height, width, down, across):
    """Cells cut into whole parts take the value of their cell, and give it back."""
    coarse = Grid.regular(height, width)
    step = 360 / width / across
    fine = regular(height * down, width * across, -(across - 1) / 2 * step)
    x = random_field(coarse)
    parts = regrid(x, fine)
    np.testing.assert_allclose(parts, np.kron(x, np.ones((down, across))), rtol=1e-12)
    np.testing.assert_allclose(regrid(parts, coarse), x, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(globes, st.sampled_from(METHODS))
def test_the_same_grid_changes_nothing(grid, method):
    x = random_field(grid)
    np.testing.assert_allclose(regrid(x, grid, method), x, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(globes, globes, st.sampled_from(METHODS), st.sampled_from([-360.0, 360.0, -123.4, 180.0]))
def test_longitude_has_no_beginning(source, target, method, turn):
    """Both grids turned alike, or one turned once round, give the same values."""
    x = random_field(source)
    expected = regrid(x, target, method)
    both = regrid(x.assign_coords(lon=x.lon + turn), east(target, turn), method)
    np.testing.assert_allclose(both, expected, rtol=1e-9)
    if abs(turn) == 360:
        np.testing.assert_allclose(regrid(x, east(target, turn), method), expected, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(globes, globes, st.sampled_from(METHODS))
def test_where_the_array_begins_does_not_matter(source, target, method):
    """-180 to 180 or 0 to 360: the same columns in another order."""
    x = random_field(source)
    rolled = x.assign_coords(lon=x.lon % 360).sortby("lon")
    np.testing.assert_allclose(regrid(rolled, target, method), regrid(x, target, method), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_both_orders_of_latitude(method):
    source, target = gaussian(8, 12), regular(5, 6)
    x = random_field(source, 3)
    expected = regrid(x, target, method)
    down = constant(target).isel(lat=slice(None, None, -1))
    for given_x in (x, x.isel(lat=slice(None, None, -1))):
        np.testing.assert_allclose(regrid(given_x, target, method), expected, rtol=1e-13)
        out = regrid(given_x, down, method)
        assert out.lat.values.tolist() == target.lat[::-1].tolist()
        np.testing.assert_allclose(out.values, expected.values[:, ::-1], rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_beside_a_coast_stays_constant(method):
    x = constant(regular(24, 36), 300.0).where(random_field(regular(24, 36), missing=0.3).notnull())
    out = regrid(x, gaussian(10, 15), method, min_valid=0.1).values
    assert np.isfinite(out).mean() > 0.5
    np.testing.assert_allclose(out[np.isfinite(out)], 300.0, rtol=1e-13)


def test_a_mask_that_moves_is_followed():
    """Each time has its own missing values."""
    x = random_field(regular(8, 12), 5, missing=0.4)
    together = regrid(x, regular(3, 5), min_valid=0.6)
    alone = xr.concat([regrid(x.isel(time=t), regular(3, 5), min_valid=0.6) for t in range(5)], "time")
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("method", METHODS)
def test_beyond_a_crop_there_is_nothing(method):
    x = crop(constant(regular(32, 64)), Region(30, 65, -20, 40))
    out = regrid(x, regular(64, 128), method).dropna("lat", how="all").dropna("lon", how="all")
    edges = Grid.from_dataset(x)
    assert edges.lat_edges[0] < out.lat.min() < out.lat.max() < edges.lat_edges[-1]
    assert out.notnull().any("lat").sum() == pytest.approx(2 * x.sizes["lon"], abs=1)
    np.testing.assert_allclose(out.where(out.notnull(), 1.0), 1.0)


@pytest.mark.parametrize("method", METHODS)
def test_float32_coordinates_lose_no_rim(method):
    """A third of a degree is not exact in float32; the rim of the grid must still count as covered."""
    x = random_field(Grid(np.arange(31) / 3, np.arange(1, 41) / 3))
    rounded = x.assign_coords(lat=x.lat.astype("float32"), lon=x.lon.astype("float32"))
    for target in (Grid.from_dataset(x), Grid(x.lat.values[5:9], x.lon.values[:4] - 360)):
        assert regrid(rounded, target, method, skipna=False).notnull().all()


# ---------------------------------------------------------------- xarray


def test_a_dataset_keeps_its_names_attributes_and_order():
    grid = gaussian(6, 8)
    ds = xr.Dataset(
        {
            "first": random_field(grid, 2, dtype="float32").assign_attrs(units="K").transpose("lon", "time", "lat"),
            "lat_bnds": (("lat", "bnds"), np.zeros((6, 2))),
            "co2": ("time", [360.0, 361.0], {"units": "ppm"}),
            "mask": (("lat", "lon"), np.ones(grid.shape, dtype="int8")),
        },
        coords={"time": [10, 20], "height": 2.0, "area": (("lat", "lon"), grid.area())},
        attrs={"title": "a world"},
    )
    ds["lat"].attrs["units"] = "degrees_north"
    out = regrid(ds, Grid.regular(3, 4))
    assert list(out.data_vars) == ["first", "co2", "mask"]
    assert out["first"].dims == ("lon", "time", "lat")
    assert out["first"].dtype == "float32"
    assert out["mask"].dtype == "float64"
    assert out.attrs == {"title": "a world"}
    assert out["first"].attrs == {"units": "K"}
    assert out["lat"].attrs == {"units": "degrees_north"}
    assert set(out.coords) == {"time", "height", "lat", "lon"}
    xr.testing.assert_identical(out["co2"], ds["co2"])
    xr.testing.assert_allclose(out["first"], regrid(ds["first"], Grid.regular(3, 4)))
    by_hand = np.einsum("ij,kl,ljt->kit", *weights(grid, Grid.regular(3, 4)), ds["first"].values.transpose(0, 2, 1))
    np.testing.assert_allclose(out["first"].isel(time=0).values, by_hand[..., 0], rtol=1e-6)


def test_the_target_may_be_a_dataset():
    target = constant(regular(3, 4, -180.0)).to_dataset()
    target["lon"].attrs["long_name"] = "longitude of the target"
    out = regrid(random_field(regular(6, 8)), target)
    xr.testing.assert_identical(out["lon"], target["lon"])
    assert isinstance(out, xr.DataArray)
    assert out.name == "x"


def test_many_fields_are_done_in_blocks(monkeypatch):
    x = random_field(regular(6, 8), 7, 3, missing=0.1)
    whole = regrid(x, regular(3, 4))
    monkeypatch.setattr("climax_lite.regrid.BLOCK", 100)
    np.testing.assert_array_equal(regrid(x, regular(3, 4)), whole)


def test_no_times_are_no_error():
    assert regrid(random_field(regular(6, 8), 0), regular(3, 4)).shape == (0, 3, 4)


@pytest.mark.parametrize("method", METHODS)
def test_lazy_stays_lazy(method):
    pytest.importorskip("dask.array")
    x = random_field(gaussian(6, 8), 4, missing=0.1, dtype="float32")
    for chunks in ({"time": 1}, {"time": 2, "lat": 3, "lon": 5}):
        out = regrid(x.chunk(chunks).to_dataset(), regular(3, 5), method)["x"]
        assert out.chunks is not None
        assert out.dtype == "float32"
        xr.testing.assert_identical(out.compute(), regrid(x, regular(3, 5), method))


FIELD = random_field(regular(4, 6))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: regrid(FIELD, regular(2, 3), "spline"), "'conservative' or 'bilinear', got 'spline'"),
        (lambda: regrid(FIELD, regular(2, 3), min_valid=0.0), "above 0 and at most 1"),
        (lambda: regrid(FIELD.rename(lat="latitude"), regular(2, 3)), "dimensions 'lat' and 'lon'"),
        (lambda: regrid(FIELD, FIELD.rename(lon="longitude")), r"ds.rename\(longitude='lon'\)"),
        (lambda: regrid(FIELD.astype(str), regular(2, 3)), "expected numbers in x"),
        (lambda: regrid(FIELD.where(FIELD.lat > 0, np.inf), regular(2, 3)), "infinite"),
        (lambda: regrid(FIELD.isel(lat=[0]), regular(2, 3)), "at least two latitudes"),
        (lambda: regrid(FIELD.assign_coords(lon=[0, 60, 120, 180, -120, -60]), regular(2, 3)), "ds.lon % 360"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()
