"""What a checker answers, and how a learner's function is called without a traceback reaching the learner."""

from __future__ import annotations

import dis
import functools
import html
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """A checker's answer: `state` is `right`, `wrong` or `not yet`; `hint` helps without giving the answer away."""

    state: str
    sentence: str
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Whether the exercise is solved."""
        return self.state == "right"

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        mark = {"right": "✓", "wrong": "✗", "not yet": "○"}[self.state]
        return f"{mark} {self.sentence}" + (f"\n  Hint: {self.hint}" if self.hint else "")

    def _repr_html_(self) -> str:
        kind = {"right": "ok", "wrong": "no", "not yet": "todo"}[self.state]
        mark = {"right": "✓", "wrong": "✗", "not yet": "○"}[self.state]
        hint = f'<br><span class="climax-verdict-hint">Hint: {html.escape(self.hint)}</span>' if self.hint else ""
        style = {"ok": "#2a7f3f", "no": "#b3381f", "todo": "#767676"}[kind]
        return (
            f'<div class="climax-verdict climax-verdict-{kind}" role="status" style="border-left:4px solid {style};padding:.3em .8em;margin:.4em 0">'
            f"<strong>{mark}</strong> {html.escape(self.sentence)}{hint}</div>"
        )


def right(sentence: str) -> Verdict:
    """The exercise is solved; the sentence says what the learner has now."""
    return Verdict("right", sentence)


def wrong(sentence: str, hint: str = "") -> Verdict:
    """A mistake, named."""
    return Verdict("wrong", sentence, hint)


def not_yet(
    sentence: str = "Not yet: the function returns nothing. Write its body in place of the three dots, run the cell, then this one.",
) -> Verdict:
    """The stub, untouched."""
    return Verdict("not yet", sentence)


class Stop(Exception):
    """Ends a checker early with a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


def attempt(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the learner's function inside a `checker`; an exception or a missing answer becomes the verdict.

    A function whose body is still `...` or `pass` reads as "not yet"; one that does something and returns None is a mistake.
    """
    if not callable(function):
        raise Stop(
            wrong(
                f"Expected a function, got {type(function).__name__}.", "Pass the function itself, without calling it."
            )
        )
    try:
        answer = function(*args, **kwargs)
    except NotImplementedError as error:
        # A stub may say so by itself; a library that cannot do something says what.
        if not str(error):
            raise Stop(not_yet()) from None
        raise Stop(_stopped(error)) from None
    except Exception as error:
        raise Stop(_stopped(error)) from None
    if answer is None or answer is ...:
        raise Stop(
            not_yet()
            if answer is ... or _is_stub(function)
            else wrong("Your function returned None for these inputs.", "Is there a path through it without `return`?")
        )
    return answer


def checker(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Turn a function of the learner's object into a checker from which no exception escapes.

    An exception in the check itself, from an answer of a kind that nobody foresaw, becomes a verdict too.
    """

    @functools.wraps(check)
    def answer(*args: Any, **kwargs: Any) -> Verdict:
        try:
            return check(*args, **kwargs)
        except Stop as stop:
            return stop.verdict
        except Exception as error:
            return wrong(
                f"Your answer has a form that cannot be checked ({type(error).__name__}: {error}).",
                "Look at what the docstring says the function returns: its type, its shape, its names.",
            )

    return answer


def _is_stub(function: Any) -> bool:
    """Whether a Python function does nothing but return a constant: its body is still `...` or `pass`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    return code is not None and all(step.opname in idle for step in dis.get_instructions(code))


def _stopped(error: Exception) -> Verdict:
    return wrong(
        f"Your function stopped with {type(error).__name__}{_line_of(error)}: {error}",
        "Call it by hand in a cell of its own to see the whole message.",
    )


def _line_of(error: BaseException) -> str:
    """Where in the learner's code the error arose: the last frame outside this package and outside libraries."""
    frame, line = error.__traceback__, None
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if "site-packages" not in name and "climax_lite" not in name and not name.startswith("<frozen"):
            line = frame.tb_lineno
        frame = frame.tb_next
    return f" in its line {line}" if line else ""
