"""The checkers of *Patches and the tokens of a field*: solutions pass, and every usual mistake gets its own sentence."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from climax_lite.check import patches as check
from climax_lite.model import patchify as package_patchify
from tests.check.exercises import Exercises


def cut(pattern):
    return lambda x, p: rearrange(x, pattern, p=p, q=p)


def join(pattern):
    """A way back from patches, with the axes split as the pattern says."""

    def function(patches, shape):
        p = round(patches.shape[-1] ** 0.5)
        return rearrange(patches, pattern, h=shape[0] // p, p=p)

    return function


def cost(height, width, p, d, linear=12, pairs=2):
    tokens = height * width // p**2
    return tokens, linear * tokens * d**2 + pairs * tokens**2 * d


def token(lat, lon, height, width, p):
    row = min(int((lat + 90) / 180 * height), height - 1)
    column = int((lon + 180 / width) % 360 / 360 * width)
    return row // p * (width // p) + column // p


def fine(kernel, f):
    return kernel.repeat_interleave(f, -2).repeat_interleave(f, -1) / f**2


def true_test(candidate):
    x = torch.arange(2 * 4 * 6.0).reshape(2, 1, 4, 6)
    return torch.equal(candidate(x, 2), package_patchify(x, 2)[:, :, 0])


def one_sample_test(candidate):
    x = torch.arange(4 * 6.0).reshape(1, 1, 4, 6)
    return torch.equal(candidate(x, 2), package_patchify(x, 2)[:, :, 0])


def shape_test(candidate):
    return candidate(torch.zeros(2, 1, 4, 6), 2).shape == (2, 6, 4)


def square_constant_rows_test(candidate):
    """Finds strips only: all cells of a row are equal."""
    x = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 1, 4, 4)
    return sorted(set(candidate(x, 2)[0, 0].tolist())) == [0.0, 1.0]


def first_patch_as_a_set_test(candidate):
    x = torch.arange(2 * 4 * 6.0).reshape(2, 1, 4, 6)
    return set(candidate(x, 2)[0, 1].tolist()) == {2.0, 3.0, 8.0, 9.0}


SOLUTIONS = {
    "patchify": lambda x, p: package_patchify(x, p)[:, :, 0],
    "unpatchify": join("b (h w) (p q) -> b 1 (h p) (w q)"),
    "embed": lambda q, k, b: q @ k.flatten(1).T + b,
    "block_cost": cost,
    "cuts_patches": true_test,
    "token_of": token,
    "kernel_for_finer_grid": fine,
}

WRONG = [
    # exercise, wrong answer, a part of the message
    ("patchify", lambda x, p: x.reshape(len(x), -1, p * p), "strips of one row"),
    ("patchify", cut("b 1 (h p) (w q) -> b (w h) (p q)"), "numbered column by column"),
    ("patchify", cut("b 1 (h p) (w q) -> b (h w) (q p)"), "pixels in them run column by column"),
    ("patchify", lambda x, p: cut("b 1 (h p) (w q) -> b (h w) (p q)")(x.flip(2), p), "began with the last row"),
    ("patchify", lambda x, p: F.unfold(x, p, stride=p), "exchanged"),
    ("patchify", lambda x, p: package_patchify(x, p), "left over"),
    ("patchify", lambda x, p: package_patchify(x, 2)[:, :, 0], "wrong for 3 × 3"),
    ("patchify", lambda x, p: x, "Expected patches (B, L, P): shape (2, 12, 4), got"),
    ("patchify", lambda x, p: torch.zeros(2, 12, 4), "values are not"),
    ("patchify", lambda x, p: package_patchify(x, p)[:, :, 0].numpy(), "Expected a tensor"),
    ("unpatchify", lambda q, shape: q.reshape(len(q), 1, *shape), "new shape"),
    ("unpatchify", join("b (h w) (q p) -> b 1 (h p) (w q)"), "transposed"),
    ("unpatchify", join("b (w h) (p q) -> b 1 (h p) (w q)"), "column by column"),
    ("unpatchify", join("b (h w) (p q) -> b (h p) (w q)"), "missing"),
    ("unpatchify", lambda q, shape: SOLUTIONS["unpatchify"](q, shape).flip(2), "North and south"),
    (
        "unpatchify",
        lambda q, shape: rearrange(q[..., :4], "b (h w) (p q) -> b 1 (h p) (w q)", h=shape[0] // 2, p=2, q=2),
        "stopped with",
    ),
    ("unpatchify", lambda q, shape: torch.arange(96.0).reshape(2, 1, 4, 12), "wrong for 3 × 3"),
    ("embed", lambda q, k, b: q @ k.flatten(1).T, "bias is missing"),
    ("embed", lambda q, k, b: q @ k.reshape(q.shape[-1], -1) + b, "dealt D and P"),
    ("embed", lambda q, k, b: q @ k.transpose(-1, -2).flatten(1).T + b, "column by column"),
    ("embed", lambda q, k, b: q @ k.flip(-1, -2).flatten(1).T + b, "turned the kernel round"),
    ("embed", lambda q, k, b: (q @ k.flatten(1).T + b).transpose(1, 2), "(B, D, L)"),
    ("embed", lambda q, k, b: q, "Expected tokens (B, L, D): shape (2, 6, 5), got"),
    ("block_cost", lambda h, w, p, d: (h * w // p, 0), "p² cells"),
    ("block_cost", lambda h, w, p, d: (h * w, 0), "not of patches"),
    ("block_cost", lambda h, w, p, d: (7, 0), "you count 7"),
    ("block_cost", lambda *a: cost(*a, pairs=0), "left out the two products"),
    ("block_cost", lambda *a: cost(*a, pairs=1), "One of the two products"),
    ("block_cost", lambda *a: cost(*a, linear=24, pairs=4), "multiplications and additions separately"),
    ("block_cost", lambda *a: cost(*a, linear=4), "MLP is missing"),
    ("block_cost", lambda *a: cost(*a, linear=8), "Half of the MLP"),
    ("block_cost", lambda *a: cost(*a, linear=10), "three projections"),
    ("block_cost", lambda h, w, p, d: (cost(h, w, p, d)[0], cost(h, w, p, d, pairs=0)[1] + 2 * cost(h, w, p, d)[0] ** 2), "not one"),
    ("block_cost", lambda h, w, p, d: (cost(h, w, p, d)[0], 1), "multiply-adds for L"),
    ("block_cost", lambda h, w, p, d: cost(h, w, p, 40), "wrong for another"),
    ("cuts_patches", lambda f: False, "rejects a function that is right"),
    ("cuts_patches", lambda f: True, "strips of one row"),
    ("cuts_patches", shape_test, "strips of one row"),
    ("cuts_patches", square_constant_rows_test, "numbered column by column"),
    ("cuts_patches", first_patch_as_a_set_test, "pixels transposed"),
    ("cuts_patches", one_sample_test, "mix the samples"),
    ("token_of", lambda lat, lon, h, w, p: int((lat + 90) / 180 * h) // p * (w // p) + int(lon % 360 / 360 * w) // p, "begin at 0° E"),
    ("token_of", lambda lat, lon, h, w, p: token(-lat, lon, h, w, p), "from the north"),
    ("token_of", lambda lat, lon, h, w, p: token(lat, lon, h, w, p) - (w - h) // p * (int((lat + 90) / 180 * h) // p), "by H / p"),
    ("token_of", lambda lat, lon, h, w, p: token(lat, lon, h, w, 1), "number of the cell"),
    ("token_of", lambda lat, lon, h, w, p: token(lat, lon, h, w, p) + (w - w // p) * (int((lat + 90) / 180 * h) // p), "W / p of them"),
    ("token_of", lambda lat, lon, h, w, p: int((lon + 180 / w) % 360 / 360 * w) // p * (h // p) + int((lat + 90) / 180 * h) // p, "column by column"),
    ("token_of", lambda lat, lon, h, w, p: token(lat, lon % 360, h, w, p) if lon >= 0 else -5, "Bogotá"),
    ("token_of", lambda lat, lon, h, w, p: int((lat + 90) / 180 * h) // p * (w // p) + min(int((lon % 360 + 180 / w) / 360 * w), w - 1) // p, "358° E"),
    ("token_of", lambda lat, lon, h, w, p: int((lat + 90) / 180 * h) // p * (w // p) + int((lon + 180 / w) % 360 / 360 * w) // p, "North Pole"),
    ("kernel_for_finer_grid", lambda k, f: fine(k, f) * f**2, "size is not"),
    ("kernel_for_finer_grid", lambda k, f: fine(k, f) * f, "Divided by f"),
    ("kernel_for_finer_grid", lambda k, f: k.repeat(1, 1, f, f) / f**2, "old weight should cover"),
    ("kernel_for_finer_grid", lambda k, f: k.repeat(1, 1, f, f), "size is not right either"),
    ("kernel_for_finer_grid", lambda k, f: F.interpolate(k, scale_factor=f, mode="bilinear") / f**2, "close, not equal"),
    ("kernel_for_finer_grid", lambda k, f: F.interpolate(k, scale_factor=f, mode="bilinear"), "sum has grown"),
    ("kernel_for_finer_grid", lambda k, f: k, "shape (3, 1, 6, 6), got (3, 1, 2, 2)"),
    ("kernel_for_finer_grid", lambda k, f: fine(k, f) * f**2 / 9, "wrong for p = 3"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


def test_other_ways_to_the_same_answer_pass():
    assert check.patchify(lambda x, p: F.unfold(x, p, stride=p).transpose(1, 2)).ok
    assert check.unpatchify(
        lambda q, shape: F.fold(q.transpose(1, 2), shape, round(q.shape[-1] ** 0.5), stride=round(q.shape[-1] ** 0.5))
    ).ok
    assert check.embed(lambda q, k, b: torch.einsum("blp,dp->bld", q, k.flatten(1)) + b).ok
    assert check.embed(lambda q, k, b: F.linear(q, k.flatten(1), b).requires_grad_()).ok
    assert check.block_cost(lambda h, w, p, d: torch.tensor(cost(h, w, p, d))).ok
    assert check.kernel_for_finer_grid(lambda k, f: F.interpolate(k, scale_factor=f, mode="nearest") / f**2).ok


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda *a: [[1], [2, 3]], lambda: 1, lambda *a: float("nan")])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert not verdict.ok
    assert len(verdict.sentence) > 10
