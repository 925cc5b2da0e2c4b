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
from cr3scope.message import Fact, Hex, Message, Some, message
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
                *_why(kernel, asked, unseen),
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


def _why(kernel: KernelFile, asked: Limine, unseen: list[Request]) -> Iterator[Message]:
    """One line for each reason, with all that it keeps from being seen."""
    marker, end = Hex(asked.first or 0), Hex(asked.end or 0)
    lines: dict[str, tuple[str, dict[str, Fact]]] = {
        "unloaded": ("{unloaded}: no segment loads it", {}),
        "crooked": ("{crooked}: not aligned to {alignment} bytes", {"alignment": ALIGNMENT}),
        "before": ("{before}: before the start marker at {marker}", {"marker": marker}),
        "behind": ("{behind}: behind the end marker at {end}", {"end": end}),
    }
    places: dict[str, list[Message]] = {name: [] for name in lines}
    for one in unseen:
        places[_reason(asked, one)].append(_place(kernel, one))
    for name, (template, facts) in lines.items():
        if places[name]:
            yield Message(template, {name: Some(tuple(places[name]), MOST_NAMED), **facts})


def _reason(asked: Limine, one: Request) -> str:
    if one.virt is None:
        return "unloaded"
    if one.virt % ALIGNMENT:
        return "crooked"
    return "before" if asked.first is not None and one.virt < asked.first else "behind"


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
