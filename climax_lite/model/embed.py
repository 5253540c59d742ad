"""Where a token is and how far ahead to forecast: position and lead time. L patches, D embedding."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

HOURS_PER_UNIT = 100.0
"""ClimaX feeds the lead time in hours, divided by this."""


def sincos_1d(positions: ArrayLike, embed_dim: int) -> Tensor:
    """Sines and cosines of the positions at `embed_dim / 2` wavelengths from 2π to 2π · 10⁴: (len(positions), embed_dim), float32."""
    positions = np.asarray(positions, dtype=np.float64).reshape(-1)
    frequencies = 1.0 / 10000 ** (np.arange(embed_dim // 2) / (embed_dim / 2))
    angles = positions[:, None] * frequencies[None, :]
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).float()


def sincos_2d(embed_dim: int, rows: int, columns: int) -> Tensor:
    """Position embedding of a rows × columns map, row by row: (rows · columns, embed_dim), the column's half first as in MAE."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return torch.cat([sincos_1d(column, embed_dim // 2), sincos_1d(row, embed_dim // 2)], dim=1)


def interpolate_positions(pos_embed: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Position embedding (1, L, D) of a map of `old` patches → of `new` patches, bicubic, as the official code does it."""
    if old == new:
        return pos_embed
    grid = pos_embed.reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(1, 2)
