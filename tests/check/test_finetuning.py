"""The checkers of *Fine-tuning*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import torch
import torch.nn.functional as F

from climax_lite.check import finetuning as check
from climax_lite.metrics import block_bootstrap
from tests.check.exercises import Exercises

# ---------------------------------------------------------------- policies


def free(policy, name):
    if policy == "frozen":
        return not (".blocks." in name and (".attn." in name or ".mlp." in name))
    return policy == "full" or name.startswith("net.head.") or name == "log_tau"


def apply_policy(model, policy, free=free, only_fix=False, count=None):
    for name, parameter in model.named_parameters():
        wanted = free(policy, name)
        if not (only_fix and wanted):
            parameter.requires_grad = wanted
    mine = [p for p in model.parameters() if p.requires_grad]
    return count(model, mine) if count else sum(p.numel() for p in mine)


def frozen_as(rule):
    return lambda model, policy: apply_policy(model, policy, lambda p, n: rule(n) if p == "frozen" else free(p, n))


def head_as(rule):
    return lambda model, policy: apply_policy(model, policy, lambda p, n: rule(n) if p == "head" else free(p, n))


def counting(count):
    return lambda model, policy: apply_policy(model, policy, count=count)


def zeroing(model, policy):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    return apply_policy(model, policy)


# ---------------------------------------------------------------- rows


def with_rows(old, fresh, known):
    pixels = len(old) // known
    rows = fresh.clone().unflatten(0, (pixels, -1))
    rows[:, :known] = old.unflatten(0, (pixels, known))
    return rows.flatten(0, 1)


def in_one_piece(old, fresh, known, start=0):
    out = fresh.clone()
    out[start : start + len(old)] = old
    return out


def at_the_end(old, fresh, known):
    return in_one_piece(old, fresh, known, len(fresh) - len(old))


def pixel_fastest(old, fresh, known):
    pixels = len(old) // known
    rows = fresh.clone().unflatten(0, (-1, pixels))
    rows[:known] = old.unflatten(0, (known, pixels))
    return rows.flatten(0, 1)


def new_first(old, fresh, known):
    pixels = len(old) // known
    return torch.cat(
        [fresh.view(pixels, -1, *fresh.shape[1:])[:, known:], old.view(pixels, known, *old.shape[1:])], 1
    ).flatten(0, 1)


def wrong_new_rows(old, fresh, known):
    pixels = len(old) // known
    new = len(fresh) // pixels - known
    return torch.cat([old.unflatten(0, (pixels, known)), fresh.unflatten(0, (pixels, -1))[:, :new]], 1).flatten(0, 1)


def one_new(old, fresh, known):
    out = fresh.clone()
    for k in range(len(old) // known):
        for v in range(known):
            out[k * (known + 1) + v] = old[k * known + v]
    return out


def zeros_in_new(old, fresh, known):
    return with_rows(old, torch.zeros_like(fresh), known)


def into_fresh(old, fresh, known):
    fresh.copy_(with_rows(old, fresh, known))
    return fresh


def into_old(old, fresh, known):
    out = with_rows(old, fresh, known)
    old.zero_()
    return out


def matrices_only(old, fresh, known):
    return with_rows(old, fresh, known) if old.ndim == 2 else fresh


# ---------------------------------------------------------------- early stopping


def early_stop(losses, patience, first=0, late=0, equal=False, reset=True, keep="best", against="best"):
    kept, since = first, 0
    for k in range(first + 1, len(losses)):
        than = losses[kept] if against == "best" else losses[k - 1]
        if losses[k] < than or (equal and losses[k] == than):
            kept, since = k, since * (not reset)
        else:
            since += 1
        if since >= patience + late:
            return (kept if keep == "best" else k), k
    return kept, len(losses) - 1


def stopping(**how):
    return lambda losses, patience: early_stop(losses, patience, **how)


def of_all(losses, patience):
    return int(np.argmin(losses)), early_stop(losses, patience)[1]


def lowest_loss(losses, patience):
    kept, stopped = early_stop(losses, patience)
    return losses[kept], stopped


# ---------------------------------------------------------------- blend


def blend(start, tuned, alpha):
    return {k: (1 - alpha) * start[k] + alpha * tuned[k] for k in start}


def by_order(start, tuned, alpha):
    return {k: (1 - alpha) * a + alpha * b for (k, a), b in zip(start.items(), tuned.values(), strict=True)}


def in_place(start, tuned, alpha):
    for k in start:
        start[k].mul_(1 - alpha).add_(alpha * tuned[k])
    return start


# ---------------------------------------------------------------- positions


def resize_positions(pos_embed, old, new, mode="bicubic", corners=False):
    maps = pos_embed.reshape(1, *old, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=new, mode=mode, align_corners=corners)
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def no_permute(pos_embed, old, new):
    maps = F.interpolate(pos_embed.reshape(1, -1, *old), size=new, mode="bicubic")
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def no_permute_back(pos_embed, old, new):
    maps = pos_embed.reshape(1, *old, -1).permute(0, 3, 1, 2)
    return F.interpolate(maps, size=new, mode="bicubic").reshape(1, -1, pos_embed.shape[-1])


def column_by_column(pos_embed, old, new, there=True, back=True):
    rows, columns = old
    by_rows = pos_embed.reshape(1, rows, columns, -1)
    by_columns = pos_embed.reshape(1, columns, rows, -1).transpose(1, 2)
    maps = (by_columns if there else by_rows).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=new, mode="bicubic", align_corners=False)
    return maps.permute(0, 3, 2, 1).flatten(1, 2) if back else maps.permute(0, 2, 3, 1).flatten(1, 2)


def round_the_globe(pos_embed, old, new):
    three = pos_embed.reshape(1, *old, -1).repeat(1, 1, 3, 1).permute(0, 3, 1, 2)
    three = F.interpolate(three, size=(new[0], 3 * new[1]), mode="bicubic", align_corners=False)
    return three[..., new[1] : 2 * new[1]].permute(0, 2, 3, 1).flatten(1, 2)


def antialiased(pos_embed, old, new):
    maps = pos_embed.reshape(1, *old, -1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=new, mode="bicubic", align_corners=False, antialias=True)
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def along_the_list(pos_embed, old, new):
    return F.interpolate(pos_embed.permute(0, 2, 1), size=new[0] * new[1], mode="linear").permute(0, 2, 1)


# ---------------------------------------------------------------- compare


def compare(mine, other, block):
    d = other - mine
    return d.mean(), block_bootstrap(d.mean(0), block), (d.mean(1).min(), d.mean(1).max())


def comparing(times=None, seeds=None, mean=None):
    def function(mine, other, block):
        answer = list(compare(mine, other, block))
        for i, f in enumerate((mean, times, seeds)):
            if f:
                answer[i] = f(mine, other, block)
        return tuple(answer)

    return function


def alone(mine, other, block):
    a, b = block_bootstrap(other.mean(0), block), block_bootstrap(mine.mean(0), block)
    return a[0] - b[1], a[1] - b[0]


def ends(values):
    return values.min(), values.max()


SOLUTIONS = {
    "apply_policy": apply_policy,
    "with_rows": with_rows,
    "early_stop": early_stop,
    "blend": blend,
    "resize_positions": resize_positions,
    "compare": compare,
}

WRONG = [
    ("apply_policy", lambda m, p: 7, "still free under every policy"),
    ("apply_policy", lambda m, p: apply_policy(m, p, only_fix=True), "the next one does not free again"),
    ("apply_policy", frozen_as(lambda n: ".attn." in n or ".mlp." in n), "upside down"),
    ("apply_policy", frozen_as(lambda n: ".blocks." not in n), "fixes the norms of the blocks too"),
    ("apply_policy", frozen_as(lambda n: free("frozen", n) and "norm" not in n), "'frozen' fixes the norms; they stay free"),
    ("apply_policy", frozen_as(lambda n: free("frozen", n) and ".aggregation." not in n), "fixes the aggregation too"),
    ("apply_policy", frozen_as(lambda n: ".attn." not in n), "'frozen': net.blocks.0.mlp.fc1.bias is free"),
    ("apply_policy", frozen_as(lambda n: free("frozen", n) and "embed" not in n), "'frozen': net.lead_time_embed.bias is fixed"),
    ("apply_policy", head_as(lambda n: n.startswith("net.head.")), "log_tau is fixed"),
    ("apply_policy", head_as(lambda n: free("head", n) or n.startswith("net.norm.")), "frees the last norm"),
    ("apply_policy", counting(lambda model, mine: len(mine)), "tensors, not numbers"),
    ("apply_policy", counting(lambda model, mine: sum(p.numel() for p in model.parameters())), "the fixed ones too"),
    ("apply_policy", counting(lambda model, mine: sum(p.numel() for p in model.parameters() if not p.requires_grad)), "counted the fixed numbers"),
    ("apply_policy", counting(lambda model, mine: sum(len(p) for p in mine)), "and you count"),
    ("apply_policy", zeroing, "changes the weights"),
    ("with_rows", in_one_piece, "one piece at the beginning"),
    ("with_rows", at_the_end, "one piece at the end"),
    ("with_rows", pixel_fastest, "one piece at the beginning"),
    ("with_rows", new_first, "the new variables come first"),
    ("with_rows", wrong_new_rows, "belong to other ones"),
    ("with_rows", lambda old, fresh, known: fresh.clone(), "nothing of the old head"),
    ("with_rows", one_new, "known + 1"),
    ("with_rows", zeros_in_new, "The new rows are zero"),
    ("with_rows", into_fresh, "changes `fresh`"),
    ("with_rows", into_old, "changes `old`"),
    ("with_rows", matrices_only, "which has one axis only"),
    ("with_rows", lambda old, fresh, known: with_rows(old, fresh, known)[:, :2], "shape (20, 6), got (20, 2)"),
    ("with_rows", lambda old, fresh, known: 2 * with_rows(old, fresh, known), "not the rows of the wide head"),
    ("early_stop", of_all, "a validation that was never made"),
    ("early_stop", stopping(keep="last"), "at which it stopped"),
    ("early_stop", stopping(equal=True), "equal to the best counts as better"),
    ("early_stop", stopping(late=1), "one validation too late"),
    ("early_stop", stopping(late=-1), "one validation too early"),
    ("early_stop", stopping(against="previous"), "It never stops"),
    ("early_stop", lambda x, p: early_stop(x, 1), "patience is not used"),
    ("early_stop", stopping(reset=False), "sets the count back to zero"),
    ("early_stop", stopping(first=1), "Begin with kept = 0"),
    ("early_stop", lambda x, p: early_stop(x, p)[::-1], "in the other order"),
    ("early_stop", lowest_loss, "the position in the list"),
    ("early_stop", lambda x, p: early_stop(x, p)[0], "Expected two positions"),
    ("blend", lambda s, t, a: blend(t, s, a), "swapped"),
    ("blend", lambda s, t, a: {k: s[k] + a * t[k] for k in s}, "not scaled down"),
    ("blend", lambda s, t, a: blend(s, t, 0.5), "plain mean"),
    ("blend", lambda s, t, a: dict(t), "one of the two networks"),
    ("blend", lambda s, t, a: {k: s[k] - a * t[k] for k in s}, "not (1 − α)"),
    ("blend", in_place, "in place"),
    ("blend", by_order, "stopped with RuntimeError"),
    ("blend", lambda s, t, a: list(blend(s, t, a).values()), "Expected a dictionary"),
    ("resize_positions", no_permute, "taken for places"),
    ("resize_positions", no_permute_back, "On the way back"),
    ("resize_positions", lambda p, o, n: resize_positions(p, o, n, corners=True), "corners are aligned"),
    ("resize_positions", lambda p, o, n: resize_positions(p, o, n, "bilinear"), "bilinear"),
    ("resize_positions", lambda p, o, n: resize_positions(p, o, n, "nearest", None), "nearest"),
    ("resize_positions", lambda p, o, n: resize_positions(p, o[::-1], n), "Rows and columns"),
    ("resize_positions", column_by_column, "numbered row by row"),
    ("resize_positions", lambda p, o, n: column_by_column(p, o, n, back=False), "column by column"),
    ("resize_positions", lambda p, o, n: column_by_column(p, o, n, there=False), "column by column"),
    ("resize_positions", round_the_globe, "the official code does not"),
    ("resize_positions", antialiased, "another curve"),
    ("resize_positions", along_the_list, "along the list of patches"),
    ("resize_positions", lambda p, o, n: 2 * resize_positions(p, o, n), "not the interpolated vectors"),
    ("resize_positions", lambda p, o, n: resize_positions(p, o, n)[0], "shape (1, 72, 5), got (72, 5)"),
    ("compare", comparing(mean=lambda m, o, b: (m - o).mean()), "positive must mean that mine is better"),
    ("compare", comparing(mean=lambda m, o, b: m.mean()), "mean is not that"),
    ("compare", comparing(times=alone), "each forecaster alone"),
    ("compare", comparing(times=lambda m, o, b: block_bootstrap((o - m).ravel(), b)), "laid end to end"),
    ("compare", comparing(times=lambda m, o, b: block_bootstrap((o - m).mean(0), 1)), "too narrow"),
    ("compare", comparing(times=lambda m, o, b: ends((o - m).mean(0))), "spread of single times"),
    ("compare", comparing(times=lambda m, o, b: (0, 1)), "not the block bootstrap"),
    ("compare", comparing(seeds=lambda m, o, b: block_bootstrap((o - m).mean(0), b)), "Both intervals are the same"),
    ("compare", comparing(seeds=lambda m, o, b: ends(o - m)), "lowest and the highest of the seeds"),
    ("compare", lambda m, o, b: compare(m, o, b)[0], "Expected three things"),
    ("compare", comparing(seeds=lambda m, o, b: (o - m).mean(1)), "two ends"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_other_right_answers():
    def leaves_old_parameters(old, fresh, known):
        return torch.nn.Parameter(with_rows(old, fresh, known))

    assert check.with_rows(leaves_old_parameters).ok

    def another_generator(mine, other, block):
        d = other - mine
        times = block_bootstrap(d.mean(0), block, 4000, np.random.default_rng(8))
        return d.mean(), np.array(times), [d.mean(1).min(), d.mean(1).max()]

    assert check.compare(another_generator).ok


def test_parity():
    package = (0.25, [3, 2, 1])
    assert check.parity((0.25, [3, 2, 1]), package).ok
    assert "head" in check.parity((0.5, [3, 2, 1]), package).sentence
    assert "counts" in check.parity((0.25, [3, 2, 2]), package).sentence
    assert "Solve rounds" in check.parity((None, None), package).hint
