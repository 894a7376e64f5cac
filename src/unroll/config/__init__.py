"""All settings as typed fields with ranges, and the rules between them."""

from unroll.config.classification import (
    ClassificationConfig,
    ClassificationDataConfig,
    ClassifierConfig,
    ObjectiveConfig,
)
from unroll.config.language_modeling import LanguageModelConfig, LanguageModelingConfig, TbpttConfig, TextDataConfig
from unroll.config.pretraining import PretrainingConfig, pretraining_of
from unroll.config.settings import (
    AUTO,
    LOGGERS,
    Config,
    DataConfig,
    EncoderConfig,
    OptimizerConfig,
    TrainerConfig,
    flat,
    to_dict,
)

__all__ = [
    "AUTO",
    "LOGGERS",
    "ClassificationConfig",
    "ClassificationDataConfig",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "EncoderConfig",
    "LanguageModelConfig",
    "LanguageModelingConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainingConfig",
    "TbpttConfig",
    "TextDataConfig",
    "TrainerConfig",
    "flat",
    "pretraining_of",
    "to_dict",
]
