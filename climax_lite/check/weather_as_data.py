"""Checkers of *Weather as data*: small made-up atmospheres whose answers are known, and the mistakes that are usual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from ..baselines import Climatology
from .answers import Mistake, array, expect
from .verdict import Verdict, attempt, checker, right, wrong

R_DRY = 287.05
GRAVITY = 9.80665


@checker
def wind_speed(function: Callable) -> Verdict:
    """`wind_speed(u, v)`: the length of the wind vector, element by element."""
    u, v = np.array([[3.0, -6.0, 0.0], [5.0, -8.0, 1.0]]), np.array([[4.0, 8.0, -2.0], [12.0, -15.0, 0.0]])
    speed = np.asarray(attempt(function, *(xr.DataArray(x, dims=("lat", "lon")) for x in (u, v))), dtype=float)
    if speed.shape != u.shape:
        return wrong(
            f"Expected one speed for each pair of components, so the shape {u.shape}, and got {speed.shape}.",
            "Work element by element: no sum and no norm over the whole map.",
        )
    hint = "The speed is the length of the arrow (u, v)."
    usual: list[Mistake] = [
        (u + v, "You added the components. A wind of 3 m/s eastwards and 4 m/s northwards blows at 5 m/s, not at 7.", hint),
        (abs(u) + abs(v), "You added the sizes of the components. They are at right angles: 3 and 4 make 5, not 7.", hint),
        (u**2 + v**2, "This is the square of the speed: its unit is m² s⁻².", hint),
        (np.arctan2(v, u), "This is an angle, not a speed.", hint),
        (np.degrees(np.arctan2(v, u)), "This is the direction in degrees, not a speed.", hint),
        (np.sqrt((u**2 + v**2) / 2), "You averaged the squares: a wind with equal components of 1 m/s has the speed √2 m/s, not 1.", hint),
    ]  # fmt: skip
    return _compare(speed, np.hypot(u, v), usual, hint, "Speed is the length of the wind vector, point by point.")


@checker
def layer_mean_temperature(function: Callable) -> Verdict:
    """`layer_mean_temperature(phi_top, phi_bottom, p_top, p_bottom)`: the hypsometric equation solved for the temperature."""
    warmth, p_top, p_bottom = np.array([[250.0, 271.5, 288.0]]), 300.0, 800.0
    phi_bottom = np.array([[12000.0, 18500.0, 19250.0]])
    depth = R_DRY * warmth * np.log(p_bottom / p_top)
    answer = np.asarray(attempt(function, phi_bottom + depth, phi_bottom, p_top, p_bottom), dtype=float)
    hint = "Solve the numbered equation of the thickness for the mean temperature, and keep the unit m² s⁻² of the geopotential in mind."
    usual: list[Mistake] = [
        (warmth * GRAVITY, "You took the geopotential for a height: the values are 9.8 times too large.", hint),
        (warmth / GRAVITY, "You divided the geopotential by g. Its thickness is R·T·ln(p ratio) as it stands: no g is needed.", hint),
        (-warmth, "The sign is turned round: the temperature comes out below zero kelvin.", hint),
        (warmth * np.log(10), "You used the logarithm to base 10; the atmosphere uses the natural one.", hint),
        (depth / (R_DRY * p_bottom / p_top), "You used the ratio of the pressures without its logarithm.", hint),
        (depth / (R_DRY * (p_bottom - p_top)), "You used the difference of the pressures; the thickness goes with the logarithm of their ratio.", hint),
        (warmth * np.log(p_bottom / p_top) ** 2, "You multiplied by the logarithm: a / b * c is (a / b) · c. Put R·ln in brackets.", hint),
        (warmth * R_DRY, "The gas constant is missing: this is R times the temperature.", hint),
        ((phi_bottom + depth) / (R_DRY * np.log(p_bottom / p_top)), "You used the geopotential of one surface; a layer has two.", hint),
        (warmth - 273.15, "This is in degrees Celsius. Keep to kelvin, as the data do.", hint),
    ]  # fmt: skip
    return _compare(
        answer,
        warmth,
        usual,
        hint,
        "A thick layer is a warm layer: thickness and mean temperature are one quantity in two units.",
        tolerance=2e-3,
    )


@checker
def to_tensor(function: Callable) -> Verdict:
    """`to_tensor(ds, variables)`: float32 (T, V, H, W) in the order asked for."""
    ds = _small_world()
    names = ["orography", "temperature_850", "geopotential_500"]
    tensor = attempt(function, ds, names)
    if isinstance(tensor, (xr.DataArray, xr.Dataset, np.ndarray)):
        return wrong(
            f"Expected a torch.Tensor, got {type(tensor).__name__}.", "The last step goes from NumPy to PyTorch."
        )
    if not isinstance(tensor, torch.Tensor):
        return wrong(f"Expected one torch.Tensor, got {type(tensor).__name__}.", "All variables go into one tensor.")
    shape, expected = tuple(tensor.shape), (3, 3, 4, 5)
    columns = [ds[n].broadcast_like(ds["temperature_850"]).transpose("time", "lat", "lon").values for n in names]
    truth = torch.as_tensor(np.stack(columns, axis=1), dtype=torch.float32)
    if shape == (3, len(ds.data_vars), 4, 5):
        return wrong(
            f"Expected only the variables asked for, {len(names)} of them, and got all {len(ds.data_vars)} of the dataset.",
            "Pick the names in `variables` before you stack.",
        )
    if sorted(shape) != sorted(expected) or shape[2:] == (5, 4):
        hint = "Name the order of the dimensions once, with transpose: variables of one dataset may disagree about it."
        return wrong(f"Expected the shape (T, V, H, W) = {expected}, got {shape}.", hint)
    if shape != expected:
        hint = "Time and variable are the first two: think of what a batch of states looks like."
        return wrong(
            f"Expected the shape (T, V, H, W) = {expected}, got {shape}: the dimensions are in another order.", hint
        )
    values = tensor.detach().to(torch.float32)
    if torch.equal(values, truth):
        if tensor.dtype != torch.float32:
            return wrong(
                f"The numbers are right, and the type is {tensor.dtype}; networks compute in torch.float32.",
                "Give the dtype when you make the tensor.",
            )
        return right("From names to numbers: (T, V, H, W), in the order that you asked for.")
    if torch.equal(values, truth.transpose(0, 1)):
        return wrong(
            "The shape is right by chance, but time and variable have changed places.", "T comes first, V second."
        )
    if torch.equal(values, truth.flip(2)):
        return wrong(
            "The maps are upside down: latitude must stay from south to north.",
            "Leave the order along latitude as the dataset has it.",
        )
    if torch.equal(values.sort(dim=1).values, truth.sort(dim=1).values):
        hint = "A dataset and a sorted list have their own order; the argument has the one that counts."
        return wrong("The variables are there, in another order than the one asked for.", hint)
    if torch.equal(values[:, 1:], truth[:, 1:]) and torch.equal(values[0], truth[0]):
        return wrong(
            "The variable without time, orography, is right at the first time only.",
            "What does not change is the same at every time: repeat it.",
        )
    hint = "Swap dimensions by name. A reshape keeps the order of the numbers in memory and only cuts it differently."
    return wrong("The shape is right, but numbers stand at the wrong places.", hint)


@checker
def month_hour_mean(function: Callable) -> Verdict:
    """`month_hour_mean(record)`: the mean for each month and hour of day, dimensions month, hour, lat, lon."""
    record = _calendar_world()
    answer = _dataset(attempt(function, record))
    name = "2m_temperature"
    if name not in answer:
        return wrong(
            f"The variable {name} got lost; the result has {', '.join(map(str, answer.data_vars)) or 'none'}.",
            "Keep a Dataset.",
        )
    result = answer[name]
    dims, expected = set(result.dims), {"month", "hour", "lat", "lon"}
    if dims - expected:
        return wrong(
            f"Expected the dimensions month, hour, lat, lon, got {', '.join(map(str, result.dims))}.",
            "Two groupings, by month and by hour, one within the other; nothing else is left of time.",
        )
    if "hour" not in dims and "month" in dims:
        return wrong(
            "There is a mean for each month, but the hour of day was averaged away.",
            "Midday and midnight are two climates: make a group for each.",
        )
    if "month" not in dims and "hour" in dims:
        return wrong(
            "There is a mean for each hour, but the month was averaged away.", "Within each hour, group once more."
        )
    if not {"lat", "lon"} <= dims:
        return wrong(
            "You averaged over the map as well: every place has a climate of its own.", "Average over time only."
        )
    if dims != expected:
        return wrong("Month and hour are both gone: there is one mean over all times.", "One mean for each group.")
    for dim, labels in (("month", list(range(1, 13))), ("hour", [0, 6, 12, 18])):
        got = result[dim].values.tolist() if dim in result.coords else None
        if got is None or sorted(got) != labels:
            return wrong(
                f"Expected {dim} labelled {labels}, got {got}.",
                f"Later, states are looked up by `time.dt.{dim}`: the labels must be the same.",
            )
    truth = _month_hour_truth(record[name], np.mean)
    found = result.transpose("month", "hour", "lat", "lon").sortby(["month", "hour"]).values
    if np.allclose(found, found[:, :1]):
        return wrong(
            "Every hour has the same mean: day and night were averaged together.",
            "Take the means of each hour's states apart.",
        )
    hint = "Take one month and one hour and average by hand."
    usual: list[Mistake] = [
        (_month_hour_truth(record[name], np.sum), "These are sums: divide by how many there are, or take the mean.", hint),
        (_month_hour_truth(record[name], np.median), "These are medians; anomalies from a climatology must average to zero, so take the mean.", hint),
        (_month_hour_truth(record[name], lambda x, axis: x[0]), "These are the first values of each group, not their mean.", hint),
    ]  # fmt: skip
    return _compare(found, truth, usual, hint, "One climate for each month, hour and place.")


@checker
def anomaly(function: Callable) -> Verdict:
    """`anomaly(record, climatology)`: the record minus the climatology of its own month and hour."""
    record, name = _calendar_world().isel(time=slice(100, 140)), "2m_temperature"
    climatology = _made_up_climatology()
    answer = _dataset(attempt(function, record, climatology))[name]
    if set(answer.dims) != {"time", "lat", "lon"}:
        hint = "Give `sel` the months and hours as DataArrays that both have the dimension time: then they are matched pair by pair."
        return wrong(
            f"Expected the dimensions time, lat, lon, got {', '.join(map(str, answer.dims))}: every time met every month or hour.",
            hint,
        )
    c, x = climatology[name], record[name]
    months, hours = x.time.dt.month, x.time.dt.hour

    def minus(climate: xr.DataArray) -> np.ndarray:
        return (x - climate).transpose("time", "lat", "lon").values

    own = c.sel(month=months, hour=hours)
    hint = "Look one time up by hand: which month, which hour?"
    usual: list[Mistake] = [
        (-minus(own), "The sign is turned round: an anomaly is positive where it is warmer than usual.", hint),
        (minus(c.mean("hour").sel(month=months)), "You subtracted the mean over all hours: the diurnal cycle is still in the anomaly.", hint),
        (minus(c.mean("month").sel(hour=hours)), "You subtracted the mean over all months: the seasons are still in the anomaly.", hint),
        (minus(c.mean(("month", "hour"))), "You subtracted the mean of the whole climatology: seasons and hours are still in the anomaly.", hint),
        (minus(c.isel(month=months % 12).sel(hour=hours)), "You are one month late: January is labelled 1, but its position is 0.", hint),
        ((x + own).transpose("time", "lat", "lon").values, "You added the climatology.", hint),
        ((x / own).transpose("time", "lat", "lon").values, "You divided by the climatology; an anomaly is a difference.", hint),
    ]  # fmt: skip
    found = answer.transpose("time", "lat", "lon").values
    return _compare(found, minus(own), usual, hint, "What is left is the weather.")


@checker
def parity(month_hour_mean: Callable, anomaly: Callable, record: xr.Dataset) -> Verdict:
    """The learner's climatology and anomalies of a real record against `climax_lite.baselines.Climatology`."""
    mine = _dataset(attempt(month_hour_mean, record))
    rest = _dataset(attempt(anomaly, record, mine))
    package = Climatology.fit(record, harmonics=0)
    times = record["time"]
    groups = times.dt.month.values * 100 + times.dt.hour.values
    steps = xr.DataArray(np.ones(times.size), coords={"time": times}).groupby("time.month").sum()
    worst, left, alike = 0.0, 0.0, 1.0
    for name in record.data_vars:
        year = mine[name].weighted(steps).mean("month").transpose("hour", "lat", "lon")
        theirs = package.coefficients[name].isel(harmonic=0)
        worst = max(worst, float(abs(year - theirs).max() / record[name].std()))
        departure = rest[name].transpose("time", "lat", "lon").values
        means = np.stack([departure[groups == group].mean(0) for group in np.unique(groups)])
        left = max(left, float(abs(means).max() / record[name].std()))
        smooth = Climatology.fit(record[[name]]).anomaly(record[[name]])[name]
        alike = float(np.minimum(alike, xr.corr(rest[name], smooth)))  # stays NaN, which `min` would drop
    if not worst <= 1e-3:
        return wrong(
            f"The annual means of each hour differ from the package's by up to {worst:.1e} standard deviations.",
            "Do the checks above pass?",
        )
    if not left <= 1e-3:
        return wrong(
            f"The mean of your anomalies over one month and hour reaches {left:.2g} standard deviations; it should be zero everywhere.",
            "Part of the calendar is still in them. Does the check of `anomaly` pass?",
        )
    if not alike >= 0.7:  # about 0.8 for 2 m temperature: within a month the season moves on
        return wrong(
            f"Your anomalies correlate only {alike:.2f} with those of the package.", "Does the check of `anomaly` pass?"
        )
    return right(
        f"The annual means of each hour equal the package's to {worst:.0e} standard deviations, and the anomalies correlate at {alike:.3f} or more."
    )


@checker
def local_solar_hour(function: Callable) -> Verdict:
    """`local_solar_hour(utc_hour, longitude)`: in [0, 24)."""
    hours, longitudes = np.array([0.0, 18.0, 12.0, 6.0, 0.0, 21.0]), np.array([180.0, 90.0, 270.0, 5.625, 359.0, 200.0])
    pairs = zip(hours, longitudes, strict=True)
    answer = np.array([np.asarray(attempt(function, float(h), float(lon)), dtype=float) for h, lon in pairs])
    late = hours + longitudes / 15
    hint = "Try 00 UTC at 180 degrees: it must be noon."
    usual: list[Mistake] = [
        ((hours - longitudes / 15) % 24, "The sign is turned round: the sun rises in the east first, so clocks there are ahead.", hint),
        (late, "Some hours are 24 or more: after 24 the next day begins at 0.", hint),
        ((hours + longitudes / 24) % 24, "The Earth turns 15 degrees an hour (360 in 24), not 24.", hint),
        (np.floor(late) % 24, "These are whole hours; the sun does not wait for time zones. Keep the fraction.", hint),
        (np.round(late) % 24, "These are rounded hours; the sun does not wait for time zones. Keep the fraction.", hint),
        (hours, "This is UTC: the longitude changed nothing.", hint),
    ]  # fmt: skip
    return _compare(answer, late % 24, usual, hint, "Local solar time: noon is when the sun is highest.")


@checker
def daily_precipitation(function: Callable) -> Verdict:
    """`daily_precipitation(precipitation)`: mm on each whole day, from sums in m over the six hours that end at `time`."""
    times = np.datetime64("2001-03-01T00", "ns") + np.arange(14) * np.timedelta64(6, "h")
    metres = xr.DataArray(
        (3.0 ** np.arange(14))[:, None, None] * np.array([[1.0, 3.0]]) * 1e-3,
        {"time": times, "lat": [0.0], "lon": [0.0, 90.0]},
        ("time", "lat", "lon"),
    )
    days = attempt(function, metres)
    if not isinstance(days, xr.DataArray) or "time" not in days.dims:
        return wrong("Expected a DataArray with the dimension time.", "Group the steps by day and sum each group.")
    values = days.transpose("time", "lat", "lon").values[:, 0, 0]
    whole = 3.0 * 40 * 81.0 ** np.arange(3)  # the steps 1 to 4, 5 to 8, 9 to 12
    early = whole / 3
    for name, unit in (
        ("in metres; a day's rain is given in mm", 1e-3),
        ("four times too large: a sum over a day is already per day", 4.0),
    ):
        for candidate in (whole, early):
            if len(values) in (3, 4, 5) and np.isclose(values, candidate[0] * unit).any():
                return wrong(f"The numbers are {name}.", "1 m is 1000 mm, and a day has four sums of six hours.")
    if np.isclose(values, whole[0] * 9).any():
        hint = "A sum stored at 06 UTC began to fall at 00 UTC: is its beginning before its time, or after?"
        return wrong("You moved the times later. The six hours lie before the time of a sum.", hint)
    if np.isclose(values, early[0]).any():
        hint = "Ask of the value at 00 UTC: over which six hours did that rain fall?"
        return wrong("The rain at 00 UTC was counted for the day that begins then. It fell on the day before.", hint)
    if np.isclose(values, whole[0] / 4).any():
        return wrong("You averaged the four sums of a day. The rain of a day is their total.", "Sum, do not average.")
    if len(values) > len(whole) and all(np.isclose(values, day).any() for day in whole):
        return wrong(
            f"Expected the 3 whole days, got {len(values)}: days with fewer than four steps are in it.",
            "Count the steps of each day.",
        )
    if values.shape == whole.shape and np.allclose(values, whole):
        label = days["time"].values[0]
        if label != np.datetime64("2001-03-01"):
            return wrong(
                f"The sums are right, but the first is labelled {str(label)[:13].replace('T', ' ')} UTC and fell from 2001-03-01 00 UTC on.",
                "Label a day by its beginning.",
            )
        return right("Whole days, in mm, each with the rain that fell on it.")
    numbers = ", ".join(f"{value:.0f}" for value in values[:4]) + (", …" if len(values) > 4 else "")
    return wrong(
        f"On the first whole day {whole[0]:.0f} mm fell at the first place; your numbers there are {numbers or 'none'}.",
        "Shift the time to the start of each sum first.",
    )


# ---------------------------------------------------------------- small worlds and a comparison


def _compare(
    found: Any, truth: np.ndarray, usual: list[Mistake], hint: str, praise: str, tolerance: float = 1e-5
) -> Verdict:
    """Right where `found` is the truth; otherwise the usual mistake that it is, or the number that is furthest off."""
    found = array(found, truth.shape, "the numbers of the docstring", hint, finite=hint)
    worst = np.unravel_index(np.argmax(abs(found - truth)), truth.shape)
    otherwise = f"Not the expected numbers: {found[worst]:.4g} where {truth[worst]:.4g} is right."
    expect(found, truth, usual, otherwise, hint, rtol=tolerance)
    return right(praise)


def _dataset(answer: Any) -> xr.Dataset:
    """The answer, if it is a Dataset; `checker` makes a sentence of the error."""
    if not isinstance(answer, xr.Dataset):
        raise TypeError(f"expected an xarray.Dataset, got {type(answer).__name__}")
    return answer


def _small_world() -> xr.Dataset:
    """Three times on a 4 x 5 grid; one variable has its dimensions in WeatherBench 2's order, and one has no time."""
    rng = np.random.default_rng(0)
    coords = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(3) * np.timedelta64(6, "h"),
        "lat": [-67.5, -22.5, 22.5, 67.5],
        "lon": np.arange(5) * 72.0,
    }
    data = {
        "geopotential_500": (("time", "lon", "lat"), rng.normal(size=(3, 5, 4))),
        "2m_temperature": (("time", "lat", "lon"), rng.normal(size=(3, 4, 5))),
        "orography": (("lat", "lon"), rng.normal(size=(4, 5))),
        "temperature_850": (("time", "lat", "lon"), rng.normal(size=(3, 4, 5))),
    }
    return xr.Dataset(data, coords)


def _calendar_world() -> xr.Dataset:
    """A year, six-hourly, 2 x 3 places, with seasons, hours, places and skewed weather all different."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(1460) * np.timedelta64(6, "h")
    t = xr.DataArray(times, dims="time", coords={"time": times})
    place = xr.DataArray(
        [[1.0, 2.0, 4.0], [7.0, 11.0, 16.0]], {"lat": [-45.0, 45.0], "lon": [0.0, 120.0, 240.0]}, ("lat", "lon")
    )
    weather = np.random.default_rng(1).exponential(3.0, (1460, 2, 3))
    season = 12 * np.cos(2 * np.pi * (t.dt.dayofyear - 30) / 365)
    x = t.dt.hour / 4 * place + 250 + season + weather
    return xr.Dataset({"2m_temperature": x.transpose("time", "lat", "lon")})


def _made_up_climatology() -> xr.Dataset:
    """Any numbers will do, as long as every month, hour and place has its own."""
    values = 250 + np.random.default_rng(2).normal(size=(12, 4, 2, 3))
    coords = {"month": np.arange(1, 13), "hour": [0, 6, 12, 18], "lat": [-45.0, 45.0], "lon": [0.0, 120.0, 240.0]}
    return xr.Dataset({"2m_temperature": (("month", "hour", "lat", "lon"), values)}, coords)


def _month_hour_truth(x: xr.DataArray, reduce: Callable) -> np.ndarray:
    months, hours = x.time.dt.month.values, x.time.dt.hour.values
    rows = [[reduce(x.values[(months == m) & (hours == h)], axis=0) for h in (0, 6, 12, 18)] for m in range(1, 13)]
    return np.array(rows)
