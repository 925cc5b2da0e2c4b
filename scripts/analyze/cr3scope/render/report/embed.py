"""What `report.html` embeds for its scripts: the spaces with their tables, names, writers, steps, findings and mends.

Whatever came from a guest is a string of JSON here, and text in the page: never markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.images.source_text import SourceText
from cr3scope.model.mend import apply
from cr3scope.paging.compare import differences
from cr3scope.paging.reason import Reason
from cr3scope.render import finding as words, role
from cr3scope.render.sizes import size_text
from cr3scope.render.walk import NAMED_BITS
from cr3scope.render.report import blob, ranges, spaces
from cr3scope.target.overlay import Overlay
from cr3scope.text import printable
from cr3scope.verdict.picture import Picture
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86 import entry as bits, exceptions
from cr3scope.x86.access import EntryRef

# SDM 3A is silent on what firmware calls its memory: UEFI 2.10, table 7.10 (EFI_MEMORY_TYPE).
_MEMORY_NAMES = (
    "reserved", "loader code", "loader data", "boot services code", "boot services data", "runtime services code",
    "runtime services data", "conventional memory", "unusable", "ACPI tables", "ACPI NVS", "devices",
    "devices' ports", "PAL code", "persistent memory", "unaccepted memory",
)  # fmt: skip
_BITS = {
    "present": bits.PRESENT, "writable": bits.WRITABLE, "user": bits.USER, "dirty": bits.DIRTY, "large": bits.LARGE,
    "nx": bits.NO_EXECUTE, "address": bits.ADDRESS_MASK, "key": bits.KEY_MASK,
}  # fmt: skip
_ERRORS = {
    "present": exceptions.PF_PRESENT, "write": exceptions.PF_WRITE, "user": exceptions.PF_USER,
    "reserved": exceptions.PF_RESERVED, "fetch": exceptions.PF_FETCH, "key": exceptions.PF_KEY,
    "pageFault": exceptions.PAGE_FAULT, "protection": exceptions.PROTECTION,
}  # fmt: skip
# What is the same of every page: bits, error codes and words, by the names that the scripts use.
RULES: dict[str, object] = {
    "bits": {name: f"{mask:#x}" for name, mask in _BITS.items()},
    "keyShift": bits.KEY_SHIFT,
    "namedBits": [[name, f"{mask:#x}", where] for name, mask, where in NAMED_BITS],
    "errors": _ERRORS,
    "vectors": {vector: exceptions.name(vector) for vector in (exceptions.PROTECTION, exceptions.PAGE_FAULT)},
    "reasons": {reason.name: reason.value for reason in Reason},
}


@dataclass(slots=True)
class _Sources:
    """Lines of source, each once, with its text where that can be read."""

    picture: Picture
    numbers: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def number(self, caller: int | None) -> int | None:
        """Return the place in the list of the line that calls; None if it is not known."""
        line = self.picture.attribution.line(caller) if self.picture.attribution and caller else None
        if line is None:
            return None
        if line not in self.numbers:
            found: SourceText | None = self.picture.texts.text(line) if self.picture.texts else None
            self.texts[printable(line)] = printable(found.text) if found else ""
        return self.numbers.setdefault(line, len(self.numbers))


def guilty(findings: Iterable[Finding]) -> dict[EntryRef, Finding]:
    """Return each entry that errors and warnings name, with the first that does: its own entry, and those that its mend
    changes. A note blames nobody."""
    named: dict[EntryRef, Finding] = {}
    for one in (each for each in findings if each.severity is not Severity.NOTE):
        entries = [one.entry, *(edit.entry for mend in one.mends for edit in mend.edits)]
        for entry in entries:
            if entry is not None:
                named.setdefault(entry, one)
    return named


def as_dict(verdict: Verdict) -> dict[str, object] | None:
    """Return what the page's scripts take; None where there are no tables."""
    picture = verdict.picture
    if picture is None:
        return None
    memories: list[spaces.Held] = []
    numbers: dict[int, int] = {}
    for space in picture.spaces:
        number = numbers.setdefault(id(space.tables), len(memories))
        if number == len(memories):
            memories.append(spaces.Held())
        memories[number].add(space)
    judged = memories[numbers[id(picture.judged.tables)]]
    place = picture.spaces.index(picture.judged)
    drawn = [ranges.drawn(picture, space) for space in picture.spaces[: place + 1]]  # what came later is walked alone
    steps = [step for step in picture.steps if step.width <= limits.REPORT_STEP_BYTES][: limits.REPORT_STEPS]
    return {
        "spaces": [
            spaces.as_dict(space, picture.platform, numbers[id(space.tables)], memories[numbers[id(space.tables)]].is_cut)
            for space in picture.spaces
        ],
        "judged": place,
        "memories": [blob.packed(held.tables) for held in memories],
        **RULES,
        "ranges": [each.pieces for each in drawn],
        "changes": _changes(drawn[place - 1], drawn[place]) if place else None,
        "firmware": _firmware(picture),
        "names": _names(picture),
        "writers": _writers(picture),
        "steps": [
            {"name": printable(step.name if isinstance(step.name, str) else role.text(step.name)), "kind": step.kind.value,
             "virt": f"{step.virt:#x}", "width": step.width, "align": step.align,
             "user": step.user and not step.implicit, "implicit": step.implicit}
            for step in steps
        ],
        "stepsLeftOut": len(picture.steps) - len(steps),
        "findings": _findings(verdict, picture, judged, drawn[place]),
        **_start(verdict, picture, judged),
    }  # fmt: skip


def _start(verdict: Verdict, picture: Picture, held: spaces.Held) -> dict[str, object]:
    """The space and the address that are shown first: of the fault's walk, else of the first finding, else of the first step."""
    walk, judged = verdict.walk, picture.spaces.index(picture.judged)
    if walk is not None and not walk.is_printed and verdict.status is not Status.HEALTHY:
        roots = [space.cpu.cr3 == walk.cr3 for space in picture.spaces]
        number = judged if picture.judged.cpu.cr3 == walk.cr3 or True not in roots else roots.index(True)
        return {"start": f"{walk.virt:#x}", "shown": number}
    entries = [one.entry for one in verdict.findings if one.entry is not None and one.severity is not Severity.NOTE]
    found = next((virt for entry in entries if (virt := held.address_of(entry)) is not None), None)
    if found is None:
        found = picture.steps[0].virt if picture.steps else 0
    return {"start": f"{found:#x}", "shown": judged}


def _findings(verdict: Verdict, picture: Picture, held: spaces.Held, unmended: ranges.Drawn) -> list[dict[str, object]]:
    """Of each finding what the page tells, the entries that its mend changes, and what the judged space then maps, with the
    mends of those before it; ``ranges`` is null where nothing changes, or past the budget."""
    overlay = Overlay(picture.judged.tables, picture.judged.cpu.max_phys_bits)
    named = guilty(verdict.findings)
    budget = limits.REPORT_MENDED
    told: list[dict[str, object]] = []
    for one in verdict.findings:
        edits = _edits(one, overlay, picture)
        budget -= len(unmended.found) if edits else 0
        told.append(
            {
                "rule": printable(one.rule),
                "severity": one.severity.value,
                "title": printable(words.title(one)),
                "entries": [_entry(entry) for entry, finding in named.items() if finding is one],
                "virt": _address(one, verdict, held),
                "edits": edits,
                "ranges": ranges.mended(picture, overlay, unmended).pieces if edits and budget >= 0 else None,
                "strikes": one.step is not None,
            }
        )
    return told


def _entry(entry: EntryRef) -> dict[str, object]:
    return {"level": entry.level, "index": entry.index, "phys": f"{entry.phys:#x}", "value": f"{entry.value:#x}"}


def _address(one: Finding, verdict: Verdict, held: spaces.Held) -> str | None:
    """An address whose walk meets the finding's entry."""
    if one.entry is None:
        return None
    walk = verdict.walk
    if walk is not None and any(each.entry == one.entry for each in walk.levels):
        return f"{walk.virt:#x}"
    virt = held.address_of(one.entry)
    return None if virt is None else f"{virt:#x}"


def _edits(one: Finding, overlay: Overlay, picture: Picture) -> list[list[str]]:
    """The entries that the finding's mends change, on top of those of the findings before it; none where they are of
    tables that nobody holds, or more than the budget."""
    before = dict(overlay.changes())
    trial = overlay.fork()
    try:
        for mend in one.mends:
            apply(trial, picture.judged.cpu, mend)
    except KeyError:
        return []
    edits = [[f"{phys:#x}", f"{value:#x}"] for phys, value in trial.changes() if before.get(phys) != value]
    if len(edits) > limits.REPORT_EDITS:
        return []
    overlay.adopt(trial)
    return edits


def _changes(before: ranges.Drawn, after: ranges.Drawn) -> dict[str, object]:
    found = differences(before.found, after.found)
    return {
        "count": len(found),
        "shown": [
            {"first": f"{one.first:#x}", "last": f"{one.last:#x}", "size": size_text(one.last - one.first + 1),
             "before": _side(before, one.left_row, one.first), "after": _side(after, one.right_row, one.first)}
            for one in found[: limits.REPORT_CHANGES]
        ],
    }  # fmt: skip


def _side(side: ranges.Drawn, row: int | None, virt: int) -> str:
    if row is None:
        return "not mapped"
    kind = side.found.kind(row)
    return f"{kind.rights} {int(side.found.phys[row]) + virt - int(side.found.first[row]):#x} {kind.memory_type}"


def _firmware(picture: Picture) -> list[list[str]]:
    """The firmware's memory map, neighbours of one type together."""
    joined: list[list[int]] = []
    for one in sorted(picture.boot.memory_map if picture.boot else (), key=lambda each: each.first):
        if joined and joined[-1][2] == one.type and joined[-1][1] + 1 == one.first:
            joined[-1][1] = one.last
        else:
            joined.append([one.first, one.last, one.type])
    return [[f"{first:#x}", f"{last:#x}", _memory_name(kind)] for first, last, kind in joined[: limits.REPORT_NAMES]]


def _memory_name(kind: int) -> str:
    return _MEMORY_NAMES[kind] if kind < len(_MEMORY_NAMES) else f"type {kind:#x}"


def _names(picture: Picture) -> list[list[str]]:
    parts = picture.intent.parts() if picture.intent else []
    return [[f"{first:#x}", f"{last:#x}", printable(named.label)] for first, last, named in parts[: limits.REPORT_NAMES]]


def _writers(picture: Picture) -> dict[str, object]:
    """Which line made an entry what it is, as far as a trace tells: the last ones where there are very many."""
    boot, intent = picture.boot, picture.intent
    if boot is None or intent is None:
        return {"sources": [], "texts": [], "entries": {}, "tables": {}, "maps": [], "leftOut": 0}
    sources, most = _Sources(picture), limits.REPORT_NAMES
    calls = [(first, last, named.caller) for first, last, named in intent.calls.parts()]
    entries = {f"{one.entry:#x}": sources.number(one.caller) for one in boot.sets[-most:]}
    tables = {f"{one.parent:#x}": sources.number(one.caller) for one in boot.tables[-most:]}
    maps = [[f"{first:#x}", f"{last:#x}", sources.number(caller)] for first, last, caller in calls[:most]]
    return {
        "sources": list(sources.texts),
        "texts": list(sources.texts.values()),
        "entries": dict(_known(entries.items())),
        "tables": dict(_known(tables.items())),
        "maps": [each for each in maps if each[2] is not None],
        "leftOut": sum(max(count - most, 0) for count in (len(boot.sets), len(boot.tables), len(calls))),
    }


def _known(pairs: Iterable[tuple[str, int | None]]) -> Iterator[tuple[str, int]]:
    for key, number in pairs:
        if number is not None:
            yield key, number
