"""The checkers of *What it cannot do, and what came after*: solutions pass, and every usual mistake gets its own sentence."""

import numpy as np
import pytest
import torch

from climax_lite.check import limits as check


def stub(*args): ...


# ---------------------------------------------------------------- contingency


def contingency(f, t, threshold, weights, event=lambda x, u: x > u, w=True, answer=None):
    said, came = event(f, threshold), event(t, threshold)
    w = weights if w else 1.0
    hits, said_, came_ = ((w * e).mean() for e in (said & came, said, came))
    with np.errstate(invalid="ignore"):
        if answer:
            return answer(hits, said_, came_, said, came, w)
        return said_ / came_, hits / came_, 1 - hits / said_


def counting(**how):
    return lambda *args: contingency(*args, **how)


def answering(answer):
    return counting(answer=answer)


def over_times(f, t, u, w):
    said, came = f > u, t > u
    h, s, c = ((w * e).mean((1, 2)) for e in (said & came, said, came))
    with np.errstate(all="ignore"):
        return (s / c).mean(), (h / c).mean(), (1 - h / s).mean()


# ---------------------------------------------------------------- Brier skill


def brier_skill(p, happened, often, weights, power=2, w=True, make=lambda p: p, reference=None, answer=None):
    w = weights if w else 1.0
    reference = often if reference is None else reference(happened, weights)
    mine, usual = ((w * np.abs(x - happened) ** power).mean() for x in (make(p), reference))
    return answer(mine, usual, often) if answer else 1 - mine / usual


def skill_over_times(p, happened, often, w):
    mine, usual = ((w * (x - happened) ** 2).mean((1, 2)) for x in (p, often))
    return (1 - mine / usual).mean()


def scoring(**how):
    return lambda *args: brier_skill(*args, **how)


# ---------------------------------------------------------------- effective number


def entropy(w):
    return -(w * np.log(np.where(w > 0, w, 1))).sum(-1)


def effective_number(w):
    return np.exp(entropy(w))


def of_mean(w):
    m = w.reshape(-1, w.shape[-1]).mean(0)
    return np.exp(-(m * np.log(m)).sum())


def with_nan(w):
    return np.exp(-(w * np.log(w)).sum(-1))


# ---------------------------------------------------------------- below the grid


def means(fine, k):
    t, h, w = fine.shape
    return fine.reshape(t, h // k, k, w // k, k).mean((2, 4))


def below_the_grid(fine, k):
    return 1 - (means(fine, k) ** 2).mean() / (fine**2).mean()


def in_rows(fine, k):
    t, h, w = fine.shape
    return 1 - (fine.reshape(t, h // k, w // k, k, k).mean((3, 4)) ** 2).mean() / (fine**2).mean()


def without_mean(fine, k):
    return below_the_grid(fine - fine.mean(0), k)


def swapped(fine, k):
    t, h, w = fine.shape
    m = fine.reshape(t, k, h // k, k, w // k).mean((1, 3))
    return 1 - (m**2).mean() / (fine**2).mean()


RIGHT = [
    (check.contingency, contingency),
    (check.contingency, lambda f, t, u, w: torch.tensor(contingency(f, t, u, w))),
    (check.brier_skill, brier_skill),
    (check.effective_number, effective_number),
    (check.effective_number, lambda w: torch.special.entr(torch.tensor(w)).sum(-1).exp()),
    (check.below_the_grid, below_the_grid),
    (check.below_the_grid, lambda f, k: ((f - np.kron(means(f, k), np.ones((1, k, k)))) ** 2).mean() / (f**2).mean()),
]

WRONG = [
    (check.contingency, counting(w=False), "count alike"),
    (check.contingency, answering(lambda h, s, c, *_: (c / s, h / c, 1 - h / s)), "upside down"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / c, h / s)), "alarms that were right"),
    (check.contingency, answering(lambda h, s, c, S, C, w: (s / c, h / c, (w * (S & ~C)).mean() / (w * ~C).mean())), "rate"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / s, 1 - h / c)), "changed places"),
    (check.contingency, answering(lambda h, s, c, S, C, w: (s / c, (w * (S == C)).mean(), 1 - h / s)), "quiet cases"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / s, 1 - h / s)), "over what was said"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / c, (s - h) / c)), "by what came"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c - 1, h / c, 1 - h / s)), "relative error"),
    (check.contingency, over_times, "single times"),
    (check.contingency, counting(event=lambda x, u: np.abs(x) > u), "both signs"),
    (check.contingency, counting(event=lambda x, u: x < u), "below the threshold"),
    (check.contingency, answering(lambda h, s, c, *_: (h / c, s / c, 1 - h / s)), "order"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / c, 1 - h / s if s else 0.0)), "NaN"),
    (check.contingency, answering(lambda h, s, c, *_: (s / c, h / c)), "shape (3,)"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: mine), "Brier score"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: mine / usual), "ratio of the two"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: 1 - usual / mine), "upside down"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: usual - mine), "difference"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: 1 - np.sqrt(mine / usual)), "roots"),
    (check.brier_skill, lambda p, h, o, w: brier_skill(p, h, o, w**2), "squared too"),
    (check.brier_skill, skill_over_times, "single times"),
    (check.brier_skill, scoring(w=False), "count alike"),
    (check.brier_skill, scoring(power=1), "absolute"),
    (check.brier_skill, scoring(make=lambda p: 1.0 * (p > 0.5)), "yes or no"),
    (check.brier_skill, scoring(reference=lambda h, w: (w * h).mean()), "cases that are scored"),
    (check.brier_skill, scoring(reference=lambda h, w: 0.0), "forecast of zero"),
    (check.brier_skill, scoring(answer=lambda mine, usual, often: 1 - mine / (often * (1 - often))), "exactly as frequent"),
    (check.effective_number, with_nan, "NaN"),
    (check.effective_number, entropy, "entropy itself"),
    (check.effective_number, lambda w: entropy(w) / np.log(2), "in bits"),
    (check.effective_number, lambda w: np.exp(entropy(w) / np.log(2)), "base e"),
    (check.effective_number, lambda w: np.exp(-entropy(w)), "sign"),
    (check.effective_number, lambda w: 1 / (w**2).sum(-1), "sum of squares"),
    (check.effective_number, lambda w: effective_number(w).mean(), "all places"),
    (check.effective_number, of_mean, "weights first"),
    (check.effective_number, lambda w: effective_number(w.transpose(1, 2, 0)), "first axis"),
    (check.below_the_grid, lambda f, k: 1 - below_the_grid(f, k), "keep"),
    (check.below_the_grid, lambda f, k: (f**2).mean() - (means(f, k) ** 2).mean(), "not a share"),
    (check.below_the_grid, swapped, "no neighbours"),
    (check.below_the_grid, lambda f, k: 1 - (f[:, ::k, ::k] ** 2).mean() / (f**2).mean(), "one cell of each"),
    (check.below_the_grid, without_mean, "over time"),
    (check.below_the_grid, lambda f, k: 1 - (f[:, k // 2 :: k, k // 2 :: k] ** 2).mean() / (f**2).mean(), "middle cell"),
    (check.below_the_grid, in_rows, "one row only"),
    (check.below_the_grid, lambda f, k: 1 - (means(f, k) ** 2).sum() / (f**2).sum(), "sums"),
    (check.below_the_grid, lambda f, k: 1 - np.sqrt((means(f, k) ** 2).mean() / (f**2).mean()), "amplitudes"),
    (check.below_the_grid, lambda f, k: 1 - means(f, k).var() / f.var(), "removed a mean"),
    (check.below_the_grid, lambda f, k: 1 - (means(f, k) ** 2).mean((1, 2)) / (f**2).mean((1, 2)), "over all times"),
]  # fmt: skip


@pytest.mark.parametrize(("checker", "solution"), RIGHT)
def test_solutions_pass(checker, solution):
    verdict = checker(solution)
    assert verdict.ok, verdict


@pytest.mark.parametrize(("checker", "mistake", "words"), WRONG)
def test_every_mistake_is_named(checker, mistake, words):
    verdict = checker(mistake)
    assert verdict.state == "wrong"
    assert words in verdict.sentence
    assert verdict.hint


@pytest.mark.parametrize("checker", {c for c, _ in RIGHT}, ids=lambda c: c.__name__)
def test_stubs_are_not_yet_and_no_exception_escapes(checker):
    assert checker(stub).state == "not yet"
    assert checker(lambda *args: 1 / 0).state == "wrong"
    assert checker(lambda *args: "words").state == "wrong"
    assert checker(None).state == "wrong"


def test_by_hand():
    """Two alarms, one of them right, of four events: bias ½, hit rate ¼, false-alarm ratio ½."""
    f, t = np.array([2.0, 2, 0, 0, 0]), np.array([2.0, 0, 2, 2, 2])
    assert contingency(f, t, 1.0, np.ones(5)) == (0.5, 0.25, 0.5)
    # Chance ½ of what happened and ½ of what did not, against a usual chance of 1: 1 - 0.25 / 0.5.
    assert brier_skill(np.array([0.5, 0.5]), np.array([True, False]), 1.0, np.ones(2)) == 0.5
    assert effective_number(np.array([0.25, 0.25, 0.25, 0.25])) == pytest.approx(4)
    # One wet cell of nine: the block mean is 1, its square 1, the cells' mean square 9.
    fine = np.zeros((1, 3, 3))
    fine[0, 1, 1] = 9
    assert below_the_grid(fine, 3) == pytest.approx(1 - 1 / 9)
