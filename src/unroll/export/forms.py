"""What each kind of model is outside of the package: its graph, and an example that any copy of it must reproduce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from unroll.inference.arrays import Arrays
from unroll.inference.classify import LoadedClassifier
from unroll.inference.engines import softmax
from unroll.inference.generate import LoadedLanguageModel
from unroll.text.codec import Codec

LENGTHS = (1, 9, 60, 250)  # tokens of the example's texts, about

Example = dict[str, Any]  # plain data
Probabilities = npt.NDArray[Any]


class Form(Protocol):
    """How a kind of model is exported, see `unroll.tasks.spec.TaskSpec.export`."""

    entries: tuple[str, ...]
    """The entries of its checkpoints that it needs, besides those of every task."""

    def graph(self, config: Any, arrays: Arrays, half: bool) -> Any:
        """Return the model as an `onnx.ModelProto`."""

    def example(self, model: Any) -> Example:
        """Return inputs for a model, as plain data."""

    def answer_by_torch(self, model: Any, example: Example) -> Probabilities:
        """Return what a model's torch module says to the inputs, one row each."""

    def answer(self, model: Any, example: Example) -> Probabilities:
        """Return what a loaded model says to them, as it is used."""

    def answer_by_graph(self, session: Any, example: Example) -> Probabilities:
        """Return what the graph in a session of onnxruntime says to them."""


class ClassifierForm:
    """A classifier: texts in, the probabilities of its labels out."""

    entries = ("labels",)

    def graph(self, config: Any, arrays: Arrays, half: bool) -> Any:
        from unroll.inference.graph import classifier_graph

        return classifier_graph(config, arrays, half)

    def example(self, model: LoadedClassifier) -> Example:
        texts = ["", "I loved every minute.", *_texts(model.codec)]
        return {"texts": texts, "ids": [model.read_ids(text).tolist() for text in texts]}

    @torch.inference_mode()
    def answer_by_torch(self, model: LoadedClassifier, example: Example) -> Probabilities:
        rows = [model.model(torch.tensor([ids]), torch.tensor([len(ids)])) for ids in example["ids"]]
        return torch.cat(rows).softmax(-1).numpy()

    def answer(self, model: LoadedClassifier, example: Example) -> Probabilities:
        predicted = model.predict(example["texts"])
        return np.array([[each.probabilities[label] for label in model.labels] for each in predicted])

    def answer_by_graph(self, session: Any, example: Example) -> Probabilities:
        lengths = np.array([len(ids) for ids in example["ids"]])
        padded = np.array([[*ids, *[0] * (lengths.max() - len(ids))] for ids in example["ids"]])
        return softmax(session.run(["logits"], {"ids": padded, "lengths": lengths})[0])


class LanguageModelForm:
    """A language model: prompts in, the probabilities of the token that follows out."""

    entries = ("opening",)

    def graph(self, config: Any, arrays: Arrays, half: bool) -> Any:
        from unroll.inference.graph import language_model_graph

        return language_model_graph(config, arrays, half)

    def example(self, model: LoadedLanguageModel) -> Example:
        texts = [text for text in _texts(model.codec) if len(model.encode(text))] or [model.opening]
        return {"prompts": texts, "ids": [model.encode(text).tolist() for text in texts]}

    @torch.inference_mode()
    def answer_by_torch(self, model: LoadedLanguageModel, example: Example) -> Probabilities:
        rows = [model.model(torch.tensor([ids]), last=1)[0][:, -1] for ids in example["ids"]]
        return torch.cat(rows).softmax(-1).numpy()

    def answer(self, model: LoadedLanguageModel, example: Example) -> Probabilities:
        return np.stack([model.following(ids) for ids in example["ids"]])

    def answer_by_graph(self, session: Any, example: Example) -> Probabilities:
        """In two runs for each prompt: the state goes from the first into the second."""
        states = {each.name: each.shape for each in session.get_inputs() if each.name != "ids"}
        found = []
        for ids in example["ids"]:
            state = [np.zeros((layers, 1, size), np.float32) for layers, _, size in states.values()]
            for part in filter(len, (ids[:-1], ids[-1:])):
                given: Mapping[str, Any] = dict(zip(states, state, strict=True)) | {"ids": np.array([part])}
                logits, *state = session.run(None, given)
            found.append(softmax(logits[0, -1:])[0])
        return np.stack(found)


def _texts(codec: Codec) -> list[str]:
    """Return texts of tokens that a model knows, always the same ones."""
    random, choices = np.random.default_rng(0), codec.choices
    return [codec.decode(random.choice(choices, length).tolist()) for length in LENGTHS if len(choices)]
