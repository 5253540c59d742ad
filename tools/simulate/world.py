"""A world in a TOML file: read, checked, refused with a sentence."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

WORLDS = Path(__file__).parent / "worlds"

GRIDS = {21: (32, 64), 31: (48, 96), 63: (96, 192)}
"""Triangular truncation → native Gaussian grid (latitudes, longitudes)."""

SCHEMES = ("speedy", "held-suarez")
EVERY = ("6h", "day", "month", "year")


@dataclass(frozen=True)
class Sun:
    """Insolation and carbon dioxide. `co2_path` holds (year of the scenario, ppm), joined by straight lines; empty: `co2_ppm` for ever.

    SPEEDY's absorption grows in proportion to CO2, not to its logarithm, and doubling it forces about twice what is accepted.
    So with a path the radiation feels only the part `co2_effect` of what CO2 has risen above `co2_ppm`.
    """

    diurnal_cycle: bool = True
    co2_ppm: float = 360.0
    co2_path: tuple[tuple[float, float], ...] = ()
    co2_effect: float = 1.0


@dataclass(frozen=True)
class Haze:
    """A region of aerosol: a Gaussian of insolation dimmed by the fraction `path`, (year of the scenario, fraction at the centre)."""

    name: str
    lat: float
    lon: float
    lat_size: float
    lon_size: float
    path: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Sea:
    """Sea-surface temperature: climatology, plus `offset_K`, plus observed anomalies (of `shift_years` later), plus a slab's answer.

    The slab is a mixed layer of water: it takes up the surface heat flux less the monthly flux of the world named `q_flux`, whose sea is
    prescribed; so without any forcing its temperature stays where that world's is.
    """

    anomalies: str = "observed"
    offset_K: float = 0.0
    shift_years: int = 0
    slab: bool = False
    heat_capacity: float = 8.4e7
    q_flux: str = ""

    def __post_init__(self) -> None:
        if self.anomalies not in ("observed", "none"):
            raise ValueError(f"sea.anomalies must be 'observed' or 'none', not {self.anomalies!r}")
        if self.slab != bool(self.q_flux):
            raise ValueError(
                "sea.slab = true needs sea.q_flux, the name of a world with prescribed sea whose heat flux balances it, and vice versa"
            )


@dataclass(frozen=True)
class Land:
    slab: bool = True
    heat_capacity: float = 2.5e6
    relaxation_days: float = 40.0


@dataclass(frozen=True)
class Diffusion:
    """Time scales (hours) with which the shortest wave is damped; the defaults are SPEEDY's."""

    temperature_hours: float = 24.0
    vorticity_hours: float = 12.0
    divergence_hours: float = 2.0


@dataclass(frozen=True)
class Output:
    """What is kept, on the native grid.

    `6h`: instantaneous states, and fluxes over the six hours before; `day`: means (precipitation: sums) of the day before; `month` and
    `year`: statistics of a month and of a year. Monthly files for the first two, yearly files for the others.
    """

    every: str = "6h"
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.every not in EVERY:
            raise ValueError(f"output.every must be one of {list(EVERY)}, not {self.every!r}")


@dataclass(frozen=True)
class Embedded:
    """The part of a world that is committed, packed (`climax_lite.data.packed`): conservative means on a regular grid of `grid` rows and
    columns, or the native grid if `grid` is empty; every `hours` hours; `roots` are packed as their square root."""

    grid: tuple[int, ...] = (32, 64)
    hours: int = 6
    default_noise: float = 0.07
    noise: dict[str, float] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """What one simulated world is made of. Days and years are those of the proleptic Gregorian calendar."""

    name: str
    title: str
    start: dt.date
    years: int
    spinup_days: int = 180
    settling_days: int = 60  # from the first day on, which a drift is not measured over
    truncation: int = 31
    time_step_minutes: int = 30
    scheme: str = "speedy"
    restart: str = ""
    perturbation: float = 0.0
    scenario_start: float = 0.0
    scenario_pace: float = 1.0
    sun: Sun = field(default_factory=Sun)
    sea: Sea = field(default_factory=Sea)
    land: Land = field(default_factory=Land)
    diffusion: Diffusion = field(default_factory=Diffusion)
    haze: tuple[Haze, ...] = ()
    physics: dict[str, float] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    embedded: Embedded = field(default_factory=Embedded)

    def __post_init__(self) -> None:
        if self.truncation not in GRIDS:
            raise ValueError(f"truncation must be one of {sorted(GRIDS)}, not {self.truncation}")
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {list(SCHEMES)}, not {self.scheme!r}")
        if 360 % self.time_step_minutes:
            raise ValueError(
                f"time_step_minutes must divide the 360 minutes between outputs, not {self.time_step_minutes}"
            )
        if (self.start.month, self.start.day) != (1, 1):
            raise ValueError(f"start must be a first of January, so that files hold whole years, not {self.start}")

    @property
    def first_day(self) -> dt.date:
        """Where the integration begins: before `start` by the spin-up."""
        return self.start - dt.timedelta(days=self.spinup_days)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the worlds that must have run before this one."""
        return tuple(n for n in (self.sea.q_flux, self.restart) if n)

    def scenario_year(self, day: dt.date) -> float:
        """The year of the forcing on a day: the calendar, stretched by `scenario_pace` from `scenario_start` on."""
        elapsed = (day - self.start).days / 365.25
        return self.scenario_start + self.scenario_pace * max(elapsed, 0.0)

    @classmethod
    def read(cls, path: str | Path) -> World:
        """Read a world file; an unknown key is an error that names it, since a misspelt parameter would be silently ignored.

        A file with `like = "other"` takes what it does not say from `other.toml` beside it, table by table.
        """
        table = _table(Path(path))
        if unknown := sorted(set(table) - {f.name for f in fields(cls)}):
            raise ValueError(
                f"{path}: unknown keys {unknown}; a world file may have {sorted(f.name for f in fields(cls))} and 'like'"
            )
        parts = {"sun": Sun, "sea": Sea, "land": Land, "diffusion": Diffusion, "output": Output, "embedded": Embedded}
        for key, kind in parts.items():
            table[key] = _made(kind, table.get(key, {}), key, path)
        table["haze"] = tuple(_made(Haze, part, "haze", path) for part in table.get("haze", ()))
        return cls(**table)


def find(name: str | Path) -> World:
    """A world by the path of its file, or by its name in `tools/simulate/worlds`."""
    path = Path(name)
    if path.suffix == ".toml":
        return World.read(path)
    if not (known := WORLDS / f"{name}.toml").exists():
        raise ValueError(f"unknown world {str(name)!r}: expected a .toml file or one of {', '.join(names())}")
    return World.read(known)


def names() -> list[str]:
    """The worlds in `tools/simulate/worlds`, each after those that it needs."""
    found = {p.stem: World.read(p) for p in sorted(WORLDS.glob("*.toml"))}
    order: list[str] = []

    def add(name: str) -> None:
        for other in found[name].needs:
            add(other)
        if name not in order:
            order.append(name)

    for name in found:
        add(name)
    return order


def _table(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        table = tomllib.load(file)
    if like := table.pop("like", ""):
        base = _table(path.with_name(f"{like}.toml"))
        for key, value in table.items():
            base[key] = base.get(key, {}) | value if isinstance(value, dict) else value
        return base
    return table


def _made(kind: type, part: dict[str, Any], key: str, path: str | Path) -> Any:
    if unknown := sorted(set(part) - {f.name for f in fields(kind)}):
        raise ValueError(f"{path}: unknown keys {unknown} in [{key}]; it may have {[f.name for f in fields(kind)]}")
    return kind(**part)
