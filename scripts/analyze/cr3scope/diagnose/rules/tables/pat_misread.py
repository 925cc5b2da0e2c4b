"""A leaf that selects another memory type than was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import first_few, leaf_of, range_finding, span
from cr3scope.message import Message, message
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import PAT_4K, PAT_LARGE
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None:
        return
    rest = "{more} more ranges have another type than asked"
    for piece, others in first_few(asked.other_type, rest):
        entry = leaf_of(context, piece.virt)
        if entry is None:
            continue
        title = message(
            "{name} at {range} is {memory_type}, asked was {asked}",
            name=piece.label, range=span(piece), memory_type=piece.memory_type,
            asked=context.boot.maps[piece.call].type,
        )  # fmt: skip
        selects = message(
            "{entry:full} selects PAT index {pat_index}: {memory_type}",
            entry=entry, pat_index=piece.pat_index, memory_type=piece.memory_type,
        )  # fmt: skip
        yield range_finding(RULE, context, piece, title, selects, *_pat_bit(entry), *others)


def _pat_bit(entry: EntryRef) -> Iterator[Message]:
    if entry.level == 1 and entry.value & PAT_4K:
        yield Message("bit 7 of a PTE is PAT, it is PS only in a PDE or PDPTE")
    if entry.level != 1 and entry.value & PAT_LARGE:
        yield Message("bit 12 of a large leaf is PAT, no address bit")


RULE = Rule(
    id="pat-misread",
    title="a leaf selects another memory type than meant",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "PAT, PCD and PWT of a leaf select one of eight memory types. PAT is bit 7 of a PTE, "
        "where upper levels have PS, and bit 12 of a large leaf, where a PTE has address. A PS "
        "flag copied into a PTE, or a PAT register that somebody changed, silently gives another "
        "type."
    ),
    shows="Nothing on an emulator; on hardware slow, uncached or reordered memory.",
    fix=(
        "Build leaves of each level with their own bits, and write IA32_PAT before the tables use "
        "it."
    ),
    manual="Intel SDM volume 3A, 5.9.2 and 13.12.3; tables 5-17 to 5-19",
    check=_check,
    needs=SWITCH,
)
