"""What watches over a run: its speed, and the state that it can go on from."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..data import Batch


class WholeCheckpoints(TorchCheckpointIO):
    """A checkpoint is written beside the old one and takes its name when it is whole; a kill leaves the old one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write, then rename."""
        part = Path(f"{os.fspath(path)}.{os.getpid()}.part")
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


class SavedState(Checkpoint):
    """Saves what the run needs to go on, every so many steps.

    Lightning writes a step's line of the log, and validates, after the last hook that a callback has of the step: a state of such a step
    would go on without them. So it waits for the next step that does neither. After the last step there is nothing to go on with.
    (Checkpoints come last among callbacks, so what is saved includes this step of the average of the weights.)

    Args:
        path: of the file.
        every: steps between states.
        busy: further intervals, of the log and of validation, to keep clear of; an interval of one cannot be.
    """

    def __init__(self, path: str | Path, every: int, busy: Sequence[int] = ()) -> None:
        self.path, self.every = path, every
        self.busy = [n for n in busy if n > 1]
        self.due = False

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save, if it is time."""
        step = trainer.global_step
        self.due |= step % self.every == 0
        if self.due and step < trainer.max_steps and all(step % n for n in self.busy):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.due = False


class Speed(L.Callback):
    """Logs samples per second, over all processes, the share of time that the loop waits for data, and the learning rate.

    The first two are averages since the last line of the log. The time between two steps is waiting; validation and the saving of
    checkpoints are not counted.

    Args:
        every: steps between lines of the log.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.samples, self.working, self.waiting = 0, 0.0, 0.0
        self.mark: float | None = None
        self.rate = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Batch, batch_idx: int) -> None:
        """What passed since the last step was waiting."""
        now = time.perf_counter()
        if self.mark is not None:
            self.waiting += now - self.mark
        self.mark = now
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]  # at the end of the step it is the next one's

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """What passed since the start of the step was work."""
        now = time.perf_counter()
        assert self.mark is not None
        self.working += now - self.mark
        self.mark = now
        self.samples += len(batch) * trainer.world_size
        total = self.working + self.waiting
        module.log("samples_per_second", self.samples / total, prog_bar=True)
        module.log("waiting_for_data", self.waiting / total)
        module.log("learning_rate", self.rate, prog_bar=True)
        if trainer.global_step % self.every == 0:
            self.samples, self.working, self.waiting = 0, 0.0, 0.0

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Forget the mark: validation is neither work nor waiting."""
        self.mark = None

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Nor is saving."""
        self.mark = None


class StartingLoss(L.Callback):
    """Validates the weights that a run starts from, and logs that at step 0: where little is to be learnt they may be the best of all.

    Attributes:
        loss: of the validation; infinite without one.
    """

    def __init__(self) -> None:
        self.loss = float("inf")

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Validate, unless the run goes on from a state."""
        batches = trainer.datamodule.val_dataloader() if trainer.global_step == 0 else []  # type: ignore[attr-defined]
        if not batches:
            return
        modes = {m: m.training for m in module.modules()}
        module.eval()
        module.on_validation_epoch_start()
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            for i, batch in enumerate(batches):
                module.validation_step(batch.to(module.device), i)
        for m, training in modes.items():
            m.training = training
        self.loss = float(module.validation_loss())
        for stopper in (c for c in trainer.callbacks if isinstance(c, EarlyStopping)):  # type: ignore[attr-defined]
            stopper.best_score = torch.tensor(self.loss)
        for logger in trainer.loggers:
            logger.log_metrics({"validation_loss": self.loss}, step=0)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"loss": self.loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back again."""
        self.loss = state["loss"]
