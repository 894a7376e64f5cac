"""How every script ends: the right exit code, and one line for what the user can mend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from unroll.errors import UserError


def run(main: Callable[[], None]) -> int:
    """Call `main` and return the exit code: 0; that of a `UserError`, whose message goes to stderr; 1 where a file
    can't be read or written; 130 on SIGINT; 141 when whoever reads the output has gone."""
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except UnicodeEncodeError as error:
        character = ascii(error.object[error.start])
        print(f"error: {error.encoding} has no {character}; set PYTHONIOENCODING=utf-8 for the output", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        return 141
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {place}{error.strerror}; check the path, its permissions and the disk", file=sys.stderr)
        return 1
    return 0
