"""What a run of climate projection or of downscaling is made of: plain values, as in `climax_lite.train.settings`. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..train.settings import Net, Optimisation, Run

TEST = "ssp245"
"""ClimateBench's test run: between the others, and never learned from."""


@dataclass(frozen=True)
class Projection:
    """Train a network on runs of forcings and climate.

    Args:
        checkpoint: a name or path that `climax_lite.load` takes; empty for a new network of the size `net`, the control from scratch.
        architecture: climax, or cnn-lstm: ClimateBench's own network, which is always new.
        policy: frozen (attention and MLPs fixed, norms free, as in the paper), full or head; a new network that is to learn needs full.
        source: scenarios, or a folder with ClimateBench's files (`open_runs`).
        test: the run to be scored on; it is never learned from.
        validation: a run that the loss is watched on, which decides about the weights that are kept; empty for the last weights.
        history: years of forcings in a window.
        dropout: of the network while it is trained.
        drop_path: stochastic depth while it is trained.
    """

    checkpoint: str = "tiny"
    architecture: str = "climax"
    policy: str = "frozen"
    source: str = "scenarios"
    test: str = TEST
    validation: str = ""
    history: int = 10
    dropout: float = 0.0
    drop_path: float = 0.0
    net: Net = field(default_factory=Net)
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(steps=200, learning_rate=5e-4, warmup_steps=20, weight_decay=1e-5)
    )
    run: Run = field(default_factory=lambda: Run(out="runs/projection", batch_size=8, validate_every=0, save_every=100))

    def __post_init__(self) -> None:
        if self.architecture not in ("climax", "cnn-lstm"):
            raise ValueError(f"expected architecture climax or cnn-lstm, got {self.architecture!r}")
        if self.validation and self.validation == self.test:
            raise ValueError(f"{self.test} cannot decide about the weights and be scored on: give another run")


@dataclass(frozen=True)
class Downscaling:
    """Train a network on pairs.

    Args:
        checkpoint: a name or path that `climax_lite.load` takes; empty for a new network of the size `net`, the control from scratch.
        source: the fine world.
        coarse: a world for the coarse half, unpaired; empty for means of the fine one.
        variables: what to downscale; empty for all that both sides have.
        validation: the split that decides which weights are kept; empty for the last ones.
        crop: rows and columns of patches that a ClimaX is trained on, and later sees at once; empty for whole maps.
        policy: full, frozen or head.
        dropout: of the network while it is trained.
        drop_path: stochastic depth while it is trained.
    """

    checkpoint: str = "tiny"
    source: str = "fine"
    coarse: str = ""
    variables: tuple[str, ...] = ()
    validation: str = "validation"
    crop: tuple[int, ...] = (8, 16)
    policy: str = "full"
    dropout: float = 0.0
    drop_path: float = 0.1
    net: Net = field(default_factory=Net)
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(steps=400, learning_rate=5e-4, warmup_steps=40)
    )
    run: Run = field(default_factory=lambda: Run(out="runs/downscaling", validate_every=100, save_every=200))

    def __post_init__(self) -> None:
        if len(self.crop) not in (0, 2):
            raise ValueError(f"expected rows and columns of patches for crop, or nothing, got {self.crop}")
