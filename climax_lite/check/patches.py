"""Checks of the chapter *Patches and the tokens of a field*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .answers import Mistake, expect, random, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong

CUT = "b v (h p) (w q) -> b (h w) (v p q)"
JOIN = "b (h w) (p q) -> b 1 (h p) (w q)"


def _tensor(answer: Any) -> Tensor:
    if not isinstance(answer, Tensor):
        raise Stop(wrong(f"Expected a tensor, got {type(answer).__name__}.", "Use PyTorch's own operations on the input."))  # fmt: skip
    return answer


@checker
def patchify(function: Any) -> Verdict:
    """Fields (B, 1, H, W) → patches (B, L, P), row by row."""
    x = torch.arange(2 * 4 * 12, dtype=torch.float32).reshape(2, 1, 4, 12)
    mistakes: list[Mistake] = [
        (x.reshape(2, -1, 4), "You cut the numbers as they lie in memory: your patches are strips of one row.", "The first patch of the check has cells of two rows. Split H and W first, then move an axis, then join."),
        (rearrange(x, "b 1 (h p) (w q) -> b (w h) (p q)", p=2, q=2), "The patches are right, but they are numbered column by column.", "The number grows fastest eastwards: the axis of patch rows comes before that of patch columns."),
        (rearrange(x, "b 1 (h p) (w q) -> b (h w) (q p)", p=2, q=2), "The patches are right, but the pixels in them run column by column.", "Inside a patch too the column is the faster axis."),
        (rearrange(x.flip(2), "b 1 (h p) (w q) -> b (h w) (p q)", p=2, q=2), "You began with the last row.", "Row 0 is the southernmost, and patch 0 holds it: turn nothing round."),
        (rearrange(x, "b 1 (h p) (w q) -> b (p q) (h w)", p=2, q=2), "The axes of patches and pixels are exchanged: the result should be (B, L, P).", "One row of the result is one patch. torch.nn.functional.unfold gives (B, P, L); transpose it."),
        (rearrange(x, "b v (h p) (w q) -> b (h w) v (p q)", p=2, q=2), "An axis for the variable is left over: the result should be (B, L, P).", "There is one variable here; drop its axis."),
        (x.reshape(2, 2, 2, 6, 2).reshape(2, 12, 4), "The split of H and W is right, but the axes were joined without being moved.", "Between the split and the join the two pixel axes must stand side by side: permute."),
    ]  # fmt: skip
    expect(_tensor(attempt(function, x, 2)), rearrange(x, CUT, p=2, q=2), mistakes, "The shape is right, the values are not.",
        "With p = 2 the first patch holds the cells (0, 0), (0, 1), (1, 0), (1, 1).", "patches (B, L, P)")  # fmt: skip
    x = torch.arange(18 * 6.0).reshape(1, 1, 6, 18)
    if not same(attempt(function, x, 3), rearrange(x, CUT, p=3, q=3)):
        return wrong("Right for patches of 2 × 2, wrong for 3 × 3 on a grid of 6 × 18.", "Take all sizes from x and p.")
    return right("Right: patch 0 lies in the south-west, and the numbers grow eastwards, then northwards.")


@checker
def unpatchify(function: Any) -> Verdict:
    """Patches (B, L, P) → fields (B, 1, H, W)."""
    x = torch.arange(2 * 4 * 12, dtype=torch.float32).reshape(2, 1, 4, 12)
    patches = rearrange(x, CUT, p=2, q=2)
    mistakes: list[Mistake] = [
        (patches.reshape(2, 1, 4, 12), "You only gave the numbers a new shape: every four in a row of the map are one patch.", "Split L into rows and columns of patches, P into rows and columns of pixels; then move axes."),
        (rearrange(patches, "b (h w) (q p) -> b 1 (h p) (w q)", h=2, p=2), "The pixels inside each patch are transposed.", "P splits into (rows, columns), in this order."),
        (rearrange(patches, "b (w h) (p q) -> b 1 (h p) (w q)", h=2, p=2), "You read the patches column by column.", "L splits into (H / p, W / p), in this order."),
        (x[:, 0], "The axis of the variable is missing: the result should be (B, 1, H, W).", "Add an axis of size one."),
        (x.flip(2), "North and south are exchanged.", "Patch 0 holds row 0."),
    ]  # fmt: skip
    expect(_tensor(attempt(function, patches, (4, 12))), x, mistakes, "The shape is right, the values are not.",
        "It undoes the cut: the same split of axes, moved back.", "fields (B, 1, H, W)")  # fmt: skip
    x = torch.arange(18 * 6.0).reshape(1, 1, 18, 6)
    if not same(attempt(function, rearrange(x, CUT, p=3, q=3), (18, 6)), x):
        return wrong("Right for 2 × 2 pixels on 4 × 12 cells, wrong for 3 × 3 on 18 × 6.", "Take all sizes from the arguments; P is p².")  # fmt: skip
    return right("Right: cut and joined, a field is what it was.")


@checker
def embed(function: Any) -> Verdict:
    """Patches (B, L, P), kernel (D, 1, p, p), bias (D,) → tokens (B, L, D), as a convolution gives them."""
    x, kernel, bias = random(2, 1, 4, 6).float(), random(5, 1, 2, 2, seed=1).float(), random(5, seed=2).float()
    q = rearrange(x, CUT, p=2, q=2)
    expected = F.conv2d(x, kernel, bias, stride=2).flatten(2).transpose(1, 2)
    mistakes: list[Mistake] = [
        (expected - bias, "The bias is missing.", "Every token gets the same D numbers added."),
        (q @ kernel.reshape(4, 5) + bias, "The shape of the matrix is right, its numbers are mixed up: a reshape dealt D and P out anew.", "Flatten the kernel to (D, P) and transpose that. A reshape to (P, D) is no transpose."),
        (F.linear(q, kernel.transpose(-1, -2).flatten(1), bias), "The pixels of your kernel run column by column.", "Patches list their pixels row by row, and so does kernel.flatten(1)."),
        (F.linear(q, kernel.flip(-1, -2).flatten(1), bias), "You turned the kernel round. PyTorch's convolution does not.", "What PyTorch calls a convolution multiplies pixel by pixel as they stand."),
        (expected.transpose(1, 2), "This is (B, D, L), as a convolution leaves it; tokens are (B, L, D).", "Transpose the last two axes."),
    ]  # fmt: skip
    expect(_tensor(attempt(function, q, kernel, bias)), expected, mistakes, "The shape is right, the values are not.",
        "A matrix (D, P) times the P pixels of each patch, plus (D,).", "tokens (B, L, D)", atol=1e-5)  # fmt: skip
    q, kernel, bias = random(1, 3, 9).float(), random(2, 1, 3, 3, seed=1).float(), random(2, seed=2).float()
    if not same(attempt(function, q, kernel, bias), F.linear(q, kernel.flatten(1), bias), atol=1e-5):
        return wrong("Right for p = 2, wrong for p = 3.", "Take D and P from the kernel.")
    return right("Right: the same tokens as the convolution with stride p.")


@checker
def block_cost(function: Any) -> Verdict:
    """(L, multiply-adds of one block) for a grid H × W, a patch size and a width D."""

    def ask(h: int, w: int, p: int, d: int) -> tuple[float, float]:
        tokens, cost = attempt(function, h, w, p, d)
        return float(tokens), float(cost)

    def true(h: int, w: int, p: int, d: int) -> tuple[int, int]:
        length = h * w // p**2
        return length, 12 * length * d**2 + 2 * length**2 * d

    case = (24, 48, 4, 40)
    length, cost = true(*case)
    tokens, found = ask(*case)
    count = "Count patches along each side first."
    mistakes: list[Mistake] = [
        (24 * 48 / 4, "You divided by p; a patch holds p² cells.", count),
        (24 * 48, "This is the number of cells, not of patches.", count),
    ]
    expect(
        tokens, length, mistakes, f"A grid of 24 × 48 with p = 4 has {length} patches, and you count {tokens:g}.", count
    )
    linear, pairs = 12 * length * 40**2, length**2 * 40
    mistakes = [
        (linear, "You left out the two products over pairs of tokens.", "The last two rows of the table grow with L²."),
        (linear + pairs, "One of the two products over pairs is missing.", "Scores, and the sum that they weight: each is L²·D."),
        (2 * cost, "You counted multiplications and additions separately.", "A multiply-add is one here; FLOPs are twice as many."),
        (linear / 12 * 4 + 2 * pairs, "The MLP is missing.", "Its two matrices have 4·D² numbers each."),
        (linear / 12 * 8 + 2 * pairs, "Half of the MLP is missing: it has two matrices.", "D to 4·D, and back."),
        (linear / 12 * 10 + 2 * pairs, "Queries, keys and values are three projections, not one.", "Each is a matrix of D × D."),
        (linear + 2 * length**2, "Each pair costs D multiply-adds, not one.", "A score is a dot product of D numbers, over all heads together."),
    ]  # fmt: skip
    expect(found, cost, mistakes, f"Expected {cost:,} multiply-adds for L = {length} and D = 40, got {found:,.0f}.",
        "Add up the table.", rtol=1e-9)  # fmt: skip
    if ask(32, 64, 2, 1024) != true(32, 64, 2, 1024) or ask(30, 60, 3, 8) != true(30, 60, 3, 8):
        return wrong("Right for one configuration, wrong for another.", "Use all four arguments.")
    return right("Right: linear in L where D is large, quadratic where L is.")


@checker
def cuts_patches(function: Any) -> Verdict:
    """The learner's own test: True for a function that cuts patches as it should, False for one that does not."""

    def strips(x: Tensor, p: int) -> Tensor:
        return x.reshape(len(x), -1, p * p)

    def in_words(pattern: str) -> Callable[[Tensor, int], Tensor]:
        return lambda x, p: rearrange(x, pattern, p=p, q=p)

    def across_samples(x: Tensor, p: int) -> Tensor:
        return rearrange(x, "b 1 (h p) (w q) -> (h w) b (p q)", p=p, q=p).reshape(len(x), -1, p * p)

    right_one = in_words("b 1 (h p) (w q) -> b (h w) (p q)")
    if not bool(attempt(function, right_one)):
        return wrong(
            "Your test rejects a function that is right.",
            "Work out by hand what it returns for the field of your test.",
        )
    impostors = {
        "strips of one row": strips,
        "patches numbered column by column": in_words("b 1 (h p) (w q) -> b (w h) (p q)"),
        "pixels transposed inside the patch": in_words("b 1 (h p) (w q) -> b (h w) (q p)"),
        "patches that begin in the north": lambda x, p: right_one(x.flip(2), p),
        "patches and pixels exchanged, (B, P, L)": in_words("b 1 (h p) (w q) -> b (p q) (h w)"),
        "patches that mix the samples of a batch": across_samples,
    }
    for what, impostor in impostors.items():
        if bool(attempt(function, impostor)):
            return wrong(
                f"Your test lets this pass: {what}.",
                "Compare values, not only shapes, on a batch of two fields that are not square and whose cells all differ."
                " torch.equal also compares shapes.",
            )
    return right("Right: six impostors are caught, and the honest function passes.")


@checker
def token_of(function: Any) -> Verdict:
    """The id of the patch that holds a place."""
    # what, (lat, lon, H, W, p), expected, hint
    cases = [
        ("Cairo, 30.0° N 31.2° E, on 32 × 64 with p = 2", (30.04, 31.24, 32, 64, 2), 323,
         "Which row and column of cells, and then of patches?"),
        ("Wellington, 41.3° S 174.8° E, on 32 × 64 with p = 2", (-41.29, 174.78, 32, 64, 2), 143,
         "Row 0 begins at −90°."),
        ("Bogotá, 4.7° N 74.1° W, on 32 × 64 with p = 4", (4.71, -74.07, 32, 64, 4), 76,
         "Bring west longitudes into 0° to 360° with %."),
        ("a place at 0.5° N 358° E, on 32 × 64 with p = 2", (0.5, 358.0, 32, 64, 2), 256,
         "358° E lies in the western half of column 0: % comes after the half step."),
        ("the North Pole, on 32 × 64 with p = 2", (90.0, 5.0, 32, 64, 2), 480,
         "The pole is the upper edge of the last row: hold the row within the grid."),
        ("Cairo, on 16 × 48 with p = 4", (30.04, 31.24, 16, 48, 4), 25, "Use the arguments, not the grid of the book."),
    ]  # fmt: skip
    cairo: list[Mistake] = [
        # This mistake and the second after it give the same number for Cairo, and different ones for Wellington.
        (lambda g: g == 163 and float(attempt(function, *cases[1][1])) == 4 * 16 + 15, "You multiplied the row of patches by H / p.", "How many patches lie in one row?"),
        (322, "Close: your columns begin at 0° E, but column 0 is centred there.", "The western edge of a column lies half a step west of its centre."),
        (5 * 32 + 3, "You counted rows from the north.", "Row 0 is the southernmost: latitude −90° is its edge."),
        (21 * 64 + 6, "This is the number of the cell, not of the patch.", "Divide row and column by p first."),
        (10 * 64 + 3, "A row of patches has W / p of them, not W.", "By how much does the number grow from one patch to its northern neighbour?"),
        (3 * 16 + 10, "You numbered the patches column by column.", "The number grows fastest eastwards."),
    ]  # fmt: skip
    for what, place, expected, hint in cases:
        found = float(attempt(function, *place))
        mistakes = cairo if place == cases[0][1] else []
        expect(found, expected, mistakes, f"For {what}, expected token {expected}, got {found:g}.", hint, rtol=1e-9)
    return right("Right: every place on Earth has its token.")


@checker
def kernel_for_finer_grid(function: Any) -> Verdict:
    """A kernel (D, 1, p, p) → (D, 1, f·p, f·p) that gives the same tokens where every cell is split into f × f equal ones."""
    kernel = random(3, 1, 2, 2).float()
    f = 3
    repeated = kernel.repeat_interleave(f, -2).repeat_interleave(f, -1)
    expected = repeated / f**2
    mistakes: list[Mistake] = [
        (repeated, "The pattern is right, the size is not: every old pixel is now counted f² times.", "What is the token of a field that is 1 everywhere, before and after?"),
        (repeated / f, "Divided by f, where a cell is split into f × f.", "Count the new cells in one old cell."),
        (kernel.repeat(1, 1, f, f) / f**2, "You tiled the kernel: each old weight should cover a block of new cells.", "repeat_interleave repeats each entry in its place."),
        (kernel.repeat(1, 1, f, f), "You tiled the kernel, and its size is not right either.", "repeat_interleave repeats each entry in its place; then think of the sum."),
        (F.interpolate(kernel, scale_factor=f, mode="bilinear") / f**2, "Bilinear interpolation blurs the weights over the borders of the old cells: the tokens are close, not equal.", "Every new cell lies in one old cell, and takes its weight."),
        (F.interpolate(kernel, scale_factor=f, mode="bilinear"), "Bilinear interpolation blurs the weights, and the sum has grown.", "Every new cell lies in one old cell, and takes its weight."),
    ]  # fmt: skip
    expect(_tensor(attempt(function, kernel, f)), expected, mistakes, "The shape is right, the values are not.",
        "The sum of each kernel's weights must stay as it was.", "a kernel (D, 1, f·p, f·p)")  # fmt: skip
    kernel = random(2, 1, 3, 3, seed=1).float()
    expected = kernel.repeat_interleave(2, -2).repeat_interleave(2, -1) / 4
    if not same(attempt(function, kernel, 2), expected):
        return wrong(
            "Right for p = 2 and f = 3, wrong for p = 3 and f = 2.", "Take p from the kernel, and f as it comes."
        )
    return right("Right: on a refined field the finer patches give the old tokens.")
