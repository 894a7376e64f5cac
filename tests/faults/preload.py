"""What a run imports, imported once, in the process that runs are forked from."""

import torch

import unroll.training.run  # noqa: F401

torch.set_num_threads(1)
