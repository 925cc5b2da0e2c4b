"""The records of QEMU's ``-d int`` log, versions 4 to 10 (its target/i386/tcg/seg_helper.c).

A record is its ``N: v=..`` line, the register dump that follows, and the one line before, which
tells an exception (``check_exception old: .. new ..``) from a hardware interrupt (``Servicing
hardware INT=``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.int_log.marker import MARKER
from cr3scope.input.logs.logfile import LogFile
from cr3scope.x86.access import Fault
from cr3scope.x86.exceptions import DOUBLE_FAULT, FIRST_INTERRUPT, makes_double_fault

_NMI = 2
RECORD = b": v="  # in the first line of each, and nowhere else
MAX_RECORD = 8192  # a dump with every optional register group is half as long
_BETWEEN = 6144  # the records of two other CPUs

_HEADER = re.compile(
    rb"(\d{1,12}): v=([0-9a-f]{2}) e=([0-9a-f]{4,8}) i=([01]) cpl=([0-3])"
    rb" IP=([0-9a-f]{4}):([0-9a-f]{8,16}) pc=[0-9a-f]{8,16}"
    rb" SP=([0-9a-f]{4}):([0-9a-f]{8,16})"
    rb"(?: CR2=([0-9a-f]{8,16}))?"
)
_BEFORE_NUMBER = re.compile(rb"\D*")
_LONGEST_NUMBER = 12  # digits
_BY_INSTRUCTION = b"1"
_CHECK = re.compile(rb"check_exception old: 0x([0-9a-f]{1,8}) new 0x([0-9a-f]{1,2})\s*$")
_ELSE = re.compile(
    rb"check_exception|Servicing |CPU Reset|SMM: |Triple fault|" + re.escape(MARKER)
)
_CONTROL = re.compile(rb"CR0=[0-9a-f]{8,16} CR2=([0-9a-f]{8,16}) CR3=([0-9a-f]{8,16})\s")
_TABLE = re.compile(rb"\b([GI])DT= +([0-9a-f]{8,16}) ([0-9a-f]{8})")
_SEGMENT = re.compile(rb"\b(TR|GS) =[0-9a-f]{4} ([0-9a-f]{8,16}) ")


def read_records(data: bytes, base: int = 0) -> Iterator[InterruptRecord]:
    """Yield the records that start in ``data``, a part of a log from offset ``base`` on."""
    header = _HEADER.search(data)
    while header is not None:
        following = _HEADER.search(data, header.end())
        end = following.start() if following else len(data)
        yield _record(data, header, min(end, header.end() + MAX_RECORD), base)
        header = following


def read_kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """Yield the place of each record that begins in ``start``..``end`` (excluded), and whether it is an exception.

    Many times as quick as :func:`read_records`, since no register dump is looked at.
    """
    sign = data.find(RECORD, start)
    while sign >= 0:
        place = _BEFORE_NUMBER.match(data, max(data.rfind(b"\n", 0, sign) + 1, sign - _LONGEST_NUMBER))
        header = _HEADER.match(data, place.end()) if place else None
        if header is not None and start <= header.start() < end:
            yield header.start(), _is_exception(header, _announced(data, header))
        elif header is not None and header.start() >= end:
            return
        sign = data.find(RECORD, sign + len(RECORD))


def dump_at(log: LogFile, fault: Fault) -> str:
    """Return the register dump of an exception's record; empty if the log does not hold it."""
    if fault.offset is None:
        return ""
    data = log.read(fault.offset, MAX_RECORD)
    header = _HEADER.match(data)
    if header is None:
        return ""
    following = _HEADER.search(data, header.end())
    end = following.start() if following else len(data)
    other = _ELSE.search(data, header.end(), end)
    return data[header.end() : other.start() if other else end].decode("ascii", "replace")


def _record(data: bytes, header: re.Match[bytes], end: int, base: int) -> InterruptRecord:
    vector = int(header[2], 16)
    before = _announced(data, header)
    check = _CHECK.search(before)
    intruder = _ELSE.search(data, header.end(), end)
    if intruder:
        end = intruder.start()
    control = _CONTROL.search(data, header.end(), end)
    dumped = _TABLE.finditer(data, header.end(), end)
    tables = {match[1]: (int(match[2], 16), int(match[3], 16)) for match in dumped}
    bases = {m[1]: int(m[2], 16) for m in _SEGMENT.finditer(data, header.end(), end)}
    cr2 = header[10] or (control[1] if control else None)
    return InterruptRecord(
        offset=base + header.start(),
        number=int(header[1]),
        vector=vector,
        error_code=int(header[3], 16),
        rip=int(header[7], 16),
        rsp=int(header[9], 16),
        cr2=int(cr2, 16) if cr2 else None,
        cr3=int(control[2], 16) if control else None,
        idt_base=tables[b"I"][0] if b"I" in tables else None,
        gdt=tables.get(b"G"),
        old=int(check[1], 16) if check else None,
        is_exception=_is_exception(header, before),
        is_software=header[4] == _BY_INSTRUCTION,
        task=bases.get(b"TR"),
        gs_base=bases.get(b"GS"),
    )


def _is_exception(header: re.Match[bytes], before: bytes) -> bool:
    """Whether a record is of an exception: not of an INT instruction (``i=1``), nor of hardware (``before``)."""
    vector = int(header[2], 16)
    by_hardware = b"Servicing " in before or vector == _NMI
    return vector < FIRST_INTERRUPT and not by_hardware and header[4] != _BY_INSTRUCTION


def _announced(data: bytes, header: re.Match[bytes]) -> bytes:
    """The line that tells of what kind a record is."""
    vector = int(header[2], 16)
    if header[4] != _BY_INSTRUCTION and vector < FIRST_INTERRUPT:
        return _announcement(data, header.start(), vector)
    return _line_before(data, header.start())


def _announcement(data: bytes, place: int, vector: int) -> bytes:
    """The line that announces the record at ``place``: the one before it, unless another CPU wrote in between."""
    line = _line_before(data, place)
    if _announces(line, vector):
        return line
    others = data[max(place - _BETWEEN, 0) : place].split(b"\n")
    announcing = (each for each in reversed(others) if b"check_exception" in each)
    return next((each for each in announcing if _announces(each, vector)), line)


def _announces(line: bytes, vector: int) -> bool:
    check = _CHECK.search(line)
    if check is None:
        return b"Servicing " in line and b"=0x%02x" % vector in line
    old, new = int(check[1], 16), int(check[2], 16)
    return vector == (DOUBLE_FAULT if makes_double_fault(old, new) else new)


def _line_before(data: bytes, place: int) -> bytes:
    """The line before the one in which ``place`` is, cut to what matters."""
    start = data.rfind(b"\n", max(place - 256, 0), place)
    if start < 0:
        return b""
    return data[max(data.rfind(b"\n", max(start - 256, 0), start) + 1, start - 256) : start]
