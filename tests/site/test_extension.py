"""What can be tested of the book's machinery without building the book."""

import subprocess
import sys
from pathlib import Path

import pytest
from climax_book.card import duration
from climax_book.execution import cache_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("climax_lite/data/packed.py", "data/worlds/a.nc", "data/generated/b.nc", "book/intro.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["climax_lite/data/packed.py", "climax_lite/new.py", "data/worlds/a.nc", "requirements.lock"]
)
def test_what_pages_are_computed_from_changes_the_key(root: Path, name: str) -> None:
    before = cache_key(root)
    (root / name).write_text("after")
    assert cache_key(root) != before


@pytest.mark.parametrize("name", ["data/generated/b.nc", "book/intro.md", "climax_lite/module.pyc"])
def test_other_files_do_not_change_the_key(root: Path, name: str) -> None:
    before = cache_key(root)
    (root / name).write_text("after")
    assert cache_key(root) == before


def test_moving_a_file_changes_the_key(root: Path) -> None:
    before = cache_key(root)
    (root / "data/worlds/a.nc").rename(root / "data/worlds/c.nc")
    assert cache_key(root) != before


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s")])
def test_durations_are_rounded_to_whole_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_vendored_files_are_those_of_the_manifest() -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "vendor.py", "--check"], check=True)
