"""Two processes that want the folder of one run."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.kills import SERVER, run, same, settings, undisturbed
from tests.faults.outcome import Outcome


def together(folder: Path, count: int, seed: int = 0) -> Outcome:
    """Start two runs in one folder at the same time, then resume its run twice at the same time: one of the two trains
    as if it were alone, and the other is refused in one line."""
    outcome = Outcome("two at once")
    values = settings("imdb", folder)
    whole = undisturbed("imdb", folder)
    for number in range(count):
        run_dir = folder / f"together_{seed}_{number}"
        for what in ("run", "resume"):
            if what == "resume":
                (run_dir / "summary.json").unlink(missing_ok=True)  # as if it had been killed after its last save
            outcome.tried += 1
            logs = [folder / f"together_{seed}_{number}_{what}_{each}.log" for each in (1, 2)]
            processes = [SERVER.Process(target=run, args=(values, str(run_dir), None, str(log))) for log in logs]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            codes = sorted(process.exitcode for process in processes)
            said = "".join(log.read_text() for log in logs)
            if codes == [0, 0]:
                outcome.note("one after the other")
            elif codes != [0, 2] or said.count("error: ") != 1 or "Traceback" in said:
                outcome.lost.append(f"{what} {number}: exit codes {codes}: {said[-500:]}")
            else:
                outcome.note("one refused")
            if difference := same(whole, run_dir):
                outcome.lost.append(f"{what} {number}: {difference}")
        shutil.rmtree(run_dir)
    return outcome
