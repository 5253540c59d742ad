"""Checkers of the chapter *Start here*."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import xarray as xr

from ._environment import Environment, environment
from .verdict import Verdict, attempt, checker, right, wrong

__all__ = [
    "Environment",
    "at_place",
    "environment",
    "hours_between",
    "kelvin_to_celsius",
    "last_useful_lead",
    "to_tensor",
]


@checker
def kelvin_to_celsius(function: Callable) -> Verdict:
    """`kelvin_to_celsius(field)` → the field in °C: attributes kept, units set, the input untouched."""
    attrs = {"units": "K", "long_name": "2 m temperature"}
    field = xr.DataArray([[273.15, 300.0], [250.0, 280.5]], dims=("lat", "lon"), name="t2m", attrs=attrs)
    before = field.copy(deep=True)
    before.attrs = dict(attrs)
    answer = attempt(function, field)
    if not isinstance(answer, xr.DataArray):
        return wrong(f"Expected an xarray.DataArray, got {type(answer).__name__}.", "Do the arithmetic on the field.")
    if not field.identical(before):
        return wrong(
            "Your function changed the field that it was given.", "Make a new one: no `-=`, no new attributes."
        )
    if np.allclose(answer, before + 273.15):
        return wrong("You added 273.15; water freezes at 273.15 K, which is 0 °C.", "What must become of 273.15?")
    if np.allclose(answer, before - 273):
        return wrong("Your values are 0.15 too high: you took off 273.", "0 °C is 273.15 K.")
    if not np.allclose(answer, before - 273.15):
        return wrong("The values are not those in °C.", "Try it on a field of 273.15 K by hand.")
    if "units" not in answer.attrs and "long_name" not in answer.attrs:
        return wrong(
            "The attributes are lost.", "`assign_attrs` takes a dictionary: `**field.attrs`, then the new units."
        )
    if answer.attrs.get("units") == "K":
        return wrong("The numbers are in °C, and the attribute `units` still says K.", "Set it on the new field.")
    if answer.attrs.get("units") != "degC":
        return wrong(f"Expected the units 'degC', got {answer.attrs.get('units')!r}.", "The docstring asks for `degC`.")
    if answer.attrs.get("long_name") != attrs["long_name"]:
        return wrong("The units are right, but `long_name` is lost.", "Keep the other attributes as they were.")
    return right("In °C, and the units say so. You know how a check works.")


@checker
def hours_between(function: Callable) -> Verdict:
    """`hours_between(initial_time, valid_time)` → the lead time in hours, a number."""
    initial = np.datetime64("1986-02-20T06", "ns")
    answer = attempt(function, initial, np.datetime64("1986-02-23T18", "ns"))
    if isinstance(answer, np.timedelta64):
        return wrong("You return a numpy.timedelta64, not a number.", "Divide it by one hour: np.timedelta64(1, 'h').")
    got = float(answer)
    for value, mistake, hint in (
        (-84.0, "Your lead time is negative.", "A forecast looks forward: valid time minus initial time."),
        (12.0, "You compare the hours of the day and forget the days between.", "Subtract the whole times."),
        (3.5, "Your answer is in days.", "By what do you divide the difference?"),
        (84 * 3600.0, "Your answer is in seconds.", "By what do you divide the difference?"),
        (84 * 3600e9, "Your answer is in nanoseconds, the unit in which xarray stores time.", "Divide, do not cast."),
        (72.0, "You lost the part of a day.", "Divide by one hour, not by whole days."),
    ):
        if np.isclose(got, value):
            return wrong(mistake, hint)
    if not np.isclose(got, 84.0):
        return wrong(f"From 20 February 06 UTC to 23 February 18 UTC are 84 hours, not {got:g}.", "Count them by hand.")
    half = float(attempt(function, initial, np.datetime64("1986-02-20T07:30", "ns")))
    if not np.isclose(half, 1.5):
        return wrong(f"From 06:00 to 07:30 is 1.5 hours, not {half:g}: you round.", "Use `/`, not `//` or `int`.")
    if not np.isclose(float(attempt(function, np.datetime64("1986-02-28", "D"), np.datetime64("1986-03-01", "D"))), 24):
        return wrong(
            "It works for times in nanoseconds only, not for whole days.", "Divide, do not cast to int or float."
        )
    return right("Lead time is valid time minus initial time, in hours.")


@checker
def to_tensor(function: Callable) -> Verdict:
    """`to_tensor(ds, names)` → float32 tensor (B, V, H, W), variables in the order of `names`."""
    import torch

    ds, expected = _small_world()
    # Neither in alphabetical order nor in the dataset's, nor one of these backwards.
    names = ["v10", "z500", "t2m"]
    answer = attempt(_unequal_shapes_returned(function), ds, names)
    if isinstance(answer, Exception):
        return wrong(
            "Your arrays have different shapes: one variable here is stored as (lat, lon, time).",
            "`transpose` each by name first.",
        )
    if isinstance(answer, (np.ndarray, xr.DataArray)):
        return wrong(f"You return a {type(answer).__name__}, not a tensor.", "torch.from_numpy, or torch.as_tensor.")
    if not isinstance(answer, torch.Tensor):
        return wrong(f"Expected a torch.Tensor, got {type(answer).__name__}.", "Stack the arrays, then make a tensor.")
    got, letters = tuple(answer.shape), {3: "V", 6: "B", 4: "H", 5: "W"}
    if got != (6, 3, 4, 5):
        if answer.ndim == 4 and sorted(got) == [3, 4, 5, 6]:
            order = ", ".join(letters[n] for n in got)
            hint = "Look at the argument `axis` of np.stack."
            if got.index(4) > got.index(5):
                hint = "`transpose` each variable by name first: time, lat, lon."
            return wrong(f"Your axes are ({order}), not (B, V, H, W).", hint)
        if answer.ndim == 4 and got[1] == len(ds.data_vars):
            return wrong("You took all variables of the dataset.", "Only those in `names`, in their order.")
        return wrong(
            f"Expected the shape (6, 3, 4, 5) for 6 times, 3 variables, 4 × 5 points, got {got}.", "Print shapes."
        )
    values = answer.detach().double().cpu().numpy()
    truth = np.stack([expected[n] for n in names], axis=1)
    if not np.allclose(values, truth):
        if any(np.allclose(values, truth[:, list(order)]) for order in itertools.permutations(range(len(names)))):
            return _other_order()
        if np.allclose(np.sort(values, axis=None), np.sort(truth, axis=None)):
            return wrong(
                "The shape is right and the numbers are in the wrong places.",
                "Times, latitudes and longitudes stay as they were, and `reshape` does not move axes: `transpose` by name.",
            )
        return wrong("The values are not those of the dataset.", "Nothing has to be computed here, only put in order.")
    if answer.dtype != torch.float32:
        return wrong(
            f"The numbers are right, and their type is {answer.dtype}.", "Networks compute in float32: `.float()`."
        )
    if not np.allclose(np.asarray(attempt(function, ds, names[::-1])), truth[:, ::-1]):
        return _other_order()
    # The order of a set may be that of three names by chance, and of their reverse too; not that of nine.
    wide = xr.Dataset({f"{n}_{k}": ds[n] + 100 * k for k in (2, 0, 1) for n in names})
    wanted = np.stack([expected[n] + 100 * k for k in (2, 0, 1) for n in names], axis=1)
    if not np.allclose(np.asarray(attempt(function, wide, list(wide)[::-1])), wanted[:, ::-1]):
        return _other_order()
    return right("(B, V, H, W) in float32, channels in the order of the names: what every network of this book eats.")


def _other_order() -> Verdict:
    return wrong(
        "The variables are all there, and not in the order of `names`.",
        "Loop over `names` itself: the dataset, a sorted list and a set have orders of their own.",
    )


def _unequal_shapes_returned(function: Callable) -> Callable:
    """The function, which answers with the exception when it stacks arrays of different shapes."""
    if not callable(function):
        return function

    @functools.wraps(function)
    def answer(ds: xr.Dataset, names: list[str]) -> object:
        try:
            return function(ds, names)
        except (ValueError, RuntimeError) as error:  # of NumPy, of PyTorch
            if "same shape" in str(error) or "equal size" in str(error):
                return error
            raise

    return answer


@checker
def at_place(function: Callable) -> Verdict:
    """`at_place(field, time, lat, lon)` → the value at the nearest grid point, a float; the time must exist."""
    field = _small_world()[0]["z500"]
    time, other = field["time"].values[1], np.datetime64("1985-01-01T08", "ns")
    answer = attempt(function, field, time, 20.0, 80.0)
    if isinstance(answer, (xr.DataArray, np.ndarray)):
        return wrong(f"You return a {type(answer).__name__}, not a number.", "`float(...)` of it, or its `.item()`.")
    expected = float(field.isel(time=1, lat=2, lon=1))
    if not np.isclose(answer, expected):
        if any(np.isclose(answer, float(field.isel(time=t, lat=2, lon=1))) for t in (0, 2)):
            return wrong("The place is right and the time is another.", "Select the time that you were given.")
        if np.isclose(answer, float(field.isel(time=1).interp(lat=20.0, lon=80.0))):
            return wrong("You interpolate between points.", "Take the nearest point: `method='nearest'`.")
        return wrong(
            "It is not the value at the nearest point of 20° N, 80° E.", "`.sel` takes degrees, `.isel` indices."
        )
    west = attempt(function, field, time, -50.0, -80.0)
    if not np.isclose(west, float(field.isel(time=1, lat=0, lon=4))):
        return wrong(
            "80° W is given as -80, and you answer for Greenwich.", "This grid counts from 0 to 360: use `% 360`."
        )
    greenwich = attempt(function, field, time, 20.0, -1.0)
    if not np.isclose(greenwich, float(field.isel(time=1, lat=2, lon=0))):
        return wrong(
            "1° W is nearest to the point at 0°, and you answer with another.",
            "Longitude is a circle: how far is it from 359° to 0°?",
        )
    try:
        late = function(field, other, 20.0, 80.0)
    except Exception:
        return right("By name, at the nearest point, and no other hour is passed off as the one asked for.")
    return wrong(
        f"08 UTC is not in the record, and you answer {float(late):g}, the value of another hour.",
        "`method='nearest'` holds for everything in its call: select the time in a call of its own.",
    )


@checker
def last_useful_lead(function: Callable) -> Verdict:
    """`last_useful_lead(leads, forecast_rmse, climatology_rmse)` → hours; 0 when the forecast never beats climatology."""
    leads, climatology = np.array([6, 24, 72, 120, 168]), np.full(5, 100.0)

    def ask(*errors: float) -> float:
        return float(attempt(function, leads, np.array(errors), climatology))

    got = ask(20.0, 60.0, 90.0, 110.0, 120.0)
    for value, mistake, hint in (
        (120, "120 h is the first lead at which the forecast has lost.", "One lead before."),
        (168, "At 168 h the error of this forecast is larger than the climatology's.", "Smaller error is better."),
        (2, "You return the index of the lead time.", "What is `leads` at that index?"),
        (3, "You return how many leads are useful.", "Which lead time is the last of them?"),
        (6, "6 h is the first useful lead.", "You are asked for the last."),
    ):
        if got == value:
            return wrong(mistake, hint)
    if got != 72:
        return wrong(f"Errors 20, 60, 90, 110, 120 against 100 are useful up to 72 h, not {got:g}.", "Draw the curve.")
    if ask(20.0, 60.0, 110.0, 90.0, 120.0) == 120:
        return wrong(
            "The forecast lost at 72 h and came back by chance at 120 h.", "Stop at the first lead that fails."
        )
    if ask(20.0, 60.0, 110.0, 90.0, 120.0) != 24:
        return wrong("A forecast that loses at 72 h is useful up to 24 h.", "Stop at the first lead that fails.")
    if ask(110.0, 120.0, 120.0, 120.0, 120.0) != 0:
        return wrong("A forecast that never beats the climatology is useful for 0 h.", "Start from 0, before any lead.")
    if ask(20.0, 60.0, 90.0, 95.0, 99.0) != 168:
        return wrong(
            "A forecast that always beats the climatology is useful up to the last lead.", "Does the loop end?"
        )
    if ask(20.0, 100.0, 110.0, 120.0, 120.0) != 6:
        return wrong("At 24 h the errors are equal, and you count that as useful.", "Better means strictly smaller.")
    return right("The forecast is useful as long as it beats the climatology at every lead up to then.")


def _small_world() -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """Four variables (B, H, W) = (6, 4, 5), one stored with its axes in another order; no two numbers are equal."""
    rng = np.random.default_rng(0)
    names = ("z500", "t2m", "u10", "v10")
    values = {name: rng.permutation(120).reshape(6, 4, 5) + 200.0 * i for i, name in enumerate(names)}
    coords = {
        "time": np.datetime64("1985-01-01T00", "ns") + np.arange(6) * np.timedelta64(6, "h"),
        "lat": [-60.0, -20.0, 17.0, 60.0],
        "lon": [0.0, 72.0, 144.0, 216.0, 288.0],
    }
    ds = xr.Dataset({name: (("time", "lat", "lon"), value) for name, value in values.items()}, coords)
    ds["v10"] = ds["v10"].transpose("lat", "lon", "time")
    return ds, values
