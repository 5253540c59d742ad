"""What can be read in the built pages: offline assets, links, alternative texts, headings, leftovers."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.site

# What a browser fetches by itself. Links that a reader clicks may lead anywhere.
LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
LOADING_RELATIONS = {"stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "icon", "manifest"}
REMOTE = re.compile(r"^\s*(https?:|wss?:|//)", re.IGNORECASE)
CSS_LOADS = re.compile(r"""(?:url\(\s*|@import\s+)["']?\s*(?P<target>(?:https?:)?//[^"')\s;]+)""", re.IGNORECASE)
LEFTOVERS = re.compile(r"\{(?:glue|numref|cite|eq|doc|ref|math|figure|dropdown)\b[^}]*\}|^:::|^```", re.MULTILINE)
FILE_NAME = re.compile(r"^\S+\.(png|jpe?g|svg|gif|webp)$|^[0-9a-f]{16,}$", re.IGNORECASE)
THEME_PAGES = {"genindex", "search"}  # no prose of ours


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[str, BeautifulSoup]:
    """Every page by its name, `weather/round_earth`; the redirection at the root is not a page."""
    found = {}
    for path in sorted(html.rglob("*.html")):
        if "_static" not in path.parts and path != html / "index.html":
            soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            found[path.relative_to(html).with_suffix("").as_posix()] = soup
    return found


@pytest.fixture(scope="module")
def chapters(pages: dict[str, BeautifulSoup]) -> dict[str, BeautifulSoup]:
    """The pages that have a source."""
    return {name: soup for name, soup in pages.items() if name not in THEME_PAGES}


def test_pages_load_nothing_remote(pages: dict[str, BeautifulSoup]) -> None:
    remote = []
    for name, soup in pages.items():
        loads = [tag[a] for tag in soup.find_all(list(LOADED)) for a in LOADED[tag.name] if tag.has_attr(a)]
        loads += [
            tag["href"] for tag in soup.find_all("link", href=True) if LOADING_RELATIONS & set(tag.get("rel", []))
        ]
        remote += [f"{name}: {target}" for target in loads if REMOTE.match(target)]
        styles = [tag.get_text() for tag in soup.find_all("style")]
        styles += [tag["style"] for tag in soup.find_all(style=True)]
        remote += [f"{name}: {match['target']}" for style in styles for match in CSS_LOADS.finditer(style)]
    assert not remote


def test_styles_load_nothing_remote(html: Path) -> None:
    remote = [
        f"{path.relative_to(html)}: {match['target']}"
        for suffix in ("css", "svg")
        for path in html.rglob(f"*.{suffix}")
        for match in CSS_LOADS.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not remote


def test_internal_links_and_anchors_exist(html: Path, pages: dict[str, BeautifulSoup]) -> None:
    anchors = {
        (html / f"{name}.html").resolve(): {tag["id"] for tag in soup.find_all(id=True)}
        | {tag["name"] for tag in soup.find_all("a", attrs={"name": True})}
        for name, soup in pages.items()
    }
    broken = []
    for name, soup in pages.items():
        page = (html / f"{name}.html").resolve()
        targets = {tag[a] for a in ("href", "src") for tag in soup.find_all(attrs={a: True})}
        for target in sorted(targets):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            fragment = unquote(parts.fragment)
            # "#" alone is the idiom of the theme's buttons.
            if not path.is_file() or (fragment and path in anchors and fragment not in anchors[path]):
                broken.append(f"{name}: {target}")
    assert not broken


def test_every_image_has_an_alternative_text(pages: dict[str, BeautifulSoup]) -> None:
    poor = [
        f"{name}: {image.get('src', '')[:80]}: alt={image.get('alt')!r}"
        for name, soup in pages.items()
        for image in soup.find_all("img")
        if not (alt := image.get("alt", "").strip()) or FILE_NAME.match(alt)
    ]
    assert not poor


def test_every_page_has_one_first_heading(chapters: dict[str, BeautifulSoup]) -> None:
    counts = {name: len(soup.select("article h1")) for name, soup in chapters.items()}
    assert counts == dict.fromkeys(chapters, 1)


def test_every_figure_has_a_caption(chapters: dict[str, BeautifulSoup]) -> None:
    bare = []
    for name, soup in chapters.items():
        for picture in soup.select("article figure, article .cell_output img"):
            # A strip of frames may stand in the captioned figure of its cell.
            figures = [tag for tag in (picture, *picture.parents) if tag.name == "figure"]
            if not any(text.get_text(strip=True) for tag in figures for text in tag.find_all("figcaption")):
                bare.append(f"{name}: {str(picture)[:120]}")
    assert not bare


def test_no_markup_is_left_over(chapters: dict[str, BeautifulSoup]) -> None:
    left = []
    for name, soup in chapters.items():
        prose = BeautifulSoup(str(soup.find("article")), "html.parser")
        for tag in prose.find_all(["pre", "code", "script", "style"]):  # code may speak of markup
            tag.decompose()
        left += [f"{name}: {match.group()}" for match in LEFTOVERS.finditer(prose.get_text())]
    assert not left


def test_no_cell_failed(chapters: dict[str, BeautifulSoup]) -> None:
    failed = [
        name
        for name, soup in chapters.items()
        for output in soup.select(".cell_output")
        if "Traceback (most recent call last)" in output.get_text() or output.select(".traceback")
    ]
    assert not failed


def test_launch_links_open_the_notebook(html: Path, chapters: dict[str, BeautifulSoup]) -> None:
    """Colab opens no MyST source: both the theme's and the card's links must name the notebook."""
    wrong = []
    for name, soup in chapters.items():
        links = [tag["href"] for tag in soup.find_all("a", href=re.compile("colab.research.google.com|mybinder.org"))]
        wrong += [f"{name}: {link}" for link in links if not link.endswith(f"/book/{name}.ipynb")]
        if soup.select(".chapter-card") and len(links) < 4:
            wrong.append(f"{name}: {len(links)} launch links")
    assert not wrong
