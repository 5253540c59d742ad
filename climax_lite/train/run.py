"""A run from its settings to a finished forecaster, and on from where it was stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..checkpoints import load
from ..data import ForecastSamples, Record, sources, statistics
from ..forecaster import Forecaster
from ..grid import Grid
from ..model import ClimaX, ClimaXConfig
from ..model.adapt import with_config, with_variables
from .callbacks import SavedState, Speed, WholeCheckpoints
from .data import DataModule
from .module import Training
from .policies import apply_policy
from .settings import Finetune, Net, Optimisation, Pretrain, Run

RESULT = "forecaster.safetensors"
STATE = "state.ckpt"


def pretrain(settings: Pretrain) -> Forecaster:
    """Train a new network on many worlds; the same call goes on after a stop, and returns the result at once when there is one.

    The result has the weights of the best validation: a year of each world is soon learnt by heart.

    Raises:
        ValueError: for settings that do not fit one another, or the run that `settings.run.out` holds.
    """
    net = settings.net
    _claim(settings)
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
    data = DataModule(
        train, validation, settings.run.batch_size, settings.temperature, settings.run.seed, settings.run.workers
    )
    return fit(
        forecaster, data, settings.optimisation, settings.run, Grid.regular(*shape), keep_best=validation is not None
    )


def finetune(settings: Finetune) -> Forecaster:
    """Go on from a checkpoint, or from a new network, with one source; the best weights by the validation loss are the result.

    Raises: as `pretrain`, and for a checkpoint that does not know a variable that is to be predicted.
    """
    _claim(settings)
    torch.manual_seed(settings.run.seed)
    start = load(settings.checkpoint) if settings.checkpoint else None
    anomalies = start.anomalies if start else settings.net.anomalies
    shape = start.config.grid_shape if start else settings.net.grid_shape
    record = Record.prepared(settings.source, "train", shape, anomalies, settings.run.records)
    out = settings.out_variables or record.variables
    train = ForecastSamples.of(record, settings.leads, out).subset(settings.fraction)
    validation = None
    if settings.validation:
        held_out = Record.prepared(settings.source, settings.validation, shape, anomalies, settings.run.records)
        validation = ForecastSamples.of(held_out, settings.leads, out).at_most(settings.validation_samples)
    if start:
        net = with_variables(start.net, train.variables)
        log_tau = start.log_tau
    else:
        net, log_tau = new_network(settings.net, train.variables), None
    net = with_config(net, dropout=settings.dropout, drop_path=settings.drop_path)
    skip = start.log_tau is not None if start else settings.net.skip
    about = {
        "task": "fine-tuning",
        "started_from": {"checkpoint": settings.checkpoint, **({"about": start.about} if start else {})},
        "sources": {settings.source: sources.version(settings.source)[:16]},
        "settings": dataclasses.asdict(settings),
    }
    forecaster = Forecaster(net, anomalies, skip, statistics(settings.source, grid_shape=shape), about)
    if log_tau is not None and forecaster.log_tau is not None:
        with torch.no_grad():
            forecaster.log_tau[: len(log_tau)] = log_tau
    apply_policy(forecaster, settings.policy)
    data = DataModule(
        {settings.source: train}, validation, settings.run.batch_size, 1.0, settings.run.seed, settings.run.workers
    )
    patience = settings.patience if validation is not None else 0
    return fit(
        forecaster, data, settings.optimisation, settings.run, Grid.regular(*shape), validation is not None, patience
    )


def new_network(net: Net, variables: Sequence[str]) -> ClimaX:
    """A network of the given size, with weights as the official model initialises them."""
    size = {k: v for k, v in dataclasses.asdict(net).items() if k not in ("anomalies", "skip")}
    return ClimaX(ClimaXConfig(variables=tuple(variables), **size))


def fit(
    forecaster: Forecaster,
    data: L.LightningDataModule,
    optimisation: Optimisation,
    run: Run,
    grid: Grid,
    keep_best: bool = False,
    patience: int = 0,
    callbacks: Sequence[L.Callback] = (),
    module: Callable[..., Training] = Training,
) -> Forecaster:
    """Train, from the state in `run.out` if there is one, and write the finished forecaster there.

    Several processes: where torchrun or SLURM's srun starts them, each finds its place in the environment, and `run.devices` and
    `run.nodes` say how many there are; started by hand, Lightning starts the others of this machine.

    Args:
        forecaster: what to train; it is changed in place.
        data: gives batches (`DataModule`).
        optimisation, run: how.
        grid: of the targets, for the weights of the loss.
        keep_best: the result is the weights of the best validation, not the last.
        patience: validations without a better loss before it stops; zero never stops.
        callbacks: further ones.
        module: the LightningModule to wrap the forecaster in.
    """
    out = Path(run.out)
    if (out / RESULT).exists():
        return Forecaster.load(out / RESULT)
    if optimisation.ema_decay and run.strategy == "fsdp":
        raise ValueError("an average of the weights needs them whole on every device: use strategy ddp, or ema_decay 0")
    out.mkdir(parents=True, exist_ok=True)
    for left in (*out.glob("*.ckpt.*.part"), *out.glob(f"{RESULT}.*.part")):  # by a kill while it was written
        left.unlink(missing_ok=True)
    training = module(forecaster.train(), optimisation, grid.lat, run.seed)
    if run.compile:
        forecaster.net.compile()
    log_every = min(50, max(2, optimisation.steps // 20), optimisation.steps)
    validate_every = min(run.validate_every, optimisation.steps)
    watchers: list[L.Callback] = [
        Speed(log_every),
        SavedState(out / STATE, run.save_every, (log_every, validate_every)),
        *callbacks,
    ]
    best = None
    if keep_best and validate_every:
        best = ModelCheckpoint(
            out,
            "best",
            "validation_loss",
            # Of a checkpoint of weights only, Lightning does not ask the callback that has the averaged ones.
            save_weights_only=not optimisation.ema_decay,
            enable_version_counter=False,
        )
        watchers.append(best)
    if patience and validate_every:
        watchers.append(EarlyStopping("validation_loss", patience=patience))
    if optimisation.ema_decay:
        watchers.append(EMAWeightAveraging(decay=optimisation.ema_decay))
    if run.progress:
        watchers.append(TQDMProgressBar(refresh_rate=10))
    # Line by line: lines that a killed run had yet to write would be missing, as it goes on behind them.
    loggers: list[Any] = [CSVLogger(out, name="logs", flush_logs_every_n_steps=1)]
    if run.tensorboard:
        loggers.append(TensorBoardLogger(out, name="tensorboard"))
    _quiet()
    trainer = L.Trainer(
        max_steps=optimisation.steps,
        max_epochs=-1,
        precision=run.precision,  # type: ignore[arg-type]
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.nodes,
        strategy=strategy(run),
        gradient_clip_val=optimisation.clip_norm or None,
        val_check_interval=validate_every or None,
        check_val_every_n_epoch=None if validate_every else 1,
        limit_val_batches=1.0 if validate_every else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=log_every,
        callbacks=watchers,
        logger=loggers,
        plugins=[WholeCheckpoints()],
        use_distributed_sampler=False,
        enable_progress_bar=run.progress,
        enable_model_summary=False,
        benchmark=True,
    )
    resume = str(out / STATE) if (out / STATE).exists() else None
    with _attention(run):
        trainer.fit(training, datamodule=data, ckpt_path=resume, weights_only=False)
    weights = trainer.strategy.lightning_module_state_dict()  # all processes take part; with fsdp the first gets them
    if best is not None and best.best_model_score is not None:
        weights = torch.load(best.best_model_path, map_location="cpu", weights_only=False)["state_dict"]
        forecaster.about["best_validation_loss"] = float(best.best_model_score)
    forecaster.about["steps"] = trainer.global_step
    if training.sharded:
        f = forecaster
        forecaster = Forecaster(ClimaX(f.config), f.anomalies, f.log_tau is not None, f.statistics, f.about)
    if trainer.is_global_zero:
        prefix = "forecaster."
        forecaster.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        forecaster.save(out / RESULT)
    trainer.strategy.barrier()
    return forecaster.eval() if trainer.is_global_zero else Forecaster.load(out / RESULT)


def _on_cpu(run: Run) -> bool:
    return run.accelerator == "cpu" or (run.accelerator == "auto" and not torch.cuda.is_available())


def _attention(run: Run) -> contextlib.AbstractContextManager:
    """On a CPU the plain form of attention: a step of the tiny model takes a sixth less time than with torch's fused kernel."""
    return sdpa_kernel(SDPBackend.MATH) if _on_cpu(run) else contextlib.nullcontext()


def strategy(run: Run) -> Any:
    """Lightning's strategy for `run.strategy`.

    `fsdp` is torch's `fully_shard`, which `Training.configure_model` applies; its saved state is one file with whole tensors.
    """
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

    backend = "gloo" if _on_cpu(run) else None
    if run.strategy == "ddp":
        return DDPStrategy(process_group_backend=backend)
    if run.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=run.devices * run.nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=backend,
        )
    return "auto"


def _union(each: Sequence[Sequence[str]], also: Sequence[str]) -> tuple[str, ...]:
    """All variables, each once, those of the paper first and in its order."""
    from ..variables import OFFICIAL_VARIABLES

    found = dict.fromkeys(v for names in (*each, also) for v in names)
    return (*(v for v in OFFICIAL_VARIABLES if v in found), *(v for v in found if v not in OFFICIAL_VARIABLES))


def _claim(settings: Pretrain | Finetune) -> None:
    """Keep the settings beside the run; refuse a folder that holds a run with others."""
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


def _quiet() -> None:
    """Lightning's advice on workers, folders and sharding, which this project follows or knowingly does not."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*You're resuming from a checkpoint.*",
        ".*model that overrides the configure_model.*",
        ".*Total length of `list` across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", text)


def read_log(out: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The log of a run, stopped and continued or not: column → values by step, the last word on a step where two runs logged it.

    Empty fields are NaN. `step` is the first column.
    """
    import csv

    rows: dict[int, dict[str, str]] = {}
    for file in sorted(Path(out).glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])):
        with open(file, newline="") as lines:
            for row in csv.DictReader(lines):
                rows.setdefault(int(row["step"]), {}).update({k: v for k, v in row.items() if v})
    if not rows:
        raise ValueError(f"{out} holds no log: expected {out}/logs/version_0/metrics.csv")
    names = dict.fromkeys(["step", *(k for row in rows.values() for k in row)])
    return {k: np.array([float(rows[s].get(k, "nan")) for s in sorted(rows)]) for k in names}
