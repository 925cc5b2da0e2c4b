"""Whether the tables lead from the code's addresses to other memory than the file was loaded to."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.file_code import Piece
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, message
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.text import printable
from cr3scope.x86.cpu_state import CR0_PG, USER
from cr3scope.x86.entry import PAGE_BYTES

_OTHERS = 0.5  # share of the bytes, beside what fills the page, that differ where there is other memory: a copy may have been patched
_LEAST = 64  # bytes of code: fewer may be alike by chance
_MOST_OTHERS = 16  # pages of a piece that are asked whether they lie in a copy


def mapped_elsewhere(snapshot: StoppedCpu, rip: int, pieces: Sequence[Piece], cpl: int | None = None) -> Finding | None:
    """Return the finding that an entry leads from the code to another frame than its file names, though the code lies in that.

    ``rip``: the linear address at which the CPU died: in the code, or where zeros ended that it had run into through the very entry
    that maps the code. None where the file's code is not in the memory that the file names, or is where the CPU looks for it; nor
    where other pages lie in a copy of it, of which this one was overwritten; nor of ring 3 (``cpl``, None if nobody tells): a program
    may lie where the kernel's first code was.
    """
    if not snapshot.cpu.cr0 & CR0_PG or cpl == USER:
        return None
    for piece in pieces:
        if piece.phys is None:
            continue
        at = rip - rip % PAGE_BYTES if piece.holds(rip) else piece.start
        found = _at(snapshot, max(at, piece.start), piece, piece.phys)
        if found is not None and (piece.holds(rip) or _ran_through(snapshot, found, rip)):
            return found
    return None


def _at(snapshot: StoppedCpu, virt: int, piece: Piece, phys: int) -> Finding | None:
    meant = phys + virt - piece.start
    code = piece.code[virt - piece.start :][: PAGE_BYTES - virt % PAGE_BYTES]
    path = walk(snapshot, snapshot.cpu, virt, snapshot.platform)
    if path.phys is None or path.phys == meant or not path.entries or len(code) < _LEAST or not any(code):
        return None
    if snapshot.physical(meant, len(code)) != code or _is_copy(snapshot.physical(path.phys, len(code)), code) is not False:
        return None
    if _has_copy(snapshot, virt, piece, path.phys - meant):
        return None
    leaf = path.leaf
    found = BY_ID["wrong-frame"].finding(
        message("{entry} leads {virt} to {phys}, and the code of {file} lies at {meant}", entry=leaf, virt=Hex(virt), phys=Hex(path.phys),
                file=printable(piece.path.name), meant=Hex(meant)),
        message("{count} bytes at {meant} are the file's, those at {phys} are others", count=len(code), meant=Hex(meant), phys=Hex(path.phys)),
    )  # fmt: skip
    return replace(found, entry=leaf)


def _has_copy(snapshot: StoppedCpu, virt: int, piece: Piece, moved: int) -> bool:
    """Whether the tables lead from another page of the piece to a copy of its code, as far from the file's frames: a kernel moves itself."""
    assert piece.phys is not None
    first, pages = piece.start - piece.start % PAGE_BYTES, (piece.start % PAGE_BYTES + len(piece.code) - 1) // PAGE_BYTES + 1
    own = (virt - first) // PAGE_BYTES
    asked = {own - 1, own + 1, *range(0, pages, -(-pages // _MOST_OTHERS))} - {own}
    for page in sorted(asked & {*range(pages)}):
        at = max(first + page * PAGE_BYTES, piece.start)
        code = piece.code[at - piece.start :][: PAGE_BYTES - at % PAGE_BYTES]
        meant = piece.phys + at - piece.start + moved
        led = walk(snapshot, snapshot.cpu, at, snapshot.platform).phys
        if led == meant and _is_copy(snapshot.physical(meant, len(code)), code):
            return True
    return False


def _is_copy(held: bytes, code: bytes) -> bool | None:
    """Whether the bytes are the code, maybe patched; None if they cannot tell: what fills a page is alike everywhere."""
    telling = len(code) - max(Counter(code).values())
    if len(held) != len(code) or telling < _LEAST:
        return None
    return bool(sum(map(operator.ne, held, code)) < _OTHERS * telling)


def _ran_through(snapshot: StoppedCpu, found: Finding, rip: int) -> bool:
    """Whether zeros end at ``rip`` that the same entry maps."""
    before = walk(snapshot, snapshot.cpu, rip - 1, snapshot.platform)
    return bool(before.entries) and before.leaf == found.entry and snapshot.bytes_at(rip - _LEAST, _LEAST) == bytes(_LEAST)
