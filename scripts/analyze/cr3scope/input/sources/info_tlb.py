"""``info tlb`` of QEMU's monitor (target/i386/monitor.c): a line for each leaf, with its own bits.

The format is that of QEMU 1.3 to 10. Pages of 4 KiB show no PAT bit and large ones show P; the size
of a large page is not printed, and frames lose what is above bit 49.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cr3scope.arrays import Data
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import CACHE_PCD, CACHE_PWT, Form, Listing, Rows, merged
from cr3scope.input.sources.listing_text import (
    Grammar,
    hex_column,
    last_listing,
    matrix,
    read_lines,
)
from cr3scope.paging.compare import Tells
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, U64
from cr3scope.x86 import entry as bits
from cr3scope.x86.word import FOUR_GIB

GRAMMAR = Grammar(
    re.compile(rb"[0-9a-f]{16}: [0-9a-f]{16} [X-][G-][P-][D-][A-][C-][T-][U-][W-]"),
    re.compile(
        rb"^[0-9a-f]+(:( [0-9a-f]*( [XGPDACTUW-]*)?)?)?$|[0-9a-f]{8}: [0-9a-f]{4}|"
        rb": [0-9a-f]{16}|^[0-9a-f]* ?[XGPDACTUW-]{5,9}$"
    ),
)
# Guests without long mode: their addresses had 8 digits up to QEMU 1.2.
SHORT = re.compile(
    rb"(?<![0-9a-f])[0-9a-f]{8}: [0-9a-f]{8,16} [X-]?[G-][P-][D-][A-][C-][T-][U-][W-]"
)
FORM = Form(
    "`info tlb`",
    Tells(is_bound=True, cache_bits=int(CACHE_PWT | CACHE_PCD), types=False),
    levels=True,
    gaps=(
        "`info tlb` shows each leaf's own bits: an entry above may deny w, x or u as well, so a"
        " right that is shown is an upper bound, and only a denied one is certain",
        "`info tlb` shows neither the PAT bit nor the PAT (no memory types), nor the entries above"
        " the leaves, and lists entries with reserved bits as if they mapped",
    ),
)
_WIDTH = 44
_VIRT, _PHYS = slice(0, 16), slice(18, 34)
_X, _G, _P, _D, _A, _C, _T, _U, _W = range(35, 44)
_DASH = ord("-")
_MEDIUM, _LARGE = np.uint64(bits.level_bytes(2)), np.uint64(bits.level_bytes(3))
_FOUR_MIB = np.uint64(1 << 22)
_MOST_PHYS = np.uint64(1 << 52)


def read_info_tlb(text: Data, path: str) -> Listing:
    """Return the ranges of the last listing in the text; UnusableInput if it is of a 32-bit guest."""
    found = read_lines(text, GRAMMAR)
    cells = matrix(found.lines, _WIDTH)
    virt = hex_column(cells[:, _VIRT])
    chosen = last_listing(found, virt)
    cells, virt = cells[chosen.numbers], virt[chosen.numbers]
    phys = hex_column(cells[:, _PHYS])
    is_set = cells != _DASH
    large = is_set[:, _P]
    if _is_32_bit(virt, phys, large):
        raise UnusableInput(f"{path}: `info tlb` of a 32-bit guest: only long mode is understood")
    wrong = _misaligned(virt, phys, large)
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        chosen.losses.append(
            f"{int(wrong.sum())} lines have misaligned addresses and are left out; the first:"
            f" {int(virt[bad]):016x}"
        )
        cells, virt, phys = cells[~wrong], virt[~wrong], phys[~wrong]
        is_set, large = is_set[~wrong], large[~wrong]
    levels, doubt = _levels(virt, phys, large)
    span = np.uint64(1) << (levels * np.uint64(9) + np.uint64(3))
    rows = Rows(
        virt,
        virt + (span - np.uint64(1)),
        phys,
        _flag(is_set[:, _W], RIGHT_WRITE) | _flag(is_set[:, _U], RIGHT_USER)
        | _flag(~is_set[:, _X], RIGHT_EXECUTE),
        levels,
        _flag(is_set[:, _C], CACHE_PCD) | _flag(is_set[:, _T], CACHE_PWT),
    )  # fmt: skip
    notes = [*chosen.notes, *_size_doubts(virt, doubt)]
    return merged(FORM, rows, notes, chosen.losses)


def _flag(column: npt.NDArray[np.bool_], bit: np.uint64) -> U64:
    return column.astype(np.uint64) * bit


def _misaligned(virt: U64, phys: U64, large: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    below = np.where(large, _MEDIUM, np.uint64(bits.PAGE_BYTES)) - np.uint64(1)
    wrong: npt.NDArray[np.bool_] = (virt | phys) & below != 0
    return wrong


def _is_32_bit(virt: U64, phys: U64, large: npt.NDArray[np.bool_]) -> bool:
    """PAE prints bit 63 with the frame. Pages of 4 MiB lie so far apart, without one in between.

    Other listings of PAE guests are as good as those of long mode.
    """
    if len(virt) and (virt >= np.uint64(FOUR_GIB)).any():
        return False
    if (phys >= _MOST_PHYS).any():
        return True
    at = virt[large]
    steps = at[1:] - at[:-1] == _FOUR_MIB
    frames = phys[large]
    follow = frames[1:] - frames[:-1] == _FOUR_MIB
    return not (at & (_FOUR_MIB - np.uint64(1))).any() and bool((steps & follow).any())


def _levels(
    virt: U64, phys: U64, large: npt.NDArray[np.bool_]
) -> tuple[U64, npt.NDArray[np.bool_]]:
    """Level of each leaf, and where it is in doubt.

    A large page is one of 2 MiB if it or its frame is not aligned to 1 GiB, or if another page
    begins in the same GiB.
    """
    doubt = large & ((virt | phys) & (_LARGE - np.uint64(1)) == 0)
    doubt[:-1] &= virt[1:] - virt[:-1] >= _LARGE
    return np.where(doubt, 3, np.where(large, 2, 1)).astype(np.uint64), doubt


def _size_doubts(virt: U64, doubt: npt.NDArray[np.bool_]) -> Iterator[str]:
    count = int(doubt.sum())
    if count:
        first = int(virt[int(np.flatnonzero(doubt)[0])])
        pages = "page is" if count == 1 else "pages are"
        yield (
            f"{count} large {pages} taken as 1 GiB (the first at {first:#x}): `info tlb` prints a"
            " 2 MiB page that is alone in its GiB alike"
        )
