"""The checkers of *Variable tokenization*: solutions pass, and every usual mistake gets its own sentence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from climax_lite.check import tokenization as check
from climax_lite.model import VariableTokenizer
from tests.check.exercises import Exercises


def stub(*args, **kwargs): ...


def variable_ids(names, known):
    if unknown := [n for n in names if n not in known]:
        raise ValueError(", ".join(unknown))
    return torch.tensor([known.index(n) for n in names])


def loop(x, convolutions, embedding, ids, weights=None, rows=None, bias=True, reshape=False, channel_of_id=False):
    """Tokens by a loop; `weights` and `rows` replace the ids of convolutions and embeddings."""
    out = []
    for v, k in enumerate(ids):
        c = k if channel_of_id else v
        token = convolutions[weights[v] if weights else k](x[:, c : c + 1])
        token = token.reshape(2, 6, 3) if reshape else token.flatten(2).transpose(1, 2)
        if not bias:
            token = token - convolutions[k].bias
        out.append(token + embedding[rows[v] if rows else k])
    return torch.stack(out, 2)


def tokenizer(forward):
    """The module with another forward(self, patches, ids)."""
    return type("Learner", (VariableTokenizer,), {"forward": forward})


def product(self, patches, ids):
    return torch.einsum("blvp,vdp->blvd", patches, self.weight[ids])


def stacked(state, order=None):
    if "token_embeds.proj_weights" in state:
        return state["token_embeds.proj_weights"].flatten(2), state["token_embeds.proj_biases"]
    count = sum(k.endswith("proj.bias") and k.startswith("token_embeds") for k in state)
    numbers = sorted(range(count), key=order)
    w, b = (torch.stack([state[f"token_embeds.{i}.proj.{kind}"] for i in numbers]) for kind in ("weight", "bias"))
    return w.flatten(2), b


def grouped(x, kernels, biases, ids, finish=None):
    out = F.conv2d(x, kernels[ids].flatten(0, 1), biases[ids].flatten(), stride=2, groups=len(ids))
    return finish(out) if finish else out.unflatten(1, (len(ids), -1)).flatten(3).permute(0, 3, 1, 2)


def add_variable(old, place=slice(None, -1), fresh=-1, init=lambda w: nn.init.normal_(w, std=0.02), zero=True):
    k, d, _ = old.weight.shape
    new = VariableTokenizer(k + 1, old.patch_size, d)
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            parameter[place].copy_(getattr(old, name))
            parameter[fresh].zero_()
            if not zero:
                parameter[fresh].fill_(0.02)
        init(new.weight[fresh])
    return new


def sharing(old):
    new = add_variable(old)
    old.weight.data = new.weight.data[:-1]
    return new


def forgetful(old):
    new = add_variable(old)
    nn.init.normal_(new.weight, std=0.02)
    return new


SOLUTIONS = {
    "variable_ids": variable_ids,
    "tokens_by_loop": loop,
    "variable_tokenizer": VariableTokenizer,
    "stacked_tokens": stacked,
    "tokens_by_grouped_convolution": grouped,
    "add_variable": add_variable,
}
STUBS = {name: stub for name in SOLUTIONS} | {"variable_tokenizer": tokenizer(stub)}

WRONG = [
    ("variable_ids", lambda names, known: torch.tensor([i for i, k in enumerate(known) if k in names]), "order of the known variables"),
    ("variable_ids", lambda names, known: torch.arange(len(names)), "positions in the input"),
    ("variable_ids", lambda names, known: [known.index(n) for n in names], "got a list"),
    ("variable_ids", lambda names, known: torch.tensor([known.index(n) + 1 for n in names]), "count from 1"),
    ("variable_ids", lambda names, known: torch.tensor([float(known.index(n)) for n in names]), "whole numbers"),
    ("variable_ids", lambda names, known: torch.tensor([known.index(n) for n in names if n in known]), "passed without an error"),
    ("variable_ids", lambda names, known: torch.tensor([{k: i for i, k in enumerate(known)}[n] for n in names]), "raised KeyError"),
    ("variable_ids", lambda names, known: torch.tensor([known.index(n) for n in names]), "does not name every"),
    ("variable_ids", lambda names, known: torch.tensor([1, 1, 1]), "expected the ids [3, 0, 2]"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, weights=[0, 1, 2]), "first channel is read with the weights of variable 0"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, weights=[0, 1, 2], rows=[0, 1, 2]), "first rows of every parameter"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, rows=[0, 1, 2]), "the variable embeddings do not"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, 0 * e, ids), "variable embedding is missing"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, bias=False), "bias is missing"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids).transpose(1, 2), "another order"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids).transpose(2, 3), "changed places"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids).sum(2), "summed away"),
    ("tokens_by_loop", lambda x, c, e, ids: list(loop(x, c, e, ids).unbind(2)), "list of tensors"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids).unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2), "column by column"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, channel_of_id=True), "took channel k of x"),
    ("tokens_by_loop", lambda x, c, e, ids: loop(x, c, e, ids, reshape=True), "A reshape has mixed places"),
    ("tokens_by_loop", lambda x, c, e, ids: torch.stack([t.transpose(1, 2).reshape(2, 6, 3) for t in loop(x, c, e, ids).unbind(2)], 2), "reshape at the end"),
    ("tokens_by_loop", lambda x, c, e, ids: 2 * loop(x, c, e, ids), "not the tokens"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, torch.arange(3)) + s.bias[:3] + s.embedding[:3]), "first rows of every parameter"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, i) + s.embedding[i]), "bias is missing"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, i) + s.bias[i]), "variable embedding is missing"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, i) + s.bias[:3] + s.embedding[i]), "biases do not"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, i)), "both missing"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: (product(s, q, i) + s.bias[i] + s.embedding[i]).sum(2)), "summed away"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: (product(s, q, i) + s.bias[i] + s.embedding[i]).detach()), "no gradient reaches the parameters"),
    ("variable_tokenizer", tokenizer(lambda s, q, i: product(s, q, i) + (s.bias[i] + s.embedding[i]).detach()), "no gradient reaches `bias`"),
    ("variable_tokenizer", VariableTokenizer(5, 2, 3), "a network made from it"),
    ("variable_tokenizer", stub, "a class that derives from nn.Module"),
    ("stacked_tokens", lambda state: stacked(state, order=str), "Text sorts 10 before 2"),
    ("stacked_tokens", lambda state: stacked(state)[::-1], "changed places"),
    ("stacked_tokens", lambda state: (stacked(state)[0].unflatten(2, (1, 2, 2)), stacked(state)[1]), "still a stack of kernels"),
    ("stacked_tokens", lambda state: stacked(state)[0], "Expected a pair"),
    ("stacked_tokens", lambda state: (state["token_embeds.proj_weights"].flatten(2), state["token_embeds.proj_biases"]), "KeyError"),
    ("stacked_tokens", lambda state: tuple(t[:10] for t in stacked(state)), "expected weight (12, 3, 4)"),
    ("stacked_tokens", lambda state: tuple(2 * t for t in stacked(state)), "not those of the file"),
    ("tokens_by_grouped_convolution", lambda x, k, b, i: grouped(x, k, b, torch.arange(4)), "first rows of the kernels"),
    ("tokens_by_grouped_convolution", lambda x, k, b, i: grouped(x, k, 0 * b, i), "bias is missing"),
    ("tokens_by_grouped_convolution", lambda x, k, b, i: grouped(x, k, b, i, lambda o: o.unflatten(1, (3, 4)).flatten(3).permute(0, 3, 2, 1)), "channels as (D, V)"),
    ("tokens_by_grouped_convolution", lambda x, k, b, i: grouped(x, k, b, i, lambda o: o.reshape(2, 6, 4, 3)), "mixed the axes"),
    ("tokens_by_grouped_convolution", lambda x, k, b, i: grouped(x, k, b, i).transpose(1, 2), "another order"),
    ("add_variable", lambda old: add_variable(old, slice(1, None), 0), "come first"),
    ("add_variable", lambda old: old, "the old tokenizer"),
    ("add_variable", lambda old: VariableTokenizer(5, 2, 3), "Expected 6 variables, got 5"),
    ("add_variable", forgetful, "have changed"),
    ("add_variable", lambda old: add_variable(old, init=lambda w: w.copy_(old.weight[2])), "copy of an old"),
    ("add_variable", lambda old: add_variable(old, init=nn.init.zeros_), "should be random"),
    ("add_variable", lambda old: add_variable(old, init=nn.init.normal_), "not 0.02"),
    ("add_variable", lambda old: add_variable(old, init=lambda w: nn.init.normal_(w, std=0.02**0.5)), "standard deviation 0.14"),
    ("add_variable", lambda old: add_variable(old, init=lambda w: w.fill_(1e30)), "whatever was in memory"),
    ("add_variable", lambda old: add_variable(old).requires_grad_(False), "cannot learn"),
    ("add_variable", lambda old: add_variable(old, init=lambda w: w.fill_(float("nan"))), "whatever was in memory"),
    ("add_variable", lambda old: add_variable(old, zero=False), "should be zero"),
    ("add_variable", sharing, "share their memory"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG

    def test_a_stub_is_not_yet(self, name):
        assert getattr(check, name)(STUBS[name]).state == "not yet"


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", nn.Module, nn.Linear, lambda: 1, lambda *a: torch.zeros(2)])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 20
