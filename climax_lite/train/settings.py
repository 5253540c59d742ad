"""What a run is made of: plain values, which a YAML file or the command line fills in, and which are kept beside the run's results."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..data import LEADS


@dataclass(frozen=True)
class Net:
    """The size of a new network (`ClimaXConfig`, `ConvolutionalConfig`).

    Args:
        grid_shape: rows and columns of the grid that every source is put on.
        patch_size: cells along the side of a patch.
        embed_dim: D, numbers in a token; in a convolutional network, channels of the first level.
        depth: transformer blocks; blocks of a ResNet; levels of a U-Net.
        num_heads: attention heads; D must be divisible by them.
        dropout: on embeddings, projections and MLPs.
        drop_path: stochastic depth of the last block.
        checkpointing: recompute activations in the backward pass: slower, and far less memory.
        anomalies: learn departures from the climatology (else full states, as the paper).
        skip: add damped persistence to the network's output; needs anomalies.
        architecture: climax, or a baseline that is trained from scratch: resnet or unet.
    """

    grid_shape: tuple[int, int] = (32, 64)
    patch_size: int = 4
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 4
    dropout: float = 0.0
    drop_path: float = 0.1
    checkpointing: bool = False
    anomalies: bool = True
    skip: bool = True
    architecture: str = "climax"

    def __post_init__(self) -> None:
        if self.architecture not in ("climax", "resnet", "unet"):
            raise ValueError(f"expected architecture climax, resnet or unet, got {self.architecture!r}")


@dataclass(frozen=True)
class Optimisation:
    """AdamW, and how its learning rate goes: up in a straight line, down as a half cosine, and never up again.

    Args:
        steps: optimiser steps in all.
        learning_rate: at the top.
        warmup_steps: steps on the way up.
        final_fraction: what is left of the learning rate at the end.
        weight_decay: of the matrices; biases, norms, embeddings and the query have none.
        betas: of AdamW.
        clip_norm: the gradient is scaled down to this norm; zero for no clipping.
        ema_decay: keep an exponential moving average of the weights, and give that as the result; zero for none.
        balance: weigh errors by 1 / (1 − a² + balance), a being the damping of the skip: what damped persistence leaves open is small
            at short lead times, which would hardly count beside the long ones. Zero is the loss of the paper, where all count alike.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_fraction: float = 0.01
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    balance: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(f"expected 0 <= warmup_steps <= steps, got {self.warmup_steps} of {self.steps}")
        if self.learning_rate <= 0 or not 0 <= self.final_fraction <= 1:
            raise ValueError(
                "expected a learning rate above zero and a final fraction from 0 to 1, "
                f"got {self.learning_rate:g} and {self.final_fraction:g}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"expected ema_decay from 0 to below 1, got {self.ema_decay:g}")


@dataclass(frozen=True)
class Run:
    """Where and how it runs.

    Args:
        out: the folder of the run: its settings, logs, the state to go on from, and the finished `forecaster.safetensors`.
        seed: the one seed, of weights, data order, lead times and dropout.
        batch_size: samples of a batch, in every process.
        workers: processes that make batches ahead; 0 makes them in the training process.
        records: a folder for prepared records, which are mapped into memory; empty to hold them in memory, as the embedded worlds can be.
        precision: bf16-mixed, 32-true or any other of Lightning's.
        accelerator: cpu, gpu or auto.
        devices: processes on this machine.
        nodes: machines.
        strategy: auto, ddp (a copy of the model on each device) or fsdp (its parameters shared out).
        compile: torch.compile the network; on a CPU with one thread only (torch 2.13 crashes with several).
        validate_every: steps between validations, at most as many as the run has; zero for none.
        save_every: steps between saved states, from which a stopped run goes on (a step or two later where it logs or validates).
        tensorboard: log for TensorBoard too, beside the CSV.
        progress: show the progress bar.
    """

    out: str = "runs/pretrain"
    seed: int = 0
    batch_size: int = 16
    workers: int = 0
    records: str = ""
    precision: str = "bf16-mixed"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    compile: bool = False
    validate_every: int = 500
    save_every: int = 500
    tensorboard: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.strategy not in ("auto", "ddp", "fsdp"):
            raise ValueError(f"expected strategy auto, ddp or fsdp, got {self.strategy!r}")
        if (
            min(self.batch_size, self.devices, self.nodes, self.save_every) < 1
            or min(self.workers, self.validate_every) < 0
        ):
            raise ValueError(
                "expected batch_size, devices, nodes and save_every of one or more, and workers and validate_every of zero or more"
            )


@dataclass(frozen=True)
class Pretrain:
    """Pretrain on many simulated worlds with different variables.

    Args:
        sources: names of the worlds.
        temperature: how far small sources are drawn as often as large ones: 1 in proportion, large values alike.
        leads: lead times in hours, drawn at random.
        also_variables: variables that no source has but later data will, so that the network has a place for them.
        validation: the split that loss is watched on, as source:split; empty for none.
        validation_samples: at most so many of its initial times, spread evenly.
        patience: validations without a better loss before it stops; zero never stops. The best weights are kept either way.
    """

    sources: tuple[str, ...] = ("windy", "sunny", "rainy", "smooth", "dry")
    temperature: float = 1.0
    leads: tuple[int, ...] = LEADS
    also_variables: tuple[str, ...] = ()
    validation: str = "reference:validation"
    validation_samples: int = 512
    patience: int = 0
    net: Net = field(default_factory=Net)
    optimisation: Optimisation = field(default_factory=Optimisation)
    run: Run = field(default_factory=Run)


@dataclass(frozen=True)
class Finetune:
    """Go on from a checkpoint with one source.

    Args:
        checkpoint: a name or path that `climax_lite.load` takes; empty for a new network of the size `net`, the control from scratch.
        source: name of the world.
        leads: lead times in hours.
        window: after and until, in hours: forecast the mean over that time in place of states at the lead times.
        region: name of a box (`climax_lite.grid.REGIONS`) to forecast, with the patches that cover it; empty for the globe.
        crop: see no more than the region; else every patch of the globe is there to be chosen from, and those of the region are.
        own_grid: stay on the source's own grid, cut to whole patches, instead of regridding it; it may be a part of the globe.
        out_variables: what the loss is taken over; empty for all that change in time.
        policy: full, frozen (attention and MLPs fixed; norms, embeddings, aggregation and head free) or head (that alone).
        fraction: the part of the training times that is used, spread evenly over them.
        validation: name of the split that decides when to stop; empty for none.
        validation_samples: at most so many of its initial times, spread evenly.
        patience: validations without a better loss before it stops; zero never stops. The best weights are kept either way.
        dropout: of the network while it is tuned.
        drop_path: stochastic depth while it is tuned.
    """

    checkpoint: str = "tiny"
    source: str = "reference"
    leads: tuple[int, ...] = LEADS
    window: tuple[int, int] | None = None
    region: str = ""
    crop: bool = False
    own_grid: bool = False
    out_variables: tuple[str, ...] = ()
    policy: str = "full"
    fraction: float = 1.0
    validation: str = "validation"
    validation_samples: int = 128
    patience: int = 0
    dropout: float = 0.0
    drop_path: float = 0.1
    net: Net = field(default_factory=Net)
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(steps=300, learning_rate=2e-4, warmup_steps=30)
    )
    run: Run = field(default_factory=lambda: Run(out="runs/finetune", validate_every=50, save_every=100))

    def __post_init__(self) -> None:
        if self.crop and not self.region:
            raise ValueError("crop leaves what lies beyond the region away: expected the name of a region, got none")
