"""``maps --tree``: the tables of a space level by level, where each right is lost, and no more lines than a person reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze.page_scenes import CAPTURES
from core_builder import LARGE, core, memory, page
from hypothesis import HealthCheck, given, settings
from paging_cases import NX, PS, ROOT, Case, P, Pages, U, W, cases, cpu_of, legacy_cases, platform_of
from test_paging_modes import PAE, SHORT, pae_pages, short_pages

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.paging.effective import mappings
from cr3scope.paging.folded import Branch, Folded, Leads, folded
from cr3scope.paging.range_kind import rights_text
from cr3scope.paging.walk import walk
from cr3scope.render.table import lines_of
from cr3scope.render.tree import as_blocks, rights_cell, total
from cr3scope.render.tree_drawn import as_dot, as_svg
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.word import MASK64

HEALTHY, NX_UPPER = (str(CAPTURES / f"{name}.serial.log") for name in ("healthy", "nx-upper-level"))
PDPT, PD, PT = 0x11000, 0x12000, 0x13000
FLAGS = P | W | U


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["maps", "--tree", *words]) == 0
    return capsys.readouterr().out.splitlines()


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["maps", "--tree", "--json", "-", *words]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def text(tree: Folded) -> list[str]:
    return list(lines_of(as_blocks(tree, "made by hand", {}, {})))


def every(tree: Folded) -> list[Branch]:
    def below(branches: tuple[Branch, ...]) -> list[Branch]:
        return [one for branch in branches for one in (branch, *below(branch.below))]

    return below(tree.branches)


def path(*flags: int, leaf: int = 0x5000 | FLAGS) -> Pages:
    """One page at 0 below entries with these flags, from the top."""
    pages = Pages({PT: [leaf] + [0] * 511})
    tables = [ROOT, PDPT, PD, PT]
    for table, following, more in zip(tables, tables[1:], flags, strict=False):
        pages.put(table, 0, following | P | more)
    return pages


def test_a_whole_kernel_fits_on_one_screen_and_says_where_execution_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, NX_UPPER)
    assert len(lines) <= 55 and max(map(len, lines)) <= 100
    at = next(number for number, line in enumerate(lines) if line.startswith("PML4[511]"))
    assert lines[at].split() == ["PML4[511]", "ffffff8000000000", "120K", "rw!!", "800000000de6b003"]
    assert lines[at + 1] == "  ^ nx-upper-level: takes x away from all below: PML4[511] at 0xde6aff8 = 0x800000000de6b003"
    text_line = next(line for line in lines if "kernel text" in line)
    assert text_line.split()[:6] == ["PT[0..7]", "ffffffff80000000", "32K", "wb", "r!--", "deac001"]


def test_a_healthy_kernel_has_nobody_to_blame_and_its_self_map_ends(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, HEALTHY)
    assert len(lines) <= 45 and not [line for line in lines if "nx-upper-level" in line]
    assert [line for line in lines if "back to the PML4, a" in line]
    assert [line.split()[0] for line in lines if "^" in line] == ["^"]  # only the self-map is never executed
    document = told(capsys, HEALTHY)
    assert document["schema"] == "cr3scope.tree/1" and document["left_out"] == 0 and document["warnings"] == []
    back = next(one for one in document["entries"] if one["leads"] == "back")
    assert (back["index"], back["back"], back["takes"], back["entries"]) == (510, 4, ["x", "u"], [])
    assert document["mapped"] == sum(one["mapped"] for one in document["entries"])


def test_the_firmwares_tables_fold_to_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, HEALTHY, "--dump", "old")
    assert lines[0] == "1 TiB mapped by 1028 tables" and len(lines) < 50
    assert any(line.startswith("  PDPT[0..511]") and line.endswith("512 tables of one form") for line in lines)
    assert any(line.startswith("    PD[0..511]") and line.endswith("in each of 512 tables") for line in lines)


def test_each_right_is_lost_at_the_first_entry_that_denies_it() -> None:
    tree = folded(path(W | NX | U, W | U, U), CpuState(ROOT))
    assert [rights_text(one.granted) for one in every(tree)] == ["rw-u", "rw-u", "r--u", "r--u"]
    lines = text(tree)
    assert [line.split()[3 if "wb" not in line else 4] for line in lines[4:] if "[0]" in line and "^" not in line] == ["rw!u", "rw-u", "r!-u", "r--u"]
    blame = [line.strip() for line in lines if "^" in line]
    assert blame == [
        f"^ takes x away from all below: PML4[0] at {ROOT:#x} = {PDPT | P | W | U | NX:#018x}",
        f"^ takes w away from all below: PD[0] at {PD:#x} = {PT | P | U:#018x}",
    ]


@pytest.mark.parametrize(("pages", "cpu", "names"), [
    (short_pages(0x30000 | P | W), SHORT, ["PD[1]", "PT[2]"]),
    (short_pages(0x80_0000 | 3 << 13 | P | W | PS), SHORT, ["PD[1]"]),
    (pae_pages(), PAE, ["PDPT[2]", "PD[0]", "PT[0]"]),
])  # fmt: skip
def test_other_modes_have_their_own_levels_and_short_addresses(pages: Pages, cpu: CpuState, names: list[str]) -> None:
    tree = folded(pages, replace(cpu, cr0=0x8000_0033))
    lines = [line for line in text(tree) if "[" in line and "^" not in line]
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split()[1]) == 8 for line in lines)
    assert tree.mapped == sum(one.mapped for one in tree.branches) == every(tree)[-1].entry.form.page_bytes


def test_five_levels_stay_within_100_columns_whatever_is_denied() -> None:
    tables = (ROOT, PDPT, PD, PT, 0x14000)
    pages = Pages()
    for table, below in zip(tables, tables[1:]):
        pages.put(table, 511, below | P | NX)
    pages.memory[tables[-1]] = [0x5000 + 0x3000 * index | FLAGS for index in range(512)]
    tree = folded(pages, CpuState(ROOT, cr4=0x668 | 1 << 12, pat=0xF3))
    lines = text(tree)
    assert max(map(len, lines)) <= 100 and any("0xf3" in line and "frames in 512" in line for line in lines)


def test_a_cycle_ends_and_a_table_met_again_refers_to_where_it_is_shown() -> None:
    pages = path(FLAGS, FLAGS, FLAGS)
    pages.put(PD, 7, PDPT | FLAGS)
    pages.put(ROOT, 256, PDPT | FLAGS)
    pages.put(ROOT, 257, PDPT | P | W)
    tree = folded(pages, CpuState(ROOT))
    leads = {(one.entry.level, one.entry.index): one for one in every(tree)}
    assert leads[2, 7].leads is Leads.BACK and leads[2, 7].back == 3
    again = leads[4, 256]
    assert again.leads is Leads.AGAIN and again.again is not None and again.again.index == 0
    other = leads[4, 257]  # the same table with fewer rights is shown with these
    assert other.leads is Leads.TABLE and rights_text(other.below[0].granted) == "rwx-"
    assert any("as below PML4[0]" in line for line in text(tree))


def test_of_tables_that_are_one_line_only_the_first_is_said_to_lead_back() -> None:
    pages = Pages({ROOT + 0x1000 * number: [ROOT + 0x1000 * index | FLAGS for index in range(512)] for number in range(512)})
    told = [line for line in text(folded(pages, CpuState(ROOT))) if "in each of 511 tables" in line]
    assert len(told) >= 2 and all("the first:" in line for line in told[:2])


def test_one_table_in_several_places_is_no_several_tables() -> None:
    pages = Pages({ROOT: [PDPT | FLAGS] * 512, PDPT: [PS | FLAGS] + [0] * 511})
    tree = folded(pages, CpuState(ROOT))
    lines = text(tree)
    assert any(line.endswith("all to one table") for line in lines)
    assert any(line.endswith("at 512 addresses") for line in lines)
    assert not [line for line in lines if "in each of" in line or "pieces" in line]
    assert [(one.first, one.last) for one in tree.branches] == [(0, MASK64)]  # a run over the hole of what is not canonical


def test_a_picture_says_as_much_as_the_text_of_what_is_mapped() -> None:
    for tables in (1, 2):
        tree = replace(folded(path(FLAGS, FLAGS, FLAGS), CpuState(ROOT)), tables=tables, is_cut=tables == 2)
        for draw in (as_svg, as_dot):
            assert total(tree) in "\n".join(draw(tree, "made by hand", {}, {}))
    assert total(tree) == "at least 4 KiB mapped by 2 tables"


def test_what_is_shown_nowhere_is_not_referred_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = path(FLAGS, FLAGS, FLAGS)
    for index in (2, 4):
        pages.put(ROOT, index, PDPT | FLAGS)
    monkeypatch.setattr(limits, "TREE_LINES", 3)
    roots = folded(pages, CpuState(ROOT)).branches
    assert [one.leads for one in roots] == [Leads.TABLE] * 3 and not any(one.below for one in roots)
    assert not [line for line in text(folded(pages, CpuState(ROOT))) if "as below" in line]


def test_what_leads_nowhere_says_why() -> None:
    pages = path(FLAGS, FLAGS, FLAGS)
    pages.put(ROOT, 1, 0x77000 | FLAGS)
    pages.put(ROOT, 2, 0x78000 | FLAGS)
    pages.memory[0x78000] = [0] * 512
    pages.put(PT, 3, 0x9000 | FLAGS | 1 << 51)
    tree = folded(pages, CpuState(ROOT, max_phys_bits=40), marked={(1, PT + 9 * 8): "some-rule"})
    leads = {(one.entry.level, one.entry.index): one.leads for one in every(tree)}
    assert leads[4, 1] is Leads.MISSING and leads[4, 2] is Leads.EMPTY
    assert leads[1, 3] is Leads.REFUSED and leads[1, 9] is Leads.ABSENT
    assert not folded(Pages(), CpuState(ROOT)).branches


def test_a_marked_entry_is_no_part_of_a_run() -> None:
    pages = path(FLAGS, FLAGS, FLAGS)
    pages.memory[PT] = [0x40_0000 + 0x1000 * index | FLAGS for index in range(512)]
    marked = {(1, PT + 8 * index): "rule" for index in (5, 6)}
    runs = [(one.entry.index, one.last_index) for one in every(folded(pages, CpuState(ROOT), marked=marked)) if one.entry.level == 1]
    assert runs == [(0, 4), (5, 6), (7, 511)]


def test_a_table_that_alternates_is_cut_and_says_so_but_never_without_its_marked_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = path(FLAGS, FLAGS, FLAGS)
    pages.memory[PT] = [0x40_0000 | (FLAGS if index % 2 else P) for index in range(512)]
    tree = folded(pages, CpuState(ROOT), marked={(1, PT + 8 * 500): "rule"})
    below = [one for one in every(tree) if one.entry.level == 1]
    assert len(below) == limits.TREE_LINES_OF_TABLE + 1 and below[-1].leads is Leads.REST
    assert rights_cell(below[-1]) == ""  # each of the runs has its own
    assert below[-2].entry.index == 500 and tree.left_out == 512 - (limits.TREE_LINES_OF_TABLE - 1) - 1
    assert tree.mapped == 512 * 4096 == sum(one.mapped for one in below)
    held = {**memory(), 0x2000: page(0x3000 | 3), 0x3000: page(*([0x4000 | 3, 0x4000 | 1] * 256))}
    source = core(tmp_path, held, cr3="0x2000")
    assert main(["maps", "--tree", source, "--cr3", "2000"]) == 0
    assert "more runs of entries are not told one by one" in capsys.readouterr().err


@pytest.mark.slow
def test_tables_that_all_lead_to_each_other_cost_no_more_than_the_budget() -> None:
    """Each of 512 entries of each of four levels leads to tables that differ: more ways than anybody could follow."""
    generator = np.random.default_rng(1)
    pages = Pages()
    for table in range(32):
        flags = [(FLAGS, P, P | W, FLAGS | NX)[number] for number in generator.integers(0, 4, 512).tolist()]
        pages.memory[ROOT + table * 0x1000] = [
            ROOT + 0x1000 * target | flag for target, flag in zip(generator.integers(0, 32, 512).tolist(), flags, strict=True)
        ]
    tree = folded(pages, CpuState(ROOT))
    assert len(every(tree)) <= 2 * limits.TREE_LINES and tree.left_out and tree.mapped == 1 << 48


def check(case: Case) -> None:
    cpu, platform = cpu_of(case.machine), platform_of(case.machine)
    tree = folded(case.pages, cpu, platform)
    listed = mappings(case.pages, cpu, platform)
    assert tree.mapped == int((listed.last - listed.first + np.uint64(1)).sum())
    for one in every(tree):
        way = walk(case.pages, cpu, one.first, platform)
        if one.leads is Leads.PAGE:
            assert way.stop is None and way.leaf == one.entry and way.rights == rights_text(one.granted)
        elif one.leads in (Leads.REFUSED, Leads.MISSING):
            assert way.stop is not None and one.entry == way.leaf


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(cases())
def test_the_tree_says_of_every_page_what_a_walk_says(case: Case) -> None:
    check(case)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(legacy_cases())
def test_outside_long_mode_too(case: Case) -> None:
    check(case)


def test_large_pages_of_every_level_are_runs_with_their_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    held = {**memory(), 0x2000: page(0x3000 | 3), 0x3000: page(LARGE | 3, 0x4000_0000 | LARGE | 3, 0x4000 | 3), 0x4000: page(LARGE | 1)}
    lines = shown(capsys, core(tmp_path, held), "--cr3", "2000")
    assert [line.split()[:4] for line in lines if "[" in line and "^" not in line] == [
        ["PML4[0]", "0" * 16, "2.0G", "rwx!"], ["  PDPT[0..1]".strip(), "0" * 16, "2G", "wb"],
        ["PDPT[2]", f"{0x80000000:016x}", "2M", "rwx-"], ["PD[0]", f"{0x80000000:016x}", "2M", "wb"],
    ]  # fmt: skip


def test_a_listing_has_no_tables_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = tmp_path / "tlb.txt"
    listing.write_text("0000000000001000: 0000000000001000 X--DA---W\n")
    assert main(["maps", "--tree", str(listing)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("holds no tables: `maps` without --tree lists its ranges")


def test_with_other_registers_than_the_traces_nobody_is_blamed(capsys: pytest.CaptureFixture[str]) -> None:
    document = told(capsys, NX_UPPER, "--efer", "d01")
    assert [one["rule"] for one in document["entries"]] == [None] * len(document["entries"])
    assert [one["index"] for one in told(capsys, NX_UPPER)["entries"] if one["rule"] == "nx-upper-level"] == [0, 511]
