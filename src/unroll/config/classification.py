"""The settings of text classification."""

from __future__ import annotations

from dataclasses import dataclass, field

from unroll.config.fields import BELOW_1, setting
from unroll.config.settings import TOKENIZERS, Config, DataConfig, EncoderConfig, check_source, check_vocabulary
from unroll.errors import ConfigError

MAX_CHARACTERS, MAX_MEMORY_MIB = 4_000_000, 512  # IMDb's longest review has 13,704, and its 25,000 take 50 MiB


@dataclass
class ClassificationDataConfig(DataConfig):
    """Which labelled texts, how they are split, cut into tokens, and batched. `path` is a table, or a folder with
    train.* and perhaps test.* and unlabelled.*, each a table or a folder of tables."""

    source: str = setting("auto", choices=("auto", "local", "hub", "embedded"))  # auto: the first that can be had
    hub: str | None = None  # a data set of the Hugging Face hub: OWNER/NAME[/CONFIG][@REVISION]
    text_column: str = "text"  # the table's column of texts
    label_column: str = "label"  # the table's column of labels
    labels: list[str] | None = None  # names of the classes 0, 1, …, where the labels are numbers
    encoding: str = "utf-8"  # of csv, tsv and jsonl
    max_characters: int = setting(MAX_CHARACTERS, 1, 10**9)  # of one text; a longer one is an error
    max_memory_mib: int = setting(MAX_MEMORY_MIB, 1)  # for words, labels and rows, texts apart; more is an error
    unlabelled: str = setting("none", choices=("none", "auto", "required"))  # texts without labels; auto: any there are
    limit: int | None = setting(None, 2)  # a stratified sample of so many training examples
    val_fraction: float = setting(0.1, 1e-6, 0.9)  # of the training examples
    test_fraction: float = setting(0.1, 1e-6, 0.9)  # of the training examples, where the corpus has no test split
    split: str = setting("random", choices=("random", "blocks"))  # blocks: hold out stretches of rows, not single rows
    block_size: int = setting(100, 1)  # rows of a class in a stretch, where data.split=blocks
    tokenizer: str = setting("basic_english", choices=TOKENIZERS)  # basic_english: lower-case words, punctuation
    max_length: int | None = setting(400, 1)  # tokens; longer documents are truncated, and their number reported
    truncate: str = setting("end", choices=("start", "end"))  # the part of a longer document that is cut off
    min_freq: int = setting(2, 1)  # rarer tokens become <unk>; bpe joins no rarer pairs
    max_size: int | None = setting(None, 1)  # tokens, <pad> and <unk> not counted; null: all, for bpe 4,000
    class_weights: str | None = setting(None, choices=("balanced",))  # of the loss: rare classes count more
    batch_size: int | None = setting(32, 1)  # documents in a batch
    max_tokens: int | None = setting(None, 1)  # instead of batch_size: tokens in a batch, padding counted
    padding_noise: float = setting(0.1, 0, 0.9)  # how far lengths are jittered before documents are sorted into batches
    unlabelled_batch_size: int | None = setting(None, 1)  # documents of unlabelled.* beside each batch; null: none

    def __post_init__(self) -> None:
        check_source(self.path, self.source)
        check_vocabulary(self.tokenizer, self.max_size)
        labels = self.labels or []
        if len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
            raise ConfigError("data.labels: two names are equal or one is blank; give each class a name of its own")
        if (self.batch_size is None) == (self.max_tokens is None):
            raise ConfigError(
                "give either data.batch_size (documents) or data.max_tokens (tokens in a batch), and null for the "
                "other; data.max_length truncates documents"
            )


@dataclass
class ClassifierConfig:
    """What stands around the encoder, see `unroll.models.classifier.TextClassifier`."""

    embedding_size: int = setting(64, 1, 65536)  # features of a word's vector
    pooling: list[str] = setting(["max", "mean"], choices=("last", "mean", "max"))  # concatenated
    head_size: int = setting(0, 0, 65536)  # units of a hidden ReLU layer before the output; 0: none
    dropout: float = setting(0.5, 0, BELOW_1)  # on the embeddings and on the pooled vector
    word_dropout: float = setting(0.1, 0, BELOW_1)  # share of words read as <unk> in training
    embedding_dropout: float = setting(0.0, 0, BELOW_1)  # share of the vocabulary that a batch reads as zeros

    def __post_init__(self) -> None:
        if not self.pooling:
            raise ConfigError("model.pooling=[]: write one or more of last, mean, max, as in model.pooling=[max]")


@dataclass
class PretrainingStageConfig:
    """Pretraining before the training: the encoder's directions learn to predict the next word, see
    `unroll.models.pretraining`."""

    epochs: int = setting(0, 0)  # passes over the training texts and the unlabelled ones; 0: no pretraining
    learning_rate: float = setting(5e-3, 1e-12, 1e3)  # the highest of a one-cycle schedule
    dropout: float = setting(0.1, 0, BELOW_1)  # on the embeddings and on the outputs, one mask a document
    sampled_words: int | None = setting(512, 1)  # that a training step's softmax is over; null: the whole vocabulary
    max_tokens: int = setting(1024, 1)  # tokens in a batch, padding counted


@dataclass
class ObjectiveConfig:
    """What is minimised beside the cross entropy: weights of further losses, 0 for none, see
    `unroll.tasks.adversarial`."""

    adversarial: float = setting(0.0, 0, 1e3)  # weight of the cross entropy at adversarial embeddings
    virtual: float = setting(0.0, 0, 1e3)  # weight of virtual adversarial training (VAT), which needs no labels
    entropy: float = setting(0.0, 0, 1e3)  # weight of the entropy of predictions, which needs no labels
    epsilon: float = setting(5.0, 1e-6, 1e6)  # norm of a document's perturbation; the embeddings' root mean square is 1
    xi: float = setting(0.1, 1e-6, 1e6)  # norm of VAT's step to find its direction, in the same unit


@dataclass
class DocumentWindowConfig:
    """Truncated backpropagation through time, within a document."""

    window: int | None = setting(None, 1)  # steps after which the gradient is cut; null: never


@dataclass
class ClassificationConfig(Config):
    """All settings of text classification."""

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(bidirectional=True))
    data: ClassificationDataConfig = field(default_factory=ClassificationDataConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    pretraining: PretrainingStageConfig = field(default_factory=PretrainingStageConfig)
    tbptt: DocumentWindowConfig = field(default_factory=DocumentWindowConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretraining.epochs and self.init_from is not None:
            raise ConfigError(
                "pretraining.epochs and init_from both give initial weights; write pretraining.epochs=0, or "
                "init_from=null"
            )
        if self.tbptt.window is not None and self.encoder.bidirectional:
            raise ConfigError(
                "tbptt.window needs encoder.bidirectional=false: the backward direction starts at the end of the text, "
                "which a window has not read yet"
            )
        if self.data.unlabelled_batch_size is not None and self.data.unlabelled != "required":
            raise ConfigError("data.unlabelled_batch_size needs texts without labels; write data.unlabelled=required")
        if self.data.unlabelled_batch_size is not None and not self.objective.virtual + self.objective.entropy:
            raise ConfigError(
                "data.unlabelled_batch_size needs a loss without labels; write objective.virtual=1 or "
                "objective.entropy=1, or data.unlabelled_batch_size=null"
            )
