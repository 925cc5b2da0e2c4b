"""The accesses that an instruction makes through its memory operands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cr3scope.capture.records import AccessKind
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.predict import decode
from cr3scope.predict.course import Course, Step, Way

_MOST_PAGES = 1 << 13  # that one repeated instruction touches
_DIRECTION = 1 << 10  # RFLAGS.DF
# Instructions whose memory operand is not accessed, or not as data.
_NO_ACCESS = ("lea", "nop", "prefetch", "invlpg", "clflush", "endbr")
_COPIES = ("rep movs", "rep stos", "rep lods")
_TABLES = ("lgdt", "lidt")


def operand_steps(course: Course, one: Any) -> Iterator[Step]:
    """One for each memory operand whose address is known."""
    if one.mnemonic.startswith(_NO_ACCESS):
        return
    for operand, at in _places(course, one):
        width = 2 + course.word if one.mnemonic in _TABLES else operand.size
        for name, kind in _accesses(operand):
            yield course.step(name, at, kind, width, one.address)
            if kind is AccessKind.WRITE:
                is_copy = one.mnemonic == "mov"
                course.memory.store(at, width, course.source(one) if is_copy else None)


def repeated(course: Course, one: Any) -> Way:
    """A string instruction with a count: every page that it comes to. Returns where it goes on."""
    count = course.known.get("rcx" if course.bits == 64 else "ecx")
    is_whole = one.mnemonic.startswith(_COPIES)  # the others end where what they look for is
    if count is None or (course.now.rflags & _DIRECTION and count > 1):
        course.ends(one)
        return None
    pages = 0
    for operand, at in _places(course, one) if count else ():
        total = operand.size * (count if is_whole else 1)
        for name, kind in _accesses(operand):
            for piece in _pieces(at, total):
                pages += 1
                if pages > _MOST_PAGES:
                    course.ends(one)
                    return None
                width = min(operand.size, at + total - piece)
                yield course.step(name, piece, kind, width, one.address)
            if kind is AccessKind.WRITE:
                course.memory.store(at, total, None)
    for register in one.regs_access()[1]:
        course.known.set(one.reg_name(register), None)
    if is_whole:
        course.known.set("rcx", 0)
    following: int = one.address + one.size
    return following


def _places(course: Course, one: Any) -> Iterator[tuple[Any, int]]:
    """Memory operands with their addresses, where these are known."""
    from capstone import x86

    for operand in one.operands:
        if operand.type == x86.X86_OP_MEM:
            at = decode.address(one, operand, course.known)
            if at is not None:
                yield operand, at & course.mask


def _accesses(operand: Any) -> Iterator[tuple[str, AccessKind]]:
    from capstone import CS_AC_READ, CS_AC_WRITE

    if operand.access & CS_AC_READ:
        yield "read", AccessKind.READ
    if operand.access & CS_AC_WRITE:
        yield "write", AccessKind.WRITE


def _pieces(at: int, total: int) -> Iterator[int]:
    """The first byte of each page that ``total`` bytes from ``at`` on lie in."""
    yield at
    yield from range((at & -PAGE_BYTES) + PAGE_BYTES, at + total, PAGE_BYTES)
