"""The exception screen that edk2 firmware prints on the serial port (CpuExceptionHandlerLib)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import Event, InterruptRecord, RegisterDump
from cr3scope.input.logs.logfile import LogFile
from cr3scope.x86.access import Fault
from cr3scope.x86.exceptions import PAGE_FAULT, WITH_ERROR_CODE, raised_at

SCREEN = b"!!!! X64 Exception Type - "
_HEAD = re.compile(re.escape(SCREEN) + rb"([0-9A-F]{2})\(")
_FIELD = re.compile(rb"\b(ExceptionData|RIP|RSP|CR2|CR3) +- ([0-9A-F]{16})\b")
_APIC = re.compile(rb"CPU Apic ID - ([0-9A-F]{8}) ")
_LONGEST = 4096
_SCREEN_BYTES = 64 << 10


def read_screen(serial: bytes) -> Fault | None:
    """Return the exception of the first screen, None if there is none.

    Further ones may be of the screen's own search.
    """
    head = _HEAD.search(serial)
    if head is None:
        return None
    screen = serial[head.end() : head.end() + _LONGEST].split(b"!!!! X64", 1)[0]
    fields = {match[1]: int(match[2], 16) for match in _FIELD.finditer(screen)}
    vector = int(head[1], 16)
    return Fault(
        vector,
        fields.get(b"ExceptionData") if vector in WITH_ERROR_CODE else None,
        fields.get(b"CR2") if vector == PAGE_FAULT else None,
        raised_at(vector, fields.get(b"RIP")),
        fields.get(b"CR3"),
        fields.get(b"RSP"),
    )


def apic_id(serial: bytes) -> int | None:
    """Return the APIC ID of the CPU whose exception the first screen shows; None if it shows none."""
    head = _HEAD.search(serial)
    match = _APIC.search(serial, head.end(), head.end() + 128) if head else None
    return int(match[1], 16) if match else None


def events_of_screen(log: LogFile, place: int) -> Iterator[Event]:
    """Yield the exception of the first screen of a log, which begins at ``place``."""
    text = log.read(place, _SCREEN_BYTES)
    first = read_screen(text)
    if first is None:
        return
    cpu = RegisterDump(rip=first.rip, rsp=first.rsp, cr2=first.cr2, cr3=first.cr3)
    number = apic_id(text)
    whose = "" if number is None else f"the one with APIC id {number}"
    yield InterruptRecord(place, 0, first.vector, first.error_code, cpu, reported_by="the firmware's screen", whose=whose)
