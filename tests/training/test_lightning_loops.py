"""The parts of Lightning that are private and that an exact resume needs: here is seen what breaks when they change."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.training.resuming import imdb
from unroll import checkpoint
from unroll.tasks.spec import load_data
from unroll.training.run import Run, quiet


def test_a_checkpoint_says_of_the_loops_what_a_resume_needs(reviews: Path, tmp_path: Path) -> None:
    """Saved where the sixth batch begins: five steps are done, and the sixth batch is the next."""
    config = imdb(reviews, tmp_path / "run", trainer={"max_steps": 6}, checkpoint={"every_n_steps": 5})
    quiet()
    run = Run(config, load_data(config), tmp_path / "run")
    run.trainer.fit(run.module, run.data)
    content = checkpoint.load(run.checkpoints.previous)
    loop = content["loops"]["fit_loop"]
    assert content["global_step"] == 5
    assert loop["state_dict"]["combined_loader"] == [{"epoch": 0, "batch": 5}]
    assert loop["epoch_loop.batch_progress"]["is_last_batch"] is False
    assert loop["epoch_loop.batch_progress"]["current"]["completed"] == 5
    assert loop["epoch_loop.state_dict"]["_batches_that_stepped"] == 4  # Lightning adds one when it restores it
    assert callable(run.trainer.fit_loop._should_accumulate)
    assert callable(run.trainer.fit_loop.epoch_loop.batch_progress.total.reset_on_restart)


def test_the_loader_gives_its_place(reviews: Path, tmp_path: Path) -> None:
    loader = load_data(imdb(reviews, tmp_path / "run")).train_dataloader()
    batches = iter(loader)
    seen = [next(batches).ids for _ in range(5)]
    assert loader.state_dict() == {"epoch": 0, "batch": 5}
    loader.load_state_dict({"epoch": 0, "batch": 3})
    assert [torch.equal(a, b.ids) for a, b in zip(seen[3:], loader, strict=False)] == [True, True]
