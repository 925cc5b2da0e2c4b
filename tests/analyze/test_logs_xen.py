"""What Xen prints when it panics, or crashes a domain, is read with its page walk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from analyze.log_texts import DISGUISES

from cr3scope.input.logs.event import Event, InterruptRecord, Stopped, Walked
from cr3scope.input.logs.formats.xen_panic import FORMAT
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status, Verdict

DUMP = """\
(XEN) [    3.900233] ----[ Xen-4.18.1  x86_64  debug=y  Not tainted ]----
(XEN) [    3.900240] CPU:    2
(XEN) [    3.900245] RIP:    e008:[<ffff82d04036b222>] setup.c#map_it+0x52/0x90
(XEN) [    3.900250] RFLAGS: 0000000000010286   CONTEXT: hypervisor
(XEN) [    3.900260] rax: 0000000000000000   rbx: ffff82d0bfffd000   rcx: 0000000000000100
(XEN) [    3.900270] rbp: ffff82d0404bfe58   rsp: ffff82d0404bfe20   r8:  0000000000000000
(XEN) [    3.900280] r15: 0000000000000000   cr0: 000000008005003b   cr4: 00000000000000a0
(XEN) [    3.900290] cr3: 000000007f3d0000   cr2: ffff82d0bfffd010
(XEN) [    3.900310] ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: 0000   cs: e008
(XEN) [    3.900330] Xen call trace:
(XEN) [    3.900340]    [<ffff82d04036b222>] R setup.c#map_it+0x52/0x90
"""
WALK = """\
(XEN) [    3.900400] Pagetable walk from ffff82d0bfffd010:
(XEN) [    3.900410]  L4[0x105] = 000000007f3cd063 ffffffffffffffff
(XEN) [    3.900420]  L3[0x142] = 000000007f3ca063 ffffffffffffffff
(XEN) [    3.900430]  L2[0x1ff] = 0000000000000000 ffffffffffffffff
"""
PANIC = """\
(XEN) [    3.900450] ****************************************
(XEN) [    3.900460] Panic on CPU 2:
(XEN) [    3.900470] FATAL PAGE FAULT
(XEN) [    3.900480] [error_code=0002]
(XEN) [    3.900490] Faulting linear address: ffff82d0bfffd010
(XEN) [    3.900500] ****************************************
(XEN) [    3.900520] Reboot in five seconds...
"""
HYPERVISOR = DUMP + WALK + PANIC
GUEST = """\
(XEN) d0v0 Unhandled page fault fault/trap [#14, ec=0011]
(XEN) Pagetable walk from ffffffff82a01000:
(XEN)  L4[0x1ff] = 000000023fc0c067 0000000000002c0c
(XEN)  L3[0x1fe] = 000000023fc0d067 0000000000002c0d
(XEN)  L2[0x015] = 000000023fd3f067 0000000000002d3f
(XEN)  L1[0x001] = 801000023d601063 0000000000002a01
(XEN) domain_crash_sync called from entry.S: fault at ffff82d0403a3c9e x86_64/entry.S#create_bounce_frame+0x15d/0x177
(XEN) Domain 0 (vcpu#0) crashed on cpu#0:
(XEN) ----[ Xen-4.14.3  x86_64  debug=n   Not tainted ]----
(XEN) RIP:    e033:[<ffffffff82a01000>]
(XEN) RFLAGS: 0000000000010246   EM: 1   CONTEXT: pv guest (d0v0)
(XEN) r15: 0000000000000000   cr0: 0000000080050033   cr4: 00000000001506e0
(XEN) cr3: 000000023f001000   cr2: 0000000000000000
"""
NEWER = DUMP + "(XEN) \n(XEN) Panic on CPU 2:\n(XEN) FATAL TRAP: vec 13, #GP[0018]\n(XEN) ****\n"
OLDER = DUMP + "(XEN) Panic on CPU 2:\n(XEN) FATAL TRAP: vector = 14 (page fault)\n(XEN) [error_code=0010]\n(XEN) ****\n"
BOUNCE = """\
(XEN) Pagetable walk from 0000000000348fa8:
(XEN)  L4[0x000] = 000000079220f067 000000000000040f
(XEN)  L3[0x000] = 0000000792210067 0000000000000410
(XEN)  L2[0x001] = 0000000792212067 0000000000000412
(XEN) domain_crash_sync called from entry.S: fault at ffff82d08020fc3e
(XEN) Domain 4 (vcpu#0) crashed on cpu#1:
"""


def events(folder: Path, text: str) -> list[Event]:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        return list(FORMAT.events(log))


def judged(folder: Path, text: str) -> Verdict:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        return judge_log(read_story(log))


@pytest.mark.parametrize(
    ("text", "vector", "error", "cr2", "rip", "cr3"),
    [
        (HYPERVISOR, 14, 2, 0xFFFF_82D0_BFFF_D010, 0xFFFF_82D0_4036_B222, 0x7F3D0000),
        (GUEST, 14, 0x11, 0xFFFF_FFFF_82A0_1000, 0xFFFF_FFFF_82A0_1000, 0x23F001000),
        (NEWER, 13, 0x18, None, 0xFFFF_82D0_4036_B222, 0x7F3D0000),
        (OLDER, 14, 0x10, 0xFFFF_82D0_BFFF_D010, 0xFFFF_82D0_4036_B222, 0x7F3D0000),
    ],
    ids=["hypervisor", "guest", "newer", "older"],
)
def test_a_panic_tells_the_exception(
    text: str, vector: int, error: int, cr2: int | None, rip: int, cr3: int, tmp_path: Path
) -> None:
    found = judged(tmp_path, text)
    assert found.status is Status.FAULTED and found.observation is not None and found.observation.first is not None
    fault = found.observation.first
    assert (fault.vector, fault.error_code, fault.cr2, fault.rip, fault.cr3) == (vector, error, cr2, rip, cr3)


@pytest.mark.parametrize(
    ("text", "refused", "guilty"),
    [(HYPERVISOR, "not present", [2]), (GUEST, "no-execute", [1]),
     (HYPERVISOR.replace("error_code=0002", "error_code=0003").replace("= 0000000000000000 ff", "= 000000007f4000e1 ff"),
      "read-only", [2])],
    ids=["not present", "nx", "read-only"],
)  # fmt: skip
def test_the_walk_tells_which_entry_refuses(text: str, refused: str, guilty: list[int], tmp_path: Path) -> None:
    walk = judged(tmp_path, text).walk
    assert walk is not None and walk.is_printed and walk.refused == refused and not walk.remark
    assert [each.entry.level for each in walk.levels if each.is_guilty] == guilty


def test_a_walk_of_another_address_is_not_of_the_fault(tmp_path: Path) -> None:
    found = judged(tmp_path, HYPERVISOR.replace("linear address: ffff82d0bfffd010", "linear address: ffff82d0bfffe010"))
    assert found.walk is None and found.observation is not None and found.observation.first is not None
    assert found.observation.first.cr2 == 0xFFFF_82D0_BFFF_E010


def test_an_entry_of_another_index_ends_the_walk(tmp_path: Path) -> None:
    (walk,) = (one for one in events(tmp_path, HYPERVISOR.replace("L3[0x142]", "L3[0x143]")) if isinstance(one, Walked))
    assert [level for level, _ in walk.entries] == [4]


def test_a_domain_that_crashed_without_a_trap_is_no_page_fault(tmp_path: Path) -> None:
    found = events(tmp_path, BOUNCE)
    assert [type(event) for event in found] == [Walked, Stopped]
    words = render(judged(tmp_path, BOUNCE))
    assert "Xen crashed domain 4 (vcpu#0)" in words and "#PF" not in words and "<- here" not in words


def test_a_panic_without_an_exception_is_told_in_its_words(tmp_path: Path) -> None:
    text = DUMP + "(XEN) [ 3.9] Panic on CPU 2:\n(XEN) [ 3.9] Assertion 'x < y' failed at mm.c:12\n(XEN) ****\n"
    words = render(judged(tmp_path, text))
    assert words.startswith("FAULTED") and "Assertion 'x < y' failed at mm.c:12" in words
    assert "#PF" not in words and "triple fault" not in words


@pytest.mark.parametrize("text", [HYPERVISOR, GUEST, NEWER, OLDER], ids=range(4))
def test_a_report_cut_anywhere_tells_nothing_that_is_not_there(text: str, tmp_path: Path) -> None:
    (whole,) = (event for event in events(tmp_path, text) if isinstance(event, InterruptRecord))
    for cut in range(0, len(text), 3):
        for event in events(tmp_path, text[:cut]):
            if isinstance(event, InterruptRecord):
                assert event.vector == whole.vector and event.error_code in (whole.error_code, None)
                assert event.rip in (whole.rip, None) and event.cr3 in (whole.cr3, None) and event.cr2 in (whole.cr2, None)


@pytest.mark.parametrize(
    "disguise",
    [
        *DISGUISES.values(),
        lambda text: text.replace("(XEN) ", ""),
        lambda text: "the machine did not boot:\n" * 9 + text + "what is that?\n",
    ],
    ids=[*DISGUISES, "prefix lost", "in prose"],
)
@pytest.mark.parametrize("text", [HYPERVISOR, GUEST, NEWER, OLDER], ids=range(4))
def test_a_report_in_disguise_says_the_same(disguise: Callable[[str], str], text: str, tmp_path: Path) -> None:
    plain, hidden = judged(tmp_path, text), judged(tmp_path, disguise(text))
    assert plain.observation is not None and hidden.observation is not None
    assert plain.observation.first == hidden.observation.first is not None


def test_words_about_xen_are_no_report(tmp_path: Path) -> None:
    assert events(tmp_path, "Xen prints `Pagetable walk from ` and FATAL PAGE FAULT with its error code\n") == []
    assert events(tmp_path, "a page fault is FATAL TRAP: vector = 14 (page fault) there, or DOUBLE FAULT -- system shutdown\n") == []
    assert not [event for event in events(tmp_path, "Pagetable walk from 0:\n") if isinstance(event, InterruptRecord)]
