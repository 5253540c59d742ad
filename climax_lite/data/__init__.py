"""Data in: `open("reference")` gives an `xarray.Dataset` with checked names, units and coordinates."""

from .forecast import valid_at
from .sources import SOURCES, Source, check, open, select, split

__all__ = ["SOURCES", "Source", "check", "open", "select", "split", "valid_at"]
