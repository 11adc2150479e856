"""The page as text: whole, closed to the outside, and safe whatever is in it."""

import itertools
import re
from html.parser import HTMLParser

import pytest

from patchwise.reporting.page import figures_page, run_page
from tests.reporting.records import HOSTILE, figures, knn, log_lines, record, segmentation

VOID = {"meta", "link", "img", "br", "path", "circle"}


class Reader(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile_page() -> str:
    return run_page(
        record(
            name=HOSTILE[0],
            data={"data": HOSTILE[1], "images": 40, "fingerprint": "f"},
            log=log_lines(warnings=True),
            config_text="".join(HOSTILE),
            version=f"device: {HOSTILE[3]}\n",
            evaluations=(knn(HOSTILE[0], 0.5), segmentation(HOSTILE[3], 0.4)),
        ),
        figures(),
    )


def test_every_tag_is_closed_in_order() -> None:
    assert Reader(hostile_page()).open == []


def test_hostile_names_are_text_and_nothing_else() -> None:
    page = Reader(hostile_page())
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "form", "base"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not (tag == "img" and attributes["src"] == "x")
    assert HOSTILE[0] in page.text
    assert "49.png" not in page.text
    assert "\u202e" not in page.text
    assert "\\u202e" in page.text
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert f"alt of {HOSTILE[1]}" in alts


def test_nothing_is_loaded_from_outside() -> None:
    page = Reader(hostile_page())
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(" not in hostile_page()
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_contents_lead_to_sections_and_every_image_has_an_alt() -> None:
    page = Reader(run_page(record(), figures()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert {"#scores", "#curves", "#views", "#pca", "#cost"} <= set(links)
    assert {(link or "").removeprefix("#") for link in links} <= set(ids)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(headings))


def test_scores_are_in_percent_with_their_settings() -> None:
    text = Reader(run_page(record(), [])).text
    assert "60.0" in text
    assert "knn/test, version 1" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"results": None, "evaluations": (), "log": []},
        {"log": log_lines(health=False), "evaluations": ()},
        {"version": "", "log": [{"step": 1, "loss": 2.0}]},
    ],
)
def test_a_run_with_little_to_show_still_has_a_page(changes: dict[str, object]) -> None:
    page = Reader(run_page(record(**changes), []))
    assert page.open == []
    assert "Not in this log" in page.text


def test_warnings_stand_at_the_head() -> None:
    page = hostile_page()
    assert page.index("Warnings while training") < page.index('id="scores"')
    assert "Warnings while training" not in run_page(record(), [])


def test_the_same_run_gives_the_same_page() -> None:
    assert run_page(record(), figures()) == run_page(record(), figures())


def test_a_page_of_figures_alone() -> None:
    page = Reader(figures_page(HOSTILE[0], figures(), "seed = 3"))
    assert page.open == []
    assert "seed = 3" in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 20


def test_scores_that_read_alike_are_both_the_best() -> None:
    """A difference that cannot be seen is not pointed at."""
    evaluations = (knn("a", 0.30001), knn("b", 0.30002), knn("c", 0.2))
    page = run_page(record(evaluations=evaluations), [])
    assert page.count('<td class="best">30.0</td>') == 2


def test_a_table_has_numbers_and_bars_on_one_scale() -> None:
    page = figures_page("t", figures(), "s")
    section = page[page.index('<section id="dispersion">') :]
    section = section[: section.index("</section>")]
    numbers = re.findall(r"<td>([0-9.]+)<span", section)
    assert numbers == ["0.25", "0.12", "0.50", "0.00"]
    widths = [float(width) for width in re.findall(r"width:([0-9.]+)em", section)]
    assert widths == [3.0, 1.5, 6.0, 0.0]
    assert 'class="rows' not in section
    columns = re.findall(r'<th scope="col">(\w+)</th>', section)
    assert columns == ["Distance", "before", "after"]
