"""What is logged of a language model: the texts it generates after each validation."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

from unroll.inference.generate import LoadedLanguageModel
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.text.vocabulary import UNKNOWN_ID
from unroll.training.callbacks.texts import escaped, optional
from unroll.training.loggers import board

LENGTH, TEMPERATURE = 600, 0.7
PROMPT_LENGTH, EXCERPTS = 40, 3  # characters of a prompt, and prompts from the validation text


class Samples(Callback):
    """After each validation: passages from the same prompts with the same random numbers, to be compared."""

    def __init__(self, data: LanguageModelingData) -> None:
        self.data = data
        self.prompts = ["", *prompts(data)]

    # Here and not in `on_validation_end`, so that averaged weights are still in place.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        found = board(trainer)
        if found is None:
            return
        with optional("samples"):
            model = LoadedLanguageModel(pl_module.model, self.data.codec, self.data.opening, pl_module.config, {})
            texts = model.generate(self.prompts, length=LENGTH, temperature=TEMPERATURE)
            for number, (prompt, text) in enumerate(zip(self.prompts, texts, strict=True)):
                name = f"samples/prompt_{number}" if prompt else "samples/from_the_beginning"
                lines = "<br>".join(escaped(line) for line in text[len(prompt) :].split("\n"))
                found.text(name, f"**{escaped(prompt)}**{lines}" if prompt else lines)


def prompts(data: LanguageModelingData) -> list[str]:
    """Return whole words from several places of the validation text."""
    found = []
    for start in range(0, len(data.val), max(1, len(data.val) // EXCERPTS)):
        ids = data.val.ids[start : start + 2 * PROMPT_LENGTH]
        if UNKNOWN_ID in ids:
            continue
        words = data.codec.decode(ids.tolist()).split()[1:-1]  # the outer ones may be cut
        prompt = ""
        while words and len(prompt) + len(words[0]) < PROMPT_LENGTH:
            prompt = f"{prompt} {words.pop(0)}".strip()
        if prompt:
            found.append(prompt)
    return found[:EXCERPTS]
