"""How well a language model predicts a text: as it is, or while it learns from the text (dynamic evaluation)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unroll import checkpoint
from unroll.batching.streams import Lanes, Window, WindowSampler
from unroll.config import OptimizerConfig
from unroll.encoders import State
from unroll.encoders.state import detach
from unroll.errors import CheckpointError
from unroll.inference import folder
from unroll.inference.forks import compute_alone_after_fork
from unroll.models.language_model import LanguageModel
from unroll.progress import track
from unroll.tasks.metrics import StreamMetrics
from unroll.tasks.optimization import build_optimizer
from unroll.text.codec import Ids, TokenSize
from unroll.text.vocabulary import UNKNOWN_ID

WINDOW = 1024  # tokens at a time; the figures do not depend on it

# For dynamic evaluation, chosen on the novel's validation part.
SEGMENT = 64  # tokens between two updates
LEARNING_RATE = 5e-5
DECAY = 2e-3  # how far each update takes a weight back to its trained value, as a share of the way

Predictions = Iterator[tuple[Tensor, Window]]  # logits (1, time, vocabulary), and what they predict


def score(model: LanguageModel, ids: Ids, size: TokenSize | None = None) -> dict[str, float]:
    """Return the figures of `StreamMetrics` for a text that is read as one stream, the numbers of `characters` and
    `tokens` that were predicted, and how many tokens of the text are `unknown` to the model. These count as one rare
    symbol. Without the `size` of the text's tokens, each is a character of one byte."""
    return figures(predictions(model, ids), size) | counts(ids, size)


def score_dynamically(
    model: LanguageModel, ids: Ids, rms: dict[str, Tensor], size: TokenSize | None = None
) -> dict[str, float]:
    """Return the same figures for `dynamic_predictions`, under names that begin with `dynamic_`."""
    found = figures(dynamic_predictions(model, ids, rms), size)
    return {f"dynamic_{name}": value for name, value in found.items()} | counts(ids, size)


def figures(predicted: Predictions, size: TokenSize | None = None) -> dict[str, float]:
    """Return the figures of `StreamMetrics` for predictions."""
    metrics = StreamMetrics(size)
    for logits, window in predicted:
        metrics.update(logits, window.targets)
    return metrics.compute()


@torch.inference_mode()
def predictions(model: LanguageModel, ids: Ids) -> Predictions:
    """Yield the logits (1, time, vocabulary) of a text's windows; the text is read as one stream."""
    state = None
    for window in _windows(ids, WINDOW):
        logits, state = model(window.ids, state)
        yield logits, window


def dynamic_predictions(model: LanguageModel, ids: Ids, rms: dict[str, Tensor]) -> Predictions:
    """Yield the logits of the windows of a text for a copy of the model that learns on.

    The model predicts a segment. Then every weight takes a step against its gradient in the segment, divided by the
    root mean square of its gradients in training, and moves back a little towards its trained value (Krause et al.
    2018, arXiv:1709.07432, "RMS with decay").

    Args:
        model: stays as it is.
        ids: (tokens,) of the text.
        rms: for each parameter's name, the root mean square of its gradients in training, see `gradient_rms`.
    """
    model = copy.deepcopy(model).eval()
    trained = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    # The weights that moved most in training are taken back most, and none further than to its trained value.
    mean = torch.cat([value.flatten() for value in rms.values()]).mean()
    decay = {name: (DECAY * value / mean).clamp(max=1.0) for name, value in rms.items()}
    floor = 1e-3 * mean  # keeps steps small for weights that had hardly any gradient in training
    state: State | None = None
    for window in _windows(ids, SEGMENT):
        state = None if state is None else detach(state, ended=window.starts)
        logits, state = model(window.ids, state)
        yield logits.detach(), window
        loss = F.cross_entropy(logits.flatten(0, 1), window.targets.flatten())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
                parameter.addcdiv_(gradient, rms[name] + floor, value=-LEARNING_RATE)
                parameter.lerp_(trained[name], decay[name])


def gradient_rms(path: Path, model: LanguageModel, config: OptimizerConfig) -> dict[str, Tensor]:
    """Return the root mean square of each parameter's gradients in training, which Adam keeps.

    Raises:
        CheckpointError: the checkpoint holds no such figures, or not of this model's shapes; or it is an exported
            model.
    """
    if folder.found(path).is_dir():
        raise CheckpointError(
            f"{path}: an exported model holds no gradient statistics for dynamic evaluation; use its checkpoint"
        )
    content: Any = checkpoint.load(path)
    optimizer = build_optimizer(model, config)
    found = {}
    try:
        optimizer.load_state_dict(content["optimizer_states"][0])
        for name, parameter in model.named_parameters():
            kept = optimizer.state[parameter]
            if kept["exp_avg_sq"].shape != parameter.shape:
                raise ValueError(name)
            beta = optimizer.param_groups[0]["betas"][1]
            found[name] = (kept["exp_avg_sq"].float() / (1 - beta ** float(kept["step"]))).sqrt()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: holds no gradient statistics, which dynamic evaluation needs; train with optimizer.name=adamw "
            "or adam"
        ) from error
    return found


def _windows(ids: Ids, length: int) -> Iterator[Window]:
    """Yield a text's windows, and show how many are done."""
    compute_alone_after_fork()
    lanes = Lanes(ids, 1)
    spans = WindowSampler(lanes, length)
    for span in track(spans, "evaluating", len(spans), "windows"):
        yield lanes[span]


def counts(ids: Ids, size: TokenSize | None = None) -> dict[str, float]:
    """Return how many characters and tokens of a text are predicted, and how many tokens are unknown."""
    predicted = len(ids) - 1
    characters = round(predicted * (size or TokenSize()).characters)
    return {"characters": characters, "tokens": predicted, "unknown": int((ids == UNKNOWN_ID).sum())}
