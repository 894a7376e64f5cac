"""The command line's request, as settings of scripts/train.py. This module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unroll.compose import compose
from unroll.config import ClassificationConfig, LanguageModelingConfig
from unroll.corpora.texts import find_text
from unroll.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "scripts" / "train.py"

# Film reviews, in splits about as long as the novel's.
STAND_IN = ("data.source=embedded", "data.limit=1000000", "data.val_fraction=0.0017", "data.test_fraction=0.0017")

AnyConfig = ClassificationConfig | LanguageModelingConfig
Settings = list[str]  # key=value, a recipe first


@dataclass
class Request:
    """The arguments of the command line."""

    steps: int | None
    rounds: int
    device: str
    settings: Settings
    novel_file: Path | None
    environment: Path = Path("runs/peers")  # of the libraries to compare with
    stands_in: bool = False  # whether film reviews replace the novel
    texts: list[int] = field(default_factory=list)  # sizes in MB
    review_counts: list[int] = field(default_factory=list)

    def reviews(self, recipe: str = "experiment=textbook_imdb") -> Settings:
        """Return the settings of a recipe that reads reviews."""
        self._refuse_recipes()
        return [recipe, f"trainer.accelerator={self.device}", *self.settings]

    def novel(self, recipe: str = "experiment=textbook_charlm", *settings: str) -> Settings:
        """Return the settings of a recipe that reads the novel, with its file; the command line's settings are left
        out."""
        file = [] if self.novel_file is None else [f'data.path="{self.novel_file}"']
        return self._with_text([recipe, f"trainer.accelerator={self.device}", *settings, *file])

    def charlm(self) -> Settings:
        """Return the settings of the textbook's language model, for a table that reads no reviews."""
        self._refuse_recipes()
        return self.novel("experiment=textbook_charlm", *self.settings)

    def default(self) -> Settings:
        """Return the settings of a default recipe: task=imdb, unless the command line names another."""
        return self._with_text(["task=imdb", f"trainer.accelerator={self.device}", *self.settings])

    def _refuse_recipes(self) -> None:
        for setting in self.settings:
            if setting.startswith(("task=", "experiment=")):
                raise ConfigError(f"{setting}: this table has a recipe of its own; leave it out")

    def _with_text(self, settings: Settings) -> Settings:
        """Replace the novel by film reviews if it must be downloaded and can't be."""
        config = read(settings)
        book = getattr(config.data, "gutenberg", None)
        if book is not None and config.data.path is None and config.data.source == "auto":
            try:
                find_text("auto", None, Path(config.data.folder), gutenberg=book)
            except DataError:
                self.stands_in = True
                return [settings[0], *STAND_IN, *settings[1:]]
        return settings


def read(settings: Settings) -> Any:
    """Return the config of the settings."""
    return compose(settings)
