"""Training: `pretrain` on many worlds, `finetune` on one, with Lightning underneath.

Importing it loads nothing: the settings need neither torch nor Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import SavedState, Speed, StartingLoss, WholeCheckpoints
    from .data import DataModule
    from .loop import fit, read_log
    from .module import Training, decay_groups, schedule
    from .policies import POLICIES, apply_policy
    from .run import claim, finetune, new_network, pretrain
    from .settings import Finetune, Net, Optimisation, Pretrain, Run

_NAMES = {
    "callbacks": ("SavedState", "Speed", "StartingLoss", "WholeCheckpoints"),
    "data": ("DataModule",),
    "module": ("Training", "decay_groups", "schedule"),
    "policies": ("POLICIES", "apply_policy"),
    "loop": ("fit", "read_log"),
    "run": ("claim", "finetune", "new_network", "pretrain"),
    "settings": ("Finetune", "Net", "Optimisation", "Pretrain", "Run"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "POLICIES",
    "DataModule",
    "Finetune",
    "Net",
    "Optimisation",
    "Pretrain",
    "Run",
    "SavedState",
    "Speed",
    "StartingLoss",
    "Training",
    "WholeCheckpoints",
    "apply_policy",
    "claim",
    "decay_groups",
    "finetune",
    "fit",
    "new_network",
    "pretrain",
    "read_log",
    "schedule",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # so that the next look finds it at once
        return value
    if name in _NAMES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NAMES})
