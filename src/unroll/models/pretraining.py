"""Language models of documents, one for each direction of an encoder: a classifier can start from their weights."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unroll.config import PretrainingConfig
from unroll.encoders import Encoder, build_encoder
from unroll.encoders.regularizers import LockedDropout
from unroll.text.vocabulary import PAD_ID

SLICE = 512  # predictions whose logits over the whole vocabulary are held at a time


class DocumentLanguageModel(nn.Module):
    """Each direction of the encoder predicts the word that it reads next (Dai & Le 2015, arXiv:1511.01432).

    The forward direction predicts the following word, the backward direction the preceding one. Both read and predict
    by one embedding E: the logits of a direction's output h are E (W h) + b, with a matrix W of its own. Embedding and
    encoder have the names and shapes that they have in `TextClassifier`.
    """

    vocabulary_weights = ("embedding.weight", "bias")  # weights with a row for each token

    def __init__(self, encoder: Encoder, *, vocabulary_size: int, dropout: float = 0.0) -> None:
        """Put the layers together.

        Args:
            encoder: reads the embeddings, which have its `input_size`. Two directions must not see each other's
                outputs, so such an encoder has one layer.
            vocabulary_size: ids are below this.
            dropout: probability of dropping a feature of a document's embeddings and of its outputs, in training.
        """
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, encoder.input_size, padding_idx=PAD_ID)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight.data[PAD_ID])
        self.encoder = encoder
        self.dropout = LockedDropout(dropout)
        hidden = encoder.output_size // encoder.num_directions
        self.project = nn.ModuleList(nn.Linear(hidden, encoder.input_size) for _ in range(encoder.num_directions))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Read documents.

        Args:
            ids: (batch, time), right-padded.
            lengths: (batch,).

        Returns:
            vectors: (predictions, embedding), W h at each place that has a next word in the direction's order, all
                places of the forward direction first.
            targets: (predictions,), the ids of those next words.
        """
        output = self.dropout(self.encoder(self.dropout(self.embedding(ids)), lengths)[0])
        inside = torch.arange(1, ids.size(1), device=ids.device) < lengths.to(ids.device)[:, None]
        before, after = (part[inside] for part in (output[:, :-1], output[:, 1:]))
        words_before, words_after = ids[:, :-1][inside], ids[:, 1:][inside]
        hidden = output.size(-1) // len(self.project)
        vectors, targets = [self.project[0](before[:, :hidden])], [words_after]
        if len(self.project) == 2:
            vectors.append(self.project[1](after[:, hidden:]))
            targets.append(words_before)
        return torch.cat(vectors), torch.cat(targets)

    def losses(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy (predictions,) over the whole vocabulary, in nats, from what `forward` returned."""
        # Into one tensor: small results between the large logits would keep the memory of these from being used again.
        losses = self.bias.new_empty(len(targets))
        for start in range(0, len(targets), SLICE):
            part = slice(start, start + SLICE)
            logits = F.linear(vectors[part], self.embedding.weight, self.bias)
            losses[part] = F.cross_entropy(logits, targets[part], reduction="none")
        return losses

    def sampled_losses(self, vectors: Tensor, targets: Tensor, sampled: Tensor, chances: Tensor) -> Tensor:
        """Return an estimate of `losses` from some words instead of the vocabulary, by importance sampling (Bengio &
        Senécal 2008, doi:10.1109/TNN.2007.912312).

        The softmax's denominator is the target's exponential, and that of each sampled word that is not the target,
        divided by the chance that the word is in a sample. Its mean over samples is the whole denominator.

        Args:
            vectors: (predictions, embedding).
            targets: (predictions,).
            sampled: (samples,), ids that `draw` returned.
            chances: (vocabulary,), of each word to be in a sample, above 0.
        """
        shift = self.bias[sampled] - chances[sampled].log()
        others = F.linear(vectors, self.embedding.weight[sampled]) + shift  # at least float32, as the bias is
        others = others.masked_fill(sampled == targets[:, None], -torch.inf)
        target = (vectors * self.embedding.weight[targets]).sum(-1) + self.bias[targets]
        return torch.logaddexp(target, others.logsumexp(1)) - target


def sampling_chances(counts: Tensor, number: int) -> Tensor:
    """Return each word's chance to be among `number` sampled words, (vocabulary,), in float64.

    It is proportional to the word's frequency to the power of 0.75, as in Mikolov et al. 2013 (arXiv:1310.4546), but at
    most 1: frequent words, which have most of a softmax's mass, are in every sample. The sum is `number`, or the
    vocabulary's size if that is smaller.

    Args:
        counts: (vocabulary,), how often each word occurs; 0 counts as 1.
        number: words in a sample.
    """
    weights, order = (counts.double().clamp(min=1) ** 0.75).sort(descending=True, stable=True)
    rest = weights.flip(0).cumsum(0).flip(0)  # the sum of this weight and all smaller ones
    left = number - torch.arange(len(weights), dtype=torch.float64)  # words to draw, if all before are certain
    shares = left * weights / rest
    certain = int((shares > 1).sum())  # the shares fall: those above 1 come first
    if certain < len(weights):
        shares[certain:] = left[certain] * weights[certain:] / rest[certain]
    shares[:certain] = 1
    return torch.empty_like(shares).scatter(0, order, shares)


def draw(chances: Tensor) -> Tensor:
    """Return the ids of a sample with these chances, by systematic sampling (Madow 1949): points at a distance of 1,
    from a random start, among the summed chances. A vocabulary in order of frequency has rare and frequent words in
    each sample."""
    sums = chances.cumsum(0)
    points = torch.arange(round(float(sums[-1])), device=sums.device) + torch.rand((), dtype=sums.dtype)
    return torch.searchsorted(sums, points).clamp(max=len(sums) - 1)  # the last sum may be rounded down


def build_document_language_model(config: PretrainingConfig, vocabulary_size: int) -> DocumentLanguageModel:
    """Return an untrained model with the given settings."""
    return DocumentLanguageModel(
        build_encoder(config.model.embedding_size, **asdict(config.encoder)),
        vocabulary_size=vocabulary_size,
        dropout=config.model.dropout,
    )
