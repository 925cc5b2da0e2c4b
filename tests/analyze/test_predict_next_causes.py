"""What would break next: each cause is mended in a model of the tables, and the code is followed anew."""

from __future__ import annotations

import struct
from analyze.said import fix as fix_of
from pathlib import Path

import numpy as np
import pytest
from core_builder import CODE, NEW, NX, PRESENT_WRITABLE, core, cpu, memory, page

from cr3scope.input.sources.open import open_core_file
from cr3scope.model.code_prediction import predict_code
from cr3scope.diagnose.next_causes import MOST_OBSTACLES, NextCauses, next_causes
from cr3scope.paging.tables import Entries
from cr3scope.render.code_prediction import report
from cr3scope.verdict.stopped import judge_stopped
from cr3scope.target.core_cpu import stopped_cpu
from cr3scope.target.overlay import Overlay
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import EntryRef

WRITABLE = 2
LEAVES = NEW + 0x20000  # the new tables' page directory
FAR = 0x40000000  # the second GiB, which no table maps


def stopped(folder: Path, pages: dict[int, bytes], ram: str = "", **registers: int) -> StoppedCpu:
    path = core(folder, pages, cpu(**registers), ram=ram)
    return stopped_cpu(open_core_file(Path(path)), path)


def edited(pages: dict[int, bytes], index: int, keep: int = -1, add: int = 0) -> dict[int, bytes]:
    """With one leaf of the new tables changed."""
    entries = list(struct.unpack("<512Q", pages[LEAVES]))
    entries[index] = entries[index] & keep | add
    return {**pages, LEAVES: page(*entries)}


def disp32(address: int) -> str:
    return address.to_bytes(4, "little").hex()


def coming(now: StoppedCpu) -> NextCauses:
    return next_causes(now, predict_code(now))


def rules(found: NextCauses) -> list[str]:
    return [one.finding.rule for one in found.obstacles]


def test_nothing_lies_ahead_of_a_switch_that_goes_through(tmp_path: Path) -> None:
    assert coming(stopped(tmp_path, memory())) == NextCauses()


def test_each_cause_is_told_with_its_own_mend_in_the_order_of_the_code(tmp_path: Path) -> None:
    pages = edited(memory(veto=NX), 4, keep=~WRITABLE)  # the stack lies in the fifth 2 MiB
    now = stopped(tmp_path, pages, RSP=0x900000)
    found = coming(now)
    assert rules(found) == ["nx-upper-level", "stack-readonly"]
    assert fix_of(found.obstacles[0].finding).startswith("clear NX (bit 63) of PML4[0] (then 0x12003). ")
    assert fix_of(found.obstacles[1].finding).startswith("set R/W (bit 1) of PD[4] (then 0x800083). ")
    assert found.free is not None and found.free.count == 3
    lines = list(report(judge_stopped(now)))
    assert lines[2:4] == [
        f"  entry  PML4[0] at {NEW:#x} = 0x8000000000012003",
        f"  mend   {fix_of(found.obstacles[0].finding)}",
    ]
    assert lines[-5].startswith("once that is mended: faults at the stack write: #PF (error 0003")
    assert lines[-1] == f"once that is mended: survives 3 instructions, then an endless loop at {CODE + 5:#x}"


def test_the_page_that_is_missing_is_mapped_as_the_current_tables_do(tmp_path: Path) -> None:
    pages = edited(memory(), 4, keep=0)
    found = coming(stopped(tmp_path, pages, RSP=0x900000))
    assert rules(found) == ["stack-unmapped"]
    said = found.obstacles[0].finding
    assert fix_of(said).startswith("map 0x8ff000..0x8fffff to 0x8ff000 (rw-), as the current tables do. ")
    assert said.entry is not None and (said.entry.phys, said.entry.value) == (LEAVES + 8 * 4, 0)
    assert found.free is not None


@pytest.mark.parametrize(
    ("ram", "fix"),
    [
        ("0-9ffff,100000-ffffff", "map 0x8ff000..0x8fffff"),
        ("0-9ffff,100000-7fffff", "there is no RAM at 0x8ff000, where the current tables lead: correct RSP. "),
    ],
)
def test_a_stack_is_not_mapped_to_where_there_is_no_ram(ram: str, fix: str, tmp_path: Path) -> None:
    found = coming(stopped(tmp_path, edited(memory(), 4, keep=0), ram, RSP=0x900000))
    assert fix_of(found.obstacles[0].finding).startswith(fix)
    assert (found.free is None) == fix.startswith("there is no RAM")


@pytest.mark.parametrize("table", [{}, {0x30000: bytes(4096)}], ids=["no table", "an empty table"])
def test_pages_of_one_table_are_one_cause(table: dict[int, bytes], tmp_path: Path) -> None:
    read_both = f"0f22d8 8b0425 {disp32(0x800000)} 8b0425 {disp32(0x801000)} ebfe"
    pages = edited(memory(read_both), 4, keep=0, add=sum(phys | PRESENT_WRITABLE for phys in table))
    found = coming(stopped(tmp_path, {**pages, **table}))
    assert rules(found) == ["access-fault"]
    assert "0x800000..0x801fff" in fix_of(found.obstacles[0].finding)
    assert found.free is not None and found.free.count == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "fix"),
    [
        (2 << 20, "map 0x10000000..0x101fffff to 0x10000000 (rw-), as the current tables do. "),
        (32 << 20, "map 0x10000000..0x101fffff to 0x10000000 (rw-), as the current tables do; the same for "),
    ],
)
def test_all_pages_of_a_repeated_instruction_are_one_cause(count: int, fix: str, tmp_path: Path) -> None:
    """`rep stosb` from 0x10000000 on, where 16 page tables are missing."""
    pages = memory(f"0f22d8 bf{disp32(1 << 28)} b9{disp32(count)} f3aa ebfe")
    for number in range(128, 144):
        pages = edited(pages, number, keep=0)
    found = coming(stopped(tmp_path, pages))
    assert rules(found) == ["access-fault"]
    assert fix_of(found.obstacles[0].finding).startswith(fix)
    assert (found.free is not None) == (count == 2 << 20)


def test_what_no_change_of_the_tables_mends_is_the_last(tmp_path: Path) -> None:
    """Neither tables map the address: it may be the pointer that is wrong."""
    found = coming(stopped(tmp_path, memory(f"0f22d8 8b0425 {disp32(FAR)} ebfe")))
    assert (rules(found), found.free) == (["access-fault"], None)
    assert "map " not in fix_of(found.obstacles[0].finding)


def test_what_lies_behind_the_last_that_is_listed_is_not_claimed(tmp_path: Path) -> None:
    writes = " ".join(f"c60425 {disp32(number << 21)} 01" for number in range(4, 10))
    pages = memory(f"0f22d8 {writes} ebfe")
    for number in range(4, 10):
        pages = edited(pages, number, keep=~WRITABLE)
    found = coming(stopped(tmp_path, pages))
    assert (len(found.obstacles), found.free) == (MOST_OBSTACLES, None)


def test_the_tables_themselves_stay_as_they_are(tmp_path: Path) -> None:
    now = stopped(tmp_path, memory(veto=NX))
    before = predict_code(now)
    assert next_causes(now, before).free is not None
    after = predict_code(now)
    assert (after.fault, after.veto) == (before.fault, before.veto)


def test_a_machine_that_answers_everywhere_has_room_for_a_table() -> None:
    class Machine:
        asked = 0

        def table(self, phys: int) -> Entries | None:
            self.asked += 1
            assert self.asked < 100, "no page was free"
            ones = phys >= (1 << 40) - 0x2000
            return np.full(512, -1 if ones else phys, dtype=np.int64).astype(np.uint64)

    overlay = Overlay(Machine(), 40)
    places = [overlay.add_table(EntryRef(4, 0, 0x1000, 0)) for _ in range(2)]
    assert places == [(1 << 40) - 0x1000, (1 << 40) - 0x2000]
