"""Checkers of *Half the cost, the same function*."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .answers import Mistake, array, expect, random, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong

B, L, V, P, D, N = 2, 12, 3, 4, 16, 2
"""A small problem in float64, large enough that a tensor of all tokens is the largest there is."""

CLOSE = 1e-11
"""The tolerance, relative and absolute: two ways to one function differ by rounding alone."""


def _problem() -> tuple[Tensor, Tensor, Any]:
    """Pixels (B, L, V, P), E (V, D, P + 1), and an aggregation whose parameters are all random."""
    from ..model import VariableAggregation

    agg = VariableAggregation(D, N).double()
    with torch.no_grad():
        for seed, parameter in enumerate(agg.parameters()):
            parameter.copy_(random(*parameter.shape, seed=10 + seed) / 2)
    return random(B, L, V, P, seed=1), random(V, D, P + 1, seed=2).requires_grad_(), agg


def _tensor(answer: Any, shape: tuple[int, ...], meaning: str, hint: str) -> Tensor:
    """The answer itself, with its gradient, if it is a tensor of the expected shape in float64."""
    if not isinstance(answer, Tensor):
        raise Stop(wrong(f"Expected {meaning}, a tensor of the shape {shape}, got {type(answer).__name__}.", hint))
    array(answer.double(), shape, meaning, hint)
    if answer.dtype != torch.float64:
        raise Stop(wrong(f"float64 came in and {answer.dtype} goes out.".replace("torch.", ""), "Leave out .float()."))
    return answer


def _pieces(agg: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q (N, d), W^K (N, d, D), W^V (N, d, D), b^V (D,)."""
    w_q, w_k, w_v = agg.in_proj_weight.chunk(3)
    b_q, _, b_v = agg.in_proj_bias.chunk(3)
    q = F.linear(agg.query, w_q, b_q).unflatten(0, (N, -1))
    return q, w_k.unflatten(0, (N, -1)), w_v.unflatten(0, (N, -1)), b_v


def _attend(weights: Tensor, x: Tensor, matrices: Tensor, agg: Any, bias: float = 1.0, out: bool = True) -> Tensor:
    """Weights (B, L, V, N) on x (B, L, V, k), through matrices (V, N, d, k), to the result (B, L, D)."""
    o = torch.einsum("blvn,blvk,vndk->blnd", weights, x, matrices).flatten(2) + bias * _pieces(agg)[3]
    return agg.out_proj(o) if out else o


class _Largest(TorchDispatchMode):
    """How many numbers the largest tensor that was made inside has in memory."""

    size = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@checker
def score_vectors(function: Any) -> Verdict:
    """`score_vectors(affine, agg)` → c (V, P + 1, N)."""
    _, e, agg = _problem()
    answer = attempt(function, e, agg)
    if isinstance(answer, Tensor) and answer.shape in {(V, N, P + 1), (N, V, P + 1)}:
        return wrong("The numbers may be right, but the axes are in another order.", "In einsum the letters behind -> set it: vpn.")  # fmt: skip
    given = _tensor(answer, (V, P + 1, N), "P + 1 numbers for each variable and head", "D is summed: it is the token that never exists.")  # fmt: skip
    q, w_k, w_v, _ = _pieces(agg)
    d = D // N

    def fold(q: Tensor, w: Tensor = w_k, scale: float = d**0.5) -> Tensor:
        return torch.einsum("nd,nde,vep->vpn", q, w, e) / scale

    c = fold(q)
    b_k = agg.in_proj_bias.chunk(3)[1].unflatten(0, (N, -1))
    beta = F.pad(((q * b_k).sum(1) / d**0.5).expand(V, 1, N), (0, 0, P, 0))
    if same(given, c + beta, CLOSE, CLOSE):
        return right("Right. You kept the key's bias in the last number; it does no harm, and the softmax cancels it.")
    together = (w_k.flatten(0, 1).T @ q.flatten()).expand(N, D)
    turned = w_k.flatten(0, 1).unflatten(0, (-1, N)).transpose(0, 1)
    mistakes: list[Mistake] = [
        (fold(q, scale=1.0), "The scores are not divided by √d.", "d = D / N numbers meet in the dot product of a head."),
        (fold(q, scale=D**0.5), "You divided by √D; a head has only d = D / N numbers.", "Which length has q of one head?"),
        (fold(q, scale=float(d)), "You divided by d, not by its root.", "As in the attention before."),
        (fold(agg.query.unflatten(0, (N, -1))), "The query is used as it is, without its projection.", "q is W^Q times `agg.query`, plus a bias."),
        (fold((q.flatten() - agg.in_proj_bias.chunk(3)[0]).unflatten(0, (N, -1))), "The bias of the query is missing.", "Only the key's bias cancels; the query's multiplies every key."),
        (fold(q, w_v), "You folded the query into the values' matrix.", "The order in in_proj_weight is query, key, value."),
        (torch.einsum("ne,vep->vpn", together, e) / d**0.5, "All heads have the same vectors: the query was not split.", "Head n takes d rows of W^K, and d numbers of q."),
        (fold(q.flatten().unflatten(0, (-1, N)).T, turned), "Your heads are interleaved.", "Head 0 has the first d numbers: (N, d), not (d, N)."),
    ]  # fmt: skip
    expect(given, c, mistakes, "These are not the score vectors: they differ on random parameters.",
        "First g (N, D), the transposed key rows of each head times its query; then E transposed times g.", rtol=CLOSE, atol=CLOSE)  # fmt: skip
    return right("Right: a score is now a dot product of P + 1 numbers.")


@checker
def value_matrices(function: Any) -> Verdict:
    """`value_matrices(affine, agg)` → M (V, D, P + 1)."""
    _, e, agg = _problem()
    answer = attempt(function, e, agg)
    if isinstance(answer, Tensor) and answer.shape == (V, P + 1, D):
        return wrong("Your matrices are transposed: (V, P + 1, D).", "M takes P + 1 numbers to D: D rows.")
    given = _tensor(answer, (V, D, P + 1), "one matrix for each variable", "A stack of matrices times one matrix is a stack.")  # fmt: skip
    w_q, w_k, w_v = agg.in_proj_weight.chunk(3)
    m, b_v = w_v @ e, agg.in_proj_bias.chunk(3)[2]
    mistakes: list[Mistake] = [
        (w_k @ e, "You took the keys' matrix.", "The order in in_proj_weight is query, key, value."),
        (w_q @ e, "You took the query's matrix.", "The order in in_proj_weight is query, key, value."),
        (w_v.T @ e, "W^V is transposed.", "A value is W^V times a token: rows of W^V meet columns of E."),
        (m + F.pad(b_v[:, None], (P, 0)), "You put b^V into the last column. That can be done, but then nobody may add it again.", "Here it is left out, and added once at the end."),
        (agg.out_proj.weight @ m, "W_o is in it already. It comes after the heads are joined.", "Exercise 4 counts what that would cost."),
    ]  # fmt: skip
    expect(given, m, mistakes, "These are not W^V E: they differ on random parameters.", "One matrix product.", rtol=CLOSE, atol=CLOSE)  # fmt: skip
    return right("Right: V small matrices have taken the place of V values at every place.")


def _fold_mistakes(r: Tensor, e: Tensor, agg: Any) -> list[Mistake]:
    q, w_k, w_v, _ = _pieces(agg)
    c = torch.einsum("nd,nde,vep->vpn", q, w_k, e) / (D // N) ** 0.5
    m = torch.einsum("nde,vep->vndp", w_v, e)
    s = torch.einsum("blvp,vpn->blvn", r, c)
    a, x = torch.softmax(s, 2), r[..., :-1]
    bare = torch.softmax(torch.einsum("blvp,vpn->blvn", x, c[:, :-1]), 2)
    summed = torch.softmax(s.sum(3, keepdim=True), 2).expand_as(a)
    other = "Which axis of (B, L, V, N) holds the variables?"
    return [
        (_attend(a, r, m, agg, out=False), "The output projection is missing.", "agg.out_proj is the last step."),
        (_attend(a, r, m, agg, bias=0.0), "b^V is missing.", "The weights add up to one, so it comes out of the sum once."),
        (_attend(a, r, m, agg, bias=float(V)), "b^V is added once for each variable.", "The weights add up to one: it comes out once."),
        (_attend(bare, x, m[..., :-1], agg), "The constant column is missing: biases and variable embeddings have gone.", "Pixels and a one, P + 1 numbers."),
        (_attend(bare, r, m, agg), "The scores have forgotten the constant column.", "Pixels and a one also in the scores: the last number of c says how much a variable counts by itself."),
        (_attend(a, x, m[..., :-1], agg), "The values have forgotten the constant column.", "Weighted pixels have a last number: the weight itself."),
        (_attend(summed, r, m, agg), "The scores of all heads are added before the softmax.", "Each head has a softmax of its own."),
        (_attend(a.mean(3, keepdim=True).expand_as(a), r, m, agg), "The weights are averaged over the heads.", "Each head mixes with its own weights."),
        (_attend(s, r, m, agg), "The weights are the scores themselves, without a softmax.", "They are positive and add up to one."),
        (_attend(torch.softmax(s, 3), r, m, agg), "Your weights add up to one over the heads.", other),
        (_attend(torch.softmax(s, 1), r, m, agg), "Your weights add up to one over the places.", other),
        (_attend(torch.full_like(a, 1 / V), r, m, agg), "This is the plain mean: the scores were not used.", "Softmax of the scores over the variables."),
    ]  # fmt: skip


@checker
def folded(function: Any) -> Verdict:
    """`folded(patches, affine, agg)` → (B, L, D): value, gradients, and no tensor of all tokens."""
    x, e, agg = _problem()
    r = F.pad(x, (0, 1), value=1.0)
    with _Largest() as largest:
        answer = attempt(function, x, e, agg)
    given = _tensor(answer, (B, L, D), "one vector for each place", "V is summed, and the heads are joined to D.")
    expected = agg(torch.einsum("vdp,blvp->blvd", e, r))
    expect(given, expected, _fold_mistakes(r, e, agg), "This is not the aggregation of the tokens.",
        "Print the shape after each line, and compare with the steps of the derivation.", rtol=CLOSE, atol=CLOSE)  # fmt: skip
    if largest.size >= B * L * V * D:
        return wrong("The numbers are right, but you made a tensor as large as all tokens.",
                     "Weights first meet the pixels; only then M. Neither tokens nor their values.")  # fmt: skip
    used = dict(agg.named_parameters()) | {"affine": e}
    if not given.requires_grad:
        return wrong(
            "The numbers are right, but no gradient reaches the parameters.", "Leave out no_grad and .detach()."
        )
    ours, theirs = (
        torch.autograd.grad(out.square().sum(), list(used.values()), allow_unused=True) for out in (given, expected)
    )
    scale = max(float(g.abs().max()) for g in theirs if g is not None)
    for name, a, b in zip(used, ours, theirs, strict=True):
        if a is None or float((a - b).abs().max()) > 1e-10 * scale:
            return wrong(f"The numbers are right, but the gradient of `{name}` is not.", "Is a part of it detached?")
    return right("Right: the same function to 1e-12, the same gradients, and no token was made.")


@checker
def costs(function: Any) -> Verdict:
    """`costs(encoder, B, L, V, P, D, N)` → (multiply-adds, numbers kept)."""
    for sizes in ((1, 5, 3, 4, 24, 2), (3, 7, 2, 9, 40, 4)):
        b, length, v, p, d, n = sizes
        places, pixels = b * length, v * (p + 1)
        once, each = d * d + pixels * d * (n + d), pixels * (n + d) + d * d
        reference = places * (v * p * d + 2 * v * d * d + 2 * v * d + d * d)
        kept = places * v * (p + 1 + n + n * (p + 1))
        for encoder, work, numbers in (
            ("reference", reference, 3 * places * v * d),
            ("folded", once + places * each, kept),
        ):
            answer = attempt(function, encoder, *sizes)
            if not isinstance(answer, (tuple, list)) or len(answer) != 2:
                return wrong("Expected a pair: multiply-adds, numbers kept.", "return work, numbers")
            mine, held = (float(a) for a in answer)
            known = [
                (2 * work, "You counted operations: each multiply-add is two."),
                (places * each, "What is made once is missing: g, c and M."),
                (places * (once + each), "You make c and M anew at every place; they depend on parameters only."),
                (b * (once + length * each), "You make c and M for each sample; one batch shares them."),
                (once - d * d + places * each, "g is missing: D² in all heads together."),
                (once + places * (each - d * d), "The output projection is missing: D² at each place."),
                (d * d + v * p * d * (n + d) + places * (v * p * (n + d) + d * d), "Pixels come with a one: P + 1 numbers."),
                (once + places * (pixels * (n + n * d) + d * d), "M counts N times: a head has only d = D / N of its rows."),
                (work - places * d * d, "The output projection is missing: D² at each place."),
                (work - places * v * d * d, "Keys and values: two products of D² for each token."),
            ]  # fmt: skip
            name, hint = encoder.capitalize(), "Go through the products one by one: n·m·k each."
            mistakes: list[Mistake] = [(value, f"{name}: {sentence}", hint) for value, sentence in known]
            otherwise = f"{name}: For B, L, V, P, D, N = {sizes} expected {work:,} multiply-adds, got {mine:,.0f}."
            expect(mine, work, mistakes, otherwise, hint, rtol=0, atol=0)
            if held != numbers:
                most = " The weighted pixels are N times as many as the pixels." if encoder == "folded" else ""
                if held == places * v * (p + n + n * p):
                    most = " Each patch carries its one: P + 1 numbers."
                return wrong(f"{name}: expected {numbers:,} numbers kept, got {held:,.0f}.{most}",
                             "List the tensors with both a place and a variable, and multiply their axes.")  # fmt: skip
    return right("Right: now the machine may count.")


@checker
def folded_masked(function: Any) -> Verdict:
    """`folded_masked(patches, affine, agg, present)` → (B, L, D)."""
    x, e, agg = _problem()
    present = torch.tensor([[True, False, True], [True, True, True]])
    asked = x.masked_fill(~present[:, None, :, None], torch.nan)
    given = _tensor(attempt(function, asked, e, agg, present), (B, L, D), "one vector for each place", "As folded.")
    if not torch.isfinite(given).all():
        return wrong("Your answer holds NaN: a weight of zero times NaN is NaN.", "Fill the missing pixels, too.")
    r = F.pad(x, (0, 1), value=1.0)
    tokens = torch.einsum("vdp,blvp->blvd", e, r)
    here = torch.tensor([0, 2])
    expected = torch.cat([agg(tokens[:1, :, here]), agg(tokens[1:])])
    zero = F.pad(x * present[:, None, :, None], (0, 1), value=1.0)
    a = agg.weights(tokens).transpose(2, 3) * present[:, None, :, None]
    m = torch.einsum("nde,vep->vndp", _pieces(agg)[2], e)
    with_zeros = torch.einsum("vdp,blvp->blvd", e, zero)
    late = agg.weights(with_zeros).transpose(2, 3) * present[:, None, :, None]
    mistakes: list[Mistake] = [
        (_attend(late, r, m, agg), "The weights that are left do not add up to one.", "Mask the scores, before the softmax."),
        (agg(with_zeros), "The missing variable still has a token: that of a field of zeros.", "Its score must be −∞."),
        (_attend(a, r, m, agg), "The weights that are left do not add up to one.", "Mask the scores, before the softmax."),
        (agg(tokens[:, :, here]), "You left the variable out of every sample.", "One sample has it."),
        (torch.cat([agg(tokens[:1, :, 1:2]), agg(tokens[1:])]), "You masked what is present.", "True in `present` means: it is there."),
    ]  # fmt: skip
    expect(given, expected, mistakes, "This is not the aggregation of what is present.", "Start from folded.", rtol=CLOSE, atol=CLOSE)  # fmt: skip
    return right("Right: each sample brings what it has.")


@checker
def attend_tokens(function: Any) -> Verdict:
    """`attend_tokens(tokens, agg)`: no key and no value of each token."""
    agg, tokens = _problem()[2], random(B, L, 2 * V, D, seed=5)
    with FlopCounterMode(display=False) as counter:
        answer = attempt(function, tokens, agg)
    given = _tensor(answer, (B, L, D), "one vector for each place", "The variables are summed, and the heads joined.")
    # A token is its own "pixels", and E the identity without the column of ones.
    expect(given, agg(tokens), _token_mistakes(tokens, agg), "This is not the aggregation of the tokens.",
        "Compare the scores, the mixing and b^V with the hints, one by one.", rtol=CLOSE, atol=CLOSE)  # fmt: skip
    if counter.get_total_flops() >= 2 * tokens.numel() * D:  # what the keys alone would take, or the values
        return wrong("The numbers are right, but you made keys or values of all tokens.", "Mix the tokens first.")
    return right("Right: it works for any tokens, affine or not.")


def _token_mistakes(t: Tensor, agg: Any) -> list[Mistake]:
    q, w_k, w_v, _ = _pieces(agg)
    s = torch.einsum("nd,nde,blve->blvn", q, w_k, t)
    a, m = torch.softmax(s / (D // N) ** 0.5, 2), w_v.expand(t.shape[2], -1, -1, -1)
    every = torch.softmax(s.sum(3, keepdim=True) / (D // N) ** 0.5, 2).expand_as(a)
    return [
        (_attend(torch.softmax(s, 2), t, m, agg), "The scores are not divided by √d.", "As in g."),
        (_attend(a, t, m, agg, out=False), "The output projection is missing.", "agg.out_proj is the last step."),
        (_attend(a, t, m, agg, bias=0.0), "b^V is missing.", "It comes out of the sum once."),
        (_attend(a, t, m, agg, bias=2.0), "b^V is added twice.", "It comes out of the sum once."),
        (agg.out_proj(torch.einsum("blvn,blve,de->bld", a, t, w_v.flatten(0, 1)) + _pieces(agg)[3]), "Every head took all D rows of W^V.", "Head n takes d of them, and the heads are joined."),
        (_attend(every, t, m, agg), "The scores of all heads are added before the softmax.", "Each head has its own."),
        (_attend(a.mean(3, keepdim=True).expand_as(a), t, m, agg), "The weights are averaged over the heads.", "Each head mixes with its own weights."),
    ]  # fmt: skip


__all__ = ["attend_tokens", "costs", "folded", "folded_masked", "score_vectors", "value_matrices"]
