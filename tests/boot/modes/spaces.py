"""Address spaces of every mode of paging, in which the guest itself lies one to one and pages of all rights can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from boot.modes.memory import BACKGROUND, GIB, HIGH, MIB, PAGE, Image

P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
CR0 = 0x8000_0011
WP, SMEP, SMAP, PGE, PSE, PAE, LA57 = 1 << 16, 1 << 20, 1 << 21, 1 << 7, 1 << 4, 1 << 5, 1 << 12
LME, LMA, NXE = 1 << 8, 1 << 10, 1 << 11
GUEST = 4 * MIB
USER_PAGE = 0x10_2000  # of guest.S
USER_STACK, USER_CODE, USER_END = 0x11_F000, 0x18_0000, 0x20_0000  # of sequences, whatever ring they run in
SMALL, LARGE = BACKGROUND, 2 * BACKGROUND  # frames


@dataclass(frozen=True)
class Space:
    """A mode: its registers, what may vary in them, and the places to ask for."""

    name: str
    root: int
    cr4: int
    efer: int
    bits: int  # of an entry
    places: tuple[int, ...]
    may_cr4: int = SMEP | SMAP | PGE
    may_efer: int = 0
    wide: bool = False  # asked for by 64-bit code


@dataclass
class _Tree:
    """Tables of one root: by level how far up it indexes, with how many bits, and how long entries are."""

    image: Image
    root: int
    shifts: tuple[int, ...]
    width: int

    def map(self, virt: int, leaf: int, uppers: int = P | W | U, level: int = 1) -> None:
        """Put ``leaf`` at this level; ``uppers`` are the bits of the tables' own entries that are new."""
        table = self.root
        depth = len(self.shifts)
        for number, shift in enumerate(self.shifts):
            is_loaded = depth == 3 and not number  # the four PDPTEs of PAE
            bits = 2 if is_loaded else 10 if self.width == 4 else 9
            at = table + (virt >> shift & (1 << bits) - 1) * self.width
            if depth - number == level:
                self.image.put(at, leaf, self.width)
                return
            words = self.image.pages[at & -PAGE].view(f"<u{self.width}")
            there = int(words[at % PAGE // self.width])
            if not there:
                there = self.image.new_table() | (P if is_loaded else uppers)
                self.image.put(at, there, self.width)
            table = there & 0x000F_FFFF_FFFF_F000

    def guest(self) -> None:
        for phys in range(0, GUEST, PAGE):
            is_of_sequences = phys == USER_STACK or USER_CODE <= phys < USER_END
            self.map(phys, phys | P | (U if phys == USER_PAGE else W | U if is_of_sequences else W))


def spaces(image: Image) -> Iterator[Space]:
    """Every mode, with tables in the image."""
    plain, short, tall = (_Tree(image, image.new_table(), (22, 12), 4) for _ in range(3))
    small, _ = _short_pages(plain)
    yield Space("32-bit without PSE", plain.root, 0, 0, 32, (*small, _page_behind_ps(plain)), may_efer=NXE)
    small, large = _short_pages(short)
    yield Space("32-bit with PSE", short.root, PSE, 0, 32, (*small, *large), may_efer=NXE)
    yield Space("PSE-36", tall.root, PSE, 0, 32, tuple(_tall_pages(tall)), may_efer=NXE)
    pae = _Tree(image, image.new_table() + 0x7E0, (30, 21, 12), 8)
    pae.guest()
    places = tuple(_pages(pae, GIB)) + tuple(_pages(pae, 3 * GIB))
    yield Space("PAE", pae.root, PAE, 0, 64, places)
    yield Space("PAE with NXE", pae.root, PAE, NXE, 64, places)
    four = _Tree(image, image.new_table(), (39, 30, 21, 12), 8)
    four.guest()
    low = tuple(_pages(four, GIB)) + tuple(_pages(four, 3 * GIB))
    yield Space("compatibility", four.root, PAE, LME, 64, low, may_efer=NXE)
    places = tuple(_pages(four, 0x1234 * GIB, True)) + tuple(_pages(four, (1 << 64) - (5 << 39), True))
    yield Space("4-level", four.root, PAE, LME, 64, places, may_efer=NXE, wide=True)
    five = _Tree(image, image.new_table(), (48, 39, 30, 21, 12), 8)
    five.guest()
    places = tuple(_pages(five, 1 << 52, True)) + tuple(_pages(five, (1 << 64) - (5 << 48), True))
    yield Space("5-level", five.root, PAE | LA57, LME, 64, places, may_efer=NXE, wide=True)


def _rights(nx: bool) -> list[int]:
    """Every combination, with NX in half of them where the mode may have it."""
    all_of = [w | u for w, u in product((W, 0), (U, 0))]
    return [*all_of, *(one | NX for one in all_of[:2])] if nx else all_of


def _tall_pages(tree: _Tree) -> Iterator[int]:
    """Pages of 4 MiB whose frames lie above 4 GiB."""
    tree.guest()
    for number, leaf in enumerate(_rights(False)):
        tree.map((number + 512) * GUEST, (number & 1) * GUEST | HIGH >> 32 << 13 | P | PS | leaf, level=2)
        yield (number + 512) * GUEST


def _page_behind_ps(tree: _Tree) -> int:
    """A page of 4 KiB behind an entry with PS, which points to a table where CR4.PSE is off."""
    table = tree.image.new_table()
    tree.image.put(table, SMALL | P | W | U, 4)
    tree.map(600 * GUEST, table | P | W | U | PS, level=2)
    return 600 * GUEST


def _short_pages(tree: _Tree) -> tuple[list[int], list[int]]:
    """Pages of 4 KiB and of 4 MiB."""
    tree.guest()
    small, large = [], []
    at, frame = 256 * GUEST, SMALL
    for upper, leaf in product(_rights(False), repeat=2):
        tree.map(at, frame | P | leaf, P | upper)
        small.append(at)
        at, frame = at + GUEST + PAGE, frame + PAGE
    at = 512 * GUEST
    for number, leaf in enumerate(_rights(False)):
        tree.map(at, LARGE + number * GUEST | P | PS | leaf, level=2)
        large.append(at)
        at += GUEST
    return small, large


def _pages(tree: _Tree, virt: int, gigapages: bool = False) -> Iterator[int]:
    """Pages of 4 KiB and 2 MiB under tables of all rights; of 1 GiB too."""
    rights, frame = _rights(False), SMALL
    for number, (upper, leaf) in enumerate(product(rights, _rights(True))):
        at = virt + number * 2 * MIB
        tree.map(at, frame | P | leaf, P | upper)
        frame += PAGE
        yield at
    for number, leaf in enumerate(_rights(True)):
        at = virt + (number + 64) * 2 * MIB
        tree.map(at, LARGE + number * 2 * MIB | P | PS | leaf, level=2)
        yield at
    for number, leaf in enumerate(_rights(True) if gigapages else ()):
        at = (virt & -GIB) + (number + 1) * GIB
        tree.map(at, P | PS | leaf, level=3)
        yield at + LARGE
