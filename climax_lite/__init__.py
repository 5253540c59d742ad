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
    from . import baselines, check, data, grid, metrics, model, plot, regrid, variables, widgets
    from .checkpoints import load
    from .data import open as open_data
    from .grid import Grid, Region

try:
    __version__ = version("climax-lite")
except PackageNotFoundError:  # imported from a folder that was not installed, as on Colab before the set-up
    __version__ = "0+unknown"

__all__ = [
    "Grid",
    "Region",
    "baselines",
    "check",
    "data",
    "grid",
    "load",
    "metrics",
    "model",
    "open_data",
    "plot",
    "regrid",
    "variables",
    "widgets",
]

_NAMES = {
    "Grid": ("grid", "Grid"),
    "Region": ("grid", "Region"),
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
