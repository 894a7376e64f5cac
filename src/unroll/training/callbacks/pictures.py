"""What is logged of a classifier's validation: pictures and tables of its mistakes, and the worst to read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_precision_recall_curve

from unroll import ranks
from unroll.batching.documents import Batch
from unroll.diagnostics.drawing import drawable, new_figure
from unroll.tasks.classification_data import ClassificationData
from unroll.tasks.documents import words
from unroll.training.callbacks.texts import escaped, optional
from unroll.training.loggers import board

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 10  # classes that are shown one by one
MOST_WRONG, MOST_CONFUSED, MOST_CLASSES = 10, 15, 100  # rows of the tables
LONGEST_NAME, LONGEST_EXCERPT, EXCERPT_LINE = 40, 600, 70  # characters


class ClassificationPictures(Callback):
    """After each validation: a confusion matrix, precision-recall curves, and a table of the most wrong documents.

    More than ten classes have two tables as well: the largest confusions, and each class's precision, recall and F1.
    """

    def __init__(self, data: ClassificationData) -> None:
        self.data = data
        self._outputs: list[dict[str, Tensor] | None] = []  # of each batch; None for a spare

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._outputs = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._outputs.append(outputs and {name: value.cpu() for name, value in outputs.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown, own, self._outputs = board(trainer), self._outputs, []
        parts = ranks.gathered(own)
        if shown is None or not own:
            return
        losses, probabilities, labels = (
            torch.cat([whole([batch and batch[name] for batch in batches]) for batches in zip(*parts, strict=True)])
            for name in ("losses", "probabilities", "labels")
        )
        names = self.data.labels
        counts = multiclass_confusion_matrix(probabilities, labels, len(names))
        with optional("val/confusion"):
            shown.figure("val/confusion", confusion_matrix(counts, names))
        with optional("val/precision_recall"):
            shown.figure("val/precision_recall", precision_recall(probabilities, labels, names))
        with optional("val/most_wrong"):
            shown.text("val/most_wrong", self._most_wrong(losses, probabilities, labels))
        if len(names) > FEW:
            with optional("val/largest_confusions"):
                shown.text("val/largest_confusions", largest_confusions(counts, names))
            with optional("val/classes"):
                shown.text("val/classes", classes(counts, names))

    def _most_wrong(self, losses: Tensor, probabilities: Tensor, labels: Tensor) -> str:
        """Return a Markdown table of the documents with the greatest loss."""
        sampler: Any = self.data.val_dataloader().sampler
        documents = [row for batch in sampler for row in batch]  # in the order of the outputs, the same each time
        names, taken = self.data.labels, probabilities.argmax(-1).tolist()
        rows = []
        for place in losses.argsort(descending=True, stable=True)[:MOST_WRONG].tolist():
            excerpt = words(self.data.val, documents[place], self.data.codec)[:LONGEST_EXCERPT]
            # In short lines: TensorBoard squeezes the other columns to a letter beside a long one.
            lines = "<br>".join(escaped(line) for line in textwrap.wrap(excerpt, EXCERPT_LINE))
            guess = f"{escaped(names[taken[place]], LONGEST_NAME)} ({probabilities[place].max():.1%})"
            is_ = escaped(names[int(labels[place])], LONGEST_NAME)
            rows.append((f"{losses[place]:.2f}", is_, guess, lines))
        return table(("loss (nats)", "is", "was taken for", "text"), rows)


def whole(parts: Sequence[Tensor | None]) -> Tensor:
    """Return the results (documents, …) of a batch from those of each rank, which had every W-th document; see
    `unroll.batching.documents.Documents`."""
    found = [part for part in parts if part is not None]
    result = torch.empty(sum(map(len, found)), *found[0].shape[1:], dtype=found[0].dtype)
    for rank, part in enumerate(found):
        result[rank :: len(parts)] = part
    return result


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def largest_confusions(counts: Tensor, names: Sequence[str]) -> str:
    """Return a Markdown table of the pairs of classes that are confused most; see `confusion_matrix`."""
    wrong = counts - counts.diag().diag()
    rows = []
    for place in wrong.flatten().argsort(descending=True, stable=True)[:MOST_CONFUSED].tolist():
        is_, guess = divmod(place, len(names))
        if wrong[is_, guess]:
            share = wrong[is_, guess] / counts[is_].sum()
            rows.append((int(wrong[is_, guess]), f"{share:.0%}", _numbered(is_, names), _numbered(guess, names)))
    return table(("documents", "of their class", "are", "were taken for"), rows)


def classes(counts: Tensor, names: Sequence[str]) -> str:
    """Return a Markdown table of the classes, those with the lowest F1 first; see `confusion_matrix`."""
    right, taken, documents = counts.diag(), counts.sum(0), counts.sum(1)
    f1 = 2 * right / (taken + documents).clamp(min=1)
    figures = torch.stack([right / taken.clamp(min=1), right / documents.clamp(min=1), f1], dim=1).tolist()
    rows = [
        (_numbered(number, names), int(documents[number]), *(f"{figure:.3f}" for figure in figures[number]))
        for number in f1.argsort(stable=True)[:MOST_CLASSES].tolist()
    ]
    return table(("class", "documents", "precision", "recall", "F1"), rows)


def _numbered(number: int, names: Sequence[str]) -> str:
    return f"{number}: {escaped(names[number], LONGEST_NAME)}"


def confusion_matrix(counts: Tensor, names: Sequence[str]) -> Figure:
    """Draw which share of each class's documents (rows) was taken for which class (columns), darker for more.

    Up to ten classes have their names, and each cell has its number of documents. More have numbers and a scale.

    Args:
        counts: (classes, classes), documents: what they are by what they were taken for.
        names: of the classes.
    """
    from matplotlib.colors import PowerNorm

    figure, size = new_figure(), 10 if len(names) < 6 else 8
    axes = figure.add_subplot()
    shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    # By square roots, so that few mistakes are seen, too.
    image = axes.imshow(shares, aspect="auto", cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    right = float(counts.trace() / counts.sum())
    axes.set_title(f"{int(counts.sum()):,} documents, {right:.1%} right", fontsize=10)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(names) > FEW:
        axes.set(xlabel="number of the predicted class", ylabel="number of the true class")
        figure.colorbar(image, ax=axes, format="{x:.0%}", ticks=(0, 0.1, 0.5, 1), label="of the true class")
        return figure
    texts, families = drawable(names, longest=16)
    below = texts
    if len(names) > 3:  # too many for names side by side
        texts, below = [f"{number}: {text}" for number, text in enumerate(texts)], list(map(str, range(len(names))))
    axes.set_yticks(range(len(names)), texts, family=families, fontsize=size)
    axes.set_xticks(range(len(names)), below, family=families, fontsize=size)
    for row, column in product(range(len(names)), repeat=2):
        colour, count = "white" if shares[row, column] > 0.25 else "black", str(int(counts[row, column]))
        axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=size)
    return figure


def precision_recall(probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> Figure:
    """Draw precision against recall at every threshold, with the average precision of each curve.

    Of two classes, the second has a curve. Of more than ten, the ten with the lowest average precision have one each,
    and so has the mean over all classes, of the highest precision at that recall or a higher one. A class without a
    document has no curve.

    Args:
        probabilities: (documents, classes).
        labels: (documents,).
        names: of the classes.
    """
    precisions, recalls, _ = multiclass_precision_recall_curve(probabilities, labels, len(names))
    areas = [
        float((precision[:-1] * -recall.diff()).sum()) for precision, recall in zip(precisions, recalls, strict=True)
    ]
    there = sorted(set(labels.tolist()))
    chosen, title = there, "Precision and recall"
    if len(names) == 2:
        chosen = [1]
    elif len(there) > FEW:
        chosen = sorted(there, key=areas.__getitem__)[:FEW]
        title = f"The {FEW} worst of {len(there)} classes"
    figure = new_figure()
    axes = figure.add_subplot()
    lines = [axes.plot(recalls[number].numpy(), precisions[number].numpy(), linewidth=1.2)[0] for number in chosen]
    texts, families = drawable((names[number] for number in chosen), longest=16)
    legend = [f"{areas[number]:.3f}  {text}" for number, text in zip(chosen, texts, strict=True)]
    if len(there) > FEW:
        recall = torch.linspace(0, 1, 101)
        best = [precisions[number].cummax(0).values for number in there]
        places = [torch.searchsorted(-recalls[number], -recall, right=True) - 1 for number in there]
        mean = torch.stack([each[place] for each, place in zip(best, places, strict=True)]).mean(0)
        lines.insert(0, axes.plot(recall.numpy(), mean.numpy(), color="black", linewidth=2.5)[0])
        legend.insert(0, f"{sum(areas[number] for number in there) / len(there):.3f}  mean of {len(there)}")
    style = {"family": families, "size": 8}
    figure.legend(lines, legend, title="average precision", loc="outside right center", prop=style, title_fontsize=8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure
