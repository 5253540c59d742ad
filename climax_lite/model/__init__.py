"""The model: ClimaX piece by piece. It knows no data, no loss and no file but its own weights."""

from .aggregate import VariableAggregation
from .climax import ClimaX, ClimaXConfig
from .tokenize import VariableTokenizer, patchify
from .weights import from_official, load, save, to_official

__all__ = [
    "ClimaX",
    "ClimaXConfig",
    "VariableAggregation",
    "VariableTokenizer",
    "from_official",
    "load",
    "patchify",
    "save",
    "to_official",
]
