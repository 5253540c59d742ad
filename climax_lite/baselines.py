"""Forecasts that need no network, and that a network has to beat: climatology, persistence, damped persistence, a linear model.

Every baseline is called as `baseline(initial, lead_hours)` with a dataset of initial states (time, lat, lon) and answers with a forecast of
the same shape, labelled by the initial time. Those that learn are made by `fit` from a training record, and see nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from .data.normalize import DAYS_A_YEAR, Climatology
from .grid import Grid

__all__ = ["DAYS_A_YEAR", "AnomalyPersistence", "Climatology", "DampedPersistence", "LinearModel", "persistence"]


def persistence(initial: xr.Dataset, lead_hours: float) -> xr.Dataset:
    """Tomorrow as today: the initial state itself, at every lead time."""
    return initial


@dataclass(frozen=True, eq=False)
class AnomalyPersistence:
    """The climatology of the valid time plus today's anomaly: the season goes on, what is unusual stays."""

    climatology: Climatology

    def __call__(self, initial: xr.Dataset, lead_hours: float) -> xr.Dataset:
        """The forecast of every initial state, labelled by the initial time."""
        return self.climatology(initial, lead_hours) + self.climatology.anomaly(initial)


@dataclass(frozen=True, eq=False)
class DampedPersistence:
    """Climatology plus today's anomaly times a factor that falls with lead time.

    The factor is the one that minimises the latitude-weighted squared error on the training record: Σ x'(t)·x'(t+Δt) / Σ x'(t)², per
    variable, and not below zero.
    """

    climatology: Climatology
    record: xr.Dataset = field(repr=False)  # anomalies of the training record
    _factors: dict[float, xr.Dataset] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, record: xr.Dataset, climatology: Climatology | None = None) -> DampedPersistence:
        """Keep what is needed of the training record; the factor of a lead time is computed when that lead time is first asked for."""
        climatology = climatology or Climatology.fit(record)
        record = record[[v for v in record.data_vars if "time" in record[v].dims]]
        return cls(climatology, climatology.anomaly(record).load())

    def factor(self, lead_hours: float) -> xr.Dataset:
        """The damping factor of a lead time: one number per variable, between 0 and about 1."""
        if lead_hours not in self._factors:
            initial, later = _pairs(self.record["time"].values, lead_hours)
            weights = Grid.from_dataset(self.record).weights()
            self._factors[lead_hours] = xr.Dataset(
                {v: _damping(a.values, initial, later, weights) for v, a in self.record.data_vars.items()}
            )
        return self._factors[lead_hours]

    def __call__(self, initial: xr.Dataset, lead_hours: float) -> xr.Dataset:
        """The forecast of every initial state, labelled by the initial time."""
        damped = self.factor(lead_hours)[list(initial.data_vars)] * self.climatology.anomaly(initial)
        return (damped + self.climatology(initial, lead_hours)).transpose("time", "lat", "lon").astype(np.float32)


def _damping(anomalies: np.ndarray, initial: np.ndarray, later: np.ndarray, weights: np.ndarray) -> float:
    x, y = anomalies[initial], anomalies[later]
    return max(0.0, float(np.einsum("thw,thw,h->", x, y, weights) / np.einsum("thw,thw,h->", x, x, weights)))


def _pairs(times: np.ndarray, lead_hours: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all pairs (state, state `lead_hours` later) that a record holds."""
    later = times + np.timedelta64(round(lead_hours * 3600), "s")
    initial = np.flatnonzero(np.isin(later, times))
    if not len(initial):
        raise ValueError(f"the record of {len(times)} times holds no pair {lead_hours:g} h apart")
    return initial, np.searchsorted(times, later[initial])


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Damped persistence plus a linear correction in the space of leading principal components.

    Today's anomalies of all variables, divided by their standard deviation and weighted by √cos φ, are projected on `components` empirical
    orthogonal functions (EOFs). Ridge regression maps these amplitudes to those of the error that damped persistence makes, one map per
    lead time. A strong ridge gives damped persistence back, so small scales that the EOFs do not span keep their persistence. With damping
    zero it is the linear inverse model of the climate literature (Penland and Sardeshmukh 1995), its map fitted directly for each lead.
    """

    damped: DampedPersistence = field(repr=False)
    variables: tuple[str, ...]
    patterns: np.ndarray = field(repr=False)  # (K, V·H·W) orthonormal, of the scaled and weighted anomalies
    scale: np.ndarray = field(repr=False)  # (V, H, 1): √weight / standard deviation
    amplitudes: np.ndarray = field(repr=False)  # (T, K) of the training record
    fixed_ridge: float | None = None
    gap: int = 40
    _maps: dict[float, tuple[np.ndarray, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls,
        record: xr.Dataset,
        climatology: Climatology | None = None,
        variables: Sequence[str] | None = None,
        components: int = 200,
        ridge: float | None = None,
        gap: int = 40,
    ) -> LinearModel:
        """Principal components of the training record; the map of a lead time is fitted when that lead time is first asked for.

        Args:
            record: the training record, the only thing that is ever looked at.
            climatology: what anomalies are departures from; by default one fitted on the record.
            variables: which variables to use, by default all that change in time; twenty take gigabytes of memory.
            components: how many principal components, K.
            ridge: strength of the ridge, in units of the mean variance of the components; by default it is chosen for every lead time
                from `RIDGES`, by cross-validation over blocks of the training record.
            gap: times on both sides of such a block that are not fitted on while it is predicted.

        Raises:
            ValueError: when there are not fewer components than times, or a variable is missing.
        """
        names = tuple(variables or [str(v) for v in record.data_vars if "time" in record[v].dims])
        if missing := sorted(set(names) - set(map(str, record.data_vars))):
            raise ValueError(
                f"the training record has no {', '.join(missing)}; it has {', '.join(map(str, record.data_vars))}"
            )
        if not 1 <= components < record.sizes["time"]:
            raise ValueError(
                f"expected at least one component and fewer than times, got {components} of {record.sizes['time']} times"
            )
        if ridge is not None and ridge < 0:
            raise ValueError(f"expected a ridge of zero or more, got {ridge:g}")
        damped = DampedPersistence.fit(record[list(names)], climatology)
        weights = Grid.from_dataset(record).weights()[None, :, None]
        x = _stack(damped.record, names)
        deviation = np.sqrt((x**2 * weights).mean(axis=(0, 2, 3)))[:, None, None]
        scale = (np.sqrt(weights) / deviation).astype(np.float32)
        x = (x * scale).reshape(len(x), -1)
        # The eigenvectors of the T × T matrix give the patterns without the (V·H·W)² covariance.
        values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
        values, vectors = values[-components:], vectors[:, -components:]
        patterns = (vectors / np.sqrt(values)).T.astype(np.float32) @ x
        return cls(damped, names, patterns, scale, vectors * np.sqrt(values), ridge, gap)

    def ridge(self, lead_hours: float) -> float:
        """The strength of the ridge at a lead time."""
        return self._map(lead_hours)[1]

    def _project(self, anomalies: np.ndarray) -> np.ndarray:
        """(T, V, H, W) → amplitudes (T, K)."""
        return (anomalies * self.scale).reshape(len(anomalies), -1) @ self.patterns.T

    def _map(self, lead_hours: float) -> tuple[np.ndarray, float]:
        if lead_hours not in self._maps:
            record = self.damped.record
            initial, later = _pairs(record["time"].values, lead_hours)
            factors = self._factors(lead_hours)
            a = self.amplitudes[initial]
            b = self.amplitudes[later] - self._project(_stack(record, self.variables) * factors)[initial]
            ridge = _best_ridge(a, b, initial, later, gap=self.gap) if self.fixed_ridge is None else self.fixed_ridge
            self._maps[lead_hours] = _regress(a, b, [ridge])[0].astype(np.float32), ridge
        return self._maps[lead_hours]

    def _factors(self, lead_hours: float) -> np.ndarray:
        """(V, 1, 1) damping factors."""
        factors = self.damped.factor(lead_hours)
        return np.array([factors[v].item() for v in self.variables], np.float32)[:, None, None]

    def __call__(self, initial: xr.Dataset, lead_hours: float) -> xr.Dataset:
        """The forecast of every initial state, labelled by the initial time; `initial` must hold all the model's variables."""
        if missing := sorted(set(self.variables) - set(map(str, initial.data_vars))):
            raise ValueError(f"this linear model needs {', '.join(missing)} in the initial state too")
        initial = initial[list(self.variables)]
        climatology = self.damped.climatology
        x = _stack(climatology.anomaly(initial), self.variables)
        correction = self._project(x) @ self._map(lead_hours)[0] @ self.patterns
        # A row on a pole has no weight, and no correction.
        y = x * self._factors(lead_hours) + correction.reshape(x.shape) / np.where(self.scale > 0, self.scale, np.inf)
        forecast = climatology(initial, lead_hours)
        for i, name in enumerate(self.variables):
            forecast[name] = forecast[name] + y[:, i]
        return forecast


RIDGES = (0.1, 0.5, 2.0, 8.0, 32.0)
"""Strengths of the ridge that `LinearModel` chooses from, in units of the mean variance of the components."""


def _regress(a: np.ndarray, b: np.ndarray, ridges: Sequence[float]) -> list[np.ndarray]:
    """The ridge-regression maps (K, K) from a (N, K) to b (N, K)."""
    values, vectors = np.linalg.eigh(a.T @ a)
    target = vectors.T @ (a.T @ b)
    return [vectors @ (target / (values + r * values.mean())[:, None]) for r in ridges]


def _best_ridge(
    a: np.ndarray, b: np.ndarray, initial: np.ndarray, later: np.ndarray, blocks: int = 5, gap: int = 40
) -> float:
    """Cross-validation over blocks of consecutive times; pairs with a state within `gap` steps of the block are not fitted on."""
    errors = np.zeros(len(RIDGES))
    for block in np.array_split(np.arange(len(initial)), blocks):
        away = (later < initial[block[0]] - gap) | (initial > later[block[-1]] + gap)
        if away.any():
            errors += [((a[block] @ m - b[block]) ** 2).sum() for m in _regress(a[away], b[away], RIDGES)]
    return RIDGES[int(errors.argmin())]


def _stack(ds: xr.Dataset, names: Sequence[str]) -> np.ndarray:
    """(T, V, H, W) float32."""
    return np.stack([ds[name].values for name in names], axis=1).astype(np.float32, copy=False)
