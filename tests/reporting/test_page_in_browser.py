"""The page in a real browser: nothing missing, nothing blank, nothing asked of anybody.

Needs Debian's chromium (``apt-get install chromium``) or another one on the path.
"""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchwise.reporting.page import run_page
from tests.reporting.records import HOSTILE, figures, knn, log_lines, record, segmentation

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on the path")

WIDTHS, SCHEMES = (390, 1280), ("light", "dark")


@dataclass
class Visit:
    """A page that was opened, and all that it did besides."""

    page: Any
    messages: list[str] = field(default_factory=list)  # console, errors, dialogs
    requests: list[str] = field(default_factory=list)  # but for the file itself


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which everything has a hostile name."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluations = [knn("before training", 0.3), knn(HOSTILE[0], 0.6), segmentation("a" * 60, 0.4)]
    run = record(
        name=HOSTILE[3],
        data={"data": HOSTILE[1], "images": 40, "fingerprint": "f"},
        log=log_lines(warnings=True),
        config_text="\n".join(HOSTILE) + "x" * 500,
        evaluations=tuple(evaluations),
    )
    path.write_text(run_page(run, figures()), encoding="utf-8")
    return path


def visit(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> Visit:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    found = Visit(page)
    page.on("console", lambda message: found.messages.append(message.text))
    page.on("pageerror", lambda error: found.messages.append(str(error)))

    def refuse(dialog: Any) -> None:
        found.messages.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    found.requests += [url for url in asked if not url.startswith("data:")]
    found.requests.remove(file.as_uri())
    return found


def contrast(colour: tuple[int, ...], ground: tuple[int, ...]) -> float:
    """The ratio of WCAG 2: 4.5 is enough for text."""

    def light(rgb: tuple[int, ...]) -> float:
        parts = np.array(rgb[:3]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ np.array([0.2126, 0.7152, 0.0722]))

    dark, bright = sorted((light(colour), light(ground)))
    return (bright + 0.05) / (dark + 0.05)


def pixels_of(element: Any) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(element.screenshot())).convert("RGB")).astype(float)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_a_word_and_asks_for_nothing(
    browser: Any, report_file: Path, width: int, scheme: str
) -> None:
    found = visit(browser, report_file, width, scheme)
    assert found.messages == []
    assert found.requests == []
    assert found.page.evaluate("document.scripts.length") == 0
    found.page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_picture_is_there_and_not_blank(
    browser: Any, report_file: Path, width: int, scheme: str
) -> None:
    page = visit(browser, report_file, width, scheme).page
    images = page.query_selector_all("main img, main svg")
    assert len(images) == sum(len(row.tiles) for f in figures() for row in f.rows) + 15
    for image in images:
        image.scroll_into_view_if_needed()
        box = image.bounding_box()
        assert box["width"] >= 50
        assert box["height"] >= 30
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert pixels_of(image).std(axis=(0, 1)).max() > 3
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    page.close()


@pytest.mark.parametrize("width", [320, *WIDTHS])
def test_the_page_never_scrolls_sideways(browser: Any, report_file: Path, width: int) -> None:
    page = visit(browser, report_file, width).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )
    assert wide == (width < 1280), "wide tables scroll in their own boxes on small screens"
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out_from_the_ground(browser: Any, report_file: Path, scheme: str) -> None:
    page = visit(browser, report_file, 1280, scheme).page
    colours = page.evaluate(
        """() => [...document.querySelectorAll(`p, h1, h2, h3, dt, dd, figcaption, a, td, th, li,
        summary, svg text`)].map(e => [getComputedStyle(e).color, getComputedStyle(e).fill,
        e.tagName, e.closest('.warnings') !== null])"""
    )
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    panel = page.evaluate("getComputedStyle(document.querySelector('.warnings')).backgroundColor")
    for colour, fill, tag, warned in colours:
        ink = fill if tag == "text" else colour
        assert contrast(numbers(ink), numbers(panel if warned else body)) >= 4.5, (tag, ink)
    assert (numbers(body)[0] < 60) == (scheme == "dark")
    page.close()


def numbers(colour: str) -> tuple[int, ...]:
    inside = colour[colour.index("(") + 1 : colour.index(")")]
    return tuple(int(float(part)) for part in inside.split(","))


def test_charts_follow_the_scheme(browser: Any, report_file: Path) -> None:
    means = []
    for scheme in SCHEMES:
        page = visit(browser, report_file, 1280, scheme).page
        means.append(pixels_of(page.query_selector("#curve-loss svg")).mean())
        page.close()
    assert means[0] > 200
    assert means[1] < 80


def test_hostile_names_are_read_as_they_are(browser: Any, report_file: Path) -> None:
    page = visit(browser, report_file).page
    labels = [element.inner_text() for element in page.query_selector_all("#views .row h3")]
    assert labels[0] == HOSTILE[0]
    assert labels[1] == HOSTILE[1]
    assert labels[2] == "a b\\u202egnp.exe"
    assert labels[3] == HOSTILE[3]
    assert page.title().endswith(HOSTILE[3])
    page.close()


def test_it_can_be_printed(browser: Any, report_file: Path) -> None:
    page = visit(browser, report_file, 1280, "dark").page
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 2
    page.emulate_media(media="print", color_scheme="dark")
    assert numbers(page.evaluate("getComputedStyle(document.body).backgroundColor"))[0] == 255
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.locator("details pre").is_visible(), "paper has nothing to click on"
    page.close()


def test_the_keyboard_reaches_contents_and_wide_tables(browser: Any, report_file: Path) -> None:
    page = visit(browser, report_file, 390).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#scores"
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#scores').getBoundingClientRect().top") < 400
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0)")
    page.close()
