"""Checks of the chapter *The transformer backbone*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..model.embed import interpolate_positions as package_positions
from ..model.embed import sincos_2d as package_sincos
from .answers import Mistake, either, expect, first, numbers, random, same, tensor
from .verdict import Verdict, attempt, checker, right, wrong


@checker
def attention(function: Any) -> Verdict:
    """softmax(q kᵀ / √d) v, with the softmax over the keys."""
    q, k, v = (random(2, 5, 3, seed=seed) for seed in (1, 2, 3))
    answer = attempt(function, q, k, v)
    raw = q @ k.mT
    w = torch.softmax(raw / 3**0.5, -1)
    mistakes: list[Mistake] = [
        (torch.softmax(raw, -1) @ v, "The division by √d is missing.", "What is d, in terms of the shape of q?"),
        (torch.softmax(raw / 3, -1) @ v, "You divided by d, not by its root.", "The score's spread grows with √d."),
        (torch.softmax(raw / 5**0.5, -1) @ v, "You divided by the root of the number of patches.", "d is the size of the last dimension of q."),
        (torch.softmax(raw * 3**0.5, -1) @ v, "You multiplied by √d in place of dividing.", "Large d makes large scores."),
        (torch.softmax(raw / 3**0.5, -2) @ v, "Your softmax runs over the queries: each key's weights add up to one.", "The weights with which one query mixes the values must add up to one. Which dimension are the keys?"),
        (torch.softmax(raw / 3**0.5, 0) @ v, "Your softmax runs over the batch: one sample's weights depend on the other's.", "The keys are the last dimension of the scores."),
        (either(raw / 3**0.5 @ v, raw @ v), "There is no softmax.", "Scores become weights by the softmax."),
        (torch.softmax(k @ q.mT / 3**0.5, -1) @ v, "You exchanged queries and keys.", "Row i of the scores belongs to query i."),
        (w, "These are the weights. The mean of the values is missing.", "Multiply the weights by v."),
    ]  # fmt: skip
    expect(answer, w @ v, mistakes, "These are not softmax(q kᵀ / √d) v.",
        "Put the toy in: x = (2, 0, 1) gives 1.714, 1, 1.429.", "one vector for each query")  # fmt: skip
    if not np.isfinite(numbers(attempt(function, 1e3 * q, k, v))).all():
        return wrong(
            "Large scores give NaN: their exponential overflows.", "torch.softmax subtracts the largest first."
        )
    if not same(attempt(function, q[:, :2], k, v), (w @ v)[:, :2]):
        return wrong("Wrong when there are fewer queries than keys.", "Let the shapes of q and k say L, each its own.")
    return right("Right: every patch takes a weighted mean of all values, and the weights are its own.")


@checker
def self_attention(function: Any) -> Verdict:
    """Multi-head self-attention from two linear maps."""
    size, heads = 12, 3
    qkv, proj = nn.Linear(size, 3 * size).double(), nn.Linear(size, size).double()
    for seed, p in enumerate([*qkv.parameters(), *proj.parameters()]):
        p.data = random(*p.shape, seed=10 + seed) * (0.6 if p.ndim > 1 else 1.0)
    x = random(2, 5, size, seed=4)

    def made(split: str, n: int = heads, scale: float | None = None, order: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
        """(B, N, L, d): the heads' results when the 3·D numbers are split like this."""
        parts = rearrange(qkv(x), split, three=3, n=n)
        return F.scaled_dot_product_attention(*(parts[i] for i in order), scale=scale)  # type: ignore[misc]

    def joined(heads_out: Tensor) -> Tensor:
        return rearrange(heads_out, "b n l d -> b l (n d)")

    ours, flat = "b l (three n d) -> three b n l d", "b l (three n d) -> three b l n d"
    whole = qkv(x).chunk(3, -1)
    mixed = F.scaled_dot_product_attention(*(t.reshape(2, heads, 5, -1) for t in whole))
    expected, shuffled = made(ours), [3, 0, 4, 1, 2]

    def follows(answer: Any) -> bool:
        """Whether the answer for shuffled patches is this one, shuffled."""
        return same(attempt(function, x[:, shuffled], qkv, proj, heads), answer[:, shuffled])

    mistakes: list[Mistake] = [
        (proj(joined(made(ours, n=1))), "This is one head: num_heads is not used.", "Each head attends with its own d = D / N numbers."),
        (joined(expected), "The output projection is missing.", "proj comes last."),
        (proj(joined(made(ours, scale=size**-0.5))), "You scaled by √D. Each head has only d = D / N numbers.", "Split into heads first, then attend."),
        (either(proj(joined(mixed)), proj(mixed.reshape(2, 5, size))), "A reshape alone has mixed patches and heads on the way in: your (B, N, L, d) holds the numbers of other patches.", "The D numbers of a patch split into (N, d) first; then the dimensions change places."),
        (proj(expected.reshape(2, 5, size)), "A reshape alone has mixed patches and heads on the way out: (B, N, L, d) is not (B, L, N, d).", "Bring N behind L before you join N and d."),
        (either(*(proj(joined(made(s))) for s in ("b l (n three d) -> three b n l d", "b l (n d three) -> three b n l d"))), "You split the 3·D numbers with the head first. The official order is q, k, v first, then the heads.", "The first D of the 3·D numbers are the queries of all heads."),
        (either(proj(joined(made("b l (three d n) -> three b n l d"))), proj(rearrange(made("b l (three d n) -> three b n l d"), "b n l d -> b l (d n)"))), "Your heads take every N-th number; a head's numbers stand side by side.", "D splits into (N, d), in this order."),
        (proj(F.scaled_dot_product_attention(*rearrange(qkv(x), flat, three=3, n=heads)).reshape(2, 5, size)), "You attended between heads, not between patches.", "Attention works along the last dimension but one. In (B, L, N, d) that is N: put N before L."),
        (either(*(proj(joined(made(ours, order=o))) for o in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)))), "Queries, keys and values have changed places.", "Their order in the 3·D numbers is q, k, v."),
        (lambda g: g.shape == x.shape and not follows(g), "Shuffled patches give another result, not the same in another order: somewhere patches are mixed.", "Print the shape after every step, and say which dimension is L."),
    ]  # fmt: skip
    expect(attempt(function, x, qkv, proj, heads), proj(joined(expected)), mistakes, "The result is not that of N heads.",
        "qkv, split, attend, join, proj: compare step by step.", "as many patches, and as wide, as in x")  # fmt: skip
    return right("Right: N small attentions side by side, with the official order of the weights.")


@checker
def block(function: Any) -> Verdict:
    """x + attention(norm1(x)), then x + mlp(norm2(x))."""
    x = random(2, 3, 4, seed=5)

    def n1(t: Tensor) -> Tensor:
        return t**2 - 0.5

    def n2(t: Tensor) -> Tensor:
        return torch.tanh(2 * t)

    def attn(t: Tensor) -> Tensor:
        return torch.sin(t) + t.mean(1, keepdim=True)

    def mlp(t: Tensor) -> Tensor:
        return torch.cos(3 * t)

    h = x + attn(n1(x))
    g = x + mlp(n2(x))
    post = n1(x + attn(x))
    mistakes: list[Mistake] = [
        (n2(post + mlp(post)), "This is the post-norm block of 2017: the norm lies on the main road.", "Normalise what goes into a branch; never the stream itself."),
        (either((s := n2(r := n1(x) + attn(n1(x)))) + mlp(s), h * 0 + n2(h) + mlp(n2(h)), r + mlp(n2(r))), "The stream itself was normalised: x = norm(x) overwrites it.", "The norm's result goes into the branch; what is added to is x."),
        (mlp(n2(attn(n1(x)))), "No residual: x is not added back.", "Each branch only adds to x."),
        ((r := attn(n1(x))) + mlp(n2(r)), "The first residual is missing.", "x + attention(...)."),
        (mlp(n2(h)), "The second residual is missing.", "x + mlp(...), with the new x."),
        (x + attn(n1(x)) + mlp(n2(x)), "The MLP read the old x: the branches ran side by side.", "The MLP works on what the attention has added to."),
        (h + mlp(n1(h)), "norm1 was used twice.", "Each branch has a norm of its own."),
        ((r := x + attn(x)) + mlp(r), "The norms are missing.", "Normalise what goes into each branch."),
        ((r := x + attn(n2(x))) + mlp(n1(r)), "The norms were exchanged.", "norm1 belongs to the attention."),
        (either(g + attn(n1(g)), (r := x + mlp(n1(x))) + attn(n2(r))), "The MLP came first.", "Attention, then MLP."),
        (x + mlp(n2(h)), "The second branch was added to the x from before the attention.", "After the first branch, x means the sum."),
    ]  # fmt: skip
    kept = x.clone()
    expect(attempt(function, kept, n1, attn, n2, mlp), h + mlp(n2(h)), mistakes, "This is not the pre-norm block.",
        "Two lines, each of the form x = x + branch(norm(x)).", "as many patches, and as wide, as in x")  # fmt: skip
    if not torch.equal(kept, x):
        return wrong("Your block changes its input in place.", "x = x + ... makes a new tensor; x += ... does not.")
    return right("Right: the stream runs through, and both branches add to it.")


@checker
def sincos_2d(function: Any) -> Verdict:
    """Position embedding with the column's half first."""
    size, rows, columns = 24, 3, 5
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    m = np.arange(size // 4) / (size // 4)

    def made(first: Any, second: Any, omega: np.ndarray, order: str = "sc", mix: bool = False) -> np.ndarray:
        def half(places: Any) -> np.ndarray:
            angle = np.asarray(places, dtype=float).reshape(-1, 1) * omega
            pair = [np.sin(angle), np.cos(angle)] if order == "sc" else [np.cos(angle), np.sin(angle)]
            return np.stack(pair, -1).reshape(len(angle), -1) if mix else np.concatenate(pair, 1)

        return np.concatenate([half(first), half(second)], 1)

    omega = 10000.0**-m
    mistakes: list[Mistake] = [
        (lambda g: g.ndim == 3, "Expected one row for each patch, got a map.", "(rows · columns, embed_dim)."),
        (made(row, column, omega), "The row's half comes first. The official order is the column's half, then the row's.", "It matters as soon as official weights are loaded."),
        (made(column, row, omega, mix=True), "Sines and cosines alternate. Here all sines of a half come first, then its cosines.", "Concatenate two arrays."),
        (made(column, row, omega, order="cs"), "The cosines come first.", "Sines, then cosines."),
        (made(column.T, row.T, omega), "The patches are numbered column by column.", "Patch i · columns + j lies in row i and column j."),
        (either(*(made(column, row, 10000.0 ** -(m * f)) for f in (0.25, 0.5, 2, 4))), "The frequencies fall too fast or too slowly: the exponent is m / n, with n = D / 4.", "The last frequency is 10000^(−(n − 1) / n)."),
        (made(column, row, 10000.0 ** -np.linspace(0, 1, size // 4)), "The frequencies reach 1 / 10 000 itself: an endpoint too many.", "m runs from 0 to n − 1 and is divided by n."),
        (made(column, row, 10000.0**m), "The frequencies grow: the minus sign of the exponent is missing.", "The slowest wave is longer than any map."),
        (made(column + 1, row + 1, omega), "You counted rows and columns from 1.", "The first patch is (0, 0)."),
        (made(column, column, omega), "Both halves hold the column.", "The second half holds the row."),
        (made(row, row, omega), "Both halves hold the row.", "The first half holds the column."),
    ]  # fmt: skip
    expect(attempt(function, size, rows, columns), package_sincos(size, rows, columns), mistakes,
        "These are not the sines and cosines of column and row.", "Look at patch (0, 1), column 1: sin 1.",
        "D numbers for each patch", atol=1e-4)  # fmt: skip
    return right("Right: each patch has an address, and a step east is the same rotation everywhere.")


@checker
def interpolate_positions(function: Any) -> Verdict:
    """Bicubic interpolation of a position embedding to another number of patches."""
    old, new, size = (3, 5), (6, 9), 4
    x = random(1, 15, size, seed=6).float()

    def moved(grid: Tensor, shape: tuple[int, int], **how: Any) -> Tensor:
        return F.interpolate(grid, size=shape, **how).permute(0, 2, 3, 1).flatten(1, 2)

    grid = x.reshape(1, *old, size).permute(0, 3, 1, 2)
    turned = x.reshape(1, *old[::-1], size).permute(0, 3, 1, 2)
    cubic = {"mode": "bicubic", "align_corners": False}
    mistakes: list[Mistake] = [
        (lambda g: g.ndim == 4, "Expected (1, L, D), got four dimensions.", "Flatten rows and columns to L."),
        (either(moved(turned, new[::-1], **cubic), moved(turned, new, **cubic)), "Rows and columns are exchanged: every shape fits, and the addresses are nonsense.", "Patches are stored row by row: reshape to (rows, columns)."),
        (either(F.interpolate(x.reshape(1, size, *old), size=new, **cubic).permute(0, 2, 3, 1).flatten(1, 2), F.interpolate(grid, size=new, **cubic).reshape(1, 54, size)), "The D numbers of a patch were torn apart: a reshape does not move D in front.", "Move dimensions with permute, there and back."),
        (either(moved(grid, new, mode="bilinear"), moved(grid, new, mode="bilinear", align_corners=True)), "This is bilinear interpolation.", "The official code is bicubic: mode='bicubic'."),
        (moved(grid, new), "This is the nearest neighbour, the default of F.interpolate.", "Give a mode."),
        (moved(grid, new, mode="bicubic", align_corners=True), "You aligned the centres of the corner patches.", "The edges of the two maps agree, and the centres do not: align_corners=False."),
        (F.interpolate(grid, size=new, **cubic).permute(0, 3, 2, 1).flatten(1, 2), "The new patches are stored column by column.", "Back to (rows, columns, D) before you flatten."),
    ]  # fmt: skip
    expect(attempt(function, x, old, new), package_positions(x, old, new), mistakes,
        "The numbers are not those of bicubic interpolation.", "F.interpolate on (1, D, rows, columns).",
        "six rows of nine patches, 54 in all", atol=1e-4)  # fmt: skip
    if not same(attempt(function, x, old, old), x, atol=1e-4):
        return wrong("The same map must give the same embedding.", "Interpolation to the old size changes nothing.")
    return right("Right: the backbone can now be moved to another grid.")


@checker
def drop_path(function: Any) -> Verdict:
    """Stochastic depth: whole samples of a branch are skipped in training."""
    rate, batch = 0.25, 600
    branch = random(batch, 3, 2, seed=7).abs() + 1

    def run(branch: Tensor, rate: float, training: bool) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            answer = attempt(function, branch, rate, training)
        return tensor(answer, branch.shape, "a branch of the shape that it had", "Skipped samples are zero.")

    given = branch.clone()
    factor = run(given, rate, True) / branch
    zero = factor.abs() < 1e-9
    share, kept = float(zero.double().mean()), factor[~zero]
    each, samples = "Draw one number for each sample: shape (B, 1, 1).", zero.flatten(1)
    cases: list[Mistake] = [
        (bool(not zero.any() and factor.std() < 1e-9), "Nothing was dropped, or the whole batch at once.", each),
        (bool(zero.all()), "The whole batch was dropped at once.", each),
        (bool((samples.any(1) != samples.all(1)).any()), "Parts of a sample were dropped: that is dropout.", each),
        (not zero.any().item(), "No sample was set to zero.", "Multiply by 0 or by the scale."),
        (abs(share - (1 - rate)) < 0.1, f"At rate {rate} about {1 - rate:.0%} of the samples were dropped.", "The rate is the share that is skipped."),
        (abs(share - rate) > 0.1, f"At rate {rate} you dropped {share:.0%} of the samples.", "torch.rand(...) < p is true with probability p."),
        (same(kept, torch.ones_like(kept)), "The kept samples are not scaled up.", "The mean of many draws must be the branch itself."),
        (not same(kept, torch.full_like(kept, 1 / (1 - rate))), f"The kept samples were scaled by {float(kept.mean()):.2f}.", "What factor makes the mean right again?"),
        (not torch.equal(given, branch), "You changed the branch that was handed in.", "Make a new tensor: multiply the branch by a mask."),
    ]  # fmt: skip
    verdict = first(cases, right("Right: on average a branch weighs as much in training as in evaluation."))
    if verdict.ok and not (same(run(branch, rate, False), branch) and same(run(branch, 0.0, True), branch)):
        return wrong(
            "In evaluation, and at rate 0, the branch must come back unchanged.",
            "Neither dropped nor scaled: the scale of training is made for that.",
        )
    return verdict
