"""A language model's predictions mixed with those of counted n-grams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unroll import progress
from unroll.inference.score import Predictions, counts
from unroll.ngrams import kneser_ney
from unroll.ngrams.adaptive import AdaptiveCounts
from unroll.ngrams.kneser_ney import Floats, Integers, KneserNey
from unroll.ngrams.mixture import MOST, LogLinear, fit_weights
from unroll.tasks.metrics import StreamMetrics
from unroll.text.codec import Ids, TokenizedText

ADAPTIVE_ORDER = 6  # chosen on the novel's validation part

Step = tuple[Floats, Integers, Tensor]  # (models, time, vocabulary) probabilities, (time,) cells, (1, time) targets


def score_mixed(
    net: Callable[[Ids], Predictions], text: TokenizedText, train: Ids, val: Ids, vocabulary_size: int, *, dynamic: bool
) -> dict[str, float]:
    """Return the figures of a net, of a Kneser-Ney model of its training text, and of their mixture.

    The mixture is a linear one of the models and of their log-linear mixture. Its weights depend on the longest context
    that the n-grams know, see `unroll.ngrams.mixture`. All weights, the order of the n-grams, and the temperature of a
    calibrated net are fitted on the validation text.

    Args:
        net: from a text to the net's predictions.
        text: the text to predict.
        train: (tokens,) of the text that the net was trained on.
        val: (tokens,) of the validation text. It may be that of `text`: the mixture has so few weights that the figures
            are hardly better for it.
        vocabulary_size: ids are below this.
        dynamic: the net learns on. Then the mixture has a third model, `AdaptiveCounts` of the text itself, and the
            names of the figures of net and mixture begin with `dynamic_`.

    Returns:
        The figures of `StreamMetrics`: the net's, those of the net with its logits divided by a `temperature` as
        `calibrated_*`, those of the n-grams as `ngram_*` with their `ngram_order`, those of the mixture as `mixed_*`;
        and `characters`, `tokens` and `unknown`, see `unroll.inference.score.score`.
    """
    progress.say("counting the n-grams of the training text, and fitting the mixture on validation")
    ngrams = kneser_ney.fit(train, val, vocabulary_size)
    calibrated, together = LogLinear(1), LogLinear(3 if dynamic else 2)
    likelihoods, cells = [], []
    for probabilities, known, targets in _steps(net, val, ngrams, dynamic):
        came = targets[0].numpy()
        own = probabilities[:, np.arange(len(came)), came]
        likelihoods.append(np.vstack([own, together.learn(probabilities, came)]).T)
        cells.append(known)
        calibrated.learn(probabilities[:1], came)
    num_cells = ngrams.order * (ADAPTIVE_ORDER if dynamic else 1)
    weights = fit_weights(np.concatenate(likelihoods), np.concatenate(cells), num_cells)
    temperature = float(1 / max(calibrated.powers[0], 1 / MOST))  # Guo et al. 2017, arXiv:1706.04599
    metrics = [StreamMetrics(text.size) for _ in range(4)]  # of net, calibrated net, n-grams and mixture
    for probabilities, known, targets in _steps(net, text.ids, ngrams, dynamic):
        everything = np.concatenate([probabilities, together.mix(probabilities)[None]])
        mixture = np.einsum("tm,mtv->tv", weights[known], everything)
        net_logits, *others = (torch.from_numpy(part).log()[None] for part in (*probabilities[:2], mixture))
        for metric, logits in zip(metrics, (net_logits, net_logits / temperature, *others), strict=True):
            metric.update(logits, targets)
    prefix = "dynamic_" if dynamic else ""
    names = (prefix, f"{prefix}calibrated_", "ngram_", f"{prefix}mixed_")
    found = {
        f"{name}{key}": value
        for name, metric in zip(names, metrics, strict=True)
        for key, value in metric.compute().items()
    }
    fitted = {f"{prefix}temperature": temperature, "ngram_order": ngrams.order}
    return found | fitted | counts(text.ids, text.size)


def _steps(net: Callable[[Ids], Predictions], ids: Ids, ngrams: KneserNey, dynamic: bool) -> Iterator[Step]:
    """Yield, window by window, what net, n-grams and, if `dynamic`, adaptive counts predict."""
    adaptive = AdaptiveCounts(ADAPTIVE_ORDER, ngrams.vocabulary_size) if dynamic else None
    begin = 0
    for logits, window in net(ids):
        read = ids[begin : begin + logits.size(1)]
        by_ngrams, cells = ngrams.predict(read, ids[:begin])
        probabilities = [logits[0].double().softmax(-1).numpy(), by_ngrams]
        if adaptive is not None:
            by_counts, lengths = adaptive.predict(read)
            probabilities.append(by_counts)
            cells = cells * ADAPTIVE_ORDER + lengths
        yield np.stack(probabilities), cells, window.targets
        begin += len(read)
