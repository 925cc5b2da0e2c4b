"""Whether the code that the CPU executed is that of the file which it was loaded from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.file_code import Piece
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.message import Hex, Message, Span, message
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.text import printable
from cr3scope.x86.entry import PAGE_BYTES

_REACH = 1 << 16  # bytes to each side of RIP that are compared
_SHORTEST = 2  # bytes of an instruction
_GAP = 64  # bytes that are the same by chance, within what was overwritten or between it and RIP
_FILLED = 0.9  # share of one byte in what was filled with it; strayed code may have written since
_PATCH = 32  # bytes: no more is what a kernel patches of its own code at one place
_RUN, _RUN_KINDS = 24, 12  # bytes of code, and how many different ones among them, that nothing else holds by chance
_STEP = 8  # bytes from one run that is searched to the next
_MOST_SEARCHED = 4096  # bytes of what differs
_OTHER_FILE = 0.9  # share of the bytes that differ where something else lies


def overwritten_code(snapshot: StoppedCpu, rip: int, pieces: Sequence[Piece]) -> Finding | None:
    """Return the finding that the code at RIP is not its file's; None if RIP is in no file's code, or the bytes
    there are the file's.

    What differs elsewhere, or before RIP in few bytes only, says nothing: kernels patch their own code. A warning if the file has there
    what lies elsewhere in it: it may be of another build than the guest has loaded.
    QmpError if QEMU stops answering.
    """
    piece = next((each for each in pieces if each.holds(rip)), None)
    if piece is None:
        return None
    first = max(piece.start, rip - _REACH)
    while first < rip and not snapshot.bytes_at(first, 1):
        first = min(rip, (first | PAGE_BYTES - 1) + 1)
    expected = piece.code[first - piece.start : rip + _REACH - piece.start]
    memory = snapshot.bytes_at(first, len(expected))
    at = rip - first
    if len(memory) <= at:
        return None
    held = np.frombuffer(memory, dtype=np.uint8)
    differs = held != np.frombuffer(expected, dtype=np.uint8)[: len(held)]
    extent = _extent(np.flatnonzero(differs), at)
    if extent is None:
        return None
    name = printable(piece.path.name)
    if differs.mean() >= _OTHER_FILE:
        return BY_ID["code-overwritten"].finding(
            message("what lies at RIP={rip} is not {file} at all", rip=Hex(rip), file=name),
            message("{differing} of {compared} bytes around RIP differ from the file: it was copied elsewhere or never,"
                    " or it is of another build", differing=int(differs.sum()), compared=len(held)),
        )
    low, high = extent
    moved = _moved(memory[low : high + 1], expected, low)
    if moved is not None:
        place, origin = moved
        return BY_ID["code-overwritten"].finding(
            message("what lies at {place}, by RIP={rip}, is what {file} has at {origin}: that is of another build, or it was copied wrongly",
                    place=Hex(first + place), rip=Hex(rip), file=name, origin=Hex(first + origin)),
            message("memory at {place}: {memory}", place=Hex(first + place), memory=memory[place : place + _RUN]),
            severity=Severity.WARNING,
            fix="Give the very file that the guest has loaded. If it is that, compare the loader's destination with the program headers.",
        )  # fmt: skip
    where = Message("at" if high >= at else "right before")
    filling = int(np.bincount(held[low : high + 1]).argmax())
    is_filled = (held[low : high + 1] == filling).mean() >= _FILLED
    what = message("with bytes {filling:02x}h", filling=Hex(filling)) if is_filled else Message("with other bytes")
    return BY_ID["code-overwritten"].finding(
        message("{file} was overwritten {where} RIP={rip}, {what}", file=name, where=where, rip=Hex(rip), what=what),
        message("{differs} differs from the file", differs=Span(first + low, first + high)),
        message("memory at RIP: {memory}; in the file: {expected}",
                memory=memory[at : at + 8], expected=expected[at : at + 8]),
    )


def _moved(changed: bytes, expected: bytes, low: int) -> tuple[int, int] | None:
    """Where some of what differs lies, and where the file has the same, both as the file's bytes count; None if it has it nowhere."""
    for at in range(0, min(len(changed), _MOST_SEARCHED) - _RUN + 1, _STEP):
        run, place = changed[at : at + _RUN], low + at
        is_code = len(set(run)) >= _RUN_KINDS and run != expected[place : place + _RUN]
        origin = expected.find(run) if is_code else -1
        if origin >= 0:
            return place, origin
    return None


def _extent(places: Any, at: int) -> tuple[int, int] | None:
    """First and last offset of the changed stretch that holds ``at``, or that is long and right before it.

    None if there is none.
    """
    runs = np.split(places, np.flatnonzero(np.diff(places) > _GAP) + 1)
    for first, last in ((int(run[0]), int(run[-1])) for run in runs if len(run)):
        is_at = first < at + _SHORTEST and last >= at
        if is_at or (at - _GAP <= last < at and last - first >= _PATCH):
            return first, last
    return None
