"""The checkers of *Half the cost, the same function*: solutions pass, and every usual mistake gets its own sentence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from climax_lite.check import folding as check
from tests.check.exercises import Exercises


def score_vectors(affine, agg, order=(0, 1), heads=None, scale=None, project=True, bias=True, split=True, keep=False):
    """c (V, P + 1, N), with each usual mistake as a switch."""
    w, b = agg.in_proj_weight.chunk(3), agg.in_proj_bias.chunk(3)
    n = agg.num_heads
    d = len(agg.query) // n
    q = F.linear(agg.query, w[order[0]], b[order[0]] if bias else None) if project else agg.query
    w_k, b_k = w[order[1]], b[1]
    if not split:
        g = (w_k.T @ q).expand(n, -1)
    elif heads == "interleaved":
        g = torch.einsum("dn,dne->ne", q.unflatten(0, (d, n)), w_k.unflatten(0, (d, n)))
    else:
        g = torch.einsum("nd,nde->ne", q.unflatten(0, (n, d)), w_k.unflatten(0, (n, d)))
    scale = d**0.5 if scale is None else scale
    c = torch.einsum("ne,vep->vpn", g, affine) / scale
    if keep:
        c = torch.cat([c[:, :-1], c[:, -1:] + (q * b_k).unflatten(0, (n, d)).sum(1) / scale], 1)
    return c


def value_matrices(affine, agg):
    return agg.in_proj_weight.chunk(3)[2] @ affine


def folded(
    patches, affine, agg, weigh=lambda s: torch.softmax(s, 2), bias=1.0, out=True, scores=1.0, values=1.0, missing=None
):
    """The fold; `scores` and `values` are what is appended to the pixels, `weigh` makes weights of the scores (B, L, V, N)."""
    if missing is not None:
        patches = patches.masked_fill(missing, 0.0)
    c, m = score_vectors(affine, agg), value_matrices(affine, agg).unflatten(1, (agg.num_heads, -1))
    s = torch.einsum("blvp,vpn->blvn", F.pad(patches, (0, 1), value=scores), c)
    a = weigh(s if missing is None else s.masked_fill(missing, -torch.inf))
    r = F.pad(patches, (0, 1), value=values)
    weighted = torch.einsum("blvn,blvp->blnvp", a, r)
    o = torch.einsum("blnvp,vndp->blnd", weighted, m).flatten(2) + bias * agg.in_proj_bias.chunk(3)[2]
    return agg.out_proj(o) if out else o


def by_tokens(patches, affine, agg):
    return agg(torch.einsum("blvp,vdp->blvd", F.pad(patches, (0, 1), value=1.0), affine))


def by_values(patches, affine, agg):
    """Weights from the pixels, but the value of every token."""
    r = F.pad(patches, (0, 1), value=1.0)
    a = torch.softmax(torch.einsum("blvp,vpn->blvn", r, score_vectors(affine, agg)), 2)
    v = torch.einsum("blvp,vdp->blvd", r, value_matrices(affine, agg)).unflatten(3, (agg.num_heads, -1))
    return agg.out_proj((a[..., None] * v).sum(2).flatten(2) + agg.in_proj_bias.chunk(3)[2])


class Detached:
    """The aggregation with one parameter cut off from its gradient."""

    def __init__(self, agg, name):
        self.agg, self.name = agg, name

    def __getattr__(self, name):
        value = getattr(self.agg, name)
        return value.detach() if name == self.name else value


def shared(s):
    """Weights from the sum of the heads' scores."""
    return torch.softmax(s.sum(3, keepdim=True), 2).expand_as(s)


def averaged(s):
    return torch.softmax(s, 2).mean(3, keepdim=True).expand_as(s)


def costs(encoder, B, L, V, P, D, N, one=1, once=1, out=1, each=0, g=1, heads=1, held=1):
    if encoder == "reference":
        return B * L * (V * P * D + 2 * V * D**2 + 2 * V * D + D**2), 3 * B * L * V * D
    pixels = V * (P + one)
    made = g * D**2 + pixels * D * (N + D)
    place = pixels * (N + heads * D) + out * D**2
    return once * made + B * L * (place + each * made), held * B * L * V * ((P + 1) + N + N * (P + 1))


def folded_masked(patches, affine, agg, present):
    return folded(patches, affine, agg, missing=~present[:, None, :, None])


def after(patches, affine, agg, present):
    """Masked after the softmax."""
    here = present[:, None, :, None]
    return folded(patches.nan_to_num(), affine, agg, lambda s: torch.softmax(s, 2) * here)


def not_rescaled(patches, affine, agg, present):
    """Pixels of a missing variable from elsewhere, masked after the softmax: as the probe has them before they are hidden."""
    x, here = check._problem()[0], present[:, None, :, None]
    return folded(x, affine, agg, lambda s: torch.softmax(s, 2) * here)


def attend_tokens(tokens, agg, scale=None, bias=1.0, out=True, weigh=lambda s: torch.softmax(s, 2)):
    n = agg.num_heads
    w_q, w_k, w_v = agg.in_proj_weight.chunk(3)
    b_q, _, b_v = agg.in_proj_bias.chunk(3)
    q = F.linear(agg.query, w_q, b_q).unflatten(0, (n, -1))
    g = torch.einsum("nd,nde->ne", q, w_k.unflatten(0, (n, -1))) / (scale or q.shape[-1] ** 0.5)
    mixed = torch.einsum("blvn,blve->blne", weigh(torch.einsum("blve,ne->blvn", tokens, g)), tokens)
    o = torch.einsum("blne,nde->blnd", mixed, w_v.unflatten(0, (n, -1))).flatten(2) + bias * b_v
    return agg.out_proj(o) if out else o


SOLUTIONS = {
    "score_vectors": score_vectors,
    "value_matrices": value_matrices,
    "folded": folded,
    "costs": costs,
    "folded_masked": folded_masked,
    "attend_tokens": attend_tokens,
}

WRONG = [
    ("score_vectors", lambda e, g: score_vectors(e, g, scale=1.0), "not divided by √d"),
    ("score_vectors", lambda e, g: score_vectors(e, g, scale=4.0), "divided by √D"),
    ("score_vectors", lambda e, g: score_vectors(e, g, scale=8.0), "not by its root"),
    ("score_vectors", lambda e, g: score_vectors(e, g, project=False), "without its projection"),
    ("score_vectors", lambda e, g: score_vectors(e, g, bias=False), "bias of the query"),
    ("score_vectors", lambda e, g: score_vectors(e, g, order=(0, 2)), "the values' matrix"),
    ("score_vectors", lambda e, g: score_vectors(e, g, split=False), "the query was not split"),
    ("score_vectors", lambda e, g: score_vectors(e, g, heads="interleaved"), "interleaved"),
    ("score_vectors", lambda e, g: score_vectors(e, g).mT, "another order"),
    ("score_vectors", lambda e, g: score_vectors(e, g).float(), "float64 came in"),
    ("score_vectors", lambda e, g: score_vectors(e, g)[:, :-1], "got (3, 4, 2)"),
    ("score_vectors", lambda e, g: -score_vectors(e, g), "not the score vectors"),
    ("value_matrices", lambda e, g: g.in_proj_weight.chunk(3)[1] @ e, "keys' matrix"),
    ("value_matrices", lambda e, g: g.in_proj_weight.chunk(3)[0] @ e, "query's matrix"),
    ("value_matrices", lambda e, g: g.in_proj_weight.chunk(3)[2].T @ e, "W^V is transposed"),
    ("value_matrices", lambda e, g: value_matrices(e, g).mT, "matrices are transposed"),
    ("value_matrices", lambda e, g: value_matrices(e, g) + F.pad(g.in_proj_bias[-16:, None], (4, 0)), "into the last column"),
    ("value_matrices", lambda e, g: g.out_proj.weight @ value_matrices(e, g), "W_o is in it"),
    ("value_matrices", lambda e, g: e, "not W^V E"),
    ("folded", by_tokens, "as large as all tokens"),
    ("folded", by_values, "as large as all tokens"),
    ("folded", lambda x, e, g: folded(x, e, g, out=False), "output projection is missing"),
    ("folded", lambda x, e, g: folded(x, e, g, bias=0.0), "b^V is missing"),
    ("folded", lambda x, e, g: folded(x, e, g, bias=3.0), "once for each variable"),
    ("folded", lambda x, e, g: folded(x, e, g, scores=0.0, values=0.0), "constant column is missing"),
    ("folded", lambda x, e, g: folded(x, e, g, scores=0.0), "scores have forgotten"),
    ("folded", lambda x, e, g: folded(x, e, g, values=0.0), "values have forgotten"),
    ("folded", lambda x, e, g: folded(x, e, g, shared), "added before the softmax"),
    ("folded", lambda x, e, g: folded(x, e, g, averaged), "averaged over the heads"),
    ("folded", lambda x, e, g: folded(x, e, g, lambda s: s), "without a softmax"),
    ("folded", lambda x, e, g: folded(x, e, g, lambda s: torch.softmax(s, 3)), "over the heads"),
    ("folded", lambda x, e, g: folded(x, e, g, lambda s: torch.softmax(s, 1)), "over the places"),
    ("folded", lambda x, e, g: folded(x, e, g, lambda s: 0 * s + 1 / 3), "plain mean"),
    ("folded", lambda x, e, g: folded(x, e, g).detach(), "no gradient reaches"),
    ("folded", lambda x, e, g: folded(x, e.detach(), g), "gradient of `affine`"),
    ("folded", lambda x, e, g: folded(x, e, Detached(g, "query")), "gradient of `query`"),
    ("folded", lambda x, e, g: 2 * folded(x, e, g), "not the aggregation"),
    ("folded", lambda x, e, g: folded(x, e, g).mT, "got (2, 16, 12)"),
    ("costs", lambda *a: tuple(2 * n for n in costs(*a)), "each multiply-add is two"),
    ("costs", lambda *a: costs(*a, once=0), "made once is missing"),
    ("costs", lambda *a: costs(*a, once=0, each=1), "anew at every place"),
    ("costs", lambda *a: costs(*a, once=a[1]) if a[1] > 1 else costs(*a), "for each sample"),
    ("costs", lambda *a: costs(*a, g=0), "g is missing"),
    ("costs", lambda *a: costs(*a, out=0), "output projection is missing"),
    ("costs", lambda *a: costs(*a, one=0), "P + 1 numbers"),
    ("costs", lambda *a: costs(*a, heads=a[6]), "M counts N times"),
    ("costs", lambda *a: costs(*a, held=2), "numbers kept"),
    ("costs", lambda *a: costs(*a)[0], "Expected a pair"),
    ("costs", lambda *a: (costs(*a)[0] + 1, 0), "Reference: For B, L, V, P, D, N"),
    ("costs", lambda e, *a: (costs(e, *a)[0] - (a[0] * a[1] * a[4] ** 2 * a[2] if e == "reference" else 0), 0), "two products of D²"),
    ("folded_masked", lambda x, e, g, here: folded(x, e, g), "NaN"),
    ("folded_masked", lambda x, e, g, here: folded(x.nan_to_num(), e, g), "a field of zeros"),
    ("folded_masked", not_rescaled, "do not add up to one"),
    ("folded_masked", lambda x, e, g, here: folded(x[:, :, [0, 2]], e[[0, 2]], g), "out of every sample"),
    ("folded_masked", lambda x, e, g, here: folded(x.nan_to_num(), e, g, missing=here[:, None, :, None]), "NaN"),
    ("folded_masked", after, "do not add up to one"),
    ("attend_tokens", lambda t, g: g(t), "keys or values of all tokens"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, scale=1.0), "not divided by √d"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, out=False), "output projection is missing"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, bias=0.0), "b^V is missing"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, bias=2.0), "b^V is added twice"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, weigh=shared), "added before the softmax"),
    ("attend_tokens", lambda t, g: attend_tokens(t, g, weigh=averaged), "averaged over the heads"),
    ("attend_tokens", lambda t, g: 2 * attend_tokens(t, g), "not the aggregation"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_the_keys_bias_may_stay():
    verdict = check.score_vectors(lambda e, g: score_vectors(e, g, keep=True))
    assert verdict.ok
    assert "cancels" in verdict.sentence


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", nn.Linear, lambda: 1, lambda *a: torch.zeros(2)])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 20
