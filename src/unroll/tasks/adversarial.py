"""Adversarial and virtual adversarial training: the worst small change of a document's embeddings.

Adversarial training (Goodfellow et al. 2015, arXiv:1412.6572) takes the change that raises the cross entropy most.
Virtual adversarial training (Miyato et al. 2016, arXiv:1507.00677) takes the one that changes the prediction most; it
needs no label. On texts the change is made to the embeddings, as one vector for the whole document (Miyato et al. 2017,
arXiv:1605.07725).

A document's change has the norm `epsilon` times the root mean square of the batch's embeddings, `Reading.scale`. With
a fixed norm, a net would escape by large embeddings. Miyato et al. normalise the embeddings in the model instead, by
the words' frequencies. A relative norm leaves the model as it is in use, and the unit is theirs: embeddings of variance
1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll import ranks
from unroll.batching.documents import Batch
from unroll.batching.part import share_of
from unroll.models.classifier import TextClassifier
from unroll.tasks.module import widened

Classify = Callable[[Tensor], Tensor]
"""Embeddings (batch, time, features) -> logits (batch, classes), for documents of known lengths and labels."""


class Reading:
    """A batch of documents, read as often as is wanted, always under the same dropout masks."""

    def __init__(self, model: TextClassifier, batch: Batch) -> None:
        """Read it once."""
        self._model, self._seed = model, int(torch.randint(2**63 - 1, ()))
        self.lengths = batch.lengths
        # (batch,): 0 for a spare, which another process reads as well.
        self.weights = torch.ones(len(batch.labels), device=batch.ids.device) * (share_of(batch.part) > 0)
        self.x: Tensor = model.embed(batch.ids)
        """The embeddings, (batch, time, features)."""
        self.logits = self.classify(self.x)
        """(batch, classes)"""

    @cached_property
    def scale(self) -> Tensor:
        """The root mean square of the embeddings' features over the batches of all processes, padding and spares left
        out. Waits for all ranks, and so does its gradient."""
        squares = _without_padding(self.x, self.lengths).square().sum((1, 2))
        features = (self.lengths.to(squares) * self.weights).sum() * self.x.size(-1)
        return (ranks.summed((squares * self.weights).sum()) / ranks.total(features)).sqrt()

    def classify(self, x: Tensor) -> Tensor:
        """Return the logits (batch, classes) of embeddings in the place of `self.x`."""
        devices = [x.device.index] if x.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self._seed)
            return widened(self._model.classify(x, self.lengths))


def adversarial_loss(
    reading: Reading, labels: Tensor, epsilon: float, class_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the cross entropy at adversarial embeddings (Miyato et al. 2017, equation 6).

    Args:
        reading: of labelled documents.
        labels: (batch,), class numbers.
        epsilon: norm of a document's change, in units of `reading.scale`.
        class_weights: (classes,), as in `torch.nn.functional.cross_entropy`.

    Returns:
        loss: mean over the documents that have a direction.
        dropped: share of the documents that have none: their gradient is zero.
    """
    direction = adversarial_direction(reading.classify, reading.x, reading.lengths, labels)
    logits = _changed(reading, direction, epsilon)
    has_one = _has_direction(direction)
    weights = has_one * reading.weights
    dropped = mean(1 - has_one, reading.weights)
    if class_weights is not None:
        weights = weights * class_weights[labels]
    return mean(F.cross_entropy(logits, labels, reduction="none"), weights), dropped


def virtual_loss(readings: Sequence[Reading], epsilon: float, xi: float) -> tuple[Tensor, Tensor]:
    """Return how far predictions diverge at virtual adversarial embeddings (Miyato et al. 2017, equation 8).

    The gradient is that of the predictions there; those at the clean embeddings are constants. Arguments and results
    are those of `adversarial_loss`, over all documents of all `readings`; `xi` is the norm of the random step that
    `virtual_direction` makes, in the same units.
    """
    changes, has_ones = [], []
    for reading in readings:
        step = xi * reading.scale.detach()
        direction = virtual_direction(reading.classify, reading.x, reading.lengths, step)
        changes.append(divergence(reading.logits.detach(), _changed(reading, direction, epsilon)))
        has_ones.append(_has_direction(direction))
    has_one, weights = torch.cat(has_ones), torch.cat([reading.weights for reading in readings])
    return mean(torch.cat(changes), has_one * weights), mean(1 - has_one, weights)


def _changed(reading: Reading, direction: Tensor, epsilon: float) -> Tensor:
    """The logits where each document is moved; the gradient flows through the scale, or the embeddings would grow."""
    return reading.classify(reading.x + epsilon * reading.scale * direction)


def _has_direction(direction: Tensor) -> Tensor:
    return direction.flatten(1).any(1).to(direction.dtype)


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return this process's part of the weighted mean over all processes, see `unroll.ranks.share`; 0 where all weights
    are 0. Waits for all ranks."""
    own = weights.sum()
    return (values * weights).sum() / own.clamp(min=torch.finfo(weights.dtype).tiny) * ranks.share(own)


def adversarial_direction(classify: Classify, x: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Return the direction in which the cross entropy of each document rises most: g / norm(g), where g is its gradient
    with respect to the embeddings (Miyato et al. 2017, equation 5).

    Args:
        classify: is called in at least float32, whatever the training's precision.
        x: embeddings (batch, time, features) of right-padded documents.
        lengths: (batch,), in tokens.
        labels: (batch,), class numbers.

    Returns:
        Like `x`, without a gradient: each document has norm 1, zero in its padding. A document whose gradient is zero
        has no direction, and is zero.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(classify(x), labels, reduction="sum")
        return unit(torch.autograd.grad(loss, x)[0], lengths)


def virtual_direction(classify: Classify, x: Tensor, lengths: Tensor, step: Tensor | float) -> Tensor:
    """Return the direction in which each document's prediction changes most: g / norm(g), with the gradient g of the
    divergence at x + step · d for a random direction d (Miyato et al. 2017, equation 7).

    That is one step of power iteration towards the main eigenvector of the divergence's second derivative. It rests on
    a small difference that rounding to bf16 would drown: some gradients would be zero, and the others of no use.

    Args:
        classify, x, lengths: as in `adversarial_direction`, and returned as there.
        step: norm of each document's step.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach()
        with torch.no_grad():
            clean = classify(x)
        change = step * unit(torch.randn_like(x), lengths)
        change.requires_grad_()
        loss = divergence(clean, classify(x + change)).sum()
        return unit(torch.autograd.grad(loss, change)[0], lengths)


def divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence (batch,) of predictions from the `clean` ones, both given as logits
    (batch, classes)."""
    return F.kl_div(logits.log_softmax(-1), clean.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy (batch,) in nats of predictions, given as logits (batch, classes)."""
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def unit(x: Tensor, lengths: Tensor) -> Tensor:
    """Divide each document of `x` (batch, time, features) by its norm, and blank its padding. Zero stays zero."""
    x = _without_padding(x, lengths)
    # By the largest number first: the square of a small gradient is zero in float32.
    largest = x.abs().amax((1, 2), keepdim=True)
    x = x / largest.where(largest > 0, 1)
    norm: Tensor = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    return x / norm.clamp(min=1)  # 1 or more, but for zero


def _without_padding(x: Tensor, lengths: Tensor) -> Tensor:
    padding = torch.arange(x.size(1), device=x.device) >= lengths.to(x.device)[:, None]
    return x.masked_fill(padding[..., None], 0)
