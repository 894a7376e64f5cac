"""What TensorBoard shows of a classifier's validation: pictures of its mistakes, and the worst of them to read."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from unroll.batching.documents import Batch
from unroll.tasks.data import ClassificationData, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_WRONG = 10
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
            torch.cat([output[name] for output in self._outputs]).numpy()
            for name in ("losses", "probabilities", "labels")
        )
        self._outputs = []
        board, step = trainer.logger.experiment, trainer.global_step
        board.add_figure("val/confusion", confusion_matrix(probabilities, labels, self.data.labels), step)
        board.add_figure("val/precision_recall", precision_recall(probabilities, labels, self.data.labels), step)
        sampler: Any = self.data.val_dataloader().sampler
        rows = [row for batch in sampler for row in batch]  # the order in which they were evaluated, the same each time
        board.add_text("val/most_wrong", self._most_wrong(losses, probabilities, labels, rows), step)

    def _most_wrong(
        self,
        losses: npt.NDArray[np.float32],
        probabilities: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        rows: list[int],
    ) -> str:
        """Return a Markdown table of the documents with the greatest loss."""
        lines = ["| loss (nats) | is | was taken for | text |", "|---|---|---|---|"]
        for place in np.argsort(-losses)[:MOST_WRONG]:
            taken = int(probabilities[place].argmax())
            excerpt = words(self.data.val, rows[place], self.data.vocabulary)[:LONGEST_EXCERPT]
            # In lines of their own, since TensorBoard squeezes the other columns to a letter beside a long one.
            excerpt = "<br>".join(escaped(line) for line in textwrap.wrap(excerpt, EXCERPT_LINE))
            guess = f"{self.data.labels[taken]} ({probabilities[place, taken]:.1%})"
            lines.append(f"| {losses[place]:.2f} | {self.data.labels[labels[place]]} | {guess} | {excerpt} |")
        return "\n".join(lines)


def escaped(text: str) -> str:
    """`text` such that Markdown and HTML show it as it is, within a table's cell."""
    return "".join(f"&#{ord(character)};" if character in "|<>&*_`[]\\#~" else character for character in text)


def confusion_matrix(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], names: tuple[str, ...]
) -> Figure:
    """Draw how many documents of each class (rows) were taken for which (columns).

    Args:
        probabilities: (documents, classes).
        labels: (documents,).
        names: of the classes.
    """
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(-1)), 1)
    figure, axes = _figure()
    image = axes.imshow(counts, cmap="Blues", vmin=0)
    figure.colorbar(image, ax=axes, label="documents")
    axes.set(
        xticks=range(len(names)),
        yticks=range(len(names)),
        xlabel="taken for",
        ylabel="is",
        title=f"{len(labels):,} documents, {np.trace(counts) / max(1, len(labels)):.1%} right",
    )
    axes.set_xticklabels(names, rotation=0 if len(names) < 5 else 90)
    axes.set_yticklabels(names)
    if len(names) <= 10:
        for row, column in np.ndindex(counts.shape):
            color = "white" if counts[row, column] > counts.max() / 2 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color)
    return figure


def precision_recall(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], names: tuple[str, ...]
) -> Figure:
    """Draw precision against recall at every threshold, one curve a class; for two classes the second's alone."""
    figure, axes = _figure()
    for number in [1] if len(names) == 2 else range(min(len(names), 10)):
        order = np.argsort(-probabilities[:, number], kind="stable")
        hits = np.cumsum(labels[order] == number)
        taken = np.arange(1, len(order) + 1)
        # Documents of equal probability pass the threshold together: only the last of them is a point of the curve.
        last = np.append(np.diff(probabilities[order, number]) != 0, True)
        precision, recall = (hits / taken)[last], (hits / max(1, hits[-1]))[last]
        area = float(np.sum(np.diff(recall, prepend=0.0) * precision))
        axes.step(recall, precision, where="post", label=f"{names[number]} (average precision {area:.3f})")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02), title="Precision and recall")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def _figure() -> tuple[Figure, Any]:
    """A figure outside pyplot, which would keep it for ever and look for a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.5), dpi=110, layout="constrained")
    return figure, figure.add_subplot()
