"""Starting several processes, taking a place among those that others started, and ending together."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.scripts import in_a_process
from tests.training.conftest import small_config
from unroll.config import to_dict
from unroll.errors import ConfigError
from unroll.tasks.spec import from_dict
from unroll.training import place
from unroll.training.place import Place


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    return monkeypatch


def give(environment: pytest.MonkeyPatch, **variables: object) -> None:
    for name, value in variables.items():
        environment.setenv(name, str(value))


def test_a_process_by_itself_has_no_place(environment: pytest.MonkeyPatch) -> None:
    assert place.outer() is None
    give(environment, SLURM_STEP_NUM_TASKS=1, SLURM_PROCID=0)  # srun with a single task
    assert place.outer() is None


def test_torchrun_gives_a_place(environment: pytest.MonkeyPatch) -> None:
    give(environment, TORCHELASTIC_RUN_ID="none", RANK=5, WORLD_SIZE=8, LOCAL_RANK=1, LOCAL_WORLD_SIZE=4)
    assert place.outer() == Place(5, 8, 1, 4)


def test_srun_gives_a_place(environment: pytest.MonkeyPatch) -> None:
    give(environment, SLURM_STEP_NUM_TASKS=8, SLURM_STEP_NUM_NODES=2, SLURM_PROCID=5, SLURM_LOCALID=1)
    give(environment, MASTER_ADDR="first", MASTER_PORT=29500)
    assert place.outer() == Place(5, 8, 1, 4)
    give(environment, SLURM_STEP_NUM_NODES=3)
    with pytest.raises(ConfigError, match="srun runs 8 tasks on 3 machines; write --ntasks-per-node=N"):
        place.outer()


def test_the_settings_take_over_what_was_started(reviews: Path, tmp_path: Path) -> None:
    config = small_config(reviews, tmp_path / "run")
    taken, changes = place.at(Place(5, 8, 1, 4), config, {})
    assert (taken.trainer.devices, taken.trainer.num_nodes, changes) == (4, 2, {})
    config.resume = str(tmp_path)
    _, changes = place.at(Place(5, 8, 1, 4), config, {"data.path": "x"})
    assert changes == {"data.path": "x", "trainer.devices": 4, "trainer.num_nodes": 2}


def test_what_cannot_be_shared_is_refused(reviews: Path, tmp_path: Path) -> None:
    config = small_config(reviews, tmp_path / "run", data={"batch_size": 2}, trainer={"devices": 3})
    message = "3 processes share each batch, and data.batch_size=2 is less; write data.batch_size=3 or more"
    with pytest.raises(ConfigError, match=message):
        place.processes(config, {})
    with pytest.raises(ConfigError, match=message):
        place.at(Place(0, 3, 0, 3), config, {})
    own = small_config(reviews, tmp_path / "run", data={"batch_size": 2})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(to_dict(own)))
    with pytest.raises(ConfigError, match=message):  # by the settings that the run has
        place.at(Place(0, 3, 0, 3), from_dict({"resume": str(tmp_path / "run")}), {})
    with pytest.raises(ConfigError, match=r"trainer\.devices=3 and trainer\.num_nodes=1, but 2 processes were started"):
        place.at(Place(0, 2, 0, 2), config, {})
    config.trainer.num_nodes = 2
    with pytest.raises(ConfigError, match="start the command on every machine, by torchrun or srun"):
        place.processes(config, {})


def test_a_process_that_is_killed_ends_the_run_with_one_line(reviews: Path, tmp_path: Path) -> None:
    settings = ["task=classification", f"data.path={reviews}", f"data.folder={tmp_path}", "trainer.max_epochs=1000"]
    run = in_a_process(tmp_path, "train", *settings, "trainer.devices=2", "run_dir=run")
    try:
        while not (tmp_path / "run/checkpoints/last.ckpt").exists() and run.exitcode is None:
            time.sleep(0.1)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ranks = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        run.join()
    finally:
        run.kill()
    error = (tmp_path / "stderr").read_text()
    assert run.exitcode == 1, error
    assert error.startswith("error: rank 1 was ended by SIGKILL, and the others with it; resume it: ")
    assert error.endswith("train resume=run\n")
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
