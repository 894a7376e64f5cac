"""A net's figures mixed with those of counted n-grams, against the mixture of whole texts written out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unroll.encoders import RecurrentEncoder
from unroll.inference import mixing
from unroll.inference import score as score_module
from unroll.inference.mixing import score_mixed
from unroll.inference.score import dynamic_predictions, predictions, score, score_dynamically
from unroll.models.language_model import LanguageModel
from unroll.ngrams.adaptive import AdaptiveCounts
from unroll.ngrams.kneser_ney import fit
from unroll.ngrams.mixture import LogLinear, fit_weights
from unroll.text.codec import Ids, TokenizedText, TokenSize

SYMBOLS = 7


def text(length: int, seed: int) -> Ids:
    random = np.random.default_rng(seed)
    words = [[2, 3, 4], [4, 3, 2, 6], [5, 1], [6, 6, 2]]
    return np.concatenate([words[word] for word in random.integers(0, 4, length)])[:length].astype(np.int32)


def tokens(ids: Ids) -> TokenizedText:
    return TokenizedText(ids, TokenSize(), unknown=0)


TRAIN, VAL, TEST = text(900, 0), text(150, 1), text(130, 2)


def small_model() -> LanguageModel:
    torch.manual_seed(2)
    return LanguageModel(RecurrentEncoder("gru", 4, 5), vocabulary_size=SYMBOLS).double().eval()


def by_hand(model: LanguageModel, dynamic: bool) -> tuple[float, float, float]:
    """Bits per symbol and accuracy of the mixture, and the bits of the n-grams, for a net that stays as it is."""
    ngrams = fit(TRAIN, VAL, SYMBOLS)

    def parts(ids: Ids) -> tuple[Any, Any]:
        with torch.no_grad():
            net = model(torch.from_numpy(ids[None, :-1]).long())[0][0].softmax(-1).numpy()
        by_ngrams, cells = ngrams.predict(ids[:-1])
        if not dynamic:
            return np.stack([net, by_ngrams]), cells
        own, lengths = AdaptiveCounts(mixing.ADAPTIVE_ORDER, SYMBOLS).predict(ids[:-1])
        return np.stack([net, by_ngrams, own]), cells * mixing.ADAPTIVE_ORDER + lengths

    val, cells = parts(VAL)
    num_cells = ngrams.order * (mixing.ADAPTIVE_ORDER if dynamic else 1)
    together = LogLinear(len(val))
    own = val[:, np.arange(len(VAL) - 1), VAL[1:]]
    weights = fit_weights(np.vstack([own, together.learn(val, VAL[1:])]).T, cells, num_cells)
    test, cells = parts(TEST)
    test = np.concatenate([test, together.mix(test)[None]])
    places = np.arange(len(TEST) - 1), TEST[1:]
    mixture = sum(weights[cells, m][:, None] * test[m] for m in range(len(test)))
    bits = [-float(np.log2(p[places]).mean()) for p in (mixture, test[1])]
    return bits[0], float((mixture.argmax(1) == TEST[1:]).mean()), bits[1]


def test_the_mixture_is_that_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "WINDOW", 32)
    model = small_model()
    with torch.no_grad():  # it knows how frequent symbols are, and is too sure of it
        model.bias += 1.5 * torch.from_numpy(np.log(np.bincount(TRAIN, minlength=SYMBOLS) + 1))
    figures = score_mixed(partial(predictions, model), tokens(TEST), TRAIN, VAL, SYMBOLS, dynamic=False)
    bits, accuracy, by_ngrams = by_hand(model, dynamic=False)
    assert figures["mixed_bpc"] == pytest.approx(bits, abs=1e-9)
    assert figures["mixed_accuracy"] == pytest.approx(accuracy)
    assert figures["ngram_bpc"] == pytest.approx(by_ngrams, abs=1e-9)
    assert figures["ngram_order"] == fit(TRAIN, VAL, SYMBOLS).order > 1
    with torch.no_grad():
        val, test = (model(torch.from_numpy(ids[None, :-1]).long())[0][0] for ids in (VAL, TEST))
    val_targets, test_targets = (torch.from_numpy(ids[1:]).long() for ids in (VAL, TEST))
    fitted = figures["temperature"]
    cold, right, warm = (float(F.cross_entropy(val / (factor * fitted), val_targets)) for factor in (0.97, 1, 1.03))
    assert right < min(cold, warm)
    assert figures["calibrated_loss"] == pytest.approx(float(F.cross_entropy(test / fitted, test_targets)), abs=1e-9)
    assert figures["calibrated_loss"] < figures["loss"]
    pure = score(model, TEST)
    assert {name: figures[name] for name in pure} == pytest.approx(pure, abs=1e-9)
    assert list(figures)[:4] == ["bpc", "loss", "perplexity", "accuracy"]


def test_a_model_that_learns_on_is_mixed_with_counts_of_the_text_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "LEARNING_RATE", 0.0)
    model = small_model()
    rms = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    figures = score_mixed(partial(dynamic_predictions, model, rms=rms), tokens(TEST), TRAIN, VAL, SYMBOLS, dynamic=True)
    bits, accuracy, by_ngrams = by_hand(model, dynamic=True)
    assert figures["dynamic_mixed_bpc"] == pytest.approx(bits, abs=1e-9)
    assert figures["dynamic_mixed_accuracy"] == pytest.approx(accuracy)
    assert figures["ngram_bpc"] == pytest.approx(by_ngrams, abs=1e-9)
    pure = score_dynamically(model, TEST, rms)
    assert {name: figures[name] for name in pure} == pytest.approx(pure, abs=1e-9)
    assert not {"bpc", "mixed_bpc"} & set(figures)


@pytest.mark.parametrize("dynamic", [False, True])
def test_no_prediction_depends_on_what_comes_later(dynamic: bool) -> None:
    """Each symbol is put at the end of the text. If all others keep their probability, what it adds to the loss is its
    own, and the probabilities of all symbols sum to 1."""
    model = small_model()
    rms = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    net = partial(dynamic_predictions, model, rms=rms) if dynamic else partial(predictions, model)
    name = "dynamic_mixed_loss" if dynamic else "mixed_loss"

    def loss(ids: Ids) -> float:
        """Of the whole text, in nats."""
        figures = score_mixed(net, tokens(ids), TRAIN, VAL, SYMBOLS, dynamic=dynamic)
        return figures[name] * figures["characters"]

    before = loss(TEST)
    after = [loss(np.append(TEST, symbol).astype(np.int32)) for symbol in range(SYMBOLS)]
    assert sum(np.exp(before - each) for each in after) == pytest.approx(1, abs=1e-9)
