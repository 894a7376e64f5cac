"""Truncated backpropagation through time, against a step-by-step recurrence with a graph that is cut by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tasks.conftest import MakeTask
from unroll.encoders import CELLS
from unroll.tasks.language_modeling import LanguageModeling
from unroll.tasks.language_modeling_data import LanguageModelingData

# Every character occurs once, so the gradient of its embedding belongs to one place.
TEXT = "".join(chr(0x4E00 + i) for i in range(130))

SCHEMES: list[dict[str, Any]] = [
    {},
    {"tbptt__stride": 3},
    {"tbptt__stride": 1},
    {"data__random_offset": True},
    {"data__random_offset": True, "tbptt__stride": 5},
    {"tbptt__random_window": True, "data__random_offset": True},
    {"model__embedding_size": None},
    {"model__tie_weights": True, "model__embedding_size": 6},
]


class ByHand:
    """The same model with torch.nn's cells, step by step and lane by lane."""

    def __init__(self, task: LanguageModeling) -> None:
        encoder = task.model.encoder
        self.model = task.model
        kind = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}.get(encoder.cell, nn.RNNCell)
        options = {"nonlinearity": encoder.cell.removeprefix("rnn_")} if kind is nn.RNNCell else {}
        self.cell = kind(encoder.input_size, encoder.hidden_size, **options).double()
        self.is_lstm = encoder.cell == "lstm"
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self.weights = dict(zip(names, encoder.all_weights[0], strict=True))

    def losses(self, ids: Tensor, state: Any, learnt: int, targets: Tensor) -> Tensor:
        """The losses of the last `learnt` steps of one lane, from a detached state."""
        state = None if state is None else tuple(part.detach() for part in state)
        found = []
        for step in range(len(ids)):
            state = self.step(ids[step], state)
            place = step - (len(ids) - learnt)
            if place >= 0:
                logits = state[0] @ self.model.output_weight.T + self.model.bias
                found.append(F.cross_entropy(logits[0], targets[place]))
        return torch.stack(found)

    def step(self, character: Tensor, state: Any) -> Any:
        if self.model.embedding is None:
            x = F.one_hot(character, self.model.vocabulary_size).double()
        else:
            x = self.model.embedding.weight[character]
        given = None if state is None else (state if self.is_lstm else state[0])
        after = torch.func.functional_call(self.cell, self.weights, (x[None], given))
        return after if self.is_lstm else (after,)

    def state_before(self, ids: Tensor) -> Any:
        """The state after all characters of a lane since its beginning."""
        state = None
        with torch.no_grad():
            for character in ids:
                state = self.step(character, state)
        return state


def gradients(task: LanguageModeling, loss: Tensor) -> dict[str, Tensor]:
    task.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}


def both_ways(task: LanguageModeling, data: LanguageModelingData) -> Any:
    """Yield for each window the batch, the task's loss and gradient, and the loss and gradient by hand."""
    task.double()
    by_hand = ByHand(task)
    loader = data.train_dataloader()
    read: list[list[int]] = [[] for _ in range(data.config.batch_size)]  # since each lane began
    for batch in loader:
        loss = task.training_step(batch, 0)["loss"]
        task_gradients = gradients(task, loss)
        expected = []
        for lane in range(len(read)):
            if batch.starts[lane]:
                read[lane] = []
            state = by_hand.state_before(torch.tensor(read[lane], dtype=torch.long))
            expected.append(by_hand.losses(batch.ids[lane], state, batch.targets.size(1), batch.targets[lane]))
            read[lane] += batch.ids[lane, : batch.carry].tolist()
        hand_loss = torch.cat(expected).mean()
        yield batch, loss, task_gradients, hand_loss, gradients(task, hand_loss)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_loss_and_gradient_are_those_of_the_truncated_recurrence(make_task: MakeTask, scheme: dict[str, Any]) -> None:
    task, data = make_task(TEXT, **scheme)
    windows = 0
    for _, loss, found, hand_loss, expected in both_ways(task, data):
        torch.testing.assert_close(loss, hand_loss, rtol=0, atol=1e-12)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)
        windows += 1
    assert windows == len(data.train_dataloader())


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_cut_alike(make_task: MakeTask, cell: str) -> None:
    task, data = make_task(TEXT, encoder__cell=cell, tbptt__stride=5)
    for _, _, found, _, expected in both_ways(task, data):
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [None, 3])
def test_the_gradient_ends_at_the_window_and_nowhere_before(make_task: MakeTask, stride: int | None) -> None:
    task, data = make_task(TEXT, tbptt__stride=stride)
    for batch, _, found, _, _ in both_ways(task, data):
        reached = found["embedding.weight"].abs().sum(1) > 0
        inside = torch.zeros(len(reached), dtype=torch.bool)
        inside[batch.ids.flatten()] = True
        assert torch.equal(reached, inside)


@pytest.mark.parametrize("cell", CELLS)
def test_windows_in_turn_are_one_long_reading(make_task: MakeTask, cell: str) -> None:
    task, data = make_task(TEXT, encoder__cell=cell, encoder__num_layers=2, data__batch_size=2)
    task.eval()
    windows = list(data.train_dataloader())
    with torch.no_grad():
        logits = torch.cat([task(window, "train") for window in windows], dim=1)
        expected, state = task.model(torch.cat([window.ids for window in windows], dim=1))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(task.states["train"], state, rtol=0, atol=1e-5)
    assert len(windows) > 5


def test_the_mask_resets_its_own_lanes_only(make_task: MakeTask) -> None:
    task, data = make_task(TEXT)
    first, second, *_ = data.train_dataloader()
    second = second._replace(starts=torch.tensor([False, True, False]))
    task.eval()
    with torch.no_grad():
        task(first, "train")
        carried = task.states["train"]
        logits = task(second, "train")
        with_state, _ = task.model(second.ids, carried)
        anew, _ = task.model(second.ids)
    assert torch.equal(logits[[0, 2]], with_state[[0, 2]])
    assert torch.equal(logits[1], anew[1])
    assert not torch.allclose(with_state[1], anew[1])


def test_dropout_has_one_mask_per_window_though_the_window_is_read_in_two(make_task: MakeTask) -> None:
    task, data = make_task(TEXT, tbptt__stride=3, model__input_dropout=0.5)
    seen: list[Tensor] = []
    task.model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = list(data.train_dataloader())[4]
    task(batch, "train")
    assert len(seen) == 2
    zero = torch.cat(seen, dim=1) == 0
    assert zero.any()
    assert torch.equal(zero, zero[:, :1].expand_as(zero))
