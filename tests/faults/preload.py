"""What a run imports, imported once, in the process that runs are forked from."""

import gc

import omegaconf  # noqa: F401 - this and others are imported for the processes that are forked
import pandas  # noqa: F401
import pyarrow  # noqa: F401
import tensorboard.plugin_util  # noqa: F401
import torch
import torch.utils.tensorboard
import torchtext.vocab  # noqa: F401

import unroll.cli.train
import unroll.training.run  # noqa: F401
from unroll.registry import resolve
from unroll.tasks.spec import TASKS

for kind in TASKS:
    for part in ("data", "module"):
        TASKS[kind].load(part)
    for callback in TASKS[kind].callbacks:
        resolve(callback)

torch.set_num_threads(1)
gc.freeze()  # so that no copy looks for garbage in what it shares
gc.set_threshold(10_000)
