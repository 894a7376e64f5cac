"""A folder from a stranger: one line that names the file, or the model; nothing is run, and nothing steers a screen."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.faults.damage import describe_anew
from tests.inference.test_classify import content
from unroll import checkpoint
from unroll.errors import CheckpointError
from unroll.export.write import export
from unroll.inference import folder as files
from unroll.inference.load import load

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported")
    checkpoint.save(content(), place / "best.ckpt")
    export(place / "best.ckpt", place / "out")
    return place / "out"


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    """A change of a JSON file."""

    def apply(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        changed = change(value)  # in place, or a new one
        (folder / name).write_text(json.dumps(changed if isinstance(changed, dict) else value))

    return apply


def weights(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        arrays = load_file(folder / files.WEIGHTS)
        change(arrays)
        save_file(arrays, folder / files.WEIGHTS)

    return apply


def header(change: Callable[[dict[str, Any]], Any]) -> Change:
    """A change of what the file of weights says of itself; its numbers stay."""

    def apply(folder: Path) -> None:
        data = (folder / files.WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        described = json.loads(data[8 : 8 + length])
        change(described)
        text = json.dumps(described).encode()
        (folder / files.WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return apply


def write(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


def tokens(change: Callable[[list[str]], Any]) -> Change:
    return edit(files.VOCABULARY, lambda value: change(value["vocabulary"]))


def settings(**groups: Any) -> Change:
    return edit(files.CONFIG, lambda value: [value["config"][name].update(group) for name, group in groups.items()])


def swap(arrays: dict[str, Any]) -> None:
    names = "encoder.weight_ih_l0", "encoder.weight_hh_l0"
    arrays[names[0]], arrays[names[1]] = arrays[names[1]], arrays[names[0]]


FOLDERS: dict[str, tuple[Change, str]] = {
    "a shorter vocabulary": (tokens(lambda words: words.pop()), "the weight embedding.weight is (10, 8), not (9, 8)"),
    "a longer vocabulary": (
        tokens(lambda words: words.append("more")),
        "the weight embedding.weight is (10, 8), not (11, 8)",
    ),
    "a word twice": (tokens(lambda words: words.append(words[-1])), "holds an empty text, or one twice"),
    "a lone surrogate": (tokens(lambda words: words.append("\ud800")), "half of a character"),
    "tokens that are numbers": (tokens(lambda words: words.append(3)), "holds something that is no string"),
    "one label": (edit(files.CONFIG, lambda value: value["labels"].pop()), "fewer than two classes"),
    "three labels": (edit(files.CONFIG, lambda value: value["labels"].append("c")), "the weight head.0."),
    "swapped weights": (weights(swap), "the weight encoder.weight_"),
    "a weight less": (weights(lambda arrays: arrays.pop("head.0.bias")), "the weight head.0.bias is missing"),
    "a weight more": (weights(lambda arrays: arrays.update(x=np.zeros(2))), "the weight x is not expected"),
    "not finite": (weights(lambda arrays: arrays["head.0.bias"].fill(np.nan)), "the weight head.0.bias is not finite"),
    "whole numbers": (
        weights(lambda arrays: arrays.update({"head.0.bias": np.zeros(2, np.int64)})),
        "the weight head.0.bias is not an array of floating-point numbers",
    ),
    "a larger shape": (header(lambda it: it["head.0.bias"].update(shape=[2**40])), "its header does not describe it"),
    "a place beyond the end": (
        header(lambda it: it["head.0.bias"].update(data_offsets=[0, 2**50])),
        "its header does not describe it",
    ),
    "an unknown type": (header(lambda it: it["head.0.bias"].update(dtype="X99")), "its header does not describe it"),
    "a header of 2^60 bytes": (
        write(files.WEIGHTS, struct.pack("<Q", 2**60) + b"{}"),
        "model.safetensors: damaged, its header does not describe it",
    ),
    "no weights": (write(files.WEIGHTS, b""), "model.safetensors: damaged"),
    "settings out of range": (settings(encoder={"hidden_size": 10**9}), "encoder.hidden_size"),
    "sizes that nothing has": (settings(encoder={"hidden_size": 65536, "num_layers": 64}), "the weight"),
    "an encoder that nobody knows": (settings(encoder={"cell": "os.system"}), "must be one of rnn_tanh"),
    "an unknown setting": (settings(encoder={"sell": "lstm"}), "encoder.sell"),
    "another tokenizer": (settings(data={"tokenizer": "bpe"}), "its parts do not fit together"),
    "settings that are none": (
        edit(files.CONFIG, lambda value: {**value, "config": 3}),
        "'config' is missing or no dict",
    ),
    "nothing of the data": (edit(files.CONFIG, lambda value: value.pop("data") and 0), "'data' is missing"),
    "a later format": (edit(files.CONFIG, lambda value: {**value, "format": 2}), "has format 2, this version reads 1"),
    "no format": (edit(files.CONFIG, lambda value: {**value, "format": True}), "'format' is missing or no int"),
    "a list": (write(files.VOCABULARY, b"[]"), "vocab.json: not of an exported model; it holds a list"),
    "no JSON": (write(files.VOCABULARY, b"{'a': 1}"), "vocab.json: damaged, it is no JSON"),
    "no UTF-8": (write(files.VOCABULARY, b'{"vocabulary": ["\xff"]}'), "vocab.json: damaged, it is no JSON"),
    "a thousand lists in each other": (write(files.VOCABULARY, b"[" * 10**5), "vocab.json: damaged, it is no JSON"),
    "a number of many digits": (write(files.VOCABULARY, b'{"a": ' + b"9" * 10**5 + b"}"), "vocab.json: damaged"),
}


@pytest.mark.parametrize(("change", "message"), FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_changed_folder_is_refused_in_one_line(copy: Path, change: Change, message: str, engine: str) -> None:
    change(copy)
    describe_anew(copy)
    with pytest.raises(CheckpointError) as caught:
        load(copy, engine=engine)
    said = str(caught.value)
    assert message in said
    assert said.startswith(str(copy))
    assert "\n" not in said and len(said) < 500 + len(str(copy))


@pytest.mark.parametrize("name", [files.VOCABULARY, files.WEIGHTS])
def test_a_flipped_bit_is_noticed(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{name}: is not the file that config.json describes \(SHA-256\)"):
        load(copy)


@pytest.mark.parametrize("name", [files.CONFIG, files.VOCABULARY, files.WEIGHTS])
def test_a_file_that_is_missing_or_none_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load(copy)
    os.mkfifo(copy / name)  # without an end: reading it would wait for ever
    with pytest.raises(CheckpointError, match=f"{name}: is no file"):
        load(copy)


def test_a_large_file_of_json_is_not_read(copy: Path) -> None:
    os.truncate(copy / files.VOCABULARY, files.LARGEST_TEXT + 1)
    with pytest.raises(CheckpointError, match="has 33,554,433 bytes, more than the 33,554,432 that it may have"):
        load(copy)


def test_a_stranger_s_graph_is_never_loaded(copy: Path, exported: Path) -> None:
    expected = load(exported).predict(["a good film"])
    (copy / files.GRAPH).write_bytes(b"\x08\x08 an operator of somebody's own, in a file elsewhere")
    assert load(copy, engine="onnx").predict(["a good film"]) == expected
    (copy / files.GRAPH).unlink()
    assert load(copy, engine="onnx").predict(["a good film"]) == expected


def test_labels_and_origins_steer_neither_a_screen_nor_a_page(tmp_path: Path) -> None:
    label, origin = "\x1b[2J<script>alert(1)</script>`", "a\u202e|\n# Heading\n<img src=x>`.csv"
    changed = content() | {"labels": [label, "yes"]}
    changed["data"] = changed["data"] | {"origin": origin}
    changed["config"]["data"]["labels"] = [label, "yes"]
    checkpoint.save(changed, tmp_path / "best.ckpt")
    export(tmp_path / "best.ckpt", tmp_path / "out")
    model = load(tmp_path / "out")
    assert model.labels == (label, "yes")
    assert all(each.answer.isprintable() for each in model.predict(["good", "bad"]))
    card = (tmp_path / "out" / files.CARD).read_text()
    assert all(line.isprintable() for line in card.splitlines())
    spans = card.replace("```", "").split("`")
    assert not any("<" in outside for outside in spans[::2])
    assert "\n# Heading" not in card


def test_a_folder_without_a_model_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no exported model"):
        load(tmp_path)
