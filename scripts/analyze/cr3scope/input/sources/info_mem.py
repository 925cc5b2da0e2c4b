"""``info mem`` of QEMU's monitor (target/i386/monitor.c): ranges with U and W of all levels.

Up to QEMU 1.2, and in the forks made of it, addresses of 32-bit guests have 8 digits.

The printed end is the address behind the last byte. Addresses count through the canonical hole, and
the end of the address space is 2^48, with five levels 2^57.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from cr3scope.arrays import U64, Data
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import Form, Listing, Rows, merged
from cr3scope.input.sources.listing_text import (
    UPPER_HALF,
    Grammar,
    Lines,
    hex_column,
    last_listing,
    matrix,
    read_lines,
)
from cr3scope.paging.compare import Tells
from cr3scope.paging.effective import RIGHT_USER, RIGHT_WRITE
from cr3scope.x86 import entry as bits

GRAMMAR = Grammar(
    re.compile(rb"[0-9a-f]{16}-[0-9a-f]{16} [0-9a-f]{16} [u-]r[w-]"),
    re.compile(
        rb"^[0-9a-f]+(-([0-9a-f]+( [0-9a-f]*( [ur-]*)?)?)?)?$|[0-9a-f]{8}-[0-9a-f]{8}|"
        rb"-[0-9a-f]{16} |^[0-9a-f]* ?[u-]r[w-]$"
    ),
)
SHORT = Grammar(
    re.compile(rb"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{8} [0-9a-f]{8} [u-]r[w-]"),
    re.compile(rb"^[0-9a-f]{1,8}(-([0-9a-f]{1,8}( [0-9a-f]{0,8}( [ur-]*)?)?)?)?$|^-[0-9a-f]{8} |^[0-9a-f]* ?[u-]r[w-]$"),
)
_GAP = (
    "`info mem` shows no execute right, no frames, no page sizes and no memory types, and takes entries with reserved bits"
    " as if they mapped"
)
FORM = Form(
    "`info mem`",
    Tells(int(RIGHT_WRITE | RIGHT_USER), frames=False, cache_bits=0, types=False),
    levels=False,
    gaps=(f"{_GAP}; w and u are those of all levels together",),
)
SHORT_FORM = Form(
    FORM.name,
    replace(FORM.tells, is_bound=True),
    levels=False,
    gaps=(
        f"{_GAP}; QEMU that prints 8 digits shows w and u of all levels together, or in its oldest versions those of the leaf"
        " alone: an entry above may deny more",
    ),
)
_WIDTH = 54
_FIRST, _END, _SIZE = slice(0, 16), slice(17, 33), slice(34, 50)
_U, _W = 51, 53
_DASH = ord("-")
_SHORT_WIDTH = 32
# Bits of an address with four and with five levels.
_WIDTHS = (48, 57)


def read_info_mem(text: Data, path: str) -> Listing:
    """Return the ranges of the last listing in the text; UnusableInput if no line makes sense."""
    found = read_lines(text, GRAMMAR)
    return _read(found, found.lines, path, FORM)


def read_short_info_mem(text: Data, path: str) -> Listing:
    """Return the same of addresses that have 8 digits."""
    found = read_lines(text, SHORT)
    lines = [b"%b%b-%b%b %b%b %b" % (UPPER_HALF, line[:8], UPPER_HALF, line[9:17], UPPER_HALF, line[18:26], line[27:]) for line in found.lines]
    return _read(found, lines, path, SHORT_FORM)


def _read(found: Lines, lines: list[bytes], path: str, form: Form) -> Listing:
    cells = matrix(lines, _WIDTH)
    first = hex_column(cells[:, _FIRST])
    chosen = last_listing(found, first)
    cells, first = cells[chosen.numbers], first[chosen.numbers]
    end, size = hex_column(cells[:, _END]), hex_column(cells[:, _SIZE])
    width = _SHORT_WIDTH if form is SHORT_FORM else _address_bits(first, end)
    if width == _WIDTHS[-1]:
        chosen.losses.append(
            "the guest has five levels: many versions of QEMU (7.2 for one) then read PDPTEs"
            " wrongly in `info mem`, and ranges are missing or false"
        )
    rights = (cells[:, _U] != _DASH) * RIGHT_USER | (cells[:, _W] != _DASH) * RIGHT_WRITE
    mask = np.uint64((1 << width) - 1)
    linear = first & mask
    # Ranges that agree with their own size; the size is sign-extended as the addresses are.
    span = size & mask
    stop = linear + np.where((span == 0) & (size != 0), mask + np.uint64(1), span)
    good = (stop & mask == end & mask) & (stop > linear) & (stop <= mask + np.uint64(1))
    good &= (first | end) & np.uint64(bits.PAGE_BYTES - 1) == 0
    if not good.any():
        raise UnusableInput(f"{path}: no line of `info mem` in it makes sense")
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        chosen.losses.append(
            f"{int((~good).sum())} lines contradict themselves and are left out; the first:"
            f" {int(first[bad]):016x}-{int(end[bad]):016x}"
        )
    low, last, kept = linear[good], stop[good] - np.uint64(1), rights[good]
    if width != _SHORT_WIDTH:
        low, last, kept = _at_hole(low, last, kept, width)
    unknown = np.zeros_like(low)
    rows = Rows(low, last, unknown, kept, unknown, unknown)
    return merged(form, rows, chosen.notes, chosen.losses)


def _address_bits(first: U64, end: U64) -> int:
    """48, or 57 if an address lies where only five levels reach."""
    four, _ = _WIDTHS
    beyond = np.uint64(1 << four - 1)
    deep = (first + beyond >= beyond * np.uint64(2)) | (end == np.uint64(1 << _WIDTHS[1]))
    return _WIDTHS[int(bool(deep.any()))]


def _at_hole(first: U64, last: U64, rights: U64, width: int) -> tuple[U64, U64, U64]:
    """Canonical addresses; a range that goes on behind the hole becomes two."""
    half = np.uint64(1 << width - 1)
    across = np.flatnonzero((first < half) & (last >= half))
    first = np.insert(first, across + 1, half)
    last = np.insert(last, across, half - np.uint64(1))
    rights = np.insert(rights, across, rights[across])
    # Sign-extended from the top bit.
    return (first ^ half) - half, (last ^ half) - half, rights
