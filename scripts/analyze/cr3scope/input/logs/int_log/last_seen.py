"""What the guest was doing where the log tells of it for the last time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cr3scope.input.logs.int_log.boots import RESET
from cr3scope.input.logs.int_log.record import MAX_RECORD
from cr3scope.input.logs.logfile import LogFile
from cr3scope.x86.exceptions import FIRST_INTERRUPT, name

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
_INTERRUPTS, _PROTECTED = 1 << 9, 1
_START = (0, 0xFFF0)  # IP of a CPU that has not run yet
_TRIES = 64


@dataclass(frozen=True, slots=True)
class Dump:
    """One register dump; ``whose`` says what made QEMU write it."""

    whose: str
    is_64: bool
    ip: int
    flags: int
    cpl: int
    halted: bool
    cr0: int | None
    cr3: int | None

    def words(self) -> str:
        """Return the dump as ``interrupt 0x20 (record 150) at RIP=0x.., CR3=0x.., 64-bit, CPL 0, interrupts on``."""
        mode = "64-bit" if self.is_64 else "32-bit or 16-bit"
        if self.cr0 is not None and not self.cr0 & _PROTECTED:
            mode = "real mode"
        place = f"{'RIP' if self.is_64 else 'EIP'}={self.ip:#x}"
        root = "" if self.cr3 is None else f", CR3={self.cr3:#x}"
        state = ", halted" if self.halted else ""
        on = "on" if self.flags & _INTERRUPTS else "off"
        return f"{self.whose} at {place}{root}, {mode}, CPL {self.cpl}{state}, interrupts {on}"


def last_seen(log: LogFile) -> tuple[str, int | None]:
    """Return the last register dump in words, and its RIP; nothing if the log holds no register dump."""
    end = log.size
    for _ in range(_TRIES):
        place = log.rfind(b" HLT=", 0, end)
        if place < 0:
            break
        dump = dump_around(log, place)
        if dump is not None:
            return dump.words() + _afterwards(log, place), dump.ip
        end = place
    return "", None


def restart(log: LogFile) -> Dump | None:
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


def dump_around(log: LogFile, place: int) -> Dump | None:
    """Return the dump that ``place`` is in, or right before; None if there is none."""
    start = max(place - MAX_RECORD, 0)
    data = log.read(start, 2 * MAX_RECORD)
    flags = _FLAGS.search(data, max(place - start - 128, 0), place - start + 1024)
    if flags is None:
        return None
    following = _WHOSE.search(data, flags.end())
    control = _CR3.search(data, flags.end(), following.start() if following else len(data))
    return Dump(
        whose=_whose(data[: flags.start()]),
        is_64=flags[1] == b"R",
        ip=int(flags[2], 16),
        flags=int(flags[3], 16),
        cpl=int(flags[4]),
        halted=flags[5] == b"1",
        cr0=int(control[1], 16) if control else None,
        cr3=int(control[2], 16) if control else None,
    )


def _whose(before: bytes) -> str:
    """The last header before the dump."""
    match = None
    for match in _WHOSE.finditer(before):
        pass
    if match is None:
        return "the CPU"
    if match[2]:
        vector = int(match[3], 16)
        kind = f"interrupt {vector:#x}" if match[1] or vector >= FIRST_INTERRUPT else name(vector)
        return f"{f'INT {vector}' if match[4] and vector < FIRST_INTERRUPT else kind} (record {int(match[2])})"
    if match[5]:
        return f"reset of CPU {int(match[5])}"
    return "entry to SMM" if match[6] else "return from SMM"


def _afterwards(log: LogFile, place: int) -> str:
    """What ``-d mmu`` tells of the time after the last dump."""
    at = log.rfind(CR3_UPDATE, place)
    match = _UPDATE.match(log.read(at, 64)) if at >= 0 else None
    if match is None:
        return ""
    return f"; then CR3={int(match[1], 16):#x} was loaded (byte {at}), and no record follows"
