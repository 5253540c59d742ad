"""Checks of the chapter *The transformer backbone*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..model.embed import interpolate_positions as package_positions
from ..model.embed import sincos_2d as package_sincos
from .verdict import Verdict, attempt, checker, right, wrong


def _tensor(answer: Any) -> Tensor:
    """Whatever the learner returned, as float64 without a gradient."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().double()
    return torch.as_tensor(np.asarray(answer, dtype=np.float64))


def _near(answer: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    answer, expected = _tensor(answer), _tensor(expected)
    return answer.shape == expected.shape and torch.allclose(answer, expected, rtol=tolerance, atol=tolerance)


def _fault(answer: Any, mistakes: dict[str, tuple[Any, str]], shape: tuple[int, ...], hint: str) -> Verdict | None:
    """The first known mistake that gives this answer, {sentence: (value or list of values, hint)}; then a wrong shape; or None."""
    for sentence, (values, help_) in mistakes.items():
        if any(_near(answer, value) for value in (values if isinstance(values, list) else [values])):
            return wrong(sentence, help_)
    found = tuple(_tensor(answer).shape)
    return None if found == shape else wrong(f"Expected the shape {shape}, got {found}.", hint)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@checker
def attention(function: Any) -> Verdict:
    """softmax(q kᵀ / √d) v, with the softmax over the keys."""
    q, k, v = (_random(2, 5, 3, seed=seed) for seed in (1, 2, 3))
    answer = attempt(function, q, k, v)
    raw = q @ k.mT
    w = torch.softmax(raw / 3**0.5, -1)
    mistakes = {
        "The division by √d is missing.": (torch.softmax(raw, -1) @ v, "What is d, in terms of the shape of q?"),
        "You divided by d, not by its root.": (torch.softmax(raw / 3, -1) @ v, "The score's spread grows with √d."),
        "You divided by the root of the number of patches.": (
            torch.softmax(raw / 5**0.5, -1) @ v,
            "d is the size of the last dimension of q.",
        ),
        "You multiplied by √d in place of dividing.": (torch.softmax(raw * 3**0.5, -1) @ v, "Large d makes large scores."),
        "Your softmax runs over the queries: each key's weights add up to one.": (
            torch.softmax(raw / 3**0.5, -2) @ v,
            "The weights with which one query mixes the values must add up to one. Which dimension are the keys?",
        ),
        "Your softmax runs over the batch: one sample's weights depend on the other's.": (
            torch.softmax(raw / 3**0.5, 0) @ v,
            "The keys are the last dimension of the scores.",
        ),
        "There is no softmax.": ([raw / 3**0.5 @ v, raw @ v], "Scores become weights by the softmax."),
        "You exchanged queries and keys.": (
            torch.softmax(k @ q.mT / 3**0.5, -1) @ v,
            "Row i of the scores belongs to query i.",
        ),
        "These are the weights. The mean of the values is missing.": (w, "Multiply the weights by v."),
    }  # fmt: skip
    if (fault := _fault(answer, mistakes, (2, 5, 3), "One vector for each query.")) is not None:
        return fault
    if not _near(answer, w @ v):
        return wrong("These are not softmax(q kᵀ / √d) v.", "Put the toy in: x = (2, 0, 1) gives 1.714, 1, 1.429.")
    if not torch.isfinite(_tensor(attempt(function, 1e3 * q, k, v))).all():
        return wrong(
            "Large scores give NaN: their exponential overflows.", "torch.softmax subtracts the largest first."
        )
    few = attempt(function, q[:, :2], k, v)
    if not _near(few, (w @ v)[:, :2]):
        return wrong("Wrong when there are fewer queries than keys.", "Let the shapes of q and k say L, each its own.")
    return right("Right: every patch takes a weighted mean of all values, and the weights are its own.")


@checker
def self_attention(function: Any) -> Verdict:
    """Multi-head self-attention from two linear maps."""
    size, heads = 12, 3
    qkv, proj = nn.Linear(size, 3 * size).double(), nn.Linear(size, size).double()
    for seed, p in enumerate([*qkv.parameters(), *proj.parameters()]):
        p.data = _random(*p.shape, seed=10 + seed) * (0.6 if p.ndim > 1 else 1.0)
    x = _random(2, 5, size, seed=4)

    def made(split: str, n: int = heads, scale: float | None = None, order: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
        """(B, N, L, d): the heads' results when the 3·D numbers are split like this."""
        parts = rearrange(qkv(x), split, three=3, n=n)
        return F.scaled_dot_product_attention(*(parts[i] for i in order), scale=scale)  # type: ignore[misc]

    def joined(heads_out: Tensor) -> Tensor:
        return rearrange(heads_out, "b n l d -> b l (n d)")

    ours, flat = "b l (three n d) -> three b n l d", "b l (three n d) -> three b l n d"
    whole = qkv(x).chunk(3, -1)
    mixed = F.scaled_dot_product_attention(*(t.reshape(2, heads, 5, -1) for t in whole))
    expected = made(ours)
    answer = attempt(function, x, qkv, proj, heads)
    mistakes = {
        "This is one head: num_heads is not used.": (
            proj(joined(made(ours, n=1))),
            "Each head attends with its own d = D / N numbers.",
        ),
        "The output projection is missing.": (joined(expected), "proj comes last."),
        "You scaled by √D. Each head has only d = D / N numbers.": (
            proj(joined(made(ours, scale=size**-0.5))),
            "Split into heads first, then attend.",
        ),
        "A reshape alone has mixed patches and heads on the way in: your (B, N, L, d) holds the numbers of other patches.": (
            [proj(joined(mixed)), proj(mixed.reshape(2, 5, size))],
            "The D numbers of a patch split into (N, d) first; then the dimensions change places.",
        ),
        "A reshape alone has mixed patches and heads on the way out: (B, N, L, d) is not (B, L, N, d).": (
            proj(expected.reshape(2, 5, size)),
            "Bring N behind L before you join N and d.",
        ),
        "You split the 3·D numbers with the head first. The official order is q, k, v first, then the heads.": (
            [proj(joined(made(s))) for s in ("b l (n three d) -> three b n l d", "b l (n d three) -> three b n l d")],
            "The first D of the 3·D numbers are the queries of all heads.",
        ),
        "Your heads take every N-th number; a head's numbers stand side by side.": (
            [
                proj(joined(made("b l (three d n) -> three b n l d"))),
                proj(rearrange(made("b l (three d n) -> three b n l d"), "b n l d -> b l (d n)")),
            ],
            "D splits into (N, d), in this order.",
        ),
        "You attended between heads, not between patches.": (
            proj(F.scaled_dot_product_attention(*rearrange(qkv(x), flat, three=3, n=heads)).reshape(2, 5, size)),
            "Attention works along the last dimension but one. In (B, L, N, d) that is N: put N before L.",
        ),
        "Queries, keys and values have changed places.": (
            [proj(joined(made(ours, order=o))) for o in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))],
            "Their order in the 3·D numbers is q, k, v.",
        ),
    }
    if (fault := _fault(answer, mistakes, (2, 5, size), "As many patches, and as wide, as x.")) is not None:
        return fault
    if not _near(answer, proj(joined(expected))):
        shuffled = torch.tensor([3, 0, 4, 1, 2])
        if not _near(attempt(function, x[:, shuffled], qkv, proj, heads), _tensor(answer)[:, shuffled]):
            return wrong(
                "Shuffled patches give another result, not the same in another order: somewhere patches are mixed.",
                "Print the shape after every step, and say which dimension is L.",
            )
        return wrong("The result is not that of N heads.", "qkv, split, attend, join, proj: compare step by step.")
    return right("Right: N small attentions side by side, with the official order of the weights.")


@checker
def block(function: Any) -> Verdict:
    """x + attention(norm1(x)), then x + mlp(norm2(x))."""
    x = _random(2, 3, 4, seed=5)

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
    mistakes = {
        "This is the post-norm block of 2017: the norm lies on the main road.": (
            n2(post + mlp(post)),
            "Normalise what goes into a branch; never the stream itself.",
        ),
        "The stream itself was normalised: x = norm(x) overwrites it.": (
            [(s := n2(r := n1(x) + attn(n1(x)))) + mlp(s), h * 0 + n2(h) + mlp(n2(h)), r + mlp(n2(r))],
            "The norm's result goes into the branch; what is added to is x.",
        ),
        "No residual: x is not added back.": (mlp(n2(attn(n1(x)))), "Each branch only adds to x."),
        "The first residual is missing.": ((r := attn(n1(x))) + mlp(n2(r)), "x + attention(...)."),
        "The second residual is missing.": (mlp(n2(h)), "x + mlp(...), with the new x."),
        "The MLP read the old x: the branches ran side by side.": (
            x + attn(n1(x)) + mlp(n2(x)),
            "The MLP works on what the attention has added to.",
        ),
        "norm1 was used twice.": (h + mlp(n1(h)), "Each branch has a norm of its own."),
        "The norms are missing.": ((r := x + attn(x)) + mlp(r), "Normalise what goes into each branch."),
        "The norms were exchanged.": ((r := x + attn(n2(x))) + mlp(n1(r)), "norm1 belongs to the attention."),
        "The MLP came first.": ([g + attn(n1(g)), (r := x + mlp(n1(x))) + attn(n2(r))], "Attention, then MLP."),
        "The second branch was added to the x from before the attention.": (
            x + mlp(n2(h)),
            "After the first branch, x means the sum.",
        ),
    }  # fmt: skip
    answer = attempt(function, x.clone(), n1, attn, n2, mlp)
    if (fault := _fault(answer, mistakes, (2, 3, 4), "A block keeps the shape of x.")) is not None:
        return fault
    if not _near(answer, h + mlp(n2(h))):
        return wrong("This is not the pre-norm block.", "Two lines, each of the form x = x + branch(norm(x)).")
    kept = x.clone()
    attempt(function, kept, n1, attn, n2, mlp)
    if not torch.equal(kept, x):
        return wrong("Your block changes its input in place.", "x = x + ... makes a new tensor; x += ... does not.")
    return right("Right: the stream runs through, and both branches add to it.")


@checker
def sincos_2d(function: Any) -> Verdict:
    """Position embedding with the column's half first."""
    size, rows, columns = 24, 3, 5
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    answer = attempt(function, size, rows, columns)
    m = np.arange(size // 4) / (size // 4)

    def made(first: Any, second: Any, omega: np.ndarray, order: str = "sc", mix: bool = False) -> np.ndarray:
        def half(places: Any) -> np.ndarray:
            angle = np.asarray(places, dtype=float).reshape(-1, 1) * omega
            pair = [np.sin(angle), np.cos(angle)] if order == "sc" else [np.cos(angle), np.sin(angle)]
            return np.stack(pair, -1).reshape(len(angle), -1) if mix else np.concatenate(pair, 1)

        return np.concatenate([half(first), half(second)], 1)

    omega = 10000.0**-m
    mistakes = {
        "The row's half comes first. The official order is the column's half, then the row's.": (
            made(row, column, omega),
            "It matters as soon as official weights are loaded.",
        ),
        "Sines and cosines alternate. Here all sines of a half come first, then its cosines.": (
            made(column, row, omega, mix=True),
            "Concatenate two arrays.",
        ),
        "The cosines come first.": (made(column, row, omega, order="cs"), "Sines, then cosines."),
        "The patches are numbered column by column.": (
            made(column.T, row.T, omega),
            "Patch i · columns + j lies in row i and column j.",
        ),
        "The frequencies fall too fast or too slowly: the exponent is m / n, with n = D / 4.": (
            [made(column, row, 10000.0 ** -(m * f)) for f in (0.25, 0.5, 2, 4)],
            "The last frequency is 10000^(−(n − 1) / n).",
        ),
        "The frequencies reach 1 / 10 000 itself: an endpoint too many.": (
            made(column, row, 10000.0 ** -np.linspace(0, 1, size // 4)),
            "m runs from 0 to n − 1 and is divided by n.",
        ),
        "The frequencies grow: the minus sign of the exponent is missing.": (
            made(column, row, 10000.0**m),
            "The slowest wave is longer than any map.",
        ),
        "You counted rows and columns from 1.": (made(column + 1, row + 1, omega), "The first patch is (0, 0)."),
        "Both halves hold the column.": (made(column, column, omega), "The second half holds the row."),
        "Both halves hold the row.": (made(row, row, omega), "The first half holds the column."),
    }
    if np.ndim(_tensor(answer)) == 3:
        return wrong("Expected one row for each patch, got a map.", "(rows · columns, embed_dim).")
    if (fault := _fault(answer, mistakes, (rows * columns, size), "A patch has D numbers.")) is not None:
        return fault
    if not _near(answer, package_sincos(size, rows, columns), 1e-4):
        return wrong("These are not the sines and cosines of column and row.", "Look at patch (0, 1), column 1: sin 1.")
    return right("Right: each patch has an address, and a step east is the same rotation everywhere.")


@checker
def interpolate_positions(function: Any) -> Verdict:
    """Bicubic interpolation of a position embedding to another number of patches."""
    old, new, size = (3, 5), (6, 9), 4
    x = _random(1, 15, size, seed=6).float()

    def moved(grid: Tensor, shape: tuple[int, int], **how: Any) -> Tensor:
        return F.interpolate(grid, size=shape, **how).permute(0, 2, 3, 1).flatten(1, 2)

    grid = x.reshape(1, *old, size).permute(0, 3, 1, 2)
    turned = x.reshape(1, *old[::-1], size).permute(0, 3, 1, 2)
    cubic = {"mode": "bicubic", "align_corners": False}
    mistakes = {
        "Rows and columns are exchanged: every shape fits, and the addresses are nonsense.": (
            [moved(turned, new[::-1], **cubic), moved(turned, new, **cubic)],
            "Patches are stored row by row: reshape to (rows, columns).",
        ),
        "The D numbers of a patch were torn apart: a reshape does not move D in front.": (
            [
                F.interpolate(x.reshape(1, size, *old), size=new, **cubic).permute(0, 2, 3, 1).flatten(1, 2),
                F.interpolate(grid, size=new, **cubic).reshape(1, 54, size),
            ],
            "Move dimensions with permute, there and back.",
        ),
        "This is bilinear interpolation.": (
            [moved(grid, new, mode="bilinear"), moved(grid, new, mode="bilinear", align_corners=True)],
            "The official code is bicubic: mode='bicubic'.",
        ),
        "This is the nearest neighbour, the default of F.interpolate.": (moved(grid, new), "Give a mode."),
        "You aligned the centres of the corner patches.": (
            moved(grid, new, mode="bicubic", align_corners=True),
            "The edges of the two maps agree, and the centres do not: align_corners=False.",
        ),
        "The new patches are stored column by column.": (
            F.interpolate(grid, size=new, **cubic).permute(0, 3, 2, 1).flatten(1, 2),
            "Back to (rows, columns, D) before you flatten.",
        ),
    }
    answer = attempt(function, x, old, new)
    if np.ndim(_tensor(answer)) == 4:
        return wrong("Expected (1, L, D), got four dimensions.", "Flatten rows and columns to L.")
    if (fault := _fault(answer, mistakes, (1, 54, size), "Six rows of nine patches make 54.")) is not None:
        return fault
    if not _near(answer, package_positions(x, old, new)):
        return wrong("The numbers are not those of bicubic interpolation.", "F.interpolate on (1, D, rows, columns).")
    if not _near(attempt(function, x, old, old), x):
        return wrong("The same map must give the same embedding.", "Interpolation to the old size changes nothing.")
    return right("Right: the backbone can now be moved to another grid.")


@checker
def drop_path(function: Any) -> Verdict:
    """Stochastic depth: whole samples of a branch are skipped in training."""
    rate, batch = 0.25, 600
    branch = _random(batch, 3, 2, seed=7).abs() + 1

    def run(*args: Any) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _tensor(attempt(function, *args))

    given = branch.clone()
    answer = run(given, rate, True)
    if (
        fault := _fault(answer, {}, (batch, 3, 2), "The branch keeps its shape; skipped samples are zero.")
    ) is not None:
        return fault
    if (fault := _dropped(answer / branch, rate)) is not None:
        return fault
    if not torch.equal(given, branch):
        return wrong("You changed the branch that was handed in.", "Make a new tensor: multiply the branch by a mask.")
    for calm in (run(branch, rate, False), run(branch, 0.0, True)):
        if not _near(calm, branch):
            return wrong(
                "In evaluation, and at rate 0, the branch must come back unchanged.",
                "Neither dropped nor scaled: the scale of training is made for that.",
            )
    return right("Right: on average a branch weighs as much in training as in evaluation.")


def _dropped(factor: Tensor, rate: float) -> Verdict | None:
    """What is wrong with the factors by which a branch was multiplied."""
    sample: Callable[[Tensor], Tensor] = lambda t: t.flatten(1)  # noqa: E731
    zero = factor.abs() < 1e-9
    if not zero.any() and factor.std() < 1e-9:
        return wrong("Nothing was dropped, or the whole batch at once.", "Draw one number for each sample.")
    if zero.all():
        return wrong("The whole batch was dropped at once.", "Draw one number for each sample: shape (B, 1, 1).")
    if (sample(zero).any(1) != sample(zero).all(1)).any():
        return wrong("Parts of a sample were dropped: that is dropout.", "Draw one number for each sample: (B, 1, 1).")
    if not zero.any():
        return wrong("No sample was set to zero.", "Multiply by 0 or by the scale.")
    share = float(zero.double().mean())
    if abs(share - (1 - rate)) < 0.1:
        return wrong(
            f"At rate {rate} about {1 - rate:.0%} of the samples were dropped.",
            "The rate is the share that is skipped.",
        )
    if abs(share - rate) > 0.1:
        return wrong(
            f"At rate {rate} you dropped {share:.0%} of the samples.", "torch.rand(...) < p is true with probability p."
        )
    kept = factor[~zero]
    if _near(kept, torch.ones_like(kept)):
        return wrong("The kept samples are not scaled up.", "The mean of many draws must be the branch itself.")
    if not _near(kept, torch.full_like(kept, 1 / (1 - rate))):
        return wrong(
            f"The kept samples were scaled by {float(kept.mean()):.2f}.", "What factor makes the mean right again?"
        )
    return None
