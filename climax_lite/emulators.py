"""Emulators of a climate model that a network has to beat in climate projection: from a year's forcing to its annual means.

Each is made by `fit(forcing, climate)` from training runs and called with a forcing. `forcing` has global numbers or maps with the
dimension `time`; `climate` has maps (time, lat, lon). Runs are joined along `time` before fitting (`joined`): these emulators remember no
year before.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .grid import Grid

LEAST = 1e-4
"""The part of the variance that a principal component has to explain: less is rounding, and no process can be fitted to it."""


def joined(runs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Several runs one after the other, along a `time` that merely counts: two runs may have the same years."""
    if not runs:
        raise ValueError("expected one run or more, got none")
    parts = [run.drop_vars("time", errors="ignore") for run in runs.values()]
    return xr.concat(parts, "time", coords="minimal", compat="override", join="exact")


def global_mean(field: xr.Dataset | xr.DataArray) -> Any:
    """The mean over the globe, weighted by cos φ."""
    if "lat" not in field.dims:
        return field
    weights = xr.DataArray(Grid.from_dataset(field).weights(), dims="lat", coords={"lat": field["lat"]})
    return (field * weights).mean(("lat", "lon"))


@dataclass(frozen=True, eq=False)
class GlobalMeanRegression:
    """A straight line from the forcing's global means to the global mean of each variable, the same everywhere on the map.

    Its spatial error is all of the pattern; what it is worth shows what a pattern is worth.
    """

    forcings: tuple[str, ...]
    coefficients: np.ndarray  # (1 + forcings, variables)
    template: xr.Dataset

    @classmethod
    def fit(
        cls, forcing: xr.Dataset, climate: xr.Dataset, forcings: Sequence[str] | None = None
    ) -> GlobalMeanRegression:
        """Least squares over all years."""
        names = tuple(forcings or map(str, forcing.data_vars))
        means = global_mean(climate)
        y = np.stack([means[v].values for v in climate.data_vars], axis=1)
        return cls(names, _least_squares(_design(forcing, names), y), climate.isel(time=0, drop=True))

    def __call__(self, forcing: xr.Dataset) -> xr.Dataset:
        """Maps (time, lat, lon)."""
        values = _design(forcing, self.forcings) @ self.coefficients
        flat = np.ones([self.template.sizes[d] for d in ("lat", "lon")])
        return _maps(forcing, self.template, [v[:, None, None] * flat for v in values.T])


@dataclass(frozen=True, eq=False)
class PatternScaling:
    """Linear pattern scaling: a straight line from the forcing to the global mean temperature, and one from that to every cell.

    On ClimateBench it beats networks at temperature and precipitation (Lütjens et al. 2024, arXiv 2408.05288), so it stays in every table.
    """

    forcings: tuple[str, ...]
    temperature: np.ndarray  # (1 + forcings,): global mean temperature from the forcing
    patterns: dict[str, np.ndarray]  # variable → (2, H, W): intercept and slope on the global mean temperature
    template: xr.Dataset

    @classmethod
    def fit(
        cls,
        forcing: xr.Dataset,
        climate: xr.Dataset,
        forcings: Sequence[str] | None = None,
        temperature: str = "2m_temperature",
    ) -> PatternScaling:
        """Two least-squares fits.

        Args:
            forcing: global numbers, or maps, which are averaged.
            climate: maps, among them `temperature`.
            forcings: which forcings to use, by default all; in ClimateBench's protocol cumulative CO2 alone.
            temperature: the variable whose global mean scales the patterns.
        """
        if temperature not in climate:
            raise ValueError(
                f"expected {temperature!r} among the variables, got {', '.join(map(str, climate.data_vars))}"
            )
        names = tuple(forcings or map(str, forcing.data_vars))
        warmth = global_mean(climate[temperature]).values
        ones = np.stack([np.ones_like(warmth), warmth], axis=1)
        patterns = {}
        for v in map(str, climate.data_vars):
            x = climate[v].transpose("time", "lat", "lon").values
            patterns[v] = _least_squares(ones, x.reshape(len(x), -1)).reshape(2, *x.shape[1:])
        return cls(names, _least_squares(_design(forcing, names), warmth), patterns, climate.isel(time=0, drop=True))

    def scale(self, warmth: np.ndarray) -> list[np.ndarray]:
        """Maps (T, H, W) of each variable at given global mean temperatures (T,)."""
        return [a + b * np.asarray(warmth)[:, None, None] for a, b in self.patterns.values()]

    def __call__(self, forcing: xr.Dataset) -> xr.Dataset:
        """Maps (time, lat, lon)."""
        return _maps(forcing, self.template, self.scale(_design(forcing, self.forcings) @ self.temperature))


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A Gaussian process from global numbers and the leading patterns of forcing maps to every cell, as ClimateBench's own baseline.

    Maps of forcing are reduced to `components` principal components each; everything is divided by its deviation; the kernel is a Matérn of
    order 3/2 with a length for each input, plus noise, fitted by maximum likelihood to the leading principal components of the climate.
    """

    inputs: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # forcing → mean, patterns (K, n), deviations (K,)
    outputs: dict[str, tuple[np.ndarray, np.ndarray]]  # variable → mean, patterns (K, n)
    regressors: dict[str, list[Any]]  # variable → one process for each component
    template: xr.Dataset

    @classmethod
    def fit(
        cls, forcing: xr.Dataset, climate: xr.Dataset, components: int = 5, seed: int = 0, restarts: int = 1
    ) -> GaussianProcess:
        """Fit one process for each component of each variable.

        Args:
            forcing, climate: of the training years.
            components: principal components of each variable that are kept.
            seed: of the starting points of the fit.
            restarts: further starting points; what is best of all is kept.

        Raises:
            ValueError: when scikit-learn is not installed.
        """
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        except ImportError:
            raise ValueError("the Gaussian process needs scikit-learn: pip install 'climax-lite[notebook]'") from None
        inputs = {}
        for v in map(str, forcing.data_vars):
            mean, patterns = _patterns(forcing[v], components)
            amplitudes = (_flat(forcing[v]) - mean) @ patterns.T
            inputs[v] = (mean, patterns, np.maximum(amplitudes.std(axis=0), 1e-12))
        x = _amplitudes(forcing, inputs)
        outputs, regressors = {}, {}
        for v in map(str, climate.data_vars):
            mean, patterns = _patterns(climate[v], components)
            outputs[v] = (mean, patterns)
            kernel = ConstantKernel() * Matern(np.ones(x.shape[1]), (1e-2, 1e3), nu=1.5) + WhiteKernel(0.1, (1e-6, 1e2))
            amplitudes = (_flat(climate[v]) - mean) @ patterns.T
            with warnings.catch_warnings():
                # A length at the end of its range: an input that this pattern does not depend on, or weather without any signal.
                warnings.simplefilter("ignore", ConvergenceWarning)
                regressors[v] = [
                    GaussianProcessRegressor(
                        kernel, normalize_y=True, n_restarts_optimizer=restarts, random_state=seed
                    ).fit(x, a)
                    for a in amplitudes.T
                ]
        return cls(inputs, outputs, regressors, climate.isel(time=0, drop=True))

    def __call__(self, forcing: xr.Dataset) -> xr.Dataset:
        """Maps (time, lat, lon): the mean of the process."""
        x = _amplitudes(forcing, self.inputs)
        shape = [self.template.sizes[d] for d in ("lat", "lon")]
        values = []
        for v, (mean, patterns) in self.outputs.items():
            amplitudes = np.stack([gp.predict(x) for gp in self.regressors[v]], axis=1)
            values.append((mean + amplitudes @ patterns).reshape(-1, *shape))
        return _maps(forcing, self.template, values)


# ---------------------------------------------------------------- arrays


def _design(forcing: xr.Dataset, names: Sequence[str]) -> np.ndarray:
    """(T, 1 + forcings): one, and the global mean of each forcing."""
    if missing := [n for n in names if n not in forcing]:
        raise ValueError(f"this forcing has no {', '.join(missing)}; it has {', '.join(map(str, forcing.data_vars))}")
    columns = [np.asarray(global_mean(forcing[n]).values, dtype=np.float64) for n in names]
    return np.stack([np.ones_like(columns[0]), *columns], axis=1)


def _least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(x, np.asarray(y, dtype=np.float64), rcond=None)[0]


def _maps(forcing: xr.Dataset, template: xr.Dataset, values: Sequence[np.ndarray]) -> xr.Dataset:
    data = {
        v: (("time", "lat", "lon"), np.asarray(x, np.float32), template[v].attrs)
        for v, x in zip(template.data_vars, values, strict=True)
    }
    coords = {"time": forcing["time"]} if "time" in forcing.coords else {}
    return xr.Dataset(data, coords | {"lat": template["lat"], "lon": template["lon"]})


def _flat(field: xr.DataArray) -> np.ndarray:
    """(T, n), a map's cells weighted by nothing: the weights cancel between patterns and amplitudes."""
    values = field.transpose("time", ...).values.astype(np.float64)
    return values.reshape(len(values), -1)


def _patterns(field: xr.DataArray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean (n,) and the leading orthonormal patterns (K, n) of a field over time, those that explain something."""
    x = _flat(field)
    mean = x.mean(axis=0)
    _, size, patterns = np.linalg.svd(x - mean, full_matrices=False)
    keep = max(1, int((size**2 > LEAST * (size**2).sum()).sum()))
    return mean, patterns[: min(keep, components)]


def _amplitudes(forcing: xr.Dataset, inputs: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.concatenate(
        [((_flat(forcing[v]) - mean) @ patterns.T) / scale for v, (mean, patterns, scale) in inputs.items()], axis=1
    )
