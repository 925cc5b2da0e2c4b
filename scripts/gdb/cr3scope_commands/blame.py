"""`cr3scope blame`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import gdb
import numpy as np

from cr3scope.errors import UnusableInput
from cr3scope.images.loaded import Image
from cr3scope.paging.reach import stages
from cr3scope.paging.walk import walk
from cr3scope.render.walk import bit_names
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope_commands.command import Command, address, show
from cr3scope_commands.entry_writes import Journal, Write, entry_value
from cr3scope_commands.rerun import BOOT_SECONDS, image_of_pc, rerun_to_start
from cr3scope_commands.run_to import HARDWARE_MOST, hardware_break, run_until
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3
from cr3scope_commands.target import is_emulated, stop

_LEVELS = {name.lower(): level for level, name in bits.LEVEL_NAMES.items()}
_LEVELS |= {str(level): level for level in bits.LEVEL_NAMES}
_WAITS = "debugger_go"  # the reference loader waits until it is set (docs/running.md)
_MOST_BOOTS = 3
_MOST_ENTRIES = HARDWARE_MOST - 1  # on real debug registers, of which the switch takes one
_CPU_SETS = bits.ACCESSED | bits.DIRTY


class Blame(Command):
    """Show who wrote a page-table entry: boots again and logs every write to it.

    cr3scope blame ENTRY... [ASSIGNMENT...]
    cr3scope blame ADDRESS:LEVEL... [ASSIGNMENT...]
    ENTRY is the entry's physical address, as the verdict prints it. ADDRESS:LEVEL is the entry that
    translates ADDRESS at PML5, PML4, PDPT, PD or PT (or 5 to 1) in the tables of the `mov cr3` at the
    PC. Of several entries one boot tells. The machine is reset and runs from the image that holds the PC to the same `mov cr3`, where it
    stands then. ASSIGNMENT: made where the image starts, for a loader that waits for one, such as
    debugger_go=1 (that one is made by itself).
    Seen are writes through ADDRESS = physical address, as under the firmware, that change the value.
    $cr3scope_writes is set to their number, of all entries. What changes it by another mapping or by a device is told, but not who did it."""

    name, usage = "blame", "ENTRY|ADDRESS:LEVEL... [ASSIGNMENT...]"
    completion = gdb.COMPLETE_EXPRESSION

    def names(self, before: list[str], last: str) -> Iterable[str]:
        """Return the levels that may stand behind a colon."""
        head, colon, _ = last.rpartition(":")
        return (f"{head}:{name}" for name in bits.LEVEL_NAMES.values() if colon and not before)

    def run(self, words: list[str]) -> None:
        if not words:
            raise self.misused()
        now = stop()
        if not now.in_long_mode:
            raise UnusableInput(f"the guest is in {now.mode.value}: `blame` boots again from a UEFI image; see `cr3scope run --who`")
        entries, assignments = _sorted(words)
        wanted = [_wanted(now, replace(now.cpu, cr3=new_cr3(now)), word) for word in entries]
        image = image_of_pc(now)
        offset = now.rip - image.image.base
        count = 0
        for _ in range(_MOST_BOOTS):
            for one in wanted:
                _needs_direct_mapping(now, one.entry)
            before, image = image.image, rerun_to_start(image, image.image.base + offset)
            wanted = [_moved(one, before, image.image) for one in wanted]
            _assign(assignments)
            journals = _watch([one.entry.phys for one in wanted], image.image.base + offset)
            now = stop()
            elsewhere = []
            for one, journal in zip(wanted, journals):
                found = _same_place(now, one)
                if found.phys == one.entry.phys:
                    show(_report(one.entry, journal))
                    count += journal.count
                else:
                    show([f"this boot has the entry at {found.phys:#x}, not {one.entry.phys:#x}: once more"])
                    elsewhere.append(replace(one, entry=found))
            if not elsewhere:
                gdb.set_convenience_variable("cr3scope_writes", count)
                return
            wanted = elsewhere
        raise UnusableInput(f"the entry's address changed with each of {_MOST_BOOTS} boots")


@dataclass(frozen=True)
class _Wanted:
    """The entry, and the address whose translation it is a part of: its place in any boot's tables."""

    entry: EntryRef
    virt: int


def _sorted(words: list[str]) -> tuple[list[str], list[str]]:
    """The entries, and the assignments behind them; UnusableInput if one boot cannot tell of so many entries."""
    count = next((number for number, word in enumerate(words) if number and "=" in word), len(words))
    if count > _MOST_ENTRIES and not is_emulated():
        raise UnusableInput(f"at most {_MOST_ENTRIES} entries at once: the guest runs under KVM, whose {HARDWARE_MOST} debug registers are real")
    return words[:count], words[count:]


def _moved(one: _Wanted, before: Image, after: Image) -> _Wanted:
    """The same place once its image lies elsewhere."""
    return replace(one, virt=one.virt - before.base + after.base) if before.holds(one.virt) else one


def _watch(places: list[int], goal: int) -> list[Journal]:
    """Runs to the switch, and returns what was written at each physical address; UnusableInput if the guest does not come there.
    """
    journals: list[Journal] = []

    def points() -> list[gdb.Breakpoint]:
        journals.extend(Journal(phys, entry_value(phys) or 0) for phys in places)
        return [*journals, hardware_break(goal)]

    run_until(points, BOOT_SECONDS)
    now = stop()
    if now.rip != goal:
        raise UnusableInput(
            f"the boot did not come to the switch at {goal:#x} within {BOOT_SECONDS:g} s: it stands at"
            f" {now.rip:#x}; a loader that waits for a debugger needs an ASSIGNMENT"
        )
    return journals


def _same_place(now: StoppedCpu, wanted: _Wanted) -> EntryRef:
    path = walk(now, replace(now.cpu, cr3=new_cr3(now)), wanted.virt, now.platform)
    for entry in path.entries:
        if entry.level == wanted.entry.level:
            return entry
    raise UnusableInput(f"this boot's tables have no such entry for {wanted.virt:#x}: the two boots differ")


def _wanted(now: StoppedCpu, cpu: CpuState, word: str) -> _Wanted:
    """The entry that is meant; UnusableInput if there is none."""
    at, colon, level_name = word.rpartition(":")
    if colon:
        level = _LEVELS.get(level_name.lower())
        if level is None:
            raise UnusableInput(f"{level_name}: no level: PML5, PML4, PDPT, PD, PT or 5 to 1")
        virt = address(at)
        path = walk(now, cpu, virt, now.platform)
        for entry in path.entries:
            if entry.level == level:
                return _Wanted(entry, virt)
        last = bits.entry_name(path.leaf.level, path.leaf.index) if path.entries else "CR3"
        raise UnusableInput(f"{at} has no entry at that level: its walk ends at {last}")
    phys = address(word)
    if phys % bits.ENTRY_BYTES:
        raise UnusableInput(f"{phys:#x} is no entry: entries lie at multiples of {bits.ENTRY_BYTES}")
    for stage in stages(now, cpu):
        rows = (stage.phys == phys & -bits.PAGE_BYTES).nonzero()[0]
        if len(rows):
            index = phys % bits.PAGE_BYTES // bits.ENTRY_BYTES
            virt = int(stage.first_addresses(rows[:1], np.array([index]))[0])
            value = int(stage.entries[rows[0], index])
            return _Wanted(EntryRef(stage.form.level, index, phys, value), virt)
    raise UnusableInput(f"{phys:#x} lies in no table that CR3 {cpu.cr3:#x} leads to")


def _needs_direct_mapping(now: StoppedCpu, entry: EntryRef) -> None:
    if walk(now, now.cpu, entry.phys, now.platform).phys != entry.phys:
        raise UnusableInput(
            f"the current tables do not map {entry.phys:#x} to itself: a watchpoint would see no write"
        )


def _assign(words: list[str]) -> None:
    given = [word.partition("=")[0].strip() for word in words]
    if _WAITS not in given and gdb.lookup_static_symbol(_WAITS) is not None:
        words = [*words, f"{_WAITS}=1"]
    for word in words:
        gdb.execute(f"set var {word}", to_string=True)


def _report(entry: EntryRef, journal: Journal) -> Iterator[str]:
    name = bits.entry_name(entry.level, entry.index)
    yield f"{name} at {entry.phys:#x}: {journal.count} write{'s' * (journal.count != 1)} changed it"
    yield f"  before the image: {_words(entry, journal.first)}"
    first = journal.count - sum(write.times for write in journal.writes)
    if first:
        yield f"  the first {first} writes are left out"
    for write in journal.writes:
        yield from _write(entry, first + 1, write)
        first += write.times
    final = entry_value(entry.phys)
    if final is None:
        return
    if final != journal.last_seen:
        yield _unseen(journal, journal.last_seen, final)
    yield f"  at the switch: {_words(entry, final)}"
    if final != entry.value:
        yield f"  the first boot had {entry.value:#x} here: the two boots differ"


def _write(entry: EntryRef, number: int, write: Write) -> Iterator[str]:
    numbers = f"{number}" if write.times == 1 else f"{number} to {number + write.times - 1}"
    yield f"write {numbers}: {_words(entry, write.old)} -> {_words(entry, write.new)}"
    for depth, frame in enumerate(write.backtrace):
        yield f"  #{depth}  {frame.place}"
        yield from frame.text


def _unseen(journal: Journal, old: int, new: int) -> str:
    after = f"after write {journal.count}" if journal.count else "after the image started"
    if (old ^ new) & ~_CPU_SETS == 0:
        return f"  {after} the CPU set accessed or dirty: {old:#x} -> {new:#x}"
    return (
        f"  {after}, before the switch, {old:#x} became {new:#x} without a write through this address:"
        " by another mapping of it, or by a device"
    )


def _words(entry: EntryRef, value: int) -> str:
    """The value, its flags, and the frame it holds."""
    if not value & bits.PRESENT:
        return f"{value:#x} (not present)"
    flags = bit_names(EntryRef(entry.level, entry.index, entry.phys, value))
    return f"{value:#x} ({flags}, {bits.frame(value, entry.level):#x})"
