"""Errors that a user can mend. Each message is one line: what is wrong, where, and what to do instead."""


class UserError(Exception):
    """A failure whose cause and remedy the message names; scripts print it without a traceback."""

    exit_code = 1


class ConfigError(UserError):
    """A wrong setting or wrong usage."""

    exit_code = 2


class DataError(UserError):
    """Data that is missing, damaged, or not of the expected form."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or not of the expected form."""


class Diverged(UserError):
    """Training came to a number that is not finite, and was stopped before it reached the weights."""


class Interrupted(UserError):
    """Training was stopped by a signal, after saving."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # what a shell reports of a program that a signal ended
