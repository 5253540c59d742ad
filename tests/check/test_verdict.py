"""What holds for every checker: no exception reaches the learner, and each answer is a sentence."""

import numpy as np
import pytest

from climax_lite.check import Verdict, attempt, checker, not_yet, right, wrong


@checker
def double(function) -> Verdict:
    answer = attempt(function, 21)
    return right("Twice the number.") if answer + 0 == 42 else wrong(f"Expected 42, got {answer}.", "What is twice 21?")


def stub(x): ...


def documented_stub(x):
    """Twice x.

    With a docstring of some length, as the stubs of the book have.
    """
    ...


def passes(x):
    pass


def prints(x):
    print(2 * x)


def forgets(x):
    if x < 0:
        return 2 * x


def says_so(x):
    raise NotImplementedError


def library_cannot(x):
    raise NotImplementedError("grouping by several variables")


def divides(x):
    return x / 0


def recursive(x):
    return recursive(x)


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [
        (lambda x: 2 * x, "right", "Twice the number."),
        (lambda x: x, "wrong", "Expected 42, got 21."),
        (stub, "not yet", "Not yet"),
        (documented_stub, "not yet", "Not yet"),
        (passes, "not yet", "Not yet"),
        (prints, "wrong", "returned None for these inputs"),
        (forgets, "wrong", "returned None for these inputs"),
        (says_so, "not yet", "Not yet"),
        (library_cannot, "wrong", "NotImplementedError in its line LINE: grouping by several variables"),
        (divides, "wrong", "ZeroDivisionError in its line LINE: division by zero"),
        (recursive, "wrong", "RecursionError"),
        (lambda: 42, "wrong", "TypeError"),
        (42, "wrong", "Expected a function, got int."),
        (None, "wrong", "Expected a function, got NoneType."),
        (lambda x: "forty-two", "wrong", "a form that cannot be checked (TypeError"),
        (lambda x: np.array([42, 1]), "wrong", "a form that cannot be checked (ValueError"),
    ],
)
def test_every_answer_is_a_sentence(answer, state, says):
    verdict = double(answer)
    if "LINE" in says:  # where the function's own body begins, one below its `def`
        says = says.replace("LINE", str(answer.__code__.co_firstlineno + 1))
    assert verdict.state == state
    assert says in verdict.sentence
    assert verdict.ok == bool(verdict) == (state == "right")


def test_how_a_verdict_looks():
    assert repr(right("Good.")) == "✓ Good."
    assert repr(wrong("Bad.", "Look.")) == "✗ Bad.\n  Hint: Look."
    assert repr(not_yet("Later.")) == "○ Later."
    page = wrong("a < b", "use <")._repr_html_()
    assert "climax-verdict-no" in page
    assert "a &lt; b" in page
    assert "use &lt;" in page
