"""Every recipe runs: on little data, with few units, for two steps of each of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import write_reviews
from tests.scripts import ROOT
from unroll.compose import compose
from unroll.training.start import train

SMALL = ["encoder.hidden_size=8", "model.embedding_size=8", "trainer.max_steps=2", "trainer.accelerator=cpu"]
SIZES = {
    "classification": ["data.limit=60", "data.max_size=50"],
    "pretraining": ["data.limit=60", "data.max_size=50", "data.max_tokens=600"],
    "language_modeling": ["data.batch_size=4", "tbptt.window=16"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    for name, rows in (("train", 100), ("test", 40), ("unlabelled", 40)):
        write_reviews(folder / f"{name}.csv", rows, seed=len(name))
    (folder / "novel.txt").write_text("The island was silent. “Captain,” cried the sailor.\n" * 100)
    return folder


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")))
def test_a_recipe_runs(recipe: str, data: Path, tmp_path: Path) -> None:
    config = compose([f"experiment={recipe}"])
    settings = [f"experiment={recipe}", *SMALL, *SIZES[config.kind], f"run_dir={tmp_path / 'run'}"]
    pretrains = bool(getattr(config, "pretraining", None) and config.pretraining.epochs)
    if pretrains:
        settings += ["pretraining.epochs=1", "pretraining.sampled_words=16", "pretraining.max_tokens=600"]
    if config.kind == "classification" and config.data.unlabelled_batch_size:
        settings.append("data.unlabelled_batch_size=8")
    path = data / "novel.txt" if config.kind == "language_modeling" else data
    summary = train(compose([*settings, f"data.path={path}", f"data.folder={tmp_path}"]))
    assert (summary["status"], summary["train"]["steps"]) == ("completed", 2)
    assert ("pretraining" in summary) == pretrains
