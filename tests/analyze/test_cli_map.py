"""``map``: the tables on the way of an address, a cell for each entry."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from analyze.page_scenes import CAPTURES
from core_builder import NEW, NX, core, memory
from paging_cases import ROOT, P, Pages
from test_paging_modes import PAE, pae_pages

from cr3scope.cli.main import main
from cr3scope.input.sources.open import open_core_file
from cr3scope.paging.walk import walk
from cr3scope.render.map import as_dict
from cr3scope.render.strips import strips
from cr3scope.x86.cpu_state import CpuState

NX_UPPER = str(CAPTURES / "nx-upper-level.serial.log")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["map", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_right_that_the_top_level_takes_away_is_missing_below(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, NX_UPPER)
    assert lines[0] == "the way of 0xdf9e034 under CR3=0xde6a000"
    assert lines[2] == f"    W{'.' * 63}"
    assert lines[3:5] == ["    " + "." * 64, "    and 5 more rows of the same"]
    assert lines[5] == f"    {'.' * 56}w.w.w.ww"
    assert "    leads to the table at 0xde77000; rw-- so far, takes away x" in lines
    assert f"    {'.' * 19}{'r' * 11}R{'w' * 11}{'.' * 22}" in lines
    assert max(map(len, lines)) <= 125


def test_an_address_that_is_not_mapped_ends_where_its_way_ends(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, NX_UPPER, "ffff900000000000")
    assert [line for line in lines if " at 0x" in line and "each cell" in line] == ["PML4 at 0xde6a000: each cell 512 GiB"]
    assert "    not present" in lines and any("O" in line for line in lines[2:10])


def test_in_colour_two_rows_of_cells_share_a_line(tmp_path: Path) -> None:
    held = open_core_file(Path(core(tmp_path, memory(veto=NX), cr3=f"{NEW:#x}")))
    source = held.memory
    cpu = CpuState(NEW)
    lines = list(strips(source, cpu, walk(source, cpu, 0x200000), colour=True))
    blocks = [line for line in lines if "▀" in line]
    assert len(blocks) == 3 * 4 and all(line.count("▀") == 64 for line in blocks)
    assert re.search(r"\x1b\[38;2;255;255;255;", blocks[0])  # the entry on the way
    legend = re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]).strip()
    assert legend == "■ read only  ■ writable  ■ executable  ■ both  ■ reserved bit  ■ not present  ■ on the way" and len(legend) < 96
    assert [line for line in lines if "■" in line] == lines[-1:]


def test_an_entry_on_the_way_with_a_reserved_bit_is_marked_too() -> None:
    tables = Pages({ROOT: [1 << 51 | P] + [0] * 510 + [1 << 51 | P]})
    cpu = CpuState(ROOT, max_phys_bits=40)
    lines = list(strips(tables, cpu, walk(tables, cpu, 0), colour=False))
    assert lines[1].strip() == "#" + "." * 63 and lines[4].strip().endswith("!")
    assert "# for !" in lines[-1]


def test_letters_have_their_legend_where_the_rest_is_coloured() -> None:
    tables, cpu = pae_pages(), replace(PAE, cr0=0x8000_0033)
    lines = list(strips(tables, cpu, walk(tables, cpu, 0x8000_0000), colour=True))
    assert lines[1].strip() == "..B." and "on the way" in lines[-1]


def test_as_json_the_entry_that_takes_a_right_away_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads("\n".join(shown(capsys, NX_UPPER, "--json", "-")))
    assert (told["schema"], told["virt"], told["phys"], told["rights"]) == ("cr3scope.map/1", "0xdf9e034", "0xdf9e034", "r---")
    top, *below = told["levels"]
    assert (top["name"], top["table"], top["count"], top["covers"]) == ("PML4", "0xde6a000", 512, 1 << 39)
    first = top["entries"][0]
    assert first == {"index": 0, "value": "0x800000000de77003", "kind": "table", "rights": "rw--", "denies": ["x", "u"]}
    assert [level["name"] for level in below] == ["PDPT", "PD", "PT"]
    chosen = [next(entry for entry in level["entries"] if entry["index"] == level["index"]) for level in told["levels"]]
    assert [entry["kind"] for entry in chosen] == ["table", "table", "table", "page"]
    assert chosen[-1]["rights"] == "r---" and chosen[-1]["denies"] == ["w"]


def test_as_json_an_entry_that_ends_the_way_is_absent_or_reserved() -> None:
    tables = Pages({ROOT: [2, 1 << 51 | P] + [0] * 510})
    cpu = CpuState(ROOT, max_phys_bits=40)
    told = as_dict(tables, cpu, walk(tables, cpu, 0), ())
    (level,) = told["levels"]  # type: ignore[misc]
    assert [(entry["index"], entry["kind"], entry["rights"]) for entry in level["entries"]] == [(0, "absent", "----"), (1, "reserved", "----")]
    assert (told["phys"], told["reason"]) == (None, "not present")


def test_json_and_a_picture_do_not_share_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", NX_UPPER, "--json", "-", "--format", "svg"]) == 2
    assert capsys.readouterr().err == "cr3scope: --json - and --format svg: both to standard output\n"
    assert shown(capsys, NX_UPPER, "--json", str(tmp_path / "way.json"), "--format", "svg")[0].startswith("<svg")
    assert json.loads((tmp_path / "way.json").read_text())["virt"] == "0xdf9e034"


def test_what_holds_no_tables_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = tmp_path / "tlb.txt"
    listing.write_text("0000000000001000: 0000000000001000 X--DA---W\n")
    assert main(["map", str(listing)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("holds no tables: `maps` lists its ranges")
    assert main(["map", NX_UPPER, "800000000000"]) == 2
    assert "address is not canonical" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    [NX_UPPER, "--cr3", "de6a000", "fffffc0000000000"],
    ["--cr3", "de6a000", NX_UPPER, "fffffc0000000000"],
    [NX_UPPER, "fffffc0000000000", "--cr3", "de6a000"],
])  # fmt: skip
def test_an_address_may_stand_behind_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, *words)[0] == "the way of 0xfffffc0000000000 under CR3=0xde6a000"


def test_a_word_too_many_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["map", NX_UPPER, "0", "--cr3", "de6a000", "1"])
    assert "unrecognized arguments: 1" in capsys.readouterr().err
