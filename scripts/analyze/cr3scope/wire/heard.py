"""What was heard of one boot, and why it counts as over."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from cr3scope.dataclass import dataclass


class End(Enum):
    """Why what came so far is judged. The words continue "the console: "."""

    SAID_ALL = "the machine has said all it will say"
    BEGAN_AGAIN = "the machine began to boot again"
    SILENT = "the machine fell silent"
    CLOSED = "the console ended"
    TIMEOUT = "the time was up"
    INTERRUPTED = "interrupted"

    @property
    def code(self) -> str:
        """Return it as one word for programs, as ``began-again``."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Heard:
    """``text``: bounded, with a line where bytes were left out; ``total``: bytes, those included. ``seconds``: from its first byte to its last.

    ``quiet``: seconds since then. ``panic``: why a kernel gave up, in its own words; None if none did. ``lost``: of what is
    known to be missing. ``remarks``: what else is to be known, each a line.
    """

    number: int
    path: Path
    text: bytes
    total: int
    seconds: float
    quiet: float
    end: End
    panic: str | None = None
    lost: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
