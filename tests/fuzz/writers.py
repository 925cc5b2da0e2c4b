"""Files of QEMU's plugin, damaged: a verdict with their help never says more than they hold, and ends."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from analyze import writers_builder as made
from fuzz.noise import damaged, number
from fuzz.target import Case, Target, require, verdict_of

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import Caught, GuiltyWord
from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Part, Section
from cr3scope.input.writers.reader import WritersFile
from cr3scope.message import Message
from cr3scope.verdict.types import Status, Verdict
from cr3scope.verdict.writers import attributed, caught_at
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import ACCESSED, DIRTY
from cr3scope.x86.exceptions import PAGE_FAULT

_PART = struct.Struct("<II")  # which, and how many bytes
_HEAD = 255
_WORDS = 4  # of the table
_BLAMED = "nx-upper-level"
_OF_WORDS = ("red-zone", "idt-gate-bad")  # rules whose findings are about no entry
_BEYOND = (0, 0, 0, 1 << 30, 1 << 32)  # where the RAM above 4 GiB begins to be counted
_BEFORE_IT = (0,) * 4  # the other numbers of the guest


def _make(random: Random) -> Case:
    after = {each: number(random) for each in range(_WORDS) if random.random() < 0.8}
    before = {each: number(random, value) for each, value in after.items() if random.random() < 0.8}
    parts = {each: random.choice((0, layout.SLOT_LOW, layout.SLOT_HIGH)) for each in range(_WORDS)}
    sections = made.records(
        stores=[(random.choice((1, 2, 3, number(random) & 0xFFFFFFFF)), random.randrange(6), random.randrange(8), random.randrange(3)) for _ in range(_WORDS)],
        before=before, after=after, parts=parts, others={each: random.randrange(_WORDS + 2) for each in range(_WORDS)},
    )  # fmt: skip
    counts = [len(sections[each]) // layout.SIZES[each][1] for each in Section]
    if random.random() < 0.05:
        counts[Section.BLOCKS] = 0  # nothing was executed by QEMU itself
    guest = (*_BEFORE_IT, random.choice(_BEYOND))
    head = made.header(counts, events=random.choice((0, 1, 1 << 40)), flags=random.choice((0, 0, random.randrange(64))), guest=guest, counts_ram=random.randrange(2))
    if random.random() < 0.3:
        head = damaged(random, head)
    if random.random() < 0.6:
        section = random.choice([*Section])
        sections[section] = damaged(random, sections[section][:4096]).ljust(len(sections[section]), b"\0")
    elif random.random() < 0.3:
        del sections[random.choice([*Section])]
    parts_of_it = [(_HEAD, head), *sections.items()]
    values = tuple(after.get(each, 3) ^ random.choice((0, 0, 0, ACCESSED, 1 << random.randrange(64))) for each in range(_WORDS))
    meant: dict[str, object] = {
        "values": values, "seed": random.getrandbits(48), "page": random.random() < 0.1,
        "how": random.choice(("file",) * 20 + ("link", "missing", "short")),
    }  # fmt: skip
    return Case(b"".join(_PART.pack(which, len(data)) + data for which, data in parts_of_it), ".parts", meant)


def _check(case: Case) -> None:
    """The case has the file's parts one behind the other: the file itself is sparse, and of gigabytes."""
    sections: dict[Section, bytes] = {}
    head, at = b"", 0
    while at < len(case.data):
        which, length = _PART.unpack_from(case.data, at)
        data = case.data[at + _PART.size :][:length]
        at += _PART.size + length
        if which == _HEAD:
            head = data
        else:
            sections[Section(which)] = data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "writers")
        how = case.meant["how"]
        if how == "link":
            path.symlink_to("/proc/self/maps")
        elif how == "short":
            path.write_bytes(head[:-1])
        elif how == "file":
            made.write(path, sections, head)
        verdict_of(lambda: _judge(path, case), with_page=bool(case.meant["page"]))


def _judge(path: Path, case: Case) -> Verdict:
    file = WritersFile(path)
    random = Random(int(str(case.meant["seed"])))
    try:
        verdict, words = _blamed(random, case), _words(random, case)
        if random.random() < 0.1:
            caught = {made.TABLE + 8 * each: Caught(made.TABLE + 8 * each, made.LOADER, number(random), number(random), 0) for each in range(_WORDS)}
            verdict = caught_at(verdict, caught, None, words)
        for cpu in range(2):
            require(len([*file.blocks(cpu)]) <= layout.TRAIL_LENGTH, "more blocks than a trail has")
        found = attributed(verdict, file, None, words, random.choice((0, 0, 1)), random.random() < 0.5)
    finally:
        file.close()
    for finding in found.findings:
        _holds(finding)
    return found


def _blamed(random: Random, case: Case) -> Verdict:
    """A verdict about entries of the table, of words beyond it, and of places where no instruction's store is known."""
    finding = BY_ID[_BLAMED].finding(Message("NX"), Message("proof"))
    values = case.meant["values"]
    assert isinstance(values, tuple)
    entries = [EntryRef(4, each, made.TABLE + 8 * each, value) for each, value in enumerate(values)]
    random.shuffle(entries)
    places = (made.TABLE + 0x800, 0xB8000, 0xC8000, 1 << 32, 0xDFBB000)
    others = [EntryRef(1, 0, random.choice(places), number(random)) for _ in range(random.randrange(2))]
    about = [BY_ID[rule].finding(Message(rule), Message("proof")) for rule in _OF_WORDS]
    findings = (*(replace(finding, entry=entry) for entry in (*entries, *others)), *about)
    rip = random.choice((0x100, 0x104, 0x200, 0xDEAD))
    seen = random.choice((None, Observation(random.choice([*Ending]), Fault(PAGE_FAULT, 2, 0x1234, rip))))
    return Verdict(random.choice((Status.FAULTED, Status.FAULTED, Status.HUNG, Status.INCOMPLETE)), findings, observation=seen)


def _words(random: Random, case: Case) -> list[GuiltyWord]:
    """Words that findings without an entry are about: some hold what memory has."""
    values = case.meant["values"]
    assert isinstance(values, tuple)
    found = []
    for rule in random.sample((*_OF_WORDS, _BLAMED), random.randrange(3)):
        which, width = random.randrange(_WORDS), random.choice((4, 8, 8))
        at = made.TABLE + 8 * which + random.choice((0, 0, 4, 2))
        value = values[which] >> 8 * (at % 8) & (1 << 8 * width) - 1
        found.append(GuiltyWord(rule, "a word", at, value, width, random.choice((0, 0, 0xFFFF_FFFF, number(random))), random.random() < 0.3))
    return found


def _holds(finding: Finding) -> None:
    """Find if a writer is told of an entry that memory says otherwise."""
    entry, writer = finding.entry, finding.writer
    if entry is None or writer is None or writer.lost:
        return
    for one in (writer, *writer.others):
        if one.what or one.new is None or not entry.phys <= one.phys < entry.phys + 8:
            continue
        bits = 64 if one.part is Part.WHOLE else 32
        left = (one.new ^ entry.value >> 8 * (one.phys - entry.phys)) & (1 << bits) - 1
        require(not left & ~(ACCESSED | DIRTY), f"the store of {one.phys:#x} left {one.new:#x}, and memory has {entry.value:#x}")


WRITERS = Target("writers", _make, _check, ("input/writers/", "verdict/writers.py"))
