"""What only a browser knows: the pages opened from files, with the network refused, in both schemes and two widths."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.site, pytest.mark.browser]

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")


class Visit:
    """A tab that refuses the network and remembers what went wrong."""

    def __init__(self, browser, html: Path, width: int, scheme: str) -> None:
        self.html = html
        self.troubles: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.route("**/*", self.refuse_network)
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url[:200]}"))
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("console", self.note_console)

    def refuse_network(self, route) -> None:
        url = route.request.url
        if url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    def note_console(self, message) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    def open(self, name: str, query: str = "") -> None:
        from screenshots import settle

        self.page.goto((self.html / name).as_uri() + query)
        settle(self.page)


@pytest.fixture
def visit(browser, html: Path) -> Iterator[Callable[[int, str], Visit]]:
    visits = []

    def start(width: int = 1280, scheme: str = "light") -> Visit:
        visits.append(Visit(browser, html, width, scheme))
        return visits[-1]

    yield start
    for opened in visits:
        opened.page.close()


@pytest.fixture(scope="session")
def chapters(html: Path) -> list[str]:
    from screenshots import page_names

    return [f"{name}.html" for name in page_names()]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_whole(visit, chapters: list[str], width: int, scheme: str) -> None:
    """No failed or remote request, no error, nothing wider than the window, every formula typeset."""
    tab = visit(width, scheme)
    for name in chapters:
        tab.open(name)
        assert tab.page.evaluate("document.documentElement.dataset.theme") == scheme
        tab.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            tab.troubles.append(f"{name} is {wide} px wide in a window of {width}")
        if bare := tab.page.locator("article .math:not(:has(mjx-container))").count():
            tab.troubles.append(f"{name} has {bare} formulas that are not typeset")
        if poor := tab.page.locator("article mjx-merror").count():
            tab.troubles.append(f"{name} has {poor} formulas with errors")
        broken = tab.page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.alt)")
        tab.troubles += [f"{name}: picture not drawn: {alt}" for alt in broken]
    assert not tab.troubles


def test_search_works_from_files(visit) -> None:
    tab = visit()
    tab.open("search.html", "?q=weather")
    tab.page.locator("#search-results li a").first.wait_for(timeout=15_000)
    assert not tab.troubles


def test_frame_sliders_change_their_frame(visit, html: Path, chapters: list[str]) -> None:
    """Each strip of frames shows one picture, and another one when its slider moves."""
    shown = "strip => [...strip.querySelectorAll('img')].filter(i => i.checkVisibility()).map(i => i.src)"
    names = [name for name in chapters if "climax-frames" in (html / name).read_text(encoding="utf-8")]
    if not names:
        pytest.skip("no page has a frame slider")
    tab = visit()
    for name in names:
        tab.open(name)
        for strip in tab.page.locator(".climax-frames").all():
            slider = strip.locator("input[type=range]").first
            before = strip.evaluate(shown)
            at, last = slider.evaluate("s => [+s.value, +s.max]")
            slider.fill(str(last if at < last else 0))
            after = strip.evaluate(shown)
            assert len(before) == len(after) == 1, name
            assert before != after, name
    assert not tab.troubles
