"""Linux' page-table dump (arch/x86/mm/dump_pagetables.c): ranges with the flags of their leaves.

/sys/kernel/debug/page_tables/* with CONFIG_PTDUMP_DEBUGFS, or the kernel's log. Newer kernels (4.18
does, 4.15 does not) also work out effective rights, but only to find W+X and to end a range: in all
versions the flags that are printed are those of the leaf alone. Ranges end at the dump's markers.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from cr3scope.arrays import I64, Data, integers
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import CACHE_PCD, CACHE_PWT, Form, Listing, Rows, merged
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
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.x86 import entry as bits
from cr3scope.x86.word import MASK32

GRAMMAR = Grammar(
    re.compile(rb"0x[0-9a-f]{16}-0x[0-9a-f]{16}[ \t]+[0-9]+[BKMGTPE](?:[ \t]+[A-Za-z0-9]+)+"),
    re.compile(
        rb"0x[0-9a-f]{8,16}-|-0x[0-9a-f]{8,16}|^0x[0-9a-f]*$|"
        rb"^[0-9a-fx]{0,40}[ \t]{0,40}[0-9]{0,20}[BKMGTPE ]?[ \t](?:USR )?[ \t]{0,40}(?:RW|ro)[ \t]"
    ),
)
SHORT = Grammar(  # of a 32-bit kernel
    re.compile(rb"0x[0-9a-f]{8}-0x[0-9a-f]{8}[ \t]+[0-9]+[BKMGTPE](?:[ \t]+[A-Za-z0-9]+)+"),
    GRAMMAR.broken,
)
SKIPPED = re.compile(rb"\.\.\. ([0-9]{1,18}) entr(?:y|ies) skipped \.\.\.")
FORM = Form(
    "Linux' page-table dump",
    Tells(is_bound=True, frames=False, cache_bits=int(CACHE_PWT | CACHE_PCD), types=False),
    levels=True,
    gaps=(
        "Linux' page-table dump shows each leaf's own flags: an entry above may deny w, x or u as"
        " well, so a right that is shown is an upper bound, and only a denied one is certain",
        "Linux' page-table dump shows no frames and not the PAT (no memory types), nor the entries"
        " above the leaves",
    ),
)
SHORT_FORM = replace(
    FORM, name="Linux' page-table dump of a 32-bit kernel", levels=False,
    gaps=(*FORM.gaps, "a `pmd` is a page of 2 MiB with PAE and of 4 MiB without, which the dump does not tell"),
)  # fmt: skip
_FIRST, _END = slice(2, 18), slice(21, 37)
_WIDTH = 37
_LEVELS = {b"pte": 1, b"pmd": 2, b"pud": 3, b"p4d": 4, b"pgd": 5, b"cr3": 6}
_LEAVES = (1, 2, 3)
# Flags that the dump prints without meaning for what the CPU may do there.
_OTHER = {b"PSE", b"PAT", b"GLB"}
_BROKEN, _ABSENT = -1, 0


def read_ptdump(text: Data, path: str) -> Listing:
    """Return the ranges of the last dump in the text; UnusableInput if no line is whole."""
    found = read_lines(text, GRAMMAR)
    return _read(text, found, found.lines, path, FORM)


def read_short_ptdump(text: Data, path: str) -> Listing:
    """Return the same of a 32-bit kernel, whose addresses have 8 digits."""
    found = read_lines(text, SHORT)
    lines = [b"0x%b%b-0x%b%b%b" % (UPPER_HALF, line[2:10], UPPER_HALF, line[13:21], line[21:]) for line in found.lines]
    return _read(text, found, lines, path, SHORT_FORM)


_LAST_SHORT = np.uint64(MASK32)


def _read(text: Data, found: Lines, whole: list[bytes], path: str, form: Form) -> Listing:
    cells = matrix(whole, _WIDTH)
    first, end = hex_column(cells[:, _FIRST]), hex_column(cells[:, _END])
    chosen = last_listing(found, first)
    lines = [whole[number] for number in integers(chosen.numbers)]
    first, last = first[chosen.numbers], end[chosen.numbers] - np.uint64(1)
    if form is SHORT_FORM:
        last &= _LAST_SHORT  # the end of the last range is 0
    meaning = _meanings(lines)
    wrong = (meaning == _BROKEN) | (last < first) | ((first | last + np.uint64(1)) & _BELOW != 0)
    if wrong.all():
        raise UnusableInput(f"{path}: no line of Linux' page-table dump in it is whole")
    if wrong.any():
        bad = lines[int(np.flatnonzero(wrong)[0])][:_WIDTH].decode("ascii")
        chosen.losses.append(f"{int(wrong.sum())} lines are cut or make no sense; the first: {bad}")
    skipped = [int(found[1]) for found in SKIPPED.finditer(text)]
    if skipped:
        chosen.losses.append(f"the kernel itself left out {sum(skipped)} ranges of the dump")
    kept = ~wrong & (meaning != _ABSENT)
    first, last, code = first[kept], last[kept], meaning[kept].astype(np.uint64)
    rows = Rows(
        first, last, np.zeros_like(first), code & _RIGHTS,
        code >> _LEVEL_AT & np.uint64(7) if form.levels else np.zeros_like(first), code >> _CACHE_AT,
    )  # fmt: skip
    return merged(form, rows, chosen.notes, chosen.losses)


_BELOW = np.uint64(bits.PAGE_BYTES - 1)
_RIGHTS = RIGHT_WRITE | RIGHT_EXECUTE | RIGHT_USER
_LEVEL_AT, _CACHE_AT = np.uint64(3), np.uint64(6)


def _meanings(lines: list[bytes]) -> I64:
    """Of each line: rights, level and cache bits in one number, _ABSENT or _BROKEN."""
    known: dict[bytes, int] = {}
    found = np.empty(len(lines), dtype=np.int64)
    for number, line in enumerate(lines):
        tail = line[_WIDTH:]
        code = known.get(tail)
        if code is None:
            code = known[tail] = _meaning(tail)
        found[number] = code
    return found


def _meaning(tail: bytes) -> int:
    _, *flags, name = tail.split()
    words = set(flags)
    level = _LEVELS.get(name)
    if level is None or not words <= _OTHER | {b"USR", b"RW", b"ro", b"PWT", b"PCD", b"NX", b"x"}:
        return _BROKEN
    if not words:
        return _ABSENT
    if len(words & {b"RW", b"ro"}) != 1 or len(words & {b"NX", b"x"}) != 1 or level not in _LEAVES:
        return _BROKEN
    rights = int(RIGHT_WRITE) * (b"RW" in words) | int(RIGHT_USER) * (b"USR" in words)
    rights |= int(RIGHT_EXECUTE) * (b"x" in words)
    cache = int(CACHE_PCD) * (b"PCD" in words) | int(CACHE_PWT) * (b"PWT" in words)
    return rights | level << int(_LEVEL_AT) | cache << int(_CACHE_AT)
