"""The pages in headless Chromium, by typing and reading: `make browser`. The models are stubs with known answers."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serve.running import Running, running

DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 360, "height": 740}}

# Each control and region that has no name, and each text whose contrast with what is behind it is below 4.5 to 1.
NAMELESS = """() => [...document.querySelectorAll("input, textarea, button, output, [role=img], section, [tabindex]")]
  .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") ||
    e.textContent.trim() || e.id === "plain")).map((e) => e.outerHTML)"""
PALE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (color, below) => {
    canvas.fillStyle = `rgb(${below})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = (e) => e ? over(getComputedStyle(e).backgroundColor, behind(e.parentElement)) : [255, 255, 255];
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.disabled || e.classList.contains("unseen")) continue;
    const style = getComputedStyle(e), below = behind(e);
    const ink = over(e.namespaceURI.endsWith("svg") ? style.fill : style.color, below);
    const [dark, bright] = [light(ink), light(below)].sort((a, b) => a - b);
    const ratio = (bright + .05) / (dark + .05);
    if (ratio < 4.5) found.push([e.textContent.slice(0, 30), ratio]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def classifier() -> Iterator[Running]:
    with running("classifier") as server:
        yield server


@pytest.fixture(scope="module")
def writer() -> Iterator[Running]:
    with running("writer") as server:
        yield server


@pytest.fixture
def page_of(browser: Any) -> Iterator[Any]:
    """Open a server's page. At the end no script has failed, and none was refused."""
    said: list[str] = []
    contexts = []

    def page_of(server: Running, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(8000)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.goto(f"http://127.0.0.1:{server.port}/")
        return page

    yield page_of
    for context in contexts:
        context.close()
    assert [line for line in said if "Failed to load resource" not in line] == []


def bars(page: Any) -> list[str]:
    return [" ".join(row.split()) for row in page.locator("#bars li").all_inner_texts()]


def test_typing_moves_the_bars_word_by_word(classifier: Running, page_of: Any) -> None:
    page = page_of(classifier)
    assert page.locator("#answer").is_hidden()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("It is ")
    page.locator("#verdict", has_text="bad, 70.0 %").wait_for()
    page.keyboard.type("good ???")
    page.locator("#verdict", has_text="good, 90.0 %").wait_for()
    assert bars(page) == ["bad 10.0 %", "good 90.0 %"]
    widths = page.evaluate("[...document.querySelectorAll('.bar')].map((bar) => bar.style.width)")
    assert [round(float(width.removesuffix("%"))) for width in widths] == [10, 90]
    page.locator("#status", has_text="good, 90.0 %.").wait_for()
    assert page.locator("#read").inner_text() == "Tokens read: 4, of them unknown to the model: 1."
    curve = page.locator("#curve svg")
    assert curve.get_attribute("aria-label").endswith("30 percent before the first word, 90 percent after the last")
    assert curve.locator("circle").count() == 5
    assert page.locator("#words").inner_text() == "It is good ???"
    assert page.locator("#words .for").all_inner_texts() == ["good"]
    assert page.locator("#words .for").get_attribute("title") == "+3.04 in log-odds"
    page.fill("#text", "")
    page.locator("#answer").wait_for(state="hidden")
    page.set_viewport_size({"width": 500, "height": 800})  # which draws the answer anew where there is one
    page.wait_for_timeout(100)
    assert page.locator("#answer").is_hidden()


def test_a_text_is_never_markup(classifier: Running, page_of: Any) -> None:
    page = page_of(classifier)
    page.fill("#text", "<img src=x onerror=alert(1)> \u202egood </p>")
    page.locator("#verdict", has_text="good").wait_for()
    assert page.locator("#words").inner_text() == "<img src=x onerror=alert(1)> \\u202egood </p>"
    assert page.locator("#answer img").count() == 0


def test_errors_of_the_server_are_shown_in_words(classifier: Running, page_of: Any) -> None:
    page = page_of(classifier)
    page.fill("#text", "fail")
    page.locator("#error", has_text="The server says: the model failed.").wait_for()
    page.fill("#text", "good")
    page.locator("#error").wait_for(state="hidden")
    page.route("**/explain", lambda route: route.abort())
    page.fill("#text", "good film")
    page.locator("#error", has_text="The server can’t be reached.").wait_for()


def test_text_is_written_and_coloured(writer: Running, page_of: Any) -> None:
    page = page_of(writer)
    page.fill("#prompt", "So ")
    page.fill("#length", "12")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    page.locator("#status", has_text="Done after 12 characters, 0.50 bits of surprise on average.").wait_for()
    assert page.locator("#plain").text_content() == "So ab\n<ab\n<ab\n<"
    assert page.locator("#written span").count() == 13
    assert page.locator("#written span").nth(1).get_attribute("title") == "0.50 bits"
    page.fill("#prompt", "bytes")
    page.click("#write")
    page.locator("#status", has_text="Done after 6 characters, 1.00 bits of surprise on average.").wait_for()
    assert page.locator("#written span").nth(1).get_attribute("title") == "1.00 bits"
    page.fill("#prompt", "fail")
    page.click("#write")
    page.locator("#error", has_text="The text ends here: the model's logits are not finite.").wait_for()
    page.fill("#prompt", "#")
    page.click("#write")
    page.locator("#error", has_text="The server says: the prompt's character '#'").wait_for()


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_writing_appears_at_once_and_stops(writer: Running, page_of: Any, way: str) -> None:
    page = page_of(writer)
    assert page.locator("#stop").is_disabled()
    page.fill("#length", "20000")
    page.click("#write")
    page.locator("#written span").nth(40).wait_for(state="attached")
    assert page.locator("#status").inner_text() == "Writing…"
    page.click("#stop") if way == "button" else page.keyboard.press("Escape")
    page.locator("#status", has_text="Stopped after").wait_for()
    written = int(re.sub(r"\D", "", page.locator("#status").inner_text().partition("characters")[0]))
    assert 40 <= written < 20000
    assert page.locator("#stop").is_disabled() and page.locator("#error").is_hidden()
    page.fill("#length", "4")
    page.click("#write")
    page.locator("#status", has_text="Done after 4 characters").wait_for()


@pytest.mark.parametrize("look", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "dark phone"])
def test_both_pages_fit_are_named_and_have_contrast(
    classifier: Running, writer: Running, page_of: Any, look: dict[str, Any]
) -> None:
    long = "good " * 30 + "unbreakable" * 20
    for server in (classifier, writer):
        page = page_of(server, **look)
        if server is classifier:
            page.fill("#text", long)
            page.locator("#verdict", has_text="good").wait_for()
        else:
            page.fill("#prompt", long)
            page.fill("#length", "40")
            page.click("#write")
            page.locator("#status", has_text="Done").wait_for()
        width, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= seen
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(PALE) == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == ("color_scheme" in look)
