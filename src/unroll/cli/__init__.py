"""The command `unroll`. Each of its commands is a module of this package, imported when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from unroll.commands import COMMANDS
from unroll.errors import ConfigError, Elsewhere, UserError, memory_error
from unroll.interrupt import end
from unroll.shown import shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code, see `run`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run(lambda: _call(given))


def _call(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h"):
        print(_help())
    elif name == "--version":
        from unroll import __version__

        print(f"unroll {__version__}")
    elif name in COMMANDS:
        import_module(f"unroll.cli.{name}").main(arguments[1:])
    else:
        raise ConfigError(f"there is no command {name[:80]!r}; there are {', '.join(COMMANDS)}")


def _help() -> str:
    lines = [f"  {name:<10} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: unroll COMMAND …",
            "",
            "Train recurrent sequence models, and use them.",
            "",
            *lines,
            "",
            "unroll COMMAND --help explains each; unroll --version prints the version. To begin with:",
            "",
            "  unroll train task=imdb",
        ]
    )


def run(work: Callable[[], object]) -> int:
    """Do the work of a command and return its exit code.

    It is 0, that of a `UserError`, whose message goes to stderr, 1 where memory runs out or a file can't be read or
    written, and 141 where nobody reads the output any more.

    Until it is done, SIGINT ends the process at once with one line and the code 130. Training handles signals itself.
    """
    before = _on_interrupt(end)
    try:
        work()
        sys.stdout.flush()
    except Elsewhere as error:
        return _failed(str(error), error.exit_code) if str(error) else error.exit_code
    except UserError as error:
        return _failed(str(error), error.exit_code)
    except KeyboardInterrupt:  # in a thread other than the main one
        return _failed("interrupted", 130)
    except UnicodeEncodeError as error:
        character = ascii(error.object[error.start])
        return _failed(f"{error.encoding} has no {character}; set PYTHONIOENCODING=utf-8 for the output")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        return 141
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        return _failed(f"{place}{error.strerror}; check the path, its permissions and the disk")
    except (MemoryError, RuntimeError) as error:
        if (message := memory_error(error)) is None:
            raise
        return _failed(message)
    finally:
        _on_interrupt(before)
    return 0


def _failed(message: str, code: int = 1) -> int:
    print(f"error: {shown(message)}", file=sys.stderr)
    return code


def _on_interrupt(handler: Any) -> Any:
    """Set what SIGINT does, and return what it did before; a thread other than the main one can't set it."""
    with suppress(ValueError, TypeError):
        return signal.signal(signal.SIGINT, handler)
    return None
