"""Many sources with different variables and grids in one loader: one source per batch, and an exact account of every sample.

Each source has an endless stream: a permutation of its samples, then another, and so on. Batch number n of a source is the n-th piece
of its stream, and its lead times come from a generator that is keyed by seed, source and n. So a batch depends on its number alone: on
no worker, no rank and no history. Ranks take slices of the same global batch; a run that was stopped goes on with the next number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from .forecast import Batch


class Samples(Protocol):
    """What a source must offer: `ForecastSamples`, `ProjectionSamples`, `PairSamples`."""

    @property
    def source(self) -> str: ...
    def __len__(self) -> int: ...
    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...
    def batch(self, drawn: np.ndarray) -> Batch: ...


def ordered(samples: Samples, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """Every sample once, in order, for validation and scores; the last batch may be smaller. Ranks share the samples, none twice.

    Where lead times are drawn, the draw of a sample depends on `seed` and its position alone.
    """
    everything = samples.draw(np.arange(len(samples)), np.random.default_rng(seed))[rank::world_size]
    for start in range(0, len(everything), batch_size):
        yield samples.batch(everything[start : start + batch_size])


@dataclass(eq=False)
class Mixture(torch.utils.data.Dataset):
    """The batches of one epoch, by number: batch `k` of this rank is `mixture[k]`.

    An epoch holds `batches_per_epoch` global batches of `batch_size * world_size` samples. Every source has the same number of them
    in every epoch, its quota, and goes on in its stream where the last epoch ended: no sample comes again before all others of its source.

    Attributes:
        sources: name → samples.
        batch_size: samples of a batch, per rank.
        temperature: shares of the sources are ∝ (number of samples)^(1/temperature): 1 in proportion, large values alike.
        weights: shares by name instead, of any sum.
        batches_per_epoch: by default as many as there are samples in all sources together.
        seed, rank, world_size: the one seed of the run, and who of how many this process is.
    """

    sources: Mapping[str, Samples]
    batch_size: int = 16
    temperature: float = 1.0
    weights: Mapping[str, float] | None = None
    batches_per_epoch: int | None = None
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    epoch: int = 0
    quota: dict[str, int] = field(init=False)
    _orders: dict[tuple[str, int], np.ndarray] = field(init=False, default_factory=dict, repr=False)
    _schedules: dict[int, list[tuple[str, int]]] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("expected one source or more, got none")
        if self.batch_size < 1 or not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"expected a batch size of one or more and a rank below the world size, got a batch of {self.batch_size} "
                f"on rank {self.rank} of {self.world_size}"
            )
        if self.temperature <= 0:
            raise ValueError(f"expected a temperature above zero, got {self.temperature:g}")
        if self.weights is not None and (set(self.weights) != set(self.sources) or min(self.weights.values()) <= 0):
            raise ValueError(
                f"expected a weight above zero for each of {', '.join(self.sources)}, got {dict(self.weights)}"
            )
        count = {n: len(s) for n, s in self.sources.items()}
        if self.batches_per_epoch is None:
            self.batches_per_epoch = max(-(-sum(count.values()) // self._global), len(self.sources))
        if self.batches_per_epoch < len(self.sources):
            raise ValueError(
                f"expected at least one batch an epoch for each of {len(self.sources)} sources, got {self.batches_per_epoch}"
            )
        share = self.weights or {n: c ** (1 / self.temperature) for n, c in count.items()}
        self.quota = _apportion(share, self.batches_per_epoch)

    @property
    def _global(self) -> int:
        return self.batch_size * self.world_size

    def __len__(self) -> int:
        return sum(self.quota.values())

    def __getitem__(self, k: int) -> Batch:
        if not 0 <= k < len(self):
            raise IndexError(f"expected a batch number from 0 to {len(self) - 1}, got {k}")
        name, number = self.schedule()[k]
        samples = self.sources[name]
        rng = np.random.default_rng((self.seed, 1, self._key(name), number))
        drawn = samples.draw(self._stream(name, number * self._global, self._global), rng)
        return samples.batch(drawn[self.rank * self.batch_size : (self.rank + 1) * self.batch_size])

    def schedule(self) -> list[tuple[str, int]]:
        """The epoch's order: (source, number of the batch in that source's stream) for every batch."""
        if self.epoch not in self._schedules:
            names = np.repeat(np.arange(len(self.quota)), list(self.quota.values()))
            np.random.default_rng((self.seed, 0, self.epoch)).shuffle(names)
            seen = {n: self.epoch * q for n, q in self.quota.items()}
            out = []
            for i in names:
                name = list(self.quota)[i]
                out.append((name, seen[name]))
                seen[name] += 1
            self._schedules = {self.epoch: out}
        return self._schedules[self.epoch]

    def passes(self) -> dict[str, float]:
        """How often an epoch goes through each source."""
        return {n: q * self._global / len(self.sources[n]) for n, q in self.quota.items()}

    def _key(self, name: str) -> int:
        return list(self.sources).index(name)

    def _stream(self, name: str, start: int, count: int) -> np.ndarray:
        """`count` indices of a source's stream."""
        n = len(self.sources[name])
        positions = np.arange(start, start + count)
        return np.concatenate(
            [self._order(name, int(p))[positions[positions // n == p] % n] for p in np.unique(positions // n)]
        )

    def _order(self, name: str, number: int) -> np.ndarray:
        """The permutation of a pass."""
        if (name, number) not in self._orders:
            for old in [k for k in self._orders if k[0] == name and k[1] < number - 1]:
                del self._orders[old]
            rng = np.random.default_rng((self.seed, 2, self._key(name), number))
            self._orders[name, number] = rng.permutation(len(self.sources[name]))
        return self._orders[name, number]


def _apportion(share: Mapping[str, float], total: int) -> dict[str, int]:
    """Divide `total` in proportion to the shares, at least one each (largest remainders)."""
    whole = sum(share.values())
    exact = {n: total * s / whole for n, s in share.items()}
    quota = {n: max(1, int(e)) for n, e in exact.items()}
    while sum(quota.values()) != total:
        step = 1 if sum(quota.values()) < total else -1
        able = [n for n in quota if step > 0 or quota[n] > 1]
        chosen = max(able, key=lambda n: step * (exact[n] - quota[n]))
        quota[chosen] += step
    return quota


class MixtureLoader:
    """Epoch after epoch of a `Mixture`, in worker processes if wanted, from where it was stopped.

    `state_dict` says which batch comes next: it counts what the caller has been given, not what workers have fetched ahead.
    """

    def __init__(self, mixture: Mixture, num_workers: int = 0, pin_memory: bool = False) -> None:
        self.mixture, self.num_workers, self.pin_memory = mixture, num_workers, pin_memory
        self.next = 0

    def __len__(self) -> int:
        return len(self.mixture)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch; the next call starts the next one."""
        loader = torch.utils.data.DataLoader(
            self.mixture,
            batch_size=None,  # the mixture makes whole batches
            sampler=range(self.next, len(self.mixture)),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )
        for batch in loader:
            self.next += 1
            yield batch
        self.mixture.epoch += 1
        self.next = 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is: plain numbers."""
        return {"epoch": self.mixture.epoch, "next": self.next, **self._geometry()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: when seed, sources, batch size or world size differ: the same order is then impossible.
        """
        differ = [k for k, v in self._geometry().items() if state.get(k) != v]
        if differ:
            now = self._geometry()
            raise ValueError(
                "this loader cannot go on where the other stopped: "
                + ", ".join(f"{k} was {state.get(k)} and is {now[k]}" for k in differ)
                + "; use the same values, or start a new epoch without loading its state"
            )
        self.mixture.epoch, self.next = int(state["epoch"]), int(state["next"])

    def _geometry(self) -> dict[str, Any]:
        m = self.mixture
        return {
            "seed": m.seed,
            "global_batch": m._global,
            "quota": dict(m.quota),
            "samples": {n: len(s) for n, s in m.sources.items()},
        }
