"""The checkers of *Variable aggregation*: solutions pass, stubs and wrong answers fail with their own message."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from climax_lite.check import aggregation as check
from climax_lite.model import VariableAggregation
from tests.check.exercises import Exercises


def attend(query, keys, values, scale=None, dim=-1):
    scores = keys @ query / (scale or query.shape[-1]) ** 0.5
    return (torch.softmax(scores, dim=dim)[..., None] * values).sum(dim=-2)


def head_weights(query, keys, num_heads, scale=None, dim=-1):
    q = query.unflatten(-1, (num_heads, -1))
    k = keys.unflatten(-1, (num_heads, -1))
    return torch.softmax(torch.einsum("nd,blvnd->blnv", q, k) / (scale or q.shape[-1]) ** 0.5, dim=dim)


def interleaved(query, keys, num_heads):
    q, k = (x.unflatten(-1, (-1, num_heads)).transpose(-1, -2) for x in (query, keys))
    return head_weights(q.flatten(-2), k.flatten(-2), num_heads)


def aggregate(
    tokens, agg, order="qkv", bias=True, out=True, project=True, heads=None, scale=None, values=True, turned=False
):
    weight = dict(zip(order, agg.in_proj_weight.chunk(3), strict=True))
    if turned:
        weight = {letter: w.T for letter, w in weight.items()}
    b = dict(zip(order, (agg.in_proj_bias * bias).chunk(3), strict=True))
    n = heads or agg.num_heads
    q = F.linear(agg.query, weight["q"], b["q"]) if project else agg.query
    a = head_weights(q, F.linear(tokens, weight["k"], b["k"]), n, scale)
    v = (F.linear(tokens, weight["v"], b["v"]) if values else tokens).unflatten(-1, (n, -1))
    mixed = torch.einsum("blnv,blvnd->blnd", a, v).flatten(2)
    return agg.out_proj(mixed) if out else mixed


def masked_weights(scores, present):
    return torch.softmax(scores.masked_fill(~present[:, None, None], -torch.inf), dim=-1)


def to_places(tokens):
    return tokens.transpose(1, 2).flatten(0, 1)


def multiply_adds(v, places, d):
    return d * d + 2 * v * places * d * d + 2 * v * places * d + places * d * d


def leave_one_out(error, count):
    everything = list(range(count))
    return torch.tensor([error([i for i in everything if i != v]) - error(everything) for v in everything])


SOLUTIONS = {
    f.__name__: f for f in (attend, head_weights, aggregate, masked_weights, to_places, multiply_adds, leave_one_out)
}


def on(present):
    return present[:, None, None]


def in_place(scores, present):
    return torch.softmax(scores.masked_fill_(~on(present), -torch.inf), -1)


def renormalised(scores, present):
    a = torch.softmax(scores, -1) * on(present)
    return a / a.sum(-1, keepdim=True)


def alone(error, count):
    return [error([v]) for v in range(count)]


WRONG = [
    ("attend", lambda q, k, v: attend(q, k, v, scale=1), "not scaled"),
    ("attend", lambda q, k, v: attend(q, k, v, scale=len(q) ** 2), "not by its root"),
    ("attend", lambda q, k, v: attend(q, k, v, dim=1), "over the places"),
    ("attend", lambda q, k, v: attend(q, k, v, dim=0), "over the batch"),
    ("attend", lambda q, k, v: attend(q, k, k), "mixed the keys"),
    ("attend", lambda q, k, v: ((k @ q / len(q) ** 0.5)[..., None] * v).sum(2), "without a softmax"),
    ("attend", lambda q, k, v: v.mean(2), "plain mean"),
    ("attend", lambda q, k, v: attend(q, k, v) / v.shape[2], "mean over the variables"),
    ("attend", lambda q, k, v: torch.softmax(k @ q / len(q) ** 0.5, -1), "one number for each variable"),
    ("attend", lambda q, k, v: v, "shape (2, 3, 8), got (2, 3, 5, 8)"),
    ("attend", lambda q, k, v: attend(-q, k, v), "differs on random tokens"),
    ("head_weights", lambda q, k, n: head_weights(q, k, n, scale=len(q)), "divided by √D"),
    ("head_weights", lambda q, k, n: head_weights(q, k, n, scale=1), "not scaled"),
    ("head_weights", interleaved, "interleaved"),
    ("head_weights", lambda q, k, n: head_weights(q, k, n, dim=2), "over the heads"),
    ("head_weights", lambda q, k, n: head_weights(q, k, 1).expand(-1, -1, n, -1), "query was not split"),
    ("head_weights", lambda q, k, n: head_weights(q, k, n).mT, "variables before heads"),
    ("head_weights", lambda q, k, n: head_weights(q, k, 1), "a weight for each place, head and variable"),
    ("aggregate", lambda x, m: aggregate(x, m, out=False), "output projection is missing"),
    ("aggregate", lambda x, m: aggregate(x, m, bias=False), "biases of the input"),
    ("aggregate", lambda x, m: aggregate(x, m, project=False), "without its projection"),
    ("aggregate", lambda x, m: aggregate(x, m, order="qvk"), "Keys and values"),
    ("aggregate", lambda x, m: aggregate(x, m, order="kqv"), "Query and keys"),
    ("aggregate", lambda x, m: aggregate(x, m, scale=8), "divided by √D"),
    ("aggregate", lambda x, m: aggregate(x, m, heads=1), "one head"),
    ("aggregate", lambda x, m: aggregate(x, m, values=False), "values are not projected"),
    ("aggregate", lambda x, m: aggregate(x, m, turned=True), "transposed"),
    ("aggregate", lambda x, m: x.mean(2), "not the aggregation"),
    ("masked_weights", lambda s, p: torch.softmax(s, -1), "mask does nothing"),
    ("masked_weights", lambda s, p: torch.softmax(s, -1) * on(p), "no longer sum to one"),
    ("masked_weights", lambda s, p: torch.softmax(s * on(p), -1), "exp 0 = 1"),
    ("masked_weights", lambda s, p: masked_weights(s, ~p), "wrong way round"),
    ("masked_weights", in_place, "handed in"),
    ("masked_weights", renormalised, "is NaN"),
    ("masked_weights", lambda s, p: s, "not the weights over"),
    ("to_places", lambda x: x.reshape(-1, x.shape[1], x.shape[-1]), "without moving an axis"),
    ("to_places", lambda x: x.permute(2, 0, 1, 3).flatten(0, 1), "before the samples"),
    ("to_places", lambda x: x.flatten(0, 1), "shape (6, 5, 8), got (10, 3, 8)"),
    ("to_places", lambda x: -to_places(x), "one place each"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) - d * d + n * d * d, "query at every place"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) + (v - 1) * n * d * d, "V outputs"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) - v * n * d, "each takes V·L·D"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) - v * n * d * d, "two projections"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) - n * d * d, "output projection"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) - d * d, "query is missing"),
    ("multiply_adds", lambda v, n, d: multiply_adds(v, n, d) + 2 * v * n * d * (v - 1), "self-attention"),
    ("multiply_adds", lambda v, n, d: 7, "not the number"),
    ("leave_one_out", lambda e, n: -leave_one_out(e, n), "sign"),
    ("leave_one_out", lambda e, n: leave_one_out(e, n) + e(range(n)), "not their rise"),
    ("leave_one_out", lambda e, n: torch.tensor(alone(e, n)) - e(range(n)), "left out alone"),
    ("leave_one_out", alone, "did not subtract"),
    ("leave_one_out", lambda e, n: leave_one_out(e, n) / e(range(n)) + 1, "ratio"),
    ("leave_one_out", lambda e, n: torch.zeros(n), "not the rise"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_other_right_ways_pass():
    def with_torch(tokens, agg):
        module = VariableAggregation(tokens.shape[-1], agg.num_heads).to(tokens.dtype)
        state = {k: getattr(agg, k) for k in ("query", "in_proj_weight", "in_proj_bias")}
        module.load_state_dict(state | {"out_proj.weight": agg.out_proj.weight, "out_proj.bias": agg.out_proj.bias})
        return module(tokens)

    assert check.aggregate(with_torch)
    assert check.attend(lambda q, k, v: F.scaled_dot_product_attention(q.expand(*k.shape[:2], 1, -1), k, v)[:, :, 0])
    assert check.masked_weights(lambda s, p: torch.softmax(torch.where(on(p), s, -1e30), -1))
    assert check.leave_one_out(lambda e, n: np.array(leave_one_out(e, n)))


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


def test_every_wrong_answer_has_its_own_message():
    for name in SOLUTIONS:
        said = {getattr(check, n)(f).sentence for n, f, _ in WRONG if n == name}
        assert len(said) >= 3, name


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda: 1, lambda *a: float("nan")])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 10
