"""Detects a storm: the same exception at the same instruction, over and over.

Faults that differ in CR2 are no storm: a loop that touches fresh pages faults so, and each fault is
mended. A storm whose stack pointer falls ends by itself when the stack runs out; one whose stack
pointer stays never does.
"""

from __future__ import annotations

import re

from cr3scope.dataclass import dataclass
from cr3scope.x86.exceptions import FIRST_INTERRUPT

STORM_RECORDS = 5000
_MAX_TRACKED = 8

_HEAD = re.compile(rb"v=([0-9a-f]{2}) e=[0-9a-f]{4,8} i=0 cpl=\d IP=[0-9a-f]{4}:([0-9a-f]+) pc=")
_PLACE = b"pc="
_STACK = _PLACE + rb"[0-9a-f]+ SP=[0-9a-f]{4}:([0-9a-f]+)"
_STACK_POINTER, _ADDRESS = re.compile(_STACK), re.compile(_STACK + rb" CR2=([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Storm:
    """``finite``: every exception took more of the stack, so that it will run out."""

    vector: int
    rip: int
    finite: bool


@dataclass(slots=True)
class _Suspect:
    """An exception at an instruction: ``head`` of its records' first lines up to the instruction, and ``tail`` behind the stack pointer."""

    head: bytes
    tail: bytes
    vector: int
    rip: int
    count: int = 0
    lowest: int = 1 << 64
    falls: int = 0

    def add(self, lines: bytes) -> None:
        """Count its records in these lines."""
        place = lines.find(self.head)
        while place >= 0:
            stack = _STACK_POINTER.match(lines, place + len(self.head))
            if stack is None or not lines.startswith(self.tail, stack.end()):
                place = lines.find(self.head, place + 1)
                continue
            self.count += 1
            pointer = int(stack[1], 16)
            if pointer < self.lowest:
                self.lowest = pointer
                self.falls += 1
            place = lines.find(self.head, stack.end())


class StormDetector:
    """Counts over pieces of a log (whole lines)."""

    def __init__(self) -> None:
        self._suspects: dict[tuple[bytes, bytes], _Suspect] = {}

    def feed(self, lines: bytes) -> Storm | None:
        """Count the exceptions of these lines; return the storm, if there is one so far."""
        self._suspect_last(lines)
        for suspect in self._suspects.values():
            suspect.add(lines)
            if suspect.count > STORM_RECORDS:
                return Storm(suspect.vector, suspect.rip, suspect.falls * 2 > suspect.count)
        return None

    def _suspect_last(self, lines: bytes) -> None:
        """The last exception of a piece is the one that a storm would be made of."""
        last = None
        at = lines.rfind(b" i=0 cpl=")
        if at >= 0:
            last = _HEAD.search(lines, max(at - 32, 0))
        if last is None or int(last[1], 16) >= FIRST_INTERRUPT:
            return
        head = last[0].removesuffix(_PLACE)
        address = _ADDRESS.match(lines, last.end() - len(_PLACE))
        key = head, b" CR2=" + address[2] if address else b""
        if key not in self._suspects:
            if len(self._suspects) == _MAX_TRACKED:
                weakest = min(self._suspects, key=lambda other: self._suspects[other].count)
                del self._suspects[weakest]
            self._suspects[key] = _Suspect(*key, int(last[1], 16), int(last[2], 16))
