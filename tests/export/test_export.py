"""A model leaves as a folder and comes back: the same answers, without torch, complete or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tests.extending.leaky import Leaky
from tests.inference import test_generate
from tests.inference.test_classify import WORDS, content
from tests.scripts import Shell
from tests.settings import from_dict
from unroll import checkpoint
from unroll.config import to_dict
from unroll.errors import ConfigError, UserError
from unroll.export import forms
from unroll.export.write import export
from unroll.inference import engines, folder
from unroll.inference.classify import LoadedClassifier
from unroll.inference.load import load
from unroll.inference.onnx_engine import session
from unroll.models.classifier import build_classifier
from unroll.models.language_model import build_language_model
from unroll.registry import ENCODERS
from unroll.tasks.spec import TASKS
from unroll.text.codec import Codec, count

TEXTS = ["A good film, unheard-of!", "", "bad plot " * 40, "it"]
FILES = {"README.md", "config.json", "example.json", "model.onnx", "model.safetensors", "vocab.json"}


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    checkpoint.save(content(), tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    checkpoint.save(test_generate.content(), tmp_path / "novel.ckpt")
    return tmp_path / "novel.ckpt"


def probabilities(model: LoadedClassifier, texts: list[str] = TEXTS) -> np.ndarray:
    return np.array([list(each.probabilities.values()) for each in model.predict(texts)])


def with_tokenizer(name: str, **groups: Any) -> dict[str, Any]:
    """A checkpoint's content for another tokenizer."""
    config = from_dict({"data": {"tokenizer": name}, "model": {"embedding_size": 8}} | groups)
    codec = Codec.learn(name, count(name, "A good film, a bad film.\n" * 3), max_size=300 if name == "bpe" else None)
    weights = build_classifier(config, len(codec.vocabulary), 2).state_dict()
    return content() | {"config": to_dict(config), "state_dict": weights} | codec.about()


def test_a_folder_answers_as_its_checkpoint_does(classifier: Path, tmp_path: Path) -> None:
    written = export(classifier, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES == set(written.sizes)
    expected = load(classifier, engine="torch")
    for engine in engines.ENGINES:
        model = load(tmp_path / "out", engine=engine)
        assert model.engine.name == ("torch" if engine == "torch" else "onnx")
        np.testing.assert_allclose(probabilities(model), probabilities(expected), atol=1e-5)
        assert [each.label for each in model.predict(TEXTS)] == [each.label for each in expected.predict(TEXTS)]
        assert repr(model) == repr(expected)
        assert torch.equal(model.model.head[0].weight, expected.model.head[0].weight)


@pytest.mark.parametrize("name", ["basic_english", "whitespace", "characters", "bytes", "bpe"])
def test_each_tokenizer_leaves_and_comes_back(name: str, tmp_path: Path) -> None:
    checkpoint.save(with_tokenizer(name), tmp_path / "best.ckpt")
    export(tmp_path / "best.ckpt", tmp_path / "out")
    expected, model = load(tmp_path / "best.ckpt", engine="torch"), load(tmp_path / "out")
    assert model.codec == expected.codec
    np.testing.assert_allclose(probabilities(model), probabilities(expected), atol=1e-5)


def test_a_language_model_writes_as_its_checkpoint_does(writer: Path, tmp_path: Path) -> None:
    export(writer, tmp_path / "out")
    expected, model = load(writer), load(tmp_path / "out")
    assert model.generate("K", 60, samples=3) == expected.generate("K", 60, samples=3)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    right = expected.model(ids)[0][0, -1].softmax(-1).tolist()
    assert model.following([3, 1, 4, 1, 5]).tolist() == pytest.approx(right, abs=1e-6)


WITHOUT_TORCH = """
import sys
for name in ("torch", "lightning", "torchmetrics", "hydra", "omegaconf", "pandas", "pyarrow", "matplotlib"):
    sys.modules[name] = None  # an import of it raises
from unroll.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments: object) -> str:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_needs_no_torch(classifier: Path, writer: Path, tmp_path: Path) -> None:
    export(classifier, tmp_path / "out")
    said = [json.loads(line) for line in without_torch("predict", "--json", tmp_path / "out", *TEXTS).splitlines()]
    right = probabilities(load(classifier, engine="torch"))
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in said], right, atol=1e-5)
    export(writer, tmp_path / "novel", half=True)
    said_ = without_torch("generate", tmp_path / "novel", "--prompt", "K", "--length", "40", "--temperature", "0.5")
    assert said_ == load(tmp_path / "novel").generate("K", 40, temperature=0.5) + "\n"


def test_half_precision_halves_the_files_and_says_what_it_costs(classifier: Path, tmp_path: Path) -> None:
    whole, half = export(classifier, tmp_path / "whole"), export(classifier, tmp_path / "half", half=True)
    weights = dict.fromkeys(load(classifier).model.state_dict(), torch.half)
    assert half.sizes["model.safetensors"] < 0.6 * whole.sizes["model.safetensors"]
    assert whole.rounding == 0 < half.rounding < 1e-3
    assert f"up to {half.rounding:.1g} from the checkpoint" in (tmp_path / "half" / "README.md").read_text()
    exact, model = load(classifier, engine="torch"), load(tmp_path / "half")
    assert 0 < abs(probabilities(model) - probabilities(exact)).max() < 2e-3
    exact.model.load_state_dict({name: exact.model.state_dict()[name].to(kind) for name, kind in weights.items()})
    np.testing.assert_allclose(probabilities(model), probabilities(exact), atol=1e-5)


def test_eight_bits_are_used_and_their_tolerance_is_stated(classifier: Path, tmp_path: Path) -> None:
    written = export(classifier, tmp_path / "out", int8=True)
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    allowed = about["tolerance"]["model.onnx"]
    assert written.tolerance == about["tolerance"] == {"model.safetensors": 1e-5, "model.onnx": allowed}
    right = probabilities(load(classifier, engine="torch"))
    loaded, by_torch = load(tmp_path / "out"), load(tmp_path / "out", engine="torch")
    assert 1e-6 < abs(probabilities(loaded) - right).max() < 0.05
    np.testing.assert_allclose(probabilities(by_torch), right, atol=1e-5)
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert "DynamicQuantizeLSTM" in operators


def test_the_graph_alone_reproduces_the_example(classifier: Path, writer: Path, tmp_path: Path) -> None:
    """As another program would check it: by the files alone."""
    for path in (classifier, writer):
        out = tmp_path / path.stem
        export(path, out)
        example = json.loads((out / "example.json").read_text())
        onnx.checker.check_model(out / "model.onnx")
        runtime = session((out / "model.onnx").read_bytes())
        for ids, right in zip(example["ids"], example["probabilities"], strict=True):
            given: dict[str, Any] = {"ids": np.array([ids])}
            for each in runtime.get_inputs()[1:]:
                given[each.name] = (
                    np.array([len(ids)]) if each.name == "lengths" else np.zeros((1, 1, each.shape[2]), np.float32)
                )
            logits = runtime.run(["logits"], given)[0].reshape(-1, len(right))[-1]
            expected = np.exp(logits) / np.exp(logits).sum()
            assert right == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_graph_that_differs_leaves_nothing(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, config: Any, arrays: dict[str, Any], half: bool) -> Any:
        from unroll.inference.graph import classifier_graph

        return classifier_graph(config, arrays | {"head.0.bias": arrays["head.0.bias"] + [0, 0.01]}, half)

    monkeypatch.setattr(forms.ClassifierForm, "graph", wrong)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"model\.onnx: its probabilities are 0\.\d+ from the model's"):
        export(classifier, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_kind_without_a_form_is_named(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS._entries, "classification", replace(TASKS["classification"], export=None))
    with pytest.raises(ConfigError, match="models of classification are not exported; use the checkpoint itself"):
        export(classifier, tmp_path / "out")


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    changed = content()
    changed["state_dict"]["model.head.0.bias"][0] = 1e6
    checkpoint.save(changed, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"head\.0\.bias is too large for half precision; export without --half"):
        export(tmp_path / "best.ckpt", tmp_path / "out", half=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_kept(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(classifier, tmp_path / "empty")
    before = (tmp_path / "empty" / "config.json").stat()
    for taken in (tmp_path / "empty", classifier):
        with pytest.raises(ConfigError, match="is there already, and is no empty folder; name a new one"):
            export(classifier, taken)
    assert (tmp_path / "empty" / "config.json").stat() == before


def test_an_encoder_of_one_s_own_leaves_without_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS._entries, "leaky", Leaky)
    checkpoint.save(with_tokenizer("whitespace", encoder={"cell": "leaky"}), tmp_path / "best.ckpt")
    written = export(tmp_path / "best.ckpt", tmp_path / "out", int8=True)
    assert written.lack == "encoder.cell=leaky has no ONNX form; choose torch"
    assert set(written.sizes) == FILES - {"model.onnx"}
    expected, model = load(tmp_path / "best.ckpt"), load(tmp_path / "out")
    assert model.engine.name == "torch"
    np.testing.assert_allclose(probabilities(model), probabilities(expected), atol=1e-6)
    with pytest.raises(UserError, match=r"encoder\.cell=leaky has no ONNX form"):
        load(tmp_path / "out", engine="onnx")


def test_where_onnxruntime_is_not_installed_torch_computes(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(classifier, tmp_path / "out")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert load(tmp_path / "out").engine.name == load(classifier).engine.name == "torch"
    with pytest.raises(UserError, match=r"onnxruntime is not installed; run `pip install 'unroll\[onnx\]'`"):
        load(classifier, engine="onnx")
    with pytest.raises(UserError, match=r"which is not installed; run `pip install 'unroll\[onnx\]'`"):
        export(classifier, tmp_path / "other")


def test_engines_that_do_not_exist_are_named(classifier: Path, writer: Path) -> None:
    with pytest.raises(ConfigError, match="engine=caffe: must be one of auto, torch, onnx"):
        load(classifier, engine="caffe")
    with pytest.raises(UserError, match="a model of language_modeling has no engine onnx; write torch, or auto"):
        load(writer, engine="onnx")


def test_the_commands(classifier: Path, tmp_path: Path, shell: Shell) -> None:
    said = shell("export", str(classifier), "out", "--int8", "--half")
    assert said.code == 0, said.err
    assert "model.onnx" in said.out and "half precision moved" in said.out
    (tmp_path / "test.csv").write_text("text,label\ngood film,positive\nbad film,negative\n")
    assert shell("predict", "out", "good film", "--explain", "page.html").code == 0
    assert "good" in (tmp_path / "page.html").read_text()
    by_engine = []
    for engine in ("torch", "onnx"):
        answer = shell("predict", "out", "good film", "--engine", engine)
        assert answer.code == 0, answer.err
        figures = shell("evaluate", "out", "--data", "test.csv", "--engine", engine)
        by_engine.append(json.loads(figures.out))
    assert by_engine[0]["examples"] == by_engine[1]["examples"] == 2
    assert by_engine[0]["loss"] == pytest.approx(by_engine[1]["loss"], abs=0.05)
    assert shell("export", str(classifier), "out").one_line().endswith("name a new one")


def test_the_card_says_what_is_known(tmp_path: Path) -> None:
    config = from_dict({"encoder": {"hidden_size": 32}, "data": {"path": "/secret/place/films.csv"}})
    weights = build_classifier(config, len(WORDS) + 2, 2).state_dict()
    changed = content() | {"config": to_dict(config), "state_dict": weights}
    changed["data"] = {"source": "local", "origin": "/secret/place/films.csv", "fingerprint": "0", "train": 1234}
    checkpoint.save(changed, tmp_path / "run" / "checkpoints" / "best.ckpt")
    metrics = {"val/accuracy": 0.8765, "test/accuracy": 0.8712, "test/f1/negative": 0.5, "test/auroc": None}
    summary = {"data": {"fingerprint": "0"}, "metrics": metrics}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    export(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "1 layer of 32 units, one direction" in card
    assert "`films.csv` (`local`)" in card and "secret" not in card
    assert "- examples: train 1,234\n" in card
    assert "`encoder.hidden_size=32`" in card
    assert "val: `accuracy 0.8765`, by `unroll evaluate best.ckpt --split val`" in card
    assert "test: `accuracy 0.8712`" in card
    assert "## Licence of the data\n\nNot stated." in card
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {"data": {"fingerprint": "1"}}))
    export(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "other")
    assert "## Figures\n\nNot stated." in (tmp_path / "other" / "README.md").read_text()


def test_a_book_of_project_gutenberg_is_in_the_public_domain(tmp_path: Path) -> None:
    groups = {"task": "language_modeling", "encoder": {"hidden_size": 16}, "model": {"embedding_size": 8}}
    config = from_dict(groups | {"data": {"gutenberg": 1268}})
    weights = build_language_model(config, len(test_generate.LETTERS) + 2).state_dict()
    checkpoint.save(test_generate.content() | {"config": to_dict(config), "state_dict": weights}, tmp_path / "a.ckpt")
    export(tmp_path / "a.ckpt", tmp_path / "out")
    assert (
        "(https://www.gutenberg.org/ebooks/1268), in the public domain" in (tmp_path / "out" / "README.md").read_text()
    )


def test_names_of_files_are_those_of_the_docs() -> None:
    names = (folder.CONFIG, folder.VOCABULARY, folder.WEIGHTS, folder.GRAPH, folder.CARD, folder.EXAMPLE)
    assert set(names) == FILES
