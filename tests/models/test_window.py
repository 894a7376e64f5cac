"""Truncated backpropagation in the classifier, against graphs that are cut by hand."""

import pytest
import torch
from torch import Tensor, nn

from unroll.encoders import CELLS, RecurrentEncoder
from unroll.models.classifier import TextClassifier

WORDS = 20
IDS = torch.tensor(
    [
        [2, 9, 4, 17, 5, 3, 8, 12, 6, 7, 11],
        [13, 5, 5, 2, 0, 0, 0, 0, 0, 0, 0],
        [4, 19, 3, 7, 10, 16, 14, 9, 0, 0, 0],
        [6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [18, 15, 2, 9, 4, 12, 13, 6, 3, 0, 0],
    ]
)
LENGTHS = torch.tensor([11, 4, 8, 1, 9])


def make(cell: str, window: int | None, backend: str = "auto", like: TextClassifier | None = None, **options: object):
    encoder = RecurrentEncoder(cell, 6, 5, 2, backend=backend)
    model = TextClassifier(encoder, vocabulary_size=WORDS, num_classes=3, window=window, **options).double()
    if like is not None:
        model.load_state_dict(like.state_dict())
    return model


def gradients(logits: Tensor, model: nn.Module) -> dict[str, Tensor]:
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1, 1, 0]))
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


class CutByHand(nn.Module):
    """Each document alone through torch.nn, window by window; the state is detached between windows."""

    def __init__(self, model: TextClassifier, window: int) -> None:
        super().__init__()
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": nn.RNN}
        options = {"nonlinearity": model.encoder.cell[4:]} if model.encoder.cell.startswith("rnn") else {}
        self.embedding = nn.Embedding(WORDS, 6, padding_idx=0)
        self.encoder = kinds[model.encoder.cell](6, 5, 2, batch_first=True, **options)
        self.head = nn.Sequential(nn.Linear(5 * len(model.pooling), 3))
        self.pooling, self.window = model.pooling, window
        self.double().load_state_dict(model.state_dict())

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        logits = []
        for row, length in zip(ids, lengths.tolist(), strict=True):
            outputs, state = [], None
            for start in range(0, length, self.window):
                x = self.embedding(row[None, start : min(start + self.window, length)])
                output, state = self.encoder(x, state)
                state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
                outputs.append(output[0])
            output = torch.cat(outputs)
            pools = {"last": output[-1], "mean": output.mean(0), "max": output.amax(0)}
            logits.append(self.head(torch.cat([pools[name] for name in self.pooling])))
        return torch.stack(logits)


@pytest.mark.parametrize("window", [1, 3, 4, 10])
@pytest.mark.parametrize("cell", CELLS)
class TestWindow:
    def test_logits_are_those_without_it(self, cell, window):
        whole = make(cell, None)
        model = make(cell, window, like=whole)
        torch.testing.assert_close(model(IDS, LENGTHS), whole(IDS, LENGTHS), atol=1e-10, rtol=0)
        torch.testing.assert_close(model.float()(IDS, LENGTHS), whole.float()(IDS, LENGTHS), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("pooling", [["last"], ["max", "mean"]], ids="-".join)
    @pytest.mark.parametrize("backend", ["packed", "padded"])
    def test_gradient_is_that_of_a_graph_cut_by_hand(self, cell, window, pooling, backend):
        model = make(cell, window, backend, pooling=pooling)
        by_hand = CutByHand(model, window)
        logits, expected_logits = model(IDS, LENGTHS), by_hand(IDS, LENGTHS)
        torch.testing.assert_close(logits, expected_logits, atol=1e-10, rtol=0)
        actual, expected = gradients(logits, model), gradients(expected_logits, by_hand)
        assert actual.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(
                actual[name], gradient, atol=1e-10, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )

    def test_gradient_differs_from_the_uncut(self, cell, window):
        whole = make(cell, None)
        model = make(cell, window, like=whole)
        cut, uncut = gradients(model(IDS, LENGTHS), model), gradients(whole(IDS, LENGTHS), whole)
        for name in ("embedding.weight", "encoder.weight_ih_l0", "encoder.weight_hh_l0", "encoder.weight_hh_l1"):
            assert (cut[name] - uncut[name]).abs().max() > 1e-6, name
        # The forward pass is the same, so the gradients behind the encoder are too.
        torch.testing.assert_close(cut["head.0.weight"], uncut["head.0.weight"], atol=1e-10, rtol=0)


@pytest.mark.parametrize("window", [11, 12, 100])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_as_long_as_the_batch_cuts_nothing(cell, window):
    whole = make(cell, None)
    model = make(cell, window, like=whole)
    cut, uncut = gradients(model(IDS, LENGTHS), model), gradients(whole(IDS, LENGTHS), whole)
    for name, gradient in uncut.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-10, rtol=0)


@pytest.mark.parametrize("window", [None, 1, 3, 4, 8, 20])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_which_words_a_step_s_output_sends_a_gradient_to(cell, window):
    """To all words from its window's first step to its own, and to no other."""
    model = make(cell, window, pooling=["last"])
    words = torch.arange(2, 14)[None]  # all different: the embedding's gradient tells the step
    for last in range(12):
        logits = model(words, torch.tensor([last + 1]))
        (gradient,) = torch.autograd.grad(logits.sum(), model.embedding.weight)
        first = 0 if window is None else last // window * window
        reached = gradient.abs().sum(-1).nonzero().flatten().tolist()
        assert reached == list(range(2 + first, 2 + last + 1))


def test_a_state_that_overflows_in_the_padding_spoils_nothing():
    """Recurrent weights of 11: a ReLU state grows elevenfold with each step, also where a document has ended."""
    encoder = RecurrentEncoder("rnn_relu", 1, 1)
    model = TextClassifier(encoder, vocabulary_size=WORDS, num_classes=2, window=50)
    with torch.no_grad():
        model.embedding.weight[1:] = 1.0
        encoder.weight_ih_l0.fill_(1.0)
        encoder.weight_hh_l0.fill_(11.0)
    for time in (40, 60):  # in one window, and in two
        ids = torch.zeros(2, time, dtype=torch.long)
        ids[:, :3] = 5
        logits = model(ids, torch.tensor([3, 2]))
        assert logits.isfinite().all()
        for gradient in torch.autograd.grad(logits.sum(), list(model.parameters())):
            assert gradient.isfinite().all()


def test_the_windows_of_a_document_have_the_same_masks():
    regularised = {"dropout": 0.5, "locked_dropout": True, "weight_dropout": 0.5}
    encoders = [RecurrentEncoder("lstm", 6, 5, 2, **regularised) for _ in range(2)]
    models = [
        TextClassifier(encoder, vocabulary_size=WORDS, num_classes=3, window=window, embedding_dropout=0.3).double()
        for encoder, window in zip(encoders, (None, 4), strict=True)
    ]
    models[1].load_state_dict(models[0].state_dict())
    found = []
    for model in models:
        torch.manual_seed(5)
        found.append(model(IDS, LENGTHS))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
    assert not torch.allclose(models[1](IDS, LENGTHS), found[1])
