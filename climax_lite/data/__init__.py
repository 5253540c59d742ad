"""Data in: `open("reference")` gives an `xarray.Dataset` with checked names, units and coordinates; loaders make batches of samples."""

from .forecast import LEADS, WEEKS_3_4, WEEKS_5_6, Batch, ForecastSamples, Record, valid_at
from .mixture import Mixture, MixtureLoader, ordered
from .normalize import Climatology, Normalizer, Statistics, statistics
from .sources import SOURCES, Source, check, open, select, split
from .windows import PairSamples, ProjectionSamples, by_run

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
    "Source",
    "Statistics",
    "by_run",
    "check",
    "open",
    "ordered",
    "select",
    "split",
    "statistics",
    "valid_at",
]
