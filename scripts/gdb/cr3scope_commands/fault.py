"""`cr3scope fault`."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.model.frame import candidates, frame_at_rsp, kind_of
from cr3scope.model.handlers import handlers
from cr3scope.numbers import decimal
from cr3scope.paging.walk import PageFault, access, walk
from cr3scope.render.walk import as_text
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope_commands.command import Command, show
from cr3scope_commands.source_line import place, text_at
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import stop

_LAST_VECTOR = 255


class FaultCommand(Command):
    """Decode the exception frame at RSP: to be used at the first instruction of a handler.

    cr3scope fault [VECTOR]
    VECTOR says whether an error code was pushed. Without it, it is that of the gate which leads
    to the PC; where several gates do, one whose frame fits; elsewhere 14, a page fault."""

    name, usage = "fault", "[VECTOR]"

    def run(self, words: list[str]) -> None:
        named = decimal(words[0], _LAST_VECTOR) if words else None
        if len(words) > 1 or words and named is None:
            raise self.misused()
        now = stop()
        if named is not None:
            show(report(now, named))
            return
        vectors = handlers(now, now.delivery_registers).get(now.rip)
        if vectors is None:
            told = list(report(now, exceptions.PAGE_FAULT))
            show([f"the PC {now.rip:#x} is no handler's first instruction: taken as a page fault's", *told])
            return
        vector, doubt = which(now, vectors, ())
        show([*doubt, *report(now, vector)])


def which(now: StoppedCpu, vectors: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, list[str]]:
    """Return the vector, of those whose gates lead to the PC, and a line if others are as likely.

    Those of ``expected`` come first.
    """
    fitting = candidates(now, vectors) or vectors
    chosen = next((one for one in expected if one in fitting), fitting[0])
    if len(fitting) == 1:
        return chosen, []
    others = ", ".join(exceptions.name(one) for one in fitting if one != chosen)
    return chosen, [f"{exceptions.name(chosen)} shares its handler, and its frame could be that of {others}"]


def report(now: StoppedCpu, vector: int) -> Iterator[str]:
    """Yield the exception in words, its frame, and for a page fault the walk of CR2."""
    frame = frame_at_rsp(now, vector)
    cr2 = now.registers.get("CR2", 0)
    is_page_fault = vector == exceptions.PAGE_FAULT
    suffix = f", CR2={cr2:#x}" if is_page_fault else ""
    kind = kind_of(now, frame)
    yield f"{exceptions.describe(vector, frame.error, kind is AccessKind.FETCH, now.in_long_mode)}{suffix}"
    yield (
        f"frame: RIP={frame.rip:#x} CS={frame.cs:#x} RFLAGS={frame.flags:#x} RSP={frame.rsp:#x}"
        f" SS={frame.ss:#x}"
    )
    where = place(frame.rip)
    if where:
        yield f"raised{where}"
        yield from text_at(frame.rip, "  ")
    if is_page_fault:
        path = walk(now, now.cpu, cr2, now.platform)
        found = access(now, now.cpu, cr2, kind, frame.is_user, platform=now.platform)
        if not isinstance(found, PageFault):
            yield "CR2 is mapped now: it is of another fault, or the tables were changed since"
        mode = "user" if frame.is_user else "supervisor"
        yield from as_text(path, found, f"a {mode} {kind.value}")
