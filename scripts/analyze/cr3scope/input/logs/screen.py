"""The exception screen that edk2 firmware prints on the serial port (CpuExceptionHandlerLib), of X64 and of IA32."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.panic import LONGEST_LEAD, stands_first
from cr3scope.input.logs.pieces import MOST_REPORTS, places
from cr3scope.input.logs.signs import SCREEN_BY, SCREENS
from cr3scope.x86.access import Fault
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.exceptions import WITH_ERROR_CODE, raised_at

SCREEN = re.compile(b"|".join(map(re.escape, SCREENS)))
SCREEN_ENDS = re.compile(rb"!!!! (?:Find image based on IP|Can't find image information)[^\n]{0,1000}\n")
LONGEST = 4096  # bytes of one

# Older firmware gives the vector 8 or 16 digits and no name.
_HEAD = re.compile(rb"!!!! (X64|IA32) Exception Type - (?:0{6}|0{14})?([0-9A-F]{2})[( ]")
_NAME = rb"\b(ExceptionData|CR[0-8]|[ER][A-Z]{2}|R[89]|R1[0-5]|[ER]FLAGS|CS) +- "
_TABLE = rb"\b(GDTR|IDTR) +- "
_APIC = re.compile(rb"CPU Apic ID - ([0-9A-F]{8})\b")


class _Width(NamedTuple):
    """How wide the registers of a screen are, so that a number that is cut is none."""

    bits: int
    letter: bytes  # of RIP or EIP
    field: re.Pattern[bytes]
    table: re.Pattern[bytes]


def _width(bits: int, letter: bytes) -> _Width:
    number = rb"([0-9A-F]{%d})" % (bits // 4)
    limit = number if bits == 64 else rb"([0-9A-F]{8})"
    return _Width(bits, letter, re.compile(_NAME + number + rb"\b"), re.compile(_TABLE + number + rb" " + limit + rb"\b"))


_WIDTHS = {b"X64": _width(64, b"R"), b"IA32": _width(32, b"E")}


def read_screens(text: bytes, base: int = 0) -> Iterator[InterruptRecord]:
    """Yield the exception of each screen in a part of a log from offset ``base`` on, as far as it is there."""
    head = _HEAD.search(text)
    while head is not None:
        following = SCREEN.search(text, head.end())
        end = min(head.end() + LONGEST, following.start() if following else len(text))
        record = _record(head, text[head.end() : end])
        yield replace(record, offset=base + head.start())
        head = _HEAD.search(text, end)


def read_screen(serial: bytes) -> Fault | None:
    """Return the exception of the first screen, None if there is none.

    Further ones may be of the screen's own search.
    """
    first = next(read_screens(serial), None)
    return None if first is None else first.fault


def has_screen(log: LogFile) -> bool:
    """Return whether a console's text holds a screen: at the beginning of a line, or with its registers."""
    quoted = 0
    for place in places(log, SCREENS):
        first = max(place - LONGEST_LEAD - 1, 0)
        text = log.read(first, place - first + LONGEST)
        head = _HEAD.match(text, place - first)
        if head is None:
            continue
        if stands_first(text, head.start(), begins_line=not first) or _record(head, text[head.end() :]).is_whole:
            return True
        quoted += 1
        if quoted == MOST_REPORTS:
            break
    return False


def _record(head: re.Match[bytes], screen: bytes) -> InterruptRecord:
    width = _WIDTHS[head[1]]
    fields: dict[bytes, int] = {}
    for match in width.field.finditer(screen):
        fields.setdefault(match[1], int(match[2], 16))
    tables = {match[1]: (int(match[2], 16), int(match[3], 16)) for match in width.table.finditer(screen)}
    vector, selector = int(head[2], 16), fields.get(b"CS")
    apic = _APIC.search(screen)
    cpu = RegisterDump(
        rip=raised_at(vector, fields.get(width.letter + b"IP")), rsp=fields.get(width.letter + b"SP"),
        flags=fields.get(width.letter + b"FLAGS"),
        cpl=None if selector is None else selector & RPL, cs=selector, code_bits=width.bits,
        cr0=fields.get(b"CR0"), cr2=fields.get(b"CR2"), cr3=fields.get(b"CR3"), cr4=fields.get(b"CR4"),
        gdt=tables.get(b"GDTR"), idt=tables.get(b"IDTR"),
        general={name.decode(): value for name, value in fields.items() if name[:1] in b"RE" and len(name) < 7},
    )  # fmt: skip
    return InterruptRecord(
        0, 0, vector, fields.get(b"ExceptionData") if vector in WITH_ERROR_CODE else None, cpu,
        is_whole=cpu.rip is not None, reported_by=SCREEN_BY,
        whose=f"the one with APIC id {int(apic[1], 16)}" if apic else "",
    )  # fmt: skip
