"""Pairs of an initial state and a later one: which are valid, that the right states are drawn, windows, crops, files."""

import collections
import dataclasses

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import LEADS, WEEKS_3_4, ForecastSamples, Record, Statistics, forecast
from climax_lite.data.normalize import on_grid
from climax_lite.grid import Grid, Region
from climax_lite.variables import variable

GRID = Grid.regular(4, 8)
NAMES = ("2m_temperature", "geopotential_500", "temperature_850")


def toy(count=40, hours=6, drop=(), static=True):
    """Fields whose value says their time (in hours) and their variable: value = hours + 10000 · variable."""
    hour = np.delete(np.arange(count) * hours, list(drop)).astype("int64")
    times = np.datetime64("1985-01-01", "ns") + hour * np.timedelta64(1, "h")
    field = hour[:, None, None] + np.arange(32).reshape(4, 8) / 100
    data = {n: (("time", "lat", "lon"), (field + 10000 * i).astype("float32")) for i, n in enumerate(NAMES)}
    if static:
        data["orography"] = (("lat", "lon"), np.arange(32, dtype="float32").reshape(4, 8))
    ds = xr.Dataset(data, {"time": times, "lat": GRID.lat, "lon": GRID.lon})
    for n in ds.data_vars:
        ds[n].attrs = variable(n).attrs
    return ds


def everything(samples, seed=0):
    return samples.batch(samples.draw(np.arange(len(samples)), np.random.default_rng(seed)))


def hour_of(field):
    return np.rint(field[:, 0, 0, 0].numpy() % 10000).astype(int)


def test_the_leads_of_the_paper_include_both_ends():
    assert (LEADS[0], LEADS[-1], len(LEADS)) == (6, 168, 28)


@pytest.mark.parametrize("lead", [6, 24, 72])
def test_a_fixed_lead_uses_every_valid_pair(lead):
    samples = ForecastSamples.of(Record.of(toy(), "toy"), lead)
    batch = everything(samples)
    assert len(samples) == samples.pairs == 40 - lead // 6
    assert (hour_of(batch.y) - hour_of(batch.x) == lead).all()
    assert batch.lead_hours.tolist() == [lead] * len(samples)
    assert batch.samples[:, 0].tolist() == list(range(len(samples)))


def test_thirty_days_keep_all_but_thirty_days():
    samples = ForecastSamples.of(Record.of(toy(1460)), 720)
    assert len(samples) == 1460 - 120


def test_random_leads_are_uniform_and_include_both_ends():
    samples = ForecastSamples.of(Record.of(toy(200, static=False)), LEADS)
    assert len(samples) == 199
    count = collections.Counter()
    for seed in range(60):
        batch = everything(samples, seed)
        assert (hour_of(batch.y) - hour_of(batch.x) == batch.lead_hours.numpy()).all()
        count.update(batch.lead_hours[:150].int().tolist())  # initial times that have all 28
    assert sorted(count) == list(LEADS)
    expected = 60 * 150 / 28
    chi2 = sum((n - expected) ** 2 / expected for n in count.values())
    assert chi2 < 60  # 27 degrees of freedom: exceeded once in ten thousand


def test_the_last_times_draw_from_the_leads_that_end_in_the_record():
    samples = ForecastSamples.of(Record.of(toy(10)), LEADS)
    seen = collections.defaultdict(set)
    for seed in range(200):
        for position, lead in everything(samples, seed).samples.tolist():
            seen[position].add(lead)
    assert seen == {i: set(range(6, 6 * (9 - i) + 1, 6)) for i in range(9)}


def test_a_gap_costs_only_the_pairs_that_need_it():
    samples = ForecastSamples.of(Record.of(toy(20, drop=[10])), 12)
    batch = everything(samples)
    assert (hour_of(batch.y) - hour_of(batch.x) == 12).all()
    assert set(hour_of(batch.x) // 6) == set(range(18)) - {8, 10}


def test_twelve_hourly_records_skip_leads_they_do_not_have():
    samples = ForecastSamples.of(Record.of(toy(40, hours=12)), LEADS)
    leads = {int(h) for seed in range(50) for h in everything(samples, seed).lead_hours}
    assert leads == set(range(12, 169, 12))


def test_splits_share_no_state():
    ds = toy(400)
    train = Record.of(ds.sel(time=slice("1985-01-01", "1985-02-10")))
    test = Record.of(ds.sel(time=slice("1985-03-24", "1985-04-30")))
    used = [
        set(hour_of(b.x)) | set(hour_of(b.y)) for b in (everything(ForecastSamples.of(r, LEADS)) for r in (train, test))
    ]
    first = int((test.times[0] - np.datetime64("1985-01-01", "ns")) / np.timedelta64(1, "h"))
    assert not used[0] & used[1]
    assert min(used[1]) == first
    assert first - max(used[0]) >= 42 * 24 - 18


def test_channels_come_in_the_order_asked_for():
    samples = ForecastSamples.of(
        Record.of(toy()),
        6,
        ("temperature_850", "2m_temperature"),
        ("orography", "temperature_850", "2m_temperature", "geopotential_500"),
    )
    batch = everything(samples)
    assert [int(batch.x[0, i, 0, 0]) // 10000 for i in (1, 2, 3)] == [2, 0, 1]
    np.testing.assert_array_equal(batch.x[3, 0].numpy(), np.arange(32).reshape(4, 8))
    assert [int(batch.y[0, i, 0, 0]) // 10000 for i in (0, 1)] == [2, 0]
    assert batch.x.is_contiguous()


def test_weeks_three_and_four_by_hand():
    samples = ForecastSamples.of(Record.of(toy(200), "toy"), out_variables=("2m_temperature",), window=WEEKS_3_4)
    batch = everything(samples)
    # Means of t0 + 342, 348, ..., 672 hours: the middle of a linear field.
    np.testing.assert_allclose(batch.y[:, 0, 0, 0] - batch.x[:, 0, 0, 0], 507, atol=1e-2)
    assert batch.lead_hours[0] == 504
    assert len(samples) == 200 - 112


def test_a_window_with_a_hole_is_left_out():
    samples = ForecastSamples.of(Record.of(toy(60, drop=[20])), out_variables=("2m_temperature",), window=(24, 48))
    starts = set(hour_of(everything(samples).x) // 6)
    # From k on the window holds k+5 .. k+8.
    assert starts == {k for k in range(52) if k != 20 and not k + 5 <= 20 <= k + 8}


def test_a_window_that_is_no_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="whole steps of 6 h"):
        ForecastSamples.of(Record.of(toy()), window=(24, 47))


def test_no_valid_pair_gets_a_sentence():
    with pytest.raises(ValueError, match=r"no valid pair in toy: 5 times over 24 h, lead times \(48,\) hours"):
        ForecastSamples.of(Record.of(toy(5), "toy"), 48)


def test_unknown_variables_are_refused_at_once():
    with pytest.raises(ValueError, match="toy has no geopotential_850; it has 2m_temperature"):
        ForecastSamples.of(Record.of(toy(), "toy"), 6, ("geopotential_850",))


def test_targets_of_a_region_are_the_cells_of_its_patches():
    record = Record.of(toy())
    samples = ForecastSamples.of(record, 6, ("2m_temperature",), region="EastAsia")
    ids = GRID.patch_ids("EastAsia", 1)
    batch = everything(samples)
    expected = record.values[1:, 0].reshape(39, -1)[:, ids]
    np.testing.assert_array_equal(batch.y[:, 0].reshape(39, -1).numpy(), expected)
    assert tuple(batch.x.shape[2:]) == (4, 8)
    part = record.crop("Global", patch_size=2)
    np.testing.assert_array_equal(part.values, record.values)


def test_patches_that_cover_a_region():
    """A box over two columns of cells in the middle of two patches of 2 x 2: none lies wholly in it, two cover it."""
    box = Region(-60, -20, 40, 100)  # columns at 45 and 90, in the patches 0-45 and 90-135; the row at -22.5
    with pytest.raises(ValueError, match="no whole patch"):
        GRID.patch_ids(box, 2)
    assert GRID.patch_ids(box, 2, cover=True).tolist() == [0, 1]
    part = Record.of(toy()).crop(box, 2, cover=True)
    assert part.grid_shape == (2, 4)
    np.testing.assert_array_equal(part.values, Record.of(toy()).values[:, :, :2, :4])


def test_a_grid_is_cut_to_whole_patches():
    record = Record.of(toy())
    part = record.whole_patches(3)  # 4 x 8 cells: a row from the north; a column from both ends
    np.testing.assert_array_equal(part.values, record.values[:, :, :3, 1:7])
    np.testing.assert_array_equal(part.static, record.static[:, :3, 1:7])
    np.testing.assert_array_equal(part.lat, record.lat[:3])
    np.testing.assert_array_equal(part.lon, record.lon[1:7])
    assert record.whole_patches(2).grid_shape == (4, 8)
    with pytest.raises(ValueError, match=r"a grid of at least 5 x 5 cells, got \(4, 8\)"):
        record.whole_patches(5)


def test_the_autocorrelation_of_an_autoregressive_process():
    """Coefficients 0.9 and 0.5 a step: powers of them at every lag, to what 4,000 x 32 numbers tell."""
    rng, a = np.random.default_rng(0), np.array([0.9, 0.5, 0.0])[:, None, None]
    values = rng.standard_normal((4000, 3, 4, 8))
    for t in range(1, len(values)):
        values[t] = a * values[t - 1] + np.sqrt(1 - a**2) * values[t]
    record = dataclasses.replace(Record.of(toy(4000, static=False)), values=values.astype("float32"))
    np.testing.assert_allclose(record.autocorrelation(6, 4000), [0.9, 0.5, 0], atol=0.01)
    np.testing.assert_allclose(record.autocorrelation(18, 4000), [0.729, 0.125, 0], atol=0.02)
    np.testing.assert_allclose(record.autocorrelation(0), [1, 1, 1], rtol=1e-5)
    with pytest.raises(ValueError, match="no pair of times 7 h apart"):
        record.autocorrelation(7)


class TestFiles:
    def test_a_mapped_record_equals_a_resident_one(self, tmp_path):
        ds = toy()
        mapped = Record.of(ds, "toy", tmp_path / "r", block=7)
        assert isinstance(mapped.values, np.memmap)
        np.testing.assert_array_equal(mapped.values, Record.of(ds).values)
        again = Record.of(ds, "toy", tmp_path / "r")
        np.testing.assert_array_equal(again.values, mapped.values)
        assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["about.json", "lock", "values.npy"]

    def test_another_record_in_the_folder_is_refused(self, tmp_path):
        Record.of(toy(), "toy", tmp_path / "r")
        with pytest.raises(ValueError, match=r"holds another record \(shape, last differ\)"):
            Record.of(toy(20), "toy", tmp_path / "r")

    def test_an_interrupted_write_is_no_record(self, tmp_path, monkeypatch):
        def dies(*_):
            raise KeyboardInterrupt

        whole = forecast._fill
        monkeypatch.setattr(forecast, "_fill", dies)
        with pytest.raises(KeyboardInterrupt):
            Record.of(toy(), "toy", tmp_path / "r")
        monkeypatch.setattr(forecast, "_fill", whole)
        assert not (tmp_path / "r" / "about.json").exists()
        np.testing.assert_array_equal(Record.of(toy(), "toy", tmp_path / "r").values, Record.of(toy()).values)


def test_times_between_hours_are_refused():
    ds = toy(4)
    ds = ds.assign_coords(time=ds.time.values + np.arange(4) * np.timedelta64(10, "m"))
    with pytest.raises(ValueError, match="ascend by whole hours"):
        Record.of(ds)


def test_a_batch_moves_as_a_whole():
    import torch

    batch = everything(ForecastSamples.of(Record.of(toy()), 6)).to(torch.float64)
    assert batch.x.dtype == batch.y.dtype == batch.lead_hours.dtype == torch.float64
    assert len(batch) == 39


class TestSubset:
    def test_initial_times_are_spread_evenly(self):
        samples = ForecastSamples.of(Record.of(toy(101)), 6)  # 100 initial times
        assert samples.subset(0.04).initial.tolist() == [12, 37, 62, 87]
        assert len(samples.subset(1.0)) == 100
        assert len(samples.subset(0.001)) == 1
        batch = everything(samples.subset(0.04))
        assert (hour_of(batch.y) - hour_of(batch.x) == 6).all()

    def test_at_most(self):
        samples = ForecastSamples.of(Record.of(toy(101)), 6)
        assert len(samples.at_most(30)) == 30
        assert len(samples.at_most(1000)) == 100

    @pytest.mark.parametrize("fraction", [0, -0.1, 1.1])
    def test_a_fraction_that_is_none(self, fraction):
        with pytest.raises(ValueError, match="expected a fraction above 0 and at most 1"):
            ForecastSamples.of(Record.of(toy()), 6).subset(fraction)


def test_a_prepared_record_is_normalised_on_the_grid_of_the_network(monkeypatch):
    rng = np.random.default_rng(0)
    days = np.arange(1461) / 4
    season = 10 * np.cos(2 * np.pi * days / 365.2425)[:, None, None]
    ds = toy(1461)
    for v in NAMES:
        ds[v] = ds[v].copy(data=(280 + season + rng.normal(size=(1461, 4, 8))).astype("float32"))
    monkeypatch.setattr(forecast.sources, "open", lambda name: ds)
    monkeypatch.setattr(forecast.sources, "split", lambda name, part: slice("1985-01-01", "1985-12-31"))
    monkeypatch.setattr(
        forecast, "statistics", lambda name, grid_shape: Statistics.fit(on_grid(ds, Grid.regular(*grid_shape)), name)
    )
    whole, half = (Record.prepared("toy", "train", shape) for shape in ((4, 8), (2, 4)))
    assert whole.values.shape == (1460, 3, 4, 8)
    assert half.values.shape == (1460, 3, 2, 4)
    for r in (whole, half):
        assert r.values.mean() == pytest.approx(0, abs=0.01)
        assert r.values.std() == pytest.approx(1, abs=0.02)  # the season is gone, the unit is the anomaly's deviation
    full = Record.prepared("toy", "train", (4, 8), anomalies=False)
    angle = 2 * np.pi * days[:1460] / 365.2425
    seen = full.values[:, 0].mean((1, 2))
    assert np.corrcoef(seen, np.cos(angle))[0, 1] > 0.99  # the season stays in the full state
