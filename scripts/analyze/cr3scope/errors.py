"""What may end a command: input that is of no use, and a signal."""

from __future__ import annotations

import signal


class UnusableInput(Exception):
    """Input that cannot be used at all (exit status 2).

    The message is one line that names the thing and the place.
    """


class Ended(BaseException):
    """The command was told to end by a signal. Like KeyboardInterrupt, nobody takes it for an error of an input."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(by.name)
        self.by = by
