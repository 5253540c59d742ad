"""A small, tested, fast ClimaX, and the package under the book *Build a Weather and Climate Foundation Model*.

    import climax_lite as cl

    world = cl.open_data("reference")
    cl.plot.map(world["2m_temperature"].sel(time="1986-07-01T00"))

Importing it loads nothing: every room is opened when it is first used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        baselines,
        check,
        data,
        emulators,
        evaluate,
        grid,
        metrics,
        model,
        plot,
        regrid,
        tasks,
        train,
        variables,
        widgets,
    )
    from .checkpoints import load
    from .data import open as open_data
    from .forecaster import Forecaster
    from .grid import Grid, Region
    from .inference import forecast

try:
    __version__ = version("climax-lite")
except PackageNotFoundError:  # imported from a folder that was not installed, as on Colab before the set-up
    __version__ = "0+unknown"

__all__ = [
    "Forecaster",
    "Grid",
    "Region",
    "baselines",
    "check",
    "data",
    "emulators",
    "evaluate",
    "forecast",
    "grid",
    "load",
    "metrics",
    "model",
    "open_data",
    "plot",
    "regrid",
    "tasks",
    "train",
    "variables",
    "widgets",
]

_NAMES = {
    "Forecaster": ("forecaster", "Forecaster"),
    "Grid": ("grid", "Grid"),
    "Region": ("grid", "Region"),
    "forecast": ("inference", "forecast"),
    "load": ("checkpoints", "load"),
    "open_data": ("data", "open"),
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        room, inside = _NAMES[name]
        return getattr(importlib.import_module(f"{__name__}.{room}"), inside)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
