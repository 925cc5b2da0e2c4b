"""A device's interrupt that comes in the place of an exception."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.x86.exceptions import NAMES
from cr3scope.x86.mode import PROTECTED

_LINES = 8  # of each of the two PICs
_FIRST, _SECOND = 0x08, 0x70  # their vectors as the BIOS has them


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    record = next((one.record for one in death.events if one.record.kind is Kind.INTERRUPT), None)
    if record is None or record.cpu.is_protected is not True:
        return
    where = message("RIP={rip}, in protected mode", rip=Hex(record.rip)) if record.rip is not None else None
    if _FIRST <= record.vector < _FIRST + _LINES:
        yield RULE.finding(
            message(
                "hardware interrupt {interrupt:02x}h came: the PIC still sends IRQ {irq} to a vector of the CPU's exceptions",
                interrupt=Hex(record.vector), irq=record.vector - _FIRST,
            ),
            *([message("at {where}", where=where)] if where else []), *_exception(record),
        )  # fmt: skip
    elif _SECOND <= record.vector < _SECOND + _LINES:
        yield RULE.finding(
            message("hardware interrupt {interrupt:02x}h came, on the vector that the BIOS gives IRQ {irq}",
                    interrupt=Hex(record.vector), irq=record.vector - _SECOND + _LINES),
            *([message("at {where}", where=where)] if where else []),
            severity=Severity.WARNING,
        )  # fmt: skip


def _exception(record: InterruptRecord) -> Iterator[Message]:
    if record.vector in NAMES:
        yield message("its gate is the one of {exception}", exception=Vector(record.vector))


RULE = Rule(
    id="pic-not-remapped",
    title="the PIC sends interrupts to the CPU's exceptions",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The BIOS maps IRQ 0 to 7 to vectors 08h to 0Fh, and IRQ 8 to 15 to 70h to 77h. In protected mode the former are "
        "exceptions of the CPU: the timer looks like a double fault, without the error code that its handler takes off."
    ),
    shows="`Servicing hardware INT=0x08` before v=08 in protected mode; what follows depends on that gate.",
    fix="Initialise both PICs to vectors from 20h on, or mask all their lines (FFh to ports 21h and A1h), before sti.",
    manual="Intel SDM volume 3A, 7.2 and 7.3.2; Intel 8259A data sheet, ICW2",
    logged=_logged,
)
