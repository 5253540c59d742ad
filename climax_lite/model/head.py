"""From tokens back to fields. B batch, L patches, V variables, P = p² pixels per patch, D embedding, T time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .aggregate import VariableAggregation


class PatchHead(nn.Sequential):
    """(Linear, GELU) `depth` times, then a linear map from D to the pixels of all variables.

    The last map's rows are ordered pixel by pixel, **the variable fastest**: row (i·p + j)·V + v, the official layout. Only the rows of the
    variables that are asked for are computed.
    """

    def __init__(self, embed_dim: int, num_variables: int, patch_size: int, depth: int = 2) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(embed_dim, embed_dim), nn.GELU()]
        super().__init__(*layers, nn.Linear(embed_dim, num_variables * patch_size**2))
        self.num_variables = num_variables
        self.patch_size = patch_size

    def forward(self, x: Tensor, ids: Tensor, shape: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Tokens (B, L, D) on a map of `shape` patches → fields (B, len(ids), shape · p)."""
        *hidden, last = self
        for layer in hidden:
            x = layer(x)
        assert isinstance(last, nn.Linear)
        weight = last.weight.unflatten(0, (-1, self.num_variables))[:, ids].flatten(0, 1)
        bias = last.bias.unflatten(0, (-1, self.num_variables))[:, ids].flatten()
        pixels = F.linear(x, weight, bias)
        return rearrange(
            pixels, "b (h w) (p q v) -> b v (h p) (w q)", h=shape[0], p=self.patch_size, q=self.patch_size, v=len(ids)
        )


class PooledHead(nn.Module):
    """For projection: the mean over the map of every year, attention over the years, and a linear map to whole fields.

    As in the official ClimateBench model, whose time attention has the form of the variable aggregation.
    """

    def __init__(self, embed_dim: int, num_heads: int, num_variables: int, grid_shape: tuple[int, int]) -> None:
        super().__init__()
        self.aggregation = VariableAggregation(embed_dim, num_heads)
        self.linear = nn.Linear(embed_dim, num_variables * grid_shape[0] * grid_shape[1])
        self.num_variables, self.grid_shape = num_variables, grid_shape

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """Tokens (B, T, L, D) → fields (B, len(ids), H, W)."""
        pooled = self.aggregation(x.mean(dim=2)[:, None])[:, 0]
        fields = self.linear(pooled).unflatten(-1, (self.num_variables, *self.grid_shape))
        return torch.index_select(fields, 1, ids)
