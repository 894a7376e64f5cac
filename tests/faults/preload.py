"""What a run imports, imported once, in the process that runs are forked from."""

import torch

import unroll.training.run  # noqa: F401 - imported for the processes that are forked

torch.set_num_threads(1)
