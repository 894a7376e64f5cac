"""What a run prints before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unroll.tasks.data import ClassificationData


def print_data(data: ClassificationData, console: Console) -> None:
    """Say which text is trained on, and what was changed in it."""
    console.print(f"data: {data.source} ({data.origin})", highlight=False, markup=False)
    splits = ", ".join(f"{len(getattr(data, split)):,} {split}" for split in ("train", "val", "test"))
    console.print(f"documents: {splits}; {len(data.vocabulary):,} words", highlight=False)
    counts = data.counts
    notes = {
        f"{counts.shortened:,} documents are shortened to data.max_tokens={data.config.max_tokens}, "
        f"their {data.config.keep} kept": counts.shortened,
        f"{counts.empty:,} documents hold no word and are read as one <unk>": counts.empty,
        f"{counts.duplicates:,} repeated texts stay on one side of each split": counts.duplicates,
        f"{counts.test_in_train:,} test texts are in the training data as well": counts.test_in_train,
        "the corpus has no test split: one is held out of train": data.test_is_held_out,
    }
    for note, applies in notes.items():
        if applies:
            console.print(f"  {note}", highlight=False, markup=False)


def print_summary(summary: dict[str, Any], run_dir: Path, console: Console) -> None:
    """Say how the run went, in a table, and what to type next."""
    data, train, metrics = summary["data"], summary["train"], summary["metrics"]
    minutes, seconds = divmod(round(train["seconds"]), 60)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "trained on": f"{data['train']:,} examples, {data['source']} ({data['origin']})",
        "training": f"{minutes}:{seconds:02} minutes, {train['steps']:,} steps, "
        f"{train['tokens_per_second'] / 1000:,.0f} k tokens/s, {train['peak_memory_mib']:,.0f} MiB at most",
        **{
            f"{split} ({data[split]:,})": "  ".join(
                f"{name.split('/')[1]} {value:.4f}" for name, value in metrics.items() if name.startswith(f"{split}/")
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
    console.print(
        f'  python scripts/predict.py {rows["checkpoint"]} "I loved every minute."', highlight=False, markup=False
    )
    console.print(f"  tensorboard --host 127.0.0.1 --logdir {run_dir.parent}", highlight=False, markup=False)
