"""Checkers of *Fine-tuning*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..forecaster import Forecaster
from ..metrics import block_bootstrap
from ..model import ClimaX, ClimaXConfig
from .answers import Mistake, alike, array, either, expect, first, random, same
from .verdict import Verdict, attempt, checker, right, wrong


def _is_free(policy: str, name: str) -> bool:
    """What the docstring of the round says."""
    if policy == "full":
        return True
    if policy == "head":
        return name.startswith("net.head.") or name == "log_tau"
    return not ("net.blocks." in name and (".attn." in name or ".mlp." in name))


@checker
def apply_policy(function: Any) -> Verdict:
    """`apply_policy(model, policy)`: sets `requires_grad`; returns how many numbers are free."""
    config = ClimaXConfig(("a", "b", "c"), (8, 16), patch_size=4, embed_dim=16, depth=2, num_heads=2)
    model = Forecaster(ClimaX(config))
    parameters = dict(model.named_parameters())
    before = {n: p.detach().clone() for n, p in parameters.items()}
    order = ("frozen", "head", "full", "frozen")  # one after the other on the same model
    answers, found = [], []
    for policy in order:
        answers.append(attempt(function, model, policy))
        found.append({n for n, p in parameters.items() if p.requires_grad})
    expected = [{n for n in parameters if _is_free(policy, n)} for policy in order]
    blocks = {n for n in parameters if ".blocks." in n}
    norms = {n for n in parameters if "norm" in n}
    cases: list[Mistake] = [
        (any(not torch.equal(before[n], p) for n, p in parameters.items()), "Your function changes the weights themselves.", "Only `parameter.requires_grad` is to be set."),
        (all(f == set(parameters) for f in found), "Every parameter is still free under every policy.", "`parameter.requires_grad = True or False`, for each of `model.named_parameters()`."),
        (found[2] != expected[2] and found[2] == found[1],
         "What one policy has fixed, the next one does not free again.", "Set `requires_grad` of every parameter, to True or to False."),
        (found[0] == set(parameters) - expected[0], "'frozen' is upside down: attention and MLPs are free, and the rest is fixed.", "`not`"),
        (found[0] == set(parameters) - blocks, "'frozen' fixes the norms of the blocks too; they stay free.", "Look for `.attn.` and `.mlp.` in the name."),
        (found[0] == expected[0] - norms, "'frozen' fixes the norms; they stay free.", "Attention and MLPs are fixed, and nothing else."),
        (found[0] == {n for n in expected[0] if ".aggregation." not in n}, "'frozen' fixes the aggregation too: that is an attention, but not one of the blocks.", "Ask for `.blocks.` in the name as well."),
        ("log_tau" not in found[1], "Policy 'head': log_tau is fixed. The damping times belong to what makes a forecast of the output.", "One more name to compare with."),
        (found[1] == expected[1] | {"net.norm.weight", "net.norm.bias"}, "Policy 'head' frees the last norm too.", "net.norm is not in net.head."),
    ]  # fmt: skip
    for policy, mine, theirs in zip(order, found, expected, strict=True):
        for names, what in ((mine - theirs, "free"), (theirs - mine, "fixed")):
            cases.append((bool(names), f"Policy {policy!r}: {min(names, default='')} is {what}, and should not be.", "Compare with the list of the docstring."))  # fmt: skip
    if not (known := first(cases, right(""))).ok:
        return known
    count = [sum(parameters[n].numel() for n in e) for e in expected]
    given = [float(a) for a in answers]
    total = sum(p.numel() for p in parameters.values())
    cases = [
        (given == [len(e) for e in expected], "You counted tensors, not numbers.", "parameter.numel()"),
        (given == [total] * 4, "You counted all parameters, the fixed ones too.", "Only those that have `requires_grad`."),
        (given == [total - c for c in count], "You counted the fixed numbers.", "The free ones are asked for."),
        (given != count, f"'frozen' leaves {count[0]} numbers of this small model free, and you count {given[0]:g}.", "Sum parameter.numel() over those that have `requires_grad`."),
    ]  # fmt: skip
    return first(cases, right(f"Right: of the {total} numbers of a small model, 'frozen' leaves {count[0]} free and 'head' {count[1]}."))  # fmt: skip


@checker
def with_rows(function: Any) -> Verdict:
    """`with_rows(old, fresh, known)`: the rows of a wider head, those of the known variables from the old one."""
    pixels, known, wide = 4, 3, 5
    old, fresh = random(pixels * known, 6).float(), random(pixels * wide, 6, seed=1).float()
    kept, kept_old = fresh.clone(), old.clone()
    given = array(attempt(function, old, fresh, known), tuple(fresh.shape), "a tensor like `fresh`")
    if not torch.equal(old, kept_old):
        return wrong("Your function changes `old` in place.", "Write into a clone of `fresh`.")
    by_pixel, new_by_pixel = old.unflatten(0, (pixels, known)), kept.unflatten(0, (pixels, wide))

    def joined(*parts: Tensor) -> Tensor:
        return torch.cat(parts, 1).flatten(0, 1)

    expected = joined(by_pixel, new_by_pixel[:, known:])
    by_one = kept.clone()
    by_one[: pixels * (known + 1)].unflatten(0, (pixels, -1))[:, :known] = by_pixel
    cases: list[Mistake] = [
        (kept, "These are the fresh rows: nothing of the old head was kept.", "A slice of a view is written to with `view[...] = ...`; `reshape` may make a copy."),
        (torch.cat([old, kept[len(old) :]]),
         "The old rows are in one piece at the beginning: the head now gives pixels of one variable to another.", "Row (pixel · V + v) must become row (pixel · V' + v): split the rows into pixels and variables first."),
        (torch.cat([kept[: len(kept) - len(old)], old]), "The old rows are in one piece at the end.", "They alternate with the new ones: the variable is fastest."),
        (joined(by_pixel, new_by_pixel[:, : wide - known]), "The new variables got the rows that belong to other ones of `fresh`.", "Variable 3 of the wide head keeps row 3 of each pixel of `fresh`."),
        (either(joined(new_by_pixel[:, : wide - known], by_pixel), joined(new_by_pixel[:, known:], by_pixel)),
         "At each pixel the new variables come first.", "They are appended: known variables keep their numbers 0, 1, 2, ..."),
        (joined(by_pixel, 0 * new_by_pixel[:, known:]), "The new rows are zero.", "Rows of new variables stay those of `fresh`."),
        (by_one, "The rows are right for one new variable, and there may be more.", "V' = len(fresh) // pixels, not known + 1."),
    ]  # fmt: skip
    expect(given, expected, cases, "These are not the rows of the wide head.",
        "Do it on paper for V = 2, V' = 3 and four pixels: where does row 3 go?")  # fmt: skip
    if not torch.equal(fresh, kept):
        return wrong("Your function changes `fresh` in place.", "fresh.clone()")
    bias, fresh_bias = random(9 * 2, seed=2).float(), random(9 * 3, seed=3).float()
    answer = attempt(function, bias, fresh_bias, 2)
    wanted = torch.cat([bias.view(9, 2), fresh_bias.view(9, 3)[:, 2:]], 1).flatten()
    if not isinstance(answer, Tensor) or not same(answer, wanted):
        return wrong("Right for four pixels, wrong for the bias of nine, which has one axis only.", "Count pixels from the shapes, and leave the axes behind the first alone.")  # fmt: skip
    return right("Right: what the head knew, it still knows, pixel by pixel.")


@checker
def early_stop(function: Any) -> Verdict:
    """`early_stop(losses, patience)` → (kept, stopped), positions in the list of validation losses."""
    long = [1.00, 0.90, 0.85, 0.87, 0.86, 0.88, 0.89, 0.70, 0.60]
    never, at_once, tie = [1.0, 0.9, 0.95, 0.8, 0.85, 0.7], [0.5, 0.6, 0.7, 0.4], [0.5, 0.5, 0.6, 0.4]
    series = ((long, 3), (never, 2), (at_once, 2), (tie, 2))
    answers = []
    for losses, patience in series:
        answer = attempt(function, list(losses), patience)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Expected two positions, (kept, stopped).", "return kept, stopped")
        answers.append(tuple(float(a) for a in answer))
    (kept, stopped), second, third, fourth = answers
    text = ", ".join(f"{x:.2f}" for x in long)
    cases: list[Mistake] = [
        ((kept, stopped) == (5, 2), "The two positions are in the other order.", "(kept, stopped)"),
        (kept == long[2], "You return a loss; the position in the list is asked for.", "0 is the weights before the first step."),
        ((kept, stopped) == (8, 5), "You keep a validation that was never made: training had stopped before.", "Go through the losses in order, and return as soon as patience is at its end."),
        (kept == stopped == 5, "You keep the weights at which it stopped, not the best ones.", "Remember where the lowest loss was."),
        ((kept, stopped) == (2, 6), "It stops one validation too late.", f"{text}: after position 2, the positions 3, 4 and 5 bring nothing better, and the patience is 3."),
        ((kept, stopped) == (2, 4), "It stops one validation too early.", f"{text}: with a patience of 3 it stops at position 5."),
        (stopped == 8, "It never stops.", "Patience counts validations since the best one, not rises from one to the next."),
        (stopped == 3, "It stops at the first loss that is worse: patience is not used.", "Count how many validations ago the best one was."),
        ((kept, stopped) != (2, 5), f"For {text} and a patience of 3, expected kept 2 and stopped 5, got {kept:g} and {stopped:g}.", "Walk through it by hand."),
        (second == (3, 4), "Losses without a better one add up over the whole run.", "A better loss sets the count back to zero."),
        (second != (5, 5), "A run whose patience never ends stops with its last validation.", "return kept, len(losses) - 1"),
        (third != (0, 2), "The weights before the first step do not count for you, and in 0.5, 0.6, 0.7, 0.4 they are the ones to keep.", "Begin with kept = 0."),
        (fourth != (0, 2), "A loss equal to the best counts as better for you.", "It is better when it is lower."),
    ]  # fmt: skip
    return first(cases, right("Right: the best so far is kept, and what comes after the stop is never seen."))


@checker
def blend(function: Any) -> Verdict:
    """`blend(start, tuned, alpha)`: (1 − α) · start + α · tuned, tensor by tensor."""
    start = {"a.weight": random(3, 2).float(), "b": random(4, seed=1).float()}
    tuned = {k: v + random(*v.shape, seed=5).float() for k, v in reversed(start.items())}  # in another order
    kept = {k: v.clone() for k, v in start.items()}, {k: v.clone() for k, v in tuned.items()}
    answer = attempt(function, start, tuned, 0.25)
    if not isinstance(answer, dict) or set(answer) != set(start):
        return wrong("Expected a dictionary with the same names.", "{name: ... for name in start}")
    given = {k: array(answer[k], tuple(v.shape), f"a tensor for {k!r}") for k, v in kept[0].items()}

    def is_mix(a: float, b: float) -> bool:
        return all(same(given[k], a * kept[0][k] + b * kept[1][k]) for k in given)

    changed = any(not torch.equal(now[k], was[k]) for now, was in zip((start, tuned), kept, strict=True) for k in was)
    cases: list[Mistake] = [
        (is_mix(0.25, 0.75), "α and 1 − α are swapped: α = 0 must give the starting weights.", "Try α = 0 by hand."),
        (is_mix(1, 0.25), "The starting weights are not scaled down: the sum of the two parts is more than one.", "(1 − α) · start"),
        (is_mix(0.5, 0.5), "This is the plain mean: α has no effect.", "Use `alpha`."),
        (is_mix(1, 0) or is_mix(0, 1), "This is one of the two networks.", "Every tensor is a mixture."),
        (not is_mix(0.75, 0.25), "This is not (1 − α) · start + α · tuned.", "The names may come in another order: look them up."),
        (changed, "Your function changes one of the networks in place.", "Make new tensors; `+=` and `lerp_` do not."),
    ]  # fmt: skip
    return first(cases, right("Right: one number leads from the starting weights to the tuned ones."))


@checker
def parity(mine: Any, package: Any) -> Verdict:
    """The learner's `with_rows` and `apply_policy`, as numbers, against the package's."""
    alike(("rows of the head", "counts"), mine, package, "rounds 1 and 2", 1e-5)
    return right("Equal: your rows of the head and your counts are the package's.")


@checker
def resize_positions(function: Any) -> Verdict:
    """`resize_positions(pos_embed, old, new)`: (1, L, D) on a map of patches → on another, bicubic."""
    old, new, d = (4, 6), (8, 9), 5
    pos = random(1, 24, d).float()
    given = array(attempt(function, pos.clone(), old, new), (1, 72, d), "one vector for each patch of the new map")
    maps = pos.reshape(1, *old, d).permute(0, 3, 1, 2)

    def back(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1, 2)

    def resized(x: Tensor, size: tuple[int, int] = new, mode: str = "bicubic", corners: bool | None = False) -> Tensor:
        return F.interpolate(x, size=size, mode=mode, align_corners=corners)

    def back_down(x: Tensor) -> Tensor:
        return back(x.mT)

    swapped = pos.reshape(1, old[1], old[0], d).permute(0, 3, 1, 2)
    down = swapped.mT
    cases: list[Mistake] = [
        (back(resized(pos.reshape(1, d, *old))), "The numbers of a token were taken for places: (L, D) was reshaped to (D, rows, columns).", "reshape to (1, rows, columns, D) first, then permute."),
        (resized(maps).reshape(1, 72, d), "On the way back (D, rows, columns) was reshaped to (L, D).", "permute before you flatten."),
        (back(resized(maps, corners=True)), "Your corners are aligned: the centres of the outermost patches were put on top of each other.", "align_corners=False: patches are cells, and the edges of the maps agree."),
        (back(resized(maps, mode="bilinear")), "This is bilinear.", "mode='bicubic', as in the official code."),
        (back(resized(maps, mode="nearest", corners=None)), "This takes the nearest patch.", "mode='bicubic'"),
        (either(back(resized(swapped)), back(resized(swapped, new[::-1])), back(resized(maps, new[::-1])), back(resized(maps.transpose(2, 3)))), "Rows and columns are swapped.", "The patches are numbered row by row: (rows, columns)."),
        (any(same(given, way(resized(m))) for m, way in ((down, back), (maps, back_down))), "You number the patches column by column.", "Row by row: the column runs fastest, on the way there and back."),
        (back(resized(F.pad(maps, (2, 2, 0, 0), "circular"), (8, 15))[..., 3:12]), "You joined the map at the date line: sensible, but the official code does not.", "A flat map: interpolate without padding."),
        (back(F.interpolate(maps, new, mode="bicubic", align_corners=False, antialias=True)), "`antialias` takes another curve.", "Leave it at False, as the official code."),
        (F.interpolate(pos.mT, 72, mode="linear", align_corners=False).mT, "You interpolated along the list of patches, where a row's last patch meets the next row's first.", "Make it a map of rows and columns first."),
    ]  # fmt: skip
    expect(given, back(resized(maps)), cases, "These are not the interpolated vectors.",
        "Each of the D numbers is a flat map of `old` patches, and becomes one of `new` with bicubic and align_corners=False.", atol=1e-5)  # fmt: skip
    return right("Right: old addresses on a new map.")


@checker
def compare(function: Any) -> Verdict:
    """`compare(mine, other, block)`: (mean, times, seeds) of the paired differences of scores (S, T)."""
    rng = np.random.default_rng(4)
    weather = 20 * np.convolve(rng.normal(size=140), np.ones(21) / 21, "valid")
    other = 80 + weather + rng.normal(size=(3, 120)) + np.array([[0.0], [1.0], [-0.5]])
    mine = 76 + 0.9 * weather + rng.normal(size=(3, 120)) + np.array([[0.3], [0.0], [-0.6]])
    answer = attempt(function, mine.copy(), other.copy(), 20)
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        return wrong("Expected three things: (mean, (low, high) over times, (low, high) over seeds).", "return mean, times, seeds")  # fmt: skip
    mean = float(answer[0])
    times, seeds = (array(a, None, "two ends for each interval").ravel() for a in answer[1:])
    if times.shape != (2,) or seeds.shape != (2,):
        return wrong("Expected two ends for each interval.", "(low, high)")
    d = other - mine
    expected, ends = np.array(block_bootstrap(d.mean(0), 20)), np.array([d.mean(1).min(), d.mean(1).max()])
    width = float(np.ptp(expected))

    def near(value: Any, share: float = 0.12) -> bool:
        return bool(np.allclose(times, value, atol=share * width))

    single = block_bootstrap(other.mean(0), 20), block_bootstrap(mine.mean(0), 20)
    cases: list[Mistake] = [
        (np.isclose(mean, -d.mean()), "The sign: positive must mean that mine is better, and a lower score is better.", "other − mine"),
        (not np.isclose(mean, d.mean(), rtol=1e-3), "The mean is not that of all differences.", "other − mine, over seeds and times."),
        (not near(expected) and (near([single[0][0] - single[1][1], single[0][1] - single[1][0]]) or near([single[0][0] - single[1][0], single[0][1] - single[1][1]])),
         "You drew times for each forecaster alone: the weather that they share stays in the interval.", "Take the differences first."),
        (near(block_bootstrap(d.ravel(), 20)) and not near(expected), "The seeds were laid end to end as if they were further times: three times as many, and they share their weather.", "Mean over the seeds first, (T,)."),
        (near(block_bootstrap(d.mean(0), 1)) and not near(expected), "Your interval is too narrow: neighbouring times are drawn as if independent.", "Hand on `block`."),
        (near([d.mean(0).min(), d.mean(0).max()]) or near(np.percentile(d.mean(0), [2.5, 97.5])), "This is the spread of single times, not the uncertainty of their mean.", "block_bootstrap gives the latter."),
        (not near(expected, 0.25), "This is not the block bootstrap of the differences.", "block_bootstrap(series, block), of a series (T,)."),
        (np.allclose(seeds, times), "Both intervals are the same.", "Over seeds: one mean for each seed, then the lowest and the highest."),
        (not np.allclose(seeds, ends, rtol=1e-3, atol=1e-3), "Over seeds expected the lowest and the highest of the seeds' means.", "One mean over times for each seed: (S,)."),
    ]  # fmt: skip
    return first(
        cases, right("Right: times say whether other weather would change the answer, seeds whether another run would.")
    )
