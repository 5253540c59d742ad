"""Checks of the chapter *Variable tokenization*."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .answers import Mistake, expect, first, random, same
from .verdict import Stop, Verdict, attempt, checker, right, wrong

KNOWN = 5
"""Variables of the probe: more than are asked for, so that a missing look-up by id shows."""


def _tensor(answer: Any, shape: tuple[int, ...], letters: str) -> Tensor:
    """The answer itself, with its gradient, if it is a tensor of the expected shape."""
    if isinstance(answer, (list, tuple)) and len(answer) and all(isinstance(a, Tensor) for a in answer):
        raise Stop(wrong("Expected one tensor, got a list of tensors.", "torch.stack joins them along a new axis."))
    if not isinstance(answer, Tensor):
        raise Stop(wrong(f"Expected a tensor {letters}, got {type(answer).__name__}.", "Return the tokens themselves."))
    axes = f"Expected the shape {letters} = {shape}, got {tuple(answer.shape)}."
    mistakes: list[Mistake] = [
        (sorted(answer.shape) == sorted(shape), f"{axes} The axes are in another order.", "The places come first, then the variables at each."),
        (answer.ndim == len(shape) - 1, f"{axes} One axis has been summed away.", "Every variable keeps a token of its own at every place."),
    ]  # fmt: skip
    if tuple(answer.shape) != shape:
        raise Stop(first(mistakes, wrong(axes, "Print the shape after every step.")))
    return answer


def _probe(*ids: int) -> SimpleNamespace:
    """A small asymmetric problem: three of five variables, out of order, on 4 × 6 cells with patches of 2 × 2, D = 3."""
    s = SimpleNamespace(p=2, d=3, ids=torch.tensor(ids or (3, 0, 4)), x=random(2, 3, 4, 6).float())
    s.weight = random(KNOWN, s.d, 4, seed=1).float()
    s.bias, s.embedding = (random(KNOWN, s.d, seed=seed).float() for seed in (2, 3))
    cells = s.x.unflatten(3, (3, 2)).unflatten(2, (2, 2))  # (B, V, rows, p, columns, p)
    s.patches = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(3)  # (B, L, V, P)
    s.of = lambda ids, q=s.patches: torch.einsum("blvp,vdp->blvd", q, s.weight[ids])
    return s


def _token_mistakes(s: SimpleNamespace) -> list[Mistake]:
    """What usually goes wrong in tokens, with or without a loop."""
    i, front, plain = s.ids, torch.arange(3), s.of(s.ids)
    embeddings = "Every variable's vector belongs to its id, as its weights do."
    return [
        (s.of(front) + s.bias[front] + s.embedding[i], "Your first channel is read with the weights of variable 0, whatever its id says.", "The position of a channel in the input is not the number of its variable."),
        (s.of(front) + s.bias[front] + s.embedding[front], "You use the first rows of every parameter, whatever the ids say.", "Look the rows up: a tensor can be indexed with a tensor of ids."),
        (plain + s.bias[i] + s.embedding[front], "The weights follow the ids, but the variable embeddings do not.", embeddings),
        (plain + s.bias[front] + s.embedding[i], "The weights and embeddings follow the ids, but the biases do not.", embeddings),
        (plain + s.bias[i], "The variable embedding is missing.", "Read the equation of a token again: three terms."),
        (plain + s.embedding[i], "The bias is missing.", "Read the equation of a token again: three terms."),
        (plain, "Bias and variable embedding are both missing.", "Read the equation of a token again: three terms."),
    ]  # fmt: skip


def _reshaped(tokens: Tensor) -> Tensor:
    """What (B, L, V, D) becomes when each variable's (B, D, h, w) is reshaped to (B, L, D) without moving an axis."""
    return torch.stack([t.transpose(1, 2).reshape(t.shape) for t in tokens.unbind(2)], 2)


@checker
def variable_ids(function: Any) -> Verdict:
    """Names → their numbers in the list of known variables."""
    known = ("mask", "height", "t2m", "z500", "u500")
    wanted = ["z500", "mask", "t2m"]
    answer = attempt(function, wanted, known)
    if isinstance(answer, (list, tuple)):
        return wrong("Expected a tensor of ids, got a list.", "torch.tensor makes one of the other.")
    if not isinstance(answer, Tensor) or answer.shape != (3,):
        return wrong("Expected a tensor with one id for each name.", "Three names make a tensor of shape (3,).")
    if answer.dtype == torch.bool or answer.is_floating_point():
        return wrong("Ids are whole numbers: PyTorch indexes with nothing else.", "Leave the dtype to torch.tensor.")
    mistakes: list[Mistake] = [
        ([0, 2, 3], "These are the right ids in the order of the known variables. The source has another order.", "Go through `names`, and look each of them up in `known`."),
        ([0, 1, 2], "These are positions in the input.", "Which row of `known` holds each name?"),
        ([4, 1, 3], "You count from 1.", "Python counts from 0."),
    ]  # fmt: skip
    otherwise = f"For {wanted} expected the ids [3, 0, 2], got {answer.tolist()}."
    expect(answer, [3, 0, 2], mistakes, otherwise, "Look each name up in `known`.")
    try:
        function(["t2m", "z50", "sst"], known)
    except ValueError as error:
        if "z50" in str(error) and "sst" in str(error):
            return right("Right: from here on a channel is known by its name, not by its place.")
        return wrong(
            "An unknown name is an error, but the sentence does not name every unknown variable.",
            "Collect the names that are not in `known` first, then raise ValueError with all of them.",
        )
    except Exception as error:
        return wrong(
            f"An unknown name raised {type(error).__name__}; the docstring says ValueError.", "raise ValueError(...)"
        )
    return wrong(
        "A name that the model does not know passed without an error.",
        "A wrong id is a wrong forecast: raise ValueError.",
    )


@checker
def tokens_by_loop(function: Any) -> Verdict:
    """One convolution per variable, as the official code does it."""
    s = _probe(2, 0, 1)  # every id is a channel too, so that taking one for the other gives tokens, and can be named
    convolutions: list[Any] = [nn.Conv2d(1, s.d, s.p, stride=s.p) for _ in range(KNOWN)]
    with torch.no_grad():
        for c, w, b in zip(convolutions, s.weight, s.bias, strict=True):
            c.weight.copy_(w.view(s.d, 1, s.p, s.p))
            c.bias.copy_(b)
    answer = attempt(function, s.x, nn.ModuleList(convolutions), s.embedding, s.ids)
    answer = _tensor(answer, (2, 6, 3, 3), "(B, L, V, D)")
    expected = s.of(s.ids) + (s.bias + s.embedding)[s.ids]
    by_column = expected.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
    token = s.of(s.ids) + s.bias[s.ids]
    mistakes: list[Mistake] = [
        *_token_mistakes(s),
        (s.of(s.ids, s.patches[:, :, s.ids]) + (s.bias + s.embedding)[s.ids], "You took channel k of x, where k is the id.", "The channel's place in x is v; k says whose weights read it."),
        (by_column, "The patches are counted column by column.", "flatten(2) of (B, D, rows, columns) counts row by row."),
        (expected.transpose(2, 3), "Variables and numbers of the token have changed places.", "Here V and D are both 3, so no shape warned you."),
        (_reshaped(token) + s.embedding[s.ids], "A reshape has mixed places and the D numbers of a token.", "`reshape` never swaps axes: flatten(2), then transpose(1, 2)."),
        (_reshaped(expected), "A reshape at the end has mixed places and the D numbers of a token.", "`reshape` never swaps axes: flatten(2), then transpose(1, 2)."),
    ]  # fmt: skip
    hint = "Try it on the example *By hand* of the chapter."
    expect(answer, expected, mistakes, "These are not the tokens.", hint, "tokens", atol=1e-5)
    return right("Right: this is what the official model does, variable after variable.")


@checker
def variable_tokenizer(tokenizer: Any) -> Verdict:
    """The module: parameters of every known variable, tokens of those that came."""
    if isinstance(tokenizer, nn.Module):
        return wrong("Expected the class, got a network made from it.", "Leave out the parentheses.")
    if not (isinstance(tokenizer, type) and issubclass(tokenizer, nn.Module)):
        return wrong("Expected a class that derives from nn.Module.", "Pass the class itself.")
    s = _probe()
    net = attempt(tokenizer, KNOWN, s.p, s.d)
    shapes = {"weight": s.weight.shape, "bias": s.bias.shape, "embedding": s.embedding.shape}
    if {k: v.shape for k, v in net.named_parameters()} != shapes:
        return wrong(
            "The parameters should be weight (K, D, P), bias (K, D) and embedding (K, D).",
            "Leave __init__ as it was given: the weights of the official model fit these shapes.",
        )
    with torch.no_grad():
        for name in shapes:
            getattr(net, name).copy_(getattr(s, name))
    answer = _tensor(attempt(net.forward, s.patches, s.ids), (2, 6, 3, 3), "(B, L, V, D)")
    expected = s.of(s.ids) + (s.bias + s.embedding)[s.ids]
    mistakes: list[Mistake] = [
        *_token_mistakes(s),
        (expected.transpose(2, 3), "Variables and numbers of the token have changed places.", "Here V and D are both 3, so no shape warned you."),
        (expected.sum(2, keepdim=True).expand_as(expected), "The sum runs over the variables too.", "In einsum a letter that is missing behind the arrow is summed."),
    ]  # fmt: skip
    hint = "Try it on the example *By hand* of the chapter."
    expect(answer, expected, mistakes, "These are not the tokens.", hint, "tokens", atol=1e-5)
    if not answer.requires_grad:
        return wrong(
            "The tokens are right, but no gradient reaches the parameters.", "Leave out .detach() and no_grad."
        )
    answer.sum().backward()
    for name in shapes:
        grad = getattr(net, name).grad
        if grad is None or not bool(grad[s.ids].abs().sum() > 0):
            return wrong(f"The tokens are right, but no gradient reaches `{name}`.", "Use the parameters, not copies.")
    one = attempt(net.forward, s.patches[:1, :4, 1:2], s.ids[1:2])
    if not isinstance(one, Tensor) or not same(one, expected[:1, :4, 1:2], atol=1e-5):
        return wrong("Right for three variables, wrong for one of them alone.", "Take V from the ids, not from K.")
    return right("Right: one product, any subset, any order.")


@checker
def stacked_tokens(function: Any) -> Verdict:
    """Both layouts of an official state dict → weight (K, D, P) and bias (K, D)."""
    k, d = 12, 3
    kernel, bias = random(k, d, 1, 2, 2).float(), random(k, d, seed=1).float()
    weight = kernel.flatten(2)
    rest = {"var_embed": torch.zeros(1, k, d), "blocks.0.attn.proj.weight": torch.zeros(d, d)}
    serial = dict(rest)
    lexical = sorted(range(k), key=str)
    for i in lexical:  # an order of keys on which nobody should rely
        serial |= {f"token_embeds.{i}.proj.weight": kernel[i], f"token_embeds.{i}.proj.bias": bias[i]}
    parallel = rest | {"token_embeds.proj_weights": kernel, "token_embeds.proj_biases": bias}
    for layout, state in (("serial", serial), ("parallel", parallel)):
        answer = attempt(function, state)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Expected a pair, weight and bias.", "return weight, bias")
        w, b = answer
        if not isinstance(w, Tensor) or not isinstance(b, Tensor):
            return wrong(f"In the {layout} layout expected two tensors.", "torch.stack makes one of a list.")
        if w.shape == bias.shape and b.shape == weight.shape:
            return wrong("Weight and bias have changed places.", "return weight, bias")
        if w.shape == kernel.shape:
            return wrong(
                f"In the {layout} layout the weight is still a stack of kernels, (K, D, 1, p, p).",
                "flatten(2) joins the last three axes into P.",
            )
        if w.shape != weight.shape or b.shape != bias.shape:
            return wrong(
                f"In the {layout} layout expected weight {tuple(weight.shape)} and bias {tuple(bias.shape)}, got {tuple(w.shape)} and {tuple(b.shape)}.",
                "There are 12 variables, D = 3 and P = 4 here.",
            )
        if same(w, weight[lexical]) or same(b, bias[lexical]):
            return wrong(
                "The variables are in the order of the keys: 0, 1, 10, 11, 2, … Text sorts 10 before 2.",
                "Count with range, and build each key from the number.",
            )
        if not same(w, weight) or not same(b, bias):
            return wrong(f"In the {layout} layout the values are not those of the file.", "Flatten, and nothing else.")
    return right("Right: two layouts, one meaning.")


@checker
def tokens_by_grouped_convolution(function: Any) -> Verdict:
    """All variables in one grouped convolution, as the parallel layout does it."""
    s = _probe()
    x = torch.cat([s.x, s.x[:, :1].flip(3)], 1)  # four variables: V and D differ
    ids = torch.tensor([3, 0, 4, 1])
    args = (x, s.weight.view(KNOWN, s.d, 1, s.p, s.p), s.bias, ids)
    each = [F.conv2d(x[:, v : v + 1], args[1][i], s.bias[i], stride=2).flatten(2) for v, i in enumerate(ids)]
    expected = torch.stack(each, 1).permute(0, 3, 1, 2)
    answer = _tensor(attempt(function, *args), (2, 6, 4, 3), "(B, L, V, D)")
    grouped = expected.permute(0, 2, 3, 1).flatten(1, 2)  # (B, V·D, L), as conv2d returns it
    by_d = grouped.unflatten(1, (3, 4)).permute(0, 3, 2, 1)
    rows = torch.arange(4)
    front = [F.conv2d(x[:, v : v + 1], args[1][i], s.bias[i], stride=2).flatten(2) for v, i in enumerate(rows)]
    mistakes: list[Mistake] = [
        (by_d, "You split the channels as (D, V); a grouped convolution gives all D numbers of one group first.", "unflatten(1, (V, D))."),
        (torch.stack(front, 1).permute(0, 3, 1, 2), "You use the first rows of the kernels, whatever the ids say.", "Look the kernels and biases up by id."),
        (expected - s.bias[ids], "The bias is missing.", "conv2d takes a bias of V·D numbers."),
        (grouped.reshape(2, 6, 4, 3), "A reshape has mixed the axes.", "`reshape` never swaps axes: permute."),
    ]  # fmt: skip
    expect(
        answer,
        expected,
        mistakes,
        "These are not the tokens.",
        "Compare with a loop over variables.",
        "tokens",
        atol=1e-5,
    )
    return right("Right: this is the official parallel embedding.")


@checker
def add_variable(function: Any) -> Verdict:
    """A tokenizer that knows one variable more, and has forgotten nothing."""
    from ..model import VariableTokenizer

    s = _probe()
    torch.manual_seed(0)
    old = VariableTokenizer(KNOWN, s.p, s.d)
    with torch.no_grad():
        for name in ("weight", "bias", "embedding"):
            getattr(old, name).copy_(getattr(s, name))
    new = attempt(function, old)
    if new is old:
        return wrong("You returned the old tokenizer.", "Make a new VariableTokenizer with one variable more.")
    if not isinstance(new, VariableTokenizer):
        return wrong("Expected a VariableTokenizer with its three parameters.", "Return the new module.")
    if len(new.weight) != KNOWN + 1:
        return wrong(
            f"Expected {KNOWN + 1} variables, got {len(new.weight)}.", "len(old.weight) variables were known before."
        )
    for name in ("weight", "bias", "embedding"):
        before, after = getattr(s, name), getattr(new, name).detach()
        if same(after[1:], before):
            return wrong("The new variable has come first: every old id is off by one.", "Append it at the end.")
        if not same(after[:-1], before):
            return wrong(f"The old rows of `{name}` have changed: what was learned is lost.", "Copy the first K rows.")
    fresh = new.weight.detach()[-1]
    if any(same(fresh, row) for row in s.weight):
        return wrong("The new row is a copy of an old variable's.", "Draw it: a normal distribution, 0.02 wide.")
    if not bool(torch.isfinite(fresh).all()) or float(fresh.abs().max()) > 100:
        return wrong(
            "The new row of `weight` holds whatever was in memory.", "torch.empty does not fill: initialise the row."
        )
    if float(fresh.std()) == 0:
        return wrong("The new row of `weight` should be random.", "nn.init.normal_ fills a slice.")
    many = VariableTokenizer(1, 8, 64)  # 4096 numbers: their standard deviation is known to about one percent
    with torch.no_grad():
        for parameter in many.parameters():
            parameter.zero_()
    width = float(attempt(function, many).weight.detach()[-1].std())
    if not abs(width / 0.02 - 1) < 0.1:
        return wrong(
            f"The new row of `weight` has the standard deviation {width:.2g}, not 0.02.",
            "nn.init.normal_ takes `std`, the root of the variance.",
        )
    if float(new.bias.detach()[-1].abs().max()) > 0 or float(new.embedding.detach()[-1].abs().max()) > 0:
        return wrong("The new row of bias and embedding should be zero.", "nn.init.zeros_ on the last row.")
    for name, parameter in new.named_parameters():
        if not parameter.requires_grad:
            return wrong(f"`{name}` of the new tokenizer cannot learn.", "Leave requires_grad as the module sets it.")
    with torch.no_grad():
        new.weight.add_(1.0)
    if not same(old.weight.detach(), s.weight):
        return wrong("Old and new share their memory: training one changes the other.", "Copy with copy_ or clone.")
    return right("Right: the old variables keep their ids and their weights.")


__all__ = [
    "add_variable", "stacked_tokens", "tokens_by_grouped_convolution", "tokens_by_loop", "variable_ids", "variable_tokenizer",
]  # fmt: skip
