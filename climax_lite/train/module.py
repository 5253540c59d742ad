"""The training step, once: loss, schedule, decay groups, and the guard against numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from ..data import Batch
from ..forecaster import Forecaster
from ..metrics import latitude_weights
from ..predictor import Predictor
from .settings import Optimisation


def schedule(step: int, o: Optimisation) -> float:
    """The learning rate of a step, over its peak: up in a straight line, down as a half cosine, then flat at `final_fraction`."""
    if step < o.warmup_steps:
        return (step + 1) / o.warmup_steps
    progress = min(1.0, (step - o.warmup_steps) / max(1, o.steps - o.warmup_steps))
    return o.final_fraction + (1 - o.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay, and those that do not: biases, norms, embeddings, queries and damping times.

    Decay pulls towards zero, which is a neutral place for a matrix between layers, and for nothing else.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            last = name.rpartition(".")[2]
            groups[parameter.ndim >= 2 and "embed" not in last and last not in ("bias", "query")].append(parameter)
    return [{"params": p, "weight_decay": weight_decay if decays else 0.0} for decays, p in groups.items() if p]


class Training(L.LightningModule):
    """A `Forecaster`, or another `Predictor`, in training.

    The noise of a step (dropout, stochastic depth) comes from a seed made of the run's seed, the rank and the step's number: a run that
    was killed goes on with the same numbers, and nothing has to be kept for it.
    """

    def __init__(self, predictor: Predictor, optimisation: Optimisation, lat: np.ndarray, seed: int = 0) -> None:
        super().__init__()
        self.predictor = predictor
        self.optimisation = optimisation
        self.seed = seed
        self.sharded = False
        self.register_buffer("weights", latitude_weights(lat).float()[:, None], persistent=False)

    def errors(self, batch: Batch) -> Tensor:
        """The latitude-weighted squared error of each sample and variable, (B, V_out), in normalised units."""
        prediction = self.predictor(batch.x, batch.lead_hours, batch.variables, batch.out_variables)
        return ((prediction.float() - batch.y) ** 2 * self.weights).mean(dim=(-2, -1))

    def damping(self, lead_hours: Tensor, out_variables: Sequence[str]) -> Tensor:
        """What the skip of a forecaster keeps; zero of any other predictor."""
        if isinstance(self.predictor, Forecaster):
            return self.predictor.damping(lead_hours, out_variables)
        return lead_hours.new_zeros(len(lead_hours), len(out_variables))

    def shared_step(self, batch: Batch, what: str) -> Tensor:
        """The loss of the paper (latitude-weighted MSE), balanced over lead times in training if wanted."""
        errors = self.errors(batch)
        if what == "train" and self.optimisation.balance:
            with torch.no_grad():
                open_part = 1 - self.damping(batch.lead_hours, batch.out_variables) ** 2
                weights = 1 / (open_part + self.optimisation.balance)
                mean = weights.mean()
                if self._trainer is not None and self.trainer.world_size > 1:  # that of the whole batch
                    mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
            errors = errors * weights / mean
        return errors.mean()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step."""
        key = np.random.SeedSequence((self.seed, 3, self.global_rank, self.global_step))
        torch.manual_seed(int(key.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; stops when the loss is not a finite number."""
        loss = self.shared_step(batch, "train")
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        if not torch.isfinite(loss):
            raise ValueError(_blame(batch, self.global_step, loss))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Sum of the losses of samples, and their number."""
        self.validated = torch.zeros(2, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same, without a gradient."""
        n = len(batch)
        self.validated += torch.stack([n * self.shared_step(batch, "validation"), self.validated.new_tensor(n)])

    def validation_loss(self) -> Tensor:
        """The mean over the samples of all processes. (Lightning's own divides by a rounded mean number where shares are uneven.)"""
        total, count = self.trainer.strategy.reduce(self.validated, reduce_op="sum")
        return total / count

    def on_validation_epoch_end(self) -> None:
        """Into the log."""
        self.log("validation_loss", self.validation_loss(), prog_bar=True)

    def configure_model(self) -> None:
        """Share the parameters out, block by block, where the strategy is `fsdp`; nothing else makes a mesh of devices."""
        if self.device_mesh is not None and not self.sharded:
            from torch.distributed.fsdp import fully_shard

            mesh = self.device_mesh["data_parallel"]
            for block in self.predictor.net.blocks:
                fully_shard(block, mesh=mesh)
            fully_shard(self.predictor, mesh=mesh)
            self.sharded = True

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, step by step."""
        o = self.optimisation
        optimizer = torch.optim.AdamW(decay_groups(self, o.weight_decay), lr=o.learning_rate, betas=o.betas)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, o))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _blame(batch: Batch, step: int, loss: Tensor) -> str:
    """Which numbers of the batch are none, for the message that ends the run."""
    parts = []
    for what, tensor, names in (("inputs", batch.x, batch.variables), ("targets", batch.y, batch.out_variables)):
        bad = (~torch.isfinite(tensor)).flatten(2).any(-1).any(0).tolist()
        if any(bad):
            parts.append(f"the {what} {', '.join(n for n, b in zip(names, bad, strict=True) if b)}")
    lead_hours = ", ".join(map(str, sorted({int(h) for h in batch.lead_hours})))
    reason = (
        f"NaN or infinity in {' and '.join(parts)}: mend the data, or leave those variables out"
        if parts
        else "the batch is finite, so the weights diverged: start again in another folder with a lower learning rate or clip norm"
    )
    return (
        f"the loss is {loss.item():g} at step {step}: source {batch.source!r}, lead times {lead_hours} h, "
        f"variables {', '.join(batch.out_variables)}; {reason}"
    )
