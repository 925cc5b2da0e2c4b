"""Whether the instruction behind a change of the tables is the one that lay there before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, message
from cr3scope.model.code_prediction import CodePrediction
from cr3scope.model.role import Role
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import EntryRef
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode
from cr3scope.x86.entry import PAGE_FRAME
from cr3scope.x86.names import covered
from cr3scope.x86.word import MASK64


def other_code(now: StoppedCpu, seen: CodePrediction) -> Finding | None:
    """Return the finding that the tables which the instruction at the PC loads lead from the next one's address to another frame,
    in which another instruction lies. None where either space does not map it, or memory is not there; and of a copy of the code.

    The CPU fetches what is there, and raises nothing (Intel SDM volume 3A, 5.5.4: the address in a leaf).
    """
    behind = seen.start
    if behind is None or behind == now.cpu or not seen.steps or seen.steps[0].role is not Role.NEXT_FETCH:
        return None
    virt, led = seen.steps[0].virt, now.with_state(behind)
    old = now.bytes_at(virt, LONGEST)
    one = decode(old, virt, now.code_bits) if can_decode() else None
    size = one.size if one is not None else LONGEST
    new = led.bytes_at(virt, size)
    if len(old) < size or len(new) < size or old[:size] == new:
        return None
    elsewhere = next(_elsewhere(now, led, virt, size), None)
    if elsewhere is None or _is_copy(now, led, virt):
        return None
    at, meant, entry, phys = elsewhere
    found = BY_ID["wrong-frame"].finding(
        message("{entry} leads {virt} to {phys}, and the code that goes on there lies at {meant}", entry=entry, virt=Hex(at), phys=Hex(phys),
                meant=Hex(meant)),
        message("before the switch {instruction} holds {old}, behind it {new}", instruction=Hex(virt), old=old[:size], new=new),
    )  # fmt: skip
    return replace(found, entry=entry, range=covered(entry, at))


def _elsewhere(now: StoppedCpu, led: StoppedCpu, virt: int, size: int) -> Iterator[tuple[int, int, EntryRef, int]]:
    """Yield where each page of so many bytes begins that both spaces map, to two places: the virtual address, the physical one before,
    the entry that leads to the one behind, and that."""
    for at in sorted({virt, max(virt, virt + size - 1 & PAGE_FRAME)}):
        before, after = walk(now, now.cpu, at, now.platform), walk(now, led.cpu, at, now.platform)
        if before.phys is not None and after.phys is not None and before.phys != after.phys and after.entries:
            yield at, before.phys, after.leaf, after.phys


def _is_copy(now: StoppedCpu, led: StoppedCpu, virt: int) -> bool:
    """Return whether the instruction at the PC lies in another frame behind it as well, right before what differs: who copied the
    code has changed it then, as kernels do that patch or relocate themselves, and debuggers."""
    size = virt - now.pc & MASK64
    if not 0 < size <= LONGEST or next(_elsewhere(now, led, now.pc, size), None) is None:
        return False
    return now.bytes_at(now.pc, size) == led.bytes_at(now.pc, size)
