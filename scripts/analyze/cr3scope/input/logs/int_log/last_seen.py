"""What the guest was doing where the log tells of it for the last time."""

from __future__ import annotations

import re

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.int_log.boots import RESET
from cr3scope.input.logs.int_log.record import MAX_RECORD
from cr3scope.input.logs.logfile import LogFile
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.x86.exceptions import FIRST_INTERRUPT

CR3_UPDATE = b"CR3 update: CR3="  # of `-d mmu`
_FLAGS = re.compile(
    rb"([RE])IP=([0-9a-f]{8,16}) [RE]FL=([0-9a-f]{8}) [^\n]{0,64}CPL=([0-3]) [^\n]{0,64}HLT=([01])"
)
_CR3 = re.compile(rb"CR0=([0-9a-f]{8,16}) CR2=[0-9a-f]{8,16} CR3=([0-9a-f]{8,16})\s")
_WHOSE = re.compile(
    rb"(Servicing hardware INT=0x[0-9a-f]{2}\s{1,40})?\b(\d{1,12}): v=([0-9a-f]{2}) (?:e=[0-9a-f]{4,8} i=(1))?"
    rb"|CPU Reset \(CPU (\d{1,5})\)|(SMM: enter)|(SMM: after RSM)"
)
_UPDATE = re.compile(CR3_UPDATE + rb"([0-9a-f]{8,16})")
_PROTECTED = 1  # of CR0
_START = (0, 0xFFF0)  # IP of a CPU that has not run yet
_TRIES = 64


@dataclass(frozen=True, slots=True)
class LastDump:
    """One register dump; ``whose``: what made QEMU write it. ``is_protected`` and ``cr3`` are None where it does not tell."""

    whose: Message
    is_64: bool
    ip: int
    flags: int
    cpl: int
    halted: bool
    is_protected: bool | None
    cr3: int | None


def last_seen(log: LogFile) -> tuple[str | Message, int | None]:
    """Return what to say of the last register dump, and its RIP; nothing if the log holds no register dump."""
    end = log.size
    for _ in range(_TRIES):
        place = log.rfind(b" HLT=", 0, end)
        if place < 0:
            break
        dump = dump_around(log, place)
        if dump is not None:
            return _with_later(dump, log, place), dump.ip
        end = place
    return "", None


def restart(log: LogFile) -> LastDump | None:
    """Return the last reset of the first CPU that had been running, None if there is none.

    QEMU's own resets, at the start, come before.
    """
    end = log.size
    for _ in range(_TRIES):
        end = log.rfind(RESET, 0, end)
        dump = dump_around(log, end + len(RESET)) if end >= 0 else None
        if end < 0 or (dump is not None and dump.ip not in _START):
            return dump
    return None


def dump_around(log: LogFile, place: int) -> LastDump | None:
    """Return the dump that ``place`` is in, or right before; None if there is none."""
    start = max(place - MAX_RECORD, 0)
    data = log.read(start, 2 * MAX_RECORD)
    flags = _FLAGS.search(data, max(place - start - 128, 0), place - start + 1024)
    if flags is None:
        return None
    following = _WHOSE.search(data, flags.end())
    control = _CR3.search(data, flags.end(), following.start() if following else len(data))
    return LastDump(
        whose=_whose(data[: flags.start()]),
        is_64=flags[1] == b"R",
        ip=int(flags[2], 16),
        flags=int(flags[3], 16),
        cpl=int(flags[4]),
        halted=flags[5] == b"1",
        is_protected=bool(int(control[1], 16) & _PROTECTED) if control else None,
        cr3=int(control[2], 16) if control else None,
    )


def _whose(before: bytes) -> Message:
    """The last header before the dump."""
    match = None
    for match in _WHOSE.finditer(before):
        pass
    if match is None:
        return Message("the CPU")
    if match[2]:
        vector = int(match[3], 16)
        number = int(match[2])
        if match[4] and vector < FIRST_INTERRUPT:
            return message("INT {vector} (record {number})", vector=vector, number=number)
        if match[1] or vector >= FIRST_INTERRUPT:
            return message("interrupt {vector} (record {number})", vector=Hex(vector), number=number)
        return message("{vector} (record {number})", vector=Vector(vector), number=number)
    if match[5]:
        return message("reset of CPU {number}", number=int(match[5]))
    return Message("entry to SMM" if match[6] else "return from SMM")


def _with_later(dump: LastDump, log: LogFile, place: int) -> Message:
    """A dump, and what ``-d mmu`` tells of the time after it."""
    at = log.rfind(CR3_UPDATE, place)
    match = _UPDATE.match(log.read(at, 64)) if at >= 0 else None
    if match is None:
        return message("{dump}", dump=dump)
    then = "{dump}; then CR3={cr3} was loaded (byte {at}), and no record follows"
    return message(then, dump=dump, cr3=Hex(int(match[1], 16)), at=at)
