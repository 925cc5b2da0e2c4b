"""Random tables and machines for the comparison of the two page walks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import naive_paging as naive
import numpy as np
from hypothesis import strategies as st

from cr3scope.paging.tables import Entries
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform

P, W, U, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
ROOT = 0x10000
SHORT_ENTRIES, LOADED_ENTRIES = 1024, 4  # of a table of 32-bit paging, and of the first one of PAE

# Each of these decides something at some level, or must not.
INTERESTING = (7, 8, 9, 11, 12, 13, 20, 21, 29, 30, 36, 39, 40, 45, 46, 51, 52, 58, 63)
REGISTER = {
    "wp": ("cr0", 16), "la57": ("cr4", 12), "smep": ("cr4", 20), "smap": ("cr4", 21),
    "pke": ("cr4", 22), "pks": ("cr4", 24), "nxe": ("efer", 11), "ac": ("rflags", 18),
}  # fmt: skip


@dataclass
class Pages:
    """Table pages for both sides; what was not put there is no memory."""

    memory: dict[int, list[int]] = field(default_factory=dict)

    def table(self, phys: int) -> Entries | None:
        """A page: a table of 512 entries, one of 1024 short ones, or one that holds tables of 4."""
        entries = self.memory.get(phys)
        if entries is not None and len(entries) == SHORT_ENTRIES:
            return np.array(entries, dtype="<u4").view("<u8")
        if entries is not None and len(entries) == 512:
            return np.array(entries, dtype=np.uint64)
        loaded = {at: four for at, four in self.memory.items() if at & ~0xFFF == phys and len(four) == LOADED_ENTRIES}
        page = np.zeros(512, dtype=np.uint64)
        for at, four in loaded.items():
            page[at % 4096 // 8 : at % 4096 // 8 + LOADED_ENTRIES] = four
        return page if loaded else None

    def put(self, phys: int, index: int, value: int) -> None:
        self.memory.setdefault(phys, [0] * 512)[index] = value


def cpu_of(machine: naive.Machine) -> CpuState:
    """The registers that make this machine."""
    registers = {"cr0": 0x8000_0033, "cr4": 0x668, "efer": 0x500, "rflags": 2}
    if machine.levels < 4:
        registers |= {"cr4": 0x640 | machine.pse << 4 | (machine.levels == 3) << 5, "efer": 0x100}
    for name, (register, number) in REGISTER.items():
        is_on = machine.levels == 5 if name == "la57" else getattr(machine, name)
        registers[register] |= is_on << number
    return CpuState(
        cr3=machine.root,
        max_phys_bits=machine.maxphyaddr,
        has_1g_pages=machine.gigapages,
        is_amd=machine.amd,
        pkru=machine.pkru,
        pkrs=machine.pkrs,
        **registers,
    )


def platform_of(machine: naive.Machine) -> Platform:
    return Platform.TCG if machine.tcg else Platform.HARDWARE


def machines(tcg: st.SearchStrategy[bool] = st.booleans()) -> st.SearchStrategy[naive.Machine]:
    flag = st.booleans()
    keys = st.sampled_from((0, 0x5555_5555, 0xAAAA_AAAA, 0xFFFF_FFFC)) | st.integers(0, 2**32 - 1)
    return st.builds(
        naive.Machine, root=st.just(ROOT), levels=st.sampled_from((4, 5)), wp=flag, smep=flag,
        smap=flag, pke=flag, pks=flag, ac=flag, nxe=st.sampled_from((True, True, False)), pkru=keys,
        pkrs=keys, maxphyaddr=st.sampled_from((36, 39, 40, 46, 52)), gigapages=flag, amd=flag,
        tcg=tcg,
    )  # fmt: skip


def entries(child: int, level: int) -> st.SearchStrategy[int]:
    """An entry that points to ``child``, a good one or with some bits set."""
    usual: st.SearchStrategy[list[int]] = st.just([])
    more = usual | usual | (usual if level > 3 else st.sampled_from(([7], [7, 12])))
    more |= st.lists(st.sampled_from(INTERESTING), max_size=2)
    present = st.sampled_from((P,) * 29 + (0,))
    flags = st.sampled_from((W | U, W | U, W | U, W, U, 0, NX | W | U))
    key = st.sampled_from((0, 0, 1, 2, 15)).map(lambda number: number << 59)

    def made(parts: tuple[list[int], int, int, int]) -> int:
        value = child | parts[1] | parts[2] | parts[3]
        for number in parts[0]:
            value |= 1 << number
        return value

    return st.tuples(more, present, flags, key).map(made)


@dataclass(frozen=True)
class Case:
    """Tables, a machine and one access."""

    pages: Pages
    machine: naive.Machine
    virt: int
    kind: str
    user: bool
    implicit: bool
    width: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """The path of an address, and that of the next page, through random entries."""
    machine = draw(machines())
    pages = Pages()
    pages.memory[ROOT] = [0] * 512
    upper = draw(st.booleans())
    within = 2 ** (47 if machine.levels == 4 else 56)
    offset = draw(st.sampled_from((0, 1, 0x7F8, 0xFF8, 0xFFF)))
    page = draw(st.integers(0, within - 0x1000) | st.sampled_from((0, 0x1FF000, 0x3FFFF000)))
    virt = (page & ~0xFFF | offset) + (2**64 - within if upper else 0)
    if draw(st.sampled_from((False,) * 9 + (True,))):
        virt = draw(st.integers(0, 2**64 - 1))
    for address in (virt, virt + 0x1000):
        table = ROOT
        for level in range(machine.levels, 0, -1):
            index = address >> (12 + 9 * (level - 1)) & 511
            value = pages.memory[table][index]
            if not value:
                # Big frames are aligned: a leaf at any level can be good.
                child = 0x4000_0000 * (len(pages.memory) + 1)
                value = draw(entries(child, level))
                pages.put(table, index, value)
            table = value & 0x000F_FFFF_FFFF_F000
            if table not in pages.memory:
                if draw(st.sampled_from((False,) * 19 + (True,))):
                    break
                pages.memory[table] = [0] * 512
    return Case(
        pages,
        machine,
        virt,
        draw(st.sampled_from(("fetch", "read", "write"))),
        draw(st.booleans()),
        draw(st.sampled_from((False, False, True))),
        draw(st.sampled_from((1, 1, 2, 8, 64))),
    )


@st.composite
def legacy_cases(draw: st.DrawFn) -> Case:
    """The same outside long mode: two levels, or three whose first table lies anywhere in its page."""
    levels = draw(st.sampled_from((2, 3)))
    root = ROOT + (draw(st.sampled_from((0, 0x20, 0xFE0))) if levels == 3 else 0)
    machine = replace(
        draw(machines()), levels=levels, root=root, pse=draw(st.booleans()), maxphyaddr=draw(st.sampled_from((32, 36, 39, 40, 46, 52)))
    )
    entries_of = {2: {2: SHORT_ENTRIES, 1: SHORT_ENTRIES}, 3: {3: LOADED_ENTRIES, 2: 512, 1: 512}}[levels]
    pages = Pages({root: [0] * entries_of[levels]})
    virt = draw(st.integers(0, 2**32 - 1) | st.sampled_from((0, 0xFFF, 0x3FFFFF, 0x3FFFFFFF, 0x7FFFFFF8, 0xFFFFFFFF)))
    for address in (virt, virt + 0x1000 & 0xFFFF_FFFF):
        table = root
        for level in range(levels, 0, -1):
            index = naive.index_of(address, level, machine)
            value = pages.memory[table][index]
            if not value:
                child = 0x40_0000 * (len(pages.memory) + 1)
                value = draw(entries(child, level)) & (0xFFFF_FFFF if levels == 2 else ~0)
                pages.memory[table][index] = value
            table = value & (0xFFFF_F000 if levels == 2 else 0x000F_FFFF_FFFF_F000)
            if level > 1 and table not in pages.memory:
                if draw(st.sampled_from((False,) * 19 + (True,))):
                    break
                pages.memory[table] = [0] * entries_of[level - 1]
            if level > 1 and len(pages.memory[table]) != entries_of[level - 1]:
                break
    return Case(
        pages, machine, virt, draw(st.sampled_from(("fetch", "read", "write"))), draw(st.booleans()),
        draw(st.sampled_from((False, False, True))), draw(st.sampled_from((1, 1, 2, 8, 64))),
    )  # fmt: skip
