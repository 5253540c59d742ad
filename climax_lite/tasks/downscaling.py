"""Downscaling (Nguyen et al. 2023): from a coarse map of a day to the fine one.

    x̂ = B·x + d + σ_v · net(B·x, terrain)

with B a bicubic interpolation that keeps the means over the coarse cells, d the mean over the training days of what it lacks, and σ_v the
deviation of the rest. The paper's network gives the whole fine map from the bilinear one; here it starts at zero, so that before its first
step the answer is the best that needs no network, and every step is spent on what changes from day to day inside a coarse cell.

Pairs are of two kinds. **Paired**: the coarse map is the conservative mean of the fine one (a perfect model), and every error counts.
**Unpaired**: the coarse map is of another model, whose weather on that date is another; only climates can be compared, and a squared
error teaches the network to ignore its input.

B batch, V variables, H W latitude × longitude of the fine grid, h w of the coarse one.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .. import metrics
from ..checkpoints import load
from ..data import Batch, PairSamples, Record, daily_means, same_days, sources
from ..grid import Grid
from ..model import ClimaX
from ..model.adapt import on_grid_shape, with_config, with_variables
from ..model.tokenize import cells
from ..predictor import Predictor
from ..regrid import regrid, weights
from ..train import DataModule, Net, Optimisation, Run, Training, apply_policy, fit, new_network
from ..variables import variable
from ..variables import variables as look_up
from .settings import Downscaling

COARSE = Grid.regular(32, 64)
"""5.625°, the grid of the coarse half."""

STATIC = ("land_sea_mask", "orography", "lattitude")
"""What the fine grid knows of itself, whatever the day."""

COUSINS = {"total_precipitation_24hr": "total_precipitation_6hr"}
"""Variables that a checkpoint knows under another accumulation time, whose tokens start from those."""

BLOCK = 10
"""Days of a block in the bootstrap: errors of neighbouring days share their weather."""

Pair = tuple[xr.Dataset, xr.Dataset]
"""Coarse maps (time, h, w) and fine ones (time, H, W) of the same times, the latter with their terrain."""

Method = Callable[[xr.Dataset], xr.Dataset]
"""Coarse maps (time, h, w) → fine ones (time, H, W), in physical units."""


# ---------------------------------------------------------------- pairs


def coarsen(fine: xr.Dataset, grid: Grid = COARSE) -> xr.Dataset:
    """The perfect model's coarse half: conservative means over the coarse cells of what changes in time."""
    return regrid(fine[[v for v in fine.data_vars if "time" in fine[v].dims]], grid)


def open_pairs(part: str = "train", source: str = "fine", coarse: str = "", variables: Sequence[str] = ()) -> Pair:
    """The coarse and the fine daily maps of a split, with the same times; the fine ones with their terrain. Both are held in memory.

    Args:
        part: a split of `source`.
        source: the fine world.
        coarse: a world to take the coarse half from, on the same dates or days of the year: unpaired. Empty for means of the fine one:
            paired.
        variables: what to downscale; by default all that both sides have.
    """
    fine = sources.open(source)
    fine = fine.sel(time=sources.split(source, part))
    other = sources.open(coarse) if coarse else fine
    moving = [str(v) for v in fine.data_vars if "time" in fine[v].dims and v in other.data_vars]
    names = [v.name for v in look_up(variables)] or moving
    if missing := [v for v in names if v not in moving]:
        raise ValueError(f"expected variables that both sides have, {', '.join(moving)}, got {', '.join(missing)}")
    fine = _daily(fine[[*names, *(v for v in STATIC if v in fine)]]).load()
    if not coarse:
        return coarsen(fine), fine
    return same_days(coarsen(_daily(other[names])), fine)


def _daily(ds: xr.Dataset) -> xr.Dataset:
    times = ds["time"].values
    return daily_means(ds) if (times[1:] - times[:-1]).min() < np.timedelta64(1, "D") else ds


# ---------------------------------------------------------------- without a network


def interpolate(coarse: xr.Dataset, grid: Grid, method: str = "bilinear", conserving: bool = False) -> xr.Dataset:
    """Coarse maps on a finer grid, both round the globe.

    Amounts that cannot be negative are cut at zero: bicubic overshoots at edges.

    Args:
        coarse: (time, h, w), without missing values.
        grid: the fine one.
        method: `bilinear`, or `bicubic` (Keys 1981, a = −1/2), which wants equal steps between coarse cells.
        conserving: keep the means over the coarse cells. Interpolation B takes values at points; a coarse value is a mean, A of the fine
            ones. So B is given other values at the points, (A·B)⁻¹·x, and A·B·(A·B)⁻¹·x = x. Unlike `conserve` it makes no steps.

    Raises:
        ValueError: for another method, or a coarse grid that bicubic cannot take.
    """
    source = Grid.from_dataset(coarse)
    if method not in ("bilinear", "bicubic"):
        raise ValueError(f"expected method 'bilinear' or 'bicubic', got {method!r}")
    both = weights(source, grid, "bilinear") if method == "bilinear" else _keys(source, grid)
    if conserving:
        both = tuple(b @ np.linalg.inv(a @ b) for a, b in zip(weights(grid, source), both, strict=True))  # type: ignore[assignment]
    rows, columns = both
    return _mapped(coarse, grid, lambda x: rows @ x @ columns.T)


def _keys(source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(H, h) and (W, w) weights of cubic convolution; rows beyond the outermost repeat it."""
    out = []
    for old, new, period in ((source.lat, target.lat, None), (source.lon, target.lon, 360.0)):
        step = np.diff(old).mean()
        if not np.allclose(np.diff(old), step, rtol=1e-3) or (period and not source.periodic):
            raise ValueError("expected a coarse grid of equal steps round the globe for bicubic interpolation")
        at = ((new - old[0]) % period if period else new - old[0]) / step
        base = np.floor(at).astype(int)
        matrix = np.zeros((len(new), len(old)))
        for k in (-1, 0, 1, 2):
            away = abs(at - base - k)
            near = 1.5 * away**3 - 2.5 * away**2 + 1
            far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
            index = (base + k) % len(old) if period else (base + k).clip(0, len(old) - 1)
            np.add.at(matrix, (np.arange(len(new)), index), np.where(away <= 1, near, far))
        out.append(matrix)
    return out[0], out[1]


def conserve(fine: xr.Dataset, coarse: xr.Dataset) -> xr.Dataset:
    """The nearest fine maps whose means over the coarse cells are the coarse ones.

    With A the conservative mean, x + A⁺(y − A·x). Where y = A·x_true, x − x_true loses its part outside the null space of A, so the
    error cannot grow, up to the cos φ in the score (and to the cut at zero of amounts). In unpaired data y is no mean of the truth.
    """
    rows, columns = weights(Grid.from_dataset(fine), Grid.from_dataset(coarse))
    back_rows, back_columns = np.linalg.pinv(rows), np.linalg.pinv(columns)

    def nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + back_rows @ (y - rows @ x @ columns.T) @ back_columns.T

    names = [str(v) for v in fine.data_vars]
    data = {
        v: (fine[v].dims, _possible(v, nearest(fine[v].values.astype(np.float64), coarse[v].values)), fine[v].attrs)
        for v in names
    }
    return xr.Dataset(data, fine.coords, fine.attrs)


def _mapped(ds: xr.Dataset, grid: Grid, f: Callable[[np.ndarray], np.ndarray]) -> xr.Dataset:
    maps = {
        str(v): (("time", "lat", "lon"), _possible(str(v), f(a.values.astype(np.float64))), a.attrs)
        for v, a in ds.data_vars.items()
    }
    return xr.Dataset(maps, {"time": ds["time"], "lat": grid.lat, "lon": grid.lon})


def _possible(name: str, values: np.ndarray) -> np.ndarray:
    """Rain is not negative."""
    return (values.clip(min=0) if name.startswith("total_precipitation") else values).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Detail:
    """What is known without gradients: the mean detail of the training days, and the numbers that normalise.

    Attributes:
        mean: (lat, lon) of the coarse maps, interpolated by `smooth`.
        detail: (lat, lon) of fine minus these.
        scale: deviation of the interpolated maps about `mean`.
        unit: deviation of the details about `detail`: what a network is asked for is of order one.
        static: `STATIC`, normalised.
    """

    mean: xr.Dataset
    detail: xr.Dataset
    scale: Mapping[str, float]
    unit: Mapping[str, float]
    static: xr.Dataset

    @classmethod
    def fit(cls, coarse: xr.Dataset, fine: xr.Dataset) -> Detail:
        """From the training days, which have the same times; `fine` with its terrain.

        Raises:
            ValueError: when times differ, or the terrain is missing.
        """
        names = [str(v) for v in coarse.data_vars]
        if missing := [v for v in (*names, *STATIC) if v not in fine]:
            raise ValueError(f"expected the fine maps and their terrain, got no {', '.join(missing)}")
        if not np.array_equal(coarse["time"].values, fine["time"].values):
            raise ValueError("expected coarse and fine maps of the same times: pair them first (open_pairs, same_days)")
        grid = Grid.from_dataset(fine)
        w = xr.DataArray(grid.weights(), dims="lat", coords={"lat": fine["lat"]})
        smooth = _smooth(coarse, fine)
        mean, detail = smooth.mean("time"), (fine[names] - smooth).mean("time")
        static = fine[list(STATIC)]
        centred = static - (static * w).mean()
        return cls(
            mean,
            detail,
            _deviation(smooth - mean, w),
            _deviation(fine[names] - smooth - detail, w),
            (centred / ((centred**2) * w).mean() ** 0.5).astype("float32"),
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """What is downscaled."""
        return tuple(map(str, self.mean.data_vars))

    @property
    def grid(self) -> Grid:
        """The fine one."""
        return Grid.from_dataset(self.mean)

    def smooth(self, coarse: xr.Dataset) -> xr.Dataset:
        """B·x: the coarse maps, interpolated so that their means over the coarse cells stay.

        Raises:
            ValueError: when a variable is missing.
        """
        if missing := [v for v in self.variables if v not in coarse]:
            raise ValueError(f"expected {', '.join(self.variables)}, got no {', '.join(missing)}")
        return _smooth(coarse[list(self.variables)], self.mean)

    def __call__(self, coarse: xr.Dataset) -> xr.Dataset:
        """B·x + d: interpolated, with the mean detail."""
        return self.finish(self.smooth(coarse), None)

    def inputs(self, smooth: xr.Dataset) -> xr.Dataset:
        """What a network sees: departures from the mean map in units of their deviation, and the terrain."""
        return ((smooth - self.mean) / _dataset(self.scale)).astype("float32").merge(self.static)

    def targets(self, smooth: xr.Dataset, fine: xr.Dataset) -> xr.Dataset:
        """What a network is asked for: details without their mean, in units of their deviation."""
        return ((fine[list(self.variables)] - smooth - self.detail) / _dataset(self.unit)).astype("float32")

    def finish(self, smooth: xr.Dataset, details: xr.Dataset | None) -> xr.Dataset:
        """Fine maps from interpolated ones and a network's answer (or none)."""
        out = smooth + self.detail + (0 if details is None else details * _dataset(self.unit))
        for v in self.variables:
            out[v] = out[v].copy(data=_possible(v, out[v].values)).assign_attrs(variable(v).attrs)
        return out


def _smooth(coarse: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """With the very coordinates of `like`, which xarray compares to the last bit."""
    smooth = interpolate(coarse, Grid.from_dataset(like), "bicubic", conserving=True)
    return smooth.assign_coords(lat=like["lat"], lon=like["lon"]).transpose("time", "lat", "lon")


def _deviation(ds: xr.Dataset, w: xr.DataArray) -> dict[str, float]:
    """√ of the weighted mean square; one for what never changes."""
    return {str(v): float(((a**2) * w).mean()) ** 0.5 or 1.0 for v, a in ds.data_vars.items()}


def _dataset(numbers: Mapping[str, float]) -> xr.Dataset:
    return xr.Dataset(dict(numbers))


# ---------------------------------------------------------------- with a network


class Downscaler(Predictor):
    """A network that adds to interpolated maps what changes from day to day.

    Attributes:
        net: on the fine grid; takes the interpolated variables and the terrain at lead time zero, and gives details.
        detail: what turns coarse maps into its inputs and its answers into fine maps.
        tile: (rows, columns) of patches that a ClimaX sees at once, as in training on crops; None for the whole map.
    """

    kind = "downscaler"

    def __init__(
        self,
        net: nn.Module,
        detail: Detail,
        tile: Sequence[int] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(net, about)
        self.detail = detail
        shape = detail.grid.shape
        if tuple(self.config.grid_shape) != shape:
            raise ValueError(f"expected a network on the fine grid {shape}, got one on {self.config.grid_shape}")
        self.tile = (int(tile[0]), int(tile[1])) if tile and isinstance(net, ClimaX) else None
        if self.tile and any(n % t for n, t in zip(self.config.patches, self.tile, strict=True)):
            raise ValueError(f"expected tiles that divide {self.config.patches} patches, got {self.tile}")

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return (*self.detail.variables, *STATIC)

    def forward(
        self,
        x: Tensor,
        lead_hours: Tensor,
        variables: Sequence[str],
        out_variables: Sequence[str],
        patch_ids: Sequence[int] | None = None,
    ) -> Tensor:
        """Normalised inputs (B, V, H, W) → normalised details (B, V_out, H, W), or those of the rectangle `patch_ids`."""
        if patch_ids is not None or self.tile is None:
            return self.net(x, lead_hours, variables, out_variables, patch_ids)
        (rows, columns), (height, width) = self.config.patches, self.tile
        strips = [
            torch.cat(
                [
                    self.net(x, lead_hours, variables, out_variables, crop_ids(row, column, self.tile, columns))
                    for column in range(0, columns, width)
                ],
                dim=-1,
            )
            for row in range(0, rows, height)
        ]
        return torch.cat(strips, dim=-2)

    @torch.no_grad()
    def downscale(self, coarse: xr.Dataset, conserving: bool = True, batch_size: int = 4) -> xr.Dataset:
        """Fine maps in physical units.

        Args:
            coarse: (time, h, w), physical, on the grid of the training days.
            conserving: make the means over the coarse cells those of `coarse` (`conserve`): right where it is a mean of the truth.
            batch_size: maps at a time.
        """
        smooth, was_training = self.detail.smooth(coarse), self.training
        self.eval()
        device, names = next(self.parameters()).device, self.detail.variables
        record = Record.of(self.detail.inputs(smooth))
        parts = []
        for at in np.array_split(np.arange(len(record)), -(-len(record) // batch_size)):
            x = record.gather(at, self.variables).to(device)
            parts.append(self(x, torch.zeros(len(x), device=device), self.variables, names).float().cpu().numpy())
        self.train(was_training)
        values = np.concatenate(parts)
        details = smooth.copy(data={v: values[:, i] for i, v in enumerate(names)})
        fine = self.detail.finish(smooth, details)
        return conserve(fine, coarse) if conserving else fine

    def samples(self, coarse: xr.Dataset, fine: xr.Dataset, name: str = "") -> PairSamples:
        """Batches to learn from: x normalised interpolated maps and terrain, y normalised details."""
        smooth = self.detail.smooth(coarse)
        inputs, targets = self.detail.inputs(smooth), self.detail.targets(smooth, fine)
        return PairSamples.of(Record.of(inputs, name), Record.of(targets, name), self.variables, self.detail.variables)

    def header(self) -> dict[str, Any]:
        """The numbers that normalise, the grid and the tiles."""
        grid = self.detail.grid
        return {
            "variables": self.detail.variables,
            "scale": dict(self.detail.scale),
            "unit": dict(self.detail.unit),
            "grid": [grid.lat.tolist(), grid.lon.tolist()],
            "tile": self.tile,
        }

    def arrays(self) -> dict[str, Tensor]:
        """The mean maps and the terrain."""
        parts = {"mean": self.detail.mean, "detail": self.detail.detail, "static": self.detail.static}
        return {
            f"{part}.{v}": torch.from_numpy(ds[v].values.astype(np.float32))
            for part, ds in parts.items()
            for v in ds.data_vars
        }

    @classmethod
    def remake(cls, net: nn.Module, header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Downscaler:
        """A downscaler from what its file tells."""
        lat, lon = header["grid"]

        def maps(part: str, names: Sequence[str]) -> xr.Dataset:
            data = {v: (("lat", "lon"), arrays[f"{part}.{v}"].float().numpy(), variable(v).attrs) for v in names}
            return xr.Dataset(data, {"lat": lat, "lon": lon})

        names = header["variables"]
        detail = Detail(
            maps("mean", names), maps("detail", names), header["scale"], header["unit"], maps("static", STATIC)
        )
        return cls(net, detail, header["tile"], header["about"])


def crop_ids(row: int, column: int, shape: Sequence[int], columns: int) -> list[int]:
    """The patches of a rectangle of `shape` patches whose south-western one is at (row, column), round the globe in longitude.

    Args:
        columns: of patches on the whole map.
    """
    return [r * columns + c % columns for r in range(row, row + shape[0]) for c in range(column, column + shape[1])]


class OnCrops(Training):
    """Each step on a random rectangle of the map, of all samples of the batch; validation on the whole map.

    With L patches attention costs L², and a fine map has many. Rows at the poles are in fewer rectangles than those between, and count
    little anyway. Cells keep the weights of the whole globe, so that the gradients of many steps add up to that of its loss.
    """

    weights: Tensor

    def __init__(self, *args: Any, crop: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.crop = crop

    def errors(self, batch: Batch) -> Tensor:
        """As `Training.errors`; the rectangle comes from the noise of the step."""
        net = self.predictor.net
        if not (self.training and isinstance(net, ClimaX)):
            return super().errors(batch)
        (rows, columns), size = net.config.patches, net.config.patch_size
        row = int(torch.randint(rows - self.crop[0] + 1, ()))
        ids = crop_ids(row, int(torch.randint(columns, ())), self.crop, columns)
        found = self.predictor(batch.x, batch.lead_hours, batch.variables, batch.out_variables, ids)
        truth = cells(batch.y, ids, columns, size)
        w = self.weights[row * size : (row + self.crop[0]) * size]
        return ((found.float() - truth) ** 2 * w).mean(dim=(-2, -1))


# ---------------------------------------------------------------- training


def train(settings: Downscaling, pairs: Mapping[str, Pair] | None = None) -> Downscaler:
    """A downscaler from its settings; a stopped run goes on, and a finished one is read.

    Args:
        settings: what and how.
        pairs: `train` and the validation split, where they have been opened already.

    Raises:
        ValueError: for a checkpoint that cannot be adapted, or settings that do not fit one another.
    """
    worlds = (settings.source, settings.coarse, settings.variables)
    if pairs is None:
        pairs = {part: open_pairs(part, *worlds) for part in ("train", settings.validation) if part}
    learn, watch = pairs["train"], pairs[settings.validation] if settings.validation else None
    model = untrained(settings, Detail.fit(*learn))
    model.about = {
        "task": "downscaling",
        "sources": {s: sources.version(s)[:16] for s in (settings.source, settings.coarse) if s},
        "settings": dataclasses.asdict(settings),
    }
    apply_policy(model, settings.policy)  # type: ignore[arg-type]
    validation = model.samples(*watch, settings.source) if watch else None
    r = settings.run
    data = DataModule(
        {settings.source: model.samples(*learn, settings.source)},  # type: ignore[dict-item]
        validation,  # type: ignore[arg-type]
        r.batch_size,
        1.0,
        r.seed,
        r.workers,
    )
    module = functools.partial(OnCrops, crop=settings.crop) if settings.crop else Training
    return fit(model, data, settings.optimisation, r, model.detail.grid, validation is not None, module=module)


def untrained(settings: Downscaling, detail: Detail) -> Downscaler:
    """The network before its first step; its last map is zero, so that it answers with the mean detail.

    A checkpoint keeps its weights: positions are interpolated, and variables that it does not know get new tokens, or their cousins'.
    """
    torch.manual_seed(settings.run.seed)
    names, shape = (*detail.variables, *STATIC), detail.grid.shape
    net: Any
    if settings.checkpoint:
        start = load(settings.checkpoint).net
        if not isinstance(start, ClimaX):
            raise ValueError(
                f"expected a checkpoint of ClimaX, got one of {type(start).__name__}: train that from scratch"
            )
        known = start.config.variables
        net = on_grid_shape(with_variables(start, names), shape)
        net = with_config(net, dropout=settings.dropout, drop_path=settings.drop_path)
        for new in (v for v in names if v not in known and COUSINS.get(v) in known):
            i, j = (net.config.variables.index(v) for v in (new, COUSINS[new]))
            with torch.no_grad():
                for p in net.tokenizer.parameters():
                    p[i] = p[j]
    else:
        size = dataclasses.replace(settings.net, grid_shape=shape, dropout=settings.dropout)
        net = new_network(dataclasses.replace(size, drop_path=settings.drop_path), names, detail.variables)
    last: Any = net.head if isinstance(net, ClimaX) else net.last
    for p in last[-1].parameters():
        nn.init.zeros_(p)
    return Downscaler(net, detail, settings.crop or None)


# ---------------------------------------------------------------- scores


SCORES: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "rmse": lambda p, t: metrics.rmse(p, t, over=()),
    "bias": lambda p, t: metrics.bias(p, t, over=()),
    "pearson": lambda p, t: metrics.pearson(p, t, over=()),
}
"""The paper's three, of each day: weighted RMSE, mean bias, Pearson correlation over the map."""


def score(prediction: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Scores of the days, (variable, metric, time), as `scores`, and their means with 95 % intervals: `score`, `low`, `high`.

    Intervals resample blocks of `BLOCK` days; with fewer than four of them they are NaN.
    """
    rows = [
        xr.concat([f(prediction[v], truth[v]) for f in SCORES.values()], "metric").expand_dims(variable=[v])
        for v in map(str, prediction.data_vars)
    ]
    scores = xr.concat(rows, "variable").assign_coords(metric=list(SCORES)).transpose("variable", "metric", "time")
    low, high = (xr.full_like(scores.isel(time=0, drop=True), np.nan) for _ in range(2))
    if scores.sizes["time"] >= 4 * BLOCK:
        for i, j in itertools.product(range(scores.sizes["variable"]), range(len(SCORES))):
            low[i, j], high[i, j] = metrics.block_bootstrap(scores[i, j].values, BLOCK)
    return xr.Dataset({"score": scores.mean("time"), "low": low, "high": high, "scores": scores})


def baselines(detail: Detail) -> dict[str, Method]:
    """Methods that need no network; the last three keep the means over the coarse cells."""
    names = list(detail.variables)

    def interpolated(method: str) -> Method:
        return lambda coarse: interpolate(coarse[names], detail.grid, method)

    bilinear = interpolated("bilinear")
    return {
        "bilinear": bilinear,
        "bicubic": interpolated("bicubic"),
        "bilinear, conserved": lambda coarse: conserve(bilinear(coarse), coarse[names]),
        "conserving": detail.smooth,
        "mean detail": lambda coarse: conserve(detail(coarse), coarse[names]),
    }


def arms(steps: int = 400, batch_size: int = 16) -> dict[str, Downscaling]:
    """The networks of the table: as many cells a step for each of them.

    A crop of 8 × 16 patches has 2,048 cells, and a whole map, which the U-Net sees, nine times as many.
    """
    o = Optimisation(steps=steps, learning_rate=5e-4, warmup_steps=steps // 10)
    r = Run(batch_size=batch_size, validate_every=max(1, steps // 2), save_every=10**9, progress=False)
    tuned = Downscaling(optimisation=o, run=r)
    fast = dataclasses.replace(o, learning_rate=1e-3)
    scratch = dataclasses.replace(tuned, checkpoint="", optimisation=fast)
    whole = dataclasses.replace(r, batch_size=max(1, round(batch_size / 9)))
    unet = dataclasses.replace(scratch, net=Net(architecture="unet", embed_dim=24, depth=4), run=whole)
    return {"pretrained": tuned, "scratch": scratch, "U-Net": unet}


def results(
    seed: int = 0,
    *,
    part: str = "test",
    networks: Mapping[str, Downscaling] | None = None,
    keep: Callable[[str, xr.Dataset], None] | None = None,
) -> list[dict[str, Any]]:
    """The rows of the table of results: task, variable, lead, metric, model, seed, score, low, high.

    Args:
        seed: of the networks.
        part: the split that is scored.
        networks: name → settings, of the paired world `fine`; by default `arms()`. Their answers conserve the coarse means.
        keep: called with the name and the fine maps of each model, for figures.
    """
    networks = arms() if networks is None else networks
    used = {part, "train", *(n.validation for n in networks.values())} - {""}
    pairs = {p: open_pairs(p) for p in used}
    methods = baselines(Detail.fit(*pairs["train"]))
    for name, settings in networks.items():
        with tempfile.TemporaryDirectory() as out:
            run = dataclasses.replace(settings.run, out=out, seed=seed)
            methods[name] = train(dataclasses.replace(settings, run=run), pairs).downscale
    coarse, fine = pairs[part]
    rows: list[dict[str, Any]] = []
    for name, method in methods.items():
        found = method(coarse)
        if keep:
            keep(name, found)
        card = score(found, fine)
        for v, metric in itertools.product(card["variable"].values, card["metric"].values):
            one = card.sel(variable=v, metric=metric)
            numbers = {k: float(one[k]) for k in ("score", "low", "high")}
            rows.append(
                {"task": "downscaling", "variable": str(v), "lead": 0, "metric": str(metric), "model": name, "seed": seed}
                | numbers
            )  # fmt: skip
    return rows
