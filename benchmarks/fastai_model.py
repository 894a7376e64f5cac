"""fastai's AWD-LSTM as a language model, trained in turns; `benchmarks.peers` starts it.

It runs in an environment of its own and imports nothing of this package. It reads its settings from standard input
(JSON, one line), says its version, then trains for one epoch for each further line, and answers with a line of JSON:
the tokens, the seconds, and the bits per token of the validation text.
"""

from __future__ import annotations

import json
import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import fastai
import numpy as np
import torch
from fastai.callback.core import Callback, CancelTrainException, CancelValidException
from fastai.callback.rnn import rnn_cbs
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.text.data import LMDataLoader
from fastai.text.models.awdlstm import AWD_LSTM
from fastai.text.models.core import LinearDecoder, SequentialRNN
from torch.nn.functional import cross_entropy

EVALUATION_WINDOW = 1024


class Turn(Callback):  # type: ignore[misc]
    """Counts the tokens and the seconds of an epoch, which ends after some batches; there is no validation."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def before_train(self) -> None:
        self.tokens, self.started = 0, time.perf_counter()

    def after_batch(self) -> None:
        self.tokens += self.learn.xb[0].numel()
        if self.learn.iter + 1 == self.steps:
            raise CancelTrainException

    def after_train(self) -> None:
        self.seconds = time.perf_counter() - self.started

    def before_validate(self) -> None:
        raise CancelValidException


def learner(settings: dict[str, Any], train: torch.Tensor, turn: Turn) -> Learner:
    model, encoder, size = settings["model"], settings["encoder"], settings["model"]["embedding_size"]
    awd_lstm = AWD_LSTM(
        settings["vocabulary"],
        size,
        encoder["hidden_size"],
        encoder["num_layers"],
        pad_token=None,
        hidden_p=encoder["dropout"],
        input_p=model["input_dropout"],
        embed_p=model["embedding_dropout"],
        weight_p=encoder["weight_dropout"],
    )
    decoder = LinearDecoder(settings["vocabulary"], size, model["output_dropout"], tie_encoder=awd_lstm.encoder)
    loader = LMDataLoader([train], bs=settings["batch_size"], seq_len=settings["window"])
    return Learner(
        DataLoaders(loader, loader),
        SequentialRNN(awd_lstm, decoder),
        CrossEntropyLossFlat(),
        # torch's settings of Adam; fastai's own are 0.99, 1e-5 and a decay of 0.01
        partial(Adam, sqr_mom=0.999, eps=1e-8, wd=0.0),
        settings["optimizer"]["learning_rate"],
        cbs=[*rnn_cbs(model["activation_penalty"], model["temporal_penalty"]), turn],
    )


@torch.no_grad()
def bits_per_token(model: Any, ids: torch.Tensor) -> float:
    model.eval()
    model.reset()
    nats = 0.0
    for start in range(0, len(ids) - 1, EVALUATION_WINDOW):
        read = ids[start : start + EVALUATION_WINDOW + 1]
        nats += float(cross_entropy(model(read[None, :-1])[0][0], read[1:], reduction="sum"))
    return nats / math.log(2) / (len(ids) - 1)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not be read as an answer
    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    train, val = (
        torch.from_numpy(np.load(Path(settings["folder"], f"{part}_ids.npy")).astype(np.int64))
        for part in ("train", "val")
    )
    turn = Turn(settings["steps"])
    learn = learner(settings, train, turn)
    version = f"fastai {fastai.__version__}, torch {torch.__version__} in float32"
    print(json.dumps(version), file=answers, flush=True)
    for _ in sys.stdin:
        with learn.no_logging():
            learn.fit(1)
        figure = bits_per_token(learn.model, val)
        print(json.dumps({"tokens": turn.tokens, "seconds": turn.seconds, "figure": figure}), file=answers, flush=True)


if __name__ == "__main__":
    main()
