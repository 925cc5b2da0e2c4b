"""`maps` on a kernel that nobody here wrote agrees with QEMU and with its listings, and inherits rights where QEMU does not.

The kernel's own tables grant at the top all that their leaves do; so entries near the root are also
changed in the paused guest's memory.
"""

from __future__ import annotations

import bisect
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from boot.naive_walk import FRAME, NX, Page, pages
from boot.paused_linux import MEGABYTES, PausedLinux, patch, paused_linux
from boot.test_guests import linux
from boot.test_listings import LISTINGS, answer_of, ranges, save_listing
from boot.verbs import cr3scope

SEED = 4
SAMPLES = 600
PRESENT, WRITABLE = 1, 2
PAGE = 4096
BOOTS = {
    "five levels, randomised, with PTI, two CPUs": ("max,la57=on", 2, "pti=on"),
    "four levels at fixed addresses": ("max,la57=off", 1, "nokaslr pti=off"),
}


# One process boots each guest, for all of its tests.
pytestmark = pytest.mark.xdist_group("linux_maps")


class Mapped(NamedTuple):
    """A page of `cr3scope maps`."""

    virt: int
    phys: int
    size: int
    rights: str


@pytest.fixture(scope="module", params=list(BOOTS))
def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PausedLinux]:
    cpu, cpus, words = BOOTS[request.param]
    with paused_linux(tmp_path_factory.mktemp("linux"), linux(), cpu, cpus, words) as paused:
        yield paused


@pytest.fixture(scope="module")
def panicked(guest: PausedLinux) -> Path:
    """What was saved of the guest: its core and its listings.

    QEMU 7.2 hangs for a while in `info mem` of a guest with five levels, and prints nothing.
    """
    for command in LISTINGS if guest.levels == 4 else LISTINGS[:1]:
        save_listing(guest.qmp, guest.folder, command)
    return guest.core().parent


def printed(*arguments: str | Path) -> str:
    done = cr3scope(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mapped(*source: str | Path) -> list[Mapped]:
    """The ranges of `cr3scope maps`, page by page."""
    document = json.loads(printed("maps", *source, "--json", "-"))
    found = []
    for row in document["mappings"]:
        first, last, phys = (int(row[name], 16) for name in ("first", "last", "phys"))
        found += [
            Mapped(virt, phys + virt - first, row["size"], row["rights"])
            for virt in range(first, last, row["size"])
        ]
    return found


def image(guest: PausedLinux) -> list[str | Path]:
    """The guest's memory as a source."""
    options = [f"--{name.lower()}={guest.registers[name]:#x}" for name in ("CR3", "CR4", "EFER")]
    return [guest.memory, *options]


def walked(guest: PausedLinux) -> list[Page]:
    """Every page by a walk that shares no code with cr3scope."""
    return list(pages(guest.memory.read_bytes(), guest.registers["CR3"], guest.levels))


def assert_rights_are_those_of(plain: list[Page], found: list[Mapped]) -> None:
    told = [(p.virt, p.phys, p.size, p.rights[1] == "w", p.rights[2] == "x") for p in found]
    assert told == [(p.virt, p.phys, p.size, p.writable, p.executable) for p in plain]


@pytest.mark.parametrize("source", ["core", "image"])
def test_maps_agrees_with_info_tlb_leaf_for_leaf(guest: PausedLinux, source: str) -> None:
    found = mapped(guest.core()) if source == "core" else mapped(*image(guest))
    leaves = guest.leaves()
    assert len(leaves) > 1000, "the kernel maps its image and its memory"
    assert {page.size for page in found} >= {PAGE, 1 << 21}
    told = [(page.virt, page.phys, page.size > PAGE) for page in found]
    assert told == [(leaf.virt, leaf.phys, leaf.is_large) for leaf in leaves]
    for page, leaf in zip(found, leaves):
        own = "rwxu"
        for granted, letter in ((leaf.writable, "w"), (leaf.executable, "x"), (leaf.user, "u")):
            own = own if granted else own.replace(letter, "-")
        assert set(page.rights) <= set(own) | {"-"}, f"{page} grants more than its leaf: {leaf}"


def test_maps_agrees_with_gva2gpa(guest: PausedLinux) -> None:
    found = mapped(guest.core())
    starts = [page.virt for page in found]
    for virt in addresses(found, random.Random(SEED)):
        at = bisect.bisect_right(starts, virt) - 1
        inside = at >= 0 and virt < found[at].virt + found[at].size
        expected = found[at].phys + virt - found[at].virt if inside else None
        assert guest.translation(virt) == expected, f"{virt:#x} (seed {SEED})"


def addresses(found: list[Mapped], chance: random.Random) -> Iterator[int]:
    """Mapped ones, those that lie next to a page, and any."""
    canonical = 1 << 47
    for _ in range(SAMPLES // 3):
        page = chance.choice(found)
        yield page.virt + chance.randrange(page.size)
        yield chance.choice((page.virt - 1, page.virt + page.size)) % (1 << 64)
        yield chance.randrange(-canonical, canonical) % (1 << 64)


def test_rights_are_those_of_all_levels(guest: PausedLinux) -> None:
    assert_rights_are_those_of(walked(guest), mapped(*image(guest)))


def test_rights_that_the_root_denies_are_inherited_where_info_tlb_shows_the_leaf(
    guest: PausedLinux,
) -> None:
    root = guest.registers["CR3"] & FRAME
    assert root < MEGABYTES << 20
    table = memoryview(guest.memory.read_bytes()[root : root + PAGE]).cast("Q")
    present = [index for index, entry in enumerate(table) if entry & PRESENT]
    low, high = present[0], present[-1]
    assert low < high, "the direct map and the kernel's image lie under entries of their own"
    before = guest.leaves()
    patch(guest.memory, root + 8 * low, table[low] & ~WRITABLE)
    patch(guest.memory, root + 8 * high, table[high] | NX)
    try:
        found, plain, leaves = mapped(*image(guest)), walked(guest), guest.leaves()
        text = printed("maps", *image(guest))
    finally:
        for index in (low, high):
            patch(guest.memory, root + 8 * index, table[index])
    assert leaves == before, "`info tlb` does not look at the entries above"
    assert_rights_are_those_of(plain, found)
    top = f"PML{guest.levels}"
    for index, right in ((low, "w"), (high, "x")):
        own = [leaf.writable if right == "w" else leaf.executable for leaf in leaves]
        below = [at for at, page in enumerate(found) if index_of(guest, page.virt) == index]
        assert any(own[at] for at in below), f"no leaf under {top}[{index}] grants {right}"
        assert not any(right in found[at].rights for at in below)
        assert f"{top}[{index}]:{right}" in text


def index_of(guest: PausedLinux, virt: int) -> int:
    """Of the root's entry that translates ``virt``."""
    return virt >> (12 + 9 * (guest.levels - 1)) & 511


def test_linux_lists_what_its_tables_map(panicked: Path) -> None:
    for command in LISTINGS:
        if (panicked / command).exists():
            same = answer_of("diff", panicked / command, panicked / "core")
            assert same["equal"] and not same["differences"]


def test_linux_leaf_for_leaf_as_info_tlb(panicked: Path) -> None:
    """Linux leaves the rights to the leaves, so that even those agree."""
    names = ("first", "last", "phys", "size", "rights")
    listed, mapped = answer_of("maps", panicked / "info tlb"), answer_of("maps", panicked / "core")
    assert len(listed["mappings"]) > 20  # how many pieces there are is chance: its addresses are
    assert ranges(listed, *names) == ranges(mapped, *names)


def test_walks_of_a_listing_lead_where_the_tables_do(panicked: Path) -> None:
    told = answer_of("maps", panicked / "core")["mappings"]
    for one in told[:: max(1, len(told) // 5)]:
        address = f"{int(one['last'], 16) - 0x10:x}"
        by_tables = answer_of("walk", panicked / "core", address)
        by_listing = answer_of("walk", panicked / "info tlb", address)
        names = ("outcome", "phys", "page_size", "rights")
        assert [by_listing[name] for name in names] == [by_tables[name] for name in names]
