"""Says of what a verdict finds guilty who wrote it, by the file of QEMU's plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import GuiltyWord, When, Writer
from cr3scope.images.place import Place
from cr3scope.images.symbols import Symbols
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.writers.layout import SWITCH
from cr3scope.input.writers.reader import Event, Store, WritersFile
from cr3scope.message import Message
from cr3scope.verdict.assemble import with_note, with_writers
from cr3scope.verdict.source_texts import source_texts
from cr3scope.verdict.types import Branch, Shaping, Status, Verdict
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import ACCESSED, DIRTY
from cr3scope.x86.word import QWORD

_CPU_SETS = ACCESSED | DIRTY  # in an entry, by itself
_MOST_CALLERS = 8
_MOST_BRANCHES, _MOST_SHAPED = 64, 16
_DEAD = (Status.FAULTED, Status.HUNG)
NOT_EXECUTED = Diagnostic(Message("no writer is told: QEMU has not executed the guest itself, but the host's processor has (KVM)"))
_ENDS_THERE = (Ending.TRIPLE_FAULT, Ending.STORM)  # nothing was executed behind it


def attributed(verdict: Verdict, file: WritersFile, symbols: Symbols | None, words: Sequence[GuiltyWord] = (), cpu: int = 0) -> Verdict:
    """Return the verdict with the writer of each entry and word that a finding is about, as far as that is certain.

    And with the way that ``cpu``, the one that is judged, came to its end.
    """
    if file.is_empty:
        return with_note(verdict, NOT_EXECUTED)
    teller = _Teller(file, symbols, cpu)
    by_rule = {word.rule: word for word in words}

    def told(finding: Finding) -> Finding:
        if finding.entry is not None:
            entry = finding.entry
            return replace(finding, writer=teller.writer(entry.phys, entry.value, _CPU_SETS, entry.form.entry_bytes))
        word = by_rule.get(finding.rule)
        if word is None:
            return finding
        writer = teller.writer(word.phys, word.value, 0)
        return finding if writer is None else replace(finding, writer=replace(writer, what=word.what))

    path, shaped = (teller.path(verdict.observation, cpu), teller.shaped(cpu)) if verdict.status in _DEAD else ((), ())
    found = with_writers(verdict, [*map(told, verdict.findings)], path, shaped, {})
    return found if symbols is None else with_writers(found, found.findings, path, shaped, source_texts(found, symbols)[0])


class _Teller:
    def __init__(self, file: WritersFile, symbols: Symbols | None, cpu: int) -> None:
        self._file, self._symbols = file, symbols
        switches = [each for each in file.events() if each.kind == SWITCH and each.cpu == cpu and not each.in_interrupt]
        self._switch: Event | None = switches[-1] if switches else None

    def writer(self, phys: int, value: int, ignored: int, width: int = QWORD) -> Writer | None:
        """Return who wrote the ``width`` bytes there; None if it is not certain: memory now holds something else than the last store
        has left, or that store has changed another part of the aligned 8 bytes alone.
        """
        word = self._file.word(phys)
        if word is None:
            is_certain = self._file.is_whole and self._file.began_at_reset
            return Writer(phys) if is_certain else None
        before, after = (_part(each, phys % QWORD, width) for each in (word.before, word.after))
        if phys % width or (after is not None and (after ^ value) & ~ignored):
            return None
        if width < QWORD and (before is None or after is None or before == after):
            return None
        store = word.store
        names = self._names(store)
        when, instructions = self._when(store)
        return Writer(
            phys, store.rip, _words(names.place("writer", store.rip) if names else None, store.rip), before, after,
            tuple(_words(names.caller("caller", call.returns_to) if names else None, call.rip) for call in store.calls[:_MOST_CALLERS]),
            store.cpu, when, instructions,
        )  # fmt: skip

    def path(self, seen: Observation | None, cpu: int) -> tuple[Branch, ...]:
        """Return the last branches up to the place where the CPU died, the oldest first; none if that is not on its way."""
        blocks = [*self._file.blocks(cpu)]
        died_at = seen.first.rip if seen is not None and seen.first is not None else None
        ends = [number for number, each in enumerate(blocks) if died_at is not None and each.first <= died_at < each.end]
        if not ends and (seen is None or seen.ending not in _ENDS_THERE):
            return ()
        way = blocks[: ends[-1] + 1] if ends else blocks
        branches = [(a, b) for a, b in pairwise(way) if a.end != b.first][-_MOST_BRANCHES:]
        return tuple(Branch(a.last, b.first, b.times, (self._place(a.last), self._place(b.first))) for a, b in branches)

    def shaped(self, cpu: int) -> tuple[Shaping, ...]:
        """Return what of the CPU's instructions shaped its switch, the last one last."""
        own = [each for each in self._file.events() if each.cpu == cpu and not each.in_interrupt]
        return tuple(Shaping(each.kind, each.rip, self._place(each.rip)) for each in own[-_MOST_SHAPED:])

    def _place(self, address: int) -> str:
        return _words(None if self._symbols is None else self._symbols.place("path", address), address)

    def _names(self, store: Store) -> Symbols | None:
        """None where what lies at the instruction's address by now was put there after it had stored."""
        code = self._file.word(store.rip)
        return None if code is not None and code.store.moment > store.moment else self._symbols

    def _when(self, store: Store) -> tuple[When, int | None]:
        switch = self._switch
        if switch is None or (store.moment == switch.moment and not switch.is_exact):
            return When.UNKNOWN, None
        if store.moment > switch.moment:
            return When.AFTER, None
        if store.cpu != switch.cpu or store.instructions is None or switch.instructions is None:
            return When.BEFORE, None
        counted = switch.instructions - store.instructions
        return When.BEFORE, counted if counted >= 0 else None


def _part(word: int | None, at: int, width: int) -> int | None:
    return None if word is None else word >> 8 * at & (1 << 8 * width) - 1


def _words(place: Place | None, address: int) -> str:
    if place is None:
        return f"{address:#x}"
    return place.source or place.symbol or place.image or f"{address:#x}"
