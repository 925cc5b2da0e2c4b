"""What Xen prints when it panics or crashes a domain: registers, a page walk, the exception (xen/arch/x86/traps.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import Event, Stopped
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.own_report import OwnReport
from cr3scope.input.logs.signs import XEN, XEN_BY, XEN_LINE
from cr3scope.input.logs.pieces import MOST_REPORTS, REPORT_BYTES, regions
from cr3scope.x86.entry import level_index
from cr3scope.x86.exceptions import DOUBLE_FAULT, PAGE_FAULT, PROTECTION

_LEAD = 512  # bytes before a sign
_HEX = rb"([0-9a-f]{16})"
_SHORT = rb"(?:, #?\w{2,12}\[(?P<%b>[0-9a-f]{4})\])?"  # in newer versions
_TOKEN = re.compile(
    rb"(?P<dump>----\[ Xen-)"
    rb"|Pagetable walk from (?P<walk>%(hex)s)|\bL(?P<level>[1-5])\[0x(?P<index>[0-9a-f]{3})\] = (?P<entry>%(hex)s)"
    rb"|FATAL TRAP: vec(?:tor =)? (?P<trap>[0-9]{1,3})(?=[^0-9])%(short)s|(?P<named>FATAL PAGE FAULT|GENERAL PROTECTION FAULT|DOUBLE FAULT --)"
    rb"|Unhandled [^\n\[]{0,80}\[#(?P<guest>[0-9]{1,3}), ec=(?P<guest_error>[0-9a-f]{4})\]"
    rb"|Unhandled: vec (?P<unhandled>[0-9]{1,3})(?=[^0-9])%(other)s"
    rb"|\[error_code=(?P<error>[0-9a-f]{4})\]|Faulting linear address: (?P<linear>%(hex)s)"
    rb"|\bRIP: {1,6}(?P<cs>[0-9a-f]{4}):\[(?:<|&lt;)(?P<rip>%(hex)s)(?:>|&gt;)\](?: (?P<symbol>[\w.#/]{1,120}\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}))?"
    rb"|\b(?P<register>rsp|cr[0234]): {1,4}(?P<value>%(hex)s)|RFLAGS: (?P<flags>%(hex)s)"
    rb"|Panic on CPU (?P<cpu>[0-9]{1,5}):(?=\r?\n[^\n]{0,40}?%(line)s(?P<words>[^\r\n]{1,160}))?|(?P<end>Reboot in |Manual reset required)"
    rb"|(?P<domain>[Dd]omain [0-9]{1,5}(?: \(vcpu#[0-9]{1,5}\))?) crashed on cpu#(?P<on>[0-9]{1,5})"
    % {b"hex": _HEX, b"line": XEN_LINE, b"short": _SHORT % b"trap_error", b"other": _SHORT % b"unhandled_error"}
)  # fmt: skip
_NAMES = {b"FATAL PAGE FAULT": PAGE_FAULT, b"GENERAL PROTECTION FAULT": PROTECTION, b"DOUBLE FAULT --": DOUBLE_FAULT}


def events_of_xen(log: LogFile) -> Iterator[Event]:
    number, now = 0, None
    for place, token in _tokens(log):
        if now is not None and (place - now.offset > REPORT_BYTES or _begins(token, now)):
            yield from _finished(now, number)
            number, now = number + 1, None
            if number > MOST_REPORTS:
                return
        if now is None:
            now = OwnReport(place, XEN_BY, bits=64)
        _take(now, token)
        if token["domain"] is not None and now.vector is None:
            yield from now.events(number)
            yield Stopped(place, f"Xen crashed {token['domain'].decode('ascii').lower()}", cpu=now.cpu, by_guest=True)
            number, now = number + 1, None
    if now is not None:
        yield from _finished(now, number)


def _finished(now: OwnReport, number: int) -> Iterator[Event]:
    if not now.registers and not now.whose and now.error is None and now.address is None:
        return  # words about Xen
    yield from now.events(number)
    if now.vector is None and now.gave_up:
        yield Stopped(now.offset, f"Xen gave up: {now.gave_up}", cpu=now.cpu, by_guest=True)


def _tokens(log: LogFile) -> Iterator[tuple[int, re.Match[bytes]]]:
    for start, data in regions(log, XEN, _LEAD, REPORT_BYTES):
        yield from ((start + token.start(), token) for token in _TOKEN.finditer(data))


def _begins(token: re.Match[bytes], now: OwnReport) -> bool:
    """Whether another report begins here. A dump comes before the panic, and behind the trap of a domain."""
    if now.is_closed:
        return True
    if token["dump"] is not None:
        return "rip" in now.registers
    if token["guest"] is not None or token["unhandled"] is not None:
        return now.vector is not None or bool(now.registers)
    return False


def _take(now: OwnReport, token: re.Match[bytes]) -> None:
    if token["walk"] is not None:
        if now.address is None:
            now.address = int(token["walk"], 16)
        now.walk.clear()
    elif token["entry"] is not None:
        level, index = int(token["level"]), int(token["index"], 16)
        follows = not now.walk or now.walk[-1][0] == level + 1
        if follows and now.address is not None and index == level_index(now.address, level):
            now.walk.append((level, int(token["entry"], 16)))
    elif token["named"] is not None:
        now.vector = _NAMES[token["named"]]
    elif token["rip"] is not None:
        now.put("rip", int(token["rip"], 16))
        now.put("cs", int(token["cs"], 16))
        if token["symbol"] is not None and not now.has_place:
            now.remarks.append(f"RIP is {token['symbol'].decode('ascii', 'replace')} by Xen's own symbols")
        now.has_place = True
    elif token["register"] is not None:
        now.put(token["register"].decode("ascii"), int(token["value"], 16))
    elif token["flags"] is not None:
        now.put("flags", int(token["flags"], 16))
    elif token["linear"] is not None:
        _settle(now, int(token["linear"], 16))
    elif token["cpu"] is not None or token["on"] is not None:
        now.whose = f"number {int(token['cpu'] or token['on'])}, as Xen counts"
        if token["words"] is not None:
            now.gave_up = token["words"].decode("ascii", "replace").strip()
    elif token["end"] is not None:
        now.is_closed = True
    else:
        _take_trap(now, token)


def _take_trap(now: OwnReport, token: re.Match[bytes]) -> None:
    vector = token["trap"] or token["guest"] or token["unhandled"]
    if vector is not None:
        now.vector = int(vector)
    error = token["guest_error"] or token["trap_error"] or token["unhandled_error"] or token["error"]
    if error is not None:
        now.error = int(error, 16)


def _settle(now: OwnReport, linear: int) -> None:
    """Take the address that the panic names; a walk of another one is not of this fault."""
    if now.address != linear:
        now.walk.clear()
    now.address = linear
