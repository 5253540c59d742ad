"""Make the learner's notebook of every chapter: `python tools/notebooks.py`.

The source of a chapter is MyST Markdown. Colab and JupyterLab show plain Markdown and a little HTML, so directives and
roles are rewritten as the nearest thing that they show. What has no translation is an error, never raw text.

    python tools/notebooks.py               write book/**/*.ipynb
    python tools/notebooks.py --check       name the notebooks that are not what their sources say, and fail
    python tools/notebooks.py --solved DIR  write notebooks whose solution cells run, for the tests
"""

from __future__ import annotations

import argparse
import functools
import html
import posixpath
import re
import sys
import textwrap
from pathlib import Path

import nbformat
import pybtex.database
import pybtex.richtext
from book_index import Book, Label, Page
from myst_blocks import Directive, Place, PlainCode, SourceError, blocks
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "climax-lite/climax-lite"
BRANCH = "main"

# The first code cell of every notebook. The checkout goes on sys.path because a running kernel does not see an editable
# install before it restarts. The package asks for lower bounds only, so Colab's torch and numpy stay as they are.
SETUP = f"""\
# On Colab this cell fetches the course and what it needs, once. Anywhere else it does nothing.
import importlib.util
import subprocess
import sys
from pathlib import Path

if "google.colab" in sys.modules and importlib.util.find_spec("climax_lite") is None:
    checkout = Path("climax-lite").resolve()
    try:
        if not checkout.exists():
            clone = ["git", "clone", "--quiet", "--depth", "1", "https://github.com/{REPOSITORY}", str(checkout)]
            subprocess.run(clone, check=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--editable", f"{{checkout}}[notebook]"]
        subprocess.run(install, check=True)
    except subprocess.CalledProcessError:
        raise RuntimeError(
            "The course could not be fetched: see that this session has a network connection, and run this cell again."
        ) from None
    sys.path.insert(0, str(checkout))"""

GLUE_LEGEND = "*⟨…⟩ stands for a value that the cells of this notebook compute and print.*"

TIERS = {
    "tiny": "any laptop, no GPU; the data are in the repository",
    "colab": "one small GPU, such as Colab lends",
    "full": "one large GPU, or several",
}

# The tags of CONTRIBUTING.md. The tests look for these three; the others matter only to the page.
KEPT_TAGS = {"stub", "solution", "check"}
TAGS = KEPT_TAGS | {"hide-input", "page-only"}

ADMONITIONS = {
    "admonition", "attention", "caution", "danger", "error", "hint", "important", "margin", "note", "seealso",
    "sidebar", "tip", "warning",
}  # fmt: skip
HAS_TITLE_ARGUMENT = {"admonition", "sidebar"}
TITLES = {"admonition": "", "margin": "Aside", "sidebar": "", "seealso": "See also"}

INLINE = re.compile(
    r"""
    (?P<escape>\\.)
    | (?:\{(?P<role>[\w:.+-]+)\})? (?P<ticks>(?<!`)`+) (?P<content>.+?) (?<!`)(?P=ticks)(?!`)
    | (?P<math>\$\$.+?\$\$ | \$[^$]+\$)
    | (?P<image>!?) \[ (?P<text>(?:[^\[\]]|\[[^\[\]]*\])*) \] \( (?P<target>[^()\s]+) (?P<tooltip>\s+"[^"]*")? \)
    """,
    re.VERBOSE | re.DOTALL,
)
WITH_TEXT = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
PARAGRAPH = re.compile(r"(\n[ \t]*\n)")
URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)

# MyST that would reach the reader raw because it is neither a fence at the start of a line nor a role.
NOT_PLAIN = (
    (re.compile(r"(:{3,}|`{3,}|~{3,})\s*\{"), "a directive must begin its line"),
    (re.compile(r"\$\$\s*\([\w:-]+\)\s*$"), "number an equation with the math directive and its :label:"),
    (re.compile(r"\[\^[\w-]+\]"), "notebooks show no footnotes: say it in the text or in a note"),
    (re.compile(r"^: "), "notebooks show no definition lists: use a list or a table"),
)


def notebook(book: Book, page: Page, *, solved: bool = False) -> nbformat.NotebookNode:
    """The notebook of one chapter; `solved` makes its solutions run where they stand."""
    translator = Translator(book, page)
    cells = []
    for cell, place in page.cells():
        if cell.cell_type == "markdown":
            cells.append(new_markdown_cell(translator.markdown(cell.source, place)))
        else:
            cells += _code_cells(cell, place, translator, solved)

    title, _, rest = cells[0].source.partition("\n")
    colab = f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/book/{page.docname}.ipynb"
    head = [title, f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"]
    if translator.has_glue:
        head.append(GLUE_LEGEND)
    cells[:1] = [new_markdown_cell("\n\n".join(head)), new_code_cell(SETUP), new_markdown_cell(rest.strip())]

    cells = [cell for cell in cells if cell.source]
    for number, cell in enumerate(cells):
        # nbformat would draw random ids; these are the ones that nbstripout gives.
        cell.id = str(number)
    result = new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    nbformat.validate(result)
    return result


def serialise(node: nbformat.NotebookNode) -> str:
    return nbformat.writes(node) + "\n"


def _code_cells(cell, place: Place, translator: Translator, solved: bool) -> list[nbformat.NotebookNode]:
    tags = set(cell.metadata.get("tags", []))
    if unknown := sorted(tags - TAGS):
        raise SourceError(place, f"unknown cell tag {', '.join(unknown)}; known are {', '.join(sorted(TAGS))}")
    if "page-only" in tags:
        return []
    if "solution" in tags and not solved:
        fence = "````" if "```" in cell.source else "```"
        return [new_markdown_cell(details("Solution", f"{fence}python\n{cell.source}\n{fence}"))]
    kept = sorted(tags & KEPT_TAGS)
    cells = [new_code_cell(cell.source, metadata={"tags": kept} if kept else {})]
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if figure.get("caption"):
        cells.append(new_markdown_cell(translator.caption(figure.get("name"), figure["caption"], place)))
    return cells


def details(title: str, body: str) -> str:
    """A folded text. Markdown inside HTML is read as Markdown only between blank lines."""
    summary = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(title, quote=False))
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def quote(*paragraphs: str) -> str:
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return textwrap.indent(text, "> ", lambda line: bool(line.strip())).replace("\n\n", "\n>\n")


class Translator:
    """Rewrites the MyST of one page as Markdown that every notebook viewer shows."""

    def __init__(self, book: Book, page: Page):
        self.book = book
        self.page = page
        self.has_glue = False
        self.cited: dict[str, pybtex.database.Entry] = {}

    def markdown(self, text: str, place: Place) -> str:
        parts = []
        for block in blocks(text, place):
            if isinstance(block, Directive):
                parts.append(textwrap.indent(self.directive(block), block.indent))
            elif isinstance(block, PlainCode):
                parts.append(block.text)
            else:
                parts.append(self.prose(block.text, block.place))
        return "\n\n".join(part for part in parts if part.strip())

    def prose(self, text: str, place: Place) -> str:
        for number, line in enumerate(text.split("\n")):
            for pattern, sentence in NOT_PLAIN:
                if pattern.search(line):
                    raise SourceError(place + number, sentence)
        # Comments and targets go only afterwards, so that the lines are still those of the source.
        paragraphs = PARAGRAPH.split(text)
        translated = []
        for paragraph in paragraphs:
            translated.append(self.inline(paragraph, place))
            place += paragraph.count("\n")
        lines = [line for line in "".join(translated).split("\n") if not re.match(r"%|\([\w:-]+\)=\s*$", line)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")

    def inline(self, text: str, place: Place) -> str:
        """Roles and links. `place` is where `text` begins."""

        def replace(match: re.Match) -> str:
            here = place + text.count("\n", 0, match.start())
            if match["role"]:
                return self.role(match["role"], " ".join(match["content"].split()), here)
            if match["target"]:
                return self.link(match, here)
            return match[0]

        return INLINE.sub(replace, text)

    # Directives

    def directive(self, node: Directive) -> str:
        if node.name in ADMONITIONS:
            return self.admonition(node)
        translate = self.DIRECTIVES.get(node.name)
        if translate is None:
            known = ", ".join(sorted({*self.DIRECTIVES, *ADMONITIONS}))
            raise SourceError(node.place, f"no notebook can show the directive {{{node.name}}}; known are {known}")
        return translate(self, node)

    def body(self, node: Directive) -> str:
        return self.markdown(node.body, node.body_place)

    def admonition(self, node: Directive) -> str:
        title, lead = TITLES.get(node.name, node.name.capitalize()), ""
        if node.name in HAS_TITLE_ARGUMENT:
            title = self.inline(node.argument, node.place)
        else:
            lead = self.inline(node.argument, node.place)
        body = "\n\n".join(part for part in (lead, self.body(node)) if part)
        if "dropdown" in node.options.get("class", "").split():
            return details(title, body)
        return quote(f"**{title}**" if title else "", body)

    def chapter_card(self, node: Directive) -> str:
        facts = []
        if builds := _listed(node, "builds"):
            facts.append(f"**You will build** {', '.join(f'`{name}`' for name in builds)}")
        if tier := node.options.get("tier"):
            if tier not in TIERS:
                raise SourceError(node.place, f"unknown tier {tier!r}: it is one of {', '.join(TIERS)}")
            facts.append(f"**Hardware tier** {tier}: {TIERS[tier]}")
        if minutes := node.options.get("exercise-minutes"):
            facts.append(f"**Exercises** about {minutes} minutes")
        if needs := _listed(node, "needs"):
            pages = (self.book.page(name, self.page, node.place) for name in needs)
            facts.append(f"**You need** {', '.join(f'[{page.title}]({self.path_to(page)})' for page in pages)}")
        return quote(*facts)

    def dropdown(self, node: Directive) -> str:
        return details(self.inline(node.argument, node.place) or "Details", self.body(node))

    def figure(self, node: Directive) -> str:
        caption = self.caption(node.options.get("name"), node.body, node.place) if node.body.strip() else ""
        return "\n\n".join(part for part in (self.image(node), caption) if part)

    def image(self, node: Directive) -> str:
        alt = " ".join(node.options.get("alt", "").split()).replace("[", "(").replace("]", ")")
        return f"![{alt}]({self.file_url(node.argument, node.place, raw=True)})"

    def math(self, node: Directive) -> str:
        formula = "\n".join(part for part in (node.argument, node.body.strip()) if part)
        if "\n\n" in formula:
            raise SourceError(node.place, "a formula has no blank line: use one math directive for each")
        if "\\\\" in formula:
            # Sphinx does the same, so that `&` and `\\` mean on the page what they mean here.
            formula = f"\\begin{{split}}\n{formula}\n\\end{{split}}"
        if name := node.options.get("label") or node.options.get("name"):
            formula += f"\n\\tag{{{self.book.labels[name].number}}}"
        return f"$$\n{formula}\n$$"

    def table(self, node: Directive) -> str:
        caption = self.caption(node.options.get("name"), node.argument, node.place) if node.argument else ""
        return "\n\n".join(part for part in (caption, self.body(node)) if part)

    def code_block(self, node: Directive) -> str:
        fence = "````" if "```" in node.body else "```"
        return f"{fence}{node.argument}\n{node.body.strip(chr(10))}\n{fence}"

    def titled(self, node: Directive) -> str:
        title = f"**{self.inline(node.argument, node.place)}**" if node.argument else ""
        if target := node.options.get("link"):
            title = f"[{title}]({self.target(target, node.place)})"
        return "\n\n".join(part for part in (title, self.body(node)) if part)

    def bibliography_list(self, node: Directive) -> str:
        lines = []
        for key in sorted(self.cited):
            entry = self.cited[key]
            title = _plain(entry.fields.get("title", key))
            link = _url(entry)
            lines.append(f"- {_authors(entry)} ({_year(entry)}). {f'[{title}]({link})' if link else title}.")
        return "\n".join(lines)

    DIRECTIVES = {  # noqa: RUF012
        "bibliography": bibliography_list,
        "card": titled,
        "chapter-card": chapter_card,
        "code": code_block,
        "code-block": code_block,
        "dropdown": dropdown,
        "figure": figure,
        "grid": body,
        "grid-item": body,
        "grid-item-card": titled,
        "image": image,
        "math": math,
        "tab-item": titled,
        "tab-set": body,
        "table": table,
    }

    # Roles

    def role(self, name: str, content: str, place: Place) -> str:
        translate = self.ROLES.get(name)
        if translate is None:
            known = ", ".join(sorted(self.ROLES))
            raise SourceError(place, f"no notebook can show the role {{{name}}}; known are {known}")
        return translate(self, content, place)

    def cite_text(self, content: str, place: Place) -> str:
        return ", ".join(
            _linked(f"{_authors(entry)} ({_year(entry)})", _url(entry)) for entry in self.cite(content, place)
        )

    def cite_parenthesis(self, content: str, place: Place) -> str:
        entries = self.cite(content, place)
        return f"({'; '.join(_linked(f'{_authors(entry)}, {_year(entry)}', _url(entry)) for entry in entries)})"

    def cite(self, content: str, place: Place) -> list[pybtex.database.Entry]:
        entries = {key: self.book.reference(key, place) for key in map(str.strip, content.split(","))}
        self.cited |= entries
        return list(entries.values())

    def doc(self, content: str, place: Place) -> str:
        text, target = _split_text(content)
        page = self.book.page(target, self.page, place)
        return f"[{text or page.title}]({self.path_to(page)})"

    def eq(self, content: str, place: Place) -> str:
        # The page prints the number in brackets and leaves the word "equation" to the sentence; so does this.
        label = self.book.label(content, ("equation",), place)
        return self.to_label(f"({label.number})", label)

    def glue(self, content: str, place: Place) -> str:
        self.has_glue = True
        key = content.rpartition("::")[2].partition(":")[0]
        return f"⟨{key.replace('_', ' ')}⟩"

    def numref(self, content: str, place: Place) -> str:
        text, target = _split_text(content)
        label = self.book.label(target, ("figure", "table"), place)
        words = (text or f"{label.kind.capitalize()} %s").replace("{number}", "%s").replace("{name}", label.words)
        return self.to_label(words.replace("%s", label.number), label)

    def ref(self, content: str, place: Place) -> str:
        text, target = _split_text(content)
        label = self.book.label(target, ("section", "figure", "table"), place)
        return self.to_label(text or (label.words if label.kind == "section" else self.numref(target, place)), label)

    def words(self, content: str, place: Place) -> str:
        return _split_text(content)[0] or content

    def tag(self, content: str, place: Place, *, name: str) -> str:
        return f"<{name}>{html.escape(content, quote=False)}</{name}>"

    ROLES = {  # noqa: RUF012
        # "ACC (anomaly correlation coefficient)" reads as well written out as it does under the mouse.
        "abbr": lambda self, content, place: content,
        "cite": cite_parenthesis,
        "cite:p": cite_parenthesis,
        "cite:t": cite_text,
        "doc": doc,
        "eq": eq,
        "glue": glue,
        "glue:text": glue,
        "math": lambda self, content, place: f"${content}$",
        "numref": numref,
        "ref": ref,
        "sub": functools.partial(tag, name="sub"),
        "sup": functools.partial(tag, name="sup"),
        "term": words,
    }

    # Links

    def link(self, match: re.Match, place: Place) -> str:
        text, target = self.inline(match["text"], place), match["target"]
        if match["image"]:
            target = target if URL.match(target) else self.file_url(target, place, raw=True)
            return f"![{text}]({target}{match['tooltip'] or ''})"
        if target.startswith("#"):
            # Viewers disagree on the anchors of headings; a link that leads nowhere is worse than none.
            if not text:
                raise SourceError(place, f"the link to {target!r} needs a text, or one of the roles eq, numref and ref")
            return text
        if not text and target.partition("#")[0].endswith(".md"):
            text = self.book.page(target.partition("#")[0], self.page, place).title
        return f"[{text}]({self.target(target, place)}{match['tooltip'] or ''})"

    def target(self, target: str, place: Place) -> str:
        if URL.match(target):
            return target
        path = target.partition("#")[0]
        if path.endswith(".md"):
            return self.path_to(self.book.page(path, self.page, place))
        return self.file_url(path, place, raw=False)

    def path_to(self, page: Page) -> str:
        path = posixpath.relpath(page.docname, posixpath.dirname(self.page.docname) or ".")
        return f"{path}.ipynb" if page.is_notebook else f"{path}.md"

    def to_label(self, text: str, label: Label) -> str:
        same_page = label.docname == self.page.docname
        return text if same_page else _linked(text, self.path_to(self.book.pages[label.docname]))

    def file_url(self, path: str, place: Place, *, raw: bool) -> str:
        """Where a file of the repository is on the web: a notebook that Colab opens has no files beside it."""
        folder = self.book.folder if path.startswith("/") else self.page.source.parent
        file = (folder / path.lstrip("/")).resolve()
        root = self.book.folder.resolve().parent
        if not file.is_file() or not file.is_relative_to(root):
            raise SourceError(place, f"there is no file {path!r} in the repository, seen from this page")
        where = file.relative_to(root).as_posix()
        if raw:
            return f"https://raw.githubusercontent.com/{REPOSITORY}/{BRANCH}/{where}"
        return f"https://github.com/{REPOSITORY}/blob/{BRANCH}/{where}"

    def caption(self, name: str | None, text: str, place: Place) -> str:
        """A caption in italics, with the number that the page gives it."""
        label = self.book.labels[name or f"{self.page.docname}:{place.line}"]
        words = self.inline(" ".join(text.split()), place)
        return f"*{label.kind.capitalize()} {label.number}. {words}*"


def _listed(node: Directive, option: str) -> list[str]:
    return [name.strip() for name in node.options.get(option, "").split(",") if name.strip()]


def _split_text(content: str) -> tuple[str, str]:
    """`text <target>` → text and target; a bare target has no text."""
    match = WITH_TEXT.match(content)
    return (match["text"], match["target"]) if match else ("", content)


def _linked(text: str, url: str) -> str:
    return f"[{text}]({url})" if url else text


def _authors(entry: pybtex.database.Entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    if not people:
        return _plain(entry.fields.get("organization") or entry.fields["title"])
    names = [" ".join(map(_plain, person.prelast_names + person.last_names)) for person in people]
    if len(names) > 2 or names[-1] == "others":
        return f"{names[0]} et al."
    return " and ".join(names)


def _year(entry: pybtex.database.Entry) -> str:
    return entry.fields.get("year", "n.d.")


def _url(entry: pybtex.database.Entry) -> str:
    if doi := entry.fields.get("doi"):
        return f"https://doi.org/{doi}"
    if entry.fields.get("url"):
        return entry.fields["url"]
    if eprint := entry.fields.get("eprint"):
        return f"https://arxiv.org/abs/{eprint}"
    return ""


def _plain(latex: str) -> str:
    return str(pybtex.richtext.Text.from_latex(latex))


def orphans(book: Book) -> list[Path]:
    """Notebooks under the book's folder that no source of the table of contents makes."""
    made = {page.source.with_suffix(".ipynb") for page in book.chapters}
    found = (path for path in book.folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    return sorted(set(found) - made)


def drifted(book: Book) -> list[Path]:
    """Notebooks that are missing, or not what their source says."""
    return [
        target
        for page in book.chapters
        if not (target := page.source.with_suffix(".ipynb")).is_file()
        or target.read_bytes() != serialise(notebook(book, page)).encode()
    ]


def write(book: Book, folder: Path, *, solved: bool = False) -> list[Path]:
    written = []
    for page in book.chapters:
        target = folder / f"{page.docname}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, so that a line ends the same way on every system.
        target.write_bytes(serialise(notebook(book, page, solved=solved)).encode())
        written.append(target)
    return written


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--book", type=Path, default=ROOT / "book", help="the folder of the sources")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="write nothing; fail if a notebook drifted")
    choice.add_argument("--solved", type=Path, metavar="DIR", help="write the solved notebooks into DIR")
    options = parser.parse_args(arguments)
    try:
        book = Book(options.book)
        if options.solved:
            write(book, options.solved, solved=True)
            return 0
        stale = drifted(book) if options.check else []
        if not options.check:
            write(book, options.book)
    except (SourceError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in stale:
        print(f"{path}: not what its source says; run `make notebooks`", file=sys.stderr)
    lost = orphans(book)
    for path in lost:
        print(f"{path}: no source in the table of contents makes it; remove it or list the source", file=sys.stderr)
    return 1 if stale or lost else 0


if __name__ == "__main__":
    sys.exit(main())
