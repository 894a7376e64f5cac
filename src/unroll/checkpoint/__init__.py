"""The file format of a trained model."""

from unroll.checkpoint.format import FORMAT, SCHEMA, check, entry, load, save

__all__ = ["FORMAT", "SCHEMA", "check", "entry", "load", "save"]
