"""Stops a guest behind each store to a few words of its memory, by QEMU's gdb stub: who stored last has written what is there.

The stub watches virtual addresses. What is watched is the virtual address that equals the word's physical one: where loaders build
tables, memory is usually mapped at its own address, or paging is off. Of a store through another address nobody hears; then the word
holds something else than the last store has left, and nobody is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.diagnose.writer import Caught
from cr3scope.model.stored_here import stored_here
from cr3scope.qemu.gdb_stub import Kind, Point
from cr3scope.qemu.paused_guest import stopped_cpus
from cr3scope.qemu.qmp import Qmp
from cr3scope.qemu.stub_stop import StubStop
from cr3scope.target.stopped_cpu import StoppedCpu


@dataclass(frozen=True, slots=True)
class Watched:
    """A word of physical memory: 4 or 8 bytes."""

    phys: int
    width: int


class EntryWatch:
    """What is to be watched in one boot, and what came of it. ``caught``: the last store to each word."""

    def __init__(self, words: Sequence[Watched]) -> None:
        self.words = tuple(dict.fromkeys(words))[: limits.WATCHED_WORDS]
        self.caught: dict[int, Caught] = {}
        self.why = ""  # why not all was watched

    def stop_in(self, channels: Path) -> StubStop:
        """Return what stops the guest. ``channels``: a folder for its socket."""
        return _EntryStop(channels, self)


class _EntryStop(StubStop):
    def __init__(self, channels: Path, watch: EntryWatch) -> None:
        super().__init__(channels)
        self._watch = watch
        self._held: dict[int, int] = {}  # what each word holds
        self._stops = 0

    def points(self, qmp: Qmp) -> Sequence[Point]:
        cpu = next(iter(stopped_cpus(qmp)), None)
        for word in self._watch.words if cpu is not None else ():
            self._note(cpu, word)
        return [Point(Kind.WRITE, word.phys, word.width) for word in self._watch.words]

    def stopped(self, qmp: Qmp) -> bool:
        """Keep who has stored, and let the guest go on; return whether no more is to come."""
        assert self.stub is not None
        found = self.stub.watched()
        if found is None:
            return False  # stopped by us, to be asked, or at its end
        number, virt = found
        cpu = next((each for each in stopped_cpus(qmp) if each.number == number), None)
        for word in self._watch.words:
            if word.phys <= virt < word.phys + word.width:
                self._look(cpu, word)
        self._stops += 1
        if self._stops < limits.WATCH_STOPS:
            self.stub.go()
            return False
        self.failed(f"more than {limits.WATCH_STOPS:,} stores to what is guilty")
        for word in self._watch.words:
            self.stub.clear_point(Point(Kind.WRITE, word.phys, word.width))
        self.stub.let_go()
        return True

    def failed(self, why: str) -> str:
        self._watch.why = why
        self._watch.caught.clear()  # of later stores nobody hears
        return ""

    def _look(self, cpu: StoppedCpu | None, word: Watched) -> None:
        before, now = self._held.get(word.phys), self._note(cpu, word)
        rip = None if cpu is None else stored_here(cpu, word.phys, word.width)
        if cpu is not None and rip is not None and now is not None:
            self._watch.caught[word.phys] = Caught(word.phys, rip, before, now, cpu.number)
        else:
            self._watch.caught.pop(word.phys, None)  # somebody has, and nobody knows who

    def _note(self, cpu: StoppedCpu | None, word: Watched) -> int | None:
        data = b"" if cpu is None else cpu.physical(word.phys, word.width)
        if len(data) < word.width:
            return None
        self._held[word.phys] = int.from_bytes(data, "little")
        return self._held[word.phys]
