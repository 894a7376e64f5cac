"""The language model in training: its figures, its states, and what its options do to them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.nn import functional as F

from tests.tasks.conftest import MakeTask
from unroll.batching.streams import Lanes, Window, WindowSampler
from unroll.tasks.language_modeling import LanguageModeling
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.tasks.metrics import StreamMetrics

TEXT = "".join(random.Random(1).choices(["the ", "sea ", "island ", "and ", "captain "], k=300))


def trainer(**settings: Any) -> Trainer:
    return Trainer(
        **{"accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_checkpointing": False} | settings,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_figures_are_sums_over_characters() -> None:
    torch.manual_seed(3)
    metrics, parts = StreamMetrics(), [(2, 5), (1, 1), (3, 2)]
    nats, correct = [], []
    for rows, steps in parts:
        logits, targets = torch.randn(rows, steps, 7), torch.randint(7, (rows, steps))
        metrics.update(logits, targets)
        for row in range(rows):
            for step in range(steps):
                p = logits[row, step].double().softmax(0)
                nats.append(-math.log(p[targets[row, step]]))
                correct.append(int(p.argmax()) == int(targets[row, step]))
    figures = metrics.compute()
    mean = sum(nats) / len(nats)
    assert figures["loss"] == pytest.approx(mean, abs=1e-6)
    assert figures["bpc"] == pytest.approx(mean / math.log(2), abs=1e-6)
    assert figures["perplexity"] == pytest.approx(math.exp(mean), abs=1e-5)
    assert figures["accuracy"] == pytest.approx(sum(correct) / len(correct))
    metrics.reset()
    metrics.update(torch.full((1, 1, 2), 0.0), torch.zeros(1, 1, dtype=torch.long))
    assert metrics.compute()["bpc"] == pytest.approx(1.0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_evaluation_does_not_depend_on_the_window(make_task: MakeTask, cell: str) -> None:
    task, data = make_task(TEXT, encoder__cell=cell)
    task.eval()
    figures = []
    for window in (1, 7, 64, 1024):
        metrics, lanes = StreamMetrics(), Lanes(data.train.ids, 1)
        task.states["val"] = None
        with torch.no_grad():
            for span in WindowSampler(lanes, window):
                batch = lanes[span]
                metrics.update(task(batch, "val"), batch.targets)
        figures.append(metrics.compute()["bpc"])
    with torch.no_grad():  # the text in one piece
        ids = torch.from_numpy(data.train.ids).long()
        logits, _ = task.model(ids[None, :-1])
        expected = float(F.cross_entropy(logits[0].double(), ids[1:])) / math.log(2)
    assert figures == pytest.approx([expected] * 4, abs=1e-6)


class States(Callback):
    """Notes the carried state and the weights after each training step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        h, c = pl_module.states["train"]
        weights = [p.detach().flatten() for p in pl_module.parameters()]
        self.seen.append(torch.cat([h.detach().flatten(), c.detach().flatten(), *weights]))


def fitted(make_task: MakeTask, settings: dict[str, Any], **arguments: Any) -> tuple[LanguageModeling, States]:
    torch.manual_seed(0)
    task, data = make_task(TEXT, **settings)
    states = States()
    trainer(callbacks=[states], **arguments).fit(task, data)
    return task, states


def test_a_validation_within_an_epoch_leaves_training_as_it_is(make_task: MakeTask) -> None:
    _, without = fitted(make_task, {}, limit_val_batches=0)
    task, with_ = fitted(make_task, {}, val_check_interval=3)
    assert len(with_.seen) == len(without.seen) > 20
    assert all(torch.equal(a, b) for a, b in zip(with_.seen, without.seen, strict=True))
    assert task.states["val"] is not None
    assert task.states["test"] is None


def test_the_state_is_carried_through_an_epoch_and_not_into_the_next(make_task: MakeTask) -> None:
    """The learning rate is almost zero, so both epochs see the same states."""
    _, states = fitted(make_task, {"optimizer__learning_rate": 1e-12})
    half = len(states.seen) // 2
    for first, second in zip(states.seen[:half], states.seen[half:], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert not torch.allclose(states.seen[0], states.seen[1])


@pytest.mark.parametrize(("algorithm", "value"), [("norm", 0.01), ("value", 0.001)])
def test_clipping_is_seen_in_the_norm_that_is_noted_and_in_the_gradient(
    make_task: MakeTask, algorithm: str, value: float
) -> None:
    task, data = make_task(TEXT)
    batch = next(iter(data.train_dataloader()))
    task.training_step(batch, 0)["loss"].backward()
    before = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
    task.configure_gradient_clipping(torch.optim.SGD(task.parameters()), value, algorithm)
    after = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
    assert float(task.gradient["gradient_norm"]) == pytest.approx(float(before.norm()), rel=1e-5)
    assert float(task.gradient["clipped"]) == 1
    expected = before * value / before.norm() if algorithm == "norm" else before.clamp(-value, value)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-9)


class Rates(Callback):
    """Notes each step's learning rate, as the optimiser reads it, and its window's length."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        optimizer, step = trainer.optimizers[0], trainer.optimizers[0].step

        def noting(closure: Any = None) -> Any:
            def then() -> Any:
                loss = closure()
                self.rate = optimizer.param_groups[0]["lr"]
                return loss

            return step(then)

        optimizer.step = noting  # type: ignore[method-assign]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.seen.append((self.rate, batch.targets.size(1)))


def test_the_learning_rate_is_scaled_by_the_windows_length(make_task: MakeTask) -> None:
    options = {"tbptt__random_window": True, "tbptt__window": 16, "optimizer__schedule": "constant"}
    task, data = make_task(TEXT, optimizer__learning_rate=0.01, **options)
    rates = Rates()
    trainer(callbacks=[rates]).fit(task, data)
    assert len({length for _, length in rates.seen}) > 3
    for rate, length in rates.seen:
        assert rate == pytest.approx(0.01 * length / 16)


@pytest.mark.parametrize("stride", [None, 1, 3])
def test_activation_penalties_are_in_the_gradient_and_not_in_the_figures(
    make_task: MakeTask, stride: int | None
) -> None:
    penalties = {"model__activation_penalty": 2.0, "model__temporal_penalty": 0.5, "model__output_dropout": 0.5}
    task, data = make_task(TEXT, **penalties, tbptt__stride=stride)
    task.double()
    batch = list(data.train_dataloader())[1]
    torch.manual_seed(5)
    figures = task.training_step(batch, 0)
    found = torch.autograd.grad(figures["loss"], list(task.parameters()))

    kept: list[torch.Tensor] = []  # what enters the dropout, and what leaves it
    task.model.output_dropout.register_forward_hook(lambda module, inputs, output: kept.extend([inputs[0], output]))
    torch.manual_seed(5)
    logits, _ = task.model(batch.ids, carry=batch.carry, last=batch.targets.size(1))
    raw, dropped = kept
    entropy = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
    penalty = 2.0 * sum(dropped[:, t].square().sum() for t in range(dropped.size(1))) / dropped.numel()
    changes = [(raw[:, t + 1] - raw[:, t]).square().sum() for t in range(raw.size(1) - 1)]
    if changes:
        penalty = penalty + 0.5 * sum(changes) / (len(changes) * raw[:, 0].numel())
    assert raw.size(1) == (stride or 8)
    for gradient, expected in zip(found, torch.autograd.grad(entropy + penalty, list(task.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert figures["loss"].item() == pytest.approx(entropy.item(), abs=1e-12)
    assert figures["bpc"].item() == pytest.approx(entropy.item() / math.log(2), abs=1e-12)
    assert figures["penalty"].item() == pytest.approx(penalty.item(), abs=1e-12)


def test_evaluation_knows_no_penalty(make_task: MakeTask) -> None:
    task, data = make_task(TEXT, model__activation_penalty=2.0)
    batch = next(iter(data.train_dataloader()))
    task.eval()
    task(batch, "val")
    assert task.train().training_step(batch, 0).keys() == {"loss", "bpc", "accuracy", "penalty"}
    task, _ = make_task(TEXT)
    assert task.training_step(batch, 0).keys() == {"loss", "bpc", "accuracy"}


def test_state_dropout_begins_some_lanes_of_a_window_with_zeros(make_task: MakeTask) -> None:
    task, _ = make_task("abc" * 100, tbptt__state_dropout=0.3)
    given: list[Any] = []
    task.model.encoder.register_forward_pre_hook(lambda module, inputs: given.append(inputs[2]))
    lanes = 4000
    starts = torch.arange(lanes) < 100
    window = Window(torch.zeros(lanes, 1).long(), torch.zeros(lanes, 1).long(), starts, carry=1)
    for split in ("train", "train", "val"):
        task.states[split] = (torch.ones(1, lanes, 6), torch.full((1, lanes, 6), 2.0))
        task(window, split)
    kept = [h[0, :, 0] == 1 for h, _ in given]
    for (h, c), intact in zip(given, kept, strict=True):
        assert torch.equal(h, intact[None, :, None].expand_as(h).float())
        assert torch.equal(c, 2 * h)
        assert not intact[:100].any()
    assert abs(kept[0][100:].float().mean() - 0.7) < 0.03
    assert not torch.equal(kept[0], kept[1])
    assert kept[2][100:].all()


def test_averaged_weights_train(make_task: MakeTask) -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    task, data = make_task(TEXT)
    trainer(callbacks=[EMAWeightAveraging(decay=0.9)]).fit(task, data)
    assert all(torch.isfinite(p).all() for p in task.parameters())


def test_it_learns_what_there_is_to_learn(make_task: MakeTask) -> None:
    """Five words in random order: about log2(5) bits per word, and a word has 5 characters on average."""
    settings = {"optimizer__learning_rate": 0.02, "optimizer__schedule": "constant", "encoder__hidden_size": 24}
    task, data = make_task(TEXT, **settings)
    learner = trainer(max_epochs=12, gradient_clip_val=1.0)
    learner.fit(task, data)
    (figures,) = learner.test(task, data, verbose=False)
    assert figures["test/bpc"] < 0.75
    assert figures["test/loss"] == pytest.approx(figures["test/bpc"] * math.log(2), rel=1e-5)
    assert figures["test/perplexity"] == pytest.approx(math.exp(figures["test/loss"]), rel=1e-5)


def test_checkpoints_say_how_the_text_begins(make_task: MakeTask, tmp_path: Path) -> None:
    task, data = make_task(TEXT)
    runner = trainer(max_steps=1)
    runner.fit(task, data)
    content: dict[str, Any] = {}
    task.on_save_checkpoint(content)
    assert isinstance(data, LanguageModelingData)
    assert content["opening"] == TEXT[0]
    assert content["vocabulary"][2:] == list(data.vocabulary.tokens[2:])
