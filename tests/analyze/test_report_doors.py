"""Every door writes the same page: what each embeds, and what it leaves out when there is too much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boot_builder as b
import numpy as np
import pytest
from analyze.page_scenes import CAPTURES, of_capture, of_scene
from boot_builder import healthy
from core_builder import NEW, NX, OLD, core, cpu, memory

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.input.capture.records import MapRecord, SetRecord
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.changes import Change, Edit, Mend
from cr3scope.model.mend import apply
from cr3scope.paging.tables import Entries
from cr3scope.render import html
from cr3scope.target.overlay import Overlay
from cr3scope.verdict.picture import HeldTables, Picture, Space
from cr3scope.verdict.run import RunEnd, judge_untraced
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState

SMALL = 300_000  # bytes, of a default boot's page
FAULT = """check_exception old: 0xffffffff new 0xe
     0: v=0e e=0011 i=0 cpl=0 IP=0038:000000000df9e034 pc=000000000df9e034 SP=0030:fffffe0000005000 CR2=000000000df9e034
"""


def embedded(page: str) -> Any:
    """What the page's scripts take."""
    head = '<script type="application/json" id="data">'
    return json.loads(page[page.index(head) + len(head) :].split("</script>")[0])


def written(folder: Path, *words: str) -> Any:
    """The same, of the page that a command writes."""
    page = folder / "report.html"
    main([*words, "--html", str(page)])
    return embedded(page.read_text())


def titles(data: Any) -> list[tuple[str, str]]:
    return [(space["title"], space["cr3"]) for space in data["spaces"]]


def test_a_capture_tells_of_the_spaces_before_and_behind_the_switch(tmp_path: Path) -> None:
    data = written(tmp_path, "analyze", str(CAPTURES / "nx-upper-level.serial.log"))
    assert [title for title, _ in titles(data)] == ["before the switch", "behind the switch"]
    assert data["spaces"][data["judged"]]["root"] == "0xde6a000"
    assert (data["start"], data["shown"]) == ("0xdf9e034", 1)
    assert data["findings"][0]["edits"] == [["0xde6a000", "0xde77003"], ["0xde6aff8", "0xde6b003"]]
    assert (tmp_path / "report.html").stat().st_size < SMALL


def test_a_kernel_that_dumps_its_tables_has_a_third_space(tmp_path: Path) -> None:
    data = written(tmp_path, "analyze", str(CAPTURES / "healthy.serial.log"))
    assert [title for title, _ in titles(data)][2:] == ["as the kernel dumped it"]


def test_a_core_tells_of_the_tables_that_it_holds(tmp_path: Path) -> None:
    data = written(tmp_path, "analyze", core(tmp_path, memory(veto=NX)))
    assert titles(data) == [("before the switch", f"{OLD:#x}"), ("behind the switch", f"{NEW:#x}")]
    assert len(data["memories"]) == 1  # one memory holds both
    assert [step["name"] for step in data["steps"]][:1] == ["next fetch"]


def test_a_log_alone_has_no_tables_and_one_with_its_capture_has(tmp_path: Path) -> None:
    log = tmp_path / "int.log"
    log.write_text(FAULT)
    assert written(tmp_path, "triage", str(log)) is None
    data = written(tmp_path, "triage", str(log), "--capture", str(CAPTURES / "nx-upper-level.serial.log"))
    assert data["start"] == "0xdf9e034"


def test_a_run_without_a_trace_shows_the_tables_that_the_guest_left() -> None:
    root = np.zeros(512, dtype=np.uint64)
    held = HeldTables({0x1000: root.tobytes()})
    picture = Picture(Space("as the guest left it", CpuState(0x1000), held))
    verdict = judge_untraced(RunEnd(picture=picture), LogReport(), None)
    assert titles(embedded(html.render(verdict))) == [("as the guest left it", "0x1000")]
    assert held.table(0x2000) is None


class _Wide:
    """A top table, and under it as many tables as one likes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def table(self, phys: int) -> Entries | None:
        level, number = phys >> 32, phys >> 12 & 0xFFFFF
        below = np.arange(512, dtype=np.uint64) + np.uint64(number * 512)
        entries = (np.uint64(level - 1) << np.uint64(32) | below << np.uint64(12)) | np.uint64(3)
        entries[below >= self._count] = 0
        return entries


def test_of_very_many_tables_the_page_says_that_it_does_not_hold_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORT_TABLES", 100)
    verdict = Verdict(Status.HEALTHY, picture=Picture(Space("", CpuState(4 << 32), _Wide(200))))
    assert embedded(html.render(verdict))["spaces"][0]["cut"] is True
    few = Verdict(Status.HEALTHY, picture=Picture(Space("", CpuState(4 << 32), _Wide(10))))
    assert embedded(html.render(few))["spaces"][0]["cut"] is False


def test_of_very_many_events_those_that_blame_are_kept_and_the_rest_is_counted() -> None:
    scene = healthy()
    guilty = scene.tables.edit(b.HANDOFF, 4, set_bits=b.NX)
    value = scene.tables.get(guilty)
    for number in range(2 * limits.REPORT_EVENTS):
        scene.boot.maps.append(MapRecord(number, f"page {number}", "data", number << 40, (number << 40) + 4095, 0, "rw-", 4096, "wb", 0))
    scene.boot.sets.append(SetRecord(10**6, guilty, 4, 0, 0, value, 0))
    page = html.render(of_scene(scene))
    assert f"becomes {value:#x} (P W NX)" in page
    scene.boot.sets[:0] = [SetRecord(number, b.ROOT + 8, 4, 1, 0, 0, 0) for number in range(2 * limits.REPORT_EVENTS)]
    page = html.render(of_scene(scene))
    assert f"becomes {value:#x} (P W NX)" in page
    left = len(scene.boot.maps) + len(scene.boot.sets) - 2 * limits.REPORT_EVENTS
    assert f"{left} more events of the trace are not in this page." in page


def test_a_mend_changes_no_other_bit_than_its_own() -> None:
    table = np.zeros(512, dtype=np.uint64)
    table[1] = 0x2001
    overlay = Overlay(HeldTables({0x1000: table.tobytes()}), 40)
    first, second = EntryRef(1, 1, 0x1008, 0x2001), EntryRef(1, 1, 0x1008, 0x2001)
    apply(overlay, CpuState(0x1000), Mend((Edit(Change.SET_WRITABLE, first, 0x2003),)))
    apply(overlay, CpuState(0x1000), Mend((Edit(Change.CLEAR_USER, replace(second, value=0x2005), 0x2001),)))
    assert list(overlay.changes()) == [(0x1008, 0x2003)]


def test_an_entry_of_the_upper_half_is_shown_at_an_address_that_leads_to_it() -> None:
    scene = healthy()
    guilty = scene.tables.edit(b.ENTRY, 4, set_bits=1 << 8)  # G, which AMD reserves there
    data = embedded(html.render(of_scene(scene)))
    finding = next(one for one in data["findings"] if one["rule"] == "global-nonleaf")
    assert [entry["phys"] for entry in finding["entries"]] == [f"{guilty:#x}"]
    assert finding["virt"] == f"{b.ENTRY >> 39 << 39:#x}"


@pytest.mark.slow
@pytest.mark.parametrize("words", ["reserved", "conventional memory"])
def test_memory_that_the_firmware_names_has_its_name(words: str) -> None:
    data = embedded(html.render(of_capture("nx-upper-level.serial.log")))
    assert words in {name for _, _, name in data["firmware"]}


def test_a_page_is_the_same_each_time() -> None:
    first, second = (html.render(of_capture("nx-upper-level.serial.log")) for _ in range(2))
    assert first == second


def test_what_a_cpu_in_user_mode_does_is_judged_as_a_users_access(tmp_path: Path) -> None:
    user = 4
    held = core(tmp_path, memory("50 58 ebfe", also=user), cpu(0x33))
    data = written(tmp_path, "analyze", held)
    assert data["steps"] and all(step["user"] for step in data["steps"])
    held = core(tmp_path, memory("50 58 ebfe"), cpu(0x33))
    assert "is refused: supervisor only, #PF" in (written(tmp_path, "analyze", held) and (tmp_path / "report.html").read_text())
