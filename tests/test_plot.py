import warnings

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from climax_lite import plot
from climax_lite.grid import Grid


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def field(grid: Grid, **attrs) -> xr.DataArray:
    return xr.DataArray(
        np.add.outer(grid.lat, 0 * grid.lon),
        dims=("lat", "lon"),
        coords={"lat": grid.lat, "lon": grid.lon},
        attrs=attrs,
        name="x",
    )


def test_a_map_has_a_title_units_and_coastlines_without_network(monkeypatch):
    import cartopy.io

    monkeypatch.setattr(
        cartopy.io.Downloader, "acquire_resource", lambda *a, **k: pytest.fail("cartopy reached for the network")
    )
    plot.use_style()
    x = field(Grid.regular(8, 16), units="m2 s-2", long_name="geopotential at 500 hPa").expand_dims(
        time=[np.datetime64("1986-07-01T06", "ns")]
    )
    ax = plot.map(x)
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") == "geopotential at 500 hPa, 1986-07-01 06 UTC"
    assert ax.figure.axes[1].get_ylabel() == "m² s⁻²"


def test_a_box_is_drawn_on_its_own_extent():
    grid = Grid.regular(32, 64)
    part = grid.crop(field(grid).to_dataset(name="x"), "NorthAmerica")["x"]
    ax = plot.map(part)
    west, east, south, north = ax.get_extent(plot.ccrs.PlateCarree())
    assert (south, north) == (16.875, 67.5)
    assert east - west == pytest.approx(78.75)


def test_center_makes_the_scale_symmetric():
    ax = plot.map(field(Grid.regular(8, 16)) + 30, center=0)
    assert ax.collections[0].get_clim() == (-108.75, 108.75)


def test_maps_share_a_scale():
    x = field(Grid.regular(8, 16))
    figure = plot.maps([x, 2 * x, x], titles=["a", "b", "c"])
    limits = {ax.collections[0].get_clim() for ax in figure.axes if hasattr(ax, "coastlines") and ax.collections}
    assert limits == {(-157.5, 157.5)}


def test_without_coastlines_a_map_is_drawn_bare_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIMAX_LITE_DATA", str(tmp_path))
    plot._offline.cache_clear()
    with pytest.warns(UserWarning, match="without coastlines"):
        plot.map(field(Grid.regular(8, 16))).figure.canvas.draw()
    plot._offline.cache_clear()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: plot.map(x.expand_dims(time=3)), "select a time first"),
        (lambda x: plot.maps([]), "at least one field"),
        (lambda x: plot.maps([x], titles=["a", "b"]), "one title for each of 1 fields, got 2"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says), warnings.catch_warnings():
        call(field(Grid.regular(8, 16)))


def scores(values, models=("climatology", "a", "b"), leads=(6.0, 72.0)):
    dims = ("model", "variable", "lead", "metric")
    coords = {
        "model": list(models),
        "variable": ["geopotential_500", "2m_temperature"],
        "lead": list(leads),
        "metric": ["rmse"],
    }
    return xr.Dataset({"score": (dims, np.asarray(values, float).reshape(len(models), 2, len(leads), 1))}, coords)


def test_a_scorecard_tells_how_much_better_than_a_baseline():
    """Climatology 100 and 4; a has half and 110 %, b the same as climatology everywhere."""
    card = scores([[100, 100], [4, 4], [50, 110], [3, 5], [100, 100], [4, 4]])
    figure = plot.scorecard(card)
    panels = figure.axes[:2]
    assert [ax.get_title(loc="left") or ax.get_title() for ax in panels] == ["Z500", "T2m"]
    assert [t.get_text() for t in panels[0].texts] == ["-50", "+10", "+0", "+0"]
    assert [t.get_text() for t in panels[1].texts] == ["-25", "+25", "+0", "+0"]
    assert panels[0].get_ylim() == panels[1].get_ylim() == (2, 0)  # the first model on top
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["6 h", "3 d"]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="expected a model of this scorecard, climatology, a, b, got 'persistence'"):
        plot.scorecard(card, "persistence")
