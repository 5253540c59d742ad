"""Sources, prepared and mixed, as Lightning wants them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import lightning as L
import numpy as np
import torch

from ..data import Batch, ForecastSamples, Mixture, MixtureLoader


class _Ordered:
    """Every validation sample once, this rank's share of it, in equally many batches on every rank: a rank with one more would wait for
    the others for ever where the network is shared out (fsdp)."""

    def __init__(self, samples: ForecastSamples, batch_size: int, rank: int, world_size: int) -> None:
        self.samples, self.batch_size, self.rank, self.world_size = samples, batch_size, rank, world_size

    def __len__(self) -> int:
        return -(-len(range(0, len(self.samples), self.world_size)) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        drawn = self.samples.draw(np.arange(len(self.samples)), np.random.default_rng(0))
        for part in np.array_split(drawn[self.rank :: self.world_size], len(self)):
            yield self.samples.batch(part)


class _Run:
    """The batches of a whole run from its step `start` on: the mixture's epochs, one after the other.

    To Lightning the run is one epoch of `steps` batches. Where a stopped run goes on follows from the number of steps it has made, and
    from nothing else; Lightning's own account would have to be kept of its epochs, the mixture's and the workers' lead.
    """

    def __init__(self, loader: MixtureLoader, steps: int, start: int) -> None:
        self.loader, self.steps, self.start = loader, steps, start

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        self.loader.mixture.epoch, self.loader.next = divmod(self.start, len(self.loader))
        while True:
            yield from self.loader


class DataModule(L.LightningDataModule):
    """The mixture of the training samples, and the validation samples.

    Args:
        train: source → samples.
        validation: samples to watch the loss on, or None.
        batch_size: samples of a batch, per process.
        temperature: of the mixture (`Mixture`).
        seed: the run's.
        workers: processes that make batches ahead.
    """

    def __init__(
        self,
        train: Mapping[str, ForecastSamples],
        validation: ForecastSamples | None = None,
        batch_size: int = 16,
        temperature: float = 1.0,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train, self.validation = dict(train), validation
        self.batch_size, self.temperature, self.seed, self.workers = batch_size, temperature, seed, workers

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> _Run:
        """Epoch after epoch of the mixture, from the trainer's step on to its last."""
        rank, world_size = self._place()
        mixture = Mixture(
            self.train, self.batch_size, self.temperature, seed=self.seed, rank=rank, world_size=world_size
        )
        if self.trainer is None:
            return _Run(MixtureLoader(mixture, self.workers), len(mixture), 0)
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        loader = MixtureLoader(mixture, self.workers, pin_memory=on_gpu)
        return _Run(loader, self.trainer.max_steps, self.trainer.global_step)

    def val_dataloader(self) -> _Ordered | list:
        """The validation samples in order; their lead times are drawn once and for all."""
        if self.validation is None:
            return []
        return _Ordered(self.validation, self.batch_size, *self._place())

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Without waiting for it: pinned memory is fetched while the GPU computes."""
        return batch.to(device, non_blocking=True)
