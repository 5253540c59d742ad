import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from climax_lite.grid import EARTH_RADIUS, REGIONS, Grid, Region, region


def field(grid: Grid) -> xr.Dataset:
    return xr.Dataset({"x": (("lat", "lon"), np.add.outer(grid.lat, grid.lon))}, {"lat": grid.lat, "lon": grid.lon})


def test_the_weatherbench_grid():
    grid = Grid.regular(32, 64)
    assert grid.shape == (32, 64)
    assert grid.lat[0] == -87.1875
    assert grid.lat[-1] == 87.1875
    assert grid.lon[0] == 0
    assert grid.lon[-1] == 354.375
    assert grid.periodic


@given(st.integers(2, 90), st.integers(1, 40))
def test_areas_add_up_to_the_sphere(height, width):
    assert Grid.regular(height, width).area().sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2, rel=1e-12)


@given(st.integers(2, 90))
def test_cosine_weights_equal_exact_areas_without_pole_rows(height):
    grid = Grid.regular(height, 4)
    np.testing.assert_allclose(grid.weights("cosine"), grid.weights("area"), rtol=1e-12)
    assert grid.weights().mean() == pytest.approx(1.0)


def test_cosine_weights_differ_from_exact_areas_with_pole_rows():
    grid = Grid(np.linspace(-90, 90, 33), np.arange(64) * 5.625)
    assert grid.weights("cosine")[0] == pytest.approx(0.0, abs=1e-15)
    # The polar cap down to 87.1875 degrees, over a thirty-third of the sphere.
    assert grid.weights("area")[0] == pytest.approx((1 - np.sin(np.deg2rad(87.1875))) / (2 / 33))
    assert grid.area().sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2)


def test_weights_by_hand():
    grid = Grid([-60.0, 0.0, 60.0], [0.0, 120.0, 240.0])
    np.testing.assert_allclose(grid.weights(), [0.75, 1.5, 0.75])


def test_gaussian_rows_reach_the_poles():
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(48)[0]))
    grid = Grid(lat, np.arange(96) * 3.75)
    assert grid.lat_edges[[0, -1]].tolist() == [-90, 90]


@pytest.mark.parametrize(
    ("lat", "lon", "says"),
    [
        ([60.0, 0.0, -60.0], [0.0, 180.0], r"from south to north, got north to south: use ds.sortby\('lat'\)"),
        ([0.0, 60.0, 30.0], [0.0, 180.0], "ascending order, each once"),
        ([-100.0, 0.0], [0.0, 180.0], "within ±90 degrees"),
        ([0.0, np.nan], [0.0, 180.0], "finite latitudes"),
        ([0.0, 30.0], [170.0, -170.0], r"ds.lon % 360"),
        ([0.0, 30.0], [0.0, 180.0, 360.0], "drop the doubled meridian"),
        ([[0.0]], [0.0], "shape"),
    ],
)
def test_a_wrong_coordinate_gets_a_sentence(lat, lon, says):
    with pytest.raises(ValueError, match=says):
        Grid(np.array(lat), np.array(lon))


def test_a_missing_coordinate_gets_a_sentence():
    ds = xr.Dataset(coords={"latitude": [0.0, 1.0], "lon": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"expected a coordinate 'lat'.*ds.rename\(latitude='lat'\)"):
        Grid.from_dataset(ds)


def test_north_america_is_in_the_north():
    part = Grid.regular(32, 64).crop(field(Grid.regular(32, 64)), "NorthAmerica")
    assert part.lat.values[[0, -1]].tolist() == [19.6875, 64.6875]
    assert part.lon.values[[0, -1]].tolist() == [225.0, 298.125]


def test_a_box_is_the_same_in_both_longitude_conventions():
    grid = Grid.regular(32, 64)
    shifted = Grid(grid.lat, np.arange(64) * 5.625 - 180)
    for box in (Region(0, 60, -30, 40), Region(0, 60, 330, 40), Region(-50, 0, 170, 200), Region(-50, 0, 170, -160)):
        ours = grid.lon[grid.columns(box)] % 360
        theirs = shifted.lon[shifted.columns(box)] % 360
        np.testing.assert_array_equal(ours, theirs)
        assert (np.diff(ours) % 360 == 5.625).all()  # eastwards without a jump


def test_a_crop_across_greenwich_ascends_and_keeps_its_values():
    grid = Grid.regular(32, 64)
    part = grid.crop(field(grid), Region(30, 60, -12, 12))
    assert part.lon.values.tolist() == [-11.25, -5.625, 0.0, 5.625, 11.25]
    assert part.x.sel(lon=-11.25).values[0] == pytest.approx(float(part.lat[0]) + 348.75)
    Grid.from_dataset(part)


def test_the_whole_globe_holds_every_column_once():
    grid = Grid.regular(8, 16)
    assert sorted(grid.columns("Global")) == list(range(16))
    assert len(grid.patch_ids("Global", 2)) == 4 * 8


def test_patches_lie_wholly_in_the_region():
    grid = Grid.regular(32, 64)
    ids = grid.patch_ids("NorthAmerica", 2)
    rows, columns = np.divmod(ids, 32)
    cells_lat = grid.lat[np.stack([rows * 2, rows * 2 + 1])]
    cells_lon = grid.lon[np.stack([columns * 2, columns * 2 + 1])]
    box = REGIONS["NorthAmerica"]
    assert cells_lat.min() >= box.south
    assert cells_lat.max() <= box.north
    assert cells_lon.min() >= box.west
    assert cells_lon.max() <= box.east
    assert len(ids) == 4 * 7  # the official code's comment says 8 x 14 cells


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: region("Atlantis"), "unknown region 'Atlantis': expected one of Global, NorthAmerica"),
        (lambda: Region(60, 30, 0, 10), "south < north"),
        (lambda: Region(0, 30, 10, 10), "degrees wide"),
        (lambda: Grid.regular(32, 64).patch_ids("Global", 3), "divisible by the patch size 3, got 32 x 64"),
        (lambda: Grid.regular(32, 64).patch_ids(Region(0, 6, 0, 6), 2), "no whole patch"),
        (lambda: Grid.regular(32, 64).crop(field(Grid.regular(32, 64)), Region(0, 1, 0, 1)), "no cell centre"),
        (lambda: Grid.regular(4, 4).weights("sine"), "'cosine' or 'area'"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_cells_of_a_regions_patches():
    """In the grid's order, also where the box crosses its seam; a regular grid is told from one with poles, or of part of the globe."""
    grid = Grid.regular(8, 16)
    rows, columns = grid.patch_cells([9, 10, 17, 18], 2)  # 8 patches in a row
    assert (rows.tolist(), columns.tolist()) == ([2, 3, 4, 5], [2, 3, 4, 5])
    rows, columns = grid.patch_cells(grid.patch_ids(Region(-90, 0, 300, 90), 2), 2)  # degrees 315 to 360 and 0 to 45
    assert rows.tolist() == [0, 1, 2, 3]
    assert columns.tolist() == [0, 1, 2, 3, 14, 15]
    assert grid.is_regular
    assert not Grid(grid.lat[rows], grid.lon).is_regular
    assert not Grid(grid.lat, grid.lon + 1.0).is_regular
    assert not Grid(np.linspace(-90, 90, 8), grid.lon).is_regular
