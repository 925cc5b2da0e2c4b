"""An entry that leads from the code to another frame than its file names, of a CPU that stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cr3scope.diagnose.facts.file_code import Piece
from cr3scope.diagnose.facts.mapped_elsewhere import mapped_elsewhere
from cr3scope.paging.tables import Entries
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME

ROOT, PDPT, PD, PT = 0x1000, 0x2000, 0x3000, 0x4000
LOADED, OTHER, ZEROS = 0x10_0000, 0x10_1000, 0x20_0000
VIRT, CODE = 0x40_0000, bytes(range(1, 251)) * 16
LARGE = 0x83


class Memory:
    """Two frames that hold the code and other bytes, four tables, and zeros."""

    def __init__(self, pd: int, pt: int = 0, loaded: bytes = CODE, other: bytes = b"\xcc" * 4096) -> None:
        self._tables = {ROOT: {0: PDPT | 3}, PDPT: {0: PD | 3}, PD: {2: pd}, PT: {0: pt}}
        self._frames = {LOADED: loaded, OTHER: other}

    def put(self, table: int, index: int, value: int) -> None:
        """Make an entry of a table."""
        self._tables[table][index] = value

    def fill(self, frames: dict[int, bytes]) -> None:
        """Give more frames their bytes."""
        self._frames |= frames

    def table(self, phys: int) -> Entries:
        """Return the entries of a table."""
        page = np.zeros(512, dtype=np.uint64)
        for index, value in self._tables.get(phys, {}).items():
            page[index] = value
        return page

    def physical(self, phys: int, length: int) -> bytes:
        """Return bytes of the frames; zeros where there is none."""
        base = phys & -4096
        return self._frames.get(base, b"").ljust(4096, b"\0")[phys - base :][:length].ljust(length, b"\0")


def cpu_of(memory: Memory, rip: int, cr0: int = CR0_PE | CR0_PG) -> StoppedCpu:
    """A CPU of long mode that stands there."""
    return StoppedCpu(memory, {"CR0": cr0, "CR3": ROOT, "CR4": CR4_PAE, "EFER": EFER_LME | EFER_LMA, "RIP": rip, "RFL": 2}, 40, {"CS": 8})


def entry_of(memory: Memory, rip: int, phys: int | None = LOADED, cr0: int = CR0_PE | CR0_PG) -> tuple[str, int] | None:
    """The rule and the address of the entry that it blames."""
    found = mapped_elsewhere(cpu_of(memory, rip, cr0), rip, [Piece(Path("kernel"), VIRT, CODE, phys)])
    assert found is None or found.entry is not None
    return None if found is None or found.entry is None else (found.rule, found.entry.phys)


def test_an_entry_that_leads_from_the_code_to_another_frame_is_named() -> None:
    assert entry_of(Memory(PT | 3, OTHER | 3), VIRT + 5) == ("wrong-frame", PT)


def test_an_entry_that_leads_to_zeros_through_which_the_cpu_ran_is_named() -> None:
    assert entry_of(Memory(ZEROS | LARGE), VIRT + 0x20_0000) == ("wrong-frame", PD + 2 * 8)


@pytest.mark.parametrize(
    ("memory", "rip", "phys"),
    [
        (Memory(PT | 3, LOADED | 3), VIRT + 5, LOADED),
        (Memory(PT | 3, OTHER | 3), VIRT + 5, None),
        (Memory(PT | 3, OTHER | 3, other=CODE), VIRT + 5, LOADED),
        (Memory(PT | 3, OTHER | 3, other=b"\x90" * 1024 + CODE[1024:]), VIRT + 5, LOADED),
        (Memory(PT | 3, OTHER | 3, loaded=b"\x90" * 4096), VIRT + 5, LOADED),
        (Memory(PT | 3, 0), VIRT + 5, LOADED),
        (Memory(PT | 3, OTHER | 3), VIRT + 0x1000, LOADED),
        (Memory(ZEROS | LARGE), VIRT + 0x40_0000, LOADED),
    ],
    ids=["in its frame", "no frame named", "a copy", "a patched copy", "not there", "not mapped", "no zeros before RIP", "of another entry"],
)
def test_what_may_be_meant_is_not_blamed(memory: Memory, rip: int, phys: int | None) -> None:
    assert entry_of(memory, rip, phys) is None


@pytest.mark.parametrize("second", [0x30_1000, 0x30_2000], ids=["a copy", "elsewhere"])
def test_a_page_of_a_copy_that_was_overwritten_is_in_its_frame(second: int) -> None:
    """A kernel that moved itself: the tables are right, whatever has become of one page."""
    more = bytes(reversed(CODE[:4096]))
    memory = Memory(PT | 3, 0x30_0000 | 3)
    memory.put(PT, 1, second | 3)
    memory.fill({LOADED: CODE[:4000].ljust(4096, b"\x01"), OTHER: more, 0x30_0000: b"\xcc" * 4096, 0x30_1000: more, 0x30_2000: more})
    found = mapped_elsewhere(cpu_of(memory, VIRT + 5), VIRT + 5, [Piece(Path("kernel"), VIRT, CODE[:4000].ljust(4096, b"\x01") + more, LOADED)])
    assert (found is None) == (second == 0x30_1000)


def test_zeros_are_no_copy_of_a_page_that_is_nearly_empty() -> None:
    """A kernel's last page, where the tables lead all of it to memory that nobody has written."""
    memory = Memory(ZEROS | LARGE)
    code = CODE[:4000].ljust(4096, b"\x01") + bytes(range(1, 101)) + bytes(3996)
    memory.fill({LOADED: code[:4096], OTHER: code[4096:]})
    found = mapped_elsewhere(cpu_of(memory, VIRT + 0x20_0000), VIRT + 0x20_0000, [Piece(Path("kernel"), VIRT, code, LOADED)])
    assert found is not None and found.rule == "wrong-frame"


def test_a_page_that_is_half_empty_is_told_by_its_code() -> None:
    memory, code = Memory(ZEROS | LARGE), CODE[:1800].ljust(4096, b"\0")
    memory.fill({LOADED: code})
    found = mapped_elsewhere(cpu_of(memory, VIRT + 0x20_0000), VIRT + 0x20_0000, [Piece(Path("kernel"), VIRT, code, LOADED)])
    assert found is not None and found.rule == "wrong-frame"


@pytest.mark.parametrize("cpl", [0, 3, None])
def test_a_program_may_lie_where_the_kernels_first_code_was(cpl: int | None) -> None:
    cpu = cpu_of(Memory(PT | 7, OTHER | 7), VIRT + 5)
    assert (mapped_elsewhere(cpu, VIRT + 5, [Piece(Path("kernel"), VIRT, CODE, LOADED)], cpl) is None) == (cpl == 3)


def test_without_paging_nothing_leads_elsewhere() -> None:
    assert entry_of(Memory(PT | 3, OTHER | 3), VIRT + 5, cr0=CR0_PE) is None
