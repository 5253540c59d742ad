"""Scores on a round Earth: latitude-weighted MSE, RMSE, ACC, bias, Pearson correlation, ClimateBench's NRMSE, and zonal spectra.

Every score takes either

- tensors or arrays (B, V, H, W) and the latitudes `lat` (H,) in degrees, and returns (V,): one score per variable; or
- `xarray` datasets or arrays with the dimensions `lat` and `lon`, whose latitudes they read themselves, and returns one score
  per variable and per whatever other dimension remains: the average is over `lat`, `lon` and the dimensions in `over`
  (default `time`).

The weights are L(i) = cos φ_i / mean cos φ, of the pretraining objective of Nguyen et al. (2023). On a crop they average to
one over the crop. Anomalies, where a score needs them, are departures from a climatology that is handed in: whoever calls decides which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr

from .grid import Grid

Field = TypeVar("Field", torch.Tensor, xr.Dataset, xr.DataArray)


def latitude_weights(lat: Any) -> torch.Tensor:
    """L(i) = cos φ_i / mean cos φ as a float64 tensor (H,), for latitudes in degrees, in any order.

    Raises:
        ValueError: when a latitude is not within ±90 degrees.
    """
    degrees = torch.from_numpy(np.asarray(lat, dtype=np.float64).copy())
    if degrees.ndim != 1 or not bool((degrees.abs() <= 90).all()):
        raise ValueError(
            f"expected a list of latitudes within ±90 degrees, got shape {tuple(degrees.shape)}, {_range(degrees)}"
        )
    w = torch.cos(torch.deg2rad(degrees)).clamp(min=0.0)
    return w / w.mean()


def latitude_weighted_mse(prediction: torch.Tensor, target: torch.Tensor, lat: Any) -> torch.Tensor:
    """The training loss: mean over batch, variables, latitude and longitude of L(i)·(x̂ − x)², a scalar with a gradient.

    The pretraining objective of Nguyen et al. (2023). `prediction` and `target` are (B, V, H, W), normalised; `lat` (H,) in degrees.
    """
    prediction, target, weights = _tensors(prediction, target, lat)
    return (weights[:, None] * (prediction - target) ** 2).mean()


def mse(prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",)) -> Field:
    """Latitude-weighted mean squared error per variable."""
    return _apply(lambda p, t, m: m.everything((p - t) ** 2), prediction, target, lat, over)


def rmse(prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",)) -> Field:
    """Latitude-weighted RMSE per variable: the root of the spatial mean of every sample, then the mean over samples.

    This order is ClimaX's; WeatherBench 2 has it as `RMSESqrtBeforeTimeAvg`. Its headline scores, and WeatherBench 1's code, take
    one root over space and samples together, which is never smaller: `rmse_pooled`. Say which one a table holds.
    """
    return _apply(lambda p, t, m: m.samples(m.space((p - t) ** 2) ** 0.5), prediction, target, lat, over)


def rmse_pooled(prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",)) -> Field:
    """Latitude-weighted RMSE per variable with one root over space and samples together, as the WeatherBench tables have it."""
    return _apply(lambda p, t, m: m.everything((p - t) ** 2) ** 0.5, prediction, target, lat, over)


def bias(prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",)) -> Field:
    """Latitude-weighted mean of prediction minus target per variable: positive where the forecast is too high."""
    return _apply(lambda p, t, m: m.everything(p - t), prediction, target, lat, over)


def acc(
    prediction: Field, target: Field, climatology: Field, lat: Any = None, *, over: Sequence[str] = ("time",)
) -> Field:
    """Anomaly correlation coefficient per variable, as WeatherBench 2 defines it.

    Anomalies from `climatology`; for every sample the ratio Σ L p'·t' / √(Σ L p'² · Σ L t'²) over space, without removing a mean; then the
    mean over samples (Rasp et al. 2024). `climatology` has the shape of `target`, or broadcasts to it.
    """

    def score(p, t, m, c):
        p, t = p - c, t - c
        return m.samples(m.space(p * t) / (m.space(p**2) * m.space(t**2)) ** 0.5)

    return _apply(score, prediction, target, lat, over, climatology)


def acc_climax(
    prediction: Field, target: Field, climatology: Field, lat: Any = None, *, over: Sequence[str] = ("time",)
) -> Field:
    """Anomaly correlation coefficient per variable, as the official ClimaX code computes it.

    After the climatology an unweighted mean over batch and space is removed, and the sums run over batch and space together. The value
    therefore depends on how samples are batched; report `acc` unless you compare with that code. The climatology there is the time mean
    of the evaluated split.
    """

    def score(p, t, m, c):
        p, t = p - c, t - c
        p, t = p - m.unweighted(p), t - m.unweighted(t)
        return m.everything(p * t) / (m.everything(p**2) * m.everything(t**2)) ** 0.5

    return _apply(score, prediction, target, lat, over, climatology)


def pearson(prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",)) -> Field:
    """Latitude-weighted Pearson correlation per variable over space and samples together, the weighted means removed."""

    def score(p, t, m):
        p, t = p - m.everything(p), t - m.everything(t)
        return m.everything(p * t) / (m.everything(p**2) * m.everything(t**2)) ** 0.5

    return _apply(score, prediction, target, lat, over)


def nrmse_s(
    prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",), normalizer: Any = None
) -> Field:
    """ClimateBench's spatial NRMSE: weighted RMSE of the time means, over the target's global mean (or over `normalizer`).

    Watson-Parris et al. (2022).
    """

    def score(p, t, m):
        return m.space((m.samples(p) - m.samples(t)) ** 2) ** 0.5 / _normalizer(t, m, normalizer)

    return _apply(score, prediction, target, lat, over)


def nrmse_g(
    prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",), normalizer: Any = None
) -> Field:
    """ClimateBench's global NRMSE: RMSE in time of the weighted global means, over the target's global mean (or over `normalizer`).

    Watson-Parris et al. (2022).
    """

    def score(p, t, m):
        return m.samples((m.space(p) - m.space(t)) ** 2) ** 0.5 / _normalizer(t, m, normalizer)

    return _apply(score, prediction, target, lat, over)


def nrmse(
    prediction: Field, target: Field, lat: Any = None, *, over: Sequence[str] = ("time",), normalizer: Any = None
) -> Field:
    """ClimateBench's total: NRMSE_s + 5 · NRMSE_g. Watson-Parris et al. (2022)."""
    spatial = nrmse_s(prediction, target, lat, over=over, normalizer=normalizer)
    return spatial + 5 * nrmse_g(prediction, target, lat, over=over, normalizer=normalizer)


def zonal_spectrum(field: xr.DataArray, south: float = 30, north: float = 60, both: bool = False) -> xr.DataArray:
    """Variance along the rows by zonal wavenumber 1 to W/2, in the field's units squared.

    The mean over the rows of a belt, weighted by cos φ, and over every other dimension; the sum over all wavenumbers is the variance along
    the rows.

    Args:
        field: (..., lat, lon) all round the globe, latitudes ascending.
        south: degrees; the belt's edge in the south.
        north: degrees; the belt's edge in the north.
        both: the mirrored belt of the other hemisphere too.

    Raises:
        ValueError: when no row lies in the belt.
    """
    phi = abs(field["lat"]) if both else field["lat"]
    belt = field.isel(lat=np.flatnonzero((phi >= south) & (phi <= north))).transpose(..., "lat", "lon")
    if not belt.sizes["lat"]:
        raise ValueError(f"expected rows between {south} and {north} degrees, and the field has none there")
    waves = np.fft.rfft(belt.values.astype(np.float64), axis=-1) / belt.sizes["lon"]
    power = 2 * abs(waves[..., 1:]) ** 2
    if belt.sizes["lon"] % 2 == 0:
        power[..., -1] /= 2  # the shortest wave has no partner of negative wavenumber
    cos = np.cos(np.deg2rad(belt["lat"].values))
    mean = np.einsum("...hk,h->...k", power, cos / cos.sum())
    wavenumber = np.arange(1, mean.shape[-1] + 1)
    return xr.DataArray(mean.reshape(-1, len(wavenumber)).mean(0), {"wavenumber": wavenumber}, name=field.name)


def block_bootstrap(
    scores: Any, block: int, repeats: int = 2000, rng: np.random.Generator | None = None
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of the mean of a series of scores, resampled in blocks of `block` neighbours.

    Moving blocks keep the dependence between neighbouring scores, which single draws would destroy (Künsch 1989). For the difference
    between two forecasts hand in the differences of their scores: they share the weather.

    Raises:
        ValueError: when the scores are not a finite series (T,), or the block is longer than it.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"expected a series of finite scores (T,), got shape {scores.shape}")
    if not 1 <= block <= len(scores):
        raise ValueError(f"expected a block of 1 to {len(scores)} scores, got {block}")
    rng = np.random.default_rng(0) if rng is None else rng
    starts = rng.integers(0, len(scores) - block + 1, (repeats, -(-len(scores) // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(repeats, -1)[:, : len(scores)]
    low, high = np.percentile(scores[index].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


# ---------------------------------------------------------------- one formula for tensors and for names


class _TensorMeans:
    """The averages of a formula for (B, V, H, W); dimensions are kept, so that results broadcast."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights = weights[:, None]

    def space(self, x):
        return (x * self.weights).mean(dim=(-2, -1), keepdim=True)

    def samples(self, x):
        return x.mean(dim=0, keepdim=True)

    def everything(self, x):
        return self.samples(self.space(x))

    def unweighted(self, x):
        return x.mean(dim=(0, -2, -1), keepdim=True)


class _NamedMeans:
    """The averages of a formula for named dimensions."""

    def __init__(self, weights: xr.DataArray, over: Sequence[str]) -> None:
        self.weights, self.over = weights, list(over)

    def space(self, x):
        return (x * self.weights).mean(("lat", "lon"), skipna=False)

    def samples(self, x):
        return x.mean([d for d in self.over if d in x.dims], skipna=False)

    def everything(self, x):
        return self.samples(self.space(x))

    def unweighted(self, x):
        return self.samples(x.mean(("lat", "lon"), skipna=False))


def _normalizer(target, means, given):
    return means.everything(target) if given is None else given


def _apply(formula: Callable, prediction, target, lat, over: Sequence[str], climatology=None):
    """Run `formula(prediction, target, means[, climatology])` on checked inputs of either kind."""
    named = (xr.Dataset, xr.DataArray)
    if isinstance(target, named):
        if lat is not None:
            raise ValueError("expected no `lat` beside xarray input, which carries its own latitudes")
        for what, field in (("prediction", prediction), ("target", target), ("climatology", climatology)):
            if field is not None:
                _check_named(what, field)
        if missing := [d for d in over if d not in target.dims]:
            raise ValueError(
                f"cannot average over {missing}: the target has the dimensions {sorted(map(str, target.dims))}"
            )
        means = _NamedMeans(
            xr.DataArray(Grid.from_dataset(target).weights(), dims="lat", coords={"lat": target["lat"]}), over
        )
        # join="exact": scores of fields on different times or grids would silently be those of the overlap
        with xr.set_options(arithmetic_join="exact", keep_attrs=False):
            try:
                return formula(prediction, target, means, *([] if climatology is None else [climatology]))
            except ValueError as error:
                raise ValueError(
                    f"prediction, target and climatology must have the same times, latitudes and longitudes ({error}): align them first"
                ) from error
    prediction, target, weights = _tensors(prediction, target, lat)
    extra = [] if climatology is None else [_tensor(climatology).to(target)]
    if extra:
        _finite("climatology", extra[0])
    return formula(prediction, target, _TensorMeans(weights), *extra).squeeze((0, -2, -1))


def _tensors(prediction, target, lat) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if lat is None:
        raise ValueError("expected the latitudes in degrees as `lat`: tensors do not carry them")
    prediction, target = _tensor(prediction), _tensor(target)
    if prediction.ndim != 4 or prediction.shape != target.shape:
        raise ValueError(
            "expected prediction and target of one shape (batch, variable, lat, lon), "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    weights = latitude_weights(lat)
    if len(weights) != target.shape[-2]:
        raise ValueError(
            f"expected as many latitudes as rows, got {len(weights)} latitudes for {target.shape[-2]} rows"
        )
    if (
        not prediction.requires_grad
    ):  # in training a non-finite loss is the trainer's to report, and the check would cost a synchronisation
        _finite("prediction", prediction)
        _finite("target", target)
    return prediction, target, weights.to(target)


def _tensor(x) -> torch.Tensor:
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy()  # a tensor that shares memory could be written to, and torch warns
    return torch.as_tensor(x)


def _finite(what: str, x: torch.Tensor) -> None:
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"expected finite values, got {bad} NaN or infinite ones in the {what}: mask or fill them first"
        )


def _check_named(what: str, field) -> None:
    if not isinstance(field, (xr.Dataset, xr.DataArray)):
        raise ValueError(f"expected the {what} as xarray like the target, got {type(field).__name__}")
    if "lat" not in field.dims or "lon" not in field.dims:
        raise ValueError(
            f"expected dimensions 'lat' and 'lon' in the {what}, got {sorted(map(str, field.dims))}: rename them first"
        )
    arrays = field.data_vars.values() if isinstance(field, xr.Dataset) else [field]
    for a in arrays:
        if not bool(np.isfinite(a).all()):
            raise ValueError(
                f"expected finite values, got NaN or infinity in the {what}{f' ({a.name})' if a.name else ''}: mask or fill them first"
            )


def _range(x: torch.Tensor) -> str:
    return f"from {float(x.min()):g} to {float(x.max()):g}" if x.numel() else "empty"
