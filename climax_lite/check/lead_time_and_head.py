"""Checks of the chapter *Lead-time conditioning and the head*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .answers import Mistake, either, expect, first, random, same, tensor
from .verdict import Stop, Verdict, attempt, checker, right, wrong


def _pair(answer: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Stop(wrong(f"Expected a pair, {what}, got {type(answer).__name__}.", "return a, b"))
    return answer[0], answer[1]


@checker
def add_lead_time(function: Any) -> Verdict:
    """tokens + w · hours / 100 + b, the same vector on every patch of a sample."""
    weight, bias = random(4, 1, seed=1).float(), random(4, seed=2).float()
    # As many samples as patches: no shape will complain when the two are mixed up.
    tokens, hours = random(3, 3, 4).float(), torch.tensor([6.0, 96.0, 168.0])

    def vectors(scaled: Tensor, b: Tensor = bias) -> Tensor:
        return F.linear(scaled[:, None], weight, b)

    lead = vectors(hours / 100)
    on_the_first = tokens.clone()
    on_the_first[:, 0] += lead
    mistakes: list[Mistake] = [
        (tokens + vectors(hours)[:, None], "The hours were not divided by 100.", "168 h enters the linear map as 1.68."),
        (either(*(tokens + vectors(hours * f)[:, None] for f in (1 / 24, 1 / 168, 1 / 6, 100.0, 1 / 1000)), atol=1e-4), "The hours have another unit than ClimaX's, hours / 100.", "168 h enters the linear map as 1.68."),
        (tokens + vectors(hours / 100, 0 * bias)[:, None], "The bias is missing.", "w · hours / 100 + b."),
        (tokens + ((hours / 100)[:, None] * (weight[:, 0] + bias))[:, None], "The bias was multiplied by the lead time too.", "w · hours / 100 + b: only w meets the hours."),
        (tokens + lead, "Patch 0 got the lead time of sample 0, patch 1 that of sample 1: (B, D) was read as (L, D).", "A vector for each sample must become (B, 1, D) before it meets (B, L, D)."),
        (on_the_first, "Only the first patch got the vector.", "Every patch of a sample gets it."),
        (tokens + lead[0], "All samples got the lead time of the first one.", "Each sample has its own."),
        (either(tokens + lead.flip(0)[:, None], tokens + lead.roll(1, 0)[:, None]), "Each sample got another sample's lead time.", "Keep the order of the samples."),
        (tokens * lead[:, None], "The tokens were multiplied by the vector.", "It is added."),
        (either(lead, lead[:, None], lead[:, None].expand(3, 3, 4)), "These are the vectors alone.", "Add them to the tokens."),
    ]  # fmt: skip
    kept = tokens.clone()
    expect(attempt(function, kept, hours, weight, bias), tokens + lead[:, None], mistakes, "This is not tokens + w · hours / 100 + b.",
        "One linear map, from one number to D numbers.", "as many tokens as before, and as wide", atol=1e-4)  # fmt: skip
    if not torch.equal(kept, tokens):
        return wrong("Your function changes the tokens in place.", "tokens + ... makes a new tensor; += does not.")
    wide, whole = random(2, 5, 4, seed=3).float(), torch.tensor([6, 168])
    if not same(attempt(function, wide, whole, weight, bias), wide + vectors(whole / 100)[:, None], atol=1e-4):
        return wrong("Wrong for two samples of five patches.", "Take all sizes from the shapes.")
    return right("Right: every patch is told how far ahead to look.")


@checker
def draw_pairs(function: Any) -> Verdict:
    """Random initial states and lead times of 6 to 168 h, both ends included."""
    times, count = 400, 280_000  # so many that the rarest pair comes about 27 times
    ours, again = (
        _pair(
            attempt(function, times, count, torch.Generator().manual_seed(0)), "initial states and lead times in hours"
        )
        for _ in range(2)
    )
    hint = "One initial state and one lead time for each of `count` samples."
    start, hours = (tensor(part, (count,), "two arrays, a number in each for every sample", hint) for part in ours)
    if not same(start, again[0]) or not same(hours, again[1]):
        return wrong("The same seed gives other pairs.", "Hand `generator=chooser` to every torch.randint.")
    low, high = float(hours.min()), float(hours.max())
    early, late, last = float(start.min()), float(start.max()), float((start + hours / 6).max())
    share = torch.bincount((hours / 6).long().clamp(0, 28), minlength=29)[1:] / count * 28
    odd = int((share - 1).abs().argmax())
    often = float(share[odd])
    # Equal draws make groups of starts that differ by 6 h or more; right ones by about 2 h at most.
    apart = max(
        float((hours[group].mean() - hours[~group].mean()).abs()) for group in (start % 2 == 0, start < times / 2)
    )
    kind = str(ours[0].dtype if hasattr(ours[0], "dtype") else np.asarray(ours[0]).dtype)
    cases: list[Mistake] = [
        (low == high, "All samples have the same lead time.", "Ask torch.randint for `count` numbers: (count,)."),
        (low < 6 and high in (27, 28, 29), "These are steps of the record, and hours were asked for.", "A step is six hours."),
        (bool((hours % 6 != 0).any()), "Some lead times have no state in a 6-hourly record.", "Draw steps, not hours."),
        (low <= 0, "A lead time of 0 h was drawn: the answer is the question.", "The shortest is one step."),
        (high > 168, f"A lead time of {high:g} h was drawn: 168 h is the longest.", "How many steps are 168 h?"),
        (high < 168, f"168 h was never drawn, the longest lead time was {high:g} h.", "torch.randint never draws its upper end."),
        (low > 6, f"6 h was never drawn, the shortest lead time was {low:g} h.", "One step is the shortest."),
        (abs(often - 1) > 0.1,
         f"The lead times are not equally likely: {6 * odd + 6} h comes {often:.1f} times as often as it should.",
         "Draw the steps from 1 to 28 first, and keep what you have drawn."),
        (apart > 4, "The start and the lead time depend on each other.",
         "Draw the one after the other, with the same generator, and never set it back."),
        ("int" not in kind, f"The initial states must be whole numbers: {kind} cannot index a record.", "torch.randint."),
        (early == late, "All samples start from the same state.", "Draw one initial state for each sample."),
        (early < 0, "Negative numbers of states count from the end of the record.", "The first state is 0."),
        (last >= times, f"State {int(last)} was asked for, and the last of {times} states is {times - 1}.",
         "The start must leave room for the lead time."),
        (late == times - 169, "168 h were taken for 168 steps: the last states of the record are lost.", "168 h are 28 steps."),
        (early > 0, "State 0 is never an initial state.", "The lower end of torch.randint is drawn."),
        (last < times - 1, f"The last state, {times - 1}, is never forecast.", "N states have N − 28 pairs 168 h apart."),
    ]  # fmt: skip
    return first(cases, right("Right: 28 lead times, all equally likely, and every pair lies in the record."))


@checker
def unpatchify(function: Any) -> Verdict:
    """(B, L, P · V) → (B, V, H, W), the variable fastest."""
    numbers = torch.arange(2 * 6 * 12.0).reshape(2, 6, 12)

    def made(split: str, join: str = "b v (h p) (w q)") -> Tensor:
        return rearrange(numbers, f"b {split} -> {join}", h=2, w=3, p=2, q=2, v=3)

    ours = "(h w) (p q v)"
    mistakes: list[Mistake] = [
        (either(made("(h w) (v p q)"), made("(h w) (v q p)")), "You read the variable slowest: pixels of one variable side by side. The official order has the variable fastest.", "The first V numbers are the first pixel of all V variables."),
        (made("(h w) (q p v)"), "Each patch is transposed, mirrored at its diagonal: its pixels were read column by column.", "In a patch the column j runs faster than the row i."),
        (made("(w h) (p q v)"), "The patches were laid out column by column.", "Patch 1 is the eastern neighbour of patch 0."),
        (either(*(made(ours, f"b v {join}") for join in ("(p h) (q w)", "(h p) (q w)", "(p h) (w q)"))), "The pixels went to the wrong patches: you joined (p, H / p) in place of (H / p, p).", "The row of a cell is (row of its patch) · p + (row in its patch)."),
        (either(numbers.reshape(2, 3, 4, 6), numbers.reshape(2, 4, 6, 3).permute(0, 3, 1, 2), made(ours, "b v (h w p q)").reshape(2, 3, 4, 6)), "A reshape alone has mixed everything: it never moves a number.", "Split, permute, join."),
        (made(ours, "b (h p) (w q) v"), "The variables come last.", "(B, V, H, W)."),
        (made(ours, "b v (w q) (h p)"), "Latitude and longitude have changed places.", "(B, V, H, W)."),
    ]  # fmt: skip
    expect(attempt(function, numbers, (4, 6), 2, 3), made(ours), mistakes, "A number is at the wrong place.",
        "Put torch.arange in. Number 1 is pixel (0, 0) of v = 1.", "fields (B, V, H, W)")  # fmt: skip
    one = torch.arange(18.0).reshape(1, 2, 9)
    if not same(attempt(function, one, (3, 6), 3, 1), rearrange(one, "b w (p q) -> b 1 p (w q)", p=3)):
        return wrong("Wrong for one variable in patches of 3 × 3.", "Take all sizes from the arguments.")
    return right("Right: the tokens are fields again.")


@checker
def head_rows(function: Any) -> Verdict:
    """The rows of the last linear map that belong to the asked variables."""
    known, pixels, ids = 5, 4, torch.tensor([3, 0])
    weight, bias = random(pixels * known, 3).float(), random(pixels * known, seed=1).float()
    pair = _pair(attempt(function, weight, bias, ids, known), "weight and bias")
    for name, answer, t in zip(("weight", "bias"), pair, (weight, bias), strict=True):
        by_pixel, by_variable = t.unflatten(0, (pixels, known)), t.unflatten(0, (known, pixels))
        chosen = by_pixel[:, ids]
        mistakes: list[Mistake] = [
            (either(by_variable[ids].flatten(0, 1), by_variable[ids].transpose(0, 1).flatten(0, 1)), "You took P rows side by side for each variable: its rows stand V apart.", "Row (i·p + j)·V + v."),
            (chosen.transpose(0, 1).flatten(0, 1), "The rows are right, and in the wrong order: in your result the variable is slowest.", "The same order as before, with two variables in place of five."),
            (by_pixel[:, ids.sort().values].flatten(0, 1), "The variables are in the order of the model, not in the order of the ids.", "Index with ids: no mask, no sort."),
            (t[ids], "These are the rows of one pixel only.", "Each variable has P rows."),
            (chosen, "P and V are still two axes.", "flatten(0, 1)."),
            (t, f"All rows of `{name}` are there: nothing was chosen.", "Five variables are known, two are asked for."),
        ]  # fmt: skip
        expect(answer, chosen.flatten(0, 1), mistakes, f"These are not the rows of `{name}` that belong to the variables.",
            "Row (i·p + j)·V + v.", f"the rows of `{name}` of two variables")  # fmt: skip
    return right("Right: the same forecast, without the fields that nobody asked for.")


@checker
def rollout(function: Any) -> Verdict:
    """A forecast of a forecast, and the rest with a shorter lead time."""

    def forecast(x: float, hours: float) -> float:
        return 2 * x + float(hours)

    def chain(*leads: int) -> Tensor:
        x = 1.0
        for lead in leads:
            x = forecast(x, lead)
        return torch.tensor(x)

    mistakes: list[Mistake] = [
        (chain(60), "This is one step of 60 h.", "No step may be longer than `stride`."),
        (either(chain(12), chain(24)), "Each step started from the first state again.", "A step starts where the last one ended."),
        (chain(24, 24), "The last 12 h are missing.", "A conditioned network can make a shorter step."),
        (chain(24, 24, 24), "The last step went too far: 72 h.", "What is left after 48 h?"),
        (either(chain(24, 48, 60), chain(24, 48, 72), chain(24, 48, 12), chain(24, 48)), "The lead time grew from step to step: each forecast already starts later.", "The lead time counts from the state that you put in."),
        (chain(12, 24, 24), "The short step came first.", "Whole strides first."),
        (either(chain(0, 24, 24, 12), chain(24, 24, 12, 0)), "A step of 0 h too many.", "Stop when nothing is left."),
    ]  # fmt: skip
    expect(attempt(function, forecast, 1.0, 60, 24), chain(24, 24, 12), mistakes,
        "60 h in strides of 24 h are steps of 24, 24 and 12 h.", "x = forecast(x, step), in a loop.", "the last state")  # fmt: skip
    if not same(attempt(function, forecast, 1.0, 48, 24), chain(24, 24)):
        return wrong("48 h in strides of 24 h are two steps, and yours differ.", "Make no step of 0 h.")
    if not same(attempt(function, forecast, 1.0, 6, 24), chain(6)):
        return wrong("6 h are one step of 6 h, although the stride is 24 h.", "min(stride, what is left).")
    return right("Right: one network, any lead time, in any number of steps.")


@checker
def add_output(function: Any) -> Verdict:
    """A head that knows one variable more, and has forgotten nothing."""
    known, pixels = 3, 4
    weight, bias = random(pixels * known, 2).float(), random(pixels * known, seed=1).float()
    pair = _pair(attempt(function, weight, bias, known), "weight and bias")
    for name, answer, t in zip(("weight", "bias"), pair, (weight, bias), strict=True):
        old = t.unflatten(0, (pixels, known))
        new = torch.zeros_like(old[:, :1])
        expected = torch.cat([old, new], 1)
        mistakes: list[Mistake] = [
            (torch.cat([t, new[:, 0]]), "The P new rows stand at the end: with the variable fastest this moves the rows of all old variables.", "Each pixel's V rows become V + 1: the new ones lie between the old."),
            (torch.cat([new, old], 1).flatten(0, 1), "The new variable has come first: every old id is off by one.", "Append it as the last variable."),
            (t, f"`{name}` is as long as before.", "P · (V + 1) rows."),
            (lambda g, e=expected, o=old: g.shape == e.flatten(0, 1).shape and same(g.reshape(e.shape)[:, :-1], o), f"The new rows of `{name}` are not zero.", "Zero rows forecast the mean."),
        ]  # fmt: skip
        expect(answer, expected.flatten(0, 1), mistakes, f"Rows of old variables in `{name}` have changed or moved.",
            "Row (i·p + j)·(V + 1) + v.", f"the rows of `{name}` of four variables")  # fmt: skip
    return right("Right: the old forecasts stay as they were, to the last digit.")


__all__ = ["add_lead_time", "add_output", "draw_pairs", "head_rows", "rollout", "unpatchify"]
