"""A line on the terminal for a command that takes longer than a second to say its first word."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cr3scope.qemu.progress import AFTER_SECONDS

_timers: list[threading.Timer] = []


@contextmanager
def patience(name: str) -> Iterator[None]:
    """Tell a person who waits that the command works, within the block or until :func:`said`."""
    if not sys.__stderr__ or not os.isatty(2):
        yield
        return
    words = f"cr3scope {name}: working; Ctrl-C ends it\n".encode()
    # By the descriptor: gdb's own streams are not for other threads.
    timer = threading.Timer(AFTER_SECONDS, os.write, (2, words))
    timer.daemon = True
    _timers.append(timer)
    timer.start()
    try:
        yield
    finally:
        said()


def said() -> None:
    """Stop the wait: something was printed, and nobody wonders any more."""
    while _timers:
        _timers.pop().cancel()
