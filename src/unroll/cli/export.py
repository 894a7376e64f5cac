"""`unroll export`: a trained model as a folder of files that other programs read."""

from __future__ import annotations

from pathlib import Path

from unroll import runtime
from unroll.cli.screen import on_stderr, parser
from unroll.shown import in_columns, shown


def main(arguments: list[str]) -> None:
    """Write the folder, and print what is in it."""
    options = parser(
        "export",
        "Write a model to a new folder: weights (safetensors), an ONNX graph, vocabulary, settings, a model card, and "
        "an example that any copy of the model must reproduce.",
        ("best.ckpt sentiment/", "novel.ckpt novel/ --half", "best.ckpt small/ --int8"),
    )
    options.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    options.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")
    options.add_argument("--half", action="store_true", help="store the weights in half precision: half the size")
    options.add_argument("--int8", action="store_true", help="quantise model.onnx to 8 bits: a quarter of its size")
    given = options.parse_args(arguments)
    with on_stderr():
        runtime.configure()
        from unroll.export.write import export

        written = export(given.checkpoint, given.folder, given.int8, given.half)
    rows = [
        [name, f"{size / 1e6:,.2f} MB", _promise(written.tolerance.get(name))] for name, size in written.sizes.items()
    ]
    print("\n".join(in_columns(rows)))
    if written.lack:
        print(f"no model.onnx: {shown(written.lack)}")
    if given.half:
        print(f"half precision moved the example's probabilities by up to {written.rounding:.1g}")
    print(f"\nNext:\n  {written.use}")


def _promise(tolerance: float | None) -> str:
    return "" if tolerance is None else f"answers as the model does to {tolerance:.1g}"
