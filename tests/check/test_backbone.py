"""The checkers of *The transformer backbone*: solutions pass, and every usual mistake gets its own sentence."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from climax_lite.check import backbone as check
from climax_lite.model.backbone import DropPath
from climax_lite.model.embed import interpolate_positions, sincos_1d, sincos_2d
from tests.check.exercises import Exercises

OURS = "b l (three n d) -> three b n l d"


def attend(q, k, v, scale=None, dim=-1):
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    return torch.softmax(scores, dim) @ v


def naive(q, k, v):
    e = torch.exp(q @ k.mT / q.shape[-1] ** 0.5)
    return e / e.sum(-1, keepdim=True) @ v


def heads(x, qkv, proj, n, split=OURS, join="b n l d -> b l (n d)", scale=None, order=(0, 1, 2)):
    parts = rearrange(qkv(x), split, three=3, n=n)
    out = F.scaled_dot_product_attention(*(parts[i] for i in order), scale=scale)
    return proj(rearrange(out, join) if isinstance(join, str) else join(out))


def mixed_in(x, qkv, proj, n):
    q, k, v = (t.reshape(len(x), n, x.shape[1], -1) for t in qkv(x).chunk(3, -1))
    return proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b n l d -> b l (n d)"))


def torn(x, qkv, proj, n):
    out = heads(x, qkv, lambda t: t, n)
    return proj(torch.cumsum(out, 1))


def pre_norm(x, n1, a, n2, m):
    x = x + a(n1(x))
    return x + m(n2(x))


def post_norm(x, n1, a, n2, m):
    x = n1(x + a(x))
    return n2(x + m(x))


def overwritten(x, n1, a, n2, m):
    x = n1(x)
    x = x + a(x)
    x = n2(x)
    return x + m(x)


def in_place(x, n1, a, n2, m):
    x += a(n1(x))
    return x + m(n2(x))


def sincos(d, rows, columns, first="column", mix=False, count=0, power=1.0):
    n = d // 4
    omega = 10000.0 ** -(power * torch.arange(n, dtype=torch.float64) / n)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    halves = []
    for place in (column, row) if first == "column" else (row, column):
        angle = (place.reshape(-1, 1) + count) * omega
        pair = [angle.sin(), angle.cos()]
        halves.append(torch.stack(pair, -1).flatten(1) if mix else torch.cat(pair, 1))
    return torch.cat(halves, 1)


def by_columns(d, rows, columns):
    return sincos_2d(d, rows, columns).reshape(rows, columns, d).transpose(0, 1).flatten(0, 1)


def moved(x, old, new, **how):
    grid = x.reshape(1, *old, -1).permute(0, 3, 1, 2)
    return F.interpolate(grid, size=new, **how).permute(0, 2, 3, 1).flatten(1, 2)


def torn_apart(x, old, new):
    grid = x.reshape(1, -1, *old)
    return F.interpolate(grid, size=new, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)


def dropped(x, rate, training, shape=None, scale=None, keep=None):
    if not training or rate == 0:
        return x
    shape = (len(x), 1, 1) if shape is None else shape(x)
    mask = torch.rand(shape) < (1 - rate if keep is None else keep(rate))
    return x * mask * (1 / (1 - rate) if scale is None else scale(rate))


def between_heads(x, qkv, proj, n):
    q, k, v = qkv(x).unflatten(-1, (3, n, -1)).unbind(2)
    return proj(F.scaled_dot_product_attention(q, k, v).flatten(2))


def zeros_written(x, rate, training):
    if training and rate > 0:
        x[torch.rand(len(x)) < rate] = 0
        x /= 1 - rate
    return x


SOLUTIONS = {
    "attention": attend,
    "self_attention": heads,
    "block": pre_norm,
    "sincos_2d": sincos_2d,
    "interpolate_positions": lambda x, old, new: moved(x, old, new, mode="bicubic", align_corners=False),
    "drop_path": dropped,
}

WRONG = [
    # exercise, wrong answer, a part of the message
    ("attention", lambda q, k, v: attend(q, k, v, 1.0), "√d is missing"),
    ("attention", lambda q, k, v: attend(q, k, v, 1 / q.shape[-1]), "not by its root"),
    ("attention", lambda q, k, v: attend(q, k, v, q.shape[-2] ** -0.5), "number of patches"),
    ("attention", lambda q, k, v: attend(q, k, v, q.shape[-1] ** 0.5), "multiplied by √d"),
    ("attention", lambda q, k, v: attend(q, k, v, dim=-2), "over the queries"),
    ("attention", lambda q, k, v: attend(q, k, v, dim=0), "over the batch"),
    ("attention", lambda q, k, v: q @ k.mT @ v, "no softmax"),
    ("attention", lambda q, k, v: attend(k, q, v), "exchanged queries and keys"),
    ("attention", lambda q, k, v: torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1), "These are the weights"),
    ("attention", lambda q, k, v: v, "not softmax"),
    ("attention", naive, "overflows"),
    ("attention", lambda q, k, v: attend(q, k, v)[:, :, :1], "shape (2, 5, 3), got (2, 5, 1)"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, 1), "This is one head"),
    ("self_attention", lambda x, a, p, n: heads(x, a, lambda t: t, n), "projection is missing"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, n, scale=x.shape[-1] ** -0.5), "scaled by √D"),
    ("self_attention", mixed_in, "on the way in"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, n, join=lambda o: o.reshape(x.shape)), "on the way out"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, n, "b l (n three d) -> three b n l d"), "head first"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, n, "b l (three d n) -> three b n l d"), "every N-th"),
    ("self_attention", lambda x, a, p, n: heads(x, a, p, n, order=(0, 2, 1)), "changed places"),
    ("self_attention", between_heads, "between heads"),
    ("self_attention", torn, "somewhere patches are mixed"),
    ("self_attention", lambda x, a, p, n: x, "not that of N heads"),
    ("block", post_norm, "post-norm"),
    ("block", overwritten, "stream itself"),
    ("block", lambda x, n1, a, n2, m: m(n2(a(n1(x)))), "No residual"),
    ("block", lambda x, n1, a, n2, m: (y := a(n1(x))) + m(n2(y)), "first residual"),
    ("block", lambda x, n1, a, n2, m: m(n2(x + a(n1(x)))), "second residual"),
    ("block", lambda x, n1, a, n2, m: x + a(n1(x)) + m(n2(x)), "side by side"),
    ("block", lambda x, n1, a, n2, m: pre_norm(x, n1, a, n1, m), "norm1 was used twice"),
    ("block", lambda x, n1, a, n2, m: (y := x + a(x)) + m(y), "norms are missing"),
    ("block", lambda x, n1, a, n2, m: pre_norm(x, n2, a, n1, m), "exchanged"),
    ("block", lambda x, n1, a, n2, m: pre_norm(x, n2, m, n1, a), "MLP came first"),
    ("block", lambda x, n1, a, n2, m: x + m(n2(x + a(n1(x)))), "from before the attention"),
    ("block", in_place, "in place"),
    ("block", lambda x, n1, a, n2, m: x, "not the pre-norm block"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, first="row"), "row's half comes first"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, mix=True), "alternate"),
    ("sincos_2d", by_columns, "column by column"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, power=2), "exponent is m / n"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, power=0.5), "10000^(−(n − 1) / n)"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, power=-1), "minus sign"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, power=(d // 4) / (d // 4 - 1)), "endpoint"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c, count=1), "from 1"),
    ("sincos_2d", lambda d, r, c: torch.roll(sincos(d, r, c), d // 4, 1), "not the sines and cosines"),
    ("sincos_2d", lambda d, r, c: sincos(d, r, c).reshape(r, c, d), "got a map"),
    ("sincos_2d", lambda d, r, c: sincos_1d(range(r * c), d), "not the sines and cosines"),
    ("interpolate_positions", lambda x, o, n: moved(x, o[::-1], n[::-1], mode="bicubic"), "exchanged"),
    ("interpolate_positions", torn_apart, "torn apart"),
    ("interpolate_positions", lambda x, o, n: moved(x, o, n, mode="bilinear"), "bilinear"),
    ("interpolate_positions", lambda x, o, n: moved(x, o, n), "nearest"),
    ("interpolate_positions", lambda x, o, n: moved(x, o, n, mode="bicubic", align_corners=True), "centres of the corner"),
    ("interpolate_positions", lambda x, o, n: x, "six rows of nine"),
    ("drop_path", lambda x, r, t: x, "Nothing was dropped"),
    ("drop_path", lambda x, r, t: dropped(x, r, t, shape=lambda x: x.shape), "that is dropout"),
    ("drop_path", lambda x, r, t: dropped(x, r, t, shape=lambda x: (1, 1, 1)), "whole batch"),
    ("drop_path", lambda x, r, t: dropped(x, r, t, scale=lambda r: 1.0), "not scaled up"),
    ("drop_path", lambda x, r, t: dropped(x, r, t, scale=lambda r: 1 / r), "scaled by 4.00"),
    ("drop_path", lambda x, r, t: dropped(x, r, t, keep=lambda r: r), "about 75%"),
    ("drop_path", zeros_written, "changed the branch that was handed in"),
    ("drop_path", lambda x, r, t: dropped(x, r, True), "In evaluation"),
    ("drop_path", lambda x, r, t: x if t is False else x * (torch.rand(len(x), 1, 1) < 0.5), "you dropped"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_the_package_passes():
    def drop(x, rate, training):
        return DropPath(rate).train(training)(x)

    assert check.drop_path(drop).ok
    assert check.interpolate_positions(interpolate_positions).ok
    assert check.sincos_2d(lambda *a: sincos_2d(*a).numpy()).ok


def test_every_mistake_has_a_hint():
    assert all(getattr(check, name)(answer).hint for name, answer, _ in WRONG)


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda *a: [[1], [2, 3]], lambda: 1, lambda *a: float("nan")])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert not verdict.ok
    assert len(verdict.sentence) > 20
