"""What Linux prints of an exception in the kernel: an oops (arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c), or a panic.

Kernels from 2.6 to 6, of 64 and of 32 bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import Event, Stopped
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.own_report import OwnReport
from cr3scope.input.logs.signs import LINUX, LINUX_BY, LINUX_PANIC
from cr3scope.input.logs.pieces import MOST_REPORTS, REPORT_BYTES, regions
from cr3scope.x86.cpu_state import CR4_LA57
from cr3scope.x86.exceptions import (
    ALIGNMENT,
    BREAKPOINT,
    DIVIDE,
    DOUBLE_FAULT,
    INVALID_TSS,
    NOT_PRESENT,
    PAGE_FAULT,
    PROTECTION,
    STACK_FAULT,
    UNDEFINED,
)

_MOST_WORDS = 160

# A number of 8 digits is none that was cut at 16.
_HEX = rb"(?:[0-9a-f]{16}|[0-9a-f]{8}(?=[^0-9a-f]))"
_SHORT = rb"[0-9a-f]{1,16}(?=\s)"
_TOKEN = re.compile(
    rb"(?P<bug>BUG: (?:unable to handle (?:kernel )?(?:page fault|paging request|NULL pointer dereference)"
    rb"|kernel NULL pointer dereference))(?:[ ,]{1,12}(?:for|at|virtual|address:?)){0,4}(?: {1,12}(?P<address>%(hex)s))?"
    rb"|Corrupted page table at address (?P<corrupt>%(short)s)"
    rb"|#PF: error_code\(0x(?P<code>[0-9a-f]{1,8})\)"
    rb"|: (?P<error>[0-9a-f]{4}) \[#[0-9]{1,6}\]"
    rb"|PANIC: early exception (?:0x)?(?P<early>[0-9a-f]{1,2}) (?:IP|rip) (?P<early_cs>[0-9a-f]{1,4}):(?P<early_ip>%(hex)s)"
    rb" error (?P<early_error>[0-9a-f]{1,8}) cr2 (?:0x)?(?P<early_cr2>%(short)s)"
    rb"|PANIC: double fault, error_code: 0x(?P<double>%(short)s)"
    rb"|kernel (?P<check>BUG at [^\s!]{1,120})"
    rb"|\b(?P<ip>[RE]?IP):? {1,3}(?:(?P<cs>[0-9a-f]{4}):)?(?:\[(?:<|&lt;)(?P<place>%(hex)s)(?:>|&gt;)\]|0x(?P<plain>%(short)s)"
    rb"|(?P<symbol>[A-Za-z_][\w.]{0,120}\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}))"
    rb"|\b(?P<sp>[RE]SP): (?:[0-9a-f]{4}:)?(?P<stack>%(hex)s)"
    rb"|\bE?FLAGS: (?P<flags>[0-9a-f]{8})\b|\bCS: {1,3}(?P<segment>[0-9a-f]{4})\b"
    rb"|\bCR(?P<cr>[0234]): (?P<control>%(hex)s)"
    rb"|(?:\b|\*)(?P<table>PGD|P4D|PUD|PMD|PTE|pdpt|pde|pte)(?: =)? (?P<entry>%(short)s)"
    rb"|\bCPU: (?P<cpu>[0-9]{1,5}) (?:PID|UID|Comm)"
    rb"|(?P<end>---\[ end |-{4,16}\[ cut here \])"
    rb"|%(panic)s(?P<panic>[^\r\n]{0,160})"
    % {b"hex": _HEX, b"short": _SHORT, b"panic": re.escape(LINUX_PANIC)}
)  # fmt: skip
# Words before the error code, the last ones first: "Oops: general protection fault: 0000 [#1]".
_NAMES = (
    (b"general protection fault", PROTECTION), (b"double fault", DOUBLE_FAULT), (b"double-fault", DOUBLE_FAULT),
    (b"invalid opcode", UNDEFINED), (b"divide error", DIVIDE), (b"stack segment", STACK_FAULT),
    (b"segment not present", NOT_PRESENT), (b"invalid TSS", INVALID_TSS), (b"alignment check", ALIGNMENT),
    (b"int3", BREAKPOINT), (b"Bad pagetable", PAGE_FAULT), (b"page fault", PAGE_FAULT), (b"Oops", PAGE_FAULT),
)  # fmt: skip
_MADE_UP = (b"kernel stack overflow", b"stack guard page")  # these have no error code of the CPU's
_ADDRESS = re.compile(rb"(probably for non-canonical|maybe for) address (0x[0-9a-f]{1,16})")
_LEVELS = {b"PGD": 5, b"P4D": 4, b"PUD": 3, b"PMD": 2, b"PTE": 1, b"pdpt": 3, b"pde": 2, b"pte": 1}
_TOP, _FOLDED = 5, 4


def events_of_linux(log: LogFile) -> Iterator[Event]:
    number, now = 0, None
    for place, token in _tokens(log):
        if now is not None and place - now.offset > REPORT_BYTES:
            yield from _finished(now, number)
            number, now = number + 1, None
        if number > MOST_REPORTS:
            return
        if _begins(token, now):
            if now is not None:
                yield from _finished(now, number)
                number += 1
            now = OwnReport(place, LINUX_BY)
        if now is not None:
            _take(now, token, log, place)
        elif token["panic"] is not None:
            yield Stopped(place, f"the kernel gave up: {_words(token['panic'])}", by_guest=True)
            number += 1
    if now is not None:
        yield from _finished(now, number)


def _tokens(log: LogFile) -> Iterator[tuple[int, re.Match[bytes]]]:
    for start, data in regions(log, LINUX, _MOST_WORDS, REPORT_BYTES):
        yield from ((start + token.start(), token) for token in _TOKEN.finditer(data))


def _begins(token: re.Match[bytes], now: OwnReport | None) -> bool:
    """Whether another report begins here. What comes of the one exception has its own lines: BUG, then Oops."""
    if token["error"] is not None:
        return now is None or now.is_closed or now.has_code
    if token["bug"] is not None or token["corrupt"] is not None or token["early"] is not None or token["check"] is not None:
        return True
    return token["double"] is not None and (now is None or now.is_closed)


def _take(now: OwnReport, token: re.Match[bytes], log: LogFile, place: int) -> None:
    if token["panic"] is not None:
        now.is_closed = True
        now.remarks.append(f"the kernel panicked after that: {_words(token['panic'])}")
    if now.is_closed:
        return
    if token["end"] is not None:
        now.is_closed = True
    elif token["bug"] is not None:
        now.vector = PAGE_FAULT
        now.address = _number(token["address"])
    elif token["corrupt"] is not None:
        now.vector, now.address = PAGE_FAULT, _number(token["corrupt"])
    elif token["code"] is not None:
        now.error = int(token["code"], 16)
    elif token["error"] is not None:
        _take_die(now, token, log, place)
    elif token["early"] is not None:
        now.vector, now.error = int(token["early"], 16), int(token["early_error"], 16)
        now.put("rip", int(token["early_ip"], 16))
        now.put("cs", int(token["early_cs"], 16))
        now.put("cr2", int(token["early_cr2"], 16))
        now.remarks.append("the kernel had no handlers of its own yet: an early exception")
    elif token["double"] is not None:
        now.vector, now.error = DOUBLE_FAULT, int(token["double"], 16)
    elif token["check"] is not None:
        now.remarks.append(f"the kernel's own check failed: kernel {_words(token['check'])}")
    elif token["table"] is not None:
        _take_entry(now, token["table"], int(token["entry"], 16))
    elif token["cpu"] is not None:
        now.whose = now.whose or f"number {int(token['cpu'])}, as Linux counts"
    else:
        _take_register(now, token)


def _take_die(now: OwnReport, token: re.Match[bytes], log: LogFile, place: int) -> None:
    """The line of die(): its words, the error code, and how many there were."""
    start = max(place - _MOST_WORDS, 0)
    line = log.read(start, place - start).rpartition(b"\n")[2]
    vector = next((vector for name, vector in _NAMES if name in line), None)
    if vector is None:
        if now.vector is None:
            now.is_closed = True
        return
    if now.vector is None:
        now.vector = vector
    if not any(name in line for name in _MADE_UP) and now.error is None:
        now.error = int(token["error"], 16)
    now.has_code = True
    maybe = _ADDRESS.search(line)
    if maybe:
        now.remarks.append(f"the kernel takes the access {_words(maybe[1])} address {_words(maybe[2])}")


def _take_register(now: OwnReport, token: re.Match[bytes]) -> None:
    if token["ip"] is not None:
        if token["ip"] != b"IP":
            now.bits = now.bits or (64 if token["ip"] == b"RIP" else 32)
        if now.has_place:
            return
        rip = _number(token["place"]) if token["place"] else _number(token["plain"])
        if rip is not None:
            now.put("rip", rip)
        elif token["symbol"] is not None:
            words = f"RIP is {_words(token['symbol'])} by the kernel's own symbols"
            if words not in now.remarks:
                now.remarks.append(words)
        if token["cs"] is not None:
            now.put("cs", int(token["cs"], 16))
            now.has_place = True
    elif token["sp"] is not None:
        now.put("rsp", int(token["stack"], 16))
    elif token["flags"] is not None:
        now.put("flags", int(token["flags"], 16))
    elif token["segment"] is not None:
        now.put("cs", int(token["segment"], 16))
    elif token["cr"] is not None:
        now.put(f"cr{int(token['cr'])}", int(token["control"], 16))


def _take_entry(now: OwnReport, table: bytes, entry: int) -> None:
    """An entry of the walk. With four levels the PGD and its only P4D are one and the same."""
    level = _LEVELS[table]
    if now.walk and level >= now.walk[-1][0]:
        return  # of another walk
    now.walk.append((level, entry))


def _finished(now: OwnReport, number: int) -> Iterator[Event]:
    if now.vector is None:
        return
    now.walk = _unfolded(now.walk, now.registers.get("cr4"))
    yield from now.events(number)


def _unfolded(walk: list[tuple[int, int]], cr4: int | None) -> list[tuple[int, int]]:
    """The walk by the levels that the CPU has, as far as they are certain: none may lack, and kernels before 4.12 know no
    P4D."""
    if walk[:1] and walk[0][0] == _TOP and not (cr4 or 0) & CR4_LA57:
        top, below = walk[0][1], walk[1:]
        if below and below[0][0] == _FOLDED:
            if below[0][1] != top:
                return walk if cr4 is None else []
            below = below[1:]
        elif not below and cr4 is None:
            return []
        walk = [(_FOLDED, top), *below]
    whole = all(one[0] == other[0] + 1 for one, other in zip(walk, walk[1:], strict=False))
    return walk if whole else []


def _number(digits: bytes | None) -> int | None:
    return None if digits is None else int(digits, 16)


def _words(text: bytes) -> str:
    return text.decode("ascii", "replace").strip()
