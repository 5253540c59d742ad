"""The built book, as pages to read and as pages in a browser."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"

sys.path.insert(0, str(ROOT / "tools"))  # `screenshots` starts the browser that the tests use
sys.path.insert(0, str(ROOT / "book" / "_ext"))


def unavailable(reason: str) -> None:
    """Skip on a developer's machine; fail where everything is meant to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def html() -> Path:
    if not (HTML / "index.html").exists():
        unavailable("the book is not built: run `make book`")
    return HTML


@pytest.fixture(scope="session")
def browser(html: Path) -> Iterator:
    pytest.importorskip("playwright", reason="playwright is not installed")
    from screenshots import chromium, chromium_path

    if chromium_path() is None:
        unavailable("no Chromium: install it, or name it in CHROMIUM")
    with chromium() as browser:
        yield browser
