"""`unroll generate`: text written by a language model."""

from __future__ import annotations

import json

from unroll.cli.model import add_model, load_model
from unroll.cli.screen import on_stderr, parser
from unroll.errors import ConfigError
from unroll.shown import shown

LINES = "\n\t"  # shown as they are


def main(arguments: list[str]) -> None:
    """Print what the model writes, as it writes it."""
    options = parser(
        "generate",
        "Print text that a language model writes.",
        ('novel.ckpt --prompt "The island" --length 500', "novel.ckpt --samples 8 --temperature 0.6 --json"),
    )
    add_model(options)
    options.add_argument(
        "--prompt", default="", help="what the text begins with (default: nothing, as the book begins)"
    )
    options.add_argument("--length", type=int, default=500, help="characters to write after it (default: 500)")
    options.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest (default: 0.8)")
    options.add_argument("--top-k", type=int, help="choose among so many of the likeliest tokens")
    options.add_argument("--top-p", type=float, help="choose among the likeliest that have this probability together")
    options.add_argument("--seed", type=int, default=0, help="same seed, same text (default: 0)")
    options.add_argument("--samples", type=int, default=1, help="texts, each with its own random numbers (default: 1)")
    options.add_argument("--json", action="store_true", help="print one JSON object a text, at the end")
    given = options.parse_args(arguments)
    with on_stderr():
        model = load_model(given.checkpoint, "generate", full_windows=True)
        prompt = given.prompt.encode(errors="surrogateescape").decode(errors="replace")
        names = ("length", "temperature", "top_k", "top_p", "seed", "samples")
        try:
            steps = model.stream(prompt, **{name: getattr(given, name) for name in names})
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error
        if given.samples == 1 and not given.json:
            print(shown(prompt, keep=LINES), end="", flush=True)
            for (part,) in steps:
                print(shown(part, keep=LINES), end="", flush=True)
            print()
            return
        from unroll import progress

        total = given.length if model.codec.name == "characters" else None  # else nobody knows
        written = list(progress.track(steps, "writing", total, "steps"))
    for number, text in enumerate("".join(parts) for parts in zip([prompt] * given.samples, *written, strict=True)):
        if given.json:
            print(json.dumps({"seed": given.seed, "sample": number, "text": text}))
        else:
            print(f"--- sample {number}\n{shown(text, keep=LINES)}")
