"""`info mem` of 32-bit guests, and `info pg` of any: rights are those of all levels, and nothing is told that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listed_access import Outcome, listed_access
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.open import open_any
from cr3scope.x86.access import AccessKind

SHORT_MEM = """\
(qemu) info mem
00000000-00400000 00400000 -r-
ef000000-ef021000 00021000 ur-
f0000000-00000000 10000000 -rw
"""
TWO_LEVELS = """\
(qemu) info pg
VPN range     Entry         Flags        Physical page
[00000-003ff]  PDE[000]     ----A--U-P
  [00010-00011]  PTE[010-011] ----A--UWP 00510 00320
  [00200-00233]  PTE[200-233] -------U-P 00381 0037e 0037d 0037c ..
[ef000-ef3ff]  PDE[3bc]     -------UWP
  [ef000-ef0ff]  PTE[000-0ff] -------U-P 0011a-00219
[f0000-f7fff]  PDE[3c0-3df] ----A---WP
  [f0000-f7fff]  PTE[000-3ff] ---DA--UWP 00000-07fff
"""
FOUR_LEVELS = """\
Info pg for CPU 0
VPN range             Entry         Flags            Physical page(s)
[000000000-000000000] PML4[000]     ---DA--UWP
  [000040000-00007ffff]  PDP[001]     X--DA--UWP
    [000040000-0000401ff]  PDE[000]     ---DA--UWP
      [000040003-000040004]  PTE[003-004] ---DA--UWP 0000004321-0000004322
  [000080000-0000bffff]  PDP[002]     -GSDA---WP 0000080000-00000bffff
[ff8000000-fffffffff] PML4[1ff]     ---DA--U-P
  [ffff80000-ffffbffff]  PDP[1fe]     ---DA---WP
    [ffff80200-ffff80fff]  PDE[001-007] -GSDA--UWP 0000000200-0000000fff
"""
FIVE_LEVELS = """\
VPN range                   Entry         Flags              Physical page(s)
[ff0000000000-ffffffffffff] PML5[1f0-1ff] ---DA---WP
  [fffff8000000-ffffffffffff] PML4[1ff]     ---DA---WP
    [fffffffc0000-ffffffffffff]  PDP[1ff]     ---DA---WP
      [fffffffffe00-ffffffffffff]  PDE[1ff]     ---DA---WP
        [fffffffffffe-ffffffffffff]  PTE[1fe-1ff] X--DA---WP 0000000005-0000000006
"""
FOUR_MIB_TLB = """\
(qemu) info tlb
0000000000000000: 0000000000000000 --PDA---W
0000000000400000: 0000000000400000 --PDA--UW
00000000c0000000: 0000000000000000 -GPDA---W
00000000c0400000: 0000000000400000 -GPDA---W
00000000ffc00000: 0000000000201000 ---DA--UW
"""
PAE_TLB = """\
0000000000000000: 0000000000000000 --PDA---W
0000000000200000: 8000000000200000 X-PDA--UW
00000000c0000000: 8000000000123000 XG-DA---W
"""
SHORT_TLB = """\
00000000: 00000000 -GPDA---W
00400000: 00400000 -GPDA---W
"""
PAE = """\
[00000-3ffff]  PDP[000]     ---------P
  [00200-003ff]  PDE[001]     ----A--UWP
    [00200-00200]  PTE[000]     X---A--UWP 0000000777
"""


def read(path: Path, text: str) -> Listing:
    (path / "text").write_text(text)
    listing = open_any(path / "text")
    assert isinstance(listing, Listing)
    return listing


def rows(listing: Listing) -> list[tuple[int, int, str]]:
    pairs = zip(listing.rows.first.tolist(), listing.rows.last.tolist(), strict=True)
    return [(first, last, listing.rights(row)) for row, (first, last) in enumerate(pairs)]


LINUX = """\
---[ User Space ]---
0x00000000-0x08048000      131360K                           pgd
0x08048000-0x08049000           4K USR ro                 x  pte
---[ Kernel Mapping ]---
0xc0000000-0xc0100000           1M     RW             GLB NX pte
0xc0400000-0xc0800000           4M     ro         PSE GLB x  pmd
---[ Fixmap Area ]---
0xfff00000-0xfffff000        1020K                           pte
0xfffff000-0x00000000           4K     RW     PCD     GLB NX pte
"""


def test_the_page_table_dump_of_a_32_bit_linux_is_read(tmp_path: Path) -> None:
    listing = read(tmp_path, LINUX)
    assert [(hex(first), hex(last), rights) for first, last, rights in rows(listing)] == [
        ("0x8048000", "0x8048fff", "r-xu"), ("0xc0000000", "0xc00fffff", "rw--"), ("0xc0400000", "0xc07fffff", "r-x-"),
        ("0xfffff000", "0xffffffff", "rw--"),
    ]  # fmt: skip
    assert not listing.form.levels, "whether a pmd is 2 or 4 MiB nobody tells"
    with pytest.raises(UnusableInput, match="no line"):
        read(tmp_path, "0xc0000000-0xc0000000           1M     RW             GLB x  pud\n")


def test_large_pages_of_32_bit_paging_are_of_4_mib(tmp_path: Path) -> None:
    listing = read(tmp_path, FOUR_MIB_TLB)
    assert rows(listing) == [
        (0, 0x3FFFFF, "rwx-"), (0x400000, 0x7FFFFF, "rwxu"), (0xC0000000, 0xC07FFFFF, "rwx-"), (0xFFC00000, 0xFFC00FFF, "rwxu"),
    ]  # fmt: skip
    assert listing.page_bytes[2] == 4 << 20 and listed_access(listing, 0x612345, AccessKind.READ, True).phys == 0x612345


def test_nx_that_pae_prints_with_the_frame_is_no_address(tmp_path: Path) -> None:
    listing = read(tmp_path, PAE_TLB)
    assert rows(listing) == [(0, 0x1FFFFF, "rwx-"), (0x200000, 0x3FFFFF, "rw-u"), (0xC0000000, 0xC0000FFF, "rw--")]
    assert listing.phys_at(1, 0x200000) == 0x200000 and listing.phys_at(2, 0xC0000010) == 0x123010


def test_info_tlb_of_eight_digits_is_read(tmp_path: Path) -> None:
    assert rows(read(tmp_path, SHORT_TLB)) == [(0, 0x7FFFFF, "rwx-")]
    assert rows(read(tmp_path, SHORT_TLB.replace(" -G", " G"))) == [(0, 0x7FFFFF, "rw?-")]  # without NX


def test_a_large_page_whose_size_nothing_tells_is_said_to_be_one(tmp_path: Path) -> None:
    listing = read(tmp_path, "0000000000400000: 0000000000400000 --PDA---W\n")
    assert any("may be of 4 MiB" in words for words in listing.notes)
    known = read(tmp_path, "0000000000400000: 0000000000400000 --PDA---W\n0000000000600000: 0000000000600000 --PDA---W\n")
    assert not any("4 MiB" in words for words in known.notes)


def test_info_mem_of_eight_digits_tells_ranges_up_to_the_last_byte(tmp_path: Path) -> None:
    listing = read(tmp_path, SHORT_MEM)
    assert rows(listing) == [
        (0, 0x3FFFFF, "r-?-"), (0xEF000000, 0xEF020FFF, "r-?u"), (0xF0000000, 0xFFFFFFFF, "rw?-"),
    ]  # fmt: skip


def test_what_info_mem_of_eight_digits_grants_is_a_bound(tmp_path: Path) -> None:
    listing = read(tmp_path, SHORT_MEM)
    assert listed_access(listing, 0xEF000123, AccessKind.WRITE, True).outcome is Outcome.FAULT
    assert listed_access(listing, 0xF0000123, AccessKind.WRITE, False).outcome is Outcome.UNKNOWN
    assert listed_access(listing, 0x400000, AccessKind.READ, False).outcome is Outcome.FAULT


@pytest.mark.parametrize(
    "text",
    [SHORT_MEM.replace("\n", "\r\n"), "> " + SHORT_MEM.replace("\n", "\n> "), "   " + SHORT_MEM.replace("\n", "\n   ")],
    ids=["crlf", "quoted", "indented"],
)
def test_info_mem_in_disguise_is_read(text: str, tmp_path: Path) -> None:
    assert rows(read(tmp_path, text)) == rows(read(tmp_path, SHORT_MEM))


def test_info_mem_of_a_32_bit_guest_by_newer_versions_is_read(tmp_path: Path) -> None:
    listing = read(tmp_path, "00000000fffff000-0000000100000000 0000000000001000 -rw\n")
    assert rows(listing) == [(0xFFFFF000, 0xFFFFFFFF, "rw?-")]


def test_a_range_that_contradicts_its_size_is_left_out(tmp_path: Path) -> None:
    listing = read(tmp_path, SHORT_MEM.replace("00021000 ur-", "00022000 ur-"))
    assert len(listing) == 2 and any("contradict" in words for words in listing.losses)


def test_rights_of_info_pg_are_those_of_all_levels(tmp_path: Path) -> None:
    listing = read(tmp_path, TWO_LEVELS)
    assert rows(listing) == [
        (0x10000, 0x11FFF, "r-xu"),  # the PDE denies w
        (0x200000, 0x233FFF, "r-xu"),
        (0xEF000000, 0xEF0FFFFF, "r-xu"),
        (0xF0000000, 0xF7FFFFFF, "rwx-"),  # the PDEs deny u
    ]
    assert listed_access(listing, 0x10000, AccessKind.WRITE, False).outcome is Outcome.FAULT
    assert listed_access(listing, 0xF0000000, AccessKind.WRITE, False).outcome is Outcome.TRANSLATED


def test_frames_are_told_only_where_all_are_listed(tmp_path: Path) -> None:
    cut = read(tmp_path, TWO_LEVELS)
    assert cut.phys_at(0, 0x10000) is None
    assert any("frames are not told" in words for words in cut.warnings)
    whole = read(tmp_path, "".join(line + "\n" for line in TWO_LEVELS.splitlines() if ".." not in line))
    assert [whole.phys_at(row, int(whole.rows.first[row])) for row in range(len(whole))] == [
        0x510000, 0x320000, 0x11A000, 0,
    ]  # fmt: skip


def test_nx_of_an_upper_level_takes_execution_away(tmp_path: Path) -> None:
    listing = read(tmp_path, FOUR_LEVELS)
    assert rows(listing) == [
        (0x40003000, 0x40004FFF, "rw-u"),
        (0x80000000, 0xBFFFFFFF, "rwx-"),
        (0xFFFFFFFF80200000, 0xFFFFFFFF80FFFFFF, "r-x-"),
    ]
    assert [listing.level(row) for row in range(3)] == [1, 3, 2]
    assert listing.phys_at(0, 0x40004010) == 0x4322010 and listing.phys_at(1, 0x80000000) == 0x80000000


def test_addresses_of_five_levels_are_canonical(tmp_path: Path) -> None:
    listing = read(tmp_path, FIVE_LEVELS)
    assert rows(listing) == [(0xFFFF_FFFF_FFFF_E000, 0xFFFF_FFFF_FFFF_FFFF, "rw--")]
    with pytest.raises(UnusableInput):  # without its PDE, whose rights count
        read(tmp_path, "".join(line + "\n" for line in FIVE_LEVELS.splitlines() if "PDE" not in line))


def test_a_pdpte_of_pae_denies_nothing(tmp_path: Path) -> None:
    assert rows(read(tmp_path, PAE)) == [(0x200000, 0x200FFF, "rw-u")]


def test_a_leaf_without_its_upper_entries_is_left_out(tmp_path: Path) -> None:
    cut = TWO_LEVELS[TWO_LEVELS.index("  [00200") :]
    listing = read(tmp_path, cut)
    assert rows(listing)[0][0] == 0xEF000000
    assert any("no line of each entry above" in words for words in listing.losses)
    assert listed_access(listing, 0x200000, AccessKind.READ, False).outcome is Outcome.UNKNOWN


def test_the_last_of_several_listings_counts(tmp_path: Path) -> None:
    listing = read(tmp_path, TWO_LEVELS + "(qemu) info pg\n" + TWO_LEVELS.replace("UWP 00510 00320", "U-P 00510 00320"))
    assert len(listing) == 4 and any("2 listings" in words for words in listing.notes)


@pytest.mark.parametrize("text", [TWO_LEVELS, FOUR_LEVELS, FIVE_LEVELS, PAE, SHORT_MEM], ids=range(5))
def test_a_listing_cut_anywhere_claims_nothing_more(text: str, tmp_path: Path) -> None:
    whole = read(tmp_path, text)
    for cut in range(0, len(text), 3):
        try:
            part = read(tmp_path, text[:cut])
        except UnusableInput:
            continue
        for first, last, rights in rows(part):
            row = whole.row_of(first)
            assert row is not None and last <= int(whole.rows.last[row]) and rights == whole.rights(row)
            phys = part.phys_at(part.row_of(first) or 0, first)
            assert phys in (None, whole.phys_at(row, first)) or whole.phys_at(row, first) is None


def test_the_host_s_side_of_nested_paging_is_no_listing_of_the_guest(tmp_path: Path) -> None:
    host = "Info pg for CPU 0, host mode\n[000000000-007ffffff] PML4[000]     ----XWR\n"
    assert rows(read(tmp_path, FOUR_LEVELS + host)) == rows(read(tmp_path, FOUR_LEVELS))
