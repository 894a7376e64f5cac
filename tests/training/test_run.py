"""A whole run on a small corpus: what it leaves, what it shows, and how its settings act."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import unroll
from tests.training.boards import events
from tests.training.conftest import Finished, Runner, small_config
from unroll import checkpoint
from unroll.errors import ConfigError, DataError, Elsewhere, Interrupted, UserError
from unroll.inference.evaluate import evaluate
from unroll.tasks.classification import Classification
from unroll.tasks.spec import from_dict, load_data
from unroll.training.start import train
from unroll.training.trainer import total_steps

CLASS_FIGURES = {f"{name}/{label}" for name in ("precision", "recall", "f1") for label in ("bad", "good")}
FIGURES = {f"{s}/{m}" for s in ("val", "test") for m in ("loss", "accuracy", "f1", "auroc", *CLASS_FIGURES)}


def test_the_run_learns_and_its_summary_is_complete(finished: Finished) -> None:
    summary = finished.summary
    assert summary == json.loads((finished.folder / "summary.json").read_text())
    assert (summary["task"], summary["status"], summary["seed"]) == ("classification", "completed", 0)
    data = summary["data"]
    assert (data["source"], data["train"], data["val"], data["test"]) == ("local", 360, 40, 100)
    assert summary["train"]["steps"] == 3 * 23  # 360 reviews in batches of 16
    assert summary["train"]["epochs"] == 3
    assert summary["train"]["tokens_per_second"] == pytest.approx(
        summary["train"]["tokens"] / summary["train"]["seconds"], rel=0.01
    )
    assert summary["train"]["peak_memory_mib"] > 100
    assert set(summary["metrics"]) == FIGURES
    assert summary["metrics"]["test/accuracy"] > 0.95
    assert set(summary["versions"]) == {"unroll", "torch", "lightning", "python"}


def test_tokens_are_counted_without_padding(finished: Finished, reviews: Path) -> None:
    config = from_dict(yaml.safe_load((finished.folder / "config.yaml").read_text()))
    data = load_data(config)
    assert finished.summary["train"]["tokens"] == 3 * int(data.train.lengths.sum())


def test_the_config_of_a_run_is_a_config(finished: Finished, reviews: Path) -> None:
    config = from_dict(yaml.safe_load((finished.folder / "config.yaml").read_text()))
    assert config == small_config(reviews, finished.folder)


def test_the_checkpoint_needs_nothing_beside_it(finished: Finished) -> None:
    content = torch.load(finished.summary["checkpoints"]["best"], weights_only=True)
    assert content["labels"] == ["bad", "good"]
    assert content["tokenizer"] == "basic_english"
    assert content["data"]["fingerprint"] == finished.summary["data"]["fingerprint"]
    model = unroll.load(finished.summary["checkpoints"]["best"])
    assert [p.label for p in model.predict(["a wonderful superb film", "boring and dreadful"])] == ["good", "bad"]


def test_the_figures_are_those_of_the_best_checkpoint_in_use(finished: Finished) -> None:
    for split in ("val", "test"):
        figures = evaluate(Path(finished.summary["checkpoints"]["best"]), None, split)
        for name in ("accuracy", "f1", "auroc", "loss", *CLASS_FIGURES):
            assert figures[name] == pytest.approx(finished.summary["metrics"][f"{split}/{name}"], abs=1e-5)


def test_tensorboard_has_the_curves_the_pictures_and_the_reviews(finished: Finished) -> None:
    board = events(finished.folder)
    train = ("loss", "accuracy", "learning_rate", "gradient_norm", "clipped", "tokens_per_second", "padding")
    tags = board.Tags()
    assert {f"train/{name}" for name in train} <= set(tags["scalars"])
    assert set(tags["scalars"]) >= FIGURES
    assert set(tags["images"]) == {"val/confusion", "val/precision_recall", "recurrence/gradient_by_lag"}
    assert "val/most_wrong/text_summary" in tags["tensors"]
    assert "_hparams_/experiment" in board.summary_metadata
    # The peak of a one-cycle schedule that rises from the first step is its start; it falls after that.
    rates = [point.value for point in board.Scalars("train/learning_rate")]
    assert rates == sorted(rates, reverse=True)
    assert all(0 <= point.value < 1 for name in ("clipped", "padding") for point in board.Scalars(f"train/{name}"))


def test_the_screen_tells_what_was_used_and_what_to_type_next(finished: Finished) -> None:
    for part in (
        "data: local",
        "360 train, 40 val, 100 test",
        "epoch 3/3  val/loss",
        "test (100)",
        "unroll predict ",
    ):
        assert part in finished.screen
    assert finished.summary["checkpoints"]["best"] in finished.screen


def test_equal_seeds_give_equal_weights(run: Runner, finished: Finished) -> None:
    again = run()
    weights, same = (checkpoint.load(f.folder / "checkpoints/last.ckpt")["state_dict"] for f in (finished, again))
    assert all(torch.equal(weights[name], same[name]) for name in weights)


@pytest.mark.parametrize(
    "groups",
    [
        {"encoder": {"cell": "gru", "bidirectional": False}, "tbptt": {"window": 5}},
        {"optimizer": {"ema_decay": 0.9}, "checkpoint": {"every_n_steps": 4}},
        {"data": {"batch_size": None, "max_tokens": 200}, "trainer": {"accumulate_grad_batches": 2, "max_epochs": 1}},
        {"early_stopping": {"patience": 1}, "trainer": {"max_epochs": 30, "gradient_clip_algorithm": "value"}},
    ],
    ids=["gru-tbptt", "ema", "max-tokens", "early-stopping"],
)
def test_other_settings_run_to_their_end(run: Runner, groups: dict[str, Any]) -> None:
    done = run(**groups)
    assert done.summary["status"] == "completed"
    if "early_stopping" in groups:
        assert done.summary["train"]["epochs"] < 30
    if "tbptt" in groups:
        assert done.summary["metrics"]["test/accuracy"] > 0.9


def test_the_average_of_the_weights_is_what_is_kept_and_measured(run: Runner) -> None:
    done = run(optimizer={"ema_decay": 0.95})
    content = checkpoint.load(done.folder / "checkpoints/last.ckpt")
    current, average = content["current_model_state"], content["state_dict"]
    assert any(not torch.equal(current[name], average[name]) for name in average)


def test_max_steps_and_limit_end_the_run_where_they_say(run: Runner) -> None:
    done = run(trainer={"max_steps": 7}, data={"limit": 64})
    assert done.summary["train"]["steps"] == 7
    assert done.summary["data"]["train"] == 64


def test_the_number_of_steps_is_known_beforehand(reviews: Path, tmp_path: Path) -> None:
    def steps(**trainer: Any) -> int | None:
        optimizer = {"schedule": "constant"}
        base = {"max_epochs": 3}
        return total_steps(small_config(reviews, tmp_path, trainer=base | trainer, optimizer=optimizer), batches=23)

    assert steps() == 69
    assert steps(accumulate_grad_batches=4) == 3 * 6
    assert steps(max_steps=5) == 5
    assert steps(max_epochs=None, max_time="00:00:00:01") is None


def test_clipping_bounds_the_gradient_that_the_optimiser_sees(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    clip = Classification.configure_gradient_clipping

    def spy(module: Classification, *arguments: Any, **named: Any) -> None:
        before = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in module.parameters()]))
        clip(module, *arguments, **named)
        after = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in module.parameters()]))
        assert float(module.gradient["gradient_norm"]) == pytest.approx(float(before), rel=1e-4)
        seen.append((float(before), float(after)))

    monkeypatch.setattr(Classification, "configure_gradient_clipping", spy)
    run(trainer={"max_epochs": 1, "gradient_clip_val": 0.05})
    assert any(before > 0.05 for before, _ in seen)
    assert all(after == pytest.approx(min(before, 0.05), rel=1e-3) for before, after in seen)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_saving(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    step = Classification.training_step

    def signalled(module: Classification, batch: Any, batch_idx: int) -> Any:
        if module.global_step == 9:
            os.kill(os.getpid(), number)
        return step(module, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", signalled)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=number.name) as caught:
        train(small_config(reviews, tmp_path / "run"))
    assert caught.value.exit_code == code
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 10
    assert signal.getsignal(number) == before


def test_a_failure_is_one_line_and_its_traceback_is_in_the_log(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the reason\nand more")

    monkeypatch.setattr(Classification, "training_step", broken)
    with pytest.raises(UserError, match=r"training failed \(RuntimeError: the reason\); see .*error\.log$"):
        train(small_config(reviews, tmp_path / "run"))
    assert "Traceback" in (tmp_path / "run/error.log").read_text()
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("local_rank", [0, 1])
def test_where_another_process_is_lost_one_of_each_machine_says_so(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_rank: int
) -> None:
    def lost(*_: Any) -> None:
        raise RuntimeError("gloo: connection reset")

    monkeypatch.setattr(Classification, "training_step", lost)
    monkeypatch.setattr("unroll.ranks.is_lost", lambda error: True)
    monkeypatch.setattr("unroll.ranks.local_rank", lambda: local_rank)
    with pytest.raises(Elsewhere) as caught:
        train(small_config(reviews, tmp_path / "run"))
    assert str(caught.value) == ("" if local_rank else "another process of the run has ended; nothing is saved")


def test_nothing_is_written_where_the_data_or_the_folder_is_wrong(reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(small_config(tmp_path / "nowhere", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "precious").write_text("")
    with pytest.raises(ConfigError, match="something is there already"):
        train(small_config(reviews, tmp_path / "used"))
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["precious"]


def test_the_profilers_table_is_shown(run: Runner) -> None:
    done = run(trainer={"profiler": "simple", "max_steps": 2})
    assert "Profiler Report" in done.screen
    assert "run_training_batch" in done.screen
