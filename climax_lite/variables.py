"""The variables: their names, units and levels, and what other archives call them.

A variable is one channel of one field on one level, named as ERA5 names it with the pressure level behind: `geopotential_500`. The 48
that the published ClimaX checkpoints know come first, in the order of the rows of their variable embedding; the others are ones that the
simulated worlds or the tasks use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

LEVELS = (50, 250, 500, 600, 700, 850, 925)
"""Pressure levels (hPa) of ClimaX, as `DEFAULT_PRESSURE_LEVELS` of the official code has them."""


@dataclass(frozen=True)
class Variable:
    """One channel of the atmosphere.

    Attributes:
        name: the name in this package and in the official checkpoints, with the level behind it: `temperature_850`.
        units: SI units as xarray and CF write them: `m2 s-2`.
        kind: `static`, `surface`, `atmosphere` (on a pressure level) or `flux` (a sum or mean over the six hours that
            end at its time; a day's with `24hr`).
        level: pressure in hPa for `atmosphere`, otherwise None.
        standard_name: the CF standard name, or an empty string where CF has none.
        short: the symbol in figures and tables: `Z500`.
    """

    name: str
    units: str
    kind: str
    level: int | None
    standard_name: str
    short: str

    @property
    def long_name(self) -> str:
        """The name in words: `geopotential at 500 hPa`."""
        base = self.name.removesuffix(f"_{self.level}").replace("_", " ")
        base = re.sub(r"^(\d+)m ", r"\1 m ", base).replace("lattitude", "latitude")
        return f"{base} at {self.level} hPa" if self.level else base

    @property
    def attrs(self) -> dict[str, str | int]:
        """CF attributes for an `xarray.DataArray`."""
        out: dict[str, str | int] = {"units": self.units, "long_name": self.long_name, "short_name": self.short}
        if self.standard_name:
            out["standard_name"] = self.standard_name
        if self.level:
            out["level"] = self.level
        return out


_ATMOSPHERE = {
    # name: (units, CF standard name, symbol, CMIP6 name)
    "geopotential": ("m2 s-2", "geopotential", "Z", "zg"),
    "u_component_of_wind": ("m s-1", "eastward_wind", "U", "ua"),
    "v_component_of_wind": ("m s-1", "northward_wind", "V", "va"),
    "temperature": ("K", "air_temperature", "T", "ta"),
    "relative_humidity": ("%", "relative_humidity", "R", "hur"),
    "specific_humidity": ("kg kg-1", "specific_humidity", "Q", "hus"),
}

_SINGLE = (
    Variable("land_sea_mask", "1", "static", None, "land_binary_mask", "LSM"),
    Variable("orography", "m", "static", None, "surface_altitude", "Orography"),
    Variable("lattitude", "degrees_north", "static", None, "latitude", "Latitude"),  # spelled so in the checkpoints
    Variable("2m_temperature", "K", "surface", None, "air_temperature", "T2m"),
    Variable("10m_u_component_of_wind", "m s-1", "surface", None, "eastward_wind", "U10"),
    Variable("10m_v_component_of_wind", "m s-1", "surface", None, "northward_wind", "V10"),
)

_MORE = (
    Variable("mean_sea_level_pressure", "Pa", "surface", None, "air_pressure_at_mean_sea_level", "MSLP"),
    Variable("surface_pressure", "Pa", "surface", None, "surface_air_pressure", "SP"),
    Variable("sea_surface_temperature", "K", "surface", None, "sea_surface_temperature", "SST"),
    Variable("skin_temperature", "K", "surface", None, "surface_temperature", "Tskin"),
    # NCEP's lowest model level, at 0.995 of the surface pressure: some forty metres above the ground
    Variable("sigma_995_temperature", "K", "surface", None, "air_temperature", "Tσ995"),
    Variable("total_precipitation_6hr", "m", "flux", None, "lwe_thickness_of_precipitation_amount", "Precip 6 h"),
    Variable("total_precipitation_24hr", "m", "flux", None, "lwe_thickness_of_precipitation_amount", "Precip 24 h"),
    Variable("total_cloud_cover", "1", "flux", None, "cloud_area_fraction", "Cloud"),
    Variable("toa_incident_solar_radiation", "W m-2", "flux", None, "toa_incoming_shortwave_flux", "TISR"),
    Variable("top_net_solar_radiation", "W m-2", "flux", None, "toa_net_downward_shortwave_flux", "TNSR"),
    Variable("outgoing_longwave_radiation", "W m-2", "flux", None, "toa_outgoing_longwave_flux", "OLR"),
    Variable("sensible_heat_flux", "W m-2", "flux", None, "surface_upward_sensible_heat_flux", "SHF"),
    Variable("latent_heat_flux", "W m-2", "flux", None, "surface_upward_latent_heat_flux", "LHF"),
    # of a year, for climate projection: mean of the daily ranges, mean rate, 90th percentile of the daily rates
    Variable("diurnal_temperature_range", "K", "surface", None, "", "DTR"),
    Variable("precipitation_rate", "kg m-2 s-1", "flux", None, "precipitation_flux", "Precip"),
    Variable("precipitation_rate_90", "kg m-2 s-1", "flux", None, "", "Precip 90 %"),
)

OFFICIAL_VARIABLES: tuple[str, ...] = (
    *(v.name for v in _SINGLE),
    *(f"{name}_{level}" for name in _ATMOSPHERE for level in LEVELS),
)
"""The 48 variables of the published checkpoints, in the order of the rows of their variable embedding."""

VARIABLES: dict[str, Variable] = {v.name: v for v in (*_SINGLE, *_MORE)}
"""Every variable by name; pressure levels beyond those of ClimaX are made when they are asked for, by `variable`."""

_ALIASES = {
    # ERA5's short names and GRIB's, WeatherBench's and CMIP6's
    "lsm": "land_sea_mask", "sftlf": "land_sea_mask", "land_mask": "land_sea_mask",
    "orog": "orography", "latitude": "lattitude",
    "t2m": "2m_temperature", "2t": "2m_temperature", "tas": "2m_temperature",
    "u10": "10m_u_component_of_wind", "10u": "10m_u_component_of_wind", "uas": "10m_u_component_of_wind",
    "v10": "10m_v_component_of_wind", "10v": "10m_v_component_of_wind", "vas": "10m_v_component_of_wind",
    "msl": "mean_sea_level_pressure", "psl": "mean_sea_level_pressure", "mslp": "mean_sea_level_pressure",
    "sp": "surface_pressure", "ps": "surface_pressure",
    "sst": "sea_surface_temperature", "tos": "sea_surface_temperature",
    "skt": "skin_temperature", "ts": "skin_temperature",
    "total_precipitation_6h": "total_precipitation_6hr", "tcc": "total_cloud_cover", "clt": "total_cloud_cover",
    "tisr": "toa_incident_solar_radiation", "rsdt": "toa_incident_solar_radiation",
    "olr": "outgoing_longwave_radiation", "rlut": "outgoing_longwave_radiation",
    "hfss": "sensible_heat_flux", "hfls": "latent_heat_flux",
    # ClimateBench's annual statistics
    "dtr": "diurnal_temperature_range", "pr90": "precipitation_rate_90",
}  # fmt: skip
_LEVEL_ALIASES = {alias: name for name, (_, _, _, cmip) in _ATMOSPHERE.items() for alias in (cmip, cmip[0])} | {
    "z": "geopotential", "u": "u_component_of_wind", "v": "v_component_of_wind", "t": "temperature",
    "r": "relative_humidity", "q": "specific_humidity", "hus": "specific_humidity", "hur": "relative_humidity",
}  # fmt: skip
del _LEVEL_ALIASES["h"]  # the first letter of both humidities
# CMIP6 gives geopotential height in metres under `zg`: another quantity, so no alias can stand for it.
del _LEVEL_ALIASES["zg"]


def _on_level(base: str, level: int) -> Variable:
    units, standard_name, symbol, _ = _ATMOSPHERE[base]
    return Variable(f"{base}_{level}", units, "atmosphere", level, standard_name, f"{symbol}{level}")


for _base in _ATMOSPHERE:
    for _level in LEVELS:
        VARIABLES[f"{_base}_{_level}"] = _on_level(_base, _level)


def variable(name: str) -> Variable:
    """Look a variable up by its name or by an alias of ERA5, WeatherBench or CMIP6 (`t2m`, `tas`, `z500`, `ta_850`).

    Raises:
        ValueError: when no variable is called so; the sentence names the nearest ones.
    """
    if name in VARIABLES:
        return VARIABLES[name]
    if name in _ALIASES:
        return VARIABLES[_ALIASES[name]]
    stem = name.rstrip("0123456789")
    digits, stem = name[len(stem) :], stem.removesuffix("_")
    base = quantity(stem)
    if base and digits and 1 <= int(digits) <= 1100:
        return VARIABLES.get(f"{base}_{int(digits)}") or _on_level(base, int(digits))
    if base:
        raise ValueError(
            f"{name!r} lives on pressure levels: expected a level in hPa behind the name, such as '{base}_500'"
        )
    if stem == "zg":
        raise ValueError(
            f"{name!r} is geopotential height in metres; expected geopotential in m2 s-2: multiply it by 9.80665 and rename it"
        )
    known = [*VARIABLES, *_ALIASES, *(f"{alias}500" for alias in _LEVEL_ALIASES)]
    near = difflib.get_close_matches(name, known, n=3)
    far = difflib.get_close_matches(name, known, n=1, cutoff=0) or known
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"the nearest name is {far[0]!r}"
    raise ValueError(f"unknown variable {name!r}: {hint}")


def quantity(name: str) -> str | None:
    """The quantity on pressure levels that a name without a level means (`ta`, `t`, `temperature`), or None."""
    return name if name in _ATMOSPHERE else _LEVEL_ALIASES.get(name)


def variables(names: Iterable[str]) -> tuple[Variable, ...]:
    """Look several variables up; a name given twice, under whatever alias, is an error."""
    found = tuple(variable(n) for n in names)
    seen = [v.name for v in found]
    if twice := sorted({n for n in seen if seen.count(n) > 1}):
        raise ValueError(f"expected every variable once, got {', '.join(twice)} more than once")
    return found


_SPELLINGS = {
    "m2 s-2": "m**2 s**-2|m^2 s^-2|m2/s2|m^2/s^2|m2 s^-2|J kg-1|J kg**-1|J/kg",
    "m s-1": "m s**-1|m s^-1|m/s|meter second-1",
    "kg kg-1": "kg kg**-1|kg/kg|kg kg^-1",
    "g kg-1": "g kg**-1|g/kg|g kg^-1",
    "W m-2": "W m**-2|W m^-2|W/m2|W/m^2",
    "J m-2": "J m**-2|J m^-2|J/m2|J/m^2",
    "K": "kelvin|Kelvin|degK|deg_K|degrees K|degree_Kelvin",
    "degC": "C|°C|celsius|Celsius|degrees_C|degree_C|degree_Celsius|degrees Celsius|deg C",
    "m": "metre|metres|meter|meters|gpm|geopotential meter|m of water equivalent",
    "mm": "millimetre|millimeter|millimeters",
    "kg m-2": "kg m**-2|kg m^-2|kg/m2|kg/m^2",
    "kg m-2 s-1": "kg m**-2 s**-1|kg m^-2 s^-1|kg/m2/s|kg/m^2/s|mm/s|mm s-1",
    "Pa": "pascal|Pascal|Pascals|N m-2",
    "hPa": "mbar|mb|millibar|millibars|hectopascal|hectopascals",
    "%": "percent|per cent|pct",
    "1": "(0 - 1)|0-1|fraction|dimensionless|unitless|-",
    "degrees_north": "degree_north|degrees",
}
_CANONICAL = {other: unit for unit, spellings in _SPELLINGS.items() for other in (unit, *spellings.split("|"))}


def canonical_units(units: str) -> str:
    """A unit in the spelling of this package (`m**2 s**-2` → `m2 s-2`), or as it came if it is none that is known."""
    return _CANONICAL.get(units.strip(), units)
