"""Checkers of *Variable aggregation*."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from .answers import Mistake, array, expect, random, same
from .verdict import Verdict, attempt, checker, right, wrong

B, L, V, D, N = 2, 3, 5, 8, 2
FINITE = "Does a missing value still take part in a sum?"


@checker
def attend(function: Any) -> Verdict:
    """`attend(query, keys, values)`: (D,), (B, L, V, D), (B, L, V, D) → (B, L, D)."""
    q, k, v = 2 * random(D), random(B, L, V, D, seed=1), random(B, L, V, D, seed=2)
    answer = attempt(function, q, k, v)
    if getattr(answer, "shape", None) == (B, L, V):
        return wrong("You returned one number for each variable: the weights.", "Multiply the values by them, and sum over the variables.")  # fmt: skip
    given = array(answer, (B, L, D), "one vector for each place", "The sum runs over the variables, and over nothing else.", FINITE)  # fmt: skip
    s = k @ q

    def mix(a: Tensor, x: Tensor = v) -> Tensor:
        return (a[..., None] * x).sum(2)

    mistakes: list[Mistake] = [
        (mix(torch.softmax(s, 2)), "Your scores are not scaled.", "Divide them by the square root of the length of a key."),
        (mix(torch.softmax(s / D, 2)), "You divided the scores by d, not by its root.", "The spread of a sum of d random products grows like √d."),
        (mix(torch.softmax(s / D**0.5, 1)), "Your weights sum to one over the places, not over the variables.", "Which axis of (B, L, V) holds the variables?"),
        (mix(torch.softmax(s / D**0.5, 0)), "Your weights sum to one over the batch: samples look at one another.", "Which axis of (B, L, V) holds the variables?"),
        (mix(torch.softmax(s / D**0.5, 2), k), "You mixed the keys; the values were not used.", "Keys decide how much, values are what is passed on."),
        (mix(torch.softmax(s / D**0.5, 2)) / V, "You took the mean over the variables, where the values are summed.", "The weights sum to one already."),
        (mix(s / D**0.5), "Your weights are the scores themselves, without a softmax.", "Weights are positive and sum to one."),
        (v.mean(2), "You took the plain mean of the values: query and keys were not used.", "How well does each key fit the query?"),
    ]  # fmt: skip
    expect(given, mix(torch.softmax(s / D**0.5, 2)), mistakes, "This is not softmax(q·k / √d) times the values: it differs on random tokens.",
        "Three lines: scores (B, L, V), weights (B, L, V), sum of weights times values.")  # fmt: skip
    return right("One query, V keys: at every place the variables are mixed with weights that sum to one.")


@checker
def head_weights(function: Any) -> Verdict:
    """`head_weights(query, keys, num_heads)`: (D,), (B, L, V, D) → (B, L, N, V)."""
    q, k = 2 * random(D), random(B, L, V, D, seed=1)
    answer = attempt(function, q, k, N)
    if getattr(answer, "shape", None) == (B, L, V, N):
        return wrong("Your axes are (B, L, V, N): variables before heads.", "In torch.einsum the letters behind -> set the order.")  # fmt: skip
    given = array(answer, (B, L, N, V), "a weight for each place, head and variable", "Split D into (N, d): the heads come first.", FINITE)  # fmt: skip
    d = D // N
    s = torch.einsum("nd,blvnd->blnv", q.reshape(N, d), k.reshape(B, L, V, N, d))
    t = torch.einsum("dn,blvdn->blnv", q.reshape(d, N), k.reshape(B, L, V, d, N))
    mistakes: list[Mistake] = [
        (torch.softmax(s / D**0.5, -1), "You divided by √D; a head compares only d = D / N numbers.", "How many products are in one score?"),
        (torch.softmax(s, -1), "Your scores are not scaled.", "Divide them by √d."),
        (torch.softmax(t / d**0.5, -1), "Your heads are interleaved: head 0 has the numbers 0, N, 2N, … of D.", "Head 0 has the first d numbers: reshape to (N, d), not to (d, N)."),
        (torch.softmax(s / d**0.5, 2), "Your weights sum to one over the heads, not over the variables.", "Softmax over the last axis of (B, L, N, V)."),
        (torch.softmax((s.sum(2, keepdim=True) / D**0.5).expand(-1, -1, N, -1), -1), "All heads have the same weights: the query was not split.", "Split query and keys into heads before they meet."),
    ]  # fmt: skip
    expect(given, torch.softmax(s / d**0.5, -1), mistakes, "These are not the weights of the heads: they differ on random tokens.",
        "Reshape the query to (N, d) and the keys to (B, L, V, N, d), then sum over d.")  # fmt: skip
    return right("Every head compares its own d numbers, and has weights of its own.")


def _module(seed: int = 3) -> SimpleNamespace:
    out = nn.Linear(D, D).double()
    with torch.no_grad():
        out.weight.copy_(random(D, D, seed=seed))
        out.bias.copy_(random(D, seed=seed + 1))
    return SimpleNamespace(query=random(D, seed=seed + 2), in_proj_weight=random(3 * D, D, seed=seed + 3) / 2,
                           in_proj_bias=random(3 * D, seed=seed + 4), out_proj=out, num_heads=N)  # fmt: skip


def _aggregate(
    x: Tensor,
    agg: Any,
    order=(0, 1, 2),
    bias=1.0,
    query=True,
    values=True,
    transposed=False,
    out=True,
    scale=None,
    heads=None,
) -> Tensor:
    """Aggregation, with each usual mistake as a switch."""
    w, b = agg.in_proj_weight.chunk(3), (bias * agg.in_proj_bias).chunk(3)
    if transposed:
        w = tuple(matrix.T for matrix in w)
    n = heads or agg.num_heads
    d = D // n
    iq, ik, iv = order
    q = (w[iq] @ agg.query + b[iq] if query else agg.query).reshape(n, d)
    k, v = ((x @ w[i].T + b[i]).unflatten(-1, (n, d)) for i in (ik, iv))
    if not values:
        v = x.unflatten(-1, (n, d))
    a = torch.softmax(torch.einsum("nd,blvnd->blnv", q, k) / (scale or d) ** 0.5, -1)
    mixed = torch.einsum("blnv,blvnd->blnd", a, v).flatten(2)
    return (agg.out_proj(mixed) if out else mixed).detach()


@checker
def aggregate(function: Any) -> Verdict:
    """`aggregate(tokens, agg)`: tokens (B, L, V, D) and the parameters of a `VariableAggregation` → (B, L, D)."""
    x, agg = random(B, L, V, D, seed=9), _module()
    given = array(attempt(function, x, agg), (B, L, D), "one token for each place", "V is gone; join the heads to D again.", FINITE)  # fmt: skip
    mistakes: list[Mistake] = [
        (_aggregate(x, agg, out=False), "The output projection is missing.", "agg.out_proj mixes the heads, as the last step."),
        (_aggregate(x, agg, bias=0.0), "The biases of the input projections are missing.", "agg.in_proj_bias has three parts, as the weight has."),
        (_aggregate(x, agg, query=False), "The query is used as it is, without its projection.", "Three projections: of the query, of the keys, of the values."),
        (_aggregate(x, agg, values=False), "The tokens are mixed as they are: the values are not projected.", "Three projections: of the query, of the keys, of the values."),
        (_aggregate(x, agg, transposed=True), "The weights of the projections are transposed.", "W x on the last axis is linear(x, w), or x @ w.T."),
        (_aggregate(x, agg, order=(0, 2, 1)), "Keys and values are the wrong way round.", "The order in in_proj_weight is query, key, value."),
        (_aggregate(x, agg, order=(1, 0, 2)), "Query and keys are the wrong way round.", "The order in in_proj_weight is query, key, value."),
        (_aggregate(x, agg, scale=D), "You divided by √D; a head compares only d = D / N numbers.", "How many products are in one score?"),
        (_aggregate(x, agg, heads=1), "You used one head, where agg.num_heads asks for more.", "Split query, keys and values into (N, d)."),
    ]  # fmt: skip
    expect(given, _aggregate(x, agg), mistakes, "This is not the aggregation: it differs on random tokens.",
        "Project query and tokens, weights as in round 2, sum the values of each head, join the heads, project.")  # fmt: skip
    return right("This is the whole of it: V tokens in, one out, at every place alike.")


@checker
def masked_weights(function: Any) -> Verdict:
    """`masked_weights(scores, present)`: (B, L, N, V) and (B, V) → (B, L, N, V)."""
    s = random(B, L, N, V, seed=4)
    present = torch.tensor([[True, False, True, True, False], [True, True, True, False, True]])
    where, untouched = present[:, None, None, :], s.clone()
    hint = "present[:, None, None, :] stretches over places and heads."
    given = array(attempt(function, s, present), (B, L, N, V), "a weight for each variable", hint, FINITE)  # fmt: skip
    if not torch.equal(s, untouched):
        return wrong("You changed the scores that were handed in.", "masked_fill makes a copy, masked_fill_ does not.")
    expected = torch.softmax(s.masked_fill(~where, -torch.inf), -1)
    zeroed = torch.softmax(s, -1) * where
    mistakes: list[Mistake] = [
        (torch.softmax(s, -1), "The mask does nothing: missing variables keep their weight.", "Which score gives the weight zero?"),
        (zeroed, "Missing variables have no weight, but the others no longer sum to one.", "Mask before the softmax, not after it."),
        (torch.softmax(s * where, -1), "You set the scores of missing variables to zero: exp 0 = 1 is a weight like others.", "Which score gives the weight zero?"),
        (torch.softmax(s.masked_fill(where, -torch.inf), -1), "The mask is the wrong way round: you kept what is missing.", "True means present."),
        (torch.softmax(zeroed, -1), "You used the softmax twice.", "Once is enough, on masked scores."),
    ]  # fmt: skip
    expect(given, expected, mistakes, "These are not the weights over the variables that are present.", "exp(−∞) = 0.")
    if not same(attempt(function, s.masked_fill(~where, torch.nan), present), expected):
        return wrong("When the score of a missing variable is NaN, your weights are spoilt.", "0 · NaN is NaN: put another score in its place instead of multiplying.")  # fmt: skip
    return right("A missing variable has no weight, and the others share the whole of it.")


@checker
def to_places(function: Any) -> Verdict:
    """`to_places(tokens)`: the paper's (B, V, L, D) → (B·L, V, D)."""
    x = random(B, V, L, D)
    given = array(attempt(function, x), (B * L, V, D), "V tokens for each of B·L places", "Places of all samples first, then V, then D.", FINITE)  # fmt: skip
    mistakes: list[Mistake] = [
        (x.reshape(B * L, V, D), "The numbers are cut anew without moving an axis: places and variables are mixed.", "Swap V and L first; only neighbouring axes can be merged."),
        (x.permute(2, 0, 1, 3).reshape(B * L, V, D), "The places come before the samples: row 1 must be the second place of the first sample.", "(B, L, …) merges to B·L with L running fastest."),
    ]  # fmt: skip
    expect(given, x.transpose(1, 2).reshape(B * L, V, D), mistakes, "The rows do not hold the variables of one place each.", "transpose, then flatten.")  # fmt: skip
    return right("Axes are moved, then merged: every row holds the variables of one place.")


@checker
def multiply_adds(function: Any) -> Verdict:
    """`multiply_adds(num_variables, num_places, embed_dim)` of one aggregation."""
    v, places, d = 5, 7, 11
    given = array(attempt(function, v, places, d), (), "one whole number", "Add the five parts.", FINITE)  # fmt: skip
    tokens = v * places
    full = 2 * tokens * d * d + 2 * tokens * d + places * d * d + d * d
    mistakes: list[Mistake] = [
        (2 * tokens * d * d + 2 * tokens * d + places * d * d + places * d * d, "You projected the query at every place.", "It is the same for all places: once is enough."),
        (2 * tokens * d * d + 2 * tokens * d + tokens * d * d + d * d, "You projected V outputs at each place.", "After the sum one vector is left at each place."),
        (2 * tokens * d * d + tokens * d + places * d * d + d * d, "Scores or weighted sum are missing: each takes V·L·D.", "One product of length D for the score, D products for the sum."),
        (2 * tokens * d * d + 2 * tokens * v * d + places * d * d + d * d, "You counted V scores for each variable: that is self-attention.", "There is one query at each place, not V."),
        (tokens * d * d + 2 * tokens * d + places * d * d + d * d, "Keys and values are two projections of every token.", "Count both."),
        (2 * tokens * d * d + 2 * tokens * d + places * d * d, "The projection of the query is missing.", "It is small: D²."),
        (2 * tokens * d * d + 2 * tokens * d + d * d, "The output projection is missing.", "One product with a D × D matrix at each place."),
    ]  # fmt: skip
    expect(given, full, mistakes, f"For V = {v}, L = {places}, D = {d} you count {float(given):.0f}, and that is not the number.",
        "Query, keys, values, scores and sum, output: add them one by one.", rtol=1e-6)  # fmt: skip
    return right("Nearly all of it is the projection of V·L tokens to keys and values.")


@checker
def leave_one_out(function: Any) -> Verdict:
    """`leave_one_out(error, num_variables)`: error(ids) → number; the rise of the error without each variable, (V,)."""
    gain = torch.tensor([0.5, 2.0, 0.0, 1.25], dtype=torch.float64)

    def error(ids: Any) -> float:
        ids = [int(i) for i in ids]
        if not ids or len(set(ids)) != len(ids) or not set(ids) <= set(range(4)):
            raise ValueError(f"expected ids from 0 to 3, each at most once, got {ids}")
        absent = [i for i in range(4) if i not in ids]
        return float(1.5 + gain[absent].sum() + 0.3 * len(absent) ** 2 - 0.3 * len(absent))

    answer = attempt(function, error, 4)
    given = array(answer, (4,), "one number for each variable", "Loop over the variables.", FINITE)  # fmt: skip
    alone = torch.tensor([error([i]) for i in range(4)], dtype=torch.float64)
    mistakes: list[Mistake] = [
        (-gain, "The sign is the wrong way round: a variable that is needed must have a positive rise.", "Error without it, minus error with all."),
        (gain + 1.5, "These are the errors themselves, not their rise.", "Subtract the error with all variables."),
        (alone - 1.5, "You kept each variable alone, where it should be left out alone.", "V − 1 ids are handed to error."),
        (alone, "You kept each variable alone, and did not subtract the error with all.", "V − 1 ids are handed to error."),
        ((gain + 1.5) / 1.5, "This is a ratio of errors.", "The rise is a difference."),
    ]  # fmt: skip
    expect(given, gain, mistakes, "This is not the rise of the error without each variable.",
        "For variable v hand all ids but v to error, and subtract error of all ids.")  # fmt: skip
    return right("How much is lost without each variable: that is asked of the whole network, not of its weights.")
