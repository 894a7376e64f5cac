"""Encoders of sequences: pure torch, usable without the rest of the package."""

from unroll.encoders.cells import CELLS
from unroll.encoders.interface import Encoder, Trace
from unroll.encoders.min_gru import MinGRU
from unroll.encoders.pooling import POOLINGS, pool
from unroll.encoders.recurrent import BACKENDS, RecurrentEncoder
from unroll.encoders.state import State
from unroll.encoders.table import build_encoder, register_encoder

__all__ = [
    "BACKENDS",
    "CELLS",
    "POOLINGS",
    "Encoder",
    "MinGRU",
    "RecurrentEncoder",
    "State",
    "Trace",
    "build_encoder",
    "pool",
    "register_encoder",
]
