"""The classifier against torch.nn's modules put together by hand, one document at a time."""

import pytest
import torch
from torch import Tensor, nn

from tests.settings import from_dict
from unroll.encoders import CELLS, RecurrentEncoder
from unroll.errors import ConfigError
from unroll.models.classifier import TextClassifier, build_classifier
from unroll.text.vocabulary import PAD_ID, UNKNOWN_ID

WORDS = 30
LENGTHS = [7, 2, 11, 5, 1]
RUN = {"trainer": {"max_epochs": 1}}  # what every config must say


def make(cell: str = "lstm", bidirectional: bool = False, backend: str = "auto", layers: int = 2, **options: object):
    encoder = RecurrentEncoder(cell, 6, 5, layers, bidirectional, backend=backend)
    return TextClassifier(encoder, vocabulary_size=WORDS, num_classes=3, **options)


def documents(lengths: list[int] = LENGTHS, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Random ids without <pad>, padded with it."""
    ids = torch.full((len(lengths), max(lengths) + extra), PAD_ID)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(2, WORDS, (length,))
    return ids, torch.tensor(lengths)


def test_ids_of_the_tests_are_words():
    assert {PAD_ID, UNKNOWN_ID} == {0, 1}


def close(actual: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("cell", CELLS)
class TestDocumentsDoNotMix:
    def test_batch_and_single(self, cell, window, backend):
        for pooling in (["last"], ["mean"], ["max"], ["last", "mean", "max"]):
            for bidirectional in (False,) if window else (False, True):
                model = make(cell, bidirectional, backend, pooling=pooling, head_size=4, window=window)
                ids, lengths = documents()
                logits = model(ids, lengths)
                assert logits.shape == (5, 3)
                for row, length, expected in zip(ids, lengths, logits, strict=True):
                    close(model(row[None, :length], length[None])[0], expected)

    def test_more_padding(self, cell, window, backend):
        model = make(cell, backend=backend, window=window)
        ids, lengths = documents()
        longer = torch.cat([ids, torch.full((5, 6), PAD_ID)], dim=1)
        logits = model(ids, lengths)
        close(model(longer, lengths), logits)
        parameters = list(model.parameters())
        expected = torch.autograd.grad(logits.square().sum(), parameters)
        for actual, gradient in zip(
            torch.autograd.grad(model(longer, lengths).square().sum(), parameters), expected, strict=True
        ):
            close(actual, gradient, 1e-5)

    def test_order(self, cell, window, backend):
        model = make(cell, backend=backend, window=window)
        ids, lengths = documents()
        order = torch.tensor([3, 1, 4, 0, 2])
        close(model(ids[order], lengths[order]), model(ids, lengths)[order])


@pytest.mark.parametrize("head_size", [0, 4])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_layers_put_together_by_hand(pooling, head_size):
    model = make("gru", True, pooling=[pooling], head_size=head_size)
    reference = nn.GRU(6, 5, 2, bidirectional=True, batch_first=True)
    reference.load_state_dict(model.encoder.state_dict())
    ids, lengths = documents()
    for row, length, logits in zip(ids, lengths, model(ids, lengths), strict=True):
        output, h = reference(model.embedding.weight[row[None, :length]])
        pooled = {"last": torch.cat([h[-2, 0], h[-1, 0]]), "mean": output[0].mean(0), "max": output[0].amax(0)}[pooling]
        layers = [layer for layer in model.head if isinstance(layer, nn.Linear)]
        if head_size:
            pooled = torch.relu(layers[0].weight @ pooled + layers[0].bias)
            assert len(pooled) == head_size
        close(logits, layers[-1].weight @ pooled + layers[-1].bias)


@pytest.mark.parametrize("window", [None, 3])
def test_padding_s_embedding_is_zero_and_stays_so(window):
    model = make(window=window, pooling=["last", "mean", "max"], word_dropout=0.3)
    assert not model.embedding.weight[PAD_ID].any()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(*documents(extra=4)).square().sum().backward()
        assert not model.embedding.weight.grad[PAD_ID].any()
        optimizer.step()
    assert not model.embedding.weight[PAD_ID].any()


class TestDropout:
    @staticmethod
    def _read(model: TextClassifier, ids: Tensor, lengths: Tensor) -> Tensor:
        """The ids whose embeddings the model looks up."""
        seen = []
        hook = model.embedding.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].clone()))
        model(ids, lengths)
        hook.remove()
        return seen[0]

    def test_words_become_unknown_in_training_and_padding_never(self):
        ids, lengths = documents([100, 40, 1, 60])
        given = ids.clone()
        read = self._read(make(word_dropout=0.25), ids, lengths)
        assert torch.equal(ids, given)  # the batch itself does not change
        assert (read[ids == PAD_ID] == PAD_ID).all()
        words, dropped = ids != PAD_ID, read != ids
        assert (read[dropped] == UNKNOWN_ID).all()
        assert abs(dropped[words].float().mean() - 0.25) < 0.1
        assert dropped[:, :40].any()
        assert dropped[:, 60:].any()

    def test_each_call_and_row_draws_words_anew(self):
        model, ids = make(word_dropout=0.5), torch.full((2, 50), 7)
        first = self._read(model, ids, torch.tensor([50, 50]))
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first, self._read(model, ids, torch.tensor([50, 50])))

    def test_all_words_in_evaluation(self):
        ids, lengths = documents([100, 40])
        assert torch.equal(self._read(make(word_dropout=0.9).eval(), ids, lengths), ids)

    def test_features_only_in_training(self):
        plain, model, (ids, lengths) = make(), make(dropout=0.5, word_dropout=0.5), documents()
        plain.load_state_dict(model.state_dict())
        assert not torch.equal(model(ids, lengths), model(ids, lengths))
        close(model.eval()(ids, lengths), plain(ids, lengths), 0)

    def test_a_document_s_features_are_dropped_at_all_its_steps(self):
        model, seen = make(dropout=0.5), []
        model.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        model(*documents([11, 11, 11]))
        dropped = seen[0] == 0
        assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
        assert dropped.any()
        assert not dropped.all()

    def test_the_pooled_vector_is_dropped_too(self):
        model, seen = make(dropout=0.5), []
        model.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        model(*documents([11] * 10))
        assert 0.2 < (seen[0] == 0).float().mean() < 0.8


class TestBuild:
    def test_what_the_config_says(self):
        config = from_dict(
            {
                "encoder": {
                    "cell": "gru",
                    "hidden_size": 5,
                    "num_layers": 3,
                    "bidirectional": True,
                    "dropout": 0.25,
                    "backend": "packed",
                },
                "model": {
                    "embedding_size": 6,
                    "pooling": ["last", "max"],
                    "head_size": 4,
                    "dropout": 0.125,
                    "word_dropout": 0.0625,
                },
            }
            | RUN
        )
        model = build_classifier(config, vocabulary_size=WORDS, num_classes=3)
        shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
        assert shapes["embedding.weight"] == [WORDS, 6]
        assert shapes["encoder.weight_ih_l0"] == [3 * 5, 6]
        assert shapes["encoder.weight_ih_l2_reverse"] == [3 * 5, 2 * 5]
        assert not any("_l3" in name for name in shapes)
        assert [shape for name, shape in shapes.items() if name.startswith("head")] == [[4, 20], [4], [3, 4], [3]]
        assert (model.encoder.cell, model.encoder.backend, model.encoder.dropout) == ("gru", "packed", 0.25)
        assert (model.pooling, model.word_dropout, model.window) == (("last", "max"), 0.0625, None)
        assert (model.input_dropout.p, model.output_dropout.p) == (0.125, 0.125)
        assert model(*documents()).shape == (5, 3)

    @pytest.mark.parametrize("cell", CELLS)
    def test_window(self, cell):
        config = from_dict({"encoder": {"cell": cell}, "tbptt": {"window": 4}} | RUN)
        model = build_classifier(config, vocabulary_size=WORDS, num_classes=2)
        assert model.window == 4
        assert model(*documents()).shape == (5, 2)

    def test_defaults(self):
        model = build_classifier(from_dict(RUN), vocabulary_size=WORDS, num_classes=2)
        assert model.window is None
        assert model.encoder.cell == "lstm"

    def test_a_window_with_two_directions_is_refused(self):
        with pytest.raises(ConfigError, match=r"tbptt\.window needs encoder\.bidirectional=false"):
            from_dict({"encoder": {"bidirectional": True}, "tbptt": {"window": 4}} | RUN)
        with pytest.raises(ValueError, match="window needs a one-directional encoder"):
            make(bidirectional=True, window=4)

    def test_unknown_pooling_is_refused(self):
        for pooling in (["first"], []):
            with pytest.raises(ConfigError, match=r"model\.pooling"):
                from_dict({"model": {"pooling": pooling}} | RUN)
        with pytest.raises(ValueError, match="pooling is one or more of last, mean, max"):
            make(pooling=["first"])(*documents())
