"""The facts of x86-64 paging, one test each. Sections are those of the Intel SDM, volume 3A."""

from __future__ import annotations

from dataclasses import replace

import naive_paging as naive
import pytest
from paging_cases import NX, PS, ROOT, D, G, P, Pages, U, W, cpu_of

from cr3scope.paging.walk import PageFault, Reason, Translation, access, walk
from cr3scope.x86 import entry
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR4_CET, CpuState
from cr3scope.x86.platform import Platform

FETCH, READ, WRITE = AccessKind.FETCH, AccessKind.READ, AccessKind.WRITE
VIRT = 0xFFFF_FFFF_8020_2456  # bit 12 clear, bit 13 set
FRAME = 0x1_4000_0000  # aligned for a leaf of any size
NORMAL = naive.Machine(ROOT)
LEAF_SIZES = {1: 1 << 12, 2: 1 << 21, 3: 1 << 30}


class Space:
    """The path of VIRT: one entry a level, P, W and U set, until a test changes it."""

    def __init__(self, leaf: int = 1, machine: naive.Machine = NORMAL) -> None:
        self.machine = machine
        self.pages = Pages()
        for level in range(machine.levels, leaf - 1, -1):
            target = FRAME if level == leaf else self._table(level - 1)
            self.pages.put(self._table(level), naive.index_of(VIRT, level), target | P | W | U)
        if leaf > 1:
            self.change(leaf, PS)

    def _table(self, level: int) -> int:
        return ROOT + 0x1000 * (self.machine.levels - level)

    def change(self, level: int, set_bits: int = 0, clear_bits: int = 0) -> Space:
        table, index = self._table(level), naive.index_of(VIRT, level)
        value = self.pages.memory[table][index]
        self.pages.put(table, index, (value | set_bits) & ~clear_bits)
        return self

    @property
    def cpu(self) -> CpuState:
        return cpu_of(self.machine)

    def try_(
        self, kind: AccessKind, user: bool = False, platform: Platform = Platform.HARDWARE
    ) -> Translation | PageFault:
        return access(self.pages, self.cpu, VIRT, kind, user, platform=platform)

    def fault(self, kind: AccessKind, user: bool = False, tcg: bool = False) -> PageFault:
        found = self.try_(kind, user, Platform.TCG if tcg else Platform.HARDWARE)
        assert isinstance(found, PageFault)
        return found

    def phys(self, kind: AccessKind = READ, user: bool = False, tcg: bool = False) -> int:
        found = self.try_(kind, user, Platform.TCG if tcg else Platform.HARDWARE)
        assert isinstance(found, Translation), found
        return found.phys


def levels_of(fault: PageFault) -> list[int]:
    return [guilty.level for guilty in fault.guilty]


def with_(**changes: int | bool) -> naive.Machine:
    return replace(NORMAL, **changes)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("leaf", [1, 2, 3])
def test_a_page_of_each_size_is_found_at_each_depth(levels: int, leaf: int) -> None:
    space = Space(leaf, with_(levels=levels))
    assert space.phys() == FRAME + VIRT % LEAF_SIZES[leaf]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_nx_is_inherited_from_any_level(level: int) -> None:
    """5.6.1: XD of any entry on the path forbids instruction fetches."""
    space = Space().change(level, NX)
    fault = space.fault(FETCH)
    assert (fault.vector, fault.error_code, fault.cr2) == (14, 0x11, VIRT)
    assert (levels_of(fault), fault.reason) == ([level], Reason.NO_EXECUTE)
    assert space.phys(READ) == space.phys(WRITE) == FRAME + VIRT % 0x1000


def test_every_entry_that_forbids_is_named() -> None:
    assert levels_of(Space().change(4, NX).change(2, NX).fault(FETCH)) == [4, 2]
    space = Space().change(3, clear_bits=W).change(1, clear_bits=W)
    assert levels_of(space.fault(WRITE)) == [3, 1]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_read_only_at_any_level_forbids_writes(level: int) -> None:
    fault = Space().change(level, clear_bits=W).fault(WRITE)
    assert (fault.error_code, levels_of(fault)) == (0x3, [level])


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_supervisor_only_at_any_level_forbids_the_user(level: int) -> None:
    space = Space().change(level, clear_bits=U)
    assert space.fault(READ, user=True).error_code == 0x5
    assert levels_of(space.fault(WRITE, user=True)) == [level]
    space.phys(WRITE)


def test_the_supervisor_writes_to_read_only_pages_without_wp_and_the_user_never() -> None:
    space = Space(machine=with_(wp=False)).change(1, clear_bits=W)
    space.phys(WRITE)
    assert space.fault(WRITE, user=True).error_code == 0x7


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [READ, WRITE, FETCH])
def test_bit_63_without_nxe_is_reserved_at_any_level_for_any_access(
    level: int, kind: AccessKind
) -> None:
    """5.5.4, and 5.7: RSVD comes with P; TCG leaves P out. I/D needs NXE or SMEP."""
    space = Space(machine=with_(nxe=False)).change(level, NX)
    write = 2 if kind is WRITE else 0
    assert space.fault(kind).error_code == 0x9 | write
    assert space.fault(kind, tcg=True).error_code == 0x8 | write
    assert (space.fault(kind).reason, levels_of(space.fault(kind))) == (Reason.RESERVED, [level])


@pytest.mark.parametrize(("nxe", "smep", "code"), [(1, 0, 0x10), (0, 1, 0x10), (0, 0, 0x0)])
def test_a_fetch_shows_in_the_error_code_only_with_nxe_or_smep(
    nxe: int, smep: int, code: int
) -> None:
    space = Space(machine=with_(nxe=bool(nxe), smep=bool(smep))).change(1, clear_bits=P)
    assert space.fault(FETCH).error_code == code


@pytest.mark.parametrize(("kind", "code"), [(READ, 0), (WRITE, 2), (FETCH, 0x10)])
def test_error_codes_of_an_absent_page_describe_the_access(kind: AccessKind, code: int) -> None:
    space = Space().change(1, clear_bits=P)
    assert space.fault(kind).error_code == code
    assert space.fault(kind, user=True).error_code == code | 4


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_reserved_bits_count_only_where_the_entry_is_present(level: int) -> None:
    machine = with_(nxe=False, maxphyaddr=40)
    space = Space(machine=machine).change(level, NX | 1 << 45, P)
    assert space.fault(READ).error_code == 0


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("number", [40, 51])
def test_address_bits_from_maxphyaddr_on_are_reserved_at_every_level(
    level: int, number: int
) -> None:
    fault = Space(machine=with_(maxphyaddr=40)).change(level, 1 << number).fault(READ)
    assert (fault.error_code, levels_of(fault)) == (0x9, [level])


@pytest.mark.parametrize("levels", [4, 5])
def test_ps_is_reserved_above_the_pdpt(levels: int) -> None:
    for level in range(4, levels + 1):
        fault = Space(machine=with_(levels=levels)).change(level, PS).fault(FETCH)
        assert (fault.error_code, levels_of(fault)) == (0x19, [level])


def test_bit_7_of_a_pte_is_pat() -> None:
    assert Space().change(1, 1 << 7).phys() == FRAME + VIRT % 0x1000


@pytest.mark.parametrize("leaf", [2, 3])
def test_bit_12_of_a_large_leaf_is_pat_and_no_address(leaf: int) -> None:
    assert Space(leaf).change(leaf, 1 << 12).phys() == FRAME + VIRT % LEAF_SIZES[leaf]


@pytest.mark.parametrize(("leaf", "number"), [(2, 13), (2, 20), (3, 13), (3, 20), (3, 21), (3, 29)])
def test_a_misaligned_large_frame_has_reserved_bits(leaf: int, number: int) -> None:
    space = Space(leaf).change(leaf, 1 << number)
    assert space.fault(FETCH).error_code == 0x19
    assert space.fault(FETCH, tcg=True).error_code == 0x18


def test_a_gigantic_leaf_without_cpu_support_is_reserved_but_tcg_runs() -> None:
    space = Space(3, with_(gigapages=False))
    assert space.fault(READ).error_code == 0x9
    assert space.phys(tcg=True) == FRAME + VIRT % (1 << 30)


def test_global_in_a_pml4e_is_reserved_on_amd_alone_and_not_by_tcg() -> None:
    assert Space().change(4, G).phys() == FRAME + VIRT % 0x1000
    amd = Space(machine=with_(amd=True)).change(4, G)
    assert (amd.fault(READ).error_code, levels_of(amd.fault(READ))) == (0x9, [4])
    amd.phys(tcg=True)


@pytest.mark.parametrize("level", [2, 3])
def test_global_in_a_lower_entry_that_points_to_a_table_is_ignored(level: int) -> None:
    Space(machine=with_(amd=True)).change(level, G).phys()


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_software_bits_are_ignored_and_no_address(level: int) -> None:
    ignored = 0x7F << 52 | 7 << 9
    assert Space().change(level, ignored).phys() == FRAME + VIRT % 0x1000


@pytest.mark.parametrize(
    ("level", "leaf", "frame"),
    [
        (1, True, 0x3FF_F000), (2, True, 0x3E0_0000), (3, True, 0), (4, False, 0x3FF_F000),
        (5, False, 0x3FF_F000),
    ],
)  # fmt: skip
def test_what_an_entry_with_bit_7_points_to_depends_on_its_level(
    level: int, leaf: bool, frame: int
) -> None:
    value = NX | 0x3FF_F000 | PS | 0x7F
    assert entry.is_leaf(value, level) == leaf
    assert entry.frame(value, level) == frame


def test_nx_is_no_address_bit_of_a_table() -> None:
    assert Space().change(4, NX).change(3, NX).phys() == FRAME + VIRT % 0x1000


def test_flags_in_cr3_are_ignored_and_carry_no_rights() -> None:
    space = Space(machine=with_(root=ROOT | 0xFE7))
    assert space.phys(FETCH) == space.phys(WRITE) == FRAME + VIRT % 0x1000


def test_smep_and_smap_look_at_the_rights_of_all_levels_together() -> None:
    protected = with_(smep=True, smap=True)
    leaf_alone = Space(machine=protected).change(4, clear_bits=U)
    leaf_alone.phys(FETCH)
    leaf_alone.phys(WRITE)
    user_page = Space(machine=protected)
    assert (user_page.fault(FETCH).error_code, user_page.fault(FETCH).reason) == (0x11, Reason.SMEP)
    assert (user_page.fault(READ).error_code, user_page.fault(READ).reason) == (0x1, Reason.SMAP)


def test_rflags_ac_opens_user_pages_to_explicit_accesses_alone() -> None:
    space = Space(machine=with_(smap=True, ac=True))
    space.phys(READ)
    found = access(space.pages, space.cpu, VIRT, READ, user=True, implicit=True)
    assert isinstance(found, PageFault)
    assert (found.error_code, found.reason) == (0x1, Reason.SMAP)


def test_an_implicit_access_of_the_user_is_the_supervisors() -> None:
    space = Space().change(1, clear_bits=U)
    found = access(space.pages, space.cpu, VIRT, READ, user=True, implicit=True)
    assert isinstance(found, Translation)


@pytest.mark.parametrize(("user_page", "feature"), [(True, "pke"), (False, "pks")])
def test_protection_keys_need_their_feature_and_the_key_of_the_leaf(
    user_page: bool, feature: str
) -> None:
    rules = 0b01 << 2 * 5 | 0b10 << 2 * 6  # key 5: no access, key 6: no writes
    clear = 0 if user_page else U
    on = with_(**{feature: True, "pkru" if user_page else "pkrs": rules})
    closed = Space(machine=on).change(1, 5 << 59, clear)
    fault = closed.fault(READ)
    assert (fault.error_code, fault.reason) == (0x21, Reason.PROTECTION_KEY)
    closed.phys(FETCH)
    no_writes = Space(machine=on).change(1, 6 << 59, clear)
    no_writes.phys(READ)
    assert no_writes.fault(WRITE).error_code == 0x23
    Space(machine=replace(on, wp=False)).change(1, 6 << 59, clear).phys(WRITE)
    Space(machine=replace(on, **{feature: False})).change(1, 5 << 59, clear).phys(READ)
    Space(machine=on).change(2, 5 << 59, clear).phys(READ)


def test_the_first_entry_that_stops_the_walk_wins_over_rights() -> None:
    space = Space(machine=with_(nxe=True, maxphyaddr=40)).change(4, NX, W).change(2, 1 << 45)
    fault = space.fault(FETCH)
    assert (fault.error_code, levels_of(fault)) == (0x19, [2])


def test_an_address_that_is_not_canonical_is_a_gp_that_leaves_cr2_alone() -> None:
    space = Space()
    found = access(space.pages, space.cpu, 1 << 47, READ)
    assert isinstance(found, PageFault)
    assert (found.vector, found.error_code, found.cr2) == (13, 0, None)
    assert found.reason is Reason.NON_CANONICAL and found.guilty == ()


@pytest.mark.parametrize(
    ("virt", "levels", "canonical"),
    [
        (0x0000_7FFF_FFFF_FFFF, 4, True), (0x0000_8000_0000_0000, 4, False),
        (0xFFFF_7FFF_FFFF_FFFF, 4, False), (0xFFFF_8000_0000_0000, 4, True),
        (0x0000_8000_0000_0000, 5, True), (0x00FF_FFFF_FFFF_FFFF, 5, True),
        (0x0100_0000_0000_0000, 5, False), (0xFEFF_FFFF_FFFF_FFFF, 5, False),
        (0xFF00_0000_0000_0000, 5, True),
    ],
)  # fmt: skip
def test_canonical_addresses_follow_the_depth(virt: int, levels: int, canonical: bool) -> None:
    space = Space(machine=with_(levels=levels))
    stop = walk(space.pages, space.cpu, virt).stop
    assert (stop is not Reason.NON_CANONICAL) == canonical


def test_an_access_that_leaves_the_canonical_half_is_a_gp() -> None:
    space = Space()
    found = access(space.pages, space.cpu, (1 << 47) - 4, READ, width=8)
    assert isinstance(found, PageFault) and found.vector == 13


@pytest.mark.parametrize("kind", [FETCH, READ, WRITE])
def test_an_access_that_crosses_into_an_absent_page_faults_at_that_pages_first_byte(
    kind: AccessKind,
) -> None:
    space = Space()
    last = VIRT | 0xFFF
    assert isinstance(access(space.pages, space.cpu, last, kind), Translation)
    found = access(space.pages, space.cpu, last, kind, width=2)
    assert isinstance(found, PageFault) and found.cr2 == found.virt == last + 1


def test_an_access_over_many_pages_needs_all_of_them() -> None:
    space = Space()
    table, index = ROOT + 0x3000, naive.index_of(VIRT, 1)
    for number in (1, 2):
        space.pages.put(table, index + number, FRAME | P | W)
    whole = access(space.pages, space.cpu, VIRT, WRITE, width=0x2000)
    assert isinstance(whole, Translation) and whole.phys == FRAME + VIRT % 0x1000
    space.pages.put(table, index + 2, FRAME | P)
    found = access(space.pages, space.cpu, VIRT, WRITE, width=0x2000)
    assert isinstance(found, PageFault) and found.cr2 == (VIRT & ~0xFFF) + 0x2000


def test_a_table_that_is_no_memory_reads_as_ones_on_a_pc_and_as_zero_in_tcg() -> None:
    space = Space()
    del space.pages.memory[ROOT + 0x2000]
    found = space.fault(READ)
    assert (found.error_code, found.reason, levels_of(found)) == (
        0x9, Reason.TABLE_UNREADABLE, [3]
    )  # fmt: skip
    assert space.fault(READ, tcg=True).error_code == 0
    del space.pages.memory[ROOT]
    assert (space.fault(READ).guilty, space.fault(READ).error_code) == ((), 0x9)


def test_a_shadow_stack_page_is_a_dirty_read_only_leaf_under_writable_parents() -> None:
    """5.6.1, with CR4.CET; an ordinary write there faults as on any read-only page."""
    space = Space().change(1, D, W).change(4, clear_bits=U)
    cpu = replace(space.cpu, cr4=space.cpu.cr4 | CR4_CET)

    def pushes() -> Translation | PageFault:
        return access(space.pages, cpu, VIRT, WRITE, shadow_stack=True)

    assert isinstance(pushes(), Translation)
    assert space.fault(WRITE).error_code == 0x3
    for level, set_bits, clear_bits in ((1, W, 0), (1, 0, D | W), (2, 0, W)):
        space.change(1, D, W).change(2, W).change(level, set_bits, clear_bits)
        found = pushes()
        assert isinstance(found, PageFault)
        assert (found.error_code, found.reason) == (0x43, Reason.SHADOW_STACK)
        assert levels_of(found) == [level]


def test_rights_of_a_translation_are_those_of_all_levels() -> None:
    found = Space().change(3, NX, U).try_(READ)
    assert isinstance(found, Translation) and found.rights == "rw--"
