"""What a run prints before and after training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from unroll.commands import typed
from unroll.progress import clock, say
from unroll.tasks.data import TaskData
from unroll.tasks.spec import TaskSpec


def print_data(data: TaskData) -> None:
    """Say which data is trained on, and what was changed in it."""
    for line in (f"data: {data.source} ({data.origin})", *data.report()):
        say(line)


def print_summary(summary: dict[str, Any], spec: TaskSpec, run_dir: Path) -> None:
    """Say how the run went, and what to type next."""
    data, train, metrics = summary["data"], summary["train"], summary["metrics"]
    checkpoint = summary["checkpoints"]["best"] or summary["checkpoints"]["last"]
    figures = {
        split: "  ".join(
            f"{name.split('/')[1]} {'not finite' if value is None else f'{value:.4f}'}"
            for name, value in metrics.items()
            if name.startswith(f"{split}/") and name.count("/") == 1  # those of single classes are in the summary
        )
        for split in ("val", "test")
    }
    rows = {
        "trained on": f"{data['train']:,} {spec.examples}, {data['source']} ({data['origin']})",
        "training": f"{clock(train['seconds'])} minutes, {train['steps']:,} steps, "
        f"{train['tokens_per_second'] / 1000:,.0f} k {spec.unit}/s, {train['peak_memory_mib']:,.0f} MiB at most, "
        f"{train['threads']} thread{'s' * (train['threads'] > 1)}, "
        f"{train['workers'] or 'no'} worker{'s' * (train['workers'] != 1)}",
        **{f"{split} ({data[split]:,})": line for split, line in figures.items() if line},
        "checkpoint": checkpoint,
    }
    width = max(map(len, rows))
    say("")
    for name, value in rows.items():
        say(f"{name:<{width}}  {value}")
    say("")
    say("Next:")
    say(f"  {typed(spec.command, checkpoint)} {spec.arguments}".rstrip())
    if (run_dir / "tensorboard").is_dir():
        say(f"  tensorboard --host 127.0.0.1 --logdir {shlex.quote(str(run_dir.parent))}")
