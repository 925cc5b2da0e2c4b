"""A Linux oops of any age is read as far as it goes, and the walk in it tells which entry refused the access."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from analyze.log_texts import DISGUISES

from cr3scope.input.logs.event import Event, InterruptRecord, Walked
from cr3scope.input.logs.formats.linux_oops import FORMAT
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.ending import Ending

FETCH = """\
[    0.612345] BUG: unable to handle page fault for address: ffffffffc0301000
[    0.612399] #PF: supervisor instruction fetch in kernel mode
[    0.612440] #PF: error_code(0x0011) - permissions violation
[    0.612490] PGD 2a0c067 P4D 2a0c067 PUD 2a0e067 PMD 10223d067 PTE 8000000105c2a163
[    0.612550] Oops: 0011 [#1] PREEMPT SMP NOPTI
[    0.612600] CPU: 1 PID: 79 Comm: insmod Tainted: G           O      6.1.13 #3
[    0.612700] RIP: 0010:0xffffffffc0301000
[    0.612750] Code: Unable to access opcode bytes at 0xffffffffc0300fd6.
[    0.612800] RSP: 0018:ffffc9000030bc60 EFLAGS: 00010246
[    0.612900] FS:  00007f2b1c0b1740(0000) GS:ffff88813bd00000(0000) knlGS:0000000000000000
[    0.612950] CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
[    0.613000] CR2: ffffffffc0301000 CR3: 0000000104a1c000 CR4: 00000000000006e0
[    0.613050] Call Trace:
[    0.613600] ---[ end trace 0000000000000000 ]---
[    0.613650] RIP: 0010:0xffffffffc0999000
[    0.613700] Kernel panic - not syncing: Fatal exception
"""
OLDER = """\
BUG: unable to handle kernel paging request at ffff880140001000
IP: [<ffffffff8104b5aa>] copy_it+0x1a/0x40
PGD 1a0c063 PUD 1bffff067 PMD 0
Oops: 0002 [#1] SMP
CPU 0
Pid: 1, comm: swapper Not tainted 2.6.32 #1
RIP: 0010:[<ffffffff8104b5aa>]  [<ffffffff8104b5aa>] copy_it+0x1a/0x40
RSP: 0018:ffff88007f0b9e10  EFLAGS: 00010246
CS:  0010 DS: 0018 ES: 0018 CR0: 000000008005003b
CR2: ffff880140001000 CR3: 0000000001a09000 CR4: 00000000000006f0
"""
NULL_32 = """\
[    1.203000] BUG: unable to handle kernel NULL pointer dereference at 00000014
[    1.203100] IP: [<c10a2b33>] probe_it+0x13/0x60
[    1.203200] *pde = 00000000
[    1.203300] Oops: 0000 [#1] SMP
[    1.203400] EIP: 0060:[<c10a2b33>] EFLAGS: 00010286 CPU: 0
[    1.203500] EAX: 00000000 EBX: c1500000 ECX: 00000001 EDX: 00000000
[    1.203600] ESI: 00000000 EDI: c1500010 EBP: f5c3bf24 ESP: f5c3bf10
[    1.203700]  DS: 007b ES: 007b FS: 00d8 GS: 0000 SS: 0068
[    1.203800] CR0: 8005003b CR2: 00000014 CR3: 0160c000 CR4: 000006d0
"""
PAE = NULL_32.replace("*pde = 00000000", "*pdpt = 0000000001601001 *pde = 0000000033a01067 *pte = 0000000000000000")
GENERAL = """\
[    2.100] general protection fault, probably for non-canonical address 0xdead000000000150: 0000 [#1] PREEMPT SMP PTI
[    2.101] CPU: 3 PID: 41 Comm: kworker/3:1 Not tainted 5.15.90 #1
[    2.102] RIP: 0010:list_thing+0x24/0x90
[    2.103] RSP: 0018:ffffc900001a3dd8 EFLAGS: 00010202
[    2.104] CR2: 00007f1200001000 CR3: 0000000102a3e001 CR4: 00000000001706e0
"""
DOUBLE = """\
traps: PANIC: double fault, error_code: 0x0
double fault: 0000 [#1] SMP
CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.4.2 #9
RIP: 0010:asm_exc_page_fault+0x9/0x30
RSP: 0018:fffffe0000001000 EFLAGS: 00010086
CR2: fffffe0000000ff8 CR3: 000000000240a000 CR4: 00000000000000b0
"""
EARLY = "PANIC: early exception 0x0e IP 10:ffffffff82c0a1b2 error 0 cr2 0xffffffffff240010\n"
FIVE = """\
BUG: unable to handle page fault for address: ff11000140001000
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 101a067 P4D 0
Oops: 0002 [#1] SMP
RIP: 0010:touch_it+0x9/0x10
CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
CR2: ff11000140001000 CR3: 0000000001a10000 CR4: 0000000000771ef0
"""
RESERVED = """\
insmod: Corrupted page table at address 7f3300001000
PGD 10a011067 P4D 10a011067 PUD 10a012067 PMD 10a013067 PTE 4008000000000067
Bad pagetable: 000d [#1] PREEMPT SMP
RIP: 0033:0x401122
CS:  0033 DS: 0000 ES: 0000 CR0: 0000000080050033
CR2: 00007f3300001000 CR3: 000000010a010000 CR4: 00000000000006e0
"""
ALL = [FETCH, OLDER, NULL_32, PAE, GENERAL, DOUBLE, EARLY, FIVE, RESERVED]


def events(folder: Path, text: str | bytes) -> list[Event]:
    (folder / "log").write_bytes(text.encode() if isinstance(text, str) else text)
    with LogFile(folder / "log") as log:
        return list(FORMAT.events(log))


def record(folder: Path, text: str) -> InterruptRecord:
    first = events(folder, text)[0]
    assert isinstance(first, InterruptRecord)
    return first


def judged(folder: Path, text: str | bytes) -> Verdict:
    (folder / "log").write_bytes(text.encode() if isinstance(text, str) else text)
    with LogFile(folder / "log") as log:
        return judge_log(read_story(log))


def refusals(verdict: Verdict) -> tuple[str | None, list[str]]:
    """Why the walk is refused, and the levels that are marked."""
    assert verdict.walk is not None and verdict.walk.is_printed
    return verdict.walk.refused, [f"{each.entry.level}:{each.entry.index}" for each in verdict.walk.levels if each.is_guilty]


@pytest.mark.parametrize(
    ("text", "vector", "error", "cr2", "rip", "cr3"),
    [
        (FETCH, 14, 0x11, 0xFFFF_FFFF_C030_1000, 0xFFFF_FFFF_C030_1000, 0x104A1C000),
        (OLDER, 14, 2, 0xFFFF_8801_4000_1000, 0xFFFF_FFFF_8104_B5AA, 0x1A09000),
        (NULL_32, 14, 0, 0x14, 0xC10A2B33, 0x160C000),
        (GENERAL, 13, 0, None, None, 0x102A3E001),
        (DOUBLE, 8, 0, None, None, 0x240A000),
        (EARLY, 14, 0, 0xFFFF_FFFF_FF24_0010, 0xFFFF_FFFF_82C0_A1B2, None),
        (FIVE, 14, 2, 0xFF11_0001_4000_1000, None, 0x1A10000),
        (RESERVED, 14, 0xD, 0x7F33_0000_1000, 0x401122, 0x10A010000),
    ],
    ids=["fetch", "older", "32 bits", "general", "double", "early", "five levels", "reserved"],
)
def test_an_oops_tells_the_exception(
    text: str, vector: int, error: int, cr2: int | None, rip: int | None, cr3: int | None, tmp_path: Path
) -> None:
    fault = record(tmp_path, text).fault
    assert (fault.vector, fault.error_code, fault.cr2, fault.rip, fault.cr3) == (vector, error, cr2, rip, cr3)


def test_only_the_first_registers_count_and_the_panic_is_told(tmp_path: Path) -> None:
    one = record(tmp_path, FETCH)
    assert one.rip == 0xFFFF_FFFF_C030_1000 and one.whose == "number 1, as Linux counts"
    assert one.remarks == ("the kernel panicked after that: Fatal exception",)
    assert (one.cpu.cpl, one.cpu.code_bits, one.rsp) == (0, 64, 0xFFFF_C900_0030_BC60)


def test_a_name_in_the_place_of_rip_is_told_and_not_taken_for_an_address(tmp_path: Path) -> None:
    verdict = judged(tmp_path, GENERAL)
    words = render(verdict)
    assert "RIP=unknown" in words and "list_thing+0x24/0x90" in words
    assert "probably for non-canonical address 0xdead000000000150" in words.replace("\n      ", " ")
    assert "CR2" not in words  # a general protection fault leaves it alone


@pytest.mark.parametrize(
    ("text", "refused", "guilty"),
    [
        (FETCH, "no-execute", ["1:257"]),
        (FETCH.replace("PMD 10223d067", "PMD 800000010223d067").replace("8000000105c2a163", "105c2a163"), "no-execute", ["2:1"]),
        (OLDER, "not present", ["2:0"]),
        (NULL_32, "not present", ["2:0"]),
        (PAE, "not present", ["1:0"]),
        (FIVE, "not present", ["4:0"]),
        (RESERVED, "reserved bit set", ["1:1"]),
        (OLDER.replace("PGD 1a0c063 PUD 1bffff067 PMD 0", "PGD 1a0c063 PUD 1bffff065 PMD 80000001400000e3")
         .replace("Oops: 0002", "Oops: 0003"), "read-only", ["3:5"]),
        (RESERVED.replace("Bad pagetable: 000d", "Oops: 0005").replace("PMD 10a013067", "PMD 10a013063")
         .replace("4008000000000067", "105c2a067"), "supervisor only", ["2:0"]),
    ],
    ids=["nx leaf", "nx above", "older", "32 bits", "pae", "five levels", "reserved", "read-only above", "supervisor above"],
)  # fmt: skip
def test_the_walk_tells_which_entry_refuses(text: str, refused: str, guilty: list[str], tmp_path: Path) -> None:
    verdict = judged(tmp_path, text)
    assert refusals(verdict) == (refused, guilty)
    words = render(verdict)
    assert words.count("<- here") == 1 and "changed since" not in words
    assert "let through" not in words


def test_where_an_entry_lies_is_not_claimed(tmp_path: Path) -> None:
    from cr3scope.render.json import as_dict

    walk = as_dict(judged(tmp_path, FETCH))["walk"]
    assert isinstance(walk, dict) and walk["printed"] is True
    assert [level["entry"]["phys"] for level in walk["levels"]] == [None] * 4
    assert walk["levels"][3]["entry"]["value"] == "0x8000000105c2a163"


def test_four_levels_of_which_the_kernel_folds_one_are_four(tmp_path: Path) -> None:
    (walk,) = (event for event in events(tmp_path, FETCH) if isinstance(event, Walked))
    assert [level for level, _ in walk.entries] == [4, 3, 2, 1]


def test_a_walk_that_says_otherwise_than_the_error_code_is_told_so(tmp_path: Path) -> None:
    words = render(judged(tmp_path, OLDER.replace("Oops: 0002", "Oops: 0003")))
    assert "but the error code says that all entries were present" in words
    present = OLDER.replace("PMD 0", "PMD 1400000e3")
    words = render(judged(tmp_path, present))
    assert "<- here" not in words and "but the error code says that an entry was not present" in words


def test_a_walk_that_is_cut_refuses_nothing_by_what_is_missing(tmp_path: Path) -> None:
    words = render(judged(tmp_path, FETCH.replace(" PTE 8000000105c2a163", "")))
    assert "<- here" not in words and "the print ends before the leaf" in words


def test_smep_is_blamed_only_where_cr4_tells(tmp_path: Path) -> None:
    user = FETCH.replace("PTE 8000000105c2a163", "PTE 105c2a167")
    words = render(judged(tmp_path, user))
    assert "SMEP" not in words.replace("SMEP, SMAP or", "") and "not refused by what is shown" in words
    words = render(judged(tmp_path, user.replace("CR4: 00000000000006e0", "CR4: 00000000001006e0")))
    assert "SMEP forbids" in words


@pytest.mark.slow
@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_an_oops_cut_anywhere_tells_nothing_that_is_not_there(text: str, tmp_path: Path) -> None:
    whole = [event for event in events(tmp_path, text) if isinstance(event, InterruptRecord)][0]
    walks = [event.entries for event in events(tmp_path, text) if isinstance(event, Walked)]
    for cut in range(0, len(text), 2):
        for event in events(tmp_path, text[:cut]):
            if isinstance(event, Walked):
                assert event.virt == whole.cr2
                tops = [entries[: len(event.entries)] for entries in walks]
                assert event.entries in tops or not event.entries
            elif isinstance(event, InterruptRecord):
                assert event.vector == whole.vector and event.error_code in (whole.error_code, None)
                assert event.rip in (whole.rip, None) and event.cr2 in (whole.cr2, None) and event.cr3 in (whole.cr3, None)
        judged(tmp_path, text[:cut] or "x: v=") if "Oops" in text[:cut] else None


@pytest.mark.parametrize(
    "disguise",
    [
        *DISGUISES.values(),
        lambda text: "".join(f"      <1>[  12.{number:06}][  T1] {line}\n" for number, line in enumerate(text.splitlines())),
        lambda text: "some words before it\n" * 40 + text + "and after it\n",
    ],
    ids=[*DISGUISES, "prefixed", "in prose"],
)
@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
def test_an_oops_in_disguise_says_the_same(disguise: Callable[[str], str], text: str, tmp_path: Path) -> None:
    plain, hidden = judged(tmp_path, text), judged(tmp_path, disguise(text))
    assert plain.observation is not None and hidden.observation is not None
    assert plain.observation.first == hidden.observation.first is not None
    assert hidden.observation.ending is Ending.HANDLED and hidden.status is Status.FAULTED


def test_utf_16_is_read(tmp_path: Path) -> None:
    found = judged(tmp_path, ("\ufeff" + FETCH).encode("utf-16-le"))
    assert found.observation is not None and found.observation.first is not None
    assert found.observation.first.cr2 == 0xFFFF_FFFF_C030_1000


def test_the_first_of_several_oopses_is_told(tmp_path: Path) -> None:
    second = GENERAL.replace("[#1]", "[#2]")
    found = [event.vector for event in events(tmp_path, FETCH + second) if isinstance(event, InterruptRecord)]
    assert found == [14, 13]
    seen = judged(tmp_path, FETCH + second.replace("102a3e001", "104a1c000")).observation
    assert seen is not None and seen.first is not None and seen.first.vector == 14


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: CPU: 0 PID: 1 at kernel/x.c:12 f+0x1/0x2\nRIP: 0010:f+0x1/0x2\nCR2: 0000000000000000\n",
        "Internal error: Oops: 96000004 [#1] SMP\npc : f+0x1/0x2\n",
        "Internal error: Oops: 17 [#1] ARM\n",
        "Linux prints `Oops: ` and the error code, then RIP and CR2.\n",
    ],
    ids=["warning", "arm64", "arm", "prose"],
)
def test_what_is_no_oops_of_x86_is_none(text: str, tmp_path: Path) -> None:
    assert not [event for event in events(tmp_path, text) if isinstance(event, InterruptRecord)]


def test_a_panic_alone_is_told_in_its_words(tmp_path: Path) -> None:
    found = judged(tmp_path, "[ 3.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n")
    words = render(found)
    assert found.status is Status.FAULTED and "VFS: Unable to mount root fs" in words
    assert "#PF" not in words and "triple fault" not in words


@pytest.mark.slow
def test_very_many_near_matches_take_no_long_time(tmp_path: Path) -> None:
    assert events(tmp_path, "BUG: unable to handle it, IP: x\n" * 400_000) == []
