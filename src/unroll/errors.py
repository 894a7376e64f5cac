"""Errors that a user can fix. Each message is one line: what is wrong, where, and what to do instead."""

import re


class UserError(Exception):
    """A failure with its cause and remedy in the message. Commands print it without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """A wrong setting or wrong usage."""

    exit_code = 2


class DataError(UserError):
    """Data that is missing, damaged, or not of the expected form."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or not of the expected form."""


class Diverged(UserError):
    """Training was stopped by a number that is not finite, before it could change the weights."""


class Interrupted(UserError):
    """Training was stopped by a signal, after saving."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # a shell's exit code for a program that a signal ended


class Pruned(UserError):
    """Training was stopped by a sweep, after saving: others of its trials do better."""


class Elsewhere(UserError):
    """Another process of the same run failed, and says why; or it is gone, and rank 0 says so. All others have an empty
    message."""

    def __init__(self, exit_code: int = 1, message: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code


def memory_error(error: Exception) -> str | None:
    """Return the message for an error that says that memory has run out, None for any other error."""
    text = str(error)
    is_one = isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text
    if not is_one:
        return None
    size = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGTP]i?B)", text)
    wanted = "" if size is None else f" (asked for {size[2] or f'{int(size[1]) / 2**30:,.1f} GiB'})"
    return f"memory ran out{wanted}; lower data.batch_size, encoder.hidden_size or the length of the texts"
