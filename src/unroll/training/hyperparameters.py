"""The settings by which runs are compared, as loggers have them."""

from __future__ import annotations

import dataclasses
import json
from operator import attrgetter

from unroll.config import Config, fields
from unroll.shown import shown
from unroll.tasks.spec import TASKS

LONGEST = 80  # characters of a setting

# By these settings runs are usually compared.
_ALWAYS = ("encoder.cell", "encoder.hidden_size", "optimizer.learning_rate", "data.batch_size", "seed")
# These settings and groups do not change the result, or say what the data is; `task` is the name for that.
_NEVER = {"kind", "run_dir", "resume", "threads", "checkpoint", "diagnostics", "data.path", "data.folder"}
_NEVER |= {"data.workers", "data.hub", "data.gutenberg", "data.labels", "data.text_column", "data.label_column"}
_NEVER |= {"data.source", "data.encoding", "logger", "trainer.devices", "trainer.num_nodes", "trainer.strategy"}


def hyperparameters(config: Config) -> dict[str, int | float | str]:
    """Return the settings by which runs are compared, by dotted name: first a few that always are,
    then all that differ from the defaults of their kind of task. A number stays one; anything else is text."""
    default, found = TASKS[config.kind].settings(), {}
    known = list(fields.keys(type(config)))
    for name in (*_ALWAYS, *known):
        if name not in known or _NEVER & {name, name.partition(".")[0]}:
            continue
        value = attrgetter(name)(config)
        if name not in _ALWAYS and (dataclasses.is_dataclass(value) or value == attrgetter(name)(default)):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            value = json.dumps(value, ensure_ascii=False)
        found[name] = shown(value, LONGEST) if isinstance(value, str) else value
    return found
