"""A task as data: what is predicted from what, where, when, and how it is scored. No task is a class of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from ..data import WEEKS_3_4, WEEKS_5_6
from ..evaluate import HEADLINE, Baseline, evaluate
from ..forecaster import Forecaster
from ..train.settings import Finetune

WEEKLY = ("temperature_850", "2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind")
"""What the paper scores in sub-seasonal prediction."""


@dataclass(frozen=True)
class Task:
    """A forecast to be learnt and scored.

    Attributes:
        name: what `TASKS` and the command line call it.
        title: one line for a human.
        source: the world.
        out_variables: what is predicted, from all that the source has.
        leads: lead times in hours that are scored.
        trained_leads: lead times that one model is trained on; by default those that are scored.
        window: (after, until) in hours, for means over weeks in place of states.
        region: name of a box; empty for the globe.
        metrics: of `climax_lite.evaluate.METRICS`.
        every_hours: hours between the initial times that are scored.
        baselines: of `climax_lite.evaluate.BASELINES`.
    """

    name: str
    title: str
    source: str = "reference"
    out_variables: tuple[str, ...] = HEADLINE
    leads: tuple[int, ...] = ()
    trained_leads: tuple[int, ...] = ()
    window: tuple[int, int] | None = None
    region: str = ""
    metrics: tuple[str, ...] = ("rmse", "acc", "bias")
    every_hours: int = 30
    baselines: tuple[str, ...] = ("persistence", "climatology", "damped persistence", "linear model")

    def settings(self, **changes: Any) -> Finetune:
        """Those of a fine-tuning run that learns it; `changes` are further fields of `Finetune`."""
        return Finetune(
            **{
                "source": self.source,
                "leads": self.trained_leads or self.leads,
                "window": self.window,
                "region": self.region,
                "out_variables": self.out_variables,
                **changes,
            }
        )

    def evaluate(
        self, models: Forecaster | Baseline | Mapping[str, Forecaster | Baseline], split: str = "test", **changes: Any
    ) -> xr.Dataset:
        """The scorecard of models beside the baselines (`climax_lite.evaluate.evaluate`, whose arguments `changes` are)."""
        arguments: dict[str, Any] = {
            "leads": self.leads,
            "variables": self.out_variables,
            "metrics": self.metrics,
            "every_hours": self.every_hours,
            "baselines": self.baselines,
            "region": self.region or None,
            "window": self.window,
        }
        return evaluate(models, self.source, split, **{**arguments, **changes})

    def on(self, source: str, out_variables: Sequence[str] | None = None) -> Task:
        """The same task on other data."""
        return dataclasses.replace(self, source=source, out_variables=tuple(out_variables or self.out_variables))


TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Task(
            "global",
            "Global forecasting: the state of the globe six hours to a month ahead",
            leads=(6, 24, 72, 120, 168, 336, 720),
        ),
        Task(
            "regional",
            "Regional forecasting: North America three to seven days ahead",
            leads=(72, 120, 168),
            region="NorthAmerica",
        ),
        Task(
            "weeks 3-4",
            "Sub-seasonal prediction: the mean over weeks three and four",
            out_variables=WEEKLY,
            window=WEEKS_3_4,
        ),
        Task(
            "weeks 5-6",
            "Sub-seasonal prediction: the mean over weeks five and six",
            out_variables=WEEKLY,
            window=WEEKS_5_6,
        ),
    )
}
"""The tasks that are forecasts. Climate projection and downscaling are no forecasts: they have rooms of their own
(`climax_lite.tasks.projection`, `climax_lite.tasks.downscaling`)."""


def task(name: str) -> Task:
    """A task by name.

    Raises:
        ValueError: for an unknown one.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: expected one of {', '.join(map(repr, TASKS))}")
    return TASKS[name]
