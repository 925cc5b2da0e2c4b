"""Who wrote what: the plugin's file, and what a verdict says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze import writers_builder as made
from analyze.writers_builder import LOADER, TABLE, records, write

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import GuiltyWord, When, Writer
from cr3scope.errors import UnusableInput
from cr3scope.images.place import Place
from cr3scope.images.symbols import Symbols
from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Part, Section
from cr3scope.input.writers.reader import Block, Call, WritersFile
from cr3scope.message import Message
from cr3scope.model.changes import Change, Edit, Mend
from cr3scope.render import html, text
from cr3scope.render import json as json_form
from cr3scope.verdict.types import Status, Verdict
from cr3scope.verdict.writers import attributed
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CpuState
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import formats_of

NX = 0x800000000DFBD003
ACCESSED = 0x20


def opened(tmp_path: Path, sections: dict[Section, bytes], head: bytes | None = None, flags: int = 0) -> WritersFile:
    return WritersFile(write(tmp_path / "writers", sections, head, flags))


def guilty(index: int = 0, value: int = NX) -> Verdict:
    finding = BY_ID["nx-upper-level"].finding(Message("NX"), Message("proof"))
    return Verdict(Status.FAULTED, (replace(finding, entry=EntryRef(4, index, TABLE + 8 * index, value)),))


def told(tmp_path: Path, sections: dict[Section, bytes], verdict: Verdict | None = None, flags: int = 0) -> Finding:
    return attributed(verdict or guilty(), opened(tmp_path, sections, flags=flags), None).findings[0]


def test_a_word_has_its_last_store_with_calls_and_values(tmp_path: Path) -> None:
    file = opened(tmp_path, records(before={0: 3}, after={0: NX}))
    word = file.word(TABLE + 5)
    assert word is not None and (word.phys, word.before, word.after) == (TABLE, 3, NX)
    assert (word.store.rip, word.store.moment, word.store.instructions) == (LOADER, 1, 1000)
    assert word.store.calls == (Call(0xDF98024, 0xDF98029), Call(0xFEA95F2, 0xFEA95F7))
    assert file.word(TABLE + 8) is None and file.word(0x1000) is None and file.began_at_reset


def test_calls_end_where_an_interrupt_came(tmp_path: Path) -> None:
    word = opened(tmp_path, records(stores=[(1, 4, 1, 0)])).word(TABLE)
    assert word is not None and [call.rip for call in word.store.calls] == [0xF059700]


def test_memory_above_4_gib_is_found_as_qemu_counts_it(tmp_path: Path) -> None:
    sections = records()
    counts = [len(sections[each]) // layout.SIZES[each][1] for each in Section]
    guest = (0, 0, 1 << 32, 2 << 32, (1 << 32) - (TABLE & -4096))
    moved = opened(tmp_path, sections, made.header(counts, guest=guest, counts_ram=1))
    as_it_is = opened(tmp_path, sections, made.header(counts, guest=guest))
    assert moved.word(1 << 32) is not None and as_it_is.word(1 << 32) is None


def test_the_path_is_told_by_branches(tmp_path: Path) -> None:
    file = opened(tmp_path, records())
    assert [*file.blocks(0)] == [Block(made.RESET, made.RESET, made.RESET + 2, 1), Block(0x100, 0x108, 0x10A, 3), Block(0x200, 0x200, 0x201, 1)]
    assert [*file.blocks(1)] == []
    seen = Observation(Ending.TRIPLE_FAULT, source="log")
    verdict = attributed(replace(guilty(), observation=seen), file, None)
    assert [(each.source, each.target, each.times) for each in verdict.path] == [(made.RESET, 0x100, 3), (0x108, 0x200, 1)]
    assert [(each.what, each.rip) for each in verdict.shaped] == [(layout.SWITCH, 0xDF98190)]
    words = " ".join(text.render(verdict).split())
    assert "shaped CR3 at 0xdf98190 path 0xfffffff0 -> 0x100, 3 times 0x108 -> 0x200" in words


def test_the_path_ends_where_the_cpu_died(tmp_path: Path) -> None:
    """What a handler did behind it is not the way there; of a death that is not on the way none is told."""
    file = opened(tmp_path, records())
    for rip, ways in ((0x108, 1), (0x300, 0)):
        seen = Observation(Ending.HANDLED, source="log", first=Fault(14, 0, 0, rip))
        assert len(attributed(replace(guilty(), observation=seen), file, None).path) == ways


def test_the_newest_events_of_a_full_ring_come_in_order(tmp_path: Path) -> None:
    sections = records(events=[(each, 1, 0, 2, 0, 1) for each in range(4)])
    counts = [len(sections[each]) // layout.SIZES[each][1] for each in Section]
    file = opened(tmp_path, sections, made.header(counts, events=6))
    assert [event.rip for event in file.events()] == [2, 3, 0, 1]
    assert {event.kind for event in file.events()} == {layout.SWITCH}


def test_the_writer_of_an_entry_is_told_with_what_it_replaced_and_when(tmp_path: Path) -> None:
    finding = told(tmp_path, records(before={0: 3}, after={0: NX}), guilty(value=NX | ACCESSED))
    assert finding.writer == Writer(
        TABLE, LOADER, f"{LOADER:#x}", 3, NX, ("0xdf98024", "0xfea95f2"), 0, When.BEFORE, 1000
    )
    words = text.render(Verdict(Status.FAULTED, (finding,)))
    assert "0xdf98130 wrote 0x800000000dfbd003 over 0x3, at most 1,000 instructions before the switch" in " ".join(words.split())
    assert "0xdf98130 wrote 0x800000000dfbd003 over 0x3" in html.render(Verdict(Status.FAULTED, (finding,)))
    document = json_form.as_dict(Verdict(Status.FAULTED, (finding,)))
    one = document["findings"][0]  # type: ignore[index]
    assert one["writer"]["rip"] == "0xdf98130" and one["writer"]["old"] == "0x3" and one["unwritten"] is False


SHORT = next(iter(formats_of(CpuState(cr0=CR0_PE | CR0_PG, cr3=TABLE, cr4=0, efer=0))))


@pytest.mark.parametrize(
    ("index", "part", "other", "rip"),
    [
        (0, layout.SLOT_LOW, 2, LOADER),
        (1, layout.SLOT_LOW, 2, LOADER + 8),
        (1, layout.SLOT_HIGH, 2, LOADER),
        (0, layout.SLOT_HIGH, 2, LOADER + 8),
        (0, 0, 2, LOADER),  # a store to all of the 8 bytes
        (1, layout.SLOT_LOW, 0, None),  # nobody wrote that half
    ],
)
def test_of_an_entry_of_4_bytes_it_is_whoever_wrote_these(index: int, part: int, other: int, rip: int | None, tmp_path: Path) -> None:
    """The last store to the aligned 8 bytes may have been for the entry beside it."""
    finding = BY_ID["nx-upper-level"].finding(Message("a"), Message("b"))
    entry = EntryRef.of(SHORT, TABLE, index, 0x1001)
    verdict = Verdict(Status.FAULTED, (replace(finding, entry=entry),))
    sections = records([(1, 2, 1, 0), (2, 1, 1, 0)], after={0: 0x0000100100001001}, parts={0: part}, others={0: other})
    writer = told(tmp_path, sections, verdict).writer
    assert writer is not None and (writer.phys, writer.rip) == (TABLE + 4 * index, rip)
    assert writer.new == (None if rip is None else 0x1001)


def test_of_a_half_of_which_not_all_was_kept_nobody_is_named(tmp_path: Path) -> None:
    finding = BY_ID["nx-upper-level"].finding(Message("a"), Message("b"))
    verdict = Verdict(Status.FAULTED, (replace(finding, entry=EntryRef.of(SHORT, TABLE, 1, 0x1001)),))
    sections = records(parts={0: layout.SLOT_LOW}) | {Section.PAGES: layout.PAGE.pack(TABLE, 1, 0)}
    assert told(tmp_path, sections, verdict, flags=layout.HALVES_LOST).writer is None


TWO_STORES = [(1, 2, 1, 0), (2, 1, 1, 0)]


def test_of_an_entry_that_two_stores_made_both_are_told(tmp_path: Path) -> None:
    sections = records(TWO_STORES, before={0: 0x0DFBD003}, after={0: NX}, parts={0: layout.SLOT_HIGH}, others={0: 2})
    finding = told(tmp_path, sections)
    writer = finding.writer
    assert writer is not None and (writer.rip, writer.part, writer.old, writer.new) == (LOADER, Part.HIGH, 0, 0x80000000)
    [other] = writer.others
    assert (other.rip, other.part, other.old, other.new, other.phys) == (LOADER + 8, Part.LOW, None, 0x0DFBD003, TABLE)
    words = " ".join(text.render(Verdict(Status.FAULTED, (finding,))).split())
    assert "the upper 4 bytes: 0xdf98130 wrote 0x80000000 over 0x0" in words
    assert "the lower 4 bytes: 0xdf98138 wrote 0xdfbd003" in words
    document = json_form.as_dict(Verdict(Status.FAULTED, (finding,)))
    one = document["findings"][0]  # type: ignore[index]
    assert [(each["rip"], each["part"]) for each in one["writers"]] == [("0xdf98130", "high"), ("0xdf98138", "low")]


def test_the_half_with_the_bits_that_are_to_be_mended_is_told_first(tmp_path: Path) -> None:
    """Though the other one was written later."""
    sections = records(TWO_STORES, after={0: NX}, parts={0: layout.SLOT_LOW}, others={0: 2})
    [finding] = guilty().findings
    assert finding.entry is not None
    mend = Mend((Edit(Change.CLEAR_NX, finding.entry, finding.entry.value & ~(1 << 63)),))
    first = told(tmp_path, sections, Verdict(Status.FAULTED, (replace(finding, mends=(mend,)),))).writer
    assert first is not None and (first.rip, first.part) == (LOADER + 8, Part.HIGH)
    assert [each.part for each in first.others] == [Part.LOW]


def test_of_two_halves_that_one_instruction_wrote_it_is_told_once(tmp_path: Path) -> None:
    sections = records([(1, 2, 1, 0), (1, 2, 1, 0)], after={0: NX}, parts={0: layout.SLOT_HIGH}, others={0: 2})
    writer = told(tmp_path, sections).writer
    assert writer is not None and (writer.part, writer.others, writer.new, writer.old) == (Part.WHOLE, (), NX, None)


def stack_word(phys: int = TABLE, value: int = NX, width: int = 8) -> GuiltyWord:
    return GuiltyWord("overwritten-address", "the word on the stack", phys, value, width, is_past=True)


def of_stack(tmp_path: Path, sections: dict[Section, bytes], word: GuiltyWord) -> Writer | None:
    finding = BY_ID["overwritten-address"].finding(Message("a"), Message("b"))
    return attributed(Verdict(Status.FAULTED, (finding,)), opened(tmp_path, sections), None, [word]).findings[0].writer


def test_who_wrote_a_word_of_the_stack_is_told_only_if_it_was_that_value(tmp_path: Path) -> None:
    """The CPU itself has pushed a frame over it, maybe; or it was a jump, and the word is another matter."""
    found = of_stack(tmp_path, records(after={0: NX}), stack_word())
    assert found is not None and (found.rip, found.what) == (LOADER, "the word on the stack")
    assert of_stack(tmp_path, records(after={0: 7}), stack_word()) is None
    assert of_stack(tmp_path, records(), stack_word()) is None
    jumped = records(after={0: NX})
    jumped[Section.BLOCKS] = jumped[Section.BLOCKS][: 2 * layout.BLOCK.size] + layout.BLOCK.pack(0x200, 0x200, 1, 2)
    assert of_stack(tmp_path, jumped, stack_word()) is None


@pytest.mark.parametrize(("before", "is_told"), [(0, True), (NX, False), (None, False)])
def test_a_bit_that_the_cpu_has_set_in_a_descriptor_is_no_store_of_the_instruction(before: int | None, is_told: bool, tmp_path: Path) -> None:
    """As the accessed bit, by a load of the segment."""
    value = NX | 1 << 40
    word = replace(stack_word(value=value), is_past=False, ignored=1 << 40)
    sections = records(before={} if before is None else {0: before}, after={0: value}, parts={0: layout.SLOT_HIGH}, others={0: 1})
    found = of_stack(tmp_path, sections, word)
    assert (found is not None and found.part is not Part.LOW) is is_told


def test_a_word_that_lies_across_two_is_known_by_its_halves(tmp_path: Path) -> None:
    """As RSP0 in a TSS: 4 bytes behind its start."""
    sections = records([(1, 2, 1, 0), (1, 2, 1, 0)], after={0: 0x5678000000000000, 1: 0x1234})
    word = replace(stack_word(TABLE + 4, 0x0000123456780000), is_past=False)
    found = of_stack(tmp_path, sections, word)
    assert found is not None and (found.phys, found.rip, found.new, found.part) == (TABLE + 4, LOADER, 0x0000123456780000, Part.WHOLE)


def test_the_switch_is_that_of_the_cpu_that_is_judged(tmp_path: Path) -> None:
    """Another one's comes later, and what lies between the two is behind the first."""
    events = [(1, 1, 0, 2, 0, 1), (2, 5, 1, 2, 0, 1)]
    finding = told(tmp_path, records(stores=[(1, 2, 3, 0)], events=events, after={0: NX}))
    assert finding.writer is not None and finding.writer.when is When.AFTER


def test_instructions_of_another_cpu_are_not_counted(tmp_path: Path) -> None:
    sections = records(after={0: NX})
    sections[Section.MOMENTS] = layout.MOMENT.pack(7, 0, 1, 0) + layout.MOMENT.pack(9000, 0, 0, 0)
    finding = told(tmp_path, sections)
    assert finding.writer is not None and (finding.writer.when, finding.writer.instructions) == (When.BEFORE, None)


def test_a_file_that_moves_memory_below_zero_knows_no_word(tmp_path: Path) -> None:
    sections = records()
    counts = [len(sections[each]) // layout.SIZES[each][1] for each in Section]
    file = opened(tmp_path, sections, made.header(counts, guest=(0, 0, 1 << 32, 2 << 32, 1 << 51), counts_ram=1))
    assert file.word(1 << 32) is None


class NoLines(Symbols):
    """A file with symbols, and without lines."""

    def place(self, name: str, address: int) -> Place | None:
        return Place(name, address, symbol=f"map+{address - LOADER:#x}", image="BOOTX64.EFI+0x1130")

    def caller(self, name: str, return_address: int) -> Place | None:
        return Place(name, return_address, symbol="main+0x9")


def test_of_a_file_without_lines_the_writer_is_a_function(tmp_path: Path) -> None:
    finding = attributed(guilty(), opened(tmp_path, records(after={0: NX})), NoLines((), ())).findings[0]
    assert finding.writer is not None and (finding.writer.place, finding.writer.callers) == ("map+0x0", ("main+0x9", "main+0x9"))
    assert "map+0x0 (0xdf98130) wrote" in text.render(Verdict(Status.FAULTED, (finding,)))


def test_what_a_device_has_written_since_has_no_writer(tmp_path: Path) -> None:
    assert told(tmp_path, records(after={0: 0x1234})).writer is None


@pytest.mark.parametrize(
    ("value", "flags", "trails", "is_told"),
    [(0x1234, 0, 1, True), (NX | ACCESSED, 0, 1, False), (0x1234, layout.FULL, 1, False), (0x1234, 0, 2, False)],
    ids=["changed", "as it was left", "not all recorded", "two CPUs"],
)
def test_an_entry_that_memory_has_otherwise_was_written_by_no_instruction(value: int, flags: int, trails: int, is_told: bool,
                                                                          tmp_path: Path) -> None:  # fmt: skip
    """Of what lies in memory now; a trace is older, and the second error's entry may be mended."""
    sections = records(after={0: NX})
    sections[Section.TRAILS] *= trails
    verdict = guilty(value=value)
    file = opened(tmp_path, sections, flags=flags)
    [found] = attributed(verdict, file, None, is_live=True).findings
    document = json_form.as_dict(Verdict(Status.FAULTED, (found,)))["findings"][0]  # type: ignore[index]
    assert document["unwritten"] is False
    if is_told:
        assert found.writer == Writer(TABLE, new=NX, lost=f"{LOADER:#x}") and document["writer"] is None
        assert f"no instruction of the guest: since {LOADER:#x} left {NX:#x} there" in " ".join(text.render(Verdict(Status.FAULTED, (found,))).split())
    else:
        assert found.writer is None or found.writer.rip == LOADER
    twice = attributed(replace(verdict, findings=verdict.findings * 2), file, None, is_live=True).findings
    assert twice[1].writer is None or twice[1].writer.rip == LOADER


@pytest.mark.parametrize(("flags", "is_told"), [(0, True), (layout.FULL, False)])
def test_that_nobody_wrote_is_said_only_of_a_whole_record(flags: int, is_told: bool, tmp_path: Path) -> None:
    finding = told(tmp_path, records(), guilty(index=7), flags)
    assert finding.writer == (Writer(TABLE + 56) if is_told else None)
    document = json_form.as_dict(Verdict(Status.FAULTED, (finding,)))
    assert document["findings"][0]["writer"] is None and document["findings"][0]["unwritten"] is is_told  # type: ignore[index]


def test_that_nobody_wrote_is_not_said_of_a_machine_that_was_restored(tmp_path: Path) -> None:
    sections = records()
    sections[Section.BLOCKS] = layout.BLOCK.pack(0x1234, 0x1234, 1, 2)
    assert told(tmp_path, sections, guilty(index=7)).writer is None


def test_that_nobody_wrote_is_not_said_of_the_screens_memory(tmp_path: Path) -> None:
    """A device has it; a CPU that ran through zeros ends there."""
    for phys, is_told in ((0x9FFF8, True), (0xA0000, False), (0xBFFF8, False), (0xC0000, True)):
        found = of_stack(tmp_path, records(), replace(stack_word(phys, 0), is_past=False))
        assert (found is not None) is is_told


@pytest.mark.parametrize(
    ("stores", "event", "when"),
    [
        ([(1, 2, 3, 0)], (1, 2, 0, 2, 0, 1), When.AFTER),
        ([(1, 2, 2, 0)], (1, 2, 0, 2, 0, 0), When.UNKNOWN),  # of a switch that was made many times
        ([(1, 2, 1, 0)], (1, 2, 0, 2, 4, 1), When.UNKNOWN),  # an interrupt's handler is no switch
    ],
)
def test_how_a_store_lies_to_the_switch(stores: list[tuple[int, int, int, int]], event: tuple[int, int, int, int, int, int],
                                        when: When, tmp_path: Path) -> None:  # fmt: skip
    finding = told(tmp_path, records(stores=stores, events=[event], after={0: NX}))
    assert finding.writer is not None and finding.writer.when is when


@pytest.mark.parametrize(
    "head",
    [b"", b"R3COWRS1", made.header([0] * 11, magic=1), made.header([(1 << 20) + 1] + [0] * 10),
     made.header([0] * 11)[:-1] + b"\1"],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_a_line(head: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="writers: (no file of the plugin|damaged)") as refused:
        opened(tmp_path, {}, head)
    assert "\n" not in str(refused.value)
    with pytest.raises(UnusableInput, match="No such file"):
        WritersFile(tmp_path / "none")


def test_a_trail_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full one has 8192 blocks, and three questions want them."""
    file = opened(tmp_path, records())
    blocks = [*file.blocks(0)]
    assert len(blocks) == 3
    monkeypatch.setattr(WritersFile, "_read", lambda *_: b"")
    assert [*file.blocks(0)] == blocks
