"""The register dumps that QEMU writes, and what each one was written for: the header before it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.event import NO_DUMP, RegisterDump
from cr3scope.input.logs.signs import FATAL, TRYING
from cr3scope.input.logs.int_log.record import MAX_RECORD, RECORD, whole_dump

_BEGIN = re.compile(rb"\b[ER]AX=[0-9a-f]{8,16} [ER]BX=")
_HEADER = re.compile(
    rb"(?P<log>" + re.escape(RECORD) + rb"[0-9a-f]{2} |CPU Reset \(CPU |SMM: |Triple fault|Trace \w|IN: )"
    rb"|(?P<kvm>KVM internal error\. Suberror: |KVM: entry failed, hardware error |KVM: unknown exit, hardware reason "
    rb"|error: kvm run failed )"
    rb"|(?P<fatal>" + FATAL + rb"|" + TRYING + rb")"
    rb"|(?P<monitor>info registers|CPU#\d{1,4}\b)"
)
_REACH = 2 << 10  # from a header to its dump: QEMU explains a failed entry in ten lines


@dataclass(frozen=True, slots=True)
class QemuDump:
    """One dump in a text: ``start``..``end``.

    ``kind`` is ``log``, ``kvm``, ``fatal`` or ``monitor``; empty if no header stands before it. ``header``: its place.
    """

    start: int
    end: int
    kind: str = ""
    header: int = -1


def dumps_in(data: bytes) -> Iterator[QemuDump]:
    """Yield the register dumps of a text, in their order."""
    free = 0  # what is before belongs to other dumps
    begin = _BEGIN.search(data)
    while begin is not None:
        following = _BEGIN.search(data, begin.end())
        end = min(following.start() if following else len(data), begin.start() + MAX_RECORD)
        other = _HEADER.search(data, begin.end(), end)
        end = other.start() if other else end
        header = None
        for header in _HEADER.finditer(data, max(free, begin.start() - _REACH), begin.start()):
            pass
        kind = (header.lastgroup or "") if header else ""
        yield QemuDump(begin.start(), end, kind, header.start() if header else -1)
        free, begin = end, following


def dump_behind(data: bytes, header: int) -> RegisterDump:
    """Return the registers that the header at ``header`` announces; nothing if another header comes first."""
    part = data[header : header + _REACH + MAX_RECORD]
    first = next(dumps_in(part), None)
    own = _HEADER.search(part)
    if first is None or own is None or first.header != own.start():
        return NO_DUMP
    return whole_dump(part, first.start, first.end)
