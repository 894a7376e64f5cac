"""The journal of a sweep: a file of which all workers read what was tried, and where each takes its next trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from unroll import progress
from unroll.config.fields import brief
from unroll.config.sweep import SweepConfig
from unroll.errors import ConfigError, DataError
from unroll.sweep.space import Space, suggest

LONGEST_WAIT = 600.0  # seconds, for another worker that writes to the journal, or writes the results

_NAME = "sweep"
_SETTINGS = "settings"  # the study's attribute that holds what all workers must share
_PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": MedianPruner,
    "hyperband": HyperbandPruner,
    "none": NopPruner,
}


class Journal:
    """A study in `journal.log` in the sweep's folder, and the folders of its trials.

    Each worker locks the trial that it trains. The lock is the operating system's, which ends it with the process: a
    trial that runs, by the journal, and is not locked has lost its worker, and the next one takes it over.
    """

    def __init__(self, config: SweepConfig, space: Space, mode: str, shared: Mapping[str, Any]) -> None:
        """Open the journal, or begin it.

        Args:
            config: the sweep's settings.
            space: where trials get their values.
            mode: "min" or "max", which of the objective's values is better.
            shared: what must be the same for all workers, by name.

        Raises:
            ConfigError: the journal is of another search.
            DataError: the journal is damaged.
        """
        self.config, self.space, self.folder = config, space, config.folder()
        self._grid = space.grid() if config.sampler == "grid" else None
        self.most_trials = config.trials if self._grid is None else min(config.trials, len(self._grid))
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        (self.folder / "locks").mkdir(exist_ok=True)
        path = self.folder / "journal.log"
        self._lock = FileLock(self.folder / "locks" / "journal", timeout=LONGEST_WAIT)
        direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
        with self._lock:
            try:
                self._storage = JournalStorage(_Lines(path, self._lock))
                self.study = optuna.create_study(
                    storage=self._storage, study_name=_NAME, direction=direction, load_if_exists=True
                )
                self._share(shared)
            except (ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:
                raise DataError(
                    f"{path}: is damaged ({type(error).__name__}: {error!s:.80}); name another folder, or delete it"
                ) from error
        self.study.pruner = _PRUNERS[config.pruner]()

    def _share(self, ours: Mapping[str, Any]) -> None:
        """Note the settings that all workers share, or compare them."""
        theirs = self.study.user_attrs.get(_SETTINGS)
        if theirs is None:
            self.study.set_user_attr(_SETTINGS, dict(ours))
            return
        for name in [*ours, *theirs]:
            if ours.get(name) != theirs.get(name):
                was, given = (brief(values.get(name)) for values in (theirs, ours))
                raise ConfigError(
                    f"{name} is {was} in {self.folder} and stays so, and {given} was given; write what it was, or name "
                    "another sweep.dir"
                )

    @contextmanager
    def next(self) -> Iterator[Trial | None]:
        """Yield a trial that is this worker's for as long as the block lasts: one that lost its worker, or else a new
        one; None where all have begun."""
        with ExitStack() as stack:
            with self._lock:
                trial = self._lost(stack) or self._new(stack)
                if trial is not None:
                    self._suggest(trial)
            yield trial

    def _lost(self, stack: ExitStack) -> Trial | None:
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._claim(frozen.number, stack):
                progress.say(f"trial {frozen.number} has lost its worker, and is taken over")
                return self._trial(frozen.number)
        return None

    def _new(self, stack: ExitStack) -> Trial | None:
        number = len(self.study.get_trials(deepcopy=False, states=_BEGUN))
        if number >= self.most_trials:
            return None
        waits = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))  # its worker was killed right here
        if self._grid is not None and not waits:
            self.study.enqueue_trial(self._grid[number])
        self._claim(number, stack)
        return self.study.ask()

    def _claim(self, number: int, stack: ExitStack) -> bool:
        """Lock a trial until `stack` closes. Return whether it was free."""
        try:
            stack.enter_context(FileLock(self.folder / "locks" / f"{number:04}", timeout=0))
        except Timeout:
            return False
        return True

    def _trial(self, number: int) -> Trial:
        """Return the trial as if this process had begun it."""
        study = self._storage.get_study_id_from_name(_NAME)
        return Trial(self.study, self._storage.get_trial_id_from_study_id_trial_number(study, number))

    def _suggest(self, trial: Trial) -> None:
        """Give a trial the values that it lacks. Each has a seed of its own: several workers don't draw the same, and
        where one was killed, the next draws what that one would have drawn."""
        for place, (key, distribution) in enumerate(self.space.swept.items()):
            seed = int(np.random.SeedSequence([self.config.seed, trial.number, place]).generate_state(1)[0])
            self.study.sampler = TPESampler(seed=seed) if self.config.sampler == "tpe" else RandomSampler(seed=seed)
            suggest(trial, key, distribution)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials that have begun, in order."""
        return self.study.get_trials(states=_BEGUN)

    def run_dir(self, number: int) -> Path:
        """Return the folder of a trial's run."""
        return self.folder / "trials" / f"{number:04}"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other workers from this block."""
        with FileLock(self.folder / "locks" / "results", timeout=LONGEST_WAIT):
            yield


_BEGUN = tuple(state for state in TrialState if state != TrialState.WAITING)


class _Lines(JournalFileBackend):
    """The journal's file. Where the last line is torn, since a process was killed or the disk was full, it is cut:
    nobody has read it."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        # Optuna's own locks are files that a killed process leaves, for half a minute or for ever.
        super().__init__(str(path), lock_obj=cast(Any, lock))
        self._path, self._os_lock = path, lock
        with lock:
            self._cut()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._os_lock:
            self._cut()
            super().append_logs(logs)

    def _cut(self) -> None:
        with self._path.open("r+b") as file:
            size = file.seek(0, 2)
            if size == 0 or (file.seek(size - 1), file.read(1))[1] == b"\n":
                return
            file.seek(0)
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)
        progress.say(f"{self._path}: its last line was torn, and is cut ({size - whole} bytes)")
