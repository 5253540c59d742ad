"""Sources of one's own: a path with the periods of its parts."""

import numpy as np
import pytest

from climax_lite.data import Record, normalize, sources, split, statistics
from climax_lite.data.normalize import Normalizer, on_grid
from climax_lite.grid import Grid
from tests.toys import own_world


def test_years_months_and_days_are_whole():
    source = sources.source("some/era5.zarr?train=1979/2015,validation=2016,test=2017-01-15/2018-02")
    assert (source.name, source.path, source.simulated) == ("era5", "some/era5.zarr", False)
    assert source.splits == {
        "train": ("1979-01-01", "2015-12-31"),
        "validation": ("2016-01-01", "2016-12-31"),
        "test": ("2017-01-15", "2018-02-28"),
    }
    assert split("a.nc?train=2000", "train") == slice("2000-01-01", "2000-12-31")
    assert sources.source("reference") is sources.SOURCES["reference"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "unknown dataset 'nowhere': expected one of reference.* or a path with the periods of its parts"),
        (
            "a.nc?train=1979/2015,test=2015",
            "expected parts that do not overlap, got train to 2015-12-31 and test from 2015-01-01",
        ),
        ("a.nc?train", "expected a period such as 1979/2015, 2016 or 2016-01-01/2016-06-30, got ''"),
        ("a.nc?train=soon", "expected a period such as .*, got 'soon'"),
        ("a.nc?train=2015/1979", "expected a period such as .*, got '2015/1979'"),
        ("a.nc?", "expected a period"),
    ],
)
def test_mistakes(name, says):
    with pytest.raises(ValueError, match=says):
        sources.source(name)


def test_a_store_as_a_source(tmp_path, monkeypatch):
    monkeypatch.setattr(normalize.pooch, "os_cache", lambda name: tmp_path / "cache")
    source = own_world(tmp_path / "world")
    version = sources.version(source)
    assert version == sources.version(source)
    train = Record.prepared(source, "train", (4, 8))
    assert (str(train.times[0])[:13], str(train.times[-1])[:13]) == ("1985-01-01T00", "1985-12-31T12")
    assert len(Record.prepared(source, "validation", (4, 8))) == 62
    (tmp_path / "world" / "toy.nc").touch()
    assert sources.version(source) != version
    with pytest.raises(ValueError, match="does not exist"):
        sources.version(f"{tmp_path}/none.zarr?train=1985")


def test_block_by_block_is_the_same_as_at_once(tmp_path, monkeypatch):
    """A record of 244 times, in blocks of 128, on another grid; in memory and mapped."""
    monkeypatch.setattr(normalize.pooch, "os_cache", lambda name: tmp_path / "cache")
    source = own_world(tmp_path / "world").replace("test=1986-03/1986-04", "test=1986-02/1986-04")
    held = Record.prepared(source, "test", (2, 4))
    ds = on_grid(sources.open(source).sel(time=split(source, "test")), Grid.regular(2, 4))
    whole = Normalizer(statistics(source, grid_shape=(2, 4)), True).apply(ds)
    assert len(held) == 2 * (28 + 31 + 30)
    for i, v in enumerate(held.variables):
        np.testing.assert_array_equal(held.values[:, i], whole[v].values)
    np.testing.assert_array_equal(held.static[0], whole["orography"].values)
    mapped = Record.prepared(source, "test", (2, 4), folder=tmp_path / "records")
    again = Record.prepared(source, "test", (2, 4), folder=tmp_path / "records")
    for record in (mapped, again):
        assert isinstance(record.values, np.memmap)
        np.testing.assert_array_equal(record.values, held.values)
    Record.prepared(source, "test", (2, 4), anomalies=False, folder=tmp_path / "records")
    assert len(list((tmp_path / "records").iterdir())) == 2
