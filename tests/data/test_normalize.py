"""Statistics and climatologies: numbers by hand, one pass equal to two, saved and damaged files."""

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import Climatology, Normalizer, Statistics, normalize, sources, statistics
from climax_lite.grid import Grid
from climax_lite.variables import variable

GRID = Grid.regular(6, 12)


def record(values, start="1985-01-01", hours=6, names=("2m_temperature", "geopotential_500"), times=None):
    """A record of one or more variables from an array (T, H, W), or a function of days and index."""
    if times is None:
        times = np.datetime64(start, "ns") + np.arange(len(values)) * np.timedelta64(hours, "h")
    return xr.Dataset(
        {
            n: (("time", "lat", "lon"), (values * 10**i).astype("float32"), variable(n).attrs)
            for i, n in enumerate(names)
        },
        {"time": times, "lat": GRID.lat, "lon": GRID.lon},
    )


def noisy(years=1, seed=0, hours=6):
    rng = np.random.default_rng(seed)
    count = round(years * 365.25 * 24 / hours)
    days = np.arange(count) * hours / 24
    season = 10 * np.cos(2 * np.pi * days / 365.2425)[:, None, None] * np.sin(np.deg2rad(GRID.lat))[:, None]
    return 280 + season + rng.normal(size=(count, *GRID.shape)) * (1 + np.abs(GRID.lat)[:, None] / 45)


def test_mean_and_deviation_by_hand_weigh_by_the_cosine():
    grid = Grid([-60.0, 0.0, 60.0], [0.0, 180.0])  # cosines ½, 1, ½
    x = np.zeros((4, 3, 2), "float32")
    x[:, 1] = 3.0
    ds = xr.Dataset(
        {"2m_temperature": (("time", "lat", "lon"), x)},
        {
            "time": np.datetime64("1985-01-01", "ns") + np.arange(4) * np.timedelta64(6, "h"),
            "lat": grid.lat,
            "lon": grid.lon,
        },
    )
    s = Statistics.fit(ds)
    assert s.mean == pytest.approx([1.5])  # half of the weight holds 3, half 0
    assert s.std == pytest.approx([1.5])
    assert s.climatology is None


def test_one_pass_equals_numpy_on_the_whole_record():
    ds = record(noisy(1.2))
    s = Statistics.fit(ds, harmonics=2)
    w = GRID.weights()[:, None]
    for i, name in enumerate(s.variables):
        x = ds[name].values.astype("float64")
        mean = (x * w).mean()
        assert s.mean[i] == pytest.approx(mean, rel=1e-9)
        assert s.std[i] == pytest.approx(np.sqrt((((x - mean) ** 2) * w).mean()), rel=1e-9)
        anomaly = x - s.climatology.at(ds.time.values)[name].values
        assert s.anomaly_std[i] == pytest.approx(np.sqrt(((anomaly**2) * w).mean()), rel=1e-5)


def test_memory_blocks_change_nothing(monkeypatch):
    ds = record(noisy())
    whole = Statistics.fit(ds)
    monkeypatch.setattr(normalize, "BLOCK", 37)
    pieces = Statistics.fit(ds)
    np.testing.assert_allclose(pieces.std, whole.std, rtol=1e-12)
    xr.testing.assert_allclose(pieces.climatology.coefficients, whole.climatology.coefficients)


def test_every_level_has_its_own_numbers():
    ds = record(noisy(), names=("temperature_500", "temperature_850"))
    s = Statistics.fit(ds)
    assert s.mean[1] == pytest.approx(10 * s.mean[0], rel=1e-5)
    assert s.std[1] == pytest.approx(10 * s.std[0], rel=1e-3)


def test_maps_have_the_statistics_of_the_map():
    ds = record(noisy(0.1))
    ds["orography"] = (("lat", "lon"), np.full(GRID.shape, 5.0, "float32"), variable("orography").attrs)
    s = Statistics.fit(ds)
    assert s.mean[2] == 5.0
    assert s.std[2] == 0.0
    assert Normalizer(s).apply(ds)["orography"].values.tolist() == np.zeros(GRID.shape).tolist()  # divided by one


def test_a_value_that_is_not_finite_is_named_with_its_time():
    x = noisy(0.1)
    x[17, 2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 2m_temperature, first at 1985-01-05T06:00"):
        Statistics.fit(record(x))


def test_other_data_have_another_hash():
    x = noisy(0.1)
    one, same = Statistics.fit(record(x)).sha256, Statistics.fit(record(x.copy())).sha256
    x[5, 0, 0] += 1
    assert one == same != Statistics.fit(record(x)).sha256


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_a_climatology_on_a_model_calendar_follows_its_year(calendar):
    times = xr.date_range("2001-01-01", periods=4 * 700, freq="6h", calendar=calendar, use_cftime=True).values
    length = {"noleap": 365, "360_day": 360}[calendar]
    day = np.arange(len(times)) / 4
    wave = 5 + 3 * np.cos(2 * np.pi * day / length)[:, None, None] * np.ones(GRID.shape)
    s = Statistics.fit(record(wave, times=times))
    assert s.anomaly_std[0] == pytest.approx(0, abs=2e-3)
    first = s.climatology.coefficients["2m_temperature"].isel(hour=0).values
    np.testing.assert_allclose(first[1], 3, atol=1e-4)


def test_saved_statistics_come_back(tmp_path):
    s = Statistics.fit(record(noisy()), "toy")
    s.save(tmp_path / "s.npz")
    got = Statistics.load(tmp_path / "s.npz")
    for key in ("variables", "period", "sha256", "source"):
        assert getattr(got, key) == getattr(s, key)
    for key in ("mean", "std", "anomaly_std"):
        np.testing.assert_array_equal(getattr(got, key), getattr(s, key))
    xr.testing.assert_identical(got.climatology.coefficients, s.climatology.coefficients)
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


def test_a_damaged_file_gets_a_sentence(tmp_path):
    s = Statistics.fit(record(noisy(0.1)))
    s.save(tmp_path / "s.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole statistics file"):
        Statistics.load(tmp_path / "s.npz")
    with pytest.raises(ValueError, match="there is no file"):
        Statistics.load(tmp_path / "t.npz")


class TestNormalizer:
    ds = record(noisy())
    s = Statistics.fit(ds, "toy")

    @pytest.mark.parametrize("anomalies", [False, True])
    def test_there_and_back(self, anomalies):
        n = Normalizer(self.s, anomalies)
        x = n.apply(self.ds)
        w = GRID.weights()[:, None]
        for v in x.data_vars:
            assert float((x[v] * w).mean()) == pytest.approx(0, abs=1e-3)
            assert float(((x[v] ** 2) * w).mean()) == pytest.approx(1, rel=1e-3)
            assert x[v].attrs["units"] == "1"
        back = n.invert(x)
        np.testing.assert_allclose(back["geopotential_500"], self.ds["geopotential_500"], rtol=1e-5)
        assert back["geopotential_500"].attrs["units"] == "m2 s-2"

    def test_a_forecast_is_inverted_at_its_valid_times(self):
        n = Normalizer(self.s, True)
        zero = self.ds.isel(time=slice(0, 4)) * 0
        valid = zero.time.values + np.timedelta64(72, "h")
        xr.testing.assert_allclose(
            n.invert(zero, valid).drop_vars("time"), self.s.climatology.at(valid).drop_vars("time")
        )

    def test_an_unknown_variable_gets_a_sentence(self):
        with pytest.raises(ValueError, match="no statistics for temperature_850 in source 'toy'; it has"):
            Normalizer(self.s).apply(self.ds.rename(geopotential_500="temperature_850"))
        with pytest.raises(ValueError, match="no statistics for temperature_850"):
            Normalizer(self.s, True).apply(self.ds.rename(geopotential_500="temperature_850"))

    def test_anomalies_need_a_climatology(self):
        with pytest.raises(ValueError, match="anomalies need a climatology"):
            Normalizer(Statistics.fit(self.ds.isel(time=slice(0, 100))), anomalies=True)


def test_a_named_source_is_fitted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(normalize.pooch, "os_cache", lambda name: tmp_path)
    small = sources.open("reference")[["2m_temperature"]]
    monkeypatch.setattr(sources, "open", lambda name: small)
    statistics.cache_clear()
    first = statistics("reference")
    assert first.period[0] == "1985-01-01T00:00:00"
    assert first.period[1] == "1985-12-31T18:00:00"
    (file,) = (tmp_path / "statistics").iterdir()
    monkeypatch.setattr(sources, "open", lambda name: pytest.fail("read again"))
    statistics.cache_clear()
    np.testing.assert_array_equal(statistics("reference").mean, first.mean)
    file.write_bytes(b"damaged")
    monkeypatch.setattr(sources, "open", lambda name: small)
    statistics.cache_clear()
    np.testing.assert_array_equal(statistics("reference").mean, first.mean)
    statistics.cache_clear()


def test_climatology_is_the_one_of_the_baselines():
    from climax_lite import baselines

    assert baselines.Climatology is Climatology


class TestOnGrid:
    def test_the_same_grid_is_left_alone(self):
        ds = record(noisy(0.01))
        assert normalize.on_grid(ds, GRID) is ds

    def test_another_grid_keeps_the_mean_and_has_its_own_latitudes(self):
        ds = record(noisy(0.01))
        ds["lattitude"] = (("lat", "lon"), np.repeat(GRID.lat[:, None], 12, 1).astype("float32"))
        coarse = normalize.on_grid(ds, Grid.regular(3, 6))
        # the mean over the sphere, by areas: sines of the edges
        fine, wide = (np.diff(np.sin(np.deg2rad(np.linspace(-90, 90, n + 1)))) / 2 for n in (6, 3))
        before = (ds["2m_temperature"].values.mean(-1) * fine).sum(-1)
        after = (coarse["2m_temperature"].values.mean(-1) * wide).sum(-1)
        np.testing.assert_allclose(after, before, rtol=1e-6)
        np.testing.assert_allclose(coarse["lattitude"].values[:, 0], [-60, 0, 60])

    def test_a_part_of_the_grid_across_greenwich_has_its_own_cells(self):
        ds = record(noisy(0.01))
        part = Grid(GRID.lat[1:4], np.array([330.0, 360.0, 390.0]))
        own = normalize.on_grid(ds, part)
        np.testing.assert_array_equal(own["2m_temperature"], ds["2m_temperature"][:, 1:4, [11, 0, 1]])
        np.testing.assert_array_equal(own.lon, part.lon)

    def test_a_shifted_grid_of_the_same_size_is_another_grid(self):
        ds = record(noisy(0.01))
        shifted = Grid(GRID.lat, GRID.lon + 15)
        moved = normalize.on_grid(ds, shifted)["2m_temperature"].values
        x = ds["2m_temperature"].values
        np.testing.assert_allclose(moved, (x + np.roll(x, -1, -1)) / 2, rtol=1e-6)  # half of each neighbour


def test_statistics_on_a_grid_have_a_cache_of_their_own(tmp_path, monkeypatch):
    ds = record(noisy())
    monkeypatch.setattr(sources, "open", lambda name: ds)
    monkeypatch.setattr(sources, "split", lambda name, part: slice(None))
    monkeypatch.setattr(sources, "version", lambda name: "1")
    monkeypatch.setattr(normalize.pooch, "os_cache", lambda name: tmp_path)
    normalize.statistics.cache_clear()
    own, coarse = statistics("toy"), statistics("toy", grid_shape=(3, 6))
    normalize.statistics.cache_clear()
    assert own.climatology.coefficients.sizes["lat"] == 6
    assert coarse.climatology.coefficients.sizes["lat"] == 3
    assert coarse.anomaly_std[0] < own.anomaly_std[0]  # means over four cells vary less
    assert len(list((tmp_path / "statistics").iterdir())) == 2
