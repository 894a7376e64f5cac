"""The model card: what an exported model is, what it was trained on, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unroll.config import Config, flat, to_dict
from unroll.inference import folder as files
from unroll.shown import shown
from unroll.tasks.spec import TASKS

LONGEST = 200  # characters of a text from outside
LARGEST_SUMMARY = 2**20  # bytes
UNSTATED = "Not stated."

# Settings that say nothing of the model.
_OF_THE_RUN = ("kind", "task", "run_dir", "resume", "init_from", "threads", "logger", "data.path", "data.folder")


def card(checkpoint: Path, about: Mapping[str, Any], config: Config, parameters: int, command: str) -> str:
    """Return the card in Markdown.

    Args:
        checkpoint: the file that was exported; the summary of its run may stand beside it.
        about: the entries of config.json.
        config: the model's settings.
        parameters: numbers that were learnt.
        command: arguments of `unroll` that use the model in the current folder.
    """
    encoder = config.encoder
    layers = f"{encoder.num_layers} layer{'s' * (encoder.num_layers > 1)} of {encoder.hidden_size:,} units"
    directions = "both directions" if encoder.bidirectional else "one direction"
    sections = {
        "Use": f"    unroll {command}\n\nIn Python: `unroll.load(FOLDER)`. {_graph(about)}",
        "Data": _listed(_data(about["data"], TASKS[config.kind].examples)),
        "Licence of the data": _licence(config),
        "Recipe": _listed(_recipe(config)) or "The defaults of unroll.",
        "Figures": _listed(_figures(checkpoint, about)) or UNSTATED,
        "Limits": _listed(_limits(about)),
    }
    what = f"{code(encoder.cell)}, {layers}, {directions}, {parameters:,} parameters"
    parts = [f"# {code(config.task)}", f"A model of {code(config.kind)}, made by unroll: {what}."]
    return "\n\n".join([*parts, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def code(value: object) -> str:
    """Return a text from outside as a code span, which nobody takes for Markdown or HTML.

    >>> code("a `b` <i>")
    "`a 'b' <i>`"
    """
    return f"`{shown(value, LONGEST).replace('`', chr(39)) or ' '}`"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _graph(about: Mapping[str, Any]) -> str:
    if files.GRAPH not in about["tolerance"]:
        return f"There is no {files.GRAPH}: {about['graph']}."
    return f"`{files.GRAPH}` is for other programs; `{files.EXAMPLE}` has inputs, and what they must get for them."


def _data(data: Mapping[str, Any], examples: str) -> Iterator[str]:
    yield f"{code(data['origin'])} ({code(data['source'])}), fingerprint {code(data['fingerprint'])}"
    sizes = [f"{split} {data[split]:,}" for split in ("train", "val", "test") if isinstance(data.get(split), int)]
    if sizes:
        yield f"{examples}: {', '.join(sizes)}"


def _licence(config: Config) -> str:
    number = getattr(config.data, "gutenberg", None)
    if number is None or config.data.path is not None:
        return UNSTATED
    return (
        f"[Book {number} of Project Gutenberg](https://www.gutenberg.org/ebooks/{number}), in the public domain in the "
        "United States."
    )


def _recipe(config: Config) -> Iterator[str]:
    """Yield the settings that differ from the defaults."""
    defaults = flat(to_dict(type(config)()))
    for key, value in flat(to_dict(config)).items():
        if key not in _OF_THE_RUN and value != defaults.get(key):
            yield code(f"{key}={json.dumps(value)}")


def _figures(checkpoint: Path, about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures in the summary of the run whose best checkpoint this is."""
    path = checkpoint.resolve().parent.parent / "summary.json"
    summary: Any = None
    with suppress(OSError, ValueError):
        if checkpoint.name == "best.ckpt" and path.stat().st_size <= LARGEST_SUMMARY:
            summary = json.loads(path.read_bytes())
    try:
        if summary["data"]["fingerprint"] != about["data"]["fingerprint"]:
            return
        metrics = [(str(name), float(value)) for name, value in summary["metrics"].items() if value is not None]
    except (TypeError, KeyError, AttributeError, ValueError):  # there is no summary, or it is none
        return
    for split in ("val", "test"):
        found = [f"{name.partition('/')[2]} {value:.4f}" for name, value in metrics if name.startswith(f"{split}/")]
        found = [figure for figure in found if "/" not in figure]  # those of single classes are in the summary
        if found:
            yield f"{split}: {code(', '.join(found))}, by {code(f'unroll evaluate best.ckpt --split {split}')}"


def _limits(about: Mapping[str, Any]) -> Iterator[str]:
    yield "It repeats what its training data say, and how they say it. Check it on data of your own: `unroll evaluate`."
    if about["half"]:
        yield f"The weights have 16 bits: probabilities are up to {about['rounding']:.1g} from the checkpoint's."
    if about["int8"]:
        allowed = about["tolerance"][files.GRAPH]
        yield f"`{files.GRAPH}` computes with 8 bits: probabilities are up to {allowed:.1g} from those of the weights."
