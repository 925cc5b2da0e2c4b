"""`cr3scope fault`."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope import exceptions
from cr3scope.capture.records import AccessKind
from cr3scope.errors import UnusableInput
from cr3scope.exceptions import PF_FETCH, PF_USER, PF_WRITE
from cr3scope.paging.walk import PageFault, access, walk
from cr3scope.render.walk import as_text
from cr3scope_commands.command import Command, show
from cr3scope_commands.handlers import handlers
from cr3scope_commands.source_line import place
from cr3scope_commands.target import Stop, stop

_QWORD = 8


class FaultCommand(Command):
    """Decode the exception frame at RSP: to be used at the first instruction of a handler.

    cr3scope fault [VECTOR]
    VECTOR says whether an error code was pushed. Without it, it is that of the gate which leads
    to the PC; elsewhere 14, a page fault."""

    name, usage = "fault", "[VECTOR]"

    def run(self, words: list[str]) -> None:
        if len(words) > 1 or not all(word.isdecimal() and int(word) < 256 for word in words):
            raise self.misused()
        now = stop()
        if words:
            show(report(now, int(words[0])))
            return
        vectors = handlers(now, now.delivery_registers).get(now.rip)
        if vectors is None:
            show([f"the PC {now.rip:#x} is no handler's first instruction: taken as a page fault's"])
        show(report(now, vectors[0] if vectors else exceptions.PAGE_FAULT))


def report(now: Stop, vector: int) -> Iterator[str]:
    """The exception in words, its frame, and for a page fault the walk of CR2."""
    rsp = now.registers.get("RSP", 0)
    has_error = vector in exceptions.WITH_ERROR_CODE
    count = 6 if has_error else 5
    frame = now.bytes_at(rsp, count * _QWORD)
    if len(frame) < count * _QWORD:
        raise UnusableInput(f"the frame at RSP {rsp:#x} is not mapped")
    words = [int.from_bytes(frame[i : i + _QWORD], "little") for i in range(0, len(frame), _QWORD)]
    error = words.pop(0) if has_error else None
    rip, cs, flags, old_rsp, ss = words
    cr2 = now.registers.get("CR2", 0)
    is_page_fault = vector == exceptions.PAGE_FAULT
    suffix = f", CR2={cr2:#x}" if is_page_fault else ""
    yield f"{exceptions.describe(vector, error)}{suffix}"
    yield f"frame: RIP={rip:#x} CS={cs:#x} RFLAGS={flags:#x} RSP={old_rsp:#x} SS={ss:#x}"
    where = place(rip)
    if where:
        yield f"raised{where}"
    if is_page_fault and error is not None:
        kind = AccessKind.READ
        if error & PF_FETCH:
            kind = AccessKind.FETCH
        elif error & PF_WRITE:
            kind = AccessKind.WRITE
        is_user = bool(error & PF_USER)
        path = walk(now, now.cpu, cr2, now.platform)
        found = access(now, now.cpu, cr2, kind, is_user, platform=now.platform)
        if not isinstance(found, PageFault):
            yield "CR2 is mapped now: it is of another fault, or the tables were changed since"
        mode = "user" if is_user else "supervisor"
        yield from as_text(path, found, f"a {mode} {kind.value}")
