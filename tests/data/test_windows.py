"""Windows of years and coarse–fine pairs."""

import numpy as np
import pytest
import xarray as xr

from climax_lite.data import Mixture, MixtureLoader, PairSamples, ProjectionSamples, Record, by_run, ordered

from .test_forecast import toy


def run(first, years, target_from=None):
    """Forcings whose value is the year, targets whose value is the year times ten."""
    year = np.arange(first, first + years)
    lat, lon = [-45.0, 45.0], [0.0, 90.0, 180.0, 270.0]
    field = np.broadcast_to(year[:, None, None], (years, 2, 4)).astype("float32")
    x = xr.Dataset(
        {"CO2": (("year", "lat", "lon"), field), "SO2": (("year", "lat", "lon"), -field)},
        {"year": year, "lat": lat, "lon": lon},
    )
    y = xr.Dataset({"tas": (("year", "lat", "lon"), 10 * field)}, {"year": year, "lat": lat, "lon": lon})
    return x, y.sel(year=slice(target_from, None))


def test_windows_end_at_their_target_and_stay_in_their_run():
    samples = ProjectionSamples.of({"a": run(1850, 15), "b": run(2015, 12)}, history=10, source="scenarios")
    assert len(samples) == 6 + 3
    (batch,) = ordered(samples, 100)
    assert batch.x.shape == (9, 10, 2, 2, 4)
    assert batch.y.shape == (9, 1, 2, 4)
    for x, y in zip(batch.x, batch.y, strict=True):
        years = x[:, 0, 0, 0].tolist()
        assert years == list(range(int(years[0]), int(years[0]) + 10))
        assert float(y[0, 0, 0]) == 10 * years[-1]
        assert float(x[-1, 1, 0, 0]) == -years[-1]
    assert batch.samples.tolist() == [[0, y] for y in range(1859, 1865)] + [[1, y] for y in range(2024, 2027)]
    assert batch.lead_hours.tolist() == [0.0] * 9


def test_forcings_may_begin_before_the_targets():
    samples = ProjectionSamples.of({"a": run(1850, 30, target_from=1870)})
    assert len(samples) == 10


def test_runs_that_do_not_fit_get_a_sentence():
    x, y = run(1850, 15)
    with pytest.raises(ValueError, match="in every run, got others in b"):
        ProjectionSamples.of({"a": (x, y), "b": (x.rename(CO2="CH4"), y)})
    with pytest.raises(ValueError, match="got a gap in a"):
        ProjectionSamples.of({"a": (x.drop_sel(year=1855), y)})
    with pytest.raises(ValueError, match="forcings for every year of the targets, got fewer in a"):
        ProjectionSamples.of({"a": (x.sel(year=slice(1855, None)), y)})
    with pytest.raises(ValueError, match="no run has 20 years"):
        ProjectionSamples.of({"a": (x, y)}, history=20)
    with pytest.raises(ValueError, match="one run or more"):
        ProjectionSamples.of({})


def test_splits_divide_by_run():
    runs = ("historical", "ssp126", "ssp245", "ssp585")
    assert by_run(runs, ["ssp245"]) == (("historical", "ssp126", "ssp585"), ("ssp245",))
    with pytest.raises(ValueError, match="unknown runs ssp246"):
        by_run(runs, ["ssp246"])
    with pytest.raises(ValueError, match="nothing is left"):
        by_run(runs, runs)


def test_projection_serves_the_mixture():
    samples = ProjectionSamples.of({"a": run(1850, 29)}, source="scenarios")
    seen = [s for b in MixtureLoader(Mixture({"scenarios": samples}, batch_size=4)) for s in b.samples[:, 1].tolist()]
    assert sorted(seen) == list(range(1859, 1879))


def test_pairs_have_the_same_time():
    coarse, fine = Record.of(toy(20), "coarse"), Record.of(toy(40, static=False).isel(time=slice(10, 40)), "fine")
    samples = PairSamples.of(coarse, fine, out_variables=("2m_temperature",))
    (batch,) = ordered(samples, 100)
    assert len(samples) == 10
    np.testing.assert_array_equal(batch.x[:, 0], batch.y[:, 0])
    assert batch.source == "fine"
    assert batch.variables[-1] == "orography"


def test_pairs_without_a_common_time_get_a_sentence():
    later = toy(5)
    later = later.assign_coords(time=later.time.values + np.timedelta64(1000, "D"))
    with pytest.raises(ValueError, match="expected times in common"):
        PairSamples.of(Record.of(toy(5)), Record.of(later))
