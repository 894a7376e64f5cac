"""Where a training run starts: in this process, in several that it starts, or as one of several that others started."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unroll import progress
from unroll.config import AUTO, Config
from unroll.errors import ConfigError
from unroll.shown import shown
from unroll.training import launch, place
from unroll.training.run_dir import claimed
from unroll.training.saved_run import automatic, ends, is_complete

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def train(
    config: Config, changes: Mapping[str, Any] | None = None, callbacks: Sequence[Callback] = ()
) -> dict[str, Any]:
    """Train, test with the best checkpoint, and leave everything in the run directory.

    Args:
        config: all settings. With `config.resume` the run in that folder is resumed, by its own settings; see
            `automatic` for "auto", which leaves a complete run as it is.
        changes: settings that are given anew when a run is resumed, by dotted key; see `find_start`.
        callbacks: Lightning's, beside those of every run. They work in this process: there must be no others.

    Returns:
        What `summary.json` holds.

    Raises:
        UserError: the data or the run directory can't be used as the settings say; nothing has been written.
        Diverged: the loss or the gradient was not finite; checkpoints are those from before.
        Interrupted: a signal stopped the run, after saving; `summary.json` says so.
        Pruned: a callback stopped it, after saving; `summary.json` says so.
    """
    outer = place.outer()
    if outer is None:
        return _train(config, changes or {}, claimed, callbacks)
    with place.joined(outer, place.settings_of(config)):
        return _train(*place.at(outer, config, changes or {}), _claimed_by_the_first, callbacks)


@contextmanager
def _claimed_by_the_first(config: Config, *, anew: bool = False) -> Iterator[Path]:
    """`claimed`, by the first process for all."""
    from unroll import ranks

    def see() -> None:
        if not run_dir.is_dir():
            raise ConfigError(
                f"{run_dir}: is not there on {socket.gethostname()}; name a run_dir in a folder that all machines share"
            )

    with ExitStack() as stack:
        own = ranks.together(lambda: stack.enter_context(claimed(config, anew=anew)) if ranks.rank() == 0 else None)
        run_dir = ranks.first(own) or Path()
        ranks.together(see)
        yield run_dir


def _train(config: Config, changes: Mapping[str, Any], claim: Any, callbacks: Sequence[Callback]) -> dict[str, Any]:
    is_automatic = config.resume == AUTO
    if is_automatic:
        config, changes = automatic(config)
        if config.resume is not None and is_complete(Path(config.resume)) and not ends(changes):
            progress.say(f"the run in {shown(config.resume)} is complete")
            return _summary_in(Path(config.resume))
    count = place.processes(config, changes) if claim is claimed else 1
    with claim(config, anew=is_automatic) as run_dir:
        if count > 1:
            launch.run(count, run_dir, config, changes)
            return _summary_in(run_dir)
        from unroll.training.run import run_in

        return run_in(run_dir, config, changes, callbacks)


def _summary_in(run_dir: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    return summary
