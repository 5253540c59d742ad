"""Runs from their settings: pretraining on many worlds, fine-tuning on one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from ..checkpoints import load
from ..data import ForecastSamples, Record, sources, statistics
from ..forecaster import Forecaster
from ..grid import Grid
from ..model import ClimaX, ClimaXConfig
from ..model.adapt import at_places, with_config, with_variables
from ..model.convolutional import ConvolutionalConfig, ResNet, UNet
from .data import DataModule
from .loop import fit
from .policies import apply_policy
from .settings import Finetune, Net, Pretrain


def pretrain(settings: Pretrain) -> Forecaster:
    """Train a new network on many worlds; the same call goes on after a stop, and returns the result at once when there is one.

    The result has the weights of the best validation: a year of each world is soon learnt by heart.

    Raises:
        ValueError: for settings that do not fit one another, or the run that `settings.run.out` holds.
    """
    net = settings.net
    claim(settings)
    shape = net.grid_shape
    train = {
        name: ForecastSamples.of(
            Record.prepared(name, "train", shape, net.anomalies, settings.run.records), settings.leads
        )
        for name in settings.sources
    }
    variables = _union([s.variables for s in train.values()], settings.also_variables)
    validation = None
    if settings.validation:
        source, _, part = settings.validation.partition(":")
        record = Record.prepared(source, part or "validation", shape, net.anomalies, settings.run.records)
        known = [v for v in record.variables if v in variables]
        inputs = [*known, *(v for v in record.static_variables if v in variables)]
        validation = ForecastSamples.of(record, settings.leads, known, inputs).at_most(settings.validation_samples)
    about = {
        "task": "pretraining",
        "sources": {name: sources.version(name)[:16] for name in settings.sources},
        "settings": dataclasses.asdict(settings),
    }
    L.seed_everything(settings.run.seed, verbose=False)
    forecaster = Forecaster(new_network(net, variables), net.anomalies, net.skip, about=about)
    forecaster.fit_damping(s.record for s in train.values())
    data = DataModule(
        train, validation, settings.run.batch_size, settings.temperature, settings.run.seed, settings.run.workers
    )
    patience = settings.patience if validation is not None else 0
    return fit(
        forecaster, data, settings.optimisation, settings.run, forecaster.out_grid, validation is not None, patience
    )


def finetune(settings: Finetune) -> Forecaster:
    """Go on from a checkpoint, or from a new network, with one source; the best weights by the validation loss are the result.

    Raises: as `pretrain`, and for a checkpoint that does not know a variable that is to be predicted.
    """
    claim(settings)
    torch.manual_seed(settings.run.seed)
    start = load(settings.checkpoint) if settings.checkpoint else None
    net = settings.net
    anomalies, skip, shape, patch = (
        (start.anomalies, start.log_tau is not None, start.config.grid_shape, start.config.patch_size)
        if start
        else (net.anomalies, net.skip, net.grid_shape, net.patch_size)
    )

    shape = None if settings.own_grid else shape
    region = None if settings.crop else settings.region or None

    def samples(part: str) -> ForecastSamples:
        record = Record.prepared(settings.source, part, shape, anomalies, settings.run.records)
        record = record.whole_patches(patch) if settings.own_grid else record
        record = record.crop(settings.region, patch, cover=True) if settings.crop else record
        out = settings.out_variables or record.variables
        return ForecastSamples.of(record, settings.leads, out, None, settings.window, region, patch, cover=True)

    train = samples("train").subset(settings.fraction)
    validation = samples(settings.validation).at_most(settings.validation_samples) if settings.validation else None
    grid = Grid(train.record.lat, train.record.lon)
    about = {
        "task": "fine-tuning",
        "started_from": {"checkpoint": settings.checkpoint, **({"about": start.about} if start else {})},
        "sources": {settings.source: sources.version(settings.source)[:16]},
        "settings": dataclasses.asdict(settings),
    }
    forecaster = Forecaster(
        _starting_network(start, settings, train, grid),
        anomalies,
        skip,
        statistics(settings.source, grid_shape=shape),
        about,
        grid=grid,
        region=region,
        window=settings.window,
    )
    _starting_damping(forecaster, start, train)
    apply_policy(forecaster, settings.policy)
    data = DataModule(
        {settings.source: train}, validation, settings.run.batch_size, 1.0, settings.run.seed, settings.run.workers
    )
    patience = settings.patience if validation is not None else 0
    return fit(
        forecaster, data, settings.optimisation, settings.run, forecaster.out_grid, validation is not None, patience
    )


def _starting_network(start: Forecaster | None, settings: Finetune, train: ForecastSamples, grid: Grid) -> Any:
    """That of the checkpoint, with further variables and on other places if need be; or a new one."""
    if start is None:
        size = dataclasses.replace(settings.net, grid_shape=grid.shape)
        size = dataclasses.replace(size, dropout=settings.dropout, drop_path=settings.drop_path)
        return new_network(size, train.variables, train.out_variables)
    net = start.net
    if type(net) is not ClimaX:
        raise ValueError(f"expected a checkpoint of ClimaX, got one of {type(net).__name__}: train that from scratch")
    net = with_variables(net, train.variables)
    if grid.shape != start.grid.shape or not np.allclose([*grid.lat, *grid.lon], [*start.grid.lat, *start.grid.lon]):
        net = at_places(net, grid.shape, *_places(grid, start.grid, net.config.patch_size))
    return with_config(net, dropout=settings.dropout, drop_path=settings.drop_path)


def _places(grid: Grid, of: Grid, patch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the middles of a grid's patches lie, counted in rows and columns of patches of another one, of the whole globe."""
    (lat, lon), (old_lat, old_lon) = (
        [degrees.reshape(-1, patch_size).mean(axis=1) for degrees in (g.lat, g.lon)] for g in (grid, of)
    )
    rows = np.interp(lat, old_lat, np.arange(len(old_lat)))
    columns = ((lon - old_lon[0]) % 360) / (360 / len(old_lon))
    return torch.from_numpy(rows).float(), torch.from_numpy(columns).float()


def _starting_damping(forecaster: Forecaster, start: Forecaster | None, train: ForecastSamples) -> None:
    """Damping times of the checkpoint; of variables that it does not know, those of the record."""
    if forecaster.log_tau is None:
        return
    known = start.config.variables if start else ()
    forecaster.fit_damping([train.record], [v for v in forecaster.config.variables if v not in known])
    if start and start.log_tau is not None:
        with torch.no_grad():
            forecaster.log_tau[: len(known)] = start.log_tau


def new_network(net: Net, variables: Sequence[str], out_variables: Sequence[str] = ()) -> Any:
    """A network of the given size, with weights as the official model initialises them, or a convolutional one as torch does."""
    if net.architecture != "climax":
        kind = {"resnet": ResNet, "unet": UNet}[net.architecture]
        return kind(
            ConvolutionalConfig(
                tuple(variables),
                tuple(out_variables),
                net.grid_shape,
                width=net.embed_dim,
                depth=net.depth,
                dropout=net.dropout,
                patch_size=net.patch_size,
            )
        )
    size = {k: v for k, v in dataclasses.asdict(net).items() if k not in ("anomalies", "skip", "architecture")}
    return ClimaX(ClimaXConfig(variables=tuple(variables), **size))


def _union(each: Sequence[Sequence[str]], also: Sequence[str]) -> tuple[str, ...]:
    """All variables, each once, those of the paper first and in its order."""
    from ..variables import OFFICIAL_VARIABLES

    found = dict.fromkeys(v for names in (*each, also) for v in names)
    return (*(v for v in OFFICIAL_VARIABLES if v in found), *(v for v in found if v not in OFFICIAL_VARIABLES))


def claim(settings: Any) -> None:
    """Keep the settings of a run, a dataclass with a field `run`, beside it.

    Raises:
        ValueError: when the folder holds a run with others.
    """
    path = Path(settings.run.out) / "settings.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(settings)))
    if path.exists():
        found = json.loads(path.read_text())
        if differ := sorted(_flat(wanted).items() ^ _flat(found).items()):
            names = ", ".join(sorted({name for name, _ in differ} - FREE))
            if names:
                raise ValueError(
                    f"{path.parent} holds a run with other settings ({names}): give another run.out, or the same settings to go on"
                )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(wanted, indent=1))
    os.replace(part, path)


FREE = {
    "run.out",
    "run.progress",
    "run.workers",
    "run.records",
    "run.tensorboard",
    "run.compile",
    "run.save_every",
}
"""Settings that a run may change when it goes on: they do not touch its numbers, or, of `compile`, their rounding alone."""


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): json.dumps(tree)}
