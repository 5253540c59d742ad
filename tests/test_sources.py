"""The embedded data and the checks at the door."""

import itertools
import os
from pathlib import Path

import numpy as np
import pooch
import pytest
import xarray as xr

from climax_lite import data
from climax_lite.data import PairSamples, sources
from climax_lite.data.forecast import ForecastSamples, Record
from climax_lite.grid import Grid
from climax_lite.regrid import regrid
from climax_lite.variables import variable

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world():
    return data.open("reference")


@pytest.mark.parametrize("name", sorted(sources._registry()))
def test_checksums(name):
    assert f"sha256:{pooch.file_hash(str(ROOT / 'data' / name))}" == sources._registry()[name]


def test_every_embedded_file_is_in_the_registry():
    """All but cards and coastlines: the registry knows every file below `data/`, and `data/` has every file of the registry."""
    elsewhere = ("generated", "natural_earth")
    found = {
        p.relative_to(ROOT / "data").as_posix()
        for p in (ROOT / "data").rglob("*")
        if p.is_file() and p.suffix != ".md" and p.relative_to(ROOT / "data").parts[0] not in elsewhere
    }
    assert found == set(sources._registry())


def test_a_source_has_all_its_files_and_no_others():
    assert sources.SOURCES["reference"].files == tuple(f"reference/{year}.cxp" for year in (1985, 1986, 1987))
    owned = {f for s in sources.SOURCES.values() for f in s.files}
    rest = {f for f in sources._registry() if not f.startswith(("checkpoints/", "scenarios/"))}
    assert owned == rest


def test_names_units_and_coordinates(world):
    # 1985 and 1986 whole, and from 15 February to 15 June 1987 (14 + 31 + 30 + 31 + 15 days), four times a day
    assert dict(world.sizes) == {"time": 4 * (730 + 121), "lat": 32, "lon": 64}
    assert str(world.time.values[0])[:13] == "1985-01-01T00"
    assert str(world.time.values[2919])[:13] == "1986-12-31T18"
    assert str(world.time.values[2920])[:13] == "1987-02-15T00"
    assert str(world.time.values[-1])[:13] == "1987-06-15T18"
    assert len(world.data_vars) == 23
    for name, v in world.data_vars.items():
        assert v.attrs == variable(name).attrs
        assert v.dtype == np.float32


def test_opening_decodes_nothing(monkeypatch):
    """A channel costs about 0.1 s a year to decode; opening a world must not pay for any."""
    asked = []
    whole = sources.packed.PackedFile.read
    monkeypatch.setattr(sources.packed.PackedFile, "read", lambda self, name: asked.append(name) or whole(self, name))
    world = data.open("reference")
    assert set(asked) <= {"orography", "land_sea_mask"}  # maps without time, kept whole
    world["2m_temperature"].isel(time=0).load()
    assert asked.count("2m_temperature") == 1  # of the one file that was touched


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"),
    [
        ("2m_temperature", 195, 325, (286, 288.5)), ("geopotential_500", 4.2e4, 6.0e4, (5.48e4, 5.58e4)), ("mean_sea_level_pressure", 9.2e4, 1.07e5, (1.005e5, 1.02e5)),
        ("specific_humidity_850", 0, 0.03, (0.005, 0.01)), ("total_precipitation_6hr", 0, 0.1, (5e-4, 9e-4)), ("u_component_of_wind_250", -90, 120, (8, 20)),
    ],
)  # fmt: skip
def test_the_simulated_atmosphere_is_within_the_bounds_of_physics(world, name, low, high, mean):
    v = world[name].isel(time=slice(None, None, 8)).load()
    assert np.isfinite(v).all()
    assert low <= float(v.min()) <= float(v.max()) <= high
    assert mean[0] < float(v.weighted(np.cos(np.deg2rad(v.lat))).mean()) < mean[1]


def test_heights_and_temperatures_are_in_hydrostatic_balance(world):
    part = world.isel(time=slice(0, 400, 40)).sel(lat=slice(-50, 50))
    sea = part.land_sea_mask == 0
    thickness = (part.geopotential_500 - part.geopotential_850).where(sea)
    # R ln(850/500) times the mean of the two temperatures: a straight line in ln p is within two per cent
    estimate = 287.0 * np.log(850 / 500) * 0.5 * (part.temperature_500 + part.temperature_850)
    assert float(abs(thickness / estimate - 1).max()) < 0.03
    assert float(abs((thickness / estimate).mean() - 1)) < 0.01


def test_land_has_a_diurnal_cycle_and_the_sea_has_none(world):
    t = world["2m_temperature"].sel(time=slice("1985-06-01", "1985-08-31"), lat=slice(-60, 60))
    by_hour = t.groupby("time.hour").mean()
    swing = by_hour.max("hour") - by_hour.min("hour")
    assert float(swing.where(world.land_sea_mask > 0.95).mean()) > 2.5
    assert float(swing.where(world.land_sea_mask == 0).mean()) < 1.0


@pytest.fixture(scope="module")
def fine():
    return data.open("fine", ["t2m", "total_precipitation_24hr", "z500", "orography"]).load()


class TestFine:
    """The fine half of the pairs for downscaling."""

    def test_days_and_cells(self, fine):
        assert dict(fine.sizes) == {"time": 365, "lat": 96, "lon": 192}
        assert np.unique(np.diff(fine.time)) == np.timedelta64(24, "h")
        assert str(fine.time.values[0])[:13] == "1985-01-01T00"
        # the zeros of the Legendre polynomial of degree 96
        np.testing.assert_allclose(np.sin(np.deg2rad(fine.lat)), np.polynomial.legendre.leggauss(96)[0], atol=1e-9)

    def test_it_is_within_the_bounds_of_physics(self, fine):
        mean = fine.weighted(np.cos(np.deg2rad(fine.lat))).mean()
        assert all(np.isfinite(v).all() for v in fine.data_vars.values())
        assert 286 < float(mean["2m_temperature"]) < 290
        assert 2.5e-3 < float(mean["total_precipitation_24hr"]) < 3.5e-3  # the real rain is 2.7 mm a day
        assert float(fine["total_precipitation_24hr"].min()) >= 0
        assert 5.48e4 < float(mean["geopotential_500"]) < 5.58e4

    def test_its_splits_leave_gaps_of_six_weeks(self, fine):
        parts = [fine.time.sel(time=data.split("fine", p)).values for p in ("train", "validation", "test")]
        assert [len(p) for p in parts] == [31 + 28 + 31 + 30 + 31 + 30 + 31, 19 + 10, 9 + 31]
        for before, after in itertools.pairwise(parts):
            assert after[0] - before[-1] >= np.timedelta64(42, "D")

    def test_pairs_with_its_own_coarse_mean(self, fine):
        """A mean over cells keeps the mean over the globe, and is never more extreme; back on the fine cells it stays smooth."""
        day = fine.isel(time=slice(0, 2))
        coarse = regrid(day, Grid.regular(32, 64))
        again = regrid(coarse, Grid.from_dataset(fine), "bilinear")
        pairs = PairSamples.of(Record.of(again, "coarse"), Record.of(day, "fine"), out_variables=["2m_temperature"])
        assert len(pairs) == 2
        batch = pairs.batch(pairs.draw(np.arange(2), np.random.default_rng(0)))
        assert (tuple(batch.x.shape), tuple(batch.y.shape)) == ((2, 4, 96, 192), (2, 1, 96, 192))
        assert batch.variables[-1] == "orography"
        area, coarse_area = Grid.from_dataset(fine).area(), Grid.regular(32, 64).area()
        rain, coarse_rain = (w["total_precipitation_24hr"].values for w in (day, coarse))
        np.testing.assert_allclose(
            (rain * area).sum((1, 2)) / area.sum(),
            (coarse_rain * coarse_area).sum((1, 2)) / coarse_area.sum(),
            rtol=1e-4,
        )
        assert coarse_rain.max() < rain.max()
        assert 0 < float(abs(batch.x[:, 0] - batch.y[:, 0]).mean()) < 2  # kelvin

    def test_another_world_serves_unpaired(self, fine):
        other = data.daily_means(data.open("sunny", ["t2m", "z500"]))
        assert other.sizes["time"] == 364  # of 730 states at 00 and 12 UTC
        left, right = data.same_days(other, fine[["2m_temperature"]])
        assert right.sizes["time"] == 364
        day = str(right.time.values[100])[5:13]
        (same,) = [t for t in other.time.values if str(t)[5:13] == day]
        np.testing.assert_array_equal(left["2m_temperature"][100], other["2m_temperature"].sel(time=same))


def test_selecting_by_alias_keeps_the_order():
    assert list(data.open("reference", variables=["z500", "t2m"]).data_vars) == ["geopotential_500", "2m_temperature"]


def test_splits_leave_gaps_of_six_weeks(world):
    spans = [world.sel(time=data.split("reference", part)).time.values for part in ("train", "test", "validation")]
    for before, after in itertools.pairwise(spans):
        assert after[0] - before[-1] >= np.timedelta64(42, "D")


def test_no_sample_reaches_across_the_gap_of_early_1987(world):
    """A state of December 1986 has no partner in February 1987 unless the lead time is that long."""
    ends = world[["2m_temperature"]].isel(time=slice(2910, 2930))  # ten states on either side
    record = Record.of(ends)
    samples = ForecastSamples.of(record, (6, 24))
    ahead = record.times[samples.valid] - record.times[samples.initial][:, None]
    found = samples.valid >= 0
    assert set(ahead[found] / np.timedelta64(1, "h")) == {6.0, 24.0}
    assert found.sum(axis=0).tolist() == [9 + 9, 6 + 6]  # ten states six hours apart: nine pairs, and six a day apart
    assert len(samples) == 9 + 9


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.open("era5"), "unknown dataset 'era5': expected one of reference"),
        (
            lambda: data.open("reference", ["relative_humidity_500"]),
            "has no relative_humidity_500; it has 2m_temperature",
        ),
        (lambda: data.split("reference", "validate"), "expected one of train, validation, test"),
    ],
)
def test_bad_requests_get_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def small() -> xr.Dataset:
    ds = xr.Dataset(
        {"2m_temperature": (("time", "lat", "lon"), np.full((2, 2, 3), 280.0), {"units": "K"})},
        {"time": np.array(["2001-01-01", "2001-01-02"], "M8[ns]"), "lat": [-45.0, 45.0], "lon": [0.0, 120.0, 240.0]},
    )
    return ds


def changed(name="2m_temperature", **attrs) -> xr.Dataset:
    ds = small()
    ds[name].attrs = attrs
    return ds


def test_a_good_dataset_passes_unchanged():
    xr.testing.assert_identical(data.check(small()), small())
    data.check(changed(units="kelvin"))


@pytest.mark.parametrize(
    ("ds", "says"),
    [
        (small().isel(lat=slice(None, None, -1)), "from south to north, got north to south"),
        (small().rename(lat="latitude"), "expected a coordinate 'lat'"),
        (small().drop_vars("lon"), "expected a coordinate 'lon'"),
        (small().rename({"2m_temperature": "t2m"}), r"expected the name '2m_temperature', got its alias 't2m'"),
        (small().rename({"2m_temperature": "warmth"}), "unknown variable 'warmth'"),
        (changed(), "got no units"),
        (changed(units="degC"), "expected 2m_temperature in 'K', got 'degC'"),
        (small().transpose("lat", "lon", "time"), "use ds.transpose"),
        (small().where(small().lon > 0), "4 NaN or infinite ones in 2m_temperature"),
        (small().isel(time=[1, 0]), "times in ascending order"),
        (small().drop_vars("time"), "expected a coordinate 'time'"),
    ],
)
def test_the_door(ds, says):
    with pytest.raises(ValueError, match=says):
        data.check(ds)


def test_valid_at(world):
    initial = world.time.values[[0, 10]]
    later = data.valid_at(world[["geopotential_500"]], initial, 24)
    np.testing.assert_array_equal(later.time.values, initial)
    np.testing.assert_array_equal(later.geopotential_500.values, world.geopotential_500.values[[4, 14]])
    np.testing.assert_array_equal(later.valid_time.values, initial + np.timedelta64(24, "h"))


def test_a_valid_time_beyond_the_record_gets_a_sentence(world):
    with pytest.raises(ValueError, match=r"1 of 2 valid times are not in the record.*up to 1987-06-14T18:00"):
        data.valid_at(world, world.time.values[[0, -1]], 24)
    with pytest.raises(
        ValueError, match=r"1 of 2 valid times are not in the record, the first of them 1987-01-01T18:00"
    ):
        data.valid_at(world, world.time.values[[0, 2919]], 24)


class TestWithoutACheckout:
    """An installed wheel has no data folder beside it: files come from the network once, and are checked."""

    @pytest.fixture(autouse=True)
    def away(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sources, "_CHECKOUT", tmp_path / "nowhere")
        monkeypatch.delenv("CLIMAX_LITE_DATA", raising=False)
        monkeypatch.setattr(sources.pooch, "os_cache", lambda name: tmp_path / "cache")
        monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)

    def serve(self, monkeypatch, folder):
        monkeypatch.setattr(sources, "_REMOTE", f"{folder.as_uri()}/")
        monkeypatch.setattr(
            "pooch.core.choose_downloader",
            lambda url, **_: (
                lambda url, output, pooch: Path(output).write_bytes(
                    (folder / url.removeprefix(folder.as_uri() + "/")).read_bytes()
                )
            ),
        )

    def test_it_is_fetched(self, monkeypatch):
        self.serve(monkeypatch, ROOT / "data")
        assert data.open("reference").sizes["time"] == 3404

    def test_a_truncated_download_is_refused_and_leaves_nothing(self, monkeypatch, tmp_path):
        (tmp_path / "remote/reference").mkdir(parents=True)
        for year in (1985, 1986, 1987):
            (tmp_path / f"remote/reference/{year}.cxp").write_bytes(b"half a file")
        self.serve(monkeypatch, tmp_path / "remote")
        with pytest.raises(ValueError, match="could not be fetched"):
            data.open("reference")
        assert not list((tmp_path / "cache").rglob("*.cxp"))

    def test_no_network_gets_a_sentence(self, monkeypatch):
        monkeypatch.setattr(sources, "_REMOTE", "http://127.0.0.1:9/")
        with pytest.raises(ValueError, match="point CLIMAX_LITE_DATA at its data folder, or try again with a network"):
            data.open("reference")

    def test_a_folder_can_be_named(self, monkeypatch):
        monkeypatch.setenv("CLIMAX_LITE_DATA", str(ROOT / "data"))
        assert data.open("reference").sizes["lat"] == 32
        monkeypatch.setenv("CLIMAX_LITE_DATA", os.devnull)
        with pytest.raises(ValueError, match="which is not a folder"):
            data.open("reference")


class TestOtherWaysIn:
    def test_a_folder_of_ones_own(self, world, tmp_path):
        world[["2m_temperature"]].isel(time=slice(0, 4)).to_netcdf(tmp_path / "a.nc")
        got = data.open(tmp_path)
        np.testing.assert_allclose(got["2m_temperature"], world["2m_temperature"][:4])
        assert list(data.open(str(tmp_path / "a.nc"), ["t2m"])) == ["2m_temperature"]

    def test_a_generated_world(self, world, tmp_path, monkeypatch):
        folder = tmp_path / "generated" / "toy"
        folder.mkdir(parents=True)
        for i in range(2):
            part = world[["2m_temperature", "orography"]].isel(time=slice(4 * i, 4 * i + 4))
            part.to_netcdf(folder / f"1985-{i + 1:02}.nc")
        monkeypatch.setenv("CLIMAX_LITE_DATA", str(tmp_path))
        got = data.open("generated:toy")
        np.testing.assert_allclose(got["2m_temperature"], world["2m_temperature"][:8])
        assert got["orography"].dims == ("lat", "lon")
        with pytest.raises(ValueError, match="make data WORLD=other"):
            data.open("generated:other")

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(ValueError, match=r"nowhere does not exist"):
            data.open(tmp_path / "nowhere")
