"""What TensorBoard shows of a classifier's validation: pictures of its mistakes, and the worst of them to read."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassPrecisionRecallCurve
from torchmetrics.functional.classification import multiclass_average_precision

from unroll.batching.documents import Batch
from unroll.diagnostics.curves import literal
from unroll.tasks.classification_data import ClassificationData, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_WRONG, MOST_CURVES = 10, 10
LONGEST_EXCERPT, EXCERPT_LINE = 600, 90  # characters


class ClassificationPictures(Callback):
    """After each validation: a confusion matrix, precision-recall curves, and a table of the most wrong documents."""

    def __init__(self, data: ClassificationData) -> None:
        self.data = data
        self._outputs: list[dict[str, Tensor]] = []

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
        self._outputs.append({name: value.cpu() for name, value in outputs.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not self._outputs or not isinstance(trainer.logger, TensorBoardLogger):
            return
        losses, probabilities, labels = (
            torch.cat([output[name] for output in self._outputs]) for name in ("losses", "probabilities", "labels")
        )
        self._outputs = []
        board, step = trainer.logger.experiment, trainer.global_step
        board.add_figure("val/confusion", confusion_matrix(probabilities, labels, self.data.labels), step)
        board.add_figure("val/precision_recall", precision_recall(probabilities, labels, self.data.labels), step)
        sampler: Any = self.data.val_dataloader().sampler
        rows = [row for batch in sampler for row in batch]  # the order in which they were evaluated, the same each time
        board.add_text("val/most_wrong", self._most_wrong(losses, probabilities, labels, rows), step)

    def _most_wrong(self, losses: Tensor, probabilities: Tensor, labels: Tensor, rows: list[int]) -> str:
        """Return a Markdown table of the documents with the greatest loss."""
        lines = ["| loss (nats) | is | was taken for | text |", "|---|---|---|---|"]
        names, taken = self.data.labels, probabilities.argmax(-1).tolist()
        for place in losses.argsort(descending=True, stable=True)[:MOST_WRONG].tolist():
            excerpt = words(self.data.val, rows[place], self.data.vocabulary)[:LONGEST_EXCERPT]
            # In lines of their own, since TensorBoard squeezes the other columns to a letter beside a long one.
            excerpt = "<br>".join(escaped(line) for line in textwrap.wrap(excerpt, EXCERPT_LINE))
            is_, guess = escaped(names[int(labels[place])]), escaped(names[taken[place]])
            lines.append(f"| {losses[place]:.2f} | {is_} | {guess} ({probabilities[place].max():.1%}) | {excerpt} |")
        return "\n".join(lines)


def escaped(text: str) -> str:
    """`text` such that Markdown and HTML show it as it is, within a table's cell."""
    return "".join(f"&#{ord(character)};" if character in "|<>&*_`[]\\#~" else character for character in text)


def confusion_matrix(probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> Figure:
    """Draw how many documents of each class (rows) were taken for which (columns).

    Args:
        probabilities: (documents, classes).
        labels: (documents,).
        names: of the classes.
    """
    from matplotlib.figure import Figure

    metric = MulticlassConfusionMatrix(len(names))
    metric.update(probabilities, labels)
    side = min(max(4.5, 0.6 * len(names)), 12)
    # Not pyplot's, which would keep it for ever and look for a screen.
    figure = Figure(figsize=(side + 1, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    metric.plot(ax=axes, add_text=len(names) <= 20, labels=[literal(name) for name in names], cmap="Blues")
    axes.tick_params(axis="x", rotation=0 if len(names) < 5 else 90)
    axes.tick_params(axis="y", rotation=0)
    for count in axes.texts:
        count.set_fontsize(10)
    figure.colorbar(axes.images[0], ax=axes, label="documents")
    right = (probabilities.argmax(-1) == labels).float().mean()
    axes.set_title(f"{len(labels):,} documents, {right:.1%} right")
    return figure


def precision_recall(probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> Figure:
    """Draw precision against recall at every threshold, one curve a class; for two classes the second's alone.

    Args: as of `confusion_matrix`.
    """
    from matplotlib.figure import Figure

    metric = MulticlassPrecisionRecallCurve(len(names))
    metric.update(probabilities, labels)
    areas = multiclass_average_precision(probabilities, labels, len(names), average=None)
    shown = slice(1, 2) if len(names) == 2 else slice(MOST_CURVES)
    legend = [f"{literal(name)} (average precision {area:.3f})" for name, area in zip(names, areas, strict=True)][shown]
    figure = Figure(figsize=(5.5, 4.3 + 0.2 * len(legend)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    precisions, recalls, thresholds = (list(values[shown]) for values in metric.compute())
    metric.plot((precisions, recalls, thresholds), ax=axes)
    axes.legend(axes.lines, legend, loc="upper left", bbox_to_anchor=(0, -0.15))  # below, where no curve is
    rest = f": the first {MOST_CURVES} of {len(names)} classes" if len(names) > MOST_CURVES else ""
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), title=f"Precision and recall{rest}")
    return figure
