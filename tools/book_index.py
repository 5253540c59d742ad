"""What a page may point to: the other pages, numbered equations and figures, sections, and the literature."""

from __future__ import annotations

import functools
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pybtex.database
from jupytext.myst import myst_to_notebook
from myst_blocks import Directive, Place, SourceError, walk
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

TARGET = re.compile(r"\(([\w:-]+)\)=\s*\n+#+ +(.+)")
TITLE = re.compile(r"(?:\([\w:-]+\)=\s+)?# +(.+)")


@dataclass(frozen=True)
class Label:
    """Something with a name: `words` is how a sentence calls it, `number` what the page prints beside it."""

    kind: str
    words: str
    number: str
    docname: str


@dataclass(frozen=True)
class Page:
    docname: str
    source: Path
    chapter: int | None  # as the table of contents numbers it; pages below a chapter share its number
    title: str
    notebook: NotebookNode  # as jupytext reads it; a page without code is one long Markdown cell

    @property
    def is_notebook(self) -> bool:
        return "kernelspec" in self.notebook.metadata

    def cells(self) -> Iterator[tuple[NotebookNode, Place]]:
        """The cells with their places in the source."""
        lines = self.source.read_text(encoding="utf-8").splitlines()
        for cell, line in zip(self.notebook.cells, self.notebook.metadata["source_map"], strict=True):
            # The map counts from 0, and for Markdown it names the blank lines before the text.
            if cell.cell_type == "markdown":
                while not lines[line].strip():
                    line += 1
                line += 1
            yield cell, Place(self.source, line)


class Book:
    """The pages that `book/_toc.yml` lists, in its order, and everything in them that has a name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.pages = {page.docname: page for page in _pages(folder)}
        self.labels: dict[str, Label] = {}
        self._counts: Counter = Counter()
        for page in self.pages.values():
            self._collect(page)

    @property
    def chapters(self) -> list[Page]:
        return [page for page in self.pages.values() if page.is_notebook]

    def page(self, name: str, origin: Page, place: Place) -> Page:
        """The page called `name`, as seen from the folder of the page `origin` or, failing that, from the root."""
        name = name.strip().removesuffix(".md").removesuffix(".ipynb")
        from_origin = posixpath.normpath(posixpath.join(posixpath.dirname(origin.docname), name))
        for docname in (from_origin, name.removeprefix("/")):
            if docname in self.pages:
                return self.pages[docname]
        raise SourceError(place, f"no page called {name!r} in the table of contents: name one that is listed there")

    def label(self, name: str, kinds: tuple[str, ...], place: Place) -> Label:
        label = self.labels.get(name)
        if label is None or label.kind not in kinds:
            known = ", ".join(sorted(key for key, value in self.labels.items() if value.kind in kinds)) or "none"
            raise SourceError(place, f"no {' or '.join(kinds)} is called {name!r}; there are: {known}")
        return label

    @functools.cached_property
    def bibliography(self) -> pybtex.database.BibliographyData:
        return pybtex.database.parse_file(str(self.folder / "references.bib"))

    def reference(self, key: str, place: Place) -> pybtex.database.Entry:
        try:
            return self.bibliography.entries[key]
        except KeyError:
            raise SourceError(place, f"the citation {key!r} is not in {self.folder.name}/references.bib") from None

    def _collect(self, page: Page) -> None:
        for cell, place in page.cells():
            if cell.cell_type == "code":
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                if figure.get("caption"):
                    self._number("figure", figure.get("name"), figure["caption"], page, place)
            else:
                for name, title in TARGET.findall(cell.source):
                    self._add(name, Label("section", title.strip(), "", page.docname), place)
                for directive in walk(cell.source, place):
                    self._collect_directive(directive, page)

    def _collect_directive(self, directive: Directive, page: Page) -> None:
        name = directive.options.get("name")
        if directive.name == "math" and (label := directive.options.get("label") or name):
            self._number("equation", label, "", page, directive.place)
        elif directive.name == "figure" and directive.body.strip():
            self._number("figure", name, directive.body, page, directive.place)
        elif directive.name == "table" and directive.argument:
            self._number("table", name, directive.argument, page, directive.place)

    def _number(self, kind: str, name: str | None, words: str, page: Page, place: Place) -> None:
        # Sphinx counts per chapter, and over the whole book where there is no chapter number; also what has no name.
        self._counts[kind, page.chapter] += 1
        count = self._counts[kind, page.chapter]
        number = f"{page.chapter}.{count}" if page.chapter else str(count)
        self._add(name or f"{page.docname}:{place.line}", Label(kind, words, number, page.docname), place)

    def _add(self, name: str, label: Label, place: Place) -> None:
        if name in self.labels:
            raise SourceError(place, f"{name!r} is the name of two things: the other is in {self.labels[name].docname}")
        self.labels[name] = label


def _pages(folder: Path) -> list[Page]:
    toc = folder / "_toc.yml"
    if not toc.is_file():
        raise FileNotFoundError(f"No table of contents at {toc}: give the folder of the book's sources.")
    site_map = parse_toc_yaml(toc)
    pages = []
    last_chapter = 0

    def visit(docname: str, chapter: int | None) -> None:
        nonlocal last_chapter
        pages.append(_page(folder, docname, chapter))
        for tree in site_map[docname].subtrees if docname in site_map else ():
            for child in tree.files():
                # Numbers run on from part to part, as sphinx-multitoc-numbering has it.
                if chapter is None and tree.numbered:
                    last_chapter += 1
                    visit(child, last_chapter)
                else:
                    visit(child, chapter)

    visit(site_map.root.docname, None)
    return pages


def _page(folder: Path, docname: str, chapter: int | None) -> Page:
    docname = docname.removesuffix(".md")
    source = folder / f"{docname}.md"
    if not source.is_file():
        raise FileNotFoundError(
            f"{folder.name}/_toc.yml lists {docname!r} and there is no {source}: write or unlist it."
        )
    # jupytext's reader, called below its front door because only there does it tell the lines that cells begin at.
    notebook = myst_to_notebook(source.read_text(encoding="utf-8"), add_source_map=True)
    title = TITLE.match(notebook.cells[0].source) if notebook.cells else None
    if title is None:
        raise SourceError(Place(source, 1), "a page begins with its title, a line that begins with '# '")
    return Page(docname, source, chapter, title[1].strip(), notebook)
