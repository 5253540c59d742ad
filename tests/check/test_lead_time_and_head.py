"""The checkers of *Lead-time conditioning and the head*: solutions pass, and every usual mistake gets its own sentence."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from climax_lite.check import lead_time_and_head as check
from climax_lite.model.head import PatchHead
from tests.check.exercises import Exercises

FIELDS = "b v (h p) (w q)"


def lead(tokens, hours, weight, bias, unit=100, finish=None):
    vector = F.linear(hours[:, None] / unit, weight, bias)
    return finish(tokens, vector) if finish else tokens + vector[:, None]


def in_place(tokens, hours, weight, bias):
    tokens += lead(0 * tokens, hours, weight, bias)
    return tokens


def first_patch(tokens, vector):
    out = tokens.clone()
    out[:, 0] += vector
    return out


def draw(times, count, chooser, low=1, high=29, room=28, hours=6, first=0):
    start = torch.randint(first, times - room, (count,), generator=chooser)
    return start, hours * torch.randint(low, high, (count,), generator=chooser)


def with_room_for_each(times, count, chooser):
    """Another right answer: each lead time has its own last initial state."""
    steps = torch.randint(1, 29, (count,), generator=chooser)
    return (torch.rand(count, generator=chooser) * (times - steps)).long(), 6 * steps


def skewed(times, count, chooser):
    start, hours = draw(times, count, chooser)
    return start, torch.maximum(hours, draw(times, count, chooser)[1])


def set_back(times, count, chooser):
    """Both draws from the same random numbers."""
    state = chooser.get_state()
    start, _ = draw(times, count, chooser)
    chooser.set_state(state)
    return start, 6 * torch.randint(1, 29, (count,), generator=chooser)


def one_draw_for_both(times, count, chooser):
    share = torch.rand(count, generator=chooser)
    return (share * (times - 28)).long(), 6 * (1 + (share * 28).long())


def fields(pixels, shape, p, v, split="(h w) (p q v)", join=FIELDS):
    return rearrange(pixels, f"b {split} -> {join}", h=shape[0] // p, w=shape[1] // p, p=p, q=p, v=v)


def rows(weight, bias, ids, v, choose=lambda t, ids: t[:, ids].flatten(0, 1)):
    return tuple(choose(t.unflatten(0, (-1, v)), ids) for t in (weight, bias))


def by_variable(weight, bias, ids, v):
    return tuple(t.unflatten(0, (v, -1))[ids].flatten(0, 1) for t in (weight, bias))


def rollout(forecast, x, hours, stride):
    while hours > 0:
        step = min(stride, hours)
        x, hours = forecast(x, step), hours - step
    return x


def whole_strides(forecast, x, hours, stride, extra=0):
    for _ in range(hours // stride + extra):
        x = forecast(x, stride)
    return x


def growing(forecast, x, hours, stride):
    for done in range(stride, hours + stride, stride):
        x = forecast(x, min(done, hours))
    return x


def with_a_rest(forecast, x, hours, stride):
    return forecast(whole_strides(forecast, x, hours, stride), hours % stride)


def longer(weight, bias, v, join=lambda old: torch.cat([old, 0 * old[:, :1]], 1).flatten(0, 1)):
    return tuple(join(t.unflatten(0, (-1, v))) for t in (weight, bias))


SOLUTIONS = {
    "add_lead_time": lead,
    "draw_pairs": draw,
    "unpatchify": fields,
    "head_rows": rows,
    "rollout": rollout,
    "add_output": longer,
}

WRONG = [
    # exercise, wrong answer, a part of the message
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, unit=1), "not divided by 100"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, unit=24), "another unit"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, 0 * b), "bias is missing"),
    ("add_lead_time", lambda t, h, w, b: t + (h[:, None] / 100 * (w[:, 0] + b))[:, None], "bias was multiplied"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, finish=lambda t, v: t + v), "read as (L, D)"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, finish=first_patch), "Only the first patch"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, finish=lambda t, v: t + v[0]), "of the first one"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h.flip(0), w, b), "another sample's"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, finish=lambda t, v: t * v[:, None]), "multiplied by the vector"),
    ("add_lead_time", lambda t, h, w, b: lead(t, h, w, b, finish=lambda t, v: v), "vectors alone"),
    ("add_lead_time", in_place, "in place"),
    ("add_lead_time", lambda t, h, w, b: t, "not tokens + w"),
    ("add_lead_time", lambda t, h, w, b: t[:, :1], "shape (3, 3, 4), got (3, 1, 4)"),
    ("add_lead_time", lambda t, h, w, b: t + F.linear(h[:, None] / 100, w, b).reshape(3, 1, 4), "stopped with RuntimeError"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, high=28), "168 h was never drawn"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, low=2), "6 h was never drawn"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, low=0), "0 h was drawn"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, high=30, room=29), "174 h was drawn"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, hours=1), "steps of the record"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, low=6, high=169, hours=1), "no state in a 6-hourly record"),
    ("draw_pairs", lambda n, c, g: (draw(n, c, g)[0], torch.full((c,), 24)), "the same lead time"),
    ("draw_pairs", lambda n, c, g: (torch.full((c,), 3), draw(n, c, g)[1]), "the same state"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, room=0), "and the last of 400 states is 399"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, room=168), "168 h were taken for 168 steps"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, room=29), "The last state, 399, is never forecast"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, first=1), "State 0 is never"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g, first=-5), "Negative numbers"),
    ("draw_pairs", skewed, "not equally likely"),
    ("draw_pairs", set_back, "depend on each other"),
    ("draw_pairs", one_draw_for_both, "depend on each other"),
    ("draw_pairs", lambda n, c, g: (draw(n, c, g)[0] * 1.0, draw(n, c, g)[1]), "whole numbers"),
    ("draw_pairs", lambda n, c, g: draw(n, c, None), "same seed gives other pairs"),
    ("draw_pairs", lambda n, c, g: draw(n, c, g)[1], "Expected a pair"),
    ("draw_pairs", lambda n, c, g: draw(n, 1, g), "Expected two arrays"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v, "(h w) (v p q)"), "variable slowest"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v, "(h w) (q p v)"), "transposed"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v, "(w h) (p q v)"), "laid out column by column"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v, join="b v (p h) (q w)"), "wrong patches"),
    ("unpatchify", lambda x, s, p, v: x.reshape(len(x), v, *s), "A reshape alone"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v, join="b (h p) (w q) v"), "variables come last"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v).mT, "changed places"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v).flip(2), "wrong place"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v)[:, :1], "shape (2, 3, 4, 6), got (2, 1, 4, 6)"),
    ("unpatchify", lambda x, s, p, v: fields(x, s, p, v) if v > 1 else x, "Wrong for one variable"),
    ("head_rows", by_variable, "rows stand V apart"),
    ("head_rows", lambda w, b, i, v: rows(w, b, i, v, lambda t, i: t[:, i].transpose(0, 1).flatten(0, 1)), "variable is slowest"),
    ("head_rows", lambda w, b, i, v: rows(w, b, i.sort().values, v), "order of the model"),
    ("head_rows", lambda w, b, i, v: (w[i], b[i]), "one pixel only"),
    ("head_rows", lambda w, b, i, v: rows(w, b, i, v, lambda t, i: t[:, i]), "still two axes"),
    ("head_rows", lambda w, b, i, v: (w, b), "nothing was chosen"),
    ("head_rows", lambda w, b, i, v: (rows(w, b, i, v)[0], b), "All rows of `bias`"),
    ("head_rows", lambda w, b, i, v: rows(w, b, i + 1, v), "not the rows of `weight`"),
    ("head_rows", lambda w, b, i, v: rows(w, b, i, v)[0], "Expected a pair"),
    ("rollout", lambda f, x, hours, stride: f(x, hours), "one step of 60 h"),
    ("rollout", lambda f, x, hours, stride: f(x, hours % stride), "from the first state again"),
    ("rollout", whole_strides, "last 12 h are missing"),
    ("rollout", lambda f, x, hours, stride: whole_strides(f, x, hours, stride, 1), "went too far"),
    ("rollout", growing, "grew from step to step"),
    ("rollout", lambda f, x, hours, stride: whole_strides(f, f(x, hours % stride), hours, stride), "short step came first"),
    ("rollout", lambda f, x, hours, stride: rollout(f, f(x, 0), hours, stride), "0 h too many"),
    ("rollout", with_a_rest, "48 h in strides"),
    ("rollout", lambda f, x, hours, stride: x, "steps of 24, 24 and 12 h"),
    ("add_output", lambda w, b, v: tuple(torch.cat([t, 0 * t[:4]]) for t in (w, b)), "stand at the end"),
    ("add_output", lambda w, b, v: longer(w, b, v, lambda old: torch.cat([0 * old[:, :1], old], 1).flatten(0, 1)), "come first"),
    ("add_output", lambda w, b, v: (w, b), "as long as before"),
    ("add_output", lambda w, b, v: (longer(w, b, v)[0], b), "`bias` is as long"),
    ("add_output", lambda w, b, v: longer(w, b, v, lambda old: torch.cat([old.flip(1), 0 * old[:, :1]], 1).flatten(0, 1)), "changed or moved"),
    ("add_output", lambda w, b, v: longer(w, b, v, lambda old: torch.cat([old, old[:, :1]], 1).flatten(0, 1)), "are not zero"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_other_right_answers_pass():
    assert check.draw_pairs(with_room_for_each).ok
    assert check.add_lead_time(lambda t, h, w, b: t + (h[:, None, None] / 100) * w[:, 0] + b).ok


def test_the_sentence_names_the_mistake_and_a_hint_helps():
    for name, answer, message in WRONG:
        verdict = getattr(check, name)(answer)
        assert message in verdict.sentence
        assert verdict.hint, verdict


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


def test_solutions_make_the_head_of_the_package():
    torch.manual_seed(0)
    head, ids, tokens = PatchHead(8, 5, 2), torch.tensor([3, 0]), torch.randn(2, 6, 8)
    *hidden, last = head
    weight, bias = rows(last.weight, last.bias, ids, 5)
    ours = fields(F.linear(torch.nn.Sequential(*hidden)(tokens), weight, bias), (4, 6), 2, 2)
    torch.testing.assert_close(ours, head(tokens, ids, (2, 3)))


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda: 1, lambda *a: torch.zeros(2), lambda *a: ("a", None)])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert len(verdict.sentence) > 20
