"""Generate text with a language model: `python scripts/generate.py CKPT --prompt "The island" --length 500`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from unroll import cli, runtime
from unroll.errors import ConfigError


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what a language model generates, character by character.")
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a best.ckpt or last.ckpt")
    parser.add_argument("--prompt", default="", help="what the text begins with (default: nothing, as the book begins)")
    parser.add_argument("--length", type=int, default=500, help="characters to write after it (default: 500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest (default: 0.8)")
    parser.add_argument("--top-k", type=int, help="choose among so many of the likeliest characters")
    parser.add_argument("--top-p", type=float, help="choose among the likeliest that have this probability together")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text (default: 0)")
    parser.add_argument("--samples", type=int, default=1, help="texts, each with its own random numbers (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object a text, at the end")
    arguments = parser.parse_args()
    runtime.configure(full_windows=True)
    from unroll.inference.load import load

    model = load(arguments.checkpoint, "generate")
    prompt = arguments.prompt.encode(errors="surrogateescape").decode(errors="replace")
    names = ("length", "temperature", "top_k", "top_p", "seed", "samples")
    try:
        steps = model.stream(prompt, **{name: getattr(arguments, name) for name in names})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if arguments.samples == 1 and not arguments.json:
        print(prompt, end="", flush=True)
        for (character,) in steps:
            print(character, end="", flush=True)
        print()
        return
    texts = ["".join(characters) for characters in zip([prompt] * arguments.samples, *steps, strict=True)]
    for number, text in enumerate(texts):
        if arguments.json:
            print(json.dumps({"seed": arguments.seed, "sample": number, "text": text}))
        else:
            print(f"--- sample {number}\n{text}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
