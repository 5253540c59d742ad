"""Checks of the chapter *Lead-time conditioning and the head*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .verdict import Verdict, attempt, checker, right, wrong

Mistakes = dict[str, tuple[Any, str]]
"""{sentence: (the value it gives, or a list of values, hint)}"""


def _tensor(answer: Any) -> Tensor:
    """Whatever the learner returned, as float64 without a gradient."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().double()
    return torch.as_tensor(np.asarray(answer, dtype=np.float64))


def _near(answer: Any, expected: Any) -> bool:
    answer, expected = _tensor(answer), _tensor(expected)
    return answer.shape == expected.shape and torch.allclose(answer, expected, rtol=1e-4, atol=1e-4)


def _fault(answer: Any, expected: Tensor, mistakes: Mistakes, sentence: str, hint: str) -> Verdict | None:
    """The first known mistake that gives this answer, then a wrong shape, then `sentence`; None for the expected answer."""
    if _near(answer, expected):
        return None
    for known, (values, help_) in mistakes.items():
        if any(_near(answer, value) for value in (values if isinstance(values, list) else [values])):
            return wrong(known, help_)
    found = tuple(_tensor(answer).shape)
    if found != tuple(expected.shape):
        return wrong(f"Expected the shape {tuple(expected.shape)}, got {found}.", hint)
    return wrong(sentence, hint)


def _pair(answer: Any, what: str) -> tuple[Any, Any] | Verdict:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return wrong(f"Expected a pair, {what}, got {type(answer).__name__}.", "return a, b")
    return answer[0], answer[1]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@checker
def add_lead_time(function: Any) -> Verdict:
    """tokens + w · hours / 100 + b, the same vector on every patch of a sample."""
    weight, bias = _random(4, 1, seed=1), _random(4, seed=2)
    # As many samples as patches: no shape will complain when the two are mixed up.
    tokens, hours = _random(3, 3, 4), torch.tensor([6.0, 96.0, 168.0])

    def vectors(scaled: Tensor, b: Tensor = bias) -> Tensor:
        return F.linear(scaled[:, None], weight, b)

    lead = vectors(hours / 100)
    first = tokens.clone()
    first[:, 0] += lead
    mistakes: Mistakes = {
        "The hours were not divided by 100.": (tokens + vectors(hours)[:, None], "168 h enters the linear map as 1.68."),
        "The hours have another unit than ClimaX's, hours / 100.": (
            [tokens + vectors(hours * f)[:, None] for f in (1 / 24, 1 / 168, 1 / 6, 100.0, 1 / 1000)],
            "168 h enters the linear map as 1.68."),
        "The bias is missing.": (tokens + vectors(hours / 100, 0 * bias)[:, None], "w · hours / 100 + b."),
        "The bias was multiplied by the lead time too.": (
            tokens + ((hours / 100)[:, None] * (weight[:, 0] + bias))[:, None], "w · hours / 100 + b: only w meets the hours."),
        "Patch 0 got the lead time of sample 0, patch 1 that of sample 1: (B, D) was read as (L, D).": (
            tokens + lead, "A vector for each sample must become (B, 1, D) before it meets (B, L, D)."),
        "Only the first patch got the vector.": (first, "Every patch of a sample gets it."),
        "All samples got the lead time of the first one.": (tokens + lead[0], "Each sample has its own."),
        "Each sample got another sample's lead time.": (
            [tokens + lead.flip(0)[:, None], tokens + lead.roll(1, 0)[:, None]], "Keep the order of the samples."),
        "The tokens were multiplied by the vector.": (tokens * lead[:, None], "It is added."),
        "These are the vectors alone.": ([lead, lead[:, None], lead[:, None].expand(3, 3, 4)], "Add them to the tokens."),
    }  # fmt: skip
    kept = tokens.clone()
    answer = attempt(function, kept, hours, weight, bias)
    sentence, hint = "This is not tokens + w · hours / 100 + b.", "One linear map, from one number to D numbers."
    if (fault := _fault(answer, tokens + lead[:, None], mistakes, sentence, hint)) is not None:
        return fault
    if not torch.equal(kept, tokens):
        return wrong("Your function changes the tokens in place.", "tokens + ... makes a new tensor; += does not.")
    wide, whole = _random(2, 5, 4, seed=3), torch.tensor([6, 168])
    if not _near(attempt(function, wide, whole, weight, bias), wide + vectors(whole / 100)[:, None]):
        return wrong("Wrong for two samples of five patches.", "Take all sizes from the shapes.")
    return right("Right: every patch is told how far ahead to look.")


@checker
def draw_pairs(function: Any) -> Verdict:
    """Random initial states and lead times of 6 to 168 h, both ends included."""
    times, count = 400, 280_000  # so many that the rarest pair comes about 27 times
    pairs = []
    for _ in range(2):
        answer = attempt(function, times, count, torch.Generator().manual_seed(0))
        pair = _pair(answer, "initial states and lead times in hours")
        if isinstance(pair, Verdict):
            return pair
        pairs.append(pair)
    start, hours = (_tensor(part) for part in pairs[0])
    if tuple(start.shape) != (count,) or tuple(hours.shape) != (count,):
        return wrong(
            f"Expected two arrays of the shape ({count},), got {tuple(start.shape)} and {tuple(hours.shape)}.",
            "One initial state and one lead time for each of `count` samples.",
        )
    if not _near(start, pairs[1][0]) or not _near(hours, pairs[1][1]):
        return wrong("The same seed gives other pairs.", "Hand `generator=chooser` to every torch.randint.")
    first, low, high = float(start.min()), float(hours.min()), float(hours.max())
    last = start + hours / 6
    share = torch.bincount((hours / 6).long().clamp(0, 28), minlength=29)[1:] / count * 28
    odd = int((share - 1).abs().argmax())
    # Equal draws make groups of starts that differ by 6 h or more; right ones by about 2 h at most.
    apart = max(
        float((hours[group].mean() - hours[~group].mean()).abs()) for group in (start % 2 == 0, start < times / 2)
    )
    kind = str(pairs[0][0].dtype) if hasattr(pairs[0][0], "dtype") else str(np.asarray(pairs[0][0]).dtype)
    cases = (
        (low == high, "All samples have the same lead time.", "Ask torch.randint for `count` numbers: (count,)."),
        (low < 6 and high in (27, 28, 29), "These are steps of the record, and hours were asked for.", "A step is six hours."),
        ((hours % 6 != 0).any(), "Some lead times have no state in a 6-hourly record.", "Draw steps, not hours."),
        (low <= 0, "A lead time of 0 h was drawn: the answer is the question.", "The shortest is one step."),
        (high > 168, f"A lead time of {high:g} h was drawn: 168 h is the longest.", "How many steps are 168 h?"),
        (high < 168, f"168 h was never drawn, the longest lead time was {high:g} h.", "torch.randint never draws its upper end."),
        (low > 6, f"6 h was never drawn, the shortest lead time was {low:g} h.", "One step is the shortest."),
        (abs(share[odd] - 1) > 0.1,
         f"The lead times are not equally likely: {6 * odd + 6} h comes {float(share[odd]):.1f} times as often as it should.",
         "Draw the steps from 1 to 28 first, and keep what you have drawn."),
        (apart > 4, "The start and the lead time depend on each other.",
         "Draw the one after the other, with the same generator, and never set it back."),
        ("int" not in kind, f"The initial states must be whole numbers: {kind} cannot index a record.", "torch.randint."),
        (first == float(start.max()), "All samples start from the same state.", "Draw one initial state for each sample."),
        (first < 0, "Negative numbers of states count from the end of the record.", "The first state is 0."),
        (last.max() >= times, f"State {int(last.max())} was asked for, and the last of {times} states is {times - 1}.",
         "The start must leave room for the lead time."),
        (start.max() == times - 169, "168 h were taken for 168 steps: the last states of the record are lost.", "168 h are 28 steps."),
        (first > 0, "State 0 is never an initial state.", "The lower end of torch.randint is drawn."),
        (last.max() < times - 1, f"The last state, {times - 1}, is never forecast.", "N states have N − 28 pairs 168 h apart."),
    )  # fmt: skip
    for failed, sentence, hint in cases:
        if failed:
            return wrong(sentence, hint)
    return right("Right: 28 lead times, all equally likely, and every pair lies in the record.")


@checker
def unpatchify(function: Any) -> Verdict:
    """(B, L, P · V) → (B, V, H, W), the variable fastest."""
    numbers = torch.arange(2 * 6 * 12.0).reshape(2, 6, 12)

    def made(split: str, join: str = "b v (h p) (w q)") -> Tensor:
        return rearrange(numbers, f"b {split} -> {join}", h=2, w=3, p=2, q=2, v=3)

    ours = "(h w) (p q v)"
    mistakes: Mistakes = {
        "You read the variable slowest: pixels of one variable side by side. The official order has the variable fastest.": (
            [made("(h w) (v p q)"), made("(h w) (v q p)")], "The first V numbers are the first pixel of all V variables."),
        "Each patch is transposed, mirrored at its diagonal: its pixels were read column by column.": (
            made("(h w) (q p v)"), "In a patch the column j runs faster than the row i."),
        "The patches were laid out column by column.": (made("(w h) (p q v)"), "Patch 1 is the eastern neighbour of patch 0."),
        "The pixels went to the wrong patches: you joined (p, H / p) in place of (H / p, p).": (
            [made(ours, f"b v {join}") for join in ("(p h) (q w)", "(h p) (q w)", "(p h) (w q)")],
            "The row of a cell is (row of its patch) · p + (row in its patch)."),
        "A reshape alone has mixed everything: it never moves a number.": (
            [numbers.reshape(2, 3, 4, 6), numbers.reshape(2, 4, 6, 3).permute(0, 3, 1, 2), made(ours, "b v (h w p q)").reshape(2, 3, 4, 6)],
            "Split, permute, join."),
        "The variables come last.": (made(ours, "b (h p) (w q) v"), "(B, V, H, W)."),
        "Latitude and longitude have changed places.": (made(ours, "b v (w q) (h p)"), "(B, V, H, W)."),
    }  # fmt: skip
    sentence, hint = "A number is at the wrong place.", "Put torch.arange in. Number 1 is pixel (0, 0) of v = 1."
    if (fault := _fault(attempt(function, numbers, (4, 6), 2, 3), made(ours), mistakes, sentence, hint)) is not None:
        return fault
    one = torch.arange(18.0).reshape(1, 2, 9)
    if not _near(attempt(function, one, (3, 6), 3, 1), rearrange(one, "b w (p q) -> b 1 p (w q)", p=3)):
        return wrong("Wrong for one variable in patches of 3 × 3.", "Take all sizes from the arguments.")
    return right("Right: the tokens are fields again.")


@checker
def head_rows(function: Any) -> Verdict:
    """The rows of the last linear map that belong to the asked variables."""
    known, pixels, ids = 5, 4, torch.tensor([3, 0])
    weight, bias = _random(pixels * known, 3), _random(pixels * known, seed=1)
    pair = _pair(attempt(function, weight, bias, ids, known), "weight and bias")
    if isinstance(pair, Verdict):
        return pair
    for name, answer, t in zip(("weight", "bias"), pair, (weight, bias), strict=True):
        by_pixel, by_variable = t.unflatten(0, (pixels, known)), t.unflatten(0, (known, pixels))
        chosen = by_pixel[:, ids]
        mistakes: Mistakes = {
            "You took P rows side by side for each variable: its rows stand V apart.": (
                [by_variable[ids].flatten(0, 1), by_variable[ids].transpose(0, 1).flatten(0, 1)], "Row (i·p + j)·V + v."),
            "The rows are right, and in the wrong order: in your result the variable is slowest.": (
                chosen.transpose(0, 1).flatten(0, 1), "The same order as before, with two variables in place of five."),
            "The variables are in the order of the model, not in the order of the ids.": (
                by_pixel[:, ids.sort().values].flatten(0, 1), "Index with ids: no mask, no sort."),
            "These are the rows of one pixel only.": (t[ids], "Each variable has P rows."),
            "P and V are still two axes.": (chosen, "flatten(0, 1)."),
            f"All rows of `{name}` are there: nothing was chosen.": (t, "Five variables are known, two are asked for."),
        }  # fmt: skip
        sentence, hint = f"These are not the rows of `{name}` that belong to the variables.", "Row (i·p + j)·V + v."
        if (fault := _fault(answer, chosen.flatten(0, 1), mistakes, sentence, hint)) is not None:
            return fault
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

    mistakes: Mistakes = {
        "This is one step of 60 h.": (chain(60), "No step may be longer than `stride`."),
        "Each step started from the first state again.": ([chain(12), chain(24)], "A step starts where the last one ended."),
        "The last 12 h are missing.": (chain(24, 24), "A conditioned network can make a shorter step."),
        "The last step went too far: 72 h.": (chain(24, 24, 24), "What is left after 48 h?"),
        "The lead time grew from step to step: each forecast already starts later.": (
            [chain(24, 48, 60), chain(24, 48, 72), chain(24, 48, 12), chain(24, 48)],
            "The lead time counts from the state that you put in."),
        "The short step came first.": (chain(12, 24, 24), "Whole strides first."),
        "A step of 0 h too many.": ([chain(0, 24, 24, 12), chain(24, 24, 12, 0)], "Stop when nothing is left."),
    }  # fmt: skip
    sentence, hint = "60 h in strides of 24 h are steps of 24, 24 and 12 h.", "x = forecast(x, step), in a loop."
    answer = attempt(function, forecast, 1.0, 60, 24)
    if (fault := _fault(answer, chain(24, 24, 12), mistakes, sentence, hint)) is not None:
        return fault
    if not _near(attempt(function, forecast, 1.0, 48, 24), chain(24, 24)):
        return wrong("48 h in strides of 24 h are two steps, and yours differ.", "Make no step of 0 h.")
    if not _near(attempt(function, forecast, 1.0, 6, 24), chain(6)):
        return wrong("6 h are one step of 6 h, although the stride is 24 h.", "min(stride, what is left).")
    return right("Right: one network, any lead time, in any number of steps.")


@checker
def add_output(function: Any) -> Verdict:
    """A head that knows one variable more, and has forgotten nothing."""
    known, pixels = 3, 4
    weight, bias = _random(pixels * known, 2), _random(pixels * known, seed=1)
    pair = _pair(attempt(function, weight, bias, known), "weight and bias")
    if isinstance(pair, Verdict):
        return pair
    for name, answer, t in zip(("weight", "bias"), pair, (weight, bias), strict=True):
        old = t.unflatten(0, (pixels, known))
        new = torch.zeros_like(old[:, :1])
        mistakes: Mistakes = {
            "The P new rows stand at the end: with the variable fastest this moves the rows of all old variables.": (
                torch.cat([t, new[:, 0]]), "Each pixel's V rows become V + 1: the new ones lie between the old."),
            "The new variable has come first: every old id is off by one.": (
                torch.cat([new, old], 1).flatten(0, 1), "Append it as the last variable."),
            f"`{name}` is as long as before.": (t, "P · (V + 1) rows."),
        }  # fmt: skip
        expected = torch.cat([old, new], 1).flatten(0, 1)
        kept = len(_tensor(answer)) == len(expected) and _near(_tensor(answer).unflatten(0, (pixels, -1))[:, :-1], old)
        sentence = (
            "The new rows of `{}` are not zero." if kept else "Rows of old variables in `{}` have changed or moved."
        )
        hint = "Zero rows forecast the mean." if kept else "Row (i·p + j)·(V + 1) + v."
        if (fault := _fault(answer, expected, mistakes, sentence.format(name), hint)) is not None:
            return fault
    return right("Right: the old forecasts stay as they were, to the last digit.")


__all__ = ["add_lead_time", "add_output", "draw_pairs", "head_rows", "rollout", "unpatchify"]
