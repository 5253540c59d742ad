"""The door for data of the field: ERA5, WeatherBench, CMIP6, ClimateBench or a folder of your own in, the package's form out.

Archives differ in names (`t2m`, `2t`, `tas`), units (geopotential or its height, Pa or hPa, % or a fraction), order (north first,
longitudes from -180, levels from the ground) and calendars. A network that is fed one for the other learns without a complaint and
forecasts nonsense, so nothing here is guessed from values: what the file or the archive's documentation does not say is asked for.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

from ..variables import VARIABLES, Variable, canonical_units, quantity, variable, variables
from .sources import check, select

GRAVITY = 9.80665
"""Standard gravity (m s-2): geopotential is geopotential height times this number, everywhere on Earth."""

_ERA5 = {
    "geopotential": "m2 s-2", "geopotential_at_surface": "m2 s-2", "temperature": "K", "specific_humidity": "kg kg-1",
    "u_component_of_wind": "m s-1", "v_component_of_wind": "m s-1", "10m_u_component_of_wind": "m s-1",
    "10m_v_component_of_wind": "m s-1", "2m_temperature": "K", "mean_sea_level_pressure": "Pa", "surface_pressure": "Pa",
    "sea_surface_temperature": "K", "skin_temperature": "K", "land_sea_mask": "1", "total_cloud_cover": "1",
    "total_precipitation_6hr": "m", "toa_incident_solar_radiation_6hr": "J m-2",
}  # fmt: skip
STATED_UNITS = {
    # Regridding dropped the attributes. Relative humidity was derived later, as a fraction and over water, while ERA5's own is in per cent.
    "weatherbench2": _ERA5 | {"relative_humidity": "1", "level": "hPa"},
}
"""Units that an archive's documentation states and its files leave out; what a file says goes first."""

_CONVERSIONS = {  # (from, to): (factor, offset)
    ("m", "m2 s-2"): (GRAVITY, 0.0),
    ("m2 s-2", "m"): (1 / GRAVITY, 0.0),
    ("degC", "K"): (1.0, 273.15),
    ("hPa", "Pa"): (100.0, 0.0),
    ("%", "1"): (0.01, 0.0),
    ("1", "%"): (100.0, 0.0),
    ("1", "kg kg-1"): (1.0, 0.0),  # CMIP6 writes specific humidity so
    ("g kg-1", "kg kg-1"): (1e-3, 0.0),
    ("mm", "m"): (1e-3, 0.0),
    ("kg m-2", "m"): (1e-3, 0.0),  # a kilogram of water on a square metre stands a millimetre high
}

_HEIGHTS = ("zg", "gh", "hgt", "geopotential_height")
# Names that are no aliases, because the quantity behind them is another until it is converted.
_CONVERTED = {
    "tp": "total_precipitation_6hr", "pr": "total_precipitation_6hr", "total_precipitation": "total_precipitation_6hr",
    "geopotential_at_surface": "orography", "toa_incident_solar_radiation_6hr": "toa_incident_solar_radiation",
}  # fmt: skip
_LEVELS = ("level", "plev", "pressure_level", "isobaricInhPa", "isobaricInPa", "lev")
_MEMBERS = ("number", "member", "member_id", "realization", "ensemble")
_GREGORIAN = ("standard", "gregorian", "proleptic_gregorian")


def normalise(ds: xr.Dataset, *, source: str = "", variables: Iterable[str] | None = None) -> xr.Dataset:
    """Bring a dataset into the package's form, lazily where it is lazy.

    Args:
        ds: one archive's dataset: variables (time, latitude, longitude), with levels, transposed or not, or without time.
        source: a key of `STATED_UNITS` if the dataset comes from that archive; it speaks for units that the files leave out.
        variables: names or aliases of what to keep, in that order, with the level (`geopotential_500`, `t2m`); the rest is not looked at.
            By default everything is kept, and a name that the package does not know is an error.

    Returns:
        One variable per channel, float32, (time, lat, lon) or (lat, lon), in the units of `climax_lite.variables`; `lat` ascending;
        `lon` ascending from 0, or without a gap where a region crosses Greenwich; `time` as `datetime64[ns]`, or `cftime` in the
        calendars that have other days than ours (noleap, 360_day): `climax_lite.data.normalize.year_angle` knows both.

    Raises:
        ValueError: for whatever the file does not say or the package cannot take: what was expected, what came, and what to do.
    """
    wanted = None if variables is None else names(variables)
    ds = _members(_forecast_steps(_editions(ds)))
    ds = _one_axis_each(ds)
    ends = _interval_ends(ds)
    channels: dict[str, xr.DataArray] = {}
    for name, array in _fields(ds).items():
        for known, channel in _channels(str(name), array, source, wanted):
            if known.name in channels:
                raise ValueError(
                    f"expected every variable once, got {known.name} twice, the second time as {name!r}: drop one of them"
                )
            channels[known.name] = _convert(channel, known, str(name), source, ds)
    if missing := [n for n in wanted or () if n not in channels]:
        raise ValueError(f"this dataset has no {', '.join(missing)}; it has {_offer(ds, source, missing)}")
    if not channels:
        raise ValueError(f"no variable that the package knows; it has {', '.join(map(str, ds.data_vars)) or 'none'}")
    # Two flat channels of one file may come with their own scalar level; it says nothing that the name does not.
    out = xr.Dataset({name: a.drop_vars([c for c in a.coords if c not in a.dims]) for name, a in channels.items()})
    if ends is not None and all(variable(str(v)).kind == "flux" for v in out.data_vars):
        out = out.assign_coords(time=ends)
    out = _horizontal(_time(out))
    for v in out.data_vars:
        out[v].attrs = variable(str(v)).attrs
    out["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude", "long_name": "latitude"}
    out["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude", "long_name": "longitude"}
    if "time" in out.dims:
        out["time"].attrs = {"standard_name": "time", "long_name": "valid time"}
    kept = ("title", "institution", "source_id", "experiment_id", "variant_label", "license")
    out.attrs = {k: ds.attrs[k] for k in kept if k in ds.attrs} | ({"archive": source} if source else {})
    out = out.drop_encoding()
    return check(select(out, wanted) if wanted is not None else out, values=False)


def recognised(ds: xr.Dataset, source: str = "") -> xr.Dataset:
    """The part of an archive's dataset that `normalise` can take: archives hold more than the package has names for."""
    stated = STATED_UNITS.get(source)
    named = [str(v) for v in ds.data_vars if _quantity(str(v)) or _single(str(v)) or _at_sigma_995(str(v), ds[v])]
    return ds[[v for v in named if stated is None or v in stated or "units" in ds[v].attrs]]


def names(given: Iterable[str]) -> list[str]:
    """The package's names of a list of names and aliases."""
    if isinstance(given, str):
        raise ValueError(f"expected a list of variables, got the text {given!r}: use [{given!r}]")
    return [v.name for v in variables(given)]


# ---------------------------------------------------------------- axes


def _editions(ds: xr.Dataset) -> xr.Dataset:
    """ERA5 of the last months comes in two editions, final and preliminary, each NaN where the other is valid."""
    if "expver" in ds.dims:
        parts = [ds.isel(expver=i, drop=True) for i in range(ds.sizes["expver"])]
        ds, rest = parts[0], parts[1:]
        for part in rest:
            ds = ds.combine_first(part)
    return ds.drop_vars("expver", errors="ignore")


def _forecast_steps(ds: xr.Dataset) -> xr.Dataset:
    """GRIB has the initial time and the step; we label states by the valid time."""
    if "valid_time" in ds.dims:
        return ds.drop_vars("time", errors="ignore").rename(valid_time="time")
    if "step" not in ds.coords or "time" not in ds.coords:
        return ds
    valid = ds["time"] + ds["step"]
    axes = [d for d in ("time", "step") if d in ds.dims]
    ds = ds.drop_vars(["time", "step", "valid_time"], errors="ignore")
    if not axes:
        return ds.assign_coords(time=valid.drop_vars(("time", "step")))
    if len(np.unique(valid)) < valid.size:
        raise ValueError(
            "expected every valid time once, got forecasts that overlap: choose one lead time with ds.isel(step=0), "
            "or one start with ds.isel(time=0)"
        )
    flat = ds.stack(flat=axes, create_index=False).assign_coords(flat=valid.transpose(*axes).values.ravel())
    return flat.rename(flat="time").sortby("time")


def _members(ds: xr.Dataset) -> xr.Dataset:
    for name in _MEMBERS:
        if ds.sizes.get(name, 1) > 1:
            raise ValueError(
                f"expected one member, got {ds.sizes[name]} along {name!r}: choose one with ds.isel({name}=0), "
                f"or average with ds.mean({name!r})"
            )
    return ds.squeeze([d for d in _MEMBERS if d in ds.dims], drop=True)


def _one_axis_each(ds: xr.Dataset) -> xr.Dataset:
    """Rename the axes to time, level, lat, lon, each with a coordinate of its own."""
    for ours, long in (("lat", "latitude"), ("lon", "longitude")):
        found = [n for n in (ours, long) if n in ds.coords]
        found = found or [str(c) for c in ds.coords if ds[c].attrs.get("standard_name") == long]
        if not found:
            have = ", ".join(map(str, ds.coords)) or "none"
            raise ValueError(f"expected a coordinate {ours!r} or {long!r}, got {have}")
        if (axes := ds[found[0]].dims) != (found[0],):
            raise ValueError(f"expected a rectangular grid, got {found[0]!r} with dimensions {axes}: regrid it first")
        ds = ds.rename({found[0]: ours})
    levels = [n for n in _LEVELS if n in ds.coords and ds[n].ndim <= 1]
    if len(levels) > 1:
        raise ValueError(
            f"expected one axis of pressure levels, got {', '.join(levels)}: interpolate to one of them, or open them apart"
        )
    return ds.rename({levels[0]: "level"}) if levels and levels[0] != "level" else ds


def _pressures(level: xr.DataArray, name: str, source: str) -> np.ndarray:
    """Levels in hPa, as whole numbers."""
    said = level.attrs.get("units") or STATED_UNITS.get(source, {}).get("level")
    unit = canonical_units(str(said))
    if unit not in ("Pa", "hPa"):
        what = "no units" if said is None else f"{said!r}"
        advice = (
            f"set their attribute 'units' once you are sure of them{_or_archive('level')}"
            if said is None
            else "interpolate from model levels to pressure first"
        )
        raise ValueError(f"expected the levels of {name} in 'hPa' or 'Pa', got {what}: {advice}")
    hpa = np.atleast_1d(level.values).astype(np.float64) / (100 if unit == "Pa" else 1)
    whole = np.rint(hpa)
    if (np.abs(hpa - whole) > 1e-3).any() or (whole < 1).any():
        raise ValueError(
            f"expected levels of whole hPa, got {hpa[np.abs(hpa - whole) > 1e-3].tolist() or hpa.min()}: select others first"
        )
    return whole.astype(int)


def _fields(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """The variables that are fields: not the bounds of cells, and not the projection."""
    bounds = {ds[c].attrs.get("bounds") for c in ds.variables}
    fields = {str(v): a for v, a in ds.data_vars.items() if {"lat", "lon"} <= set(a.dims) and v not in bounds}
    return {v: a for v, a in fields.items() if not re.search(r"_(bnds|bounds)$", v)}


def _interval_ends(ds: xr.Dataset) -> xr.DataArray | None:
    """CMIP6 labels a mean by the middle of its interval; we label fluxes by its end."""
    name = ds["time"].attrs.get("bounds") or ds["time"].encoding.get("bounds") if "time" in ds.coords else None
    if name not in ds.variables or "time" not in ds.dims or ds[name].shape[-1] != 2:
        return None
    middle = all("time: mean" in a.attrs.get("cell_methods", "") for a in _fields(ds).values())
    return ds["time"].copy(data=ds[name].values[:, 1]) if middle else None


def _time(ds: xr.Dataset) -> xr.Dataset:
    """Times as `datetime64[ns]` where the calendar is ours; ascending, each once; a gap is said."""
    if "time" not in ds.dims:
        return ds
    times = ds["time"].values
    if times.dtype.kind not in "MO":
        units = ds["time"].attrs.get("units", "no units")
        raise ValueError(f"expected dates, got numbers in {units!r}: give the units and use xr.decode_cf(ds)")
    if times.dtype.kind == "M" and np.isnat(times).any():
        raise ValueError(f"expected dates, got {int(np.isnat(times).sum())} missing ones: use ds.dropna('time')")
    ours = times.dtype.kind == "M" or ds["time"].dt.calendar in _GREGORIAN
    if times.dtype == object and ours and times.min().year >= 1678 and times.max().year < 2262:
        times = np.array([t.isoformat() for t in times], "datetime64[ns]")
    ds = ds.assign_coords(time=times.astype("datetime64[ns]") if times.dtype.kind == "M" else times)
    if (_hours_between(ds["time"].values) < 0).any():
        ds = ds.sortby("time")
    times, hours = ds["time"].values, _hours_between(ds["time"].values)
    if (twice := np.flatnonzero(hours == 0)).size:
        first = str(times[twice[0]])[:16]
        raise ValueError(
            f"expected every time once, got {twice.size} twice, the first {first}: use ds.drop_duplicates('time')"
        )
    if hours.size and (gaps := np.flatnonzero(hours > 1.5 * np.median(hours))).size:
        before, after = (str(times[gaps[0] + i])[:16] for i in (0, 1))
        warnings.warn(f"{gaps.size} gap(s) in the times, the first from {before} to {after}", stacklevel=3)
    return ds


def _hours_between(times: np.ndarray) -> np.ndarray:
    steps = np.diff(times)
    return (
        np.array([s.total_seconds() for s in steps]) / 3600 if steps.dtype == object else steps / np.timedelta64(1, "h")
    )


def _horizontal(ds: xr.Dataset) -> xr.Dataset:
    """South to north, and eastwards from 0; a region that crosses Greenwich starts at its western edge instead, below 0."""
    lat, lon = (ds[d].values.astype(np.float64) for d in ("lat", "lon"))
    if not (np.isfinite(lat).all() and np.isfinite(lon).all()):
        raise ValueError("expected finite latitudes and longitudes, got NaN among them: drop those rows or columns")
    rows = np.argsort(lat, kind="stable")
    east = lon % 360
    east[np.isclose(east, 360, rtol=0, atol=1e-4)] = 0.0
    columns = np.unique(np.round(east, 4), return_index=True)[1]  # 0 and 360 are one meridian
    gap = np.diff(east[columns], append=east[columns[0]] + 360)
    first = (int(gap.argmax()) + 1) % len(columns) if gap.max() > 1.5 * np.median(gap) else 0
    columns = np.roll(columns, -first)
    east = np.where(np.arange(len(columns)) < len(columns) - first, east[columns] - 360 * (first > 0), east[columns])
    for axis, order in (("lat", rows), ("lon", columns)):
        if not np.array_equal(order, np.arange(ds.sizes[axis])):  # lazy arrays gain by what is left alone
            ds = ds.isel({axis: order})
    return ds.assign_coords(lat=lat[rows], lon=east)


# ---------------------------------------------------------------- names


def _quantity(name: str) -> str | None:
    """The quantity on levels behind a name without a level."""
    return "geopotential" if name in _HEIGHTS else quantity(name)


def _single(name: str) -> Variable | None:
    """The channel behind a name that needs no axis of levels; None for a name that nobody knows."""
    if name in _CONVERTED:
        return VARIABLES[_CONVERTED[name]]
    if height := re.fullmatch(rf"({'|'.join(_HEIGHTS)})_?(\d+)", name):
        return variable(f"geopotential_{int(height[2])}")
    try:
        return variable(name)
    except ValueError:
        return None


def _at_sigma_995(name: str, array: xr.DataArray) -> bool:
    """Whether this is NCEP's temperature of the lowest level. It calls all its temperatures `air`; the long name tells which."""
    return name == "air" and "sigma level 995" in str(array.attrs.get("long_name", ""))


def _channels(
    name: str, array: xr.DataArray, source: str, wanted: list[str] | None
) -> Iterator[tuple[Variable, xr.DataArray]]:
    """The channels that one variable of a file holds: one for each level."""
    base, single = _quantity(name), _single(name)
    if name == "z" and (array.attrs.get("GRIB_typeOfLevel") == "surface" or "surface" in array.coords):
        base, single = None, VARIABLES["orography"]
    if _at_sigma_995(name, array):
        base, single = None, VARIABLES["sigma_995_temperature"]
    if base is None:
        if single is None and wanted is None:
            try:
                variable(name)
            except ValueError as error:
                raise ValueError(f"{error}; rename it, or leave it out with ds.drop_vars({name!r})") from None
        if single is not None and (wanted is None or single.name in wanted):
            yield single, array
    elif wanted is None or any(w.startswith(f"{base}_") for w in wanted):
        if "level" not in array.coords:
            surface = ", or for the surface rename it to 'geopotential_at_surface'" if name == "z" else ""
            raise ValueError(
                f"expected {name!r} on pressure levels, got no axis of them: give it its level, as ds.expand_dims(level=[500]) "
                f"with the attribute units 'hPa'{surface}"
            )
        for i, level in enumerate(_pressures(array["level"], name, source)):
            channel = variable(f"{base}_{level}")
            if wanted is None or channel.name in wanted:
                yield channel, array.isel(level=i) if "level" in array.dims else array


def _offer(ds: xr.Dataset, source: str, missing: list[str]) -> str:
    """What a dataset has, under the package's names; of the quantities that lack a level, the levels."""
    found: dict[str, int | None] = {}
    for name, array in _fields(ds).items():
        with contextlib.suppress(ValueError):  # what is no variable, or has no level
            found |= {known.name: known.level for known, _ in _channels(name, array, source, None)}
    columns: dict[str, list[int]] = {}
    for name, level in found.items():
        columns.setdefault(name.removesuffix(f"_{level}"), []).extend([level] if level else [])
    asked = {re.sub(r"_\d+$", "", n) for n in missing}
    offer = []
    for name, levels in columns.items():
        if levels and (name in asked or len(levels) == 1):
            name = f"{name} at {', '.join(map(str, sorted(levels)))} hPa"
        elif levels:
            name = f"{name} on {len(levels)} levels"
        offer.append(name)
    return "; ".join(offer) or ", ".join(map(str, ds.data_vars)) or "none"


# ---------------------------------------------------------------- values


def _convert(array: xr.DataArray, known: Variable, name: str, source: str, ds: xr.Dataset) -> xr.DataArray:
    """Values in the package's units, float32, with the package's dimensions."""
    said = array.attrs.get("units", STATED_UNITS.get(source, {}).get(name))
    if said is None or (said == "" and known.units != "1"):
        raise ValueError(
            f"expected {name} in {known.units!r}, got no units: set ds[{name!r}].attrs['units'] once you are sure of them"
            + _or_archive(name)
        )
    unit = canonical_units(str(said)) or "1"
    hours = array.attrs.get("accumulation_hours", 6 if re.search(r"_6hr?$", name) else None)
    if known.kind == "flux" and unit in ("m", "mm", "kg m-2", "J m-2") and hours != 6:
        window = f"over {hours} h" if hours else "over a time that the file does not tell"
        raise ValueError(
            f"expected {name} summed over 6 h, got a sum {window}: sum it up to 6 h (hourly: ds[{name!r}].rolling(time=6).sum()), "
            f"then set ds[{name!r}].attrs['accumulation_hours'] = 6"
        )
    factor, offset = 1.0, 0.0
    if known.name == "total_precipitation_6hr" and unit == "kg m-2 s-1":
        factor, unit = _seconds_of_six_hours(ds, name), "kg m-2"
    elif unit == "J m-2" and known.units == "W m-2":
        factor, unit = 1 / 21600, "W m-2"
    if unit != known.units:
        if (unit, known.units) not in _CONVERSIONS:
            raise ValueError(
                f"expected {name} in {known.units!r} or something that converts to it, got {said!r}: "
                "convert the values, then set the attribute"
            )
        scale, offset = _CONVERSIONS[unit, known.units]
        factor *= scale
    if (factor, offset) != (1.0, 0.0):
        array = array.astype(np.float64) * factor + offset
    array = _shape(array, known, name)
    # Without dask, astype reads an array even where there is nothing to do.
    return array if array.dtype == np.float32 else array.astype(np.float32)


def _or_archive(name: str) -> str:
    """Advice for a name without units, where an archive's documentation has them."""
    known = (f"source={a!r} (in the command: --archive {a})" for a, stated in STATED_UNITS.items() if name in stated)
    return f", or give {archives} if it comes from there" if (archives := " or ".join(known)) else ""


def _seconds_of_six_hours(ds: xr.Dataset, name: str) -> float:
    hours = sorted(set(_hours_between(ds["time"].values))) if "time" in ds.dims else []
    if hours != [6.0]:
        got = f"steps of {' and '.join(f'{h:g}' for h in hours[:2])} h" if hours else "a single time"
        raise ValueError(
            f"expected {name} as a mean over consecutive steps of 6 h, to make sums over 6 h of it, got {got}: "
            "take a 6-hourly table, or average finer steps"
        )
    return 21600.0


def _shape(array: xr.DataArray, known: Variable, name: str) -> xr.DataArray:
    if known.kind == "static":
        array = array.isel(time=0, drop=True) if "time" in array.dims else array
        dims: tuple[str, ...] = ("lat", "lon")
    else:
        if "time" not in array.coords:
            raise ValueError(
                f"expected {name} with a time, got dimensions {array.dims}: use ds.expand_dims(time=[...])"
            )
        array = array if "time" in array.dims else array.expand_dims("time")
        dims = ("time", "lat", "lon")
    array = array.squeeze([d for d in array.dims if d not in dims and array.sizes[d] == 1], drop=True)
    if extra := [str(d) for d in array.dims if d not in dims]:
        raise ValueError(
            f"expected {name} with dimensions {dims}, got {', '.join(extra)} too: choose one with ds.isel({extra[0]}=0)"
        )
    return array.transpose(*dims)
