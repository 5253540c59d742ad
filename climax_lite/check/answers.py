"""What the checkers of all chapters do with an answer: read it as numbers, compare it, and find the mistake that explains it.

Whatever ends a check early (an answer of another kind or shape, a mistake that was found) is raised and becomes the verdict in `checker`, so
a check reads from top to bottom:

    given = array(attempt(mean, x.copy()), (3,), "one number for each row")
    expect(given, x.mean(1), [(x.mean(0), "You averaged over the rows.", "Which axis is which?")], "These are not the means of the rows.")
    return right("Right.")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .verdict import Stop, Verdict, wrong

Mistake = tuple[Any, str, str]
"""What gives it away, the sentence that names it, a hint.

What gives it away is the value that it leads to, a test of the answer (a function), or whether it was made (a bool).
"""


def numbers(answer: Any) -> np.ndarray:
    """A tensor (with or without a gradient, on any device), an array, a list or a number as a float64 array.

    Raises:
        TypeError: for what holds no real numbers; None and complex numbers are none.
        ValueError: for rows of different lengths, or text.
    """
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
        answer = answer if answer.is_complex() else answer.double()
    if np.iscomplexobj(answer):
        raise TypeError("expected real numbers, got complex ones")
    given = np.asarray(answer, dtype=np.float64)
    if np.isnan(given).any() and any(x is None for x in np.asarray(answer, dtype=object).flat):
        raise TypeError("expected numbers, got None among them")
    return given


def array(
    answer: Any,
    shape: tuple[int | None, ...] | None,
    meaning: str,
    hint: str = "Print the shape after every step.",
    finite: str | None = None,
) -> np.ndarray:
    """The answer as a float64 array of the expected shape.

    Args:
        answer: what the learner's function returned.
        shape: the expected shape, None for an axis of any length; None for any shape.
        meaning: what was expected, as in "Expected …, got …".
        hint: where the shape is another.
        finite: the hint where a number is NaN or infinite; None lets such numbers pass.

    Raises:
        Stop: with the verdict on what it is instead.
    """
    try:
        given = numbers(answer)
    except (TypeError, ValueError, RuntimeError):
        raise Stop(
            wrong(f"Expected {meaning}, got {type(answer).__name__}.", "Look at what the docstring says.")
        ) from None
    if shape is not None and not _fits(given.shape, shape):
        raise Stop(wrong(f"Expected {meaning}: shape {_written(shape)}, got {given.shape}.", hint))
    if finite is not None and not np.isfinite(given).all():
        raise Stop(wrong("Your answer holds NaN or infinity.", finite))
    return given


def tensor(
    answer: Any,
    shape: tuple[int | None, ...] | None,
    meaning: str,
    hint: str = "Print the shape after every step.",
    finite: str | None = None,
) -> Tensor:
    """As `array`, as a float64 tensor without a gradient."""
    return torch.from_numpy(np.array(array(answer, shape, meaning, hint, finite)))


def same(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Whether two answers have one shape and equal numbers, NaN where the other has NaN."""
    a, b = numbers(a), numbers(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))


def either(*values: Any, rtol: float = 1e-4, atol: float = 1e-6) -> Callable[[Any], bool]:
    """For a mistake that shows in one of several values."""
    return lambda given: any(same(given, value, rtol, atol) for value in values)


def first(
    mistakes: Iterable[Mistake], otherwise: Verdict, given: Any = None, rtol: float = 1e-4, atol: float = 1e-6
) -> Verdict:
    """The verdict on the first mistake that was made, else `otherwise`; `given` is the answer, for values and tests."""
    found = _found(mistakes, given, rtol, atol)
    return otherwise if found is None else found


def expect(
    given: Any,
    expected: Any,
    mistakes: Iterable[Mistake],
    otherwise: str,
    hint: str = "",
    meaning: str = "the expected numbers",
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> np.ndarray:
    """Let the expected answer pass, and end the check at any other.

    Args:
        given: what the learner's function returned.
        expected: what it should have returned.
        mistakes: the known ones; they are asked before the shape, as a mistake may have a shape of its own.
        otherwise: the sentence for an answer of the right shape that no known mistake gives.
        hint: the hint beside it.
        meaning: what was expected, as in "Expected …, got …".
        rtol: relative tolerance.
        atol: absolute tolerance.

    Returns:
        The answer as a float64 array.

    Raises:
        Stop: with the verdict on any other answer.
    """
    given = array(given, None, meaning)
    if same(given, expected, rtol, atol):
        return given
    if (found := _found(mistakes, given, rtol, atol)) is not None:
        raise Stop(found)
    array(given, np.shape(expected), meaning)
    raise Stop(wrong(otherwise, hint))


def alike(
    names: Sequence[str],
    mine: Iterable[Any],
    package: Iterable[Any],
    rounds: str,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Whether what the learner made is what the package makes, piece by piece.

    Args:
        names: of the pieces, as in "Your … and the package's differ."
        mine: what the learner's functions returned; None or ... where one is not written.
        package: the same from the package.
        rounds: where they are written, as in "Solve … first."
        rtol: relative tolerance.
        atol: absolute tolerance.

    Raises:
        Stop: at the first piece that is missing or differs.
    """
    for name, given, expected in zip(names, mine, package, strict=True):
        if given is None or given is ...:
            raise Stop(wrong(f"Not there yet: your {name}.", f"Solve {rounds} first."))
        if not same(given, expected, rtol, atol):
            raise Stop(wrong(f"Your {name} and the package's differ.", f"Solve {rounds} first."))


def random(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers (*shape,), float64, the same on every machine."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _found(mistakes: Iterable[Mistake], given: Any, rtol: float, atol: float) -> Verdict | None:
    for made, sentence, hint in mistakes:
        if callable(made):
            made = made(given)
        if made if isinstance(made, (bool, np.bool_)) else same(given, made, rtol, atol):
            return wrong(sentence, hint)
    return None


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    """(None, 3) as (any, 3)."""
    return f"({', '.join('any' if n is None else str(n) for n in shape)}{',' if len(shape) == 1 else ''})"
