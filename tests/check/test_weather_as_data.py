"""The checkers of *Weather as data*: solutions pass, stubs are told "not yet", and each usual mistake gets its own sentence."""

import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite.check import weather_as_data as check

R = 287.05


# ---------------------------------------------------------------- the solutions, as the chapter has them


def wind_speed(u, v):
    return np.sqrt(u**2 + v**2)


def layer_mean_temperature(phi_top, phi_bottom, p_top, p_bottom):
    return (phi_top - phi_bottom) / (R * np.log(p_bottom / p_top))


def to_tensor(ds, variables):
    stacked = ds[list(variables)].to_array("variable").transpose("time", "variable", "lat", "lon")
    return torch.tensor(stacked.values, dtype=torch.float32)


def month_hour_mean(record):
    hours, means = [], []
    for hour, at_hour in record.groupby("time.hour"):
        hours.append(hour)
        means.append(at_hour.groupby("time.month").mean())
    return xr.concat(means, xr.DataArray(hours, dims="hour", name="hour"))


def anomaly(record, climatology):
    return record - climatology.sel(month=record.time.dt.month, hour=record.time.dt.hour)


def local_solar_hour(utc_hour, longitude):
    return (utc_hour + longitude / 15) % 24


def daily_precipitation(precipitation):
    start = precipitation.assign_coords(time=precipitation.time - np.timedelta64(6, "h"))
    days = start.resample(time="1D")
    return 1000 * days.sum().where(days.count() == 4, drop=True)


SOLUTIONS = {
    check.wind_speed: wind_speed,
    check.layer_mean_temperature: layer_mean_temperature,
    check.to_tensor: to_tensor,
    check.month_hour_mean: month_hour_mean,
    check.anomaly: anomaly,
    check.local_solar_hour: local_solar_hour,
    check.daily_precipitation: daily_precipitation,
}
EXERCISES = pytest.mark.parametrize("exercise", SOLUTIONS, ids=lambda e: e.__name__)


@EXERCISES
def test_the_solution_passes(exercise):
    verdict = exercise(SOLUTIONS[exercise])
    assert verdict.ok, verdict


@EXERCISES
def test_the_stub_is_told_not_yet(exercise):
    def stub(*args): ...

    assert exercise(stub).state == "not yet"


def fail(*args):
    raise KeyError("month")


@EXERCISES
@pytest.mark.parametrize(
    "garbage",
    [
        None,
        7,
        lambda *a: "text",
        lambda *a: None,
        lambda *a: np.full((2, 2), np.nan),
        lambda *a: xr.Dataset(),
        lambda *a: torch.zeros(2),
        lambda: 0,
        fail,
    ],
)
def test_garbage_gets_a_sentence(exercise, garbage):
    verdict = exercise(garbage)
    assert not verdict.ok
    assert len(verdict.sentence) > 10


# ---------------------------------------------------------------- usual mistakes


def says(exercise, function, words):
    verdict = exercise(function)
    assert verdict.state == "wrong", verdict
    assert words in verdict.sentence, verdict
    assert verdict.hint


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda u, v: u + v, "added the components"),
        (lambda u, v: abs(u) + abs(v), "sizes of the components"),
        (lambda u, v: u**2 + v**2, "square of the speed"),
        (lambda u, v: np.arctan2(v, u), "an angle"),
        (lambda u, v: np.degrees(np.arctan2(v, u)), "direction in degrees"),
        (lambda u, v: np.sqrt((u**2 + v**2) / 2), "averaged the squares"),
        (lambda u, v: np.linalg.norm([u, v]), "one speed for each pair"),
        (lambda u, v: np.sqrt(u**2 - v**2), "NaN"),
    ],
)
def test_wind_speed(function, words):
    says(check.wind_speed, function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda a, b, p, q: 9.80665 * (a - b) / (R * np.log(q / p)), "for a height"),
        (lambda a, b, p, q: (a - b) / 9.80665 / (R * np.log(q / p)), "divided the geopotential by g"),
        (lambda a, b, p, q: (a - b) / (R * np.log(p / q)), "below zero kelvin"),
        (lambda a, b, p, q: (a - b) / (R * np.log10(q / p)), "base 10"),
        (lambda a, b, p, q: (a - b) / (R * q / p), "without its logarithm"),
        (lambda a, b, p, q: (a - b) / (R * (q - p)), "difference of the pressures"),
        (lambda a, b, p, q: (a - b) / R * np.log(q / p), "in brackets"),
        (lambda a, b, p, q: (a - b) / np.log(q / p), "gas constant is missing"),
        (lambda a, b, p, q: a / (R * np.log(q / p)), "two"),
        (lambda a, b, p, q: (a - b) / (R * np.log(q / p)) - 273.15, "Celsius"),
        (lambda a, b, p, q: (a - b) * 0 + 260, "Not the expected numbers"),
    ],
)
def test_layer_mean_temperature(function, words):
    says(check.layer_mean_temperature, function, words)


def test_layer_mean_temperature_takes_either_value_of_the_gas_constant():
    assert check.layer_mean_temperature(lambda a, b, p, q: (a - b) / (287.0 * np.log(q / p))).ok


def _tensor(ds, names, dims=("time", "variable", "lat", "lon"), dtype=torch.float32):
    return torch.tensor(ds[list(names)].to_array("variable").transpose(*dims).values, dtype=dtype)


def _static_at_first_time(ds, names):
    tensor = _tensor(ds, names)
    tensor[1:, list(names).index("orography")] = 0
    return tensor


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda ds, names: _tensor(ds, ds.data_vars), "got all 4"),
        (_static_at_first_time, "first time only"),
        (lambda ds, names: _tensor(ds, sorted(names)), "another order than the one asked for"),
        (
            lambda ds, names: _tensor(ds, [v for v in ds.data_vars if v in names]),
            "another order than the one asked for",
        ),
        (
            lambda ds, names: _tensor(ds, names, ("variable", "time", "lat", "lon")),
            "time and variable have changed places",
        ),
        (lambda ds, names: _tensor(ds, names, ("time", "lat", "lon", "variable")), "in another order"),
        (lambda ds, names: _tensor(ds, names, ("time", "variable", "lon", "lat")), "Expected the shape"),
        (lambda ds, names: _tensor(ds, names, ("time", "variable", "lon", "lat")).reshape(3, 3, 4, 5), "wrong places"),
        (lambda ds, names: _tensor(ds, names).flip(2), "upside down"),
        (lambda ds, names: _tensor(ds, names, dtype=torch.float64), "torch.float64"),
        (lambda ds, names: _tensor(ds, names).numpy(), "torch.Tensor, got ndarray"),
        (lambda ds, names: [torch.tensor(ds[n].values) for n in names], "one torch.Tensor, got list"),
        (lambda ds, names: torch.tensor(np.stack([ds[n].values for n in names], 1)), "stopped with"),
    ],
)
def test_to_tensor(function, words):
    says(check.to_tensor, function, words)


def _by_day(record):
    hours = [(h, x.groupby("time.dayofyear").mean()) for h, x in record.groupby("time.hour")]
    return xr.concat([x for _, x in hours], xr.DataArray([h for h, _ in hours], dims="hour", name="hour"))


def _by(record, reduce):
    hours = [(h, getattr(x.groupby("time.month"), reduce)()) for h, x in record.groupby("time.hour")]
    return xr.concat([x for _, x in hours], xr.DataArray([h for h, _ in hours], dims="hour", name="hour"))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda r: r.groupby("time.month").mean(), "hour of day was averaged away"),
        (lambda r: r.groupby("time.hour").mean(), "month was averaged away"),
        (lambda r: r.groupby("time.month").mean().expand_dims(hour=[0, 6, 12, 18]), "Every hour has the same mean"),
        (lambda r: r.mean("time"), "one mean over all times"),
        (lambda r: month_hour_mean(r).mean(("lat", "lon")), "averaged over the map"),
        (lambda r: _by(r, "sum"), "sums"),
        (lambda r: _by(r, "median"), "medians"),
        (lambda r: _by(r, "first"), "first values"),
        (lambda r: month_hour_mean(r).assign_coords(month=range(12)), "month labelled"),
        (lambda r: month_hour_mean(r).assign_coords(hour=range(4)), "hour labelled"),
        (lambda r: month_hour_mean(r).drop_vars("hour"), "hour labelled"),
        (lambda r: r.groupby("time.dayofyear").mean(), "got dayofyear"),
        (lambda r: _by_day(r), "hour, dayofyear"),
        (lambda r: month_hour_mean(r) + 1, "Not the expected numbers"),
        (lambda r: month_hour_mean(r)["2m_temperature"], "got DataArray"),
        (lambda r: month_hour_mean(r).rename({"2m_temperature": "t"}), "got lost"),
    ],
)
def test_month_hour_mean(function, words):
    says(check.month_hour_mean, function, words)


def test_month_hour_mean_in_any_order_of_dimensions():
    assert check.month_hour_mean(lambda r: month_hour_mean(r).transpose("lon", "month", "lat", "hour")).ok


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda r, c: -anomaly(r, c), "sign is turned round"),
        (lambda r, c: r - c.mean("hour").sel(month=r.time.dt.month), "diurnal cycle is still"),
        (lambda r, c: r - c.mean("month").sel(hour=r.time.dt.hour), "seasons are still"),
        (lambda r, c: r - c.mean(("month", "hour")), "seasons and hours are still"),
        (lambda r, c: r - c.sel(month=r.time.dt.month.values, hour=r.time.dt.hour.values), "every time met every"),
        (lambda r, c: r - c, "every time met every"),
        (lambda r, c: r - c.isel(month=r.time.dt.month % 12).sel(hour=r.time.dt.hour), "one month late"),
        (lambda r, c: r + c.sel(month=r.time.dt.month, hour=r.time.dt.hour), "You added"),
        (lambda r, c: r / c.sel(month=r.time.dt.month, hour=r.time.dt.hour), "divided by the climatology"),
        (lambda r, c: r.groupby(["time.month", "time.hour"]) - c, "stopped with NotImplementedError"),
        (lambda r, c: r, "Not the expected numbers"),
    ],
)
def test_anomaly(function, words):
    says(check.anomaly, function, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda h, x: (h - x / 15) % 24, "sign is turned round"),
        (lambda h, x: h + x / 15, "24 or more"),
        (lambda h, x: (h + x / 24) % 24, "15 degrees an hour"),
        (lambda h, x: int(h + x / 15) % 24, "whole hours"),
        (lambda h, x: round(h + x / 15) % 24, "rounded hours"),
        (lambda h, x: h, "This is UTC"),
        (lambda h, x: (h + 15 * x) % 24, "Not the expected numbers"),
    ],
)
def test_local_solar_hour(function, words):
    says(check.local_solar_hour, function, words)


def _later(p):
    return p.assign_coords(time=p.time + np.timedelta64(6, "h")).resample(time="1D")


def _shifted(p):
    return p.assign_coords(time=p.time - np.timedelta64(6, "h")).resample(time="1D")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda p: 1000 * p.resample(time="1D").sum(), "rain at 00 UTC"),
        (lambda p: p.resample(time="1D").sum(), "in metres"),
        (lambda p: _shifted(p).sum(), "in metres"),
        (lambda p: 1000 * _shifted(p).mean(), "averaged the four sums"),
        (lambda p: 4000 * daily_precipitation(p) / 1000, "four times too large"),
        (lambda p: 1000 * _shifted(p).sum(), "fewer than four steps"),
        (
            lambda p: daily_precipitation(p).assign_coords(time=daily_precipitation(p).time + np.timedelta64(1, "D")),
            "labelled 2001-03-02 00 UTC",
        ),
        (
            lambda p: 1000 * p.isel(time=slice(1, None)).coarsen(time=4, boundary="trim").sum(),
            "labelled 2001-03-01 15 UTC",
        ),
        (lambda p: 1000 * _later(p).sum().where(_later(p).count() == 4, drop=True), "moved the times later"),
        (lambda p: 1000 * p, "Not the expected"),
        (lambda p: 1000 * p.sum("time"), "with the dimension time"),
    ],
)
def test_daily_precipitation(function, words):
    if words == "Not the expected":
        verdict = check.daily_precipitation(function)
        assert verdict.state == "wrong"
        assert "your numbers there are 1, 3, 9, 27, …" in verdict.sentence
        return
    says(check.daily_precipitation, function, words)


# ---------------------------------------------------------------- parity


@pytest.fixture(scope="module")
def year():
    record = check._calendar_world()
    for name in record.data_vars:
        record[name].attrs = {"units": "K"}
    return record


def test_parity(year):
    verdict = check.parity(month_hour_mean, anomaly, year)
    assert verdict.ok, verdict


def test_parity_of_stubs_is_not_yet(year):
    assert check.parity(lambda r: None, anomaly, year).state == "not yet"
    assert check.parity(month_hour_mean, lambda r, c: None, year).state == "not yet"


@pytest.mark.parametrize(
    ("climatology", "departure", "words"),
    [
        (lambda r: month_hour_mean(r) + 1, anomaly, "annual means of each hour differ"),
        (month_hour_mean, lambda r, c: r - c.mean(), "should be zero everywhere"),
        (month_hour_mean, lambda r, c: r.groupby("time.month") - c.mean("hour"), "should be zero everywhere"),
        (month_hour_mean, lambda r, c: -anomaly(r, c), "correlate only"),
        (month_hour_mean, lambda r, c: 0 * anomaly(r, c), "correlate only"),
        (lambda r: r.groupby("time.month").mean(), lambda r, c: r, "hour"),
    ],
)
def test_parity_fails(year, climatology, departure, words):
    verdict = check.parity(climatology, departure, year)
    assert not verdict.ok
    assert words in verdict.sentence
