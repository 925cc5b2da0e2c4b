"""The accesses that an instruction makes through its memory operands, as steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cr3scope.model.follow.course import Course, Step, Way
from cr3scope.message import Hex, message
from cr3scope.model.follow.segment_load import Refused
from cr3scope.model.role import Role
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode.memory_operands import Access, accesses, alignment
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.registers import RFLAGS_DIRECTION

_MOST_PAGES = 1 << 13  # that one repeated instruction touches
_WHOLE = ("rep movs", "rep stos", "rep lods", "rep ins", "rep outs")
_ROLES = {AccessKind.READ: Role.READ, AccessKind.WRITE: Role.WRITE}


def operand_steps(course: Course, one: Any) -> Iterator[Step]:
    """Yield a step for each access to a memory operand whose address is known.

    If an operand is misaligned that must not be, ``course.stop`` is set.
    """
    for found in accesses(one, course.known, course.platform):
        align = alignment(one)
        beyond = course.exceeds(found.segment, found.offset, found.width)
        if beyond is not None:
            course.stops(one, beyond)
            return
        if found.at % align:
            why = message("{virt} is no multiple of {align}", virt=Hex(found.at), align=align)
            course.stops(one, Refused(PROTECTION, 0, why))
            return
        for kind in found.kinds:
            yield course.step(_ROLES[kind], found.at, kind, found.width, one.address)
        if AccessKind.WRITE in found.kinds:
            is_copy = one.mnemonic == "mov"
            course.store(found.at, found.width, course.source(one) if is_copy else None)


def repeated(course: Course, one: Any) -> Way:
    """Yield the steps of a string instruction with a count, one for every page that it comes to.

    Return where it goes on.
    """
    count = course.known.get({8: "rcx", 4: "ecx", 2: "cx"}[one.addr_size])
    if count is None or (course.now.rflags & RFLAGS_DIRECTION and count > 1):
        return course.ends(one)
    found = list(accesses(one, course.known, course.platform)) if count else []
    is_whole = one.mnemonic.startswith(_WHOLE)
    yield from _run(course, one, found, count if is_whole else 1)
    if not is_whole and any(_leaves_page(each, count) for each in found):
        return course.ends(one)  # it ends where what it looks for is
    if is_whole and sum(each.width * count // PAGE_BYTES for each in found) > _MOST_PAGES:
        return course.ends(one)
    for register in one.regs_access()[1]:
        course.known.set(one.reg_name(register), None)
    for register in ("rsi", "rdi"):  # capstone forgets them with INS and OUTS
        course.known.set(register, None)
    if is_whole:
        course.known.set("rcx", 0)
    following: int = one.address + one.size
    return following


def _run(course: Course, one: Any, found: list[Access], count: int) -> Iterator[Step]:
    """All operands side by side, page by page, in the order of their elements."""
    touched = []
    for place, each in enumerate(found):
        for piece in _pieces(each.at, min(each.width * count, _MOST_PAGES * PAGE_BYTES)):
            touched.append(((piece - each.at) // each.width, place, piece, each))
    for element, _, piece, each in sorted(touched, key=lambda item: item[:3]):
        begin = each.at + element * each.width
        end = min(each.at + each.width * count, (begin | PAGE_BYTES - 1) + 1)
        for kind in each.kinds:
            step = course.step(_ROLES[kind], begin, kind, each.width, one.address)
            yield replace(step, extent=max(end - begin, each.width))
    for each in found:
        if AccessKind.WRITE in each.kinds:
            course.store(each.at, each.width * count, None)


def _pieces(at: int, total: int) -> Iterator[int]:
    """The first byte of each page that ``total`` bytes from ``at`` on lie in."""
    yield at
    yield from range((at & -PAGE_BYTES) + PAGE_BYTES, at + total, PAGE_BYTES)


def _leaves_page(found: Access, count: int) -> bool:
    return found.at // PAGE_BYTES != (found.at + found.width * count - 1) // PAGE_BYTES
