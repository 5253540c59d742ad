"""Data in: `open("reference")` gives an `xarray.Dataset` with checked names, units and coordinates; loaders make batches of samples.

Importing it loads nothing: what reads data needs no torch, and what makes batches brings it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .forecast import Batch, ForecastSamples, Record, valid_at
    from .leads import LEADS, WEEKS_3_4, WEEKS_5_6
    from .mixture import Mixture, MixtureLoader, ordered
    from .normalize import Climatology, Normalizer, Statistics, statistics
    from .projection import Scaling, scenario_runs, scenarios
    from .sources import SOURCES, Source, check, open, select, split
    from .windows import PairSamples, ProjectionSamples, by_run, daily_means, same_days

_NAMES = {
    "forecast": ("Batch", "ForecastSamples", "Record", "valid_at"),
    "leads": ("LEADS", "WEEKS_3_4", "WEEKS_5_6"),
    "mixture": ("Mixture", "MixtureLoader", "ordered"),
    "normalize": ("Climatology", "Normalizer", "Statistics", "statistics"),
    "projection": ("Scaling", "scenario_runs", "scenarios"),
    "sources": ("SOURCES", "Source", "check", "open", "select", "split"),
    "windows": ("PairSamples", "ProjectionSamples", "by_run", "daily_means", "same_days"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = (*_NAMES, "archives", "door", "download", "packed")

__all__ = [
    "LEADS",
    "SOURCES",
    "WEEKS_3_4",
    "WEEKS_5_6",
    "Batch",
    "Climatology",
    "ForecastSamples",
    "Mixture",
    "MixtureLoader",
    "Normalizer",
    "PairSamples",
    "ProjectionSamples",
    "Record",
    "Scaling",
    "Source",
    "Statistics",
    "by_run",
    "check",
    "daily_means",
    "open",
    "ordered",
    "same_days",
    "scenario_runs",
    "scenarios",
    "select",
    "split",
    "statistics",
    "valid_at",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # so that the next look finds it at once
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
