"""Memory on which the kernel depends, and that user code can write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.diagnose.shared.user_writable import Window, user_windows
from cr3scope.message import Hex, Message, Some, message
from cr3scope.paging.walk import walk
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    frames = tuple(_frames(context))
    for window in user_windows(context.tables, context.cpu):
        inside = [what for phys, what in frames if window.phys <= phys < window.phys + window.size]
        if inside:
            yield replace(RULE.finding(_title(window, inside), *_proof(window)), entry=window.leaf)
            return


def _frames(context: Context) -> Iterator[tuple[int, Message]]:
    """Physical pages that nobody but the kernel may write, and what they are."""
    registers = context.registers
    path = walk(context.tables, context.cpu, registers.rip, context.platform)
    for virt, what in ((registers.idt_base, "the IDT"), (registers.gdt_base, "the GDT"), (registers.rip, "the kernel's code")):
        phys = walk(context.tables, context.cpu, virt, context.platform).phys
        if phys is not None:
            yield phys & PAGE_FRAME, Message(what)
    for entry in path.entries:
        yield entry.phys & PAGE_FRAME, message("the table at {table}", table=Hex(entry.phys & PAGE_FRAME))


def _title(window: Window, inside: list[Message]) -> Message:
    return message("user code can write {what}", what=Some(tuple(inside), MOST_NAMED))


def _proof(window: Window) -> Iterator[Message]:
    yield message("{leaf} maps {phys} for user mode, writable, as do all entries above it", leaf=window.leaf, phys=Hex(window.phys))


RULE = Rule(
    id="tables-user-writable",
    title="user code can write the kernel's tables or its code",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "U and R/W stand in every entry down to a page that holds a table, the IDT, the GDT or the kernel's code. Any program in "
        "ring 3 can then change them: by mistake, or to become the kernel. Mostly all entries got the flags 7 (P, R/W, U)."
    ),
    shows="Nothing until a program writes there; then a fault at any place.",
    fix="Set U (bit 2) only in entries of what user code may touch, in the leaf and in every entry above it.",
    manual="Intel SDM volume 3A, 5.6 and 5.6.1",
    check=_check,
    needs=LIVE,
)
