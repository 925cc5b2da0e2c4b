"""One line on a terminal that says how a run is getting on; nothing where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.text import printable

if TYPE_CHECKING:
    from rich.live import Live

AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What has come so far. ``last_line``: of the serial port, raw."""

    seconds: float
    log_bytes: int
    records: int
    serial_bytes: int
    last_line: bytes


class Progress:
    """Shows figures from the first second on; ``close`` takes the line away again."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._wanted = sys.stderr.isatty()

    def show(self, figures: Figures) -> None:
        """Draw the line anew; no more once the terminal is gone."""
        if not self._wanted or figures.seconds < AFTER_SECONDS:
            return
        try:
            self._draw(figures)
        except OSError:
            self._wanted = False

    def _draw(self, figures: Figures) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False,
                              redirect_stdout=False, redirect_stderr=False)  # fmt: skip
            self._live.start()
        line = Text(words(figures), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)

    def close(self) -> None:
        """Remove the line."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError):
                live.stop()


def words(figures: Figures) -> str:
    """Return the line, with nothing of the guest's that could steer a terminal."""
    last = printable(figures.last_line.decode(errors="replace").strip())
    said = f", last: {last}" if last else ""
    return (
        f"{figures.seconds:.0f} s, log {figures.log_bytes >> 10} KiB ({figures.records} records),"
        f" serial {figures.serial_bytes} bytes{said}"
    )
