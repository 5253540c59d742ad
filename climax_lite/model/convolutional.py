"""The networks that weather forecasting had before: a ResNet and a U-Net, on a sphere cut open at Greenwich.

They take what ClimaX takes and give what it gives, so that both train in the same loop. But a convolution has weights for each channel:
they know one fixed set of variables, and none of it can be left out.

B batch, V variables, H W latitude × longitude, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embed import HOURS_PER_UNIT
from .tokenize import cells


@dataclass(frozen=True)
class ConvolutionalConfig:
    """What a `ResNet` or a `UNet` is made of.

    Attributes:
        variables: names of the channels that it takes, in order; all are needed.
        out_variables: names of those that it gives; by default the same.
        grid_shape: (H, W) of the input.
        width: channels of the first level.
        depth: blocks of a ResNet; levels of a U-Net, each of half the rows and columns and twice the channels of the one above.
        kernel: cells along the side of a convolution, odd.
        dropout: after each convolution of a block.
        patch_size: cells along the side of the patches by which a region is named (`Grid.patch_ids`); the network has no patches itself.
    """

    variables: tuple[str, ...]
    out_variables: tuple[str, ...] = ()
    grid_shape: tuple[int, int] = (32, 64)
    width: int = 64
    depth: int = 8
    kernel: int = 3
    dropout: float = 0.1
    patch_size: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "out_variables", tuple(self.out_variables) or self.variables)
        object.__setattr__(self, "grid_shape", tuple(self.grid_shape))
        if not self.variables or len(set(self.variables)) != len(self.variables):
            raise ValueError(f"expected one or more variables, each once, got {self.variables}")
        if self.kernel % 2 == 0 or min(self.width, self.depth) < 1:
            raise ValueError(
                f"expected an odd kernel, and a width and depth of one or more, got {self.kernel}, {self.width}, {self.depth}"
            )

    @property
    def patches(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.grid_shape[0] // self.patch_size, self.grid_shape[1] // self.patch_size


class SphereConv(nn.Conv2d):
    """A convolution that goes round the globe in longitude, and repeats the outermost rows beyond the poles."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W)."""
        side = self.kernel_size[0] // 2
        x = F.pad(x, (side, side, 0, 0), mode="circular")
        return super().forward(F.pad(x, (0, 0, side, side), mode="replicate"))


class Residual(nn.Module):
    """x + two convolutions of it, each after a norm over groups of channels and a GELU; the lead time scales and shifts the second norm.

    (As one more channel of the input, the lead time would be a constant, and the first norm would take it away.)
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_groups(channels_in), channels_in)
        self.conv1 = SphereConv(channels_in, channels_out, kernel)
        self.norm2 = nn.GroupNorm(_groups(channels_out), channels_out)
        self.lead = nn.Linear(1, 2 * channels_out)
        self.conv2 = SphereConv(channels_out, channels_out, kernel)
        self.drop = nn.Dropout(dropout)
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, lead: Tensor) -> Tensor:
        """(B, C, H, W) and the scaled lead time (B, 1) → (B, C', H, W)."""
        y = self.drop(self.conv1(F.gelu(self.norm1(x))))
        scale, shift = self.lead(lead)[:, :, None, None].chunk(2, dim=1)
        return self.skip(x) + self.drop(self.conv2(F.gelu(self.norm2(y) * (1 + scale) + shift)))


class Convolutional(nn.Module):
    """What `ResNet` and `UNet` share: names in and out, and the scaled lead time for their blocks."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = SphereConv(len(config.variables), config.width, 7)
        self.last = nn.Sequential(
            nn.GroupNorm(_groups(config.width), config.width),
            nn.GELU(),
            SphereConv(config.width, len(config.out_variables), config.kernel),
        )

    def middle(self, x: Tensor, lead: Tensor) -> Tensor:
        """(B, C, H, W) and the scaled lead time (B, 1) → (B, C, H, W)."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        lead_hours: Tensor,
        variables: Sequence[str],
        out_variables: Sequence[str],
        patch_ids: Sequence[int] | None = None,
    ) -> Tensor:
        """(B, V, H, W) → (B, V_out, H, W), or the cells of the patches `patch_ids`, which fill a rectangle; as `ClimaX.forward`.

        Raises:
            ValueError: when a variable is missing or unknown, or the grid is another.
        """
        c = self.config
        if missing := [v for v in c.variables if v not in variables]:
            raise ValueError(
                f"this network needs all of its variables, and {', '.join(missing)} is missing: a convolution has weights for each channel"
            )
        if unknown := [v for v in out_variables if v not in c.out_variables]:
            raise ValueError(
                f"this network does not predict {', '.join(unknown)}; it predicts {', '.join(c.out_variables)}"
            )
        if tuple(x.shape[-2:]) != c.grid_shape:
            raise ValueError(f"expected fields on a grid {c.grid_shape}, got {tuple(x.shape[-2:])}")
        x = x[:, [list(variables).index(v) for v in c.variables]]
        lead = (lead_hours.to(x.dtype) / HOURS_PER_UNIT)[:, None]
        y = self.last(self.middle(self.stem(x), lead))[:, [c.out_variables.index(v) for v in out_variables]]
        return y if patch_ids is None else cells(y, patch_ids, c.patches[1], c.patch_size)


class ResNet(Convolutional):
    """`depth` residual blocks on the whole grid, as in Rasp and Thuerey (2021), with norms over groups in place of batches."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__(config)
        w = config.width
        self.blocks = nn.ModuleList(Residual(w, w, config.kernel, config.dropout) for _ in range(config.depth))

    def middle(self, x: Tensor, lead: Tensor) -> Tensor:
        """(B, C, H, W) and the scaled lead time (B, 1) → (B, C, H, W)."""
        for block in self.blocks:
            x = block(x, lead)
        return x


class UNet(Convolutional):
    """A U-Net (Ronneberger et al. 2015): down to a coarse grid and up again, with what each level saw on the way down handed across."""

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__(config)
        if any(n % 2 ** (config.depth - 1) for n in config.grid_shape):
            raise ValueError(
                f"expected a grid that can be halved {config.depth - 1} times, got {config.grid_shape}: take fewer levels"
            )
        widths = [config.width * 2**i for i in range(config.depth)]
        k, d = config.kernel, config.dropout
        self.down = nn.ModuleList(Residual(a, b, k, d) for a, b in zip([widths[0], *widths], widths, strict=False))
        self.up = nn.ModuleList(Residual(b + a, a, k, d) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))

    def middle(self, x: Tensor, lead: Tensor) -> Tensor:
        """(B, C, H, W) and the scaled lead time (B, 1) → (B, C, H, W)."""
        seen = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2), lead)
            seen.append(x)
        for block, across in zip(self.up, seen[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), across], dim=1), lead)
        return x


def _groups(channels: int) -> int:
    """Eight groups, or as many as divide the channels."""
    return next(n for n in (8, 4, 2, 1) if channels % n == 0)
