"""A line on a terminal while work lasts longer than a second; it goes away again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cr3scope.qemu.progress import AFTER_SECONDS
from cr3scope.render.terminal import has_rich
from cr3scope.text import printable

if TYPE_CHECKING:
    from rich.status import Status


@contextmanager
def patience(doing: str, after: float = AFTER_SECONDS) -> Iterator[None]:
    """Show ``doing`` on standard error, if that is a terminal and the work within takes its time.

    Nothing may be printed within.
    """
    if not sys.stderr.isatty() or not has_rich():
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
