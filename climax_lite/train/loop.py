"""The loop: a predictor and its batches to a finished predictor, and on from where it was stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..grid import Grid
from ..predictor import Predictor
from .callbacks import SavedState, Speed, StartingLoss, WholeCheckpoints
from .module import Training
from .settings import Optimisation, Run

RESULT = "forecaster.safetensors"
STATE = "state.ckpt"

P = TypeVar("P", bound=Predictor)


def fit(
    predictor: P,
    data: L.LightningDataModule,
    optimisation: Optimisation,
    run: Run,
    grid: Grid,
    keep_best: bool = False,
    patience: int = 0,
    callbacks: Sequence[L.Callback] = (),
    module: Callable[..., Training] = Training,
) -> P:
    """Train, from the state in `run.out` if there is one, and write the finished predictor there.

    Several processes: where torchrun or SLURM's srun starts them, each finds its place in the environment, and `run.devices` and
    `run.nodes` say how many there are; started by hand, Lightning starts the others of this machine.

    Args:
        predictor: what to train, such as a `Forecaster`; it is changed in place.
        data: gives batches (`DataModule`).
        optimisation, run: how.
        grid: of the targets, for the weights of the loss.
        keep_best: the result is the weights of the best validation, not the last; those it starts with are validated too.
        patience: validations without a better loss before it stops; zero never stops.
        callbacks: further ones.
        module: the LightningModule to wrap the predictor in.
    """
    out = Path(run.out)
    if (out / RESULT).exists():
        return type(predictor).load(out / RESULT)
    if optimisation.ema_decay and run.strategy == "fsdp":
        raise ValueError("an average of the weights needs them whole on every device: use strategy ddp, or ema_decay 0")
    on_cpu = run.accelerator == "cpu" or (run.accelerator == "auto" and not torch.cuda.is_available())
    if run.compile and on_cpu and torch.get_num_threads() > 1:
        raise ValueError(
            "PyTorch's compiled backward pass crashes on a CPU with several threads: set OMP_NUM_THREADS=1, or compile false"
        )
    out.mkdir(parents=True, exist_ok=True)
    for left in (*out.glob("*.ckpt.*.part"), *out.glob(f"{RESULT}.*.part")):  # by a kill while it was written
        left.unlink(missing_ok=True)
    training = module(predictor.train(), optimisation, grid.lat, run.seed)
    if run.compile:
        predictor.net.compile()
    best = _Best(out, optimisation, predictor) if keep_best and run.validate_every else None
    trainer = _trainer(optimisation, run, best, patience, callbacks)
    resume = str(out / STATE) if (out / STATE).exists() else None
    with _attention(run):
        trainer.fit(training, datamodule=data, ckpt_path=resume, weights_only=False)
    weights = trainer.strategy.lightning_module_state_dict()  # all processes take part; with fsdp the first gets them
    weights = {k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)}
    if best is not None:
        weights = best.weights(weights, predictor.about)
    predictor.about["steps"] = trainer.global_step
    if training.sharded:
        predictor = predictor.fresh()
    if trainer.is_global_zero:
        predictor.load_state_dict(weights)
        predictor.save(out / RESULT)
    trainer.strategy.barrier()
    return predictor.eval() if trainer.is_global_zero else type(predictor).load(out / RESULT)


PREFIX = "predictor."
"""Before the names of the predictor's weights in those of `Training`."""


class _Best:
    """The weights of the best validation, those that the run starts from among them."""

    def __init__(self, out: Path, optimisation: Optimisation, predictor: Predictor) -> None:
        self.start = {k: v.detach().to("cpu", copy=True) for k, v in predictor.state_dict().items()}
        self.starting = StartingLoss()
        self.checkpoint = ModelCheckpoint(
            out,
            "best",
            "validation_loss",
            # Of a checkpoint of weights only, Lightning does not ask the callback that has the averaged ones.
            save_weights_only=not optimisation.ema_decay,
            enable_version_counter=False,
        )

    def weights(self, last: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
        """Those to keep, once the run is over; what they score is told in `about`."""
        at_first, score = self.starting.loss, self.checkpoint.best_model_score
        about["starting_validation_loss"] = at_first
        if score is None and at_first == float("inf"):
            return last
        if score is None or float(score) >= at_first:
            about["best_validation_loss"] = at_first
            return self.start
        about["best_validation_loss"] = float(score)
        best = torch.load(self.checkpoint.best_model_path, map_location="cpu", weights_only=False)["state_dict"]
        return {k.removeprefix(PREFIX): v for k, v in best.items() if k.startswith(PREFIX)}


def _trainer(
    optimisation: Optimisation, run: Run, best: _Best | None, patience: int, callbacks: Sequence[L.Callback]
) -> L.Trainer:
    """Lightning's, with what watches over the run."""
    out = Path(run.out)
    log_every = min(50, max(2, optimisation.steps // 20), optimisation.steps)
    validate_every = min(run.validate_every, optimisation.steps)
    watchers: list[L.Callback] = [
        Speed(log_every),
        SavedState(out / STATE, run.save_every, (log_every, validate_every)),
        *callbacks,
    ]
    if best is not None:
        watchers += [best.starting, best.checkpoint]
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
    return L.Trainer(
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


def _quiet() -> None:
    """Lightning's advice on workers, folders and sharding, which this project follows or knowingly does not."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*You're resuming from a checkpoint.*",
        ".*model that overrides the configure_model.*",
        ".*Total length of `list` across ranks is zero.*",
        ".*isinstance.treespec, LeafSpec.*",
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
