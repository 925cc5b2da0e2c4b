"""The records of QEMU's ``-d int`` log, versions 4 to 10 (its target/i386/tcg/seg_helper.c).

A record is its ``N: v=..`` line, the register dump that follows, and the one line before, which
tells an exception (``check_exception old: .. new ..``) from a hardware interrupt (``Servicing
hardware INT=``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from cr3scope.input.logs.event import NO_DUMP, NO_EXCEPTION, InterruptRecord, Kind, RegisterDump
from cr3scope.input.logs.int_log.marker import MARKER
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.register_dump import read_registers
from cr3scope.x86.access import Fault
from cr3scope.x86.exceptions import DOUBLE_FAULT, FIRST_INTERRUPT, NMI, makes_double_fault
from cr3scope.x86.word import MASK32

RECORD = b": v="  # in the first line of each, and nowhere else
MAX_RECORD = 8192  # a dump with every optional register group is half as long
_BETWEEN = 6144  # the records of two other CPUs

_GAP = rb"[\s>]{1,40}"  # a paste may be wrapped, and quoted
_HEADER = re.compile(
    rb"(\d{1,12}): v=([0-9a-f]{2})%b" % _GAP + _GAP.join((
        rb"e=([0-9a-f]{4,8})", rb"i=([01])", rb"cpl=([0-3])", rb"IP=([0-9a-f]{4}):([0-9a-f]{8,16})",
        rb"pc=([0-9a-f]{8,16})", rb"SP=([0-9a-f]{4}):([0-9a-f]{8,16})(?=\s)(?:%bCR2=([0-9a-f]{8,16})(?=[^0-9a-f]))?" % _GAP,
    ))
)  # fmt: skip
_NUMBER = re.compile(rb"(?<![0-9])\d+\Z")
LONGEST_NUMBER = 12  # digits
_BY_INSTRUCTION = b"1"
_CHECKS_REACH = 64 << 10
_FIRST_PIC = range(8, 16)  # vectors that the first PIC has at reset
_NO_EXCEPTIONS = (9, 15)  # of no CPU since the 80386 (SDM 3A, table 7-1)
_END_OF_DUMP = re.compile(rb"CCO=|EFER=|XMM\d\d=|DR6=")
_FLOATING = b"FCW="
RESET = b"CPU Reset (CPU "
_MOST_RESETS = 256
_PARTS = 16  # of a log, of a quarter of a megabyte at the most
_REMEMBERED = 512  # dumps, of a kilobyte or two each
_AT_RESET = 0xFFF0  # IP of a CPU that has not run yet
_CHECK = re.compile(rb"check_exception old: 0x([0-9a-f]{1,8}) new 0x([0-9a-f]{1,2})(?![0-9a-f])")
_ELSE = re.compile(
    rb"check_exception|Servicing |CPU Reset|SMM: |Triple fault|" + re.escape(MARKER)
)
_FLAGS = re.compile(rb"[RE]FL=([0-9a-f]{8}) [^\n]{0,64}?HLT=([01])")
_CONTROL = re.compile(_GAP.join(rb"CR%d=([0-9a-f]{8,16})" % each for each in (0, 2, 3, 4)) + rb"\s")
_EFER = re.compile(rb"EFER=([0-9a-f]{16})")
_TABLE = re.compile(rb"\b([GI])DT= +([0-9a-f]{8,16}) ([0-9a-f]{8})")
_SEGMENT = re.compile(rb"\b(TR|GS|CS) =([0-9a-f]{4}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) ")
_WIDE = 16  # digits
_CPL = re.compile(rb"\bCPL=([0-3])\b")
_CODE_BITS = re.compile(rb"\bCS =[^\n]{0,200} CS(64|32|16)\b")


def read_records(data: bytes, base: int = 0) -> Iterator[InterruptRecord]:
    """Yield the records that start in ``data``, a part of a log from offset ``base`` on."""
    return iter(_part(data, base))


@lru_cache(_PARTS)  # what is read for one question is read for the next one, too
def _part(data: bytes, base: int) -> _Part:
    return _Part(data, base)


class _Part:
    """The records that start in a part of a log: each is read when it is first asked for."""

    def __init__(self, data: bytes, base: int) -> None:
        self._data, self._base = data, base
        self._header = _next_header(data, 0)  # of the first one that is not read
        self._read: list[InterruptRecord] = []

    def __iter__(self) -> Iterator[InterruptRecord]:
        for number in itertools.count():
            if number == len(self._read):
                header = self._header
                if header is None:
                    return
                self._header = _next_header(self._data, header.end())
                end = self._header.start() if self._header else len(self._data)
                self._read.append(_record(self._data, header, min(end, header.end() + MAX_RECORD), self._base))
            yield self._read[number]


def _next_header(data: bytes, start: int) -> re.Match[bytes] | None:
    """The first line of the next record; many times as quick as a search for all that it holds."""
    sign = data.find(RECORD, start)
    while sign >= 0:
        number = _NUMBER.search(data, max(sign - LONGEST_NUMBER, start), sign)
        header = _HEADER.match(data, number.start()) if number else None
        if header is not None:
            return header
        sign = data.find(RECORD, sign + len(RECORD))
    return None


def read_kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """Yield the place of each record that begins in ``start``..``end`` (excluded), and whether it is an exception.

    Many times as quick as :func:`read_records`, since no register dump is looked at.
    """
    header = _next_header(data, start)
    while header is not None and header.start() < end:
        yield header.start(), _kind(data, header, _announced(data, header)) is Kind.EXCEPTION
        header = _next_header(data, header.end())


def registers_at(log: LogFile, fault: Fault) -> RegisterDump:
    """Return all registers that an exception's record dumps; none if the log does not hold it."""
    if fault.offset is None:
        return NO_DUMP
    data = log.read(fault.offset, MAX_RECORD)
    header = _HEADER.match(data)
    if header is None:
        return NO_DUMP
    following = _next_header(data, header.end())
    end = following.start() if following else len(data)
    other = _ELSE.search(data, header.end(), end)
    return whole_dump(data, header.end(), other.start() if other else end)


def _record(data: bytes, header: re.Match[bytes], end: int, base: int) -> InterruptRecord:
    before = _announced(data, header)
    return _told(base + header.start(), header[0], before, _kind(data, header, before), data[header.end() : end])


@lru_cache(_REMEMBERED)  # the same records are asked for again and again, with others around them
def _told(offset: int, line: bytes, before: bytes, kind: Kind, dump: bytes) -> InterruptRecord:
    """The record at an offset: its first line, the one that announces it, its kind, and what follows up to the next one."""
    header, check, dumped = _HEADER.match(line + b"\n"), _CHECK.search(before), _dumped(dump)
    assert header is not None
    return InterruptRecord(
        offset=offset,
        number=int(header[1]),
        vector=int(header[2], 16),
        error_code=int(header[3], 16),
        cpu=replace(
            dumped, rip=int(header[7], 16), linear=_linear(int(header[8], 16), dumped.code_bits), rsp=int(header[10], 16), cpl=int(header[5]),
            cs=int(header[6], 16), cr2=int(header[11], 16) if header[11] else dumped.cr2,
        ),
        old=int(check[1], 16) if check else None,
        struck=int(check[2], 16) if check else None,
        kind=kind,
        is_whole=dumped.cr3 is not None,
    )  # fmt: skip


@lru_cache(_REMEMBERED)
def _dumped(text: bytes) -> RegisterDump:
    """What the register dump with which a text begins shows, but for the general registers."""
    intruder = _ELSE.search(text, 1)  # its own first word may be that of a reset
    end = intruder.start() if intruder else len(text)
    rest = text.find(_FLOATING, 0, end)  # of which nothing is wanted, and which is most of it
    text = text[: rest if rest >= 0 else end]
    control, flags, efer = _CONTROL.search(text), _FLAGS.search(text), _EFER.search(text)
    bits, table = _CODE_BITS.search(text), _TABLE.search(text)
    tables = {match[1]: (int(match[2], 16), int(match[3], 16)) for match in _TABLE.finditer(text)}
    segments = {match[1]: match for match in _SEGMENT.finditer(text)}
    task, gs = segments.get(b"TR"), segments.get(b"GS")
    return RegisterDump(
        flags=int(flags[1], 16) if flags else None,
        code_bits=int(bits[1]) if bits else None,
        cr0=int(control[1], 16) if control else None,
        cr2=int(control[2], 16) if control else None,
        cr3=int(control[3], 16) if control else None,
        cr4=int(control[4], 16) if control else None,
        efer=int(efer[1], 16) if efer else None,
        has_wide_tables=len(table[2]) == _WIDE if table else None,
        idt=tables.get(b"I"),
        gdt=tables.get(b"G"),
        task=int(task[3], 16) if task else None,
        task_limit=int(task[4], 16) if task else None,
        gs_base=int(gs[3], 16) if gs else None,
        halted=flags[2] == b"1" if flags else None,
    )


def read_reset(data: bytes, start: int, dead: InterruptRecord | None = None) -> RegisterDump:
    """Return the registers that a reset after ``start`` dumps, as they were before it; those of a CPU that has begun anew
    are none of them. ``dead``: the last record, whose CPU it is of several; without one, the first that has run."""
    place, dumped = data.find(RESET, start), NO_DUMP
    for _ in range(_MOST_RESETS):
        if place < 0:
            break
        following = data.find(RESET, place + len(RESET))
        end = min(following if following >= 0 else len(data), place + MAX_RECORD)
        dumped = whole_dump(data, place, end)
        if dumped is not NO_DUMP and (dead is None or (dumped.rip, dumped.rsp) == (dead.rip, dead.rsp)):
            return dumped
        place = following
    return NO_DUMP


def whole_dump(data: bytes, start: int, end: int) -> RegisterDump:
    """Return what a register dump in ``start``..``end`` shows; nothing of a CPU that has not run yet."""
    general = read_registers(data[start:end].decode("ascii", "replace"))
    rip, rsp = (general.get(f"R{name}", general.get(f"E{name}")) for name in ("IP", "SP"))
    if rip is None or rip == _AT_RESET:
        return NO_DUMP
    dumped = _dumped(data[start:end])
    code = next((match for match in _SEGMENT.finditer(data, start, end) if match[1] == b"CS"), None)
    cpl = _CPL.search(data, start, end)
    base = 0 if dumped.code_bits == 64 else None if code is None else int(code[3], 16)
    return replace(
        dumped, rip=rip, rsp=rsp, general=general, cs=int(code[2], 16) if code else None,
        cpl=int(cpl[1]) if cpl else None, linear=None if base is None else _linear(rip + base, dumped.code_bits),
    )  # fmt: skip


def _linear(place: int, code_bits: int | None) -> int:
    """The linear address that a sum with a segment's base is: QEMU prints all bits of it (SDM 3A, 3.4)."""
    return place & MASK32 if code_bits in (16, 32) else place


def _kind(data: bytes, header: re.Match[bytes], before: bytes) -> Kind:
    """Of what kind a record is; ``before``: the line that announces it."""
    vector = int(header[2], 16)
    if header[4] == _BY_INSTRUCTION:
        return Kind.INT
    if vector >= FIRST_INTERRUPT or b"Servicing " in before or vector == NMI:
        return Kind.INTERRUPT
    if vector in _FIRST_PIC and int(header[3], 16) == 0 and _is_unannounced(data, header, before):
        return Kind.INTERRUPT
    return Kind.EXCEPTION


def may_be_exception(data: bytes, record: InterruptRecord) -> bool:
    """Return whether a record that was taken for an interrupt may be an exception whose announcement is missing.

    ``data``: of the log, with the end of the record before it.
    """
    if record.kind is not Kind.INTERRUPT or record.vector not in _FIRST_PIC or record.vector in _NO_EXCEPTIONS:
        return False
    header = next((each for each in _headers(data) if int(each[1]) == record.number), None)
    return header is not None and b"Servicing " not in _announced(data, header)


def _headers(data: bytes) -> Iterator[re.Match[bytes]]:
    header = _next_header(data, 0)
    while header is not None:
        yield header
        header = _next_header(data, header.end())


def _is_unannounced(data: bytes, header: re.Match[bytes], before: bytes) -> bool:
    """Whether nothing announces a record in a log that does announce exceptions: QEMU before 6 says nothing of interrupts,
    and a PIC that nobody has programmed has them on exceptions' vectors. A #DF is of the record before it."""
    if int(header[2], 16) in _NO_EXCEPTIONS:
        return True
    if int(header[2], 16) == DOUBLE_FAULT and not _CHECK.search(before) and _is_disproved(data, header):
        return True
    of_another = _CHECK.search(before) and int(header[2], 16) == DOUBLE_FAULT and not _announces(before, DOUBLE_FAULT)
    if not of_another and (_CHECK.search(before) or not _END_OF_DUMP.search(before)):
        return False
    if int(header[2], 16) != DOUBLE_FAULT:
        return data.find(b"check_exception", max(header.start() - _CHECKS_REACH, 0), header.end() + _CHECKS_REACH) >= 0
    sign = data.rfind(RECORD, max(header.start() - MAX_RECORD, 0), header.start())
    number = _NUMBER.search(data, max(sign - LONGEST_NUMBER, 0), sign) if sign >= 0 else None
    last = _HEADER.match(data, number.start()) if number else None
    return last is None or last.group(6, 7, 9, 10) != header.group(6, 7, 9, 10)


def _is_disproved(data: bytes, header: re.Match[bytes]) -> bool:
    """Whether what came next in the place of a #DF, which no code returns from, was raised while nothing was delivered."""
    following = _next_header(data, header.end())
    if following is None or following.group(6, 7, 9, 10) != header.group(6, 7, 9, 10):
        return False
    check = _CHECK.search(_announced(data, following))
    return check is not None and int(check[1], 16) == NO_EXCEPTION


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
    of_it = b": v=%02x " % vector
    announcing = (
        each for each, after in zip(reversed(others[:-1]), reversed(others), strict=False)
        if b"check_exception" in each and of_it not in after
    )  # fmt: skip
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
