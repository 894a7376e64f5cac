"""The settings of language modelling."""

from __future__ import annotations

from dataclasses import dataclass, field

from unroll.config.fields import BELOW_1, brief, setting
from unroll.config.settings import (
    TOKENIZERS,
    Config,
    DataConfig,
    EncoderConfig,
    OptimizerConfig,
    TrainerConfig,
    check_source,
    check_vocabulary,
)
from unroll.errors import ConfigError

MAX_TEXT = 128_000_000  # characters; with its ids such a text takes 640 MB, or 1 GB where one character is an emoji


@dataclass
class TextDataConfig(DataConfig):
    """Which text, how it is split, and in how many lanes it is read. `path` is any text."""

    source: str = setting("auto", choices=("auto", "local", "download", "embedded"))  # auto: the first that can be had
    gutenberg: int | None = setting(None, 1)  # number of a book of Project Gutenberg
    encoding: str = "utf-8"  # of the files at `path`
    text_column: str = "text"  # the texts of a table
    max_characters: int = setting(MAX_TEXT, 2, 10**9)  # of a text that is held in memory; a longer one stays on disk
    limit: int | None = setting(None, 2)  # the first so many training characters
    val_fraction: float = setting(0.05, 1e-6, 0.45)  # of the text, before the test part
    test_fraction: float = setting(0.05, 1e-6, 0.45)  # of the text, at its end
    tokenizer: str = setting("characters", choices=TOKENIZERS)  # what the model predicts one after another
    min_freq: int = setting(1, 1)  # rarer tokens become <unk>; bpe joins no rarer pairs
    max_size: int | None = setting(None, 1)  # tokens, <pad> and <unk> not counted; null: all, for bpe 4,000
    batch_size: int = setting(32, 1)  # lanes: places in the text that are read at once
    random_offset: bool = True  # begin each epoch's lanes at another place; the text is read as a ring

    def __post_init__(self) -> None:
        check_source(self.path, self.source)
        check_vocabulary(self.tokenizer, self.max_size)


@dataclass
class LanguageModelConfig:
    """What stands around the encoder, see `unroll.models.language_model.LanguageModel`."""

    embedding_size: int | None = setting(128, 1, 65536)  # null: tokens are read as unit vectors (one-hot)
    tie_weights: bool = False  # the embedding is the output layer's weight, too
    cutoffs: list[int] = setting([], 1)  # ids at which clusters of rarer tokens begin; none: the full softmax
    embedding_dropout: float = setting(0.0, 0, BELOW_1)  # share of the vocabulary that a window reads as zeros
    input_dropout: float = setting(0.2, 0, BELOW_1)  # on the embeddings, one mask a lane and window
    output_dropout: float = setting(0.4, 0, BELOW_1)  # on the encoder's outputs, likewise
    activation_penalty: float = setting(0.0, 0, 1e3)  # AR: of the loss on the mean square of those outputs
    temporal_penalty: float = setting(0.0, 0, 1e3)  # TAR: on that of the outputs' change from step to step

    def __post_init__(self) -> None:
        if self.cutoffs != sorted(set(self.cutoffs)):
            raise ConfigError(
                f"model.cutoffs={brief(self.cutoffs)}: must increase; write the smallest first, each once"
            )
        if self.cutoffs and self.tie_weights:
            raise ConfigError(
                "model.tie_weights=true needs the full softmax; write model.cutoffs=[] or model.tie_weights=false"
            )


@dataclass
class TbpttConfig:
    """Truncated backpropagation through time, see `unroll.batching.streams.Lanes`."""

    window: int = setting(128, 1)  # tokens that the gradient flows through
    stride: int | None = setting(None, 1)  # tokens, the last of a window, that the loss is taken of; null: all
    random_window: bool = False  # windows of about so many tokens, their lengths drawn anew each epoch
    state_dropout: float = setting(0.0, 0, BELOW_1)  # share of lanes that begin a window with a zero state

    def __post_init__(self) -> None:
        if self.stride is not None and self.stride > self.window:
            raise ConfigError(
                f"tbptt.stride={self.stride} goes beyond tbptt.window={self.window}; write {self.window} or less"
            )
        if self.random_window and self.stride not in (None, self.window):
            raise ConfigError("tbptt.random_window goes with windows that follow each other; write tbptt.stride=null")


@dataclass
class LanguageModelingConfig(Config):
    """All settings of language modelling."""

    kind: str = "language_modeling"  # the kind of task; presets set it
    task: str = "language_modeling"  # the preset, which names the run's folder
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(hidden_size=512))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-3, weight_decay=0.1, warmup_fraction=0.1)
    )
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(max_epochs=8))
    data: TextDataConfig = field(default_factory=TextDataConfig)
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    tbptt: TbpttConfig = field(default_factory=TbpttConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.bidirectional:
            raise ConfigError(
                "a language model needs encoder.bidirectional=false: the backward direction reads the tokens that "
                "it is to predict"
            )
        hidden_size = self.encoder.hidden_size
        if self.model.tie_weights and self.model.embedding_size != hidden_size:
            raise ConfigError(
                f"model.tie_weights needs embeddings as wide as the hidden state; write "
                f"model.embedding_size={hidden_size}"
            )
        if self.model.cutoffs and self.data.tokenizer == "bytes":
            raise ConfigError(
                "model.cutoffs needs tokens in order of frequency, and data.tokenizer=bytes has them in order of their "
                "numbers; write model.cutoffs=[]"
            )
        if (narrowest := 4 ** len(self.model.cutoffs)) > hidden_size:
            raise ConfigError(
                f"model.cutoffs makes {len(self.model.cutoffs)} clusters, each of a quarter of the features of the one "
                f"before; write encoder.hidden_size={narrowest} or more, or fewer cutoffs"
            )
        if self.optimizer.embedding == "rows" and (self.model.tie_weights or self.model.embedding_size is None):
            raise ConfigError(
                "optimizer.embedding=rows needs an embedding that nothing else uses; give model.embedding_size, and "
                "write model.tie_weights=false, or write optimizer.embedding=dense"
            )
