"""Checkers of *Many simulations, one model*."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data import Mixture
from .answers import Mistake, array, expect, first
from .verdict import Verdict, attempt, checker, right, wrong

# ---------------------------------------------------------------- the mixture


@checker
def apportion(function: Any) -> Verdict:
    """`apportion(shares, total)` → (S,) whole numbers that sum to `total`, by largest remainders, each at least one."""
    probes = [
        # the whole parts 4, 4, 1 leave two, for the remainders 0.75 and 0.7
        ([4.75, 4.55, 1.7], 11, [5, 4, 2]),
        # shares of another sum: 3.75, 2.5, 0.75
        ([15.0, 10.0, 3.0], 7, [4, 2, 1]),
        # 9.6, 0.2, 0.2: two sources that would get none
        ([0.96, 0.02, 0.02], 10, [8, 1, 1]),
        # 1, 1, 1, 6, 3 are two too many: 6 is furthest above its part, and then, at 5 of 6, 3 for 3.4 (by −0.4; 5 for 6 is −1)
        ([0.2, 0.2, 0.2, 6.0, 3.4], 10, [1, 1, 1, 5, 2]),
    ]
    given = []
    for shares, total, expected in probes:
        answer = attempt(function, np.array(shares), total)
        given.append(array(answer, (len(expected),), "one number of batches per source"))
    cut, other, small, last = given
    exact = np.array(probes[0][0])
    whole = np.floor(exact)
    cases: list[Mistake] = [
        (np.allclose(cut, exact) and not np.allclose(cut, np.rint(cut)), "These are parts of batches; a batch cannot be cut.", "Begin with the whole part of each."),
        (np.array_equal(cut, whole), f"Yours add up to {whole.sum():.0f} in place of 11: what the whole parts leave is lost.", "Two batches are left. Who was cut most?"),
        (np.array_equal(cut, [whole[0] + 2, *whole[1:]]), "All that is left goes to one source, which was owed less than one batch.", "One each, to the largest remainders."),
        (np.array_equal(cut, [*(whole[:2] + 1), whole[2]]), "What is left goes to the sources in their order, or to the largest.", "Compare the remainders: 0.75, 0.55 and 0.7."),
        (cut.sum() == 11 and other.sum() != 7, f"The shares need not sum to one or to the total: for {probes[1][0]} and 7 batches yours sum to {other.sum():g}.",
         "Divide by their sum first."),
        (np.array_equal(cut, np.rint(exact)), "Rounding each number by itself does not keep the sum: yours add up to 12 in place of 11.", "Whole parts first, and then deal out what is left."),
        (cut.sum() != 11, f"Yours add up to {cut.sum():g} in place of 11.", "Add them up before you return."),
        ((small == 0).any(), "A source got no batch at all: its variables would never be trained.", "At least one each, taken from whoever is furthest above its exact part."),
        (small.sum() != 10, f"With a small source yours add up to {small.sum():g} in place of 10.", "What the small ones get beyond their part has to be taken from somebody."),
        (not np.allclose(np.concatenate(given), np.rint(np.concatenate(given))), "Some of these are not whole numbers.", "int(...) of each."),
        (all(np.array_equal(g, p[2]) for g, p in zip(given[:3], probes, strict=False)) and last.sum() == 10 and (last >= 1).all() and not np.array_equal(last, probes[3][2]),
         f"For {probes[3][0]} and 10 batches you get {last.astype(int).tolist()} in place of {probes[3][2]}: what the ones cost is not taken where it should be.", "Each time from the source whose quota is furthest above its exact part; the largest is not always that one."),
        (any(not np.array_equal(g, p[2]) for g, p in zip(given, probes, strict=True)), "The sum is right, but these are not the largest remainders.", "For 4.75, 4.55 and 1.7 the answer is 5, 4, 2."),
    ]  # fmt: skip
    verdict = first(cases, right("Exact: every epoch has its batches, and no source goes without."))
    if not verdict.ok:
        return verdict
    rng = np.random.default_rng(0)
    for _ in range(20):  # many sources, few batches: several are lifted to one
        many, total = rng.random(6) ** 6 + 1e-3, int(rng.integers(6, 30))
        answer = np.asarray(attempt(function, many.copy(), total))
        if answer.sum() != total or (answer < 1).any():
            return wrong(f"For {np.round(many, 3).tolist()} and {total} batches you get {answer.tolist()}.", "Add or take one at a time, until the sum is right.")  # fmt: skip
    return verdict


@checker
def schedule(function: Any) -> Verdict:
    """`schedule(quota, epoch, seed)` → list of (source, number in its stream), one per batch of the epoch."""
    quota, seed = [5, 2, 4], 3
    epochs = []
    for epoch in (0, 1, 2):
        answer = attempt(function, list(quota), epoch, seed)
        epochs.append(
            array(answer, (11, 2), "a list of 11 pairs (source, number)", finite="Whole numbers, all of them.")
        )
    again = np.asarray(attempt(function, list(quota), 1, seed))
    names = [e[:, 0].tolist() for e in epochs]
    numbers = [[e[e[:, 0] == s, 1].tolist() for s in range(3)] for e in epochs]
    exact = [[list(range(e * q, (e + 1) * q)) for q in quota] for e in range(3)]
    expected = []
    for epoch in range(3):
        order = np.repeat(np.arange(3), quota)
        np.random.default_rng((seed, 0, epoch)).shuffle(order)
        expected.append(order.tolist())
    cases: list[Mistake] = [
        (not np.array_equal(again, epochs[1]), "Epoch 1 is another one when it is asked for again.", "Make the generator inside the function, from seed and epoch."),
        (any([n.count(s) for s in range(3)] != quota for n in names), "Some source has more or fewer batches than its quota: its batches are drawn, not counted.",
         "Write each source down as often as its quota says, and shuffle that list."),
        (any((np.diff(n) >= 0).all() for n in names), "The sources come one after the other: the network would forget the first.", "Shuffle the list."),
        (names[0] == names[1] == names[2], "Every epoch has the same order.", "The epoch belongs to the key of the generator."),
        (numbers[1] == exact[0], "Every epoch begins the streams anew: at a quota below a full pass some samples would never come.", "An epoch goes on after epoch · quota batches."),
        (all(sorted(g) == x for got, want in zip(numbers, exact, strict=True) for g, x in zip(got, want, strict=True)) and numbers != exact,
         "Every batch of the streams comes once, but not in the order of its number.", "Shuffle the sources first, then number them as they come."),
        (numbers != exact, "Some batches of a stream come twice, or never.", "The numbers of source s in epoch e run from e · quota[s] to (e + 1) · quota[s] - 1."),
        (names != expected, "The account is exact, but the order is not the one of the docstring.", "np.repeat, then default_rng((seed, 0, epoch)).shuffle."),
    ]  # fmt: skip
    return first(cases, right("Each source has its quota in every epoch, and its stream goes on."))


def _stream(first: int, last: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    at = np.arange(first, last)
    order = {p: np.random.default_rng((*key, p)).permutation(count) for p in set((at // count).tolist())}
    return np.array([order[i // count][i % count] for i in at.tolist()])


def _batch(n: int, rank: int, ranks: int, size: int, count: int, leads: Any, seed: int, source: int) -> np.ndarray:
    whole = size * ranks
    index = _stream(n * whole, (n + 1) * whole, count, (seed, 2, source))
    u = np.random.default_rng((seed, 1, source, n)).random(whole)
    drawn = np.stack([index, np.asarray(leads)[(len(leads) * u).astype(int)]], axis=1)
    return drawn[rank * size : (rank + 1) * size]


@checker
def batch(function: Any) -> Verdict:
    """`batch(n, rank, ranks, size, count, leads, seed, source)` → (size, 2): sample and lead time, on several ranks, with a stop."""
    count, leads, seed, source = 30, list(range(6, 169, 6)), 5, 1

    def run(numbers: Any, ranks: int, size: int, seed: int = seed, source: int = source) -> dict[Any, np.ndarray]:
        def one(n: int, rank: int) -> np.ndarray:
            answer = attempt(function, n, rank, ranks, size, count, list(leads), seed, source)
            return array(answer, (size, 2), "samples and lead times")

        return {(n, rank): one(n, rank) for n in numbers for rank in range(ranks)}

    three, later, one = run(range(20), 3, 4), run([7, 2, 19, 11], 3, 4), run(range(20), 1, 12)
    other_seed, other_source = run([0], 3, 4, seed=6), run([0], 3, 4, source=2)
    index = np.stack([np.concatenate([three[n, r][:, 0] for r in range(3)]) for n in range(20)])
    hours = np.stack([np.concatenate([three[n, r][:, 1] for r in range(3)]) for n in range(20)])
    single = np.stack([one[n, 0] for n in range(20)])
    uses = np.bincount(index.ravel().astype(int).clip(0, count - 1), minlength=count)
    cases: list[Mistake] = [
        (any(not np.array_equal(later[k], three[k]) for k in later), "After a stop, batches are others than before: they depend on what was drawn earlier.",
         "Make every generator inside the function, from its key."),
        (not ((index >= 0) & (index < count)).all(), f"Samples are numbered 0 to {count - 1}; yours are not.", "Column 0 holds samples, column 1 lead times."),
        (set(hours.ravel().tolist()) <= set(range(28)), "These are places in `leads`; hours were asked for.", "np.asarray(leads)[places]"),
        (all(np.array_equal(three[n, 0][:, 0], three[n, 1][:, 0]) for n in range(20)), "All ranks draw the same samples: three GPUs do the work of one.",
         "The rank chooses its slice of the global batch."),
        (all(np.array_equal(three[n, 0][:, 1], three[n, 2][:, 1]) for n in range(20)), "All ranks draw the same lead times.",
         "Draw the lead times of the whole global batch, then take the slice."),
        ((hours == hours[0]).all(), "Every batch has the same lead times.", "The number of the batch belongs to the key."),
        (uses.max() > uses.min() and (index[1][:8] == index[0][4:]).all(), "Batches overlap: each begins only one rank's share after the one before.", "A global batch has size · ranks samples."),
        (uses.max() > uses.min(),
         f"In eight passes each sample should come eight times, and yours come {uses.min()} to {uses.max()} times.", "Rank r holds the positions r · size to (r + 1) · size - 1 of the global batch."),
        (np.array_equal(np.sort(index, axis=1), np.sort(single[..., 0], axis=1)) and not np.array_equal(index, single[..., 0]),
         "Nothing is lost or doubled, but the ranks do not take neighbouring slices.", "Rank 0 has the first `size` samples of the global batch."),
        (not np.array_equal(hours, single[..., 1]), "One rank with batches of 12 gets other lead times than three ranks with batches of 4: on another number of GPUs the run would be another.",
         "No rank in the key: key the lead times of the global batch, and slice them."),
        (max(hours.max(), single[..., 1].max()) < 168, "A lead time of 168 h never comes.", "floor(K · u), with K lead times: is one of them lost?"),
        (hours.min() > 6, "A lead time of 6 h never comes.", "Places count from 0."),
        (np.array_equal(other_seed[0, 0], three[0, 0]), "Another seed gives the same batch.", "The seed belongs to both keys."),
        (np.array_equal(other_source[0, 0][:, 1], three[0, 0][:, 1]) or np.array_equal(other_source[0, 0][:, 0], three[0, 0][:, 0]), "Two sources draw alike.", "The source belongs to both keys."),
        (any(not np.array_equal(three[n, r], _batch(n, r, 3, 4, count, leads, seed, source)) for n in range(20) for r in range(3)),
         "No sample is lost or doubled, but the draw is not the one of the docstring.", "Compare the two keys, and floor(K · u)."),
    ]  # fmt: skip
    return first(cases, right("The same global batches on one rank and on three, before a stop and after it, and every sample as often as every other."))  # fmt: skip


@checker
def parity(pieces: Any, mixture: Mixture) -> Verdict:
    """`parity([apportion, schedule, batch], mixture)`: against the package, two epochs on two ranks."""
    names, seed = list(mixture.sources), mixture.seed
    counts = np.array([len(mixture.sources[n]) for n in names])
    share, total = counts ** (1 / mixture.temperature), len(mixture)
    quota = [int(q) for q in attempt(pieces[0], share, total)]
    if quota != list(mixture.quota.values()):
        return wrong("Your quotas are not those of Mixture.", "Solve round 1 first.")
    seen = 0
    for epoch in (0, 1):
        order = [(int(s), int(n)) for s, n in attempt(pieces[1], quota, epoch, seed)]
        for rank in (0, 1):
            size = mixture.batch_size // 2
            half = Mixture(
                mixture.sources,
                size,
                mixture.temperature,
                batches_per_epoch=total,
                seed=seed,
                rank=rank,
                world_size=2,
                epoch=epoch,
            )
            if [(names[s], n) for s, n in order] != half.schedule():
                return wrong("Your order is not that of Mixture.", "Solve round 2 first.")
            for k in range(0, total, 7):
                s, n = order[k]
                samples: Any = mixture.sources[names[s]]
                inner = samples.valid[0] >= 0  # an initial time early in the year has every lead that the world has
                leads = np.asarray(samples.leads)[inner]
                mine = np.asarray(attempt(pieces[2], n, rank, 2, size, len(samples), leads, seed, s))
                theirs = half[k].samples.numpy()
                free = ((samples.valid[mine[:, 0]] >= 0) == inner).all(axis=1)
                if not (np.array_equal(samples.initial[mine[:, 0]], theirs[:, 0]) and np.array_equal(mine[free, 1], theirs[free, 1])):  # fmt: skip
                    return wrong("Your batches are not those of Mixture.", "Solve round 3 first.")
                seen += size
    return right(f"{len(names)} quotas, two epochs of {total} batches, {seen} samples on two ranks: equal to the package's.")  # fmt: skip


# ---------------------------------------------------------------- what the worlds share


@checker
def cosine(function: Any) -> Verdict:
    """`cosine(a, b, shared)` → cosine of two gradients over the shared parameters; a and b map names to tensors."""
    a = {
        "block.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
        "norm": torch.tensor([12.0]),
        "tokenizer": torch.tensor([5.0, 0.0, 1.0]),
    }
    b = {"block.weight": torch.tensor([[0.0, 2.0], [0.0, -1.0]]), "norm": torch.tensor([2.0]), "tokenizer": torch.tensor([0.0, 7.0, 1.0])}  # fmt: skip
    shared = ["block.weight", "norm"]
    answer = attempt(function, {k: v.clone() for k, v in a.items()}, {k: v.clone() for k, v in b.items()}, list(shared))
    given = array(answer, (), "one number")
    flat = [torch.cat([g[k].flatten() for k in shared]) for g in (a, b)]
    every = [torch.cat([g[k].flatten() for k in a]) for g in (a, b)]
    dot, whole = float(flat[0] @ flat[1]), float(every[0] @ every[1])  # -4 + 24 = 20
    norms = float(flat[0].norm() * flat[1].norm())  # 13 · 3
    each = [float(a[k].flatten() @ b[k].flatten() / a[k].norm() / b[k].norm()) for k in shared]
    # fmt: off
    cases: list[Mistake] = [
        (whole / float(every[0].norm() * every[1].norm()), "You used all parameters: tokens and head rows of variables that one world lacks get no gradient from it, and pull the cosine to zero.", "Only the names in `shared`."),
        (dot, "This is the inner product: it grows with the size of the gradients.", "Divide by both norms."),
        (np.mean(each), "This is the mean of the cosines of single tensors, where a bias counts as much as a matrix.", "One long vector for each world, then one cosine."),
        (dot / float(every[0].norm() * every[1].norm()), "The norms are those of all parameters, and the inner product that of the shared ones.", "The same names in all three sums."),
        (dot / norms**2, "You divided by the squared norms.", "norm, not norm squared."),
        (-dot / norms, "The sign is turned round.", "Gradients that agree have a positive cosine."),
    ]
    # fmt: on
    hint = "Σ a·b over the shared parameters, over the two norms."
    expect(given, dot / norms, cases, f"Expected {dot:g} / {norms:g}, got {given:.3f}.", hint, atol=1e-4)
    opposite = attempt(function, a, {k: -v for k, v in a.items()}, list(shared))
    if not np.isclose(float(opposite), -1, atol=1e-4):
        return wrong("Two opposite gradients should give −1.", "Is the sign lost?")
    return right("One number for a pair of worlds: 1 they agree, 0 they have nothing to do with each other.")


@checker
def extend(function: Any) -> Verdict:
    """`extend(vocabulary, names)` → (longer vocabulary, ids of the names in it)."""
    old, names = ("z500", "t850", "t2m", "u10"), ("t850", "sst", "z500", "q850")
    answer = attempt(function, old, names)
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
        return wrong("Expected two things: the vocabulary and the ids.", "return vocabulary, ids")
    vocabulary, got = list(answer[0]), array(answer[1], (4,), "one id for each name").tolist()
    cases: list[Mistake] = [
        (not isinstance(answer[0], tuple), f"Expected the vocabulary as a tuple, got {type(answer[0]).__name__}.", "tuple(...) around it."),
        (len(set(vocabulary)) < len(vocabulary), "A variable stands twice in the vocabulary: it would have two embeddings.", "Append only what is new."),
        (set(vocabulary) == set(old) | set(names) and tuple(vocabulary[:4]) != old, "Old variables have moved: their embeddings now belong to others, and a trained network is worthless.",
         "Keep the old order, and append."),
        (set(vocabulary) != set(old) | set(names), "The vocabulary is not the union of old and new.", "All the old ones, then the new ones."),
        (vocabulary[4:] != ["sst", "q850"], "New variables are appended in the order in which they come.", "A set has no order."),
        (got == sorted([1, 4, 0, 5]) or got == list(range(4)), "The ids are not in the order of the names: channel 0 would be taken for another variable.", "One id for each name, in the order of `names`."),
        (got != [1, 4, 0, 5], f"The ids of {', '.join(names)} should be 1, 4, 0, 5.", "Look each name up in the new vocabulary."),
    ]  # fmt: skip
    return first(cases, right("Old rows keep their meaning, and every channel finds its own."))


@checker
def power_law(function: Any) -> Verdict:
    """`power_law(n, loss)` → (alpha, standard error) of loss ∝ n^(−alpha), by least squares in logarithms."""
    n = np.array([1.0, 1.0, 2.0, 2.0, 5.0, 5.0])
    log_loss = 0.2 - 0.25 * np.log(n) + 0.03 * np.array([1.0, -1.0, 0.5, -1.0, 0.4, 0.3])
    answer = attempt(function, n.copy(), np.exp(log_loss))
    alpha, error = array(answer, (2,), "two numbers, alpha and its standard error")
    x = np.log(n) - np.log(n).mean()
    slope = float(x @ log_loss / (x @ x))
    rest = log_loss - log_loss.mean() - slope * x
    spread = float(rest @ rest)
    se = (spread / 4 / float(x @ x)) ** 0.5
    linear = float(np.polyfit(n, np.exp(log_loss), 1)[0])
    cases: list[Mistake] = [
        (np.isclose(alpha, slope), "The sign is turned round: a loss that falls has a positive alpha.", "loss ∝ n^(−alpha)"),
        (np.isclose(abs(alpha), abs(linear)), "This is the slope of the loss itself: a power law is a line between logarithms.", "np.log of both."),
        (not np.isclose(alpha, -slope), f"alpha should be {-slope:.3f}, and yours is {alpha:.3f}.", "Σ x y / Σ x², with x and y less their means."),
        (np.isclose(error, (spread / 6 / float(x @ x)) ** 0.5), "You divided by the number of points: two of them were used up by the line.", "N − 2."),
        (np.isclose(error, se**2), "This is the variance of alpha; the standard error is its root.", "Take the root."),
        (np.isclose(error, (spread / 4) ** 0.5), "This is the spread of the points about the line, not the error of its slope.", "The more x varies, the better the slope is known."),
        (not np.isclose(error, se), f"The standard error should be {se:.4f}, and yours is {error:.4f}.", "√( Σ r² / (N − 2) / Σ x² )"),
    ]  # fmt: skip
    return first(cases, right("An exponent, and how far the scatter of the points lets one trust it."))


__all__ = ["apportion", "batch", "cosine", "extend", "parity", "power_law", "schedule"]
