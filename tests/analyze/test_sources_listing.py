"""Listings agree with the tables that they were printed from, in all that they tell."""

from __future__ import annotations

from pathlib import Path

import listing_writer as writer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listing_writer import G, NX, P, PCD, PS, PWT, U, W
from paging_cases import Pages

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.open import open_any, open_source
from cr3scope.paging.compare import Space, space_differences, space_of
from cr3scope.paging.effective import mappings
from cr3scope.x86.cpu_state import CR4_LA57, CpuState

ROOT = 0x10000
# The folder is shared by the examples of a test, and machines are busy.
RELAXED = settings(
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture]
)
FORMS = ("info tlb", "info mem", "ptdump")

flags = st.sampled_from([0, P, P | W, P | W | U, P | U, P | W | NX, P | NX | G, P | W | PCD | PWT])


@st.composite
def spaces(draw: st.DrawFn) -> tuple[Pages, int]:
    """Tables with a few entries at the edges and in the middle, and their depth."""
    levels = draw(st.sampled_from((4, 4, 5)))
    pages, free = Pages(), iter(range(0x11000, 0x200000, 0x1000))

    def fill(table: int, level: int) -> None:
        pages.put(table, 0, 0)
        half = (0, 1, 255, 256, 510, 511)
        for index in draw(st.lists(st.sampled_from(half), max_size=3, unique=True)):
            entry = draw(flags)
            if level == 1 or (level < 4 and draw(st.booleans())):
                frame = draw(st.integers(0, 7)) << 12 + 9 * (level - 1)
                pages.put(table, index, entry | frame | (PS if level > 1 else 0))
            elif entry:
                child = next(free)
                pages.put(table, index, entry & ~(PCD | PWT | G) | child)
                fill(child, level - 1)

    fill(ROOT, levels)
    return pages, levels


def printed(form: str, pages: Pages, levels: int) -> str:
    found = writer.leaves(pages.memory, ROOT, levels)
    if form == "info mem":
        return writer.info_mem(found, levels)
    return writer.info_tlb(found) if form == "info tlb" else writer.ptdump(found)


def read(path: Path, text: str | bytes) -> Listing:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    listing = open_any(path)
    assert isinstance(listing, Listing)
    return listing


def tables(pages: Pages, levels: int) -> Space:
    cpu = CpuState(ROOT, cr4=0x668 | (CR4_LA57 if levels == 5 else 0))
    return space_of(mappings(pages, cpu), types=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@given(space=spaces())
@settings(RELAXED, max_examples=150)
def test_a_listing_agrees_with_its_tables(
    form: str, space: tuple[Pages, int], tmp_path: Path
) -> None:
    pages, levels = space
    text = printed(form, pages, levels)
    if not any(writer.leaves(pages.memory, ROOT, levels)):
        return
    listing = read(tmp_path / "text", text)
    doubtful = any("taken as 1 GiB" in words for words in listing.warnings)
    if not doubtful:
        assert space_differences(listing.space, tables(pages, levels)) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@given(space=spaces(), bit=st.sampled_from((P, W, U)), which=st.integers(0, 99))
@settings(RELAXED, max_examples=100)
def test_a_leaf_that_denies_more_differs(
    form: str, space: tuple[Pages, int], bit: int, which: int, tmp_path: Path
) -> None:
    """The listing is of tables with one leaf changed, where all levels granted that bit."""
    pages, levels = space
    granted = [leaf for leaf in writer.leaves(pages.memory, ROOT, levels) if leaf.of_all & bit]
    if len(granted) < 2:
        return
    one = granted[which % len(granted)]
    places = [(table, index) for table, entries in pages.memory.items()
              for index, entry in enumerate(entries) if entry == one.entry]  # fmt: skip
    if len(places) != 1:
        return
    expected = tables(pages, levels)
    table, index = places[0]
    pages.memory[table][index] &= ~bit
    found = space_differences(read(tmp_path / "text", printed(form, pages, levels)).space, expected)
    assert any(difference.first <= one.virt <= difference.last for difference in found)


def leaf_line(virt: int, phys: int, shown: str) -> str:
    return f"{virt:016x}: {phys:016x} {shown}\r\n"


def test_neighbours_of_one_kind_are_one_range(tmp_path: Path) -> None:
    text = "".join(leaf_line(0x1000 * n, 0x5000 + 0x1000 * n, "---DA---W") for n in range(9))
    text += leaf_line(0x9000, 0, "---DA---W")
    listing = read(tmp_path / "text", text)
    assert listing.rows.first.tolist() == [0, 0x9000]
    assert listing.rows.last.tolist() == [0x8FFF, 0x9FFF]
    assert (listing.phys_at(0, 0x1234), listing.rights(0)) == (0x6234, "rwx-")
    assert listing.level(0) == 1


def test_the_size_of_a_large_page_follows_from_its_neighbours(tmp_path: Path) -> None:
    gib, mib = 1 << 30, 1 << 20
    text = leaf_line(0, 0, "--PDA---W")  # another page in the same GiB
    text += leaf_line(2 * mib, gib, "--PDA---W")
    text += leaf_line(2 * gib, 2 * mib, "--PDA---W")  # a frame of 2 MiB
    text += leaf_line(4 * gib, gib, "--PDA---W")
    listing = read(tmp_path / "text", text)
    sizes = (listing.rows.last - listing.rows.first + 1).tolist()
    assert sizes == [2 * mib, 2 * mib, 2 * mib, gib]
    (doubt,) = [words for words in listing.warnings if "1 GiB" in words]
    assert doubt.startswith("1 large page is") and "0x100000000" in doubt


def test_the_end_of_info_mem_is_exclusive_and_may_be_that_of_the_address_space(
    tmp_path: Path,
) -> None:
    text = "0000000000001000-0000000000003000 0000000000002000 -r-\n"
    text += "ffff800000000000-0001000000000000 ffff800000000000 urw\n"
    listing = read(tmp_path / "text", text)
    assert listing.rows.first.tolist() == [0x1000, 0xFFFF_8000_0000_0000]
    assert listing.rows.last.tolist() == [0x2FFF, 2**64 - 1]
    assert [listing.rights(row) for row in (0, 1)] == ["r-?-", "rw?u"]


def test_a_range_of_info_mem_across_the_hole_becomes_two(tmp_path: Path) -> None:
    text = "00007fffffe00000-ffff800000200000 0000000000400000 -rw\n"
    listing = read(tmp_path / "text", text)
    assert listing.rows.first.tolist() == [0x7FFF_FFE0_0000, 0xFFFF_8000_0000_0000]
    assert listing.rows.last.tolist() == [0x7FFF_FFFF_FFFF, 0xFFFF_8000_001F_FFFF]


def test_unmapped_ranges_of_a_page_table_dump_are_not_listed(tmp_path: Path) -> None:
    start = 0xFFFF_FFFF_8100_0000
    text = "---[ User Space ]---\n" + writer.ptdump_line(0, 0x8000_0000_0000, 0, "pgd")
    text += "---[ Kernel Space ]---\n"
    text += writer.ptdump_line(start, start + 0x400000, P | PS | G, "pmd")
    text += writer.ptdump_line(start + 0x400000, start + 0x401000, P | W | NX | PCD, "pte")
    text += "... 3 entries skipped ... \n"
    text += writer.ptdump_line(start + 0x401000, 0, 0, "pte")
    listing = read(tmp_path / "text", text)
    assert len(listing) == 2
    assert [listing.rights(row) for row in (0, 1)] == ["r-x-", "rw--"]
    assert [listing.level(row) for row in (0, 1)] == [2, 1]
    assert [listing.cache_bits(row) for row in (0, 1)] == ["-", "PCD"]
    assert listing.phys_at(0, start) is None
    assert any("left out 3 ranges" in words for words in listing.warnings)


WRAPPED = leaf_line(0x1000, 0x5000, "X--DA---W") + leaf_line(0x2000, 0x7000, "----A--U-")


@pytest.mark.parametrize(
    "text",
    [
        "QEMU 7 monitor\r\n(qemu) \x1b[Ki\x1b[D\x1b[Dinfo tlb\r\n" + WRAPPED + "(qemu) quit\r\n",
        WRAPPED.replace("\r\n", "\n"),
        WRAPPED.rstrip(),
        WRAPPED.replace("\r\n", "\x1b[K\r\n"),
        "(qemu) info tlb " + WRAPPED,
        '{"return": "' + WRAPPED.replace("\r\n", "\\r\\n") + '", "id": 3}\r\n',
        "".join(f"[  1.2] {line}\n" for line in WRAPPED.splitlines()),
        "\ufeff".encode("utf-16-le") + WRAPPED.encode("utf-16-le"),
        "x" * 300_000 + "\n" + WRAPPED,
        "0123456789abcdef" * 30_000 + "\n" + WRAPPED,
    ],
    ids=range(10),
)
def test_what_stands_around_the_lines_does_not_matter(text: str | bytes, tmp_path: Path) -> None:
    listing = read(tmp_path / "text", text)
    assert listing.rows.first.tolist() == [0x1000, 0x2000]
    assert listing.rows.phys.tolist() == [0x5000, 0x7000]
    assert [listing.rights(row) for row in (0, 1)] == ["rw--", "r-xu"]


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_line_is_named_and_the_rest_is_judged(form: str, tmp_path: Path) -> None:
    pages = Pages()
    for index, table in enumerate((ROOT, 0x11000, 0x12000)):
        pages.put(table, index, 0x11000 + 0x1000 * index | P | W)
    for index in (1, 4, 7):
        pages.put(0x13000, index, 0x8000_0000 | P | (W if index == 4 else 0))
    whole = printed(form, pages, 4)
    for cut in range(len(whole) - 1, len(whole) - 40, -1):
        if whole[cut - 1] in "\r\n" or whole[cut] in "\r\n":
            continue
        listing = read(tmp_path / "text", whole[:cut])
        assert len(listing) == 2
        named = [words for words in listing.warnings if "is cut" in words or "are cut" in words]
        lines = whole[:cut].count("\n") + 1
        assert len(named) == 1, (cut, whole[:cut].splitlines()[-1], listing.warnings)
        assert f"line {lines} " in named[0] or "0x" in named[0]


def test_of_several_listings_the_last_counts(tmp_path: Path) -> None:
    again = leaf_line(0x1000, 0x9000, "---DA---W")
    listing = read(tmp_path / "text", WRAPPED + "(qemu) cont\r\n(qemu) info tlb\r\n" + again)
    assert listing.rows.phys.tolist() == [0x9000]
    assert any("2 listings" in words for words in listing.warnings)


def test_another_form_in_the_same_text_is_said_to_be_left_out(tmp_path: Path) -> None:
    more = "0000000000001000-0000000000003000 0000000000002000 -r-\r\n"
    listing = read(tmp_path / "text", WRAPPED + "(qemu) info mem\r\n" + more)
    assert listing.description == "listing of `info tlb`"
    assert any("also holds `info mem`" in words for words in listing.warnings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("00000000-00400001 00400000 -rw\r\n", "makes sense"),
        ("(qemu) info tlb\r\nPG disabled\r\n", "paging was off"),
        ("0000000000001001-0000000000003000 0000000000002000 -r-\n", "makes sense"),
        ("(qemu) info registers\r\nRIP=0000000000001000\r\n", "no listing"),
    ],
    ids=range(4),
)
def test_a_text_that_is_no_use_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(text)
    with pytest.raises(UnusableInput) as refusal:
        open_any(path)
    assert str(refusal.value).startswith(f"{path}: ") and says in str(refusal.value)


def test_a_listing_is_no_source_of_tables(tmp_path: Path) -> None:
    (tmp_path / "text").write_text(WRAPPED)
    with pytest.raises(UnusableInput, match="holds no tables"):
        open_source(tmp_path / "text")


@pytest.mark.slow
@given(st.binary(max_size=400), st.integers(0, 200))
@settings(RELAXED, max_examples=200)
def test_garbage_in_a_listing_is_survived(tmp_path: Path, garbage: bytes, at: int) -> None:
    text = WRAPPED.encode() * 2
    (tmp_path / "text").write_bytes(text[:at] + garbage + text[at:])
    try:
        open_any(tmp_path / "text")
    except UnusableInput:
        pass


@pytest.mark.parametrize("wrong", [0x8000_0000_3000, 0x10], ids=["high", "low"])
def test_one_line_out_of_order_does_not_hide_the_others(wrong: int, tmp_path: Path) -> None:
    places = [0x1000, 0x2000, wrong & ~0xFFF, 0x4000, 0x5000]
    text = "".join(leaf_line(virt, 0x9000, "---DA---W") for virt in places)
    listing = read(tmp_path / "text", text)
    assert listing.rows.first.tolist() == [0x1000, 0x2000, 0x4000, 0x5000]
    assert any("out of order" in words for words in listing.warnings)


@pytest.mark.slow
def test_a_long_damaged_line_costs_no_time(tmp_path: Path) -> None:
    damaged = "0000000000003000: 00000000" + "0123456789abcde" * 400_000 + "\n"
    text = WRAPPED + "\n" * 500_000 + damaged
    listing = read(tmp_path / "text", text)
    assert len(listing) == 2
    assert any("line 500003 is cut" in words for words in listing.warnings)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        # The P is false: the page would cover the next one.
        ([leaf_line(0x20_0000, 0x20_0000, "--PDA---W"), leaf_line(0x20_1000, 0, "---DA---W"),
          leaf_line(0x20_2000, 0x5000, "---DA---W")], [0x20_1000, 0x20_2000]),
        (["0000000000001000-0000000000009000 0000000000008000 -rw\n",
          "0000000000003000-0000000000004000 0000000000001000 -rw\n"], [0x3000]),
        (["0000000000001000-0000000000009000 0000000000001000 -rw\n",
          "0000000000003000-0000000000004000 0000000000001000 -rw\n"], [0x3000]),
        ([writer.ptdump_line(0x1000, 0x9000, P, "pte"),
          writer.ptdump_line(0x3000, 0x4000, P, "pte")], [0x3000]),
    ],
    ids=["tlb", "mem", "mem-size", "ptdump"],
)  # fmt: skip
def test_a_line_that_contradicts_the_next_is_left_out_alone(
    lines: list[str], kept: list[int], tmp_path: Path
) -> None:
    listing = read(tmp_path / "text", "".join(lines))
    assert listing.rows.first.tolist() == kept
    assert any("left out" in words for words in listing.warnings)
