"""What a run prints before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unroll.tasks.data import TaskData
from unroll.tasks.spec import TaskSpec


def print_data(data: TaskData, console: Console) -> None:
    """Say which data is trained on, and what was changed in it."""
    for line in (f"data: {data.source} ({data.origin})", *data.report()):
        console.print(line, highlight=False, markup=False)


def print_summary(summary: dict[str, Any], spec: TaskSpec, run_dir: Path, console: Console) -> None:
    """Say how the run went, in a table, and what to type next."""
    data, train, metrics = summary["data"], summary["train"], summary["metrics"]
    minutes, seconds = divmod(round(train["seconds"]), 60)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "trained on": f"{data['train']:,} {spec.examples}, {data['source']} ({data['origin']})",
        "training": f"{minutes}:{seconds:02} minutes, {train['steps']:,} steps, "
        f"{train['tokens_per_second'] / 1000:,.0f} k {spec.unit}/s, {train['peak_memory_mib']:,.0f} MiB at most, "
        f"{train['threads']} thread{'s' * (train['threads'] > 1)}, "
        f"{train['workers'] or 'no'} worker{'s' * (train['workers'] != 1)}",
        **{
            f"{split} ({data[split]:,})": "  ".join(
                f"{name.split('/')[1]} {'not finite' if value is None else f'{value:.4f}'}"
                for name, value in metrics.items()
                if name.startswith(f"{split}/") and name.count("/") == 1  # those of single classes are in the summary
            )
            for split in ("val", "test")
        },
        "checkpoint": summary["checkpoints"]["best"] or summary["checkpoints"]["last"],
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print()
    console.print(table, highlight=False, markup=False)
    console.print("\nNext:", highlight=False)
    use = f"  python scripts/{spec.command}.py {rows['checkpoint']} {spec.arguments}"
    console.print(use.rstrip(), highlight=False, markup=False)
    console.print(f"  tensorboard --host 127.0.0.1 --logdir {run_dir.parent}", highlight=False, markup=False)
