"""The textbook's two models in Keras 3 on JAX, trained in turns; `benchmarks.peers` starts it.

It runs in an environment of its own and imports nothing of this package. It reads its settings from standard input
(JSON, one line), says its versions, then trains for one epoch for each further line, and answers with a line of JSON:
the tokens, the seconds, how many of them JAX compiled, and the validation figure.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import numpy.typing as npt
from keras import layers

Integers = npt.NDArray[np.integer[Any]]
Arrays = dict[str, Integers]
Batch = tuple[Integers, Integers]  # ids, and labels or the next ids
Epoch = Callable[[], Iterator[Batch]]
Task = tuple[Any, Epoch, Callable[[], float]]  # the model, its batches, the validation figure

EVALUATION_BATCH, EVALUATION_WINDOW = 128, 1024
NOISE = 0.1  # how far lengths are changed before reviews are sorted by them


def reviews(settings: dict[str, Any], arrays: Arrays) -> Task:
    """The sentiment model, on batches of reviews of similar length. The figure is the accuracy."""
    model = keras.Sequential(
        [
            keras.Input(shape=(None,), dtype="int32"),
            layers.Embedding(settings["vocabulary"], settings["model"]["embedding_size"], mask_zero=True),
            layers.LSTM(settings["encoder"]["hidden_size"]),
            layers.Dense(settings["model"]["head_size"], activation="relu"),
            layers.Dense(settings["classes"]),
        ]
    )
    compile_model(model, settings["optimizer"]["learning_rate"], ["accuracy"])
    random = np.random.default_rng(settings["seed"])

    def epoch() -> Iterator[Batch]:
        lengths = arrays["train_lengths"]
        order = np.argsort(lengths * random.uniform(1 - NOISE, 1 + NOISE, len(lengths)))
        cuts = np.array_split(order, range(settings["batch_size"], len(order), settings["batch_size"]))
        return (padded(arrays, "train", cuts[k]) for k in random.permutation(len(cuts)))

    def accuracy() -> float:
        order = np.argsort(arrays["val_lengths"])
        cuts = np.array_split(order, range(EVALUATION_BATCH, len(order), EVALUATION_BATCH))
        given = (padded(arrays, "val", rows) for rows in cuts)
        return float(model.evaluate(given, steps=len(cuts), verbose=0, return_dict=True)["accuracy"])

    return model, epoch, accuracy


def padded(arrays: Arrays, part: str, rows: Integers) -> Batch:
    """Return a batch of reviews, with zeros after their ends. JAX compiles the model for each number of steps, so these
    are powers of two, or one and a half times a power of two."""
    starts, lengths = arrays[f"{part}_starts"][rows], arrays[f"{part}_lengths"][rows]
    longest = int(lengths.max())
    grain = 1 << max(5, longest.bit_length() - 2)
    ids = np.zeros((len(rows), -(-longest // grain) * grain), dtype=np.int32)
    for row, start, length in zip(ids, starts, lengths, strict=True):
        row[:length] = arrays[f"{part}_ids"][start : start + length]
    return ids, arrays[f"{part}_labels"][rows]


def novel(settings: dict[str, Any], arrays: Arrays) -> Task:
    """The language model, on windows of the text in lanes, whose state is carried from window to window. The figure is
    in bits per character."""
    rows, window, train, val = settings["batch_size"], settings["window"], arrays["train_ids"], arrays["val_ids"]
    model, judge = language_model(rows, settings), language_model(1, settings)
    compile_model(model, settings["optimizer"]["learning_rate"], [])
    steps = (len(train) - 1) // rows
    inputs, targets = train[: rows * steps].reshape(rows, steps), train[1 : rows * steps + 1].reshape(rows, steps)

    def epoch() -> Iterator[Batch]:
        model.layers[1].reset()
        places = (slice(start, start + window) for start in range(0, steps - window + 1, window))
        return ((inputs[:, place], targets[:, place]) for place in places)

    def bits_per_character() -> float:
        for variable, trained in zip(judge.trainable_variables, model.trainable_variables, strict=True):
            variable.assign(keras.ops.copy(trained))  # JAX may reuse an array that it has been given
        judge.layers[1].reset()
        nats = 0.0
        for start in range(0, len(val) - 1, EVALUATION_WINDOW):
            read = val[start : start + EVALUATION_WINDOW + 1]
            logits = judge.predict_on_batch(read[None, :-1])[0]
            nats += float(keras.ops.sum(keras.losses.sparse_categorical_crossentropy(read[1:], logits, True)))
        return nats / math.log(2) / (len(val) - 1)

    return model, epoch, bits_per_character


class CarriedLSTM(layers.Layer):  # type: ignore[misc]
    """An LSTM that begins each batch with the state in which the batch before has ended. Keras's own `stateful=True`
    loses the state in what JAX has compiled (Keras 3.15)."""

    def __init__(self, rows: int, units: int) -> None:
        super().__init__()
        self.lstm = layers.LSTM(units, return_sequences=True, return_state=True)
        self.carried = [self.add_weight(shape=(rows, units), initializer="zeros", trainable=False) for _ in range(2)]

    def call(self, inputs: Any) -> Any:
        outputs, *states = self.lstm(inputs, initial_state=list(self.carried))
        for carried, state in zip(self.carried, states, strict=True):
            carried.assign(state)
        return outputs

    def reset(self) -> None:
        for carried in self.carried:
            carried.assign(keras.ops.zeros(carried.shape))


def language_model(rows: int, settings: dict[str, Any]) -> Any:
    return keras.Sequential(
        [
            keras.Input(batch_shape=(rows, None), dtype="int32"),
            layers.Embedding(settings["vocabulary"], settings["model"]["embedding_size"]),
            CarriedLSTM(rows, settings["encoder"]["hidden_size"]),
            layers.Dense(settings["vocabulary"]),
        ]
    )


def compile_model(model: Any, learning_rate: float, metrics: list[str]) -> None:
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate, epsilon=1e-8),  # torch's; Keras's own default is 1e-7
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=metrics,
    )
    model.optimizer.build(model.trainable_variables)


def fit(model: Any, batches: list[Batch]) -> None:
    model.fit((batch for batch in batches), steps_per_epoch=len(batches), shuffle=False, verbose=0)


def compile_for(model: Any, batches: list[Batch]) -> None:
    """Let JAX compile the training step for the shapes of these batches. They change nothing in the model."""
    variables = [*model.variables, *model.optimizer.variables]
    kept = [np.array(variable) for variable in variables]
    fit(model, batches)
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not be read as an answer
    settings = json.loads(sys.stdin.readline())
    if hasattr(os, "sched_setaffinity"):  # XLA has a thread for each core that the process may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["threads"]])
    keras.utils.set_random_seed(settings["seed"])
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in Path(settings["folder"]).glob("*.npy")}
    is_novel = "window" in settings
    model, epoch, figure = (novel if is_novel else reviews)(settings, arrays)
    compiled: set[tuple[int, ...]] = set()
    print(json.dumps(f"Keras {keras.__version__}, JAX {jax.__version__} in float32"), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        batches = list(islice(epoch(), settings["steps"]))
        new = {ids.shape: (ids, targets) for ids, targets in batches if ids.shape not in compiled}
        compiling = time.perf_counter()
        if new:
            compile_for(model, list(new.values()))
            compiled |= new.keys()
        ready = time.perf_counter()
        fit(model, batches)
        turn = {
            "tokens": sum(ids.size if is_novel else int(np.count_nonzero(ids)) for ids, _ in batches),
            "seconds": time.perf_counter() - started,
            "compiling": ready - compiling,
        }
        print(json.dumps(turn | {"figure": figure()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
