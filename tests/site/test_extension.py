"""What can be tested of the book's machinery without building the book."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from climax_book.card import duration
from climax_book.execution import cache_folder, cache_key, executed_outputs, is_cached, longest_first
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.sphinx_ import NbMetadataCollector
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("climax_lite/data/packed.py", "data/worlds/a.nc", "data/generated/b.nc", "book/intro.md"):
        write(tmp_path / name, "before")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "name",
    [
        "climax_lite/data/packed.py",
        "climax_lite/new.py",
        "climax_lite/data/registry.txt",
        "data/worlds/a.nc",
        "configs/pretrain.yaml",
        "benchmarks/model-cpu.md",
        "benchmarks/results/global.json",
        "tests/golden/model/a.npz",
        "requirements.lock",
    ],
)
def test_what_pages_are_computed_from_changes_the_key(root: Path, name: str) -> None:
    before = cache_key(root)
    write(root / name, "after")
    assert cache_key(root) != before


@pytest.mark.parametrize(
    "name", ["data/generated/b.nc", "book/intro.md", "climax_lite/module.pyc", "benchmarks/model.py", "tests/test_a.py"]
)
def test_other_files_do_not_change_the_key(root: Path, name: str) -> None:
    before = cache_key(root)
    write(root / name, "after")
    assert cache_key(root) == before


def test_moving_a_file_changes_the_key(root: Path) -> None:
    before = cache_key(root)
    (root / "data/worlds/a.nc").rename(root / "data/worlds/c.nc")
    assert cache_key(root) != before


def test_what_is_installed_changes_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_key(root)
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda path: [types.SimpleNamespace(name="a", version="1")]
    )
    assert cache_key(root) != before


def test_the_folder_of_the_command_does_not_change_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_key(root)
    write(root / "climax_lite.egg-info" / "PKG-INFO", "Name: climax-lite\nVersion: 0\n")
    monkeypatch.syspath_prepend(root)
    assert cache_key(root) == before


def test_data_from_elsewhere_change_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIMAX_LITE_DATA", raising=False)
    before = cache_key(root)
    monkeypatch.setenv("CLIMAX_LITE_DATA", "elsewhere")
    assert cache_key(root) != before


class TestExecution:
    """Small books, built without Jupyter Book."""

    @pytest.fixture
    def page(self, root: Path):
        """Write a page of one cell."""

        def write_page(name: str, code: str) -> Path:
            path = root / "book" / f"{name}.md"
            cell = f"```{{code-cell}} python\n{textwrap.dedent(code)}\n```\n"
            write(path, f"{FRONT_MATTER}# {name}\n\n{cell}")
            return path

        write(root / "book" / "intro.md", "# Introduction\n\nWithout code.\n")
        write(root / "book" / "index.md", "# Index\n\n```{toctree}\n:glob:\n\n*\n```\n")
        return write_page

    def build(self, root: Path) -> subprocess.CompletedProcess:
        settings = {
            "extensions": "myst_nb,climax_book.execution",
            "nb_execution_mode": "cache",
            "nb_execution_raise_on_error": "1",
            "nb_execution_timeout": "120",
        }
        options = ["-b", "dummy", "-C", "-W", "--keep-going"]
        options += [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
        built = subprocess.run(
            [sys.executable, "-m", "sphinx", *options, "book", "_build/html"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(ROOT / "book" / "_ext")},
            capture_output=True,
            text=True,
        )
        built.stderr = re.sub(r"\x1b\[[\d;]*m", "", built.stderr)  # tracebacks are coloured
        return built

    def test_side_by_side_and_once_for_each_state(self, root: Path, page) -> None:
        # Each page waits for the other, which would be in vain one after the other.
        code = """\
            import time
            from pathlib import Path
            folder = Path({folder!r})
            (folder / "{own}").open("a").write("x")
            while not (folder / "{other}").exists():
                time.sleep(0.01)
            print("{own}", list(Path().iterdir()))"""
        one, two = (
            page(own, textwrap.dedent(code).format(folder=str(root), own=own, other=other))
            for own, other in (("one", "two"), ("two", "one"))
        )
        built = self.build(root)
        assert built.returncode == 0, built.stderr
        assert self.build(root).returncode == 0
        assert [(root / name).read_text() for name in ("one", "two")] == ["x", "x"]

        cells = [one.read_text().split("python\n")[-1].removesuffix("\n```\n")]
        (outputs,) = executed_outputs(root, one, cells)
        assert [output.text for output in outputs] == ["one []\n"]  # in an empty folder
        assert executed_outputs(root, two, cells) is None
        assert executed_outputs(root, one, [*cells, "1"]) is None

        write(root / "climax_lite/data/packed.py", "after")
        assert executed_outputs(root, one, cells) is None
        assert self.build(root).returncode == 0
        assert [(root / name).read_text() for name in ("one", "two")] == ["xx", "xx"]

    def test_all_failures_are_shown_and_what_succeeded_is_kept(self, root: Path, page) -> None:
        one, _, _ = page("one", "print(1)"), page("two", "divisor = 0\n1 / divisor"), page("three", "undefined")
        built = self.build(root)
        assert built.returncode != 0
        assert "two.md: WARNING: Executing notebook failed: CellExecutionError" in built.stderr
        assert "ZeroDivisionError: division by zero" in built.stderr
        assert "1 / divisor" in built.stderr
        assert "three.md: WARNING: Executing notebook failed: CellExecutionError" in built.stderr
        assert "NameError: name 'undefined' is not defined" in built.stderr
        assert executed_outputs(root, one, ["print(1)"])[0][0].text == "1\n"

    def test_nothing_is_kept_when_the_package_changes_meanwhile(self, root: Path, page) -> None:
        code = f"from pathlib import Path; Path({str(root / 'climax_lite/new.py')!r}).write_text('new')"
        path, before = page("one", code), cache_key(root)
        built = self.build(root)
        assert built.returncode != 0
        assert "What one is computed from changed while it was executed: build again." in built.stderr
        assert cache_key(root) != before
        assert executed_outputs(root, path, [code]) is None
        (root / "climax_lite/new.py").unlink()
        assert cache_key(root) == before
        assert executed_outputs(root, path, [code]) is None


def test_without_a_built_book_there_are_no_outputs_and_no_folder(root: Path) -> None:
    assert executed_outputs(root, root / "book/intro.md", []) is None
    assert not (root / "_build").exists()


def test_a_record_without_its_file_does_not_count(root: Path) -> None:
    """So does a build leave its cache that is stopped in the middle of writing."""
    folder, page = cache_folder(root / "_build", cache_key(root)), root / "book/intro.md"
    notebook, cache = new_notebook(cells=[new_code_cell("1")]), get_cache(folder)
    bundle = CacheBundleIn(notebook, str(page))
    cache.cache_notebook_bundle(bundle, check_validity=False)
    assert is_cached(cache, notebook)
    assert executed_outputs(root, page, ["1"]) == [[]]
    (file,) = folder.rglob("base.ipynb")
    shutil.rmtree(file.parent)
    assert not is_cached(cache, notebook)
    assert executed_outputs(root, page, ["1"]) is None
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    assert is_cached(cache, notebook)


def test_the_longest_pages_of_the_last_build_come_first_but_after_new_ones() -> None:
    env = types.SimpleNamespace()
    for name, seconds in {"short": 1.0, "long": 60.0, "unknown": None}.items():
        NbMetadataCollector.set_exec_data(env, name, {"runtime": seconds})
    assert longest_first(env, ["short", "new", "long", "unknown"]) == ["new", "unknown", "long", "short"]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s")])
def test_durations_are_rounded_to_whole_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_vendored_files_are_those_of_the_manifest() -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "vendor.py", "--check"], check=True)
