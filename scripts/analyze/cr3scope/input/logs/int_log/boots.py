"""The boots of which a log tells: between two of them the machine was reset."""

from __future__ import annotations

import re
from collections import deque

from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD, read_records
from cr3scope.input.logs.log_report import MOST_BOOTS
from cr3scope.input.logs.logfile import WINDOW, LogFile, LogPart
from cr3scope.input.logs.observe import is_reset_of_firmware

_REACH = 2 << 20  # from the end of the log; what is before is one boot more, and may be several
_MOST_SIGNS = 4096
_LINE = 256
_TASKS_REACH = 64 << 10
_TASK = re.compile(rb"TR =[0-9a-f]{4} ([0-9a-f]{8,16}) ")
_SHORT_GDT = re.compile(rb"GDT= {1,9}[0-9a-f]{8} [0-9a-f]{8}\b")
TRIPLE_FAULT = b"Triple fault"
UNDELIVERED = b"check_exception old: 0x8 "  # an exception that was raised while #DF was delivered
STRUCK = re.compile(re.escape(UNDELIVERED) + rb"new 0x([0-9a-f]{1,2})")
FIRST = b" 0: v="  # the first record of a log: QEMU counts on through a reset
RESET = b"CPU Reset (CPU 0)"
_TRAP = b" v=03 e=0000 i=1 cpl=0 "  # with which SeaBIOS resets a machine that has run before
_ANNOUNCES = (b"check_exception ", b"Servicing ", b"SMM: ")
_HAPPENS = (*_ANNOUNCES, RECORD)


def boots_of(log: LogFile) -> list[LogPart]:
    """Return the parts of a log, in its order, each with the word of its end; the last ones of very many."""
    starts = [0]
    quiet = 0  # nothing has happened between the last start and here
    signs = _signs(log)
    # With -d cpu_reset the machine's reset is in the log: what comes before it is of the boot that died.
    tells_resets = any(sign == RESET for _, sign in signs) or log.find(RESET, 0, WINDOW) >= 0
    for place, sign in signs:
        if place < starts[-1]:
            continue  # of the same reset
        if sign == RESET and _next(log, quiet, place) is None:
            quiet = place  # at the start of all
            continue
        if sign == FIRST and log.find(RECORD, starts[-1], place) < 0:
            continue  # the first one: what comes before it are no records
        if sign == FIRST:
            starts.append(_announced_at(log, place))
            quiet = place + len(sign)
            continue
        if sign == _TRAP:  # where no other line tells of the reset before it
            start = _announced_at(log, place)
            if log.find(RECORD, starts[-1], start) >= 0 and _is_of_firmware(log, start):
                starts.append(start)
                quiet = place + len(sign)
            continue
        following = _next(log, place + len(sign), log.size)  # the registers at a reset are of the boot before it
        if following is None:
            break
        is_reset = log.find(RESET, place, following) >= 0
        if not is_reset and (tells_resets or _is_of_another_cpu(log, starts[-1], place, following)):
            continue  # another CPU, which has not been told yet
        starts.append(following)
        quiet = following
    starts = starts[-MOST_BOOTS:]
    return [LogPart(log, start, end) for start, end in zip(starts, [*starts[1:], log.size], strict=True)]


def _is_of_firmware(log: LogFile, start: int) -> bool:
    """Whether a PC's BIOS executes the instruction whose record comes first behind ``start``."""
    record = next(read_records(log.read(start, 2 * MAX_RECORD), start), None)
    return record is not None and is_reset_of_firmware(record.cpu)


def _announced_at(log: LogFile, place: int) -> int:
    """Where a record begins: with the line that announces it, where there is one."""
    line = log.rfind(b"\n", max(place - _LINE, 0), place) + 1
    before = log.rfind(b"\n", max(line - _LINE, 0), max(line - 1, 0)) + 1
    return before if any(log.find(sign, before, line) >= 0 for sign in _ANNOUNCES) else line


def _is_of_another_cpu(log: LogFile, boot: int, dead: int, place: int) -> bool:
    """Whether the next record is of a CPU that ran beside the one that died at ``dead``, by their task registers: it has
    another one, and had told something since the ``boot``."""
    task = _TASK.search(log.read(place, 2 * MAX_RECORD))
    start = max(dead - _TASKS_REACH, boot)
    before = log.read(start, dead - start)
    if task is None or not int(task[1], 16):
        return False
    gdt = _SHORT_GDT.search(log.read(place, 2 * MAX_RECORD))
    if gdt is not None and before.startswith(gdt[0], before.rfind(b"GDT=")):
        return False  # a CPU switches tasks outside long mode, where bases have 8 digits, and keeps its GDT
    return task[0] in before and not before.startswith(task[0], before.rfind(b"TR ="))


def _signs(log: LogFile) -> list[tuple[int, bytes]]:
    """The last signs of a reset, with their places, in the order of the log; it is read once."""
    found: deque[tuple[int, bytes]] = deque(maxlen=_MOST_SIGNS)
    begin = max(log.size - _REACH, 0)
    for start in range(begin, log.size, WINDOW):
        data = log.read(start, WINDOW + _LINE)
        here: list[tuple[int, bytes]] = []
        for sign in (TRIPLE_FAULT, UNDELIVERED, RESET, FIRST, _TRAP):
            place = data.find(sign)
            while 0 <= place < WINDOW and len(here) < _MOST_SIGNS:
                here.append((start + place, sign))
                place = data.find(sign, place + len(sign))
        found.extend(sorted(here))
    return list(found)


def _next(log: LogFile, start: int, end: int) -> int | None:
    """The line with which the next event begins in ``start``..``end``; None if there is none."""
    nearest = end
    for sign in _HAPPENS:
        found = log.find(sign, start, nearest)
        nearest = found if found >= 0 else nearest
    if nearest == end:
        return None
    before = log.rfind(b"\n", max(nearest - _LINE, start), nearest)
    return nearest if before < 0 else before + 1
