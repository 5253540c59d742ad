"""The generator of the notebooks, on small sources; and the notebooks of the book, executed."""

import importlib.util
import json
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))  # the tools are scripts, and import each other as scripts do
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import notebooks  # noqa: E402
from book_index import Book  # noqa: E402
from climax_book.execution import cache_folder, cache_key, executed_outputs  # noqa: E402
from jupyter_cache import get_cache  # noqa: E402
from jupyter_cache.base import CacheBundleIn  # noqa: E402
from myst_blocks import SourceError  # noqa: E402

FRONT_MATTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""

TOC = """\
format: jb-book
root: intro
parts:
  - caption: Weather
    numbered: true
    chapters:
      - file: weather/first
      - file: weather/second
  - caption: Appendix
    chapters:
      - file: glossary
"""

REFERENCES = r"""
@inproceedings{nguyen2023climax, title = {{ClimaX}}, year = {2023}, eprint = {2301.10343},
  author = {Nguyen, Tung and Brandstetter, Johannes and Kapoor, Ashish}}
@article{hersbach, title = {{ERA5}}, year = {2020}, doi = {10.1002/qj.3803}, author = {Hor{\'a}nyi, A. and Bell, B.}}
@misc{ecmwf, title = {The {IFS}}, year = {2020}, author = {{ECMWF}}, url = {https://ecmwf.int}}
"""

SECOND = """\
# Scores

(sec-acc)=
## Anomaly correlation

```{math}
:label: eq-acc
a = b
```

:::{figure} ../_static/figures/grid.svg
:alt: A grid of [boxes]
:name: fig-second
The *second* chapter's grid, from {cite:t}`ecmwf`.
:::
"""


@pytest.fixture
def make_book(tmp_path):
    """A book whose first chapter has the given text after its title."""

    def make(text, toc=TOC):
        folder = tmp_path / "book"
        files = {
            "_toc.yml": toc,
            "references.bib": REFERENCES,
            "intro.md": "# Welcome\n\nA page without code.\n",
            "glossary.md": "# Glossary\n\n:::{glossary}\nACC\n  A correlation.\n:::\n",
            "weather/first.md": f"{FRONT_MATTER}# First chapter\n\n{textwrap.dedent(text)}",
            "weather/second.md": FRONT_MATTER + SECOND,
            "_static/figures/grid.svg": "<svg/>",
        }
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        return Book(folder)

    return make


@pytest.fixture
def cells(make_book):
    """The cells of the first chapter's notebook, without title, set-up and what only this fixture adds."""

    def make(text, **options):
        book = make_book(text)
        return notebooks.notebook(book, book.pages["weather/first"], **options).cells[2:]

    return make


@pytest.fixture
def translate(cells):
    def make(text):
        (cell,) = cells(text)
        return cell.source

    return make


# The line of the first character of the text that `make_book` takes.
FIRST_LINE = FRONT_MATTER.count("\n") + 3


class TestHead:
    def test_title_badge_set_up_and_the_rest(self, make_book):
        book = make_book("Text.")
        title, set_up, rest = notebooks.notebook(book, book.pages["weather/first"]).cells
        assert title.source.startswith("# First chapter\n\n[![Open in Colab](")
        assert title.source.endswith("/github/climax-lite/climax-lite/blob/main/book/weather/first.ipynb)")
        assert (set_up.cell_type, set_up.source) == ("code", notebooks.SETUP)
        assert rest.source == "Text."

    def test_glue_is_explained_only_where_it_is_used(self, make_book):
        book = make_book("The error is {glue:text}`z500_persistence_3d:.1f` m² s⁻².")
        first, second = (notebooks.notebook(book, page).cells for page in book.chapters)
        assert notebooks.GLUE_LEGEND in first[0].source
        assert first[2].source == "The error is ⟨z500 persistence 3d⟩ m² s⁻²."
        assert notebooks.GLUE_LEGEND not in second[0].source

    def test_the_card(self, translate):
        card = """\
            :::{chapter-card}
            :builds: climax_lite.grid, climax_lite.metrics
            :tier: tiny
            :exercise-minutes: 50
            :needs: second
            :::
            """
        assert translate(card) == (
            "> **You will build** `climax_lite.grid`, `climax_lite.metrics`\n>\n"
            "> **Hardware tier** tiny: any laptop, no GPU; the data are in the repository\n>\n"
            "> **Exercises** about 50 minutes\n>\n"
            "> **You need** [Scores](second.ipynb)"
        )


class TestDirectives:
    def test_admonitions(self, translate):
        assert translate(":::{note}\nOne.\n\nTwo.\n:::") == "> **Note**\n>\n> One.\n>\n> Two."
        assert translate(":::{warning} One.\n:::") == "> **Warning**\n>\n> One."
        assert translate("```{admonition} A $w(φ)$\n:class: tip\n- a\n- b\n```") == "> **A $w(φ)$**\n>\n> - a\n> - b"

    def test_dropdowns_nest(self, translate):
        text = """\
            ::::{dropdown} Is `w < 1`?
            :open:
            Yes.

            :::{dropdown} Why
            ```python
            :::{note}
            ```
            :::
            ::::
            """
        assert translate(text) == (
            "<details>\n<summary>Is <code>w &lt; 1</code>?</summary>\n\nYes.\n\n"
            "<details>\n<summary>Why</summary>\n\n```python\n:::{note}\n```\n\n</details>\n\n</details>"
        )

    def test_what_is_indented_stays_in_its_list(self, translate):
        text = "1. One\n\n   :::{tip}\n   Two.\n   :::\n\n2. Three"
        assert translate(text) == "1. One\n\n   > **Tip**\n   >\n   > Two.\n\n2. Three"

    def test_figures(self, cells):
        text = ":::{figure} ../_static/figures/grid.svg\n:alt: A grid: [boxes]\n:name: fig-a\nThe $32 × 64$ grid.\n:::"
        assert cells(text)[0].source == (
            "![A grid: (boxes)]"
            "(https://raw.githubusercontent.com/climax-lite/climax-lite/main/book/_static/figures/grid.svg)\n\n"
            "*Figure 1.1. The $32 × 64$ grid.*"
        )

    def test_formulas_have_the_number_of_the_page(self, translate):
        text = """\
            ```{math}
            x = 1
            ```
            ```{math}
            :label: eq-a
            a &= b \\\\
            c &= d
            ```
            ```{math}
            :label: eq-b
            e
            ```
            """
        assert translate(text) == (
            "$$\nx = 1\n$$\n\n"
            "$$\n\\begin{split}\na &= b \\\\\nc &= d\n\\end{split}\n\\tag{1.1}\n$$\n\n"
            "$$\ne\n\\tag{1.2}\n$$"
        )

    def test_tables_have_a_caption_above(self, translate):
        text = ":::{table} Scores in {term}`ACC`\n:name: tab-a\n| a | b |\n|---|---|\n| 1 | 2 |\n:::"
        assert translate(text) == "*Table 1.1. Scores in ACC*\n\n| a | b |\n|---|---|\n| 1 | 2 |"

    def test_layout_leaves_its_content(self, translate):
        text = "::::{tab-set}\n:::{tab-item} One\nA\n:::\n:::{tab-item} Two\nB\n:::\n::::"
        assert translate(text) == "**One**\n\nA\n\n**Two**\n\nB"
        text = "::::{grid} 1 2 2 2\n:::{grid-item-card} Go\n:link: second.md\nA\n:::\n::::"
        assert translate(text) == "[**Go**](second.ipynb)\n\nA"

    def test_code_is_left_alone(self, translate):
        text = "```python\n% {eq}`x` [a](second.md)\n```"
        assert translate(text) == text
        assert translate("```{code-block} bash\nmake book\n```") == "```bash\nmake book\n```"

    def test_the_literature_of_the_chapter(self, translate):
        text = "{cite:p}`hersbach`.\n\n```{bibliography}\n:filter: docname in docnames\n```"
        assert translate(text).endswith("\n\n- Horányi and Bell (2020). [ERA5](https://doi.org/10.1002/qj.3803).")


class TestInline:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("{cite:t}`nguyen2023climax`", "[Nguyen et al. (2023)](https://arxiv.org/abs/2301.10343)"),
            (
                "{cite:p}`hersbach,ecmwf`",
                "([Horányi and Bell, 2020](https://doi.org/10.1002/qj.3803); [ECMWF, 2020](https://ecmwf.int))",
            ),
            ("equation {eq}`eq-acc`", "equation [(2.1)](second.ipynb)"),
            ("{numref}`fig-second`", "[Figure 2.1](second.ipynb)"),
            ("{numref}`map %s <fig-second>`", "[map 2.1](second.ipynb)"),
            ("{ref}`sec-acc`", "[Anomaly correlation](second.ipynb)"),
            ("{doc}`second`", "[Scores](second.ipynb)"),
            ("{doc}`home </intro>`", "[home](../intro.md)"),
            ("[the *scores*](second.md)", "[the *scores*](second.ipynb)"),
            ("[](second.md)", "[Scores](second.ipynb)"),
            ("[a](second.md#anomaly-correlation)", "[a](second.ipynb)"),
            ("[above](#some-heading)", "above"),
            ("[web](https://example.org/a.md)", "[web](https://example.org/a.md)"),
            (
                "[file](../_static/figures/grid.svg)",
                "[file](https://github.com/climax-lite/climax-lite/blob/main/book/_static/figures/grid.svg)",
            ),
            ("{term}`RMSEs <RMSE>` and {term}`ACC`", "RMSEs and ACC"),
            ("{abbr}`ACC (anomaly correlation)`", "ACC (anomaly correlation)"),
            ("{math}`x_i` H{sub}`2`O", "$x_i$ H<sub>2</sub>O"),
            ("``{eq}`eq-acc` `` and `[a](second.md)`", "``{eq}`eq-acc` `` and `[a](second.md)`"),
            (r"$\hat{X}_{i}$ and $$\sum_i {w}$$", r"$\hat{X}_{i}$ and $$\sum_i {w}$$"),
            ("one\n% a comment\n\n% and\n% another\n\ntwo", "one\n\ntwo"),
            ("(sec-here)=\n## Here\n\n{ref}`sec-here`", "## Here\n\nHere"),
        ],
    )
    def test_what_it_becomes(self, translate, source, expected):
        assert translate(source) == expected


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "line", "message"),
        [
            ("a\n\n:::{marquee}\nb\n:::", 2, "no notebook can show the directive {marquee}"),
            ("::::{note}\n:::{marquee}\nb\n:::\n::::", 1, "no notebook can show the directive {marquee}"),
            ("a\nb {shout}`c`", 1, "no notebook can show the role {shout}"),
            ("a\n\nb\n{cite:t}`nobody`", 3, "the citation 'nobody' is not in book/references.bib"),
            ("{eq}`eq-none`", 0, "no equation is called 'eq-none'; there are: eq-acc"),
            ("{numref}`eq-acc`", 0, "no figure or table is called 'eq-acc'"),
            ("a\n[b](third.md)", 1, "no page called 'third.md'"),
            ("![b](third.png)", 0, "no file 'third.png'"),
            ("[](#somewhere)", 0, "needs a text"),
            ("a\n:::{note}\nb", 1, "':::{note}' is not closed"),
            (":::{note}\n:::{tip}\na\n:::\n:::", 1, "give an outer fence more characters"),
            ("a\n\n:::\n", 2, "is not closed"),
            ("a\n\n:::\nb\n:::", 2, "opens a directive without a name"),
            ("::::{dropdown} a\n```{code-cell} python\n1\n```\n::::", 0, "keep code cells out of directives"),
            ("> :::{note}\n> a\n> :::", 0, "a directive must begin its line"),
            ("$$\na\n$$ (eq-x)", 2, "math directive"),
            ("a[^1]", 0, "no footnotes"),
            ("```{code-cell} python\n:tags: [solved]\n1\n```", 0, "unknown cell tag solved"),
            ("```{math}\n:label: eq-acc\na\n```", 0, "'eq-acc' is the name of two things"),
            ("```{math}\na\n\nb\n```", 0, "no blank line"),
            (":::{chapter-card}\n:tier: huge\n:::", 0, "unknown tier 'huge'"),
        ],
    )
    def test_they_name_file_and_line(self, cells, source, line, message):
        with pytest.raises(SourceError) as error:
            cells(source)
        place, _, sentence = str(error.value).partition(": ")
        assert message.replace("third.md", "third") in sentence
        # Two equal names are noticed at the second, which here is in the other chapter.
        if "two things" not in message:
            assert place.endswith(f"first.md:{FIRST_LINE + line}")


CODE = """\
```{code-cell} python
:tags: [stub]
def f(x):
    ...
```

```{code-cell} python
:tags: [solution]
def f(x):
    return 2 * x
```

```{code-cell} python
:tags: [check, hide-input]
f(1)
```

```{code-cell} python
:tags: [page-only]
print("page")
```

```{code-cell} python
---
mystnb:
  figure:
    caption: A line, see {eq}`eq-acc`.
    name: fig-line
  image:
    alt: A line
---
plt.show()
```
"""


class TestCode:
    def test_the_learner_gets_folded_solutions(self, cells):
        stub, solution, check, figure, caption = cells(CODE)
        assert (stub.source, stub.metadata) == ("def f(x):\n    ...", {"tags": ["stub"]})
        assert solution.cell_type == "markdown"
        assert solution.source == (
            "<details>\n<summary>Solution</summary>\n\n```python\ndef f(x):\n    return 2 * x\n```\n\n</details>"
        )
        assert (check.source, check.metadata) == ("f(1)", {"tags": ["check"]})
        assert (figure.source, figure.metadata) == ("plt.show()", {})
        assert caption.source == "*Figure 1.1. A line, see [(2.1)](second.ipynb).*"

    def test_the_tests_get_solutions_that_run_after_the_stub(self, cells):
        assert [cell.source for cell in cells(CODE, solved=True) if cell.cell_type == "code"] == [
            "def f(x):\n    ...",
            "def f(x):\n    return 2 * x",
            "f(1)",
            "plt.show()",
        ]


class TestFiles:
    def run(self, book, *arguments):
        return notebooks.main(["--book", str(book.folder), *arguments])

    def test_two_generations_are_equal_and_stripped(self, make_book, tmp_path):
        book = make_book(CODE)
        assert self.run(book) == 0
        target = book.folder / "weather" / "first.ipynb"
        first = target.read_bytes()
        assert self.run(book) == 0
        assert target.read_bytes() == first
        assert first.endswith(b"}\n")
        content = json.loads(first)
        assert [cell["id"] for cell in content["cells"]] == [str(i) for i in range(len(content["cells"]))]
        nbformat.validate(nbformat.from_dict(content))
        subprocess.run([sys.executable, "-m", "nbstripout", "--verify", str(target)], check=True)
        assert not (book.folder / "intro.ipynb").exists()

    def test_check_names_what_drifted_and_what_is_lost(self, make_book, capsys):
        book = make_book("Text.")
        self.run(book)
        assert self.run(book, "--check") == 0
        source = book.folder / "weather" / "first.md"
        source.write_text(source.read_text() + "More.\n")
        (book.folder / "weather" / "second.ipynb").unlink()
        (book.folder / "old.ipynb").write_text("{}")
        assert self.run(book, "--check") == 1
        named = [Path(line.partition(": ")[0]).name for line in capsys.readouterr().err.splitlines()]
        assert named == ["first.ipynb", "second.ipynb", "old.ipynb"]
        assert not (book.folder / "weather" / "second.ipynb").exists()

    def test_solved_notebooks_go_elsewhere(self, make_book, tmp_path):
        book = make_book(CODE)
        assert self.run(book, "--solved", str(tmp_path / "solved")) == 0
        assert "return 2 * x" in (tmp_path / "solved" / "weather" / "first.ipynb").read_text()
        assert not list(book.folder.rglob("*.ipynb"))

    def test_an_error_is_one_line(self, make_book, capsys):
        assert self.run(make_book("{shout}`a`")) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_a_listed_page_must_exist(self, make_book):
        with pytest.raises(FileNotFoundError, match="lists 'weather/third'"):
            make_book("", toc=TOC.replace("weather/second", "weather/third"))

    def test_without_chapter_numbers_the_count_runs_through_the_book(self, make_book):
        book = make_book("```{math}\n:label: eq-a\na\n```", toc=TOC.replace("numbered: true", "numbered: false"))
        assert (book.labels["eq-a"].number, book.labels["eq-acc"].number) == ("1", "2")


class TestSetUp:
    @pytest.fixture
    def commands(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        calls = []

        def run(command, check):
            calls.append(command)
            if command[0] == "git":
                Path(command[-1]).mkdir()

        monkeypatch.setattr(subprocess, "run", run)
        return calls

    @pytest.fixture
    def checkout(self, commands, monkeypatch, tmp_path):
        """Where a Colab without the package would put it; importable as soon as it is on the path."""
        checkout = tmp_path / "climax-lite"
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: str(checkout) in sys.path or None)
        return checkout

    def test_here_it_does_nothing(self, commands):
        before = list(sys.path)
        exec(notebooks.SETUP, {})
        assert commands == []
        assert sys.path == before

    def test_on_colab_it_clones_and_installs_once(self, commands, checkout):
        exec(notebooks.SETUP, {})
        exec(notebooks.SETUP, {})
        clone, install = commands
        assert clone[:2] == ["git", "clone"]
        assert clone[-3:] == ["1", "https://github.com/climax-lite/climax-lite", str(checkout)]
        assert install == [sys.executable, "-m", "pip", "install", "--quiet", "--editable", f"{checkout}[notebook]"]
        assert sys.path[0] == str(checkout)

    def test_a_checkout_that_was_not_installed_is_not_cloned_again(self, commands, checkout):
        checkout.mkdir()
        exec(notebooks.SETUP, {})
        assert [command[0] for command in commands] == [sys.executable]

    def test_without_a_network_it_says_so(self, checkout, monkeypatch):
        def fail(command, check):
            raise subprocess.CalledProcessError(128, command)

        monkeypatch.setattr(subprocess, "run", fail)
        with pytest.raises(RuntimeError, match="see that this session has a network connection"):
            exec(notebooks.SETUP, {})
        assert str(checkout) not in sys.path


# The notebooks of the book

MARKS = {"right": "✓", "wrong": "✗", "not yet": "○"}


def execute(notebook, folder):
    """Run a notebook as a learner does, in an empty folder; an exception of a cell fails the test."""
    nbclient = pytest.importorskip("nbclient")
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()


def take_outputs_of_the_page(notebook, page, root):
    """Give a solved notebook the outputs of its page, if the book's last build executed just these cells; say whether."""
    _set_up, *cells = (cell for cell in notebook.cells if cell.cell_type == "code")  # the set-up does nothing here
    outputs = executed_outputs(root, page.source, [cell.source for cell in cells])
    if outputs is None:
        return False
    for cell, shown in zip(cells, outputs, strict=True):
        cell.outputs = shown
    return True


def verdicts(notebook):
    """For each check cell the first character of every verdict that it shows: what `Verdict.__repr__` begins with."""
    found = []
    for cell in notebook.cells:
        if "check" in cell.metadata.get("tags", []):
            texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            lines = [line for text in texts for line in text.splitlines()]
            found.append([line[0] for line in lines if line[:1] in MARKS.values()])
    return found


def test_verdicts_are_found_where_they_are_shown(make_book, tmp_path):
    text = """\
        ```{code-cell} python
        class Verdict:
            def __init__(self, text): self.text = text
            def __repr__(self): return self.text
        ```
        ```{code-cell} python
        :tags: [check]
        Verdict("✓ right")
        ```
        ```{code-cell} python
        :tags: [check]
        print(Verdict("○ not yet"))
        display(Verdict("✗ wrong"))
        ```
        ```{code-cell} python
        :tags: [check]
        assert True
        ```
        """
    book = make_book(text)
    executed = notebooks.notebook(book, book.pages["weather/first"])
    execute(executed, tmp_path)
    assert verdicts(executed) == [["✓"], ["○", "✗"], []]


class TestOutputsOfThePage:
    """The cache of a build is made by hand here; that a build makes it so is tested with the extension."""

    TEXT = """\
        ```{code-cell} python
        :tags: [solution]
        def f(x): return 2 * x
        ```
        ```{code-cell} python
        :tags: [check]
        check(f)
        ```
        """

    @pytest.fixture
    def built(self, make_book, tmp_path):
        """A book of which a build has executed the page with these cells; the notebook, and whether it got the outputs."""

        def build(text, sources):
            book = make_book(text)
            page = book.pages["weather/first"]
            cells = [nbformat.v4.new_code_cell(source) for source in sources]
            cells[-1].outputs = [nbformat.v4.new_output("stream", text="✓ right")]
            executed = CacheBundleIn(nbformat.v4.new_notebook(cells=cells), str(page.source))
            cache = get_cache(cache_folder(tmp_path / "_build", cache_key(tmp_path)))
            cache.cache_notebook_bundle(executed, check_validity=False)
            notebook = notebooks.notebook(book, page, solved=True)
            return notebook, take_outputs_of_the_page(notebook, page, tmp_path)

        return build

    def test_are_taken_for_the_same_cells(self, built):
        notebook, taken = built(self.TEXT, ["def f(x): return 2 * x", "check(f)"])
        assert taken
        assert verdicts(notebook) == [["✓"]]

    @pytest.mark.parametrize(
        "sources",
        [
            ["def f(x): return 3 * x", "check(f)"],
            ["check(f)"],
            ["page_only()", "def f(x): return 2 * x", "check(f)"],
        ],
    )
    def test_are_not_taken_for_other_cells(self, built, sources):
        notebook, taken = built(self.TEXT, sources)
        assert not taken
        assert verdicts(notebook) == [[]]


def book_chapters():
    # Read when tests are collected: a mistake in the book is for the drift test to report, not for every other test.
    try:
        return Book(ROOT / "book").chapters
    except (FileNotFoundError, SourceError):
        return []


def test_the_notebooks_of_the_book_do_not_drift():
    book = Book(ROOT / "book")
    assert notebooks.drifted(book) == []
    assert notebooks.orphans(book) == []


@pytest.mark.notebook
@pytest.mark.parametrize("docname", [page.docname for page in book_chapters()])
class TestExecution:
    def test_unsolved_it_runs_to_its_end_and_no_check_is_passed(self, docname, tmp_path):
        book = Book(ROOT / "book")
        notebook = notebooks.notebook(book, book.pages[docname])
        execute(notebook, tmp_path)
        for number, marks in enumerate(verdicts(notebook), start=1):
            assert marks, f"check cell {number} of {docname} shows no verdict"
            assert MARKS["right"] not in marks, f"check cell {number} of {docname} passes an unsolved stub"

    def test_solved_every_check_is_right(self, docname, tmp_path):
        book = Book(ROOT / "book")
        page = book.pages[docname]
        notebook = notebooks.notebook(book, page, solved=True)
        # The page has the solutions too: where the book is built, this has been executed.
        if not take_outputs_of_the_page(notebook, page, ROOT):
            execute(notebook, tmp_path)
        for number, marks in enumerate(verdicts(notebook), start=1):
            assert set(marks) == {MARKS["right"]}, f"check cell {number} of {docname} says {marks} to the solution"
