"""Variable tokenization: every variable's field is cut into patches, and every patch becomes a token of its own.

B batch, V variables, H W latitude × longitude, p patch size, P = p² pixels of a patch, L patches, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """(B, V, H, W) → (B, L, V, P): patches row by row from the first latitude, pixels row by row in a patch."""
    return rearrange(x, "b v (h p) (w q) -> b (h w) v (p q)", p=patch_size, q=patch_size)


def cells(x: Tensor, patch_ids: Sequence[int], columns: int, patch_size: int) -> Tensor:
    """The cells of x (B, V, H, W) that a rectangle of patches covers; `columns` of patches make the whole map.

    Rows of patches ascend; columns keep the order of `patch_ids`, so that a box across the map's edge stays in one piece.
    """
    rows = sorted({int(i) // columns for i in patch_ids})
    order = list(dict.fromkeys(int(i) % columns for i in patch_ids))
    at = [
        torch.tensor([i * patch_size + k for i in some for k in range(patch_size)], device=x.device)
        for some in (rows, order)
    ]
    return x[:, :, at[0]][..., at[1]]


class VariableTokenizer(nn.Module):
    """One patch embedding per variable, and a vector that says which variable a token belongs to.

    The official model runs V convolutions of stride p on one channel each. A convolution whose stride is its kernel is a matrix
    product with the pixels of the patch, so all variables are one batched product.

    Args:
        num_variables: how many variables the model knows.
        patch_size: p.
        embed_dim: D.
    """

    def __init__(self, num_variables: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.weight = nn.Parameter(torch.empty(num_variables, embed_dim, patch_size**2))
        self.bias = nn.Parameter(torch.empty(num_variables, embed_dim))
        self.embedding = nn.Parameter(torch.empty(num_variables, embed_dim))

    def affine(self, ids: Tensor) -> Tensor:
        """(V, D, P + 1): the matrix that takes the pixels of a patch, and a one, to its token."""
        return torch.cat([self.weight[ids], (self.bias[ids] + self.embedding[ids])[..., None]], dim=-1)

    def forward(self, patches: Tensor, ids: Tensor) -> Tensor:
        """Patches (B, L, V, P) of the variables `ids` (V,) → tokens (B, L, V, D)."""
        tokens = torch.einsum("blvp,vdp->blvd", patches, self.weight[ids])
        return tokens + self.bias[ids] + self.embedding[ids]
