"""The checkers of *Start here*: the solution passes; the stub and every usual mistake fail, each with its own sentence."""

import numpy as np
import pytest
import torch
import xarray as xr

from climax_lite.check import _environment, start_here
from climax_lite.data import sources

# ---------------------------------------------------------------- solutions


def kelvin_to_celsius(field):
    return (field - 273.15).assign_attrs(**{**field.attrs, "units": "degC"})


def hours_between(initial_time, valid_time):
    return (valid_time - initial_time) / np.timedelta64(1, "h")


def to_tensor(ds, names):
    arrays = [ds[name].transpose("time", "lat", "lon").values for name in names]
    return torch.from_numpy(np.stack(arrays, axis=1)).float()


def at_place(field, time, lat, lon):
    apart = np.abs((field.lon.values - lon + 180) % 360 - 180)
    return float(field.sel(time=time).sel(lat=lat, method="nearest").isel(lon=int(apart.argmin())))


def last_useful_lead(leads, forecast_rmse, climatology_rmse):
    last = 0
    for lead, mine, theirs in zip(leads, forecast_rmse, climatology_rmse, strict=True):
        if mine >= theirs:
            break
        last = lead
    return last


SOLUTIONS = [kelvin_to_celsius, hours_between, to_tensor, at_place, last_useful_lead]


def ask(solution, answer):
    return getattr(start_here, solution.__name__)(answer)


@pytest.mark.parametrize("solution", SOLUTIONS)
def test_solutions_pass(solution):
    assert ask(solution, solution).ok


@pytest.mark.parametrize("solution", SOLUTIONS)
def test_stubs_are_not_yet_solved(solution):
    for stub in (lambda *_: None, lambda *_: ...):
        verdict = ask(solution, stub)
        assert verdict.state == "not yet"
        assert "Not yet" in verdict.sentence


def raises(*_):
    raise RuntimeError("out of coffee")


@pytest.mark.parametrize("solution", SOLUTIONS)
@pytest.mark.parametrize("garbage", [raises, lambda *_: "text", lambda *_: [1, 2], lambda: 3, 42, None, object()])
def test_garbage_is_answered_with_a_sentence(solution, garbage):
    verdict = ask(solution, garbage)
    assert not verdict.ok
    assert len(verdict.sentence) > 20


def test_other_right_answers_pass():
    assert start_here.hours_between(lambda a, b: (b - a) / np.timedelta64(1, "s") / 3600).ok
    assert start_here.to_tensor(lambda ds, names: torch.stack([torch.tensor(ds[n].transpose("time", "lat", "lon").values) for n in names], dim=1).float()).ok  # fmt: skip
    assert start_here.to_tensor(lambda ds, names: torch.tensor(ds[names].to_array().transpose("time", "variable", "lat", "lon").values).float()).ok  # fmt: skip


# ---------------------------------------------------------------- mistakes


def in_place(field):
    field -= 273.15
    return field.assign_attrs(units="degC")


def sets_attributes_of_the_input(field):
    field.attrs["units"] = "degC"
    return (field - 273.15).assign_attrs(**field.attrs)


def without_attributes(field):
    return xr.DataArray(field.values - 273.15, dims=field.dims)


def only_units(field):
    answer = without_attributes(field)
    answer.attrs["units"] = "degC"
    return answer


def still_kelvin(field):
    return (field - 273.15).assign_attrs(**field.attrs)


def in_dataset_order(ds, names):
    return to_tensor(ds, [name for name in ds.data_vars if name in names])


def reshaped(ds, names):
    array = np.stack([ds[name].transpose("time", "lat", "lon").values for name in names])
    return torch.from_numpy(array.reshape(6, 3, 4, 5)).float()


def trusting_the_stored_axes(ds, names):
    return torch.from_numpy(np.stack([ds[name].values.reshape(6, 4, 5) for name in names], axis=1)).float()


def as_stored(ds, names):
    return torch.from_numpy(np.stack([ds[name].values for name in names], axis=1)).float()


def as_stored_in_torch(ds, names):
    return torch.stack([torch.tensor(ds[name].values) for name in names], dim=1).float()


def with_a_bug(ds, names):
    raise ValueError("out of coffee")


def prints_only(ds, names):
    print(names)


def one_fixed_order(ds, names):
    return to_tensor(ds, ["v10", "z500", "t2m"])  # as a set may give it


def on_a_line(field, time, lat, lon):
    return float(field.sel(time=time).sel(lat=lat, lon=lon % 360, method="nearest"))


def stacked_at(axis):
    return lambda ds, names: torch.from_numpy(
        np.stack([ds[n].transpose("time", "lat", "lon").values for n in names], axis)
    )


def nearest_time(field, time, lat, lon):
    return at_place(field, field.sel(time=time, method="nearest").time, lat, lon)


def best_of(leads, mine, theirs):
    return max([lead for lead, m, t in zip(leads, mine, theirs, strict=True) if m < t], default=0)


def stops_at(leads, mine, theirs, give):
    for i, (m, t) in enumerate(zip(mine, theirs, strict=True)):
        if m >= t:
            return give(leads, i)
    return leads[-1]


def with_ties(leads, mine, theirs):
    last = 0
    for lead, m, t in zip(leads, mine, theirs, strict=True):
        if m > t:
            break
        last = lead
    return last


MISTAKES = [
    (kelvin_to_celsius, lambda f: kelvin_to_celsius(f).values, "xarray.DataArray, got ndarray"),
    (kelvin_to_celsius, in_place, "changed the field"),
    (kelvin_to_celsius, sets_attributes_of_the_input, "changed the field"),
    (kelvin_to_celsius, lambda f: f + 273.15, "added 273.15"),
    (kelvin_to_celsius, lambda f: kelvin_to_celsius(f) + 0.15, "0.15 too high"),
    (kelvin_to_celsius, lambda f: f * 9 / 5 - 459.67, "not those in °C"),
    (kelvin_to_celsius, without_attributes, "attributes are lost"),
    (kelvin_to_celsius, only_units, "`long_name` is lost"),
    (kelvin_to_celsius, still_kelvin, "still says K"),
    (kelvin_to_celsius, lambda f: kelvin_to_celsius(f).assign_attrs(units="C"), "'degC', got 'C'"),
    (hours_between, lambda a, b: b - a, "timedelta64, not a number"),
    (hours_between, lambda a, b: hours_between(b, a), "negative"),
    (hours_between, lambda a, b: int(str(b)[11:13]) - int(str(a)[11:13]), "forget the days"),
    (hours_between, lambda a, b: (b - a) / np.timedelta64(1, "D"), "in days"),
    (hours_between, lambda a, b: (b - a) / np.timedelta64(1, "s"), "in seconds"),
    (hours_between, lambda a, b: (b - a).astype(float), "nanoseconds, the unit"),
    (hours_between, lambda a, b: (b - a).astype("timedelta64[D]").astype(int) * 24, "part of a day"),
    (hours_between, lambda a, b: (b - a) // np.timedelta64(1, "h"), "you round"),
    (hours_between, lambda a, b: (b - a).astype(float) / 3.6e12, "nanoseconds only"),
    (hours_between, lambda a, b: 7.0, "are 84 hours, not 7"),
    (to_tensor, lambda ds, names: to_tensor(ds, names).numpy(), "not a tensor"),
    (to_tensor, stacked_at(0), "(V, B, H, W)"),
    (to_tensor, stacked_at(-1), "(B, H, W, V)"),
    (to_tensor, lambda ds, names: to_tensor(ds, names).transpose(2, 3), "(B, V, W, H)"),
    (to_tensor, in_dataset_order, "not in the order of `names`"),
    (to_tensor, lambda ds, names: to_tensor(ds, sorted(names)), "not in the order of `names`"),
    (to_tensor, lambda ds, names: to_tensor(ds, names[::-1]), "not in the order of `names`"),
    (to_tensor, lambda ds, names: to_tensor(ds, set(names)), "not in the order of `names`"),
    (to_tensor, one_fixed_order, "not in the order of `names`"),
    (to_tensor, as_stored, "one variable here is stored as (lat, lon, time)"),
    (to_tensor, as_stored_in_torch, "one variable here is stored as (lat, lon, time)"),
    (to_tensor, with_a_bug, "stopped with ValueError"),
    (to_tensor, prints_only, "returned None"),
    (to_tensor, lambda ds, names: to_tensor(ds, list(ds.data_vars)), "all variables"),
    (to_tensor, lambda ds, names: to_tensor(ds, names)[0], "shape (6, 3, 4, 5)"),
    (to_tensor, reshaped, "wrong places"),
    (to_tensor, trusting_the_stored_axes, "wrong places"),
    (to_tensor, lambda ds, names: to_tensor(ds, names).flip(2), "wrong places"),
    (to_tensor, lambda ds, names: to_tensor(ds, names).flip(0), "wrong places"),
    (to_tensor, lambda ds, names: to_tensor(ds, names).double(), "torch.float64"),
    (to_tensor, lambda ds, names: to_tensor(ds, names) - 1, "not those of the dataset"),
    (at_place, lambda f, t, lat, lon: f.sel(time=t).sel(lat=lat, lon=lon % 360, method="nearest"), "DataArray, not a"),
    (at_place, on_a_line, "1° W is nearest"),
    (at_place, nearest_time, "08 UTC is not in the record"),
    (at_place, lambda f, t, lat, lon: at_place(f, f.time.values[0], lat, lon), "the time is another"),
    (at_place, lambda f, t, lat, lon: at_place(f, t, lat, max(lon, 0)), "answer for Greenwich"),
    (at_place, lambda f, t, lat, lon: float(f.sel(time=t).interp(lat=lat, lon=lon % 360)), "interpolate"),
    (at_place, lambda f, t, lat, lon: at_place(f, t, lon % 90, lat), "not the value at the nearest"),
    (last_useful_lead, best_of, "came back by chance"),
    (last_useful_lead, lambda *a: stops_at(*a, give=lambda leads, i: leads[i]), "first lead at which the forecast has lost"),
    (last_useful_lead, lambda *a: stops_at(*a, give=lambda leads, i: i - 1), "the index"),
    (last_useful_lead, lambda *a: stops_at(*a, give=lambda leads, i: i), "how many leads"),
    (last_useful_lead, lambda *a: stops_at(*a, give=lambda leads, i: leads[i - 1]), "useful for 0 h"),
    (last_useful_lead, lambda leads, mine, theirs: leads[-1], "larger than the climatology's"),
    (last_useful_lead, lambda leads, mine, theirs: leads[0], "first useful lead"),
    (last_useful_lead, with_ties, "errors are equal"),
    (last_useful_lead, lambda *a: min(last_useful_lead(*a), 120), "up to the last lead"),
]  # fmt: skip


@pytest.mark.parametrize(("solution", "mistake", "words"), MISTAKES)
def test_usual_mistakes_are_named(solution, mistake, words):
    verdict = ask(solution, mistake)
    assert verdict.state == "wrong"
    assert words in verdict.sentence
    assert verdict.hint


def test_hints_fit_the_mistake():
    def exchanged(ds, names):
        return to_tensor(ds, names).transpose(2, 3)

    assert "by name first" in start_here.to_tensor(exchanged).hint
    assert "`axis` of np.stack" in start_here.to_tensor(stacked_at(0)).hint
    assert "does not move axes" in start_here.to_tensor(reshaped).hint
    assert "circle" in start_here.at_place(on_a_line).hint


# ---------------------------------------------------------------- environment


def lines(environment):
    return {line.what: line for line in environment.lines}


def test_here_everything_is_found():
    found = start_here.environment()
    told = lines(found)
    assert told["Python"].ok
    assert told["torch"].ok
    assert "GPU" in told
    assert "torch" in repr(found)
    assert "<table>" in found._repr_html_()


def test_every_failing_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIMAX_LITE_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "open", lambda name: sources.packed.open_files([tmp_path / "none.cxp"]))
    monkeypatch.setattr(_environment, "PACKAGES", {"numpy": ("99.0", True), "no_such_package": ("1.0", True)})
    monkeypatch.setattr(_environment, "_memory_gb", lambda: 1.0)
    found = start_here.environment()
    failed = [line for line in found.lines if line.ok is False]
    assert {"numpy", "no_such_package", "coastlines", "memory", "data: reference"} <= {line.what for line in failed}
    assert all(line.advice for line in failed)
    assert not found.ok
    assert "To do: numpy" in found.summary


def test_a_changed_file_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "1985.cxp").write_bytes(b"not what it was")
    registry = tmp_path / "registry.txt"
    registry.write_text("reference/1985.cxp sha256:" + "0" * 64 + "\n")
    monkeypatch.setenv("CLIMAX_LITE_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "REGISTRY", registry)
    told = lines(start_here.environment())
    assert "checksum differs" in told["data: reference/1985.cxp"].found
    assert told["data: reference"].ok is False


@pytest.mark.parametrize(("version", "numbers"), [("2.13.0+cpu", (2, 13)), ("2024.7", (2024, 7)), ("3.0rc1", (3, 0))])
def test_versions_are_compared_by_their_numbers(version, numbers):
    assert _environment._numbers(version) == numbers
