"""Photograph the built book: full pages at two widths, light and dark.

python tools/screenshots.py FOLDER                    every page
python tools/screenshots.py FOLDER intro weather/round_earth
"""

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

HTML = Path(__file__).resolve().parents[1] / "_build" / "html"
WIDTHS = (1280, 390)
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless; the browser tests use it too."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=FLAGS)
        yield browser
        browser.close()


def page_names() -> list[str]:
    """Every page of the book: not the theme's search and index pages."""
    sources = (HTML / "_sources").rglob("*.md")
    return sorted(path.relative_to(HTML / "_sources").with_suffix("").as_posix() for path in sources)


def settle(page: Page) -> None:
    """Wait until the formulas are typeset and the fonts and pictures are there."""
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate("() => document.fonts.ready")
    page.wait_for_load_state("load")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                for name in arguments.pages or page_names():
                    page.goto((HTML / f"{name}.html").as_uri())
                    settle(page)
                    target = arguments.folder / f"{name.replace('/', '-')}-{width}-{scheme}.png"
                    page.screenshot(path=target, full_page=True)
                    print(target)
                page.close()


if __name__ == "__main__":
    main()
