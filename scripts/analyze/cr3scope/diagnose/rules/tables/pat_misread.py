"""A leaf that selects another memory type than was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.diagnose.shared.asked import compared, finding_at, leaf_of, named
from cr3scope.x86.entry import PAT_4K, PAT_LARGE
from cr3scope.x86.names import entry_words, range_words


def _check(context: Context) -> Iterator[Finding]:
    comparison = compared(context)
    if comparison is None:
        return
    for piece, others in named(list(comparison.other_type()), "have another type than asked"):
        entry = leaf_of(context, piece.virt)
        asked = context.boot.maps[piece.call].type
        if entry is None:
            continue
        lines = [f"{entry_words(entry)} selects PAT index {piece.pat_index}: {piece.memory_type}"]
        if entry.value & (PAT_4K if entry.level == 1 else PAT_LARGE):
            lines.append(
                "bit 7 of a PTE is PAT, it is PS only in a PDE or PDPTE"
                if entry.level == 1
                else "bit 12 of a large leaf is PAT, no address bit"
            )
        where = range_words(piece.virt, piece.last)
        title = f"{piece.label} at {where} is {piece.memory_type}, asked was {asked}"
        yield finding_at(RULE, context, piece, title, "\n".join(lines) + others)


RULE = Rule(
    id="pat-misread",
    title="a leaf selects another memory type than meant",
    severity=Severity.WARNING,
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
)
