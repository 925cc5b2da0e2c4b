"""How long `report.html` takes once the verdict is there, and how large it is: processor time in s, and bytes.

report_page.py CAPTURE: of that boot, with interrupts.log beside it; report_page.py: of a million pages in no order.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import million_pages
import numpy as np

from cr3scope.cli.analyze import judge
from cr3scope.input.capture.file import read_capture_file
from cr3scope.paging.tables import Entries
from cr3scope.render import html
from cr3scope.verdict.picture import Picture, Space
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.cpu_state import CpuState

BASE = 1 << 28
PAGE_BYTES = 4096


class _Million:
    """The tables of a million pages."""

    def __init__(self) -> None:
        self._made = million_pages.tables(BASE)

    def table(self, phys: int) -> Entries | None:
        row = (phys - BASE) // PAGE_BYTES
        return self._made[row] if 0 <= row < len(self._made) else None


def million() -> Verdict:
    """Return a verdict whose picture is a million pages in no order."""
    return Verdict(Status.HEALTHY, picture=Picture(Space("as it stands", CpuState(BASE), _Million())))


def main(arguments: list[str]) -> None:
    """Prints one line."""
    if arguments:
        capture = Path(arguments[0])
        verdict = judge(read_capture_file(capture), capture.with_name("interrupts.log"), [])
    else:
        verdict = million()
    html.render(Verdict(Status.HEALTHY, picture=Picture(Space("", CpuState(0), _Empty()))))  # imports and first calls
    begin = time.process_time()
    page = html.render(verdict)
    print(time.process_time() - begin, len(page.encode(errors="backslashreplace")))


class _Empty:
    """One table with nothing in it."""

    def table(self, phys: int) -> Entries | None:
        return np.zeros(512, dtype=np.uint64)


if __name__ == "__main__":
    main(sys.argv[1:])
