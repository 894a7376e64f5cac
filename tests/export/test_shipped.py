"""The model that comes with the package, and the image that serves it without torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

from tests.scripts import ROOT, Shell
from unroll.inference.folder import SHIPPED
from unroll.inference.load import load

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_it_answers_as_its_example_and_as_torch_does() -> None:
    model = load("novel")
    example = json.loads((SHIPPED / "novel" / "example.json").read_text())
    for ids, expected in zip(example["ids"], example["probabilities"], strict=True):
        np.testing.assert_allclose(model.following(ids), expected, atol=1e-5)
    ids = model.encode("The engineer and his companions").tolist()
    with torch.inference_mode():
        logits, _ = model.model(torch.tensor([ids]))
    np.testing.assert_allclose(model.following(ids), logits[0, -1].softmax(-1), atol=1e-5)
    # It has learnt English: by chance a character would take more than 6 bits.
    bits = -logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).mean() / np.log(2)
    assert bits < 2.5


def test_it_is_small_and_says_nothing_of_where_it_was_trained() -> None:
    files = list((SHIPPED / "novel").iterdir())
    assert sum(file.stat().st_size for file in files) < 4_000_000
    assert "public domain" in (SHIPPED / "novel" / "README.md").read_text()
    about = json.loads((SHIPPED / "novel" / "config.json").read_text())
    assert about["config"]["data"]["path"] is None and about["data"]["origin"] == "Project Gutenberg 1268"


def test_it_is_found_by_its_name_alone(shell: Shell) -> None:
    said = shell("generate", "novel", "--prompt", "The island", "--length", "20", "--json")
    assert json.loads(said.out)["text"].startswith("The island")
    assert "is a model of language_modeling" in shell("predict", "novel", "good").one_line()
    assert "there is no such checkpoint" in shell("generate", "../novel").one_line()
    Path("novel").mkdir()  # what the user has comes first
    assert "holds no exported model" in shell("generate", "novel").one_line()


@pytest.fixture(scope="module")
def image() -> list[str]:
    """Names of the packages in the image, with all that they require."""
    (line,) = re.findall(r"constraints\.txt \\\n\s+(.+?) \\\n", DOCKERFILE)
    return sorted(set(_closed(line.split())))


def _closed(names: list[str]) -> Iterator[str]:
    for name in names:
        yield name.lower().replace("_", "-")
        needed = [Requirement(text) for text in requires(name) or ()]
        yield from _closed([each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})])


def test_the_image_serves_with_what_it_installs(image: list[str]) -> None:
    assert not {"torch", "lightning", "hydra-core", "datasets", "pyarrow"} & set(image)
    installed = packages_distributions()
    absent = [
        module for module, owners in installed.items() if not {o.lower().replace("_", "-") for o in owners} & {*image}
    ]
    program = f"""
import asyncio, sys
sys.modules.update(dict.fromkeys({sorted(set(absent) - {"unroll"})!r}))  # an import of one of them fails
from unroll.cli import main
from unroll.cli.model import load_model
from unroll.serve.app import make_app
from pathlib import Path
app = make_app(load_model(Path("novel")))
sent = []
async def receive():
    return {{"type": "http.request", "body": b"", "more_body": False}}
async def send(message):
    sent.append(message)
scope = {{"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "http_version": "1.1"}}
asyncio.run(app(scope, receive, send))
assert sent[0]["status"] == 200 and b"Characters" in sent[1]["body"], sent
sys.exit(main(["generate", "novel", "--length", "5"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_image_is_closed() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER \d*[1-9]\d*:\d*[1-9]\d*$", last, re.MULTILINE)  # not root
    assert re.search(r"^ENTRYPOINT \[\"unroll\", \"serve\"\]$", last, re.MULTILINE)
    copied = re.findall(r"^COPY (?:--from=\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split() if name != "/wheel")
