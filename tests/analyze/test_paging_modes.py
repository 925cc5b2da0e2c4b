"""Which mode of paging a CPU is in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from paging_cases import ROOT, P, Pages, U, W

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.open import open_source
from cr3scope.input.sources.source import Overrides
from cr3scope.paging.effective import mappings
from cr3scope.paging.pdptes import refused_pdptes
from cr3scope.paging.walk import PageFault, Reason, Translation, access, walk
from cr3scope.target.overlay import Overlay
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import (
    CR0_PG,
    CR4_LA57,
    CR4_PAE,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    CpuState,
    PagingMode,
)
from cr3scope.x86.platform import Platform


@pytest.mark.parametrize(("cr0", "cr4", "efer", "mode"), [
    (0x11, CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA, PagingMode.NONE),
    (CR0_PG | 0x11, 0, EFER_LME, PagingMode.BITS_32),
    (CR0_PG | 0x11, CR4_PAE, EFER_LME, PagingMode.PAE),
    (CR0_PG | 0x11, CR4_PAE | CR4_LA57, 0, PagingMode.PAE),
    (CR0_PG | 0x11, CR4_PAE, EFER_LME | EFER_LMA, PagingMode.LEVELS_4),
    (CR0_PG | 0x11, CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA, PagingMode.LEVELS_5),
])  # fmt: skip
def test_pg_pae_lma_and_la57_decide_in_this_order(cr0: int, cr4: int, efer: int, mode: PagingMode) -> None:
    assert CpuState(cr3=0x1000, cr0=cr0, cr4=cr4, efer=efer).paging_mode is mode


SHORT = CpuState(ROOT, cr4=CR4_PSE, efer=0)
PAE = CpuState(ROOT, cr4=CR4_PAE, efer=EFER_NXE)
PS, NX = 0x80, 1 << 63
PD, PT, FRAME = 0x20000, 0x30000, 0x40_0000


def short_pages(pde: int, pte: int = FRAME | P | W) -> Pages:
    """A PD whose entry 1 is ``pde``, and a PT whose entry 2 is ``pte``."""
    return Pages({ROOT: [0, pde] + [0] * 1022, PT: [0, 0, pte] + [0] * 1021})


def pae_pages(pdpte: int = PD | P, pde: int = PT | P | W, pte: int = FRAME | P | W) -> Pages:
    """A PDPT whose entry 2 is ``pdpte``; below it the entries 0."""
    return Pages({ROOT: [0, 0, pdpte, 0], PD: [pde] + [0] * 511, PT: [pte] + [0] * 511})


def test_bits_20_to_13_of_a_4_mib_page_are_those_above_4_gib_as_far_as_the_cpu_has_them() -> None:
    tables = short_pages(0x80_0000 | 3 << 13 | P | W | PS)
    found = access(tables, SHORT, 0x40_1234, AccessKind.READ)
    assert isinstance(found, Translation)
    assert (found.phys, found.page_size, found.leaf.form.page_bytes) == (0x3_0080_1234, 4 << 20, 4 << 20)
    fewer = replace(SHORT, max_phys_bits=33)
    fault = access(tables, fewer, 0x40_1234, AccessKind.READ)
    assert isinstance(fault, PageFault) and (fault.reason, fault.error_code) == (Reason.RESERVED, 9)
    assert isinstance(access(tables, fewer, 0x40_1234, AccessKind.READ, platform=Platform.TCG), Translation)


def test_without_pse_an_entry_with_ps_points_to_a_table() -> None:
    tables = short_pages(PT | P | W | PS)
    path = walk(tables, replace(SHORT, cr4=0), 0x40_2345)
    assert (path.phys, [entry.level for entry in path.entries]) == (FRAME | 0x345, [2, 1])
    assert path.leaf.phys == PT + 2 * 4


def test_32_bit_paging_has_no_nx_whatever_efer_says_and_no_keys() -> None:
    tables, cpu = short_pages(PT | P | W), replace(SHORT, efer=EFER_NXE)
    assert walk(tables, cpu, 0x40_2000).rights == "rwx-" and not cpu.has_nx
    fault = access(tables, cpu, 0x40_3000, AccessKind.FETCH)
    assert isinstance(fault, PageFault) and fault.error_code == 0  # I/D only with NX or SMEP
    fault = access(tables, replace(cpu, cr4=CR4_SMEP), 0x40_3000, AccessKind.FETCH)
    assert isinstance(fault, PageFault) and fault.error_code == 16
    keyed = replace(cpu, cr4=1 << 22, pkru=0xFFFF_FFFF)
    assert isinstance(access(short_pages(PT | P | W | U, FRAME | P | W | U), keyed, 0x40_2000, AccessKind.READ, user=True), Translation)


def test_addresses_outside_long_mode_go_around_at_4_gib() -> None:
    tables = short_pages(PT | P | W)
    tables.memory[ROOT][1023] = PT | P | W
    tables.memory[PT][1023] = FRAME | P
    fault = access(tables, SHORT, 0xFFFF_FFFE, AccessKind.READ, width=4)
    assert isinstance(fault, PageFault) and (fault.vector, fault.cr2) == (14, 0)


def test_a_pdpte_of_pae_has_no_rights() -> None:
    path = walk(pae_pages(pte=FRAME | P | W | NX), PAE, 0x8000_0000)
    assert (path.rights, path.phys) == ("rw--", FRAME)
    fault = access(pae_pages(), PAE, 0x8000_0000, AccessKind.READ, user=True)
    assert isinstance(fault, PageFault) and [entry.level for entry in fault.guilty] == [2, 1]


def test_nx_without_nxe_is_reserved_in_pae_paging_and_so_are_the_bits_that_long_mode_ignores() -> None:
    for pte, cpu in ((NX, replace(PAE, efer=0)), (1 << 52, PAE), (1 << 62, PAE)):
        fault = access(pae_pages(pte=FRAME | P | pte), cpu, 0x8000_0000, AccessKind.READ)
        assert isinstance(fault, PageFault) and fault.reason is Reason.RESERVED
    assert isinstance(access(pae_pages(pte=FRAME | P | NX), PAE, 0x8000_0000, AccessKind.READ), Translation)


def test_reserved_bits_of_a_pdpte_refuse_its_load_and_no_walk_but_tcgs() -> None:
    for bit in (1, 2, 6, 7, 8, 52, 62, 63):
        tables = pae_pages(PD | P | 1 << bit)
        assert [entry.index for entry in refused_pdptes(tables, PAE)] == [2]
        assert refused_pdptes(tables, PAE, Platform.TCG) == ()
        assert isinstance(access(tables, PAE, 0x8000_0000, AccessKind.READ), Translation)
        found = access(tables, PAE, 0x8000_0000, AccessKind.READ, platform=Platform.TCG)
        assert isinstance(found, PageFault if bit >= 52 else Translation)
    assert refused_pdptes(pae_pages(PD | P | 1 << 5), PAE) == (), "TCG itself sets that bit"
    assert refused_pdptes(pae_pages(PD | 2), PAE) == (), "not present: nothing is checked"


def test_the_pdptes_that_the_cpu_has_loaded_count_and_not_those_in_memory() -> None:
    cpu = replace(PAE, pdptes=(0, 0, PD | P, 0))
    path = walk(pae_pages(0), cpu, 0x8000_0000)
    assert (path.phys, path.entries[0].value, path.entries[0].phys) == (FRAME, PD | P, ROOT + 16)
    assert walk(pae_pages(), replace(PAE, pdptes=(0, 0, 0, 0)), 0x8000_0000).stop is Reason.NOT_PRESENT
    assert len(mappings(pae_pages(0), cpu)) == 1


def test_without_paging_an_address_is_the_physical_one_and_nothing_is_refused() -> None:
    cpu = CpuState(ROOT, cr0=0x11, cr4=CR4_SMEP | CR4_SMAP, efer=0)
    for kind in AccessKind:
        found = access(Pages(), cpu, 0x1234, kind, width=8)
        assert isinstance(found, Translation) and found.phys == 0x1234
    assert len(mappings(Pages(), cpu)) == 0


def test_neighbours_of_4_mib_are_one_range() -> None:
    tables = Pages({ROOT: [(number << 22) | P | W | PS for number in range(1024)]})
    found = mappings(tables, SHORT)
    assert [(int(found.first[0]), int(found.last[0]), found.kind(0).page_bytes)] == [(0, 0xFFFF_FFFF, 4 << 20)]


def test_an_overlay_changes_one_short_entry_alone() -> None:
    tables = short_pages(PT | P | W, FRAME)
    overlay = Overlay(tables, 40)
    leaf = walk(tables, SHORT, 0x40_2000).leaf
    overlay.set(leaf, leaf.value | P)
    assert walk(overlay, SHORT, 0x40_2000).phys == FRAME and walk(overlay, SHORT, 0x40_3000).stop is Reason.NOT_PRESENT
    assert overlay.origin(walk(overlay, SHORT, 0x40_2000).leaf).value == FRAME
    assert overlay.add_table(leaf) < 1 << 32


@pytest.mark.parametrize(("named", "mode"), [
    (Overrides(), PagingMode.LEVELS_4),
    (Overrides(cr4=0), PagingMode.BITS_32),
    (Overrides(cr4=CR4_PSE), PagingMode.BITS_32),
    (Overrides(cr4=CR4_PAE), PagingMode.LEVELS_4),
    (Overrides(cr4=CR4_LA57), PagingMode.LEVELS_5),
    (Overrides(efer=0), PagingMode.LEVELS_4),
    (Overrides(efer=EFER_NXE), PagingMode.LEVELS_4),
    (Overrides(cr4=CR4_PAE, efer=EFER_NXE), PagingMode.PAE),
    (Overrides(cr0=0x11), PagingMode.NONE),
])  # fmt: skip
def test_registers_that_are_named_choose_the_mode(named: Overrides, mode: PagingMode) -> None:
    assert named.apply(CpuState(ROOT)).paging_mode is mode


def test_an_image_with_paging_off_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(0x20000))
    with pytest.raises(UnusableInput, match="paging is off"):
        open_source(tmp_path / "image", cr3=ROOT, cr0=0x11)


def test_an_image_of_32_bit_paging_whose_cr3_is_longer_is_one_line(tmp_path: Path) -> None:
    """Its upper half was dropped without a word. Of EFER, which means nothing there, nothing is assumed."""
    image = tmp_path / "image"
    image.write_bytes(bytes(0x3000))
    with pytest.raises(UnusableInput, match="CR3 0x100001000: in 32-bit paging CR3 has 32 bits"):
        open_source(image, cr3=0x1_0000_1000, cr4=0)
    assert not any("EFER" in one for one in open_source(image, cr3=0x1000, cr4=0).warnings)
    assert any("EFER" in one for one in open_source(image, cr3=0x1000, cr4=0x20).warnings)
