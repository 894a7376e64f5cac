"""The settings of pretraining: language models of documents, whose weights a classifier starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unroll.config.classification import ClassificationConfig, ClassificationDataConfig
from unroll.config.fields import BELOW_1, setting
from unroll.config.settings import Config, EncoderConfig, OptimizerConfig, TrainerConfig
from unroll.errors import ConfigError


@dataclass
class DocumentLanguageModelConfig:
    """What stands around the encoder, see `unroll.models.pretraining.DocumentLanguageModel`."""

    embedding_size: int = setting(64, 1, 65536)  # features of a word's vector
    dropout: float = setting(0.1, 0, BELOW_1)  # on the embeddings and on the outputs, one mask a document
    sampled_words: int | None = setting(512, 1)  # that a training step's softmax is over; null: the whole vocabulary


@dataclass
class PretrainingConfig(Config):
    """All settings of pretraining on documents. Their labels are not read, but for the split."""

    kind: str = "pretraining"  # the kind of task; presets set it
    task: str = "pretraining"  # the preset, which names the run's folder
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(bidirectional=True))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-3, warmup_fraction=0.05)
    )
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(max_epochs=1))
    data: ClassificationDataConfig = field(
        default_factory=lambda: ClassificationDataConfig(unlabelled="auto", batch_size=None, max_tokens=1024)
    )
    model: DocumentLanguageModelConfig = field(default_factory=DocumentLanguageModelConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.bidirectional and self.encoder.num_layers > 1:
            raise ConfigError(
                "pretraining with encoder.bidirectional=true needs encoder.num_layers=1: the second layer reads both "
                "directions of the first, and with them the words that it is to predict"
            )
        if self.optimizer.embedding == "rows":
            raise ConfigError(
                "pretraining reads and predicts by one embedding, so each step trains all of its rows; write "
                "optimizer.embedding=dense"
            )


def pretraining_of(config: ClassificationConfig) -> PretrainingConfig | None:
    """Return the settings of the pretraining that comes before a classifier's training, None if there is none. Its
    corpus, embedding and encoder are the classifier's.

    Raises:
        ConfigError: its encoder can't be pretrained.
    """
    stage = config.pretraining
    if not stage.epochs:
        return None
    return PretrainingConfig(
        task=config.task,
        seed=config.seed,
        run_dir=config.run_dir,
        threads=config.threads,
        logger=config.logger,
        encoder=config.encoder,
        optimizer=replace(PretrainingConfig().optimizer, learning_rate=stage.learning_rate),
        checkpoint=config.checkpoint,
        diagnostics=config.diagnostics,
        data=replace(config.data, batch_size=None, max_tokens=stage.max_tokens),
        model=DocumentLanguageModelConfig(config.model.embedding_size, stage.dropout, stage.sampled_words),
        trainer=replace(
            config.trainer,
            max_epochs=stage.epochs,
            max_steps=-1,
            max_time=None,
            min_epochs=None,
            min_steps=None,
            limit_val_batches=0,  # a softmax over the whole vocabulary takes longer than an epoch of training
            limit_test_batches=0,
        ),
    )
