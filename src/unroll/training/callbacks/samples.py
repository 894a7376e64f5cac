"""What TensorBoard shows of a language model: the texts it generates after each validation."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from unroll.errors import UserError
from unroll.inference.generate import LoadedLanguageModel
from unroll.tasks.language_modeling_data import LanguageModelingData
from unroll.text.vocabulary import UNKNOWN_ID
from unroll.training.callbacks.pictures import escaped

LENGTH, TEMPERATURE = 600, 0.7
PROMPT_LENGTH, EXCERPTS = 40, 3  # characters, taken from as many places of the validation text


class Samples(Callback):
    """After each validation: passages from the same prompts with the same random numbers, so that they compare."""

    def __init__(self, data: LanguageModelingData) -> None:
        self.data = data
        self.prompts = ["", *prompts(data)]

    # Here and not in `on_validation_end`, so that averaged weights are still in place.
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not isinstance(trainer.logger, TensorBoardLogger):
            return
        module: Any = pl_module
        model = LoadedLanguageModel(module.model, self.data.vocabulary, self.data.opening, module.config, {})
        try:
            texts = model.generate(self.prompts, length=LENGTH, temperature=TEMPERATURE)
        except UserError as error:  # it has diverged; that is not for a picture to end the run over
            texts = [f"{prompt} ({error})" for prompt in self.prompts]
        for number, (prompt, text) in enumerate(zip(self.prompts, texts, strict=True)):
            shown = f"**{escaped(prompt)}**{escaped(text[len(prompt) :])}".replace("****", "").replace("\n", "<br>")
            name = "samples/from_the_beginning" if not prompt else f"samples/prompt_{number}"
            trainer.logger.experiment.add_text(name, shown, trainer.global_step)


def prompts(data: LanguageModelingData) -> list[str]:
    """Return words from several places of the validation text, each beginning and ending with a whole word."""
    found = []
    for start in range(0, len(data.val), max(1, len(data.val) // EXCERPTS)):
        ids = data.val[start : start + 2 * PROMPT_LENGTH]
        if UNKNOWN_ID in ids:
            continue
        words = "".join(data.vocabulary.decode(ids.tolist())).split()[1:-1]  # the outer ones may be cut
        prompt = ""
        while words and len(prompt) + len(words[0]) < PROMPT_LENGTH:
            prompt = f"{prompt} {words.pop(0)}".strip()
        if prompt:
            found.append(prompt)
    return found[:EXCERPTS]
