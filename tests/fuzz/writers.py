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
from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Section
from cr3scope.input.writers.reader import WritersFile
from cr3scope.message import Message
from cr3scope.verdict.types import Status, Verdict
from cr3scope.verdict.writers import attributed
from cr3scope.x86.access import EntryRef

_PART = struct.Struct("<II")  # which, and how many bytes
_HEAD = 255


def _make(random: Random) -> Case:
    sections = made.records(
        stores=[(number(random) & 0xFFFFFFFF, random.randrange(6), random.randrange(8), random.randrange(3)) for _ in range(3)],
        after={0: number(random) & (1 << 64) - 1},
    )
    counts = [len(sections[each]) // layout.SIZES[each][1] for each in Section]
    head = made.header(counts, events=random.choice((0, 1, 1 << 40)), flags=random.randrange(8))
    if random.random() < 0.3:
        head = damaged(random, head)
    if random.random() < 0.7:
        section = random.choice([*Section])
        sections[section] = damaged(random, sections[section][:4096]).ljust(len(sections[section]), b"\0")
    parts = [(_HEAD, head), *sections.items()]
    return Case(b"".join(_PART.pack(which, len(data)) + data for which, data in parts), ".parts")


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
        path = made.write(Path(folder, "writers"), sections, head)
        verdict_of(lambda: _judge(path), with_page=True)


def _judge(path: Path) -> Verdict:
    file = WritersFile(path)
    try:
        finding = BY_ID["nx-upper-level"].finding(Message("NX"), Message("proof"))
        entries = (EntryRef(4, each, made.TABLE + 8 * each, 3) for each in range(4))
        verdict = Verdict(Status.FAULTED, tuple(replace(finding, entry=entry) for entry in entries))
        for cpu in range(2):
            require(len([*file.blocks(cpu)]) <= layout.TRAIL_LENGTH, "more blocks than a trail has")
        return attributed(verdict, file, None)
    finally:
        file.close()


WRITERS = Target("writers", _make, _check, ("input/writers/", "verdict/writers.py"))
