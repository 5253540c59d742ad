"""Split MyST Markdown into prose, plain code and directives: just enough syntax to rewrite it as plain Markdown.

A Markdown parser gives tokens, and tokens do not go back to Markdown. Chapters use few constructs, so the lines are
read here, by the two rules that MyST itself follows: a fence ends at the first line with at least as many of its own
character, and what stands between is the directive's own text, to be read again by whoever wants it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from myst_parser.parsers.options import TokenizeError, options_to_items

FENCE = re.compile(r"(?P<indent>\s*)(?P<marker>:{3,}|~{3,}|`{3,}(?=[^`]*$))\s*(?P<info>.*)$")
DIRECTIVE = re.compile(r"\{(?P<name>[^}\s]+)\}\s*(?P<argument>.*)$")
OPTION = re.compile(r":[\w-]+:(\s|$)")

# Their body is not Markdown that could hold more directives.
LEAVES = {"math", "code-block", "code", "image", "bibliography", "chapter-card"}


class SourceError(ValueError):
    """A chapter says something that has no translation. The message begins with file and line, as a compiler's does."""

    def __init__(self, place: Place, message: str):
        super().__init__(f"{place}: {message}")


@dataclass(frozen=True)
class Place:
    """A line (counted from 1) of a source file."""

    file: Path
    line: int

    def __add__(self, lines: int) -> Place:
        return Place(self.file, self.line + lines)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Prose:
    text: str
    place: Place


@dataclass(frozen=True)
class PlainCode:
    """A fence without a directive, kept as it stands."""

    text: str
    place: Place


@dataclass(frozen=True)
class Directive:
    name: str
    argument: str
    body: str
    place: Place
    body_place: Place
    indent: str = ""
    options: dict[str, str] = field(default_factory=dict)


Block = Prose | PlainCode | Directive


def blocks(text: str, place: Place) -> Iterator[Block]:
    """The blocks of `text`, whose first line stands at `place`, in order."""
    lines = text.split("\n")
    prose_start = i = 0
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if fence is None:
            i += 1
            continue
        yield from _prose(lines, prose_start, i, place)
        end = _closing_line(lines, i, fence["marker"], place)
        directive = DIRECTIVE.match(fence["info"])
        if directive:
            body = [line.removeprefix(fence["indent"]) for line in lines[i + 1 : end]]
            yield _directive(directive, body, place + i, fence["indent"])
        elif fence["marker"].startswith(":"):
            raise SourceError(place + i, f"{lines[i].strip()!r} opens a directive without a name, or closes none")
        else:
            yield PlainCode("\n".join(lines[i : end + 1]), place + i)
        prose_start = i = end + 1
    yield from _prose(lines, prose_start, len(lines), place)


def walk(text: str, place: Place) -> Iterator[Directive]:
    """Every directive of `text`, also inside others, in the order of the page."""
    for block in blocks(text, place):
        if isinstance(block, Directive):
            yield block
            if block.name not in LEAVES:
                yield from walk(block.body, block.body_place)


def _prose(lines: list[str], start: int, end: int, place: Place) -> Iterator[Prose]:
    while start < end and not lines[start].strip():
        start += 1
    text = "\n".join(lines[start:end]).rstrip()
    if text:
        yield Prose(text, place + start)


def _closing_line(lines: list[str], start: int, marker: str, place: Place) -> int:
    closing = re.compile(rf"\s*{re.escape(marker[0])}{{{len(marker)},}}\s*$")
    for i in range(start + 1, len(lines)):
        if closing.match(lines[i]):
            return i
    raise SourceError(
        place + start,
        f"{lines[start].strip()!r} is not closed where it stands: give an outer fence more characters than the inner"
        " ones, and keep code cells out of directives",
    )


def _directive(head: re.Match, body: list[str], place: Place, indent: str) -> Directive:
    if body and body[0].strip() == "---":
        end = next((i for i, line in enumerate(body[1:], start=1) if line.strip() == "---"), None)
        if end is None:
            raise SourceError(place, f"the options of {{{head['name']}}} begin with '---' and do not end with it")
        options, used = textwrap.dedent("\n".join(body[1:end])), end + 1
    else:
        used = next((i for i, line in enumerate(body) if not OPTION.match(line)), len(body))
        options = "\n".join(line.removeprefix(":") for line in body[:used])
    try:
        items, _ = options_to_items(options)
    except TokenizeError as error:
        raise SourceError(place, f"the options of {{{head['name']}}} cannot be read: {error}") from error
    return Directive(
        name=head["name"],
        argument=head["argument"].strip(),
        body="\n".join(body[used:]),
        place=place,
        body_place=place + 1 + used,
        indent=indent,
        options=dict(items),
    )
