"""What a run prints before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unroll.tasks.data import ClassificationData
from unroll.tasks.novel_data import NovelData


def print_data(data: ClassificationData | NovelData, console: Console) -> None:
    """Say which text is trained on, and what was changed in it."""
    console.print(f"data: {data.source} ({data.origin})", highlight=False, markup=False)
    splits = ", ".join(f"{len(getattr(data, split)):,} {split}" for split in ("train", "val", "test"))
    if isinstance(data, ClassificationData):
        console.print(f"documents: {splits}; {len(data.vocabulary):,} words", highlight=False)
        notes = _notes(data)
    else:
        console.print(f"characters: {splits}; {len(data.vocabulary) - 2:,} symbols", highlight=False)
        unknown = f"{data.unknown:,} characters are none of these symbols and are read as <unk>"
        notes = {**dict.fromkeys(data.notes, 1), unknown: data.unknown}
    for note, applies in notes.items():
        if applies:
            console.print(f"  {note}", highlight=False, markup=False)


def _notes(data: ClassificationData) -> dict[str, int]:
    """Lines to print, and the number of documents that each is about."""
    counts = data.counts
    return {
        f"{counts.shortened:,} documents are shortened to data.max_tokens={data.config.max_tokens}, "
        f"their {data.config.keep} kept": counts.shortened,
        f"{counts.empty:,} documents hold no word and are read as one <unk>": counts.empty,
        f"{counts.duplicates:,} repeated texts stay on one side of each split": counts.duplicates,
        f"{counts.test_in_train:,} test texts are in the training data as well": counts.test_in_train,
        "the corpus has no test split: one is held out of train": data.test_is_held_out,
    }


def print_summary(summary: dict[str, Any], run_dir: Path, console: Console) -> None:
    """Say how the run went, in a table, and what to type next."""
    data, train, metrics = summary["data"], summary["train"], summary["metrics"]
    minutes, seconds = divmod(round(train["seconds"]), 60)
    classifies = summary["task"] == "imdb"
    examples, unit = ("examples", "tokens") if classifies else ("characters", "characters")
    use = 'predict.py {} "I loved every minute."' if classifies else 'generate.py {} --prompt "The "'
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "trained on": f"{data['train']:,} {examples}, {data['source']} ({data['origin']})",
        "training": f"{minutes}:{seconds:02} minutes, {train['steps']:,} steps, "
        f"{train['tokens_per_second'] / 1000:,.0f} k {unit}/s, {train['peak_memory_mib']:,.0f} MiB at most, "
        f"{train['threads']} thread{'s' * (train['threads'] > 1)}, "
        f"{train['workers'] or 'no'} worker{'s' * (train['workers'] != 1)}",
        **{
            f"{split} ({data[split]:,})": "  ".join(
                f"{name.split('/')[1]} {'not finite' if value is None else f'{value:.4f}'}"
                for name, value in metrics.items()
                if name.startswith(f"{split}/")
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
    console.print(f"  python scripts/{use.format(rows['checkpoint'])}", highlight=False, markup=False)
    console.print(f"  tensorboard --host 127.0.0.1 --logdir {run_dir.parent}", highlight=False, markup=False)
