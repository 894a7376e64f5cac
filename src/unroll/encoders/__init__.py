"""Recurrent encoders: pure torch, usable without the rest of the package."""

from unroll.encoders.pooling import POOLINGS, pool
from unroll.encoders.recurrent import BACKENDS, CELLS, RecurrentEncoder, State

__all__ = ["BACKENDS", "CELLS", "POOLINGS", "RecurrentEncoder", "State", "pool"]
