"""The five downstream tasks, as data: what is predicted from what, and how it is scored.

    from climax_lite.tasks import TASKS

    forecaster = climax_lite.train.finetune(TASKS["regional"].settings(checkpoint="tiny"))
    card = TASKS["regional"].evaluate({"tuned": forecaster})

Climate projection and downscaling are no forecasts, and have modules of their own. Importing this loads nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import TASKS, Task, task

_NAMES = ("TASKS", "Task", "task")
_MODULES = ("downscaling", "projection", "settings")

__all__ = ["TASKS", "Task", "task"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.task"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
