"""A world in a TOML file: read, checked, refused with a sentence."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

GRIDS = {21: (32, 64), 31: (48, 96)}
"""Triangular truncation → native Gaussian grid (latitudes, longitudes)."""


@dataclass(frozen=True)
class Sun:
    diurnal_cycle: bool = True
    co2_ppm: float = 360.0


@dataclass(frozen=True)
class Sea:
    anomalies: str = "observed"
    offset_K: float = 0.0

    def __post_init__(self) -> None:
        if self.anomalies not in ("observed", "none"):
            raise ValueError(f"sea.anomalies must be 'observed' or 'none', not {self.anomalies!r}")


@dataclass(frozen=True)
class Land:
    slab: bool = True
    heat_capacity: float = 2.5e6
    relaxation_days: float = 40.0


@dataclass(frozen=True)
class Embedded:
    """The part of a world that is committed: regridded conservatively to a regular grid and packed (`climax_lite.data.packed`)."""

    grid: tuple[int, int] = (32, 64)
    default_noise: float = 0.07
    noise: dict[str, float] = field(default_factory=dict)
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """What one simulated world is made of. Days and years are those of the proleptic Gregorian calendar."""

    name: str
    title: str
    start: dt.date
    years: int
    spinup_days: int = 180
    truncation: int = 31
    time_step_minutes: int = 30
    sun: Sun = field(default_factory=Sun)
    sea: Sea = field(default_factory=Sea)
    land: Land = field(default_factory=Land)
    physics: dict[str, float] = field(default_factory=dict)
    embedded: Embedded = field(default_factory=Embedded)

    def __post_init__(self) -> None:
        if self.truncation not in GRIDS:
            raise ValueError(f"truncation must be one of {sorted(GRIDS)}, not {self.truncation}")
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

    @classmethod
    def read(cls, path: str | Path) -> World:
        """Read a world file; an unknown key is an error that names it, since a misspelt parameter would be silently ignored."""
        with open(path, "rb") as file:
            table = tomllib.load(file)
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(table) - known):
            raise ValueError(f"{path}: unknown keys {unknown}; a world file may have {sorted(known)}")
        for key, kind in (("sun", Sun), ("sea", Sea), ("land", Land), ("embedded", Embedded)):
            part = table.get(key, {})
            if unknown := sorted(set(part) - {f.name for f in fields(kind)}):
                raise ValueError(
                    f"{path}: unknown keys {unknown} in [{key}]; it may have {[f.name for f in fields(kind)]}"
                )
            table[key] = kind(**part)
        return cls(**table)
