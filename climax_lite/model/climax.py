"""ClimaX (Nguyen et al. 2023), one class for forecasts of the globe, of a region, and for climate projection.

B batch, V variables, H W latitude × longitude, L patches, P pixels per patch, D embedding, N heads, T time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .aggregate import VariableAggregation
from .backbone import blocks
from .embed import HOURS_PER_UNIT, sincos_1d, sincos_2d
from .head import PatchHead, PooledHead
from .tokenize import VariableTokenizer, patchify


@dataclass(frozen=True)
class ClimaXConfig:
    """What a ClimaX is made of. The defaults are the paper's, but for `variables`.

    Attributes:
        variables: names of the variables it knows, in the order of their embeddings.
        grid_shape: (H, W) of the input.
        patch_size: p; divides both.
        embed_dim: D; divisible by four (the position embedding) and by `num_heads`.
        depth: transformer blocks.
        num_heads: N, in the blocks and in the aggregation.
        mlp_ratio: hidden width of the MLP over D.
        head_depth: hidden layers of the head.
        dropout: on embeddings, projections and MLPs; none on attention weights.
        drop_path: stochastic depth of the last block, growing linearly from none in the first.
        time_history: T for projection: x is (B, T, V, H, W) and the head is pooled; None for forecasts.
        out_variables: what a pooled head predicts; a forecast can predict every variable it knows.
        encoder: `reference`, `folded`, or `auto`, which folds when that is cheaper (`ClimaX.folds`).
        checkpointing: recompute the blocks in the backward pass instead of keeping their activations.
    """

    variables: tuple[str, ...]
    grid_shape: tuple[int, int] = (32, 64)
    patch_size: int = 2
    embed_dim: int = 1024
    depth: int = 8
    num_heads: int = 16
    mlp_ratio: float = 4.0
    head_depth: int = 2
    dropout: float = 0.1
    drop_path: float = 0.1
    time_history: int | None = None
    out_variables: tuple[str, ...] | None = None
    encoder: str = "auto"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "grid_shape", tuple(self.grid_shape))
        if self.out_variables is not None:
            object.__setattr__(self, "out_variables", tuple(self.out_variables))
        if not self.variables or len(set(self.variables)) != len(self.variables):
            raise ValueError(f"expected one or more variables, each once, got {self.variables}")
        if any(n % self.patch_size for n in self.grid_shape):
            raise ValueError(f"expected a grid divisible by the patch size {self.patch_size}, got {self.grid_shape}")
        if self.embed_dim % 4 or self.embed_dim % self.num_heads:
            raise ValueError(
                f"expected an embedding dimension divisible by 4 and by the {self.num_heads} heads, got {self.embed_dim}"
            )
        if self.encoder not in ("auto", "folded", "reference"):
            raise ValueError(f"expected encoder 'auto', 'folded' or 'reference', got {self.encoder!r}")
        if (self.time_history is None) != (self.out_variables is None):
            raise ValueError("expected time_history and out_variables together (projection), or neither (forecast)")

    @property
    def patches(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.grid_shape[0] // self.patch_size, self.grid_shape[1] // self.patch_size


class ClimaX(nn.Module):
    """Variables in, variables out: tokens per variable, aggregation over variables, a ViT, a head.

    The parameters are the official model's; `climax_lite.model.weights` maps their names.
    """

    def __init__(self, config: ClimaXConfig) -> None:
        super().__init__()
        self.config = config
        c, width = config, config.embed_dim
        self.tokenizer = VariableTokenizer(len(c.variables), c.patch_size, width)
        self.aggregation = VariableAggregation(width, c.num_heads)
        self.pos_embed = nn.Parameter(torch.empty(1, c.patches[0] * c.patches[1], width))
        self.lead_time_embed = nn.Linear(1, width)
        self.drop = nn.Dropout(c.dropout)
        self.blocks = blocks(c.depth, width, c.num_heads, c.mlp_ratio, c.dropout, c.drop_path)
        self.norm = nn.LayerNorm(width)
        self.head: PatchHead | PooledHead
        if c.time_history is None:
            self.head = PatchHead(width, len(c.variables), c.patch_size, c.head_depth)
        else:
            self.time_pos_embed = nn.Parameter(torch.empty(1, c.time_history, width))
            self.head = PooledHead(width, c.num_heads, len(c.out_variables or ()), c.grid_shape)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as the official model: sine-cosine embeddings, truncated normal of 0.02, zero biases, a uniform aggregation."""
        c = self.config
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, VariableAggregation):
                nn.init.xavier_uniform_(module.in_proj_weight)
                nn.init.zeros_(module.in_proj_bias)
                nn.init.zeros_(module.query)
        nn.init.trunc_normal_(self.tokenizer.weight, std=0.02)
        # The official convolution keeps torch's own bias, uniform within 1/√fan_in: half a unit at p = 2, beside weights of 0.02.
        nn.init.uniform_(self.tokenizer.bias, -1 / c.patch_size, 1 / c.patch_size)
        self.tokenizer.embedding.copy_(sincos_1d(range(len(c.variables)), c.embed_dim))
        self.pos_embed.copy_(sincos_2d(c.embed_dim, *c.patches)[None])
        if c.time_history is not None:
            self.time_pos_embed.copy_(sincos_1d(range(c.time_history), c.embed_dim)[None])

    @property
    def folds(self) -> bool:
        """Whether the folded encoder runs: forced by the configuration, or N·(P + 1) well under D, where it is cheaper."""
        c = self.config
        if c.encoder == "auto":
            return c.num_heads * (c.patch_size**2 + 1) <= c.embed_dim // 2
        return c.encoder == "folded"

    def encode(
        self, x: Tensor, lead_hours: Tensor, variables: Sequence[str], patch_ids: Sequence[int] | None = None
    ) -> Tensor:
        """Fields → tokens after the last norm.

        Args:
            x: (B, V, H, W), or (B, T, V, H, W) for projection.
            lead_hours: (B,) in hours.
            variables: the names of the V channels, in their order.
            patch_ids: for a region, which patches to keep (`Grid.patch_ids`); all by default.

        Returns:
            (B, L, D), or (B, T, L, D) for projection.
        """
        self._check(x, lead_hours, variables)
        time = self.config.time_history
        if time is not None:
            x = x.flatten(0, 1)
        patches = patchify(x, self.config.patch_size)
        positions: Tensor = self.pos_embed
        if patch_ids is not None:
            keep = torch.as_tensor(patch_ids, device=x.device)
            patches, positions = patches[:, keep], positions[:, keep]
        ids = self._ids(variables, self.config.variables, x.device)
        if self.folds:
            tokens = self.aggregation.folded(patches, self.tokenizer.affine(ids))
        else:
            tokens = self.aggregation(self.tokenizer(patches, ids))
        lead = self.lead_time_embed((lead_hours.to(x.dtype) / HOURS_PER_UNIT)[:, None])[:, None]
        if time is None:
            tokens = tokens + positions + lead
        else:
            tokens = tokens.unflatten(0, (-1, time)) + positions + self.time_pos_embed[:, :, None] + lead[:, None]
            tokens = tokens.flatten(0, 1)
        tokens = self.drop(tokens)
        recompute = self.config.checkpointing and self.training
        for block in self.blocks:
            tokens = checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
        tokens = self.norm(tokens)
        return tokens if time is None else tokens.unflatten(0, (-1, time))

    def forward(
        self,
        x: Tensor,
        lead_hours: Tensor,
        variables: Sequence[str],
        out_variables: Sequence[str],
        patch_ids: Sequence[int] | None = None,
    ) -> Tensor:
        """Forecast: (B, V, H, W) → (B, V_out, H, W); with `patch_ids`, which must fill a rectangle, the fields of that rectangle.

        Args: as `encode`; `out_variables` names the fields to predict, in the order of the result.
        """
        tokens = self.encode(x, lead_hours, variables, patch_ids)
        if isinstance(self.head, PooledHead):
            return self.head(tokens, self._ids(out_variables, self.config.out_variables or (), x.device))
        shape = self.config.patches if patch_ids is None else self._rectangle(patch_ids)
        return self.head(tokens, self._ids(out_variables, self.config.variables, x.device), shape)

    def _ids(self, names: Sequence[str], known: tuple[str, ...], device: torch.device) -> Tensor:
        if unknown := [n for n in names if n not in known]:
            raise ValueError(f"this model does not know {', '.join(unknown)}; it knows {', '.join(known)}")
        return torch.tensor([known.index(n) for n in names], device=device)

    def _check(self, x: Tensor, lead_hours: Tensor, variables: Sequence[str]) -> None:
        c = self.config
        lead = () if c.time_history is None else (c.time_history,)
        expected = (*lead, len(variables), *c.grid_shape)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"expected x of shape (batch, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
        if tuple(lead_hours.shape) != (x.shape[0],):
            raise ValueError(
                f"expected one lead time in hours per sample, ({x.shape[0]},), got {tuple(lead_hours.shape)}"
            )

    def _rectangle(self, patch_ids: Sequence[int]) -> tuple[int, int]:
        columns = self.config.patches[1]
        ids = [int(i) for i in patch_ids]
        width = len({i % columns for i in ids})
        height = len({i // columns for i in ids})
        if width * height != len(ids):
            raise ValueError(
                f"expected patch ids that fill a rectangle, got {len(ids)} in {height} rows and {width} columns"
            )
        return height, width

    def extra_repr(self) -> str:
        """The configuration, for print(model)."""
        return ", ".join(f"{k}={v!r}" for k, v in dataclasses.asdict(self.config).items() if k != "variables")
