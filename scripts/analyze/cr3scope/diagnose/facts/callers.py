"""Who called the code that died: return addresses on the stack of a paused guest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.facts.call_site import LONGEST, is_after_call, target_of_call
from cr3scope.diagnose.facts.file_code import Piece
from cr3scope.paging.walk import is_canonical
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.word import QWORD

_DEPTH = 1024  # bytes of the stack that are looked at


def callers(snapshot: StoppedCpu, rsp: int, pieces: Sequence[Piece] = (), width: int = QWORD) -> Iterator[int]:
    """Return addresses from ``rsp`` upwards, the newest first.

    Words that point right behind a call instruction. Nothing tells them from those that calls long
    since over left in places which nobody has written again: some of these may be among them. Where
    ``pieces`` have the code, theirs counts, not what lies in memory now.
    ``width``: bytes of a push. QmpError if QEMU stops answering.
    """
    stack = snapshot.bytes_at(rsp, _DEPTH)
    seen = set()
    for at in range(0, len(stack) - width + 1, width):
        word = int.from_bytes(stack[at : at + width], "little")
        if word not in seen and _may_return_to(snapshot, word, pieces):
            seen.add(word)
            yield word


def _may_return_to(snapshot: StoppedCpu, word: int, pieces: Sequence[Piece]) -> bool:
    if word < LONGEST or not is_canonical(word, snapshot.cpu.levels):
        return False
    known = next((each.before(word, LONGEST) for each in pieces if each.holds(word - 1)), None)
    before = known if known is not None else snapshot.bytes_at(word - LONGEST, LONGEST)
    if len(before) < LONGEST or not is_after_call(before):
        return False
    target = target_of_call(before, word)
    return target is None or is_canonical(target, snapshot.cpu.levels)
