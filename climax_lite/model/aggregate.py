"""Variable aggregation: at every place of the map, V tokens become one, by attention with a learned query.

`VariableAggregation.forward` is the paper's way, and the oracle of the tests. `VariableAggregation.folded` is the same function
without the V·L tokens. B batch, L patches, V variables, P pixels per patch, D embedding, N heads, d = D / N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class VariableAggregation(nn.Module):
    """Multi-head attention over the variables at each patch, with one learned query for all places.

    Parameters are those of `torch.nn.MultiheadAttention`, which the official model uses: input projections of query, key and value
    stacked in `in_proj_weight` (3·D, D), and an output projection.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.zeros(embed_dim))
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, V, D) → (B, L, D)."""
        batch, places = tokens.shape[:2]
        w_q, w_k, w_v = self.in_proj_weight.chunk(3)
        b_q, b_k, b_v = self.in_proj_bias.chunk(3)
        q = rearrange(F.linear(self.query, w_q, b_q), "(n d) -> 1 n 1 d", n=self.num_heads)
        k, v = (
            rearrange(F.linear(tokens, w, b), "b l v (n d) -> (b l) n v d", n=self.num_heads)
            for w, b in ((w_k, b_k), (w_v, b_v))
        )
        out = F.scaled_dot_product_attention(q.expand(batch * places, -1, -1, -1), k, v)
        return self.out_proj(rearrange(out, "(b l) n 1 d -> b l (n d)", b=batch))

    def weights(self, tokens: Tensor) -> Tensor:
        """How much each variable is attended to: (B, L, N, V), summing to one over V."""
        w_q, w_k, _ = self.in_proj_weight.chunk(3)
        b_q, b_k, _ = self.in_proj_bias.chunk(3)
        q = rearrange(F.linear(self.query, w_q, b_q), "(n d) -> n d", n=self.num_heads)
        k = rearrange(F.linear(tokens, w_k, b_k), "b l v (n d) -> b l n v d", n=self.num_heads)
        return torch.softmax(torch.einsum("nd,blnvd->blnv", q, k) / q.shape[-1] ** 0.5, dim=-1)

    def folded(self, patches: Tensor, affine: Tensor) -> Tensor:
        """The same function of the patches (B, L, V, P) and the tokenizer's `affine` (V, D, P + 1) → (B, L, D).

        A token is affine in its pixels: x_v = U_v q, with q = [pixels; 1]. There is one query, so the score of variable v in head n is
        (U_vᵀ W_kᵀ q_n / √d) · q, a vector of P + 1 numbers per variable and head, made once; the key's bias adds the same to every v
        and cancels in the softmax. The value is linear in the token too: Σ_v a_v W_v U_v q_v. So the weights a_v meet the pixels first, and
        one small product per head takes the weighted pixels of all variables to the output.
        """
        w_q, w_k, w_v = self.in_proj_weight.chunk(3)
        b_q, _, b_v = self.in_proj_bias.chunk(3)
        heads = self.num_heads
        query = rearrange(F.linear(self.query, w_q, b_q), "(n d) -> n d", n=heads)
        key = torch.einsum("nd,nde->ne", query, rearrange(w_k, "(n d) e -> n d e", n=heads)) / query.shape[-1] ** 0.5
        scorer = torch.einsum("ne,vep->vpn", key, affine)  # (V, P + 1, N)
        reader = torch.einsum("fe,vep->vpf", w_v, affine)  # (V, P + 1, D)
        pixels = F.pad(patches, (0, 1), value=1.0)  # (B, L, V, P + 1)
        scores = torch.einsum("blvp,vpn->blvn", pixels, scorer)
        a = torch.softmax(scores, dim=2)
        weighted = torch.einsum("blvn,blvp->nblvp", a, pixels).flatten(3)
        out = torch.einsum("nblk,nkd->blnd", weighted, rearrange(reader, "v p (n d) -> n (v p) d", n=heads))
        return self.out_proj(out.flatten(2) + b_v)
