"""Says of what a verdict finds guilty who wrote it, by the file of QEMU's plugin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import or_

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import Caught, GuiltyWord, When, Writer
from cr3scope.images.place import Place
from cr3scope.images.symbols import Symbols
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.writers.layout import SWITCH, Part
from cr3scope.input.writers.reader import Event, Store, WritersFile
from cr3scope.message import Message
from cr3scope.verdict.assemble import with_note, with_writers
from cr3scope.verdict.source_texts import source_texts
from cr3scope.verdict.types import Branch, Shaping, Status, Verdict
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import ACCESSED, DIRTY
from cr3scope.x86.word import QWORD

_CPU_SETS = ACCESSED | DIRTY  # in an entry, by itself
_RETURN_BYTES = (1, 3)  # C3, or C2 with two more: no jump to an address that it does not name itself
_VGA = (0xA0000, 0xBFFFF)  # a device on every PC: stores to it are not recorded
_ROM = (0xC0000, 0xFFFFF)  # on every PC: a store may do nothing there
_HALF = 4  # bytes, of which it is known who wrote each
_HALF_MASK = (1 << 8 * _HALF) - 1
_PARTS = {0: Part.LOW, _HALF: Part.HIGH}
_MOST_CALLERS = 8
_MOST_BRANCHES, _MOST_SHAPED = 64, 16
_DEAD = (Status.FAULTED, Status.HUNG)
NOT_EXECUTED = Diagnostic(Message("no writer is told: QEMU has not executed the guest itself, but the host's processor has (KVM)"))
_ENDS_THERE = (Ending.TRIPLE_FAULT, Ending.STORM)  # nothing was executed behind it


def attributed(
    verdict: Verdict, file: WritersFile, symbols: Symbols | None, words: Sequence[GuiltyWord] = (), cpu: int = 0, is_live: bool = False
) -> Verdict:
    """Return the verdict with the writer of each entry and word that a finding is about, as far as that is certain.

    And with the way that ``cpu``, the one that is judged, came to its end. ``is_live``: the entry of the first error is as memory has it
    at the end; those of a trace are older, and what is behind the first one may be mended already.
    """
    if file.is_empty:
        return with_note(verdict, NOT_EXECUTED)
    teller = _Teller(file, symbols, cpu)
    of_rule = {word.rule: tuple(each for each in words if each.rule == word.rule) for word in words}
    told = [_told(teller, each, of_rule.pop(each.rule, ())) for each in verdict.findings]
    if is_live and told and told[0].severity is Severity.ERROR and told[0].writer is None:
        told[0] = replace(told[0], writer=teller.lost(told[0]))
    path, shaped = (teller.path(verdict.observation, cpu), teller.shaped(cpu)) if verdict.status in _DEAD else ((), ())
    found = with_writers(verdict, told, path, shaped, {})
    return found if symbols is None else with_writers(found, found.findings, path, shaped, source_texts(found, symbols)[0])


def caught_at(verdict: Verdict, caught: Mapping[int, Caught], symbols: Symbols | None, words: Sequence[GuiltyWord] = ()) -> Verdict:
    """Return the verdict with the writer of each entry and word at whose last store the guest was stopped.

    Only where memory still holds what that store left.
    """
    of_rule = {word.rule: word for word in reversed(words)}

    def told(finding: Finding) -> Finding:
        entry, word = finding.entry, of_rule.get(finding.rule)
        if entry is not None:
            return replace(finding, writer=_caught(caught.get(entry.phys), entry.value, _CPU_SETS, symbols))
        return finding if word is None else replace(finding, writer=_caught(caught.get(word.phys), word.value, word.ignored, symbols, word.what))

    found = with_writers(verdict, [*map(told, verdict.findings)], (), (), {})
    return found if symbols is None else with_writers(found, found.findings, (), (), source_texts(found, symbols)[0])


def _caught(store: Caught | None, value: int, ignored: int, symbols: Symbols | None, what: str = "") -> Writer | None:
    if store is None or (store.new ^ value) & ~ignored:
        return None
    place = _words(symbols.place("writer", store.rip) if symbols else None, store.rip)
    return Writer(store.phys, store.rip, place, store.old, store.new, cpu=store.cpu, what=what)


def _told(teller: _Teller, finding: Finding, words: Sequence[GuiltyWord]) -> Finding:
    """The finding with who wrote the words that it is about; its entry, where there are none; last what may have led there."""
    own, past = ([*_words_told(teller, [word for word in words if word.is_past is is_past])] for is_past in (False, True))
    entry = finding.entry
    if entry is not None and not own:
        changed = reduce(or_, (each.value ^ entry.value for mend in finding.mends for each in mend.edits if each.entry.phys == entry.phys), 0)
        writer = teller.writer(entry.phys, entry.value, _CPU_SETS, entry.form.entry_bytes, changed)
        own = [] if writer is None else [writer]
    if not own and not past:
        return replace(finding, writer=None)
    first, *rest = [*own, *past]
    return replace(finding, writer=replace(first, others=(*first.others, *rest)))


def _words_told(teller: _Teller, words: Sequence[GuiltyWord]) -> Iterator[Writer]:
    for word in words:
        found = teller.writer(word.phys, word.value, word.ignored, word.width, is_past=word.is_past, has_cpus_stores=bool(word.ignored))
        if found is not None:
            yield replace(found, what=word.what, others=tuple(replace(other, what=word.what) for other in found.others))


@dataclass(frozen=True, slots=True)
class _Half:
    """4 bytes, and the last store to them: None if there was none, or if that is not known."""

    phys: int
    part: Part
    store: Store | None
    is_known: bool
    before: int | None
    after: int | None
    is_last: bool  # of the aligned 8 bytes they were written last


class _Teller:
    def __init__(self, file: WritersFile, symbols: Symbols | None, cpu: int) -> None:
        self._file, self._symbols = file, symbols
        switches = [each for each in file.events() if each.kind == SWITCH and each.cpu == cpu and not each.in_interrupt]
        self._switch: Event | None = switches[-1] if switches else None
        last = deque(file.blocks(cpu), maxlen=1)
        self._ends_in_return = bool(last) and last[0].end - last[0].last in _RETURN_BYTES

    def writer(
        self, phys: int, value: int, ignored: int, width: int = QWORD, guilty: int = 0, is_past: bool = False,
        has_cpus_stores: bool = False,
    ) -> Writer | None:
        """Return who wrote the ``width`` bytes there, 4 or 8; None if it is not certain, as where memory now holds something else than
        the last store has left.

        Of halves that two instructions wrote the one with the ``guilty`` bits is told first, else the newer; ``others`` has the other.
        ``is_past``: only if it is certain that the store left the value, and that a return has taken it.
        ``has_cpus_stores``: the CPU's setting of the ``ignored`` bits counts as a store of the instruction that made it.
        """
        if phys % _HALF or is_past and not self._ends_in_return:
            return None
        halves = [self._half(phys + at, _PARTS[at] if width > _HALF else Part.WHOLE) for at in range(0, width, _HALF)]
        for at, half in enumerate(halves):
            kept = ~(ignored >> 8 * _HALF * at) & _HALF_MASK
            if half.after is None and is_past or half.after is not None and (half.after ^ value >> 8 * _HALF * at) & kept:
                return None
            if has_cpus_stores and _is_cpus(half, ignored >> 8 * _HALF * at):
                halves[at] = replace(half, store=None, is_known=False)
        if len({(half.store and half.store.rip, half.is_known) for half in halves}) == 1:
            return self._whole(halves)
        halves.sort(key=lambda half: (_is_guilty(half, guilty), half.store.moment if half.store else -1, half.is_last), reverse=True)
        first, *rest = (self._told(half.store, half.phys, half.before, half.after, half.part) if half.is_known else None for half in halves)
        return None if first is None else replace(first, others=tuple(each for each in rest if each is not None and each.rip is not None))

    def lost(self, finding: Finding) -> Writer | None:
        """Return whose store to an error's entry is no more what memory has there, though no instruction has stored since; None if it
        is, or that is not certain."""
        entry = finding.entry
        if entry is None or not (self._file.is_whole and self._file.is_of_one_cpu) or _VGA[0] <= entry.phys <= _ROM[1]:
            return None
        halves = [self._half(entry.phys + at, Part.WHOLE) for at in range(0, entry.form.entry_bytes, _HALF)]
        left = _joined([half.after for half in halves])
        if left is None or not (left ^ entry.value) & ~_CPU_SETS or len({half.store.rip for half in halves if half.store}) != 1:
            return None
        told = self._whole(halves)
        return None if told is None else Writer(entry.phys, new=left, lost=told.place)

    def _half(self, phys: int, part: Part) -> _Half:
        word = self._file.word(phys)
        if word is None:
            return _Half(phys, part, None, True, None, None, True)
        before, after = (_part(each, phys % QWORD) for each in (word.before, word.after))
        if word.part in (Part.WHOLE, _PARTS[phys % QWORD]):
            return _Half(phys, part, word.store, True, before, after, True)
        return _Half(phys, part, word.other, word.is_other_known, None, after, False)

    def _whole(self, halves: Sequence[_Half]) -> Writer | None:
        """Of what one instruction wrote, or nobody."""
        newest = next((half for half in halves if half.is_last), halves[0])
        if not newest.is_known:
            return None
        before, after = (_joined([half.before for half in halves]), _joined([half.after for half in halves]))
        return self._told(newest.store, halves[0].phys, before, after, Part.WHOLE)

    def _told(self, store: Store | None, phys: int, before: int | None, after: int | None, part: Part) -> Writer | None:
        if store is None:
            is_certain = self._file.is_whole and self._file.began_at_reset and not _VGA[0] <= phys <= _VGA[1]
            return Writer(phys, part=part) if is_certain else None
        names = self._names(store)
        when, instructions = self._when(store)
        return Writer(
            phys, store.rip, _words(names.place("writer", store.rip) if names else None, store.rip), before, after,
            tuple(_words(names.caller("caller", call.returns_to) if names else None, call.rip) for call in store.calls[:_MOST_CALLERS]),
            store.cpu, when, instructions, part=part,
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


def _part(word: int | None, at: int) -> int | None:
    return None if word is None else word >> 8 * at & _HALF_MASK


def _joined(halves: Sequence[int | None]) -> int | None:
    """The value of which these are the halves, the lower one first; None if one is not known."""
    known = [half for half in halves if half is not None]
    return None if len(known) < len(halves) else sum(half << 8 * _HALF * at for at, half in enumerate(known))


def _is_cpus(half: _Half, bits: int) -> bool:
    """Whether the last store may have set no more than these bits."""
    return bool((half.after or 0) & bits) and (half.before is None or not (half.before ^ (half.after or 0)) & ~bits)


def _is_guilty(half: _Half, bits: int) -> bool:
    in_low, in_high = bits & _HALF_MASK, bits >> 8 * _HALF
    return bool(in_high and not in_low if half.part is Part.HIGH else in_low and not in_high)


def _words(place: Place | None, address: int) -> str:
    if place is None:
        return f"{address:#x}"
    return place.source or place.symbol or place.image or f"{address:#x}"
