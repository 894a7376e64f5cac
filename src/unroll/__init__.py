"""Recurrent sequence models, trained end to end: text in, checkpoint out."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "configure_runtime", "load", "register_encoder", "register_task", "train"]

TYPE_CHECKING = False  # typing's own takes a while to import, and a command should answer at once
if TYPE_CHECKING:
    from unroll.cli.train import train
    from unroll.encoders import register_encoder
    from unroll.inference.load import load
    from unroll.runtime import configure as configure_runtime
    from unroll.tasks.spec import register_task

_PLACES = {
    "configure_runtime": ("unroll.runtime", "configure"),
    "load": ("unroll.inference.load", "load"),
    "register_encoder": ("unroll.encoders", "register_encoder"),
    "register_task": ("unroll.tasks.spec", "register_task"),
    "train": ("unroll.cli.train", "train"),
}


def __getattr__(name: str) -> object:
    """Import what is asked for, and torch with it where it is needed, only then."""
    from importlib import import_module

    if name in _PLACES:
        module, attribute = _PLACES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'unroll' has no attribute {name!r}")
