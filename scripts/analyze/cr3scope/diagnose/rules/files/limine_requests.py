"""Requests that a Limine loader does not see, or refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import placed
from cr3scope.images.kernel_file import KernelFile
from cr3scope.images.protocols.limine import ALIGNMENT, Limine, Request
from cr3scope.message import Hex, Message, Some, message
from cr3scope.x86.mode import OF_FILES


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        asked = kernel.limine
        if asked is None or not asked.requests:
            continue
        unseen = [one for one in asked.requests if not asked.is_seen(one)]
        if unseen:
            yield RULE.finding(
                message("Limine does not see {count} of {all} requests", count=len(unseen), all=len(asked.requests)),
                *(_why(kernel, asked, one) for one in unseen[:MOST_NAMED]),
            )
        seen = Counter(one.id for one in asked.requests if asked.is_seen(one))
        twice = [one for one in asked.requests if asked.is_seen(one) and seen[one.id] > 1]
        if twice:
            yield RULE.finding(
                Message("the same request stands in the file more than once: Limine refuses the kernel"),
                message("{places}", places=Some(tuple(_place(kernel, one) for one in twice), MOST_NAMED)),
            )


def _place(kernel: KernelFile, one: Request) -> Message:
    return message("offset {offset} of the file", offset=Hex(one.offset)) if one.virt is None else placed(kernel, one.virt)


def _why(kernel: KernelFile, asked: Limine, one: Request) -> Message:
    where = _place(kernel, one)
    if one.virt is None:
        return message("{where}: no segment loads it", where=where)
    if one.virt % ALIGNMENT:
        return message("{where}: not aligned to {alignment} bytes", where=where, alignment=ALIGNMENT)
    if asked.first is not None and one.virt < asked.first:
        return message("{where}: before the start marker at {marker}", where=where, marker=Hex(asked.first))
    return message("{where}: behind the end marker at {marker}", where=where, marker=Hex(asked.end or 0))


RULE = Rule(
    id="limine-requests",
    title="a Limine loader does not see a request, or refuses it",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "Limine looks through the loaded image in steps of 8 bytes, between the last start marker and the first end marker. A request "
        "anywhere else is left alone: its response stays NULL, and the kernel reads through a null pointer. Two of the same are refused."
    ),
    shows="v=0e with CR2 of a small offset, in code that reads a response; or Limine's own message.",
    fix=(
        "Put every request, `used` and `volatile`, into one section between those of the markers, KEEP the three in the linker script, "
        "and have a PT_LOAD load them."
    ),
    manual="The Limine boot protocol: Features; Requests Delimiters",
    lint=_lint,
)
