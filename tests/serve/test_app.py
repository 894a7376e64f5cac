"""Every answer and every refusal of the application, in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.serve.stubs import CONTROL, NASTY, StubClassifier, StubWriter
from unroll.errors import ConfigError
from unroll.serve.app import make_app
from unroll.serve.explain import pieces_of, to_ask
from unroll.serve.limits import Limits

SMALL = Limits(
    body_bytes=500,
    texts=3,
    text_characters=50,
    explained_characters=100,
    explained_pieces=4,
    prompt_characters=10,
    length=100,
    queued_texts=12,
    streams=1,
    predict_seconds=0.5,
)


@pytest.fixture
def classifier() -> StubClassifier:
    return StubClassifier()


@pytest.fixture
def client(classifier: StubClassifier) -> Iterator[TestClient]:
    with TestClient(make_app(classifier, SMALL)) as client:
        yield client


@pytest.fixture
def writer() -> Iterator[TestClient]:
    with TestClient(make_app(StubWriter(), SMALL)) as client:
        yield client


def test_one_text_and_many(client: TestClient) -> None:
    good = {
        "label": "good",
        "probability": 0.9,
        "probabilities": {"bad": pytest.approx(0.1), "good": 0.9},
        "tokens": 2,
        "unknown": 0,
    }
    assert client.post("/predict", json={"text": "good film"}).json() == {"predictions": [good]}
    answer = client.post("/predict", json={"texts": ["a ???", "good film", ""]}).json()["predictions"]
    assert [each["label"] for each in answer] == ["bad", "good", "bad"]
    assert answer[1] == good
    assert (answer[0]["tokens"], answer[0]["unknown"], answer[2]["tokens"]) == (2, 1, 0)
    assert client.post("/predict", json={"texts": []}).json() == {"predictions": []}


REFUSED: list[tuple[bytes, int, str]] = [
    (b'{"text": "\xff"}', 400, "no valid JSON in UTF-8"),
    (b'{"text": "a"', 400, "no valid JSON"),
    (b'{"text": NaN}', 400, "no valid JSON"),
    (b'{"text": "\\ud800"}', 400, "no valid JSON"),
    (b'{"text": ' + b"[" * 240 + b"]" * 240 + b"}", 400, "recursion limit"),
    (b"", 400, "no valid JSON"),
    (b"[]", 422, "the body: "),
    (b"{}", 422, "text: Field required"),
    (b'{"text": 3}', 422, "text: Input should be a valid string"),
    (b'{"text": null}', 422, "text: Input should be a valid string"),
    (b'{"texts": ["a", 3]}', 422, "texts[1]: Input should be a valid string"),
    (b'{"texts": "a"}', 422, "texts: Input should be a valid list"),
    (b'{"texts": ["a", "b", "c", "d"]}', 422, "at most 3 items"),
    (b'{"text": "a", "texts": ["b"]}', 422, "text: Extra inputs are not permitted"),
    (b'{"text": "a", "\\u001b[31m": 1}', 422, "\u241b[31m: Extra"),
    (b'{"text": "' + b"a" * 51 + b'"}', 422, "text: String should have at most 50 characters"),
    (b'{"text": "' + b"a" * 500 + b'"}', 413, "at most 500 bytes"),
]


@pytest.mark.parametrize(("body", "status", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_body_that_is_wrong_is_refused_with_the_reason(
    client: TestClient, body: bytes, status: int, reason: str
) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert reason in answer.json()["detail"]
    assert answer.json()["detail"].isprintable()


def test_a_body_whose_length_is_a_lie_is_counted_while_it_arrives(client: TestClient) -> None:
    for parts in ([b"a" * 400] * 3, [b"{" for _ in range(600)]):
        answer = client.post("/predict", content=iter(parts), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
    lie = {"Content-Type": "application/json", "Content-Length": "9" * 30}
    assert client.post("/predict", content=b"{}", headers=lie).status_code == 413


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json+x", "json"])
def test_another_type_of_body_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/predict", content=b'{"text": "a"}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    right = {"Content-Type": "Application/JSON; charset=utf-8"}
    typed = client.post("/predict", content=b'{"text": "a"}', headers=right)
    assert typed.status_code == 200


def test_other_paths_and_methods(client: TestClient, writer: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    for path in ("/nothing", "/static/../app.py", "/static/%2e%2e/page.html", "/docs"):
        assert client.get(path).status_code == 404
    refused = client.get("/predict")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    for wrong, path, right in ((client, "/generate", "/predict"), (writer, "/predict", "/generate")):
        answer = wrong.post(path, json={})
        assert answer.status_code == 404
        assert f"use POST {right}" in answer.json()["detail"]


def test_a_full_queue_and_a_late_answer(client: TestClient, classifier: StubClassifier) -> None:
    classifier.gate.clear()

    async def ask_eight() -> list[Any]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(client.app), base_url="http://x") as asking:
            return await asyncio.gather(*(asking.post("/predict", json={"texts": ["a", "b"]}) for _ in range(8)))

    answers = asyncio.run(ask_eight())
    assert sorted(answer.status_code for answer in answers) == [503] * 2 + [504] * 6
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
            assert "come again" in answer.json()["detail"]
        else:
            assert "within 0.5 seconds" in answer.json()["detail"]
    classifier.gate.set()
    assert client.post("/predict", json={"text": "a"}).status_code == 200
    assert len(classifier.calls) == 2  # those that waited when their time was up were not computed


def test_a_model_that_fails_gives_one_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.post("/predict", json={"text": "fail"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "the model failed"})
    answer = client.post("/predict", json={"text": "nan"})
    assert answer.status_code == 500
    assert "not finite" in answer.json()["detail"]
    assert "Traceback" not in caplog.text


def test_a_fault_of_the_server_is_answered_and_logged_as_one(
    classifier: StubClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "unroll.serve")
    with TestClient(make_app(classifier, SMALL), raise_server_exceptions=False) as client:
        answer = client.post("/predict", json={"text": "crash"})
    assert (answer.status_code, answer.json()) == (500, {"detail": "the server failed; its log says why"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    (message,) = (record.getMessage() for record in caplog.records if record.name == "unroll.serve")
    assert message.startswith("POST /predict 500 ")


def test_an_explanation_compares_beginnings_and_omissions(client: TestClient, classifier: StubClassifier) -> None:
    found = client.post("/explain", json={"text": " It is\ngood. "}).json()
    assert found["pieces"] == [" It ", "is\n", "good. "]
    assert found["labels"] == ["bad", "good"]
    assert [row[1] for row in found["probabilities"]] == [0.3, 0.3, 0.3, 0.9]
    assert found["prediction"]["label"] == "good"
    moved = math.log(0.9 / 0.1) - math.log(0.3 / 0.7)
    assert found["influence"] == pytest.approx([0, 0, moved])
    assert list(classifier.calls) == [
        ["", " It ", " It is\n", " It is\ngood. ", "is\ngood. ", " It good. ", " It is\n"]
    ]
    empty = client.post("/explain", json={"text": " "}).json()
    assert (empty["pieces"], empty["influence"], len(empty["probabilities"])) == ([], [], 1)
    assert client.post("/explain", json={"text": "a" * 101}).status_code == 422


@pytest.mark.parametrize("text", ["", " ", "one", " a  b\tc\n", "a b c d e f g h i", "\u3000x \x00 y"])
@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_pieces_make_the_text_again(text: str, most: int) -> None:
    pieces = pieces_of(text, most)
    assert len(pieces) == min(len(text.split()), len(pieces)) <= most
    if text.strip():
        assert "".join(pieces) == text
        assert [len(piece.split()) for piece in pieces[:-1]] == [-(-len(text.split()) // most)] * (len(pieces) - 1)
    asked = to_ask(text, pieces)
    assert (asked[0] if pieces else "", asked[len(pieces)]) == ("", text)


def lines(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_text_is_streamed_with_its_surprise(writer: TestClient) -> None:
    answer = writer.post("/generate", json={"length": 6})
    assert answer.headers["content-type"].startswith("application/jsonl")
    *written, last = lines(answer)
    assert "".join(line["text"] for line in written) == "ab\n<ab"
    assert [line["bits"] for line in written] == [None, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert last == {"done": True}
    assert len(lines(writer.post("/generate", json={"prompt": "a", "length": 100}))) == 101
    for _ in range(3):  # a place is free again after each
        assert lines(writer.post("/generate", json={"prompt": "fail", "length": 9}))[3:] == [
            {"error": "the model's logits are not finite"}
        ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"prompt": "#"}, "the prompt's character '#'"),
        ({"prompt": "a" * 11}, "prompt: String should have at most 10 characters"),
        ({"length": 0}, "length: "),
        ({"length": 101}, "length: "),
        ({"length": 2.5}, "length: "),
        ({"length": "5"}, "length: Input should be a valid integer"),
        ({"length": True}, "length: "),
        ({"temperature": -1}, "temperature: "),
        ({"top_k": 0}, "top_k: "),
        ({"top_p": 0}, "top_p: "),
        ({"top_p": 1.5}, "top_p: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**64}, "seed: "),
        ({"samples": 2}, "samples: Extra inputs"),
    ],
)
def test_a_wrong_prompt_or_number_is_refused(writer: TestClient, body: dict[str, Any], reason: str) -> None:
    answer = writer.post("/generate", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(reason)


def test_a_kind_without_an_answer_is_not_served() -> None:
    model = StubClassifier()
    model.config.kind = "pretraining"
    with pytest.raises(ConfigError, match="nothing to serve"):
        make_app(model)


def test_a_queue_takes_what_one_request_may_have() -> None:
    with pytest.raises(ConfigError, match="at least so many"):
        Limits(texts=100, queued_texts=99)
    with pytest.raises(ConfigError, match="may have 201 texts"):
        Limits(texts=1, queued_texts=200)


def test_a_line_for_each_request_and_no_text_in_it(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unroll.serve")
    client.post("/predict", json={"texts": ["secret", "words"]})
    client.get("/a%1b%5b31m%0ab?secret=1")
    client.post("/predict", content=b"secret")
    messages = [record.getMessage() for record in caplog.records if record.name == "unroll.serve"]
    assert re.fullmatch(r"POST /predict 200 \d+\.\d ms 2 texts", messages[0])
    assert re.fullmatch(r"GET /a\u241b\[31m\u21b5b 404 \d+\.\d ms", messages[1])
    assert messages[2].startswith("POST /predict 415 ")
    assert "secret" not in caplog.text


class Parsed(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_from_outside_are_text_on_the_page_and_nothing_else() -> None:
    model = StubClassifier((NASTY, CONTROL))
    model.config.task = "films"
    model.data |= {"source": "hub", "origin": f"http://x/{NASTY}"}
    client = TestClient(make_app(model))
    answer = client.get("/")
    page = Parsed(answer.text)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "module", "src": "static/predict.js"}
    ]
    assert "img" not in [tag for tag, _ in page.tags]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert page.text.count(NASTY) == 3
    assert "\x1b" not in answer.text and "\u202e" not in answer.text
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert client.post("/predict", json={"text": "good"}).json()["predictions"][0]["label"] == CONTROL  # as it is


def test_the_card_says_what_the_model_is_and_names_no_folder(client: TestClient) -> None:
    page = Parsed(client.get("/").text)
    assert "me/" not in page.text
    for part in ("films.csv", "1,234 for training", "stub, 1 layer of 2 units", "bad, good"):
        assert part in page.text


@pytest.mark.parametrize("name", ["client", "writer"])
def test_a_page_loads_from_its_own_server_alone_and_every_control_has_a_label(
    name: str, request: pytest.FixtureRequest
) -> None:
    client: TestClient = request.getfixturevalue(name)
    page = Parsed(client.get("/").text)
    for tag, attributes in page.tags:
        for place in filter(None, (attributes.get("src"), attributes.get("href"))):
            assert place == "data:," or client.get(f"/{place}").status_code == 200, place
        if tag in ("input", "textarea"):
            assert ("label", {"for": attributes["id"]}) in page.tags
    for script in ("predict.js", "generate.js", "common.js", "curve.js"):
        source = client.get(f"/static/{script}")
        assert source.headers["content-type"].startswith("text/javascript")
        assert not re.search(r"(inner|outer)HTML|insertAdjacent|document\.write|eval\(", source.text)
        assert set(re.findall(r"https?://[^/\"]+", source.text)) <= {"http://www.w3.org"}
