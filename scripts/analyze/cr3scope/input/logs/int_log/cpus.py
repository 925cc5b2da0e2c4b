"""Which of several CPUs an exception is of, as far as a log tells.

QEMU writes the number of a CPU in `CPU Reset (CPU n)` alone (`-d cpu_reset`); exception records have
none. But a running kernel gives each CPU a task register of its own (the TSS holds its stacks), and
a machine that resets after a triple fault dumps every CPU as it was: one of them as it died (seen with
QEMU 7.2 and 10.0; 11.1 dumps them as they are after the reset). With `-d tid` and a %d in the name (QEMU
7.1 and later) each CPU's thread has a log of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD
from cr3scope.input.logs.logfile import LogPart
from cr3scope.input.logs.log_report import WhichCpu
from cr3scope.input.logs.survival import STACK
from cr3scope.message import Hex, Message, message

_RESETS = b"CPU Reset (CPU "
_RESET = re.compile(rb"CPU Reset \(CPU (\d{1,5})\)")
_AT = re.compile(rb"[RE]SP=([0-9a-f]{8,16})\s.{0,600}?[RE]IP=([0-9a-f]{8,16}) ", re.DOTALL)
_BEGIN = 1 << 20  # every CPU is reset before the firmware starts
_MOST_CPUS = 256
_PAIR = 2  # CPUs; the boot CPU is number 0
_SAME_STACK = 4 << 10
_SEVERAL = (
    "one{of}: the log does not say which ({own}); `-d int,cpu_reset,tid -D int-%d.log` gives each CPU a log of its own"
)


def named(log: LogPart) -> set[int]:
    """Return the CPUs that the log names; none without `-d cpu_reset`."""
    return _named_in(log.whole.read(0, _BEGIN))


def _named_in(begin: bytes) -> set[int]:
    return {int(match[1]) for match in _RESET.finditer(begin)}


def owner(log: LogPart) -> int | None:
    """Return the CPU whose own log this is (`-d tid`), if it is not the first; None of any other log.

    It begins with the CPU's reset. A log that names another CPU later on may tell of an INIT (SDM 3A, 10.4).
    """
    begin = log.whole.read(0, _BEGIN)
    numbers = _named_in(begin)
    if len(numbers) != 1 or numbers == {0}:
        return None
    return numbers.pop() if begin.find(RECORD, 0, begin.find(_RESETS)) < 0 else None


def which(
    log: LogPart,
    dead: InterruptRecord,
    place: int,
    before: Sequence[InterruptRecord],
    others: bool,
) -> WhichCpu:
    """Return which CPU ``dead`` is of; nothing if nothing tells of more than one.

    ``place``: the switch; ``before``: the last records under another CR3; ``others``: there are records of
    other CPUs.
    """
    known = len(named(log))
    only = owner(log) if known == 1 else None
    if only is not None:
        return WhichCpu(message("CPU {number}: the only one that this log names", number=only), only)
    if known <= 1 and not others:
        return WhichCpu()
    of: str | Message = message(" of {known}", known=known) if known else ""
    number = _reset_as(log, dead, max(known, 1))
    if number is not None:
        said = message("CPU {number}{of}: at the reset it had the registers of the last exception", number=number, of=of)
        return WhichCpu(said, number)
    own = _own_registers(dead)
    likely = _stack_owner(log, dead, place)
    if any(_shares_stack(dead, record) for record in before):
        template = "the boot CPU{of}, by its stack: it took the interrupts before the switch ({own})"
        return WhichCpu(message(template, of=of, own=own))
    if likely is not None:
        template = "probably CPU {number}{of}: at its last reset its stack was there ({own})"
        return WhichCpu(message(template, number=likely, of=of, own=own))
    if known == _PAIR and not dead.task and any(record.task and not record.is_exception for record in before):
        template = "probably CPU 1{of}: it has no task register, the CPU that took the interrupts has one ({own})"
        return WhichCpu(message(template, of=of, own=own))
    return WhichCpu(message(_SEVERAL, of=of or " of several", own=own))


def _own_registers(dead: InterruptRecord) -> Message:
    """What sets this CPU apart from others."""
    facts = {"task": dead.task or None, "rsp": dead.rsp, "gs": dead.cpu.gs_base or None}
    shown = {name: Hex(value) for name, value in facts.items() if value is not None}
    parts = {"task": "TR base={task}", "rsp": "RSP={rsp}", "gs": "GS base={gs}"}
    return message(", ".join(words for name, words in parts.items() if name in shown), **shown)


def _shares_stack(one: InterruptRecord, other: InterruptRecord) -> bool:
    if one.task and other.task and one.task != other.task:
        return False  # stacks of two CPUs may be neighbours
    return not other.is_exception and _are_near(one.rsp, other.rsp, STACK)


def _reset_as(log: LogPart, dead: InterruptRecord, known: int) -> int | None:
    """The CPU that the reset after ``dead`` found with its RIP and RSP; None unless it is one."""
    data = log.read(dead.offset, (known + 2) * MAX_RECORD)[: _MOST_CPUS * MAX_RECORD]
    resets = list(_RESET.finditer(data))
    ends = [match.start() for match in resets[1:]] + [len(data)]
    found = set()
    for match, end in zip(resets, ends, strict=False):
        at = _AT.search(data, match.end(), end)
        if at and (int(at[1], 16), int(at[2], 16)) == (dead.rsp, dead.rip):
            found.add(int(match[1]))
    return found.pop() if len(found) == 1 else None


def _stack_owner(log: LogPart, dead: InterruptRecord, end: int) -> int | None:
    """The CPU that had its stack where ``dead`` has it, when it was last reset before ``end``."""
    latest: dict[int, int] = {}
    for _ in range(_MOST_CPUS):
        end = log.rfind(_RESETS, 0, end)
        if end < 0:
            break
        data = log.read(end, MAX_RECORD)
        match, at = _RESET.match(data), _AT.search(data)
        if match and at:
            latest.setdefault(int(match[1]), int(at[1], 16))
    near = [cpu for cpu, rsp in latest.items() if rsp and _are_near(rsp, dead.rsp, _SAME_STACK)]
    return near[0] if len(near) == 1 else None


def _are_near(one: int | None, other: int | None, bytes_: int) -> bool:
    return one is not None and other is not None and abs(one - other) < bytes_
