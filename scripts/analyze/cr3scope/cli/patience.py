"""What is said while work lasts: on a terminal a line, which goes away again; elsewhere that somebody is waited for."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.streams import say
from cr3scope.qemu.progress import AFTER_SECONDS
from cr3scope.render.terminal import has_rich
from cr3scope.text import printable

if TYPE_CHECKING:
    from rich.status import Status

_WAITED_SECONDS = 10.0  # a log, where nobody looks at once, is no place for what takes a moment


@contextmanager
def patience(doing: str, *sources: str | Path, after: float = AFTER_SECONDS) -> Iterator[None]:
    """Show ``doing`` on standard error, if that is a terminal and the work within takes its time.

    ``sources``: what is read within. Where no line can be shown, it is said once of those that may keep one waiting: pipes, terminals.
    Nothing may be printed within.
    """
    if not sys.stderr.isatty() or not has_rich():
        with _waiting([str(source) for source in sources if _is_waited_for(source)]):
            yield
        return
    line = _Line(doing)
    timer = threading.Timer(after, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        line.hide()


@contextmanager
def _waiting(names: list[str]) -> Iterator[None]:
    timer = threading.Timer(_WAITED_SECONDS, lambda: say(f"cr3scope: {printable(' and '.join(names))}: read until the other end is closed (Ctrl-C ends)"))
    timer.daemon = True
    if names:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_waited_for(source: str | Path) -> bool:
    try:
        about = os.stat(source)
    except (OSError, ValueError):  # whoever reads it says why it cannot be
        return False
    return not stat.S_ISDIR(about.st_mode) and (not stat.S_ISREG(about.st_mode) or not about.st_size)  # of /proc has no size


class _Line:
    """Shown by the timer's thread, unless the work was done just before."""

    def __init__(self, doing: str) -> None:
        self._doing = printable(doing)
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._is_over = False

    def show(self) -> None:
        from rich.console import Console
        from rich.markup import escape

        with self._lock:
            if not self._is_over:
                self._status = Console(stderr=True).status(escape(self._doing))
                self._status.start()

    def hide(self) -> None:
        with self._lock:
            self._is_over = True
            if self._status is not None:
                self._status.stop()
