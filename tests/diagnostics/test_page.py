"""The page of explanations: well-formed, self-contained, readable without colour, and safe with any text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from unroll.diagnostics.explain import Judgement, Surprise
from unroll.diagnostics.page import page
from unroll.inference.classify import Prediction
from unroll.text.codec import TokenSize

HOSTILE = '<script>alert("1")</script>'


class Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that elements are closed in their order."""

    VOID = ("meta", "br", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def spans(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "span" and "title" in attributes]


def judgement(prefixes: tuple[float, ...] | None = (0.4, 0.9, 0.9, 0.85)) -> Judgement:
    return Judgement(
        text=HOSTILE,
        prediction=Prediction(HOSTILE, 0.85, {HOSTILE: 0.85, "other": 0.15}, 4, 1),
        tokens=("early", HOSTILE, "superb", "the", "dull"),
        known=(True, False, True, True, True),
        read=slice(1, 5),
        attribution=(-0.1, 2.0, 0.0, -1.0),
        empty=0.5,
        prefixes=prefixes,
    )


SURPRISE = Surprise(
    text="<b>\n\x00",
    unit="characters",
    tokens=tuple("<b>\n\x00"),
    token_size=TokenSize(),
    known=(True, True, True, True, False),
    bits=(0.25, 3.0, 12.0, 1.0),
    expected=((("<b>", 0.75),),) * 4,
)


@pytest.mark.parametrize("found", [[judgement()], [judgement(None)], [SURPRISE], [judgement(), judgement(None)]])
def test_whatever_a_text_or_a_label_holds_stays_text(found: list[Judgement | Surprise]) -> None:
    reader = Reader(page(f"{HOSTILE}.ckpt", found))
    tags = {tag for tag, _ in reader.elements}
    assert tags <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "section", "span", "br"),
        *("table", "tr", "th", "td", "figure", "figcaption", "svg", "path", "text", "polyline"),
    }
    names = {name for _, attributes in reader.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href")}
    assert HOSTILE in reader.words


def test_nothing_is_fetched_or_run() -> None:
    text = page("model", [judgement(), judgement(None)])
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|@import|url\(", text)


def test_each_token_carries_its_effect_in_words_and_in_a_line() -> None:
    spans = Reader(page("model", [judgement()])).spans()
    by_prefix, by_gradient = spans[:4], spans[4:]
    assert [span["title"].split(";")[0] for span in by_prefix] == [
        "-10.0 points, to 40.0%",
        "+50.0 points, to 90.0%",
        "+0.0 points, to 90.0%",
        "-5.0 points, to 85.0%",
    ]
    assert by_prefix[0]["title"].endswith("unknown to the model")
    assert by_prefix[0]["class"] == "unknown"
    # For the label the line is below the text (an inset shadow of negative offset), against it above.
    lines = [re.search(r"inset 0 (-?\d)px", span["style"] or "") for span in by_gradient]
    assert [line and int(line[1]) for line in lines] == [1, -5, None, 2]


def test_what_was_not_read_is_shown_and_counted() -> None:
    reader = Reader(page("model", [judgement()]))
    assert "4 tokens read, 1 of them unknown" in reader.words
    assert "1 more are not read, in grey:\nthe model reads 4 at most." in reader.words
    assert ("span", {"class": "unread"}) in reader.elements


def test_the_strongest_tokens_are_listed_with_their_places() -> None:
    words = " ".join(Reader(page("model", [judgement(None)])).words.split())
    assert "most fortoken no.nats superb2+2.00" in words
    assert "most againsttoken no.nats dull4-1.00" in words


def test_a_surprise_is_told_in_bits_with_what_was_expected() -> None:
    reader = Reader(page("model", [SURPRISE]))
    titles = [span["title"] for span in reader.spans()]
    assert titles[0] == "the first: nothing stands before it"
    assert titles[1] == "0.25 bits (84.1%); expected <b> 75%"
    assert titles[3] == "12.00 bits (0.0%); expected <b> 75%"
    assert "4.062 bits per character" in reader.words
    assert "↵" in reader.words
    assert "␀" in reader.words
    assert "\x00" not in reader.words


def test_a_chart_goes_through_its_values() -> None:
    (line,) = [attributes for tag, attributes in Reader(page("model", [judgement()])).elements if tag == "polyline"]
    points = [tuple(map(float, point.split(","))) for point in (line["points"] or "").split()]
    assert points == [(56.0, 100.0), (289.3, 25.0), (522.7, 25.0), (756.0, 32.5)]  # y goes from 160 (0) to 10 (1)
    # The mean surprise so far; the highest is at the top.
    (line,) = [attributes for tag, attributes in Reader(page("model", [SURPRISE])).elements if tag == "polyline"]
    heights = [float(point.split(",")[1]) for point in (line["points"] or "").split()]
    means = [0.25, 3.25 / 2, 15.25 / 3, 16.25 / 4]
    assert heights == pytest.approx([160 - 150 * mean / max(means) for mean in means], abs=0.051)


def test_a_text_without_a_token_has_no_chart() -> None:
    empty = Judgement(" ", Prediction("good", 0.5, {"good": 0.5}, 1, 1), (), (), slice(0, 0), (), 0.5, ())
    reader = Reader(page("model", [empty]))
    assert "(no token: read as one unknown)" in reader.words
    assert not [tag for tag, _ in reader.elements if tag in ("svg", "table")]
