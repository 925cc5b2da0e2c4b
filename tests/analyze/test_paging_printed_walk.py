"""A walk that was printed is refused by the entries by which the walker refuses the same tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paging_cases import Pages

from cr3scope.paging.printed_walk import judge_printed
from cr3scope.paging.walk import AccessKind, PageFault, Reason, access, walk
from cr3scope.x86.cpu_state import CR4_LA57, CR4_SMAP, CR4_SMEP, CpuState
from cr3scope.x86.entry import DIRTY, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE

ROOT, VIRT = 0x10000, 0x7F12_3456_7000
P, W, U, NX = PRESENT, WRITABLE, USER, NO_EXECUTE
FLAGS = st.sampled_from([P | W | U, P | W | U, P | W | U, P | W, P | U, P | W | U | NX, P | W | U | LARGE, W | U])


@st.composite
def paths(draw: st.DrawFn) -> tuple[Pages, CpuState]:
    """One path of tables, and a CPU."""
    deep = draw(st.booleans())
    cpu = CpuState(ROOT, cr4=0x668 | draw(st.sampled_from([0, CR4_SMEP, CR4_SMAP])) | (CR4_LA57 if deep else 0))
    pages, table = Pages(), ROOT
    for level in range(cpu.levels, 0, -1):
        flags = draw(FLAGS)
        if level > 3:
            flags &= ~LARGE
        frame = 0 if flags & LARGE else table + 0x1000
        pages.put(table, VIRT >> 12 + 9 * (level - 1) & 511, frame | flags)
        table += 0x1000
    return pages, cpu


@given(paths(), st.sampled_from(AccessKind), st.booleans())
@settings(max_examples=300)
def test_the_same_entries_refuse(path: tuple[Pages, CpuState], kind: AccessKind, user: bool) -> None:
    pages, cpu = path
    entries = walk(pages, cpu, VIRT).entries
    found = access(pages, cpu, VIRT, kind, user)
    printed = judge_printed([(entry.level, entry.value) for entry in entries], VIRT, cpu, kind, user)
    assert printed.is_whole
    if isinstance(found, PageFault):
        assert printed.refused is found.reason
        assert [(one.level, one.index) for one in printed.guilty] == [(one.level, one.index) for one in found.guilty]
    else:
        assert printed.refused is None and not printed.guilty


@given(paths(), st.sampled_from(AccessKind), st.booleans(), st.integers(1, 3))
@settings(max_examples=200)
def test_a_print_that_is_cut_blames_only_what_denies_the_access(
    path: tuple[Pages, CpuState], kind: AccessKind, user: bool, kept: int
) -> None:
    pages, cpu = path
    entries = [(entry.level, entry.value) for entry in walk(pages, cpu, VIRT).entries]
    cut = judge_printed(entries[:kept], VIRT, cpu, kind, user)
    denies = {Reason.READ_ONLY: (W, 0), Reason.SUPERVISOR: (U, 0), Reason.NO_EXECUTE: (NX, NX), Reason.NOT_PRESENT: (P, 0)}
    if not cut.is_whole and cut.refused is not None:
        bit, value = denies[cut.refused]
        assert cut.guilty and all(entry.value & bit == value for entry in cut.guilty)
        assert isinstance(access(pages, cpu, VIRT, kind, user), PageFault)


SHORT = [(2, 0x1000 | P | W | U), (1, 0x2000 | P | U)]


@pytest.mark.parametrize(
    ("entries", "kind", "user", "refused", "levels"),
    [
        (SHORT, AccessKind.WRITE, True, Reason.READ_ONLY, [1]),
        (SHORT, AccessKind.READ, True, None, []),
        ([(2, 0x1000 | P | W)], AccessKind.READ, True, Reason.SUPERVISOR, [2]),
        ([(2, 0x0040_0000 | P | W | LARGE)], AccessKind.WRITE, False, None, []),
        ([(2, 0)], AccessKind.READ, False, Reason.NOT_PRESENT, [2]),
        ([(3, 0x1000 | P), (2, 0x2000 | P | W | U), (1, 0x3000 | P | W | U)], AccessKind.WRITE, True, None, []),
        ([(3, 0x1000 | P), (2, 0x2000 | P | W), (1, 0x3000 | P | W | U)], AccessKind.WRITE, True, Reason.SUPERVISOR, [2]),
        ([(3, 0)], AccessKind.WRITE, True, Reason.NOT_PRESENT, [3]),
        ([], AccessKind.READ, False, None, []),
    ],
)
def test_tables_of_32_bit_guests_are_judged(
    entries: list[tuple[int, int]], kind: AccessKind, user: bool, refused: Reason | None, levels: list[int]
) -> None:
    found = judge_printed(entries, 0x40_3000, CpuState(0, cr4=0), kind, user)
    assert found.refused is refused and [one.level for one in found.guilty] == levels


def test_indices_are_those_of_the_kind_of_tables() -> None:
    short = judge_printed(SHORT, 0xC040_3000, CpuState(0), AccessKind.READ, False)
    assert [one.index for one in short.entries] == [0x301, 3]
    pae = judge_printed([(3, P), (2, P), (1, P)], 0xC040_3000, CpuState(0), AccessKind.READ, False)
    assert [one.index for one in pae.entries] == [3, 2, 3]


@pytest.mark.parametrize(
    ("entries", "guilty"),
    [
        ([(4, 0x1000 | P | W | U), (3, 0x2000 | P | W | U | 1 << 50), (2, 0x3000 | P), (1, 0x4000 | P | DIRTY)], [3]),
        ([(4, 0x1000 | P | LARGE), (3, 0x2000 | P), (2, 0x3000 | P), (1, 0x4000 | P)], [4]),
        ([(2, 0x1000 | P), (1, 0x2000 | P)], []),  # nothing is reserved there
        ([(3, 0x1000 | P | W | U), (2, 0x2000 | P | 1 << 55), (1, 0x3000 | P)], [2]),  # ignored in long mode alone
        ([(4, 0x1000 | P | NX), (3, 0x2000 | P | 1 << 50), (2, 0x3000 | P), (1, 0x4000 | P)], [4, 3]),
    ],
)
def test_of_a_reserved_bit_every_entry_that_may_have_it_is_told(entries: list[tuple[int, int]], guilty: list[int]) -> None:
    found = judge_printed(entries, 0x1000, CpuState(0), AccessKind.READ, False, reserved=True)
    assert found.refused is Reason.RESERVED and [one.level for one in found.guilty] == guilty
