"""Listings of page tables (`info tlb`, `info mem`, `info pg`, Linux' page-table dump), damaged line by line."""

from __future__ import annotations

from random import Random

from analyze import listing_writer as writer
from fuzz.noise import damaged, damaged_text, number
from fuzz.target import Case, Target, require, shown

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.open_listing import open_listing
from cr3scope.render.listing import as_text, json_text
from cr3scope.render.table import lines_of

_ROOT = 0x1000
_INFO_PG = (
    "VPN range             Entry         Flags            Physical page(s)\n"
    "[000000000-007ffffff] PML4[000]     ---DA--UWP\n"
    "  [000000000-00003ffff]  PDP[000]     ---DA--UWP\n"
    "    [000000000-0000001ff]  PDE[000]     ---DA--UWP\n"
    "      [000000000-000000000]  PTE[000]     XG-DA--UWP 0000000000000-0000000000000\n"
    "      [000000001-0000000ff]  PTE[001-0ff]  -G--A---WP 0000000000001-00000000000ff\n"
    "    [000000200-0000003ff]  PDE[001]     XGSDA--UWP 0000000000200-00000000003ff\n"
)


def _memory(rng: Random) -> dict[int, list[int]]:
    """Four tables; their entries lead to each other, or anywhere."""
    memory = {_ROOT + 0x1000 * number: [0] * 512 for number in range(4)}
    for level, phys in enumerate(memory):
        for _ in range(rng.choice((1, 2, 8))):
            flags = rng.getrandbits(9) | 1
            target = rng.choice(list(memory)[level + 1 :] or [number(rng) & writer.FRAME]) if rng.random() < 0.8 else number(rng) & writer.FRAME
            memory[phys][rng.choice((0, 1, 255, 256, 510, 511, rng.randrange(512)))] = target | flags | rng.choice((0, writer.NX))
    return memory


def _make(rng: Random) -> Case:
    memory = _memory(rng)
    found = list(writer.leaves(memory, _ROOT, rng.choice((4, 4, 4, 5))))[:200]
    text = rng.choice((writer.info_tlb(iter(found)), writer.info_mem(iter(found)), writer.ptdump(iter(found)), _INFO_PG))
    if rng.random() < 0.1:
        text += rng.choice((_INFO_PG, writer.ptdump(iter(found))))
    if rng.random() < 0.9:
        text = damaged_text(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        data = b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass")
    return Case(damaged(rng, data) if rng.random() < 0.2 else data, ".txt")


def _check(case: Case) -> None:
    try:
        listing = open_listing(case.data, "listing")
    except UnusableInput as error:
        require(str(error).strip(), "a refusal without a word")
        return
    if listing is None:
        return
    rows = listing.rows
    require(bool((rows.first <= rows.last).all()), "a range that ends before it begins")
    for line in lines_of(as_text(listing)):
        shown(line)
    for piece in json_text(listing):
        shown(piece)


LISTING = Target("listing", _make, _check, ("input/sources/info_tlb.py", "input/sources/info_mem.py", "input/sources/info_pg.py", "input/sources/ptdump.py",
                                            "input/sources/listing.py", "input/sources/listing_text.py", "input/sources/open_listing.py"))  # fmt: skip
