import json
import zipfile

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import packed


def record(start="2001-01-01", steps=37, height=6, width=8, seed=0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    lat, lon = np.linspace(-75, 75, height), np.arange(width) * 360 / width
    wave = (
        np.cos(np.deg2rad(lon))[None, None]
        * np.sin(np.arange(steps) / 5)[:, None, None]
        * np.cos(np.deg2rad(lat))[None, :, None]
    )
    time = np.datetime64(start, "ns") + np.arange(steps) * np.timedelta64(6, "h")
    return xr.Dataset(
        {
            "geopotential_500": (
                ("time", "lat", "lon"),
                (5.5e4 + 900 * wave + rng.normal(size=wave.shape) * 30).astype("float32"),
            ),
            "2m_temperature": (
                ("time", "lat", "lon"),
                (280 + 9 * wave + rng.normal(size=wave.shape)).astype("float32"),
            ),
            "orography": (("lat", "lon"), rng.normal(size=(height, width)).astype("float32")),
        },
        {"time": time, "lat": lat, "lon": lon},
        {"title": "a small fake world"},
    )


@pytest.mark.parametrize("shape", [(1, 2, 2), (5, 3, 4), (37, 6, 8), (12, 7, 10)])
def test_the_transform_is_orthonormal(shape):
    x = np.random.default_rng(1).normal(size=shape)
    np.testing.assert_allclose(packed._inverse(packed._forward(x)), x, atol=1e-12)
    assert (packed._forward(x) ** 2).sum() == pytest.approx((x**2).sum())


@pytest.mark.parametrize("step", [1e-3, 0.1, 1.0])
def test_the_error_is_that_of_rounding(step):
    x = np.random.default_rng(2).normal(size=(40, 8, 16)) * 3 + 1
    error = packed.decode(packed.encode(x, step), step, x.shape) - x
    assert error.std() <= 1.03 * step / np.sqrt(12)
    if step < 0.5:  # all coefficients are well above the step, so the bound is met
        assert error.std() > 0.97 * step / np.sqrt(12)


def test_large_values_need_all_four_bytes():
    x = np.full((4, 2, 2), 1e6)
    np.testing.assert_allclose(packed.decode(packed.encode(x, 0.1), 0.1, x.shape), x, rtol=1e-6)


def test_a_file_comes_back(tmp_path):
    ds = record()
    packed.write(tmp_path / "2001.cxp", ds, noise={"2m_temperature": 0.01})
    back = packed.open_files([tmp_path / "2001.cxp"])
    assert back.attrs == ds.attrs
    xr.testing.assert_equal(back.orography, ds.orography)
    xr.testing.assert_equal(back.time, ds.time)
    for name, noise in (("geopotential_500", 0.06), ("2m_temperature", 0.01)):
        error = back[name] - ds[name]
        assert float(error.std() / (ds[name] - ds[name].mean("time")).std()) < 1.4 * noise
    assert not list(tmp_path.glob("*.part"))


def test_a_root_keeps_a_desert_dry(tmp_path):
    """Of rain packed as its root, the error is small where there is little; packed as it is, it is the same everywhere."""
    rng = np.random.default_rng(5)
    rain = rng.gamma(0.5, 2e-3, size=(60, 16, 32)) * (np.arange(16) > 7)[:, None]  # half of the world is dry
    lat, lon = np.linspace(-84, 84, 16), np.arange(32) * 11.25
    time = np.datetime64("2001-01-01", "ns") + np.arange(60) * np.timedelta64(24, "h")
    name = "total_precipitation_24hr"
    ds = xr.Dataset({name: (("time", "lat", "lon"), rain)}, {"time": time, "lat": lat, "lon": lon})
    dry = {}
    for roots in ((), (name,)):
        packed.write(tmp_path / "2001.cxp", ds, {}, default_noise=0.2, roots=roots)
        got = packed.open_files([tmp_path / "2001.cxp"])[name].values
        assert got.min() >= 0
        dry[roots] = got[:, :8].mean()
    assert dry[(name,)] < 0.2 * dry[()]
    # an error e of the root leaves e² on the mean, and e is at most noise × deviation of the root
    root = np.sqrt(rain)
    weights = np.cos(np.deg2rad(lat))[:, None]
    deviation = np.sqrt((root.var(axis=0) * weights).sum() / (weights.sum() * 32))
    assert got.mean() - rain.mean() == pytest.approx(0, abs=1.1 * (0.2 * deviation) ** 2)


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in "ab":
        packed.write(tmp_path / f"{name}.cxp", record(), {})
    assert (tmp_path / "a.cxp").read_bytes() == (tmp_path / "b.cxp").read_bytes()


@pytest.fixture
def two_years(tmp_path):
    whole = record(steps=74)
    paths = [tmp_path / "b.cxp", tmp_path / "a.cxp"]
    for path, part in zip(paths, (slice(37, 74), slice(0, 37)), strict=True):
        packed.write(path, whole.isel(time=part), {}, default_noise=1e-4)
    return whole, paths


@pytest.mark.parametrize(
    "index",
    [
        {"time": 40}, {"time": slice(30, 45)}, {"time": [70, 3, 40]}, {"lat": 2}, {"lon": slice(1, None, 3)}, {"time": slice(None, None, -1)},
        {"time": 3, "lat": 1, "lon": 5}, {"time": [1, 50], "lat": slice(1, 4), "lon": [7, 0]}, {"time": slice(5, 9), "lon": 0}, {"time": slice(5, 5)},
    ],
    ids=str,
)  # fmt: skip
def test_lazy_indexing_equals_indexing_in_memory(two_years, index):
    whole, paths = two_years
    lazy = packed.open_files(paths)["2m_temperature"].isel(index)
    expected = whole["2m_temperature"].isel(index)
    assert lazy.shape == expected.shape
    np.testing.assert_allclose(lazy.values, expected.values, atol=2e-2)


def test_only_what_is_touched_is_decoded(two_years, monkeypatch):
    _, paths = two_years
    decoded = []
    original = packed.PackedFile._decode
    monkeypatch.setattr(
        packed.PackedFile, "_decode", lambda self, name: decoded.append((self.path.stem, name)) or original(self, name)
    )
    ds = packed.open_files(paths)
    assert decoded == [("a", "orography")]
    ds["2m_temperature"].isel(time=slice(40, 50)).load()
    assert decoded[1:] == [("b", "2m_temperature")]


def test_xarray_opens_a_file(two_years):
    whole, paths = two_years
    with xr.open_dataset(paths[1], engine="climax_lite") as ds:
        np.testing.assert_allclose(ds["2m_temperature"].values, whole["2m_temperature"].values[:37], atol=2e-2)
    assert "geopotential_500" not in xr.open_dataset(
        paths[1], engine="climax_lite", drop_variables=["geopotential_500"]
    )


def test_a_damaged_file_gets_a_sentence(tmp_path):
    path = tmp_path / "x.cxp"
    packed.write(path, record(), {})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"not a whole packed file .*delete it and fetch it again"):
        packed.open_files([path])


def test_a_later_format_gets_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.cxp", "w") as archive:
        archive.writestr("header.json", json.dumps({"format": "climax-lite packed 9"}))
    with pytest.raises(ValueError, match="a newer climax_lite may read it"):
        packed.open_files([tmp_path / "x.cxp"])


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (record("2001-02-01"), "a gap or an overlap between a.cxp and b.cxp"),
        (record("2001-01-10T06", height=4), "expected one grid"),
        (record("2001-01-10T06").drop_vars("2m_temperature"), "the same variables"),
    ],
)
def test_files_that_do_not_follow_on_get_a_sentence(tmp_path, second, says):
    packed.write(tmp_path / "a.cxp", record(), {})
    packed.write(tmp_path / "b.cxp", second, {})
    with pytest.raises(ValueError, match=says):
        packed.open_files([tmp_path / "a.cxp", tmp_path / "b.cxp"])


def test_a_gap_on_purpose_keeps_the_times_on_both_sides(tmp_path):
    before, after = record(), record("2001-02-01")
    packed.write(tmp_path / "a.cxp", before, {})
    packed.write(tmp_path / "b.cxp", after, {})
    both = packed.open_files([tmp_path / "a.cxp", tmp_path / "b.cxp"], gaps=True)
    np.testing.assert_array_equal(both.time, np.concatenate([before.time, after.time]))
    np.testing.assert_array_equal(
        both["2m_temperature"][-after.sizes["time"] :], packed.open_files([tmp_path / "b.cxp"])["2m_temperature"]
    )
    packed.write(tmp_path / "c.cxp", record("2001-01-01T06"), {})
    with pytest.raises(ValueError, match=r"an overlap between a\.cxp and c\.cxp"):
        packed.open_files([tmp_path / "a.cxp", tmp_path / "c.cxp"], gaps=True)


def test_what_cannot_be_packed_gets_a_sentence(tmp_path):
    ds = record()
    with pytest.raises(ValueError, match="NaN or infinity in '2m_temperature'"):
        packed.write(tmp_path / "x.cxp", ds.assign({"2m_temperature": ds["2m_temperature"].where(ds.lat > 0)}), {})
    with pytest.raises(ValueError, match="regular time axis"):
        packed.write(tmp_path / "x.cxp", ds.isel(time=[0, 1, 3]), {})
    assert not (tmp_path / "x.cxp").exists()
