"""What becomes of an exception after which the log is silent, by what the end of the run tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze.short_log import WIDE, Log
from analyze.test_logs_edk2_screen import X64

from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.observe import RESET_BY_BIOS
from cr3scope.input.logs.screen import read_screen
from cr3scope.message import Message
from cr3scope.qemu.ending import with_ending
from cr3scope.qemu.outcome import DEBUG_EXIT_FAIL, DEBUG_EXIT_PASS, Outcome, Reason
from cr3scope.render.message import plain
from cr3scope.verdict.run import RunEnd, judge_untraced
from cr3scope.verdict.types import FaultWalk, Status
from cr3scope.x86.ending import Ending

RSP, CR3 = 0x9_0F80, 0x3000


def delivered(vector: int = 14, rip: int | None = 0x20_1230, cpl: int = 0) -> LogReport:
    """A report on a guest of which nothing shows what came of its exception."""
    record = InterruptRecord(100, 7, vector, 2, RegisterDump(rip=rip, rsp=RSP, cr2=0x45, cr3=CR3, cpl=cpl))
    return LogReport(first=record.fault, fatal=record.fault, ending=Ending.DELIVERED, records=1, events=(Happened(record),))


def paused(rsp: int, cr3: int = CR3) -> Outcome:
    return Outcome(Reason.TIMEOUT, registers={"RIP": 0x30_0000, "RSP": rsp, "CR3": cr3, "RFL": 0x202}, seconds=5)


def test_a_guest_that_stands_behind_it_has_survived_it() -> None:
    seen = with_ending(delivered(), paused(RSP + 64), traced=False)
    assert seen is not None and (seen.ending, seen.first, seen.events) == (None, None, ())


@pytest.mark.parametrize(("rsp", "cr3"), [(RSP - 64, CR3), (RSP + (64 << 10), CR3)], ids=["in its handler", "another stack"])
def test_one_that_may_be_in_the_handler_has_not(rsp: int, cr3: int) -> None:
    seen = with_ending(delivered(), paused(rsp, cr3), traced=False)
    assert seen is not None and seen.ending is Ending.DELIVERED


def test_of_user_code_the_kernels_stack_tells_nothing() -> None:
    seen = with_ending(delivered(cpl=3), paused(RSP + 64), traced=False)
    assert seen is not None and seen.ending is Ending.DELIVERED


def test_the_firmwares_screen_of_the_same_exception_says_who_took_it() -> None:
    screen = read_screen(X64.encode())
    assert screen is not None
    same, other = delivered(rip=screen.rip), delivered(rip=0x1234)
    for report, ending in ((same, Ending.HANDLED), (other, Ending.DELIVERED)):
        seen = with_ending(report, Outcome(Reason.SCREEN, serial=X64.encode()), traced=False)
        assert seen is not None and seen.ending is ending


@pytest.mark.parametrize(
    ("status", "is_routine", "ending"),
    [(DEBUG_EXIT_PASS, False, None), (DEBUG_EXIT_FAIL, True, None), (DEBUG_EXIT_FAIL, False, Ending.DELIVERED), (0, True, Ending.DELIVERED)],
)
def test_a_guest_that_ends_itself_has_survived_what_it_survived_before(status: int, is_routine: bool, ending: Ending | None) -> None:
    report = replace(delivered(), is_routine=is_routine)
    seen = with_ending(report, Outcome(Reason.EXITED, exit_status=status))
    assert seen is not None and seen.ending is ending


@pytest.mark.parametrize(("status", "has_device", "reason"), [
    (DEBUG_EXIT_PASS, False, Reason.EXITED), (DEBUG_EXIT_FAIL, True, Reason.EXITED), (1, True, Reason.EXITED), (41, True, Reason.EXITED),
    (41, False, Reason.SHUT_DOWN), (0, True, Reason.SHUT_DOWN), (2, True, Reason.SHUT_DOWN), (-9, True, Reason.SHUT_DOWN), (None, True, Reason.SHUT_DOWN),
])  # fmt: skip
def test_a_qemu_that_stops_the_guest_before_it_leaves_by_isa_debug_exit_was_ended_by_its_guest(
    status: int | None, has_device: bool, reason: Reason
) -> None:
    """QEMU 10: it was told as a guest that powered off."""
    outcome = Outcome(Reason.SHUT_DOWN, has_debug_exit=has_device)
    outcome.left(status)
    assert (outcome.reason, outcome.exit_status) == (reason, status)


@pytest.mark.parametrize(("is_routine", "triple_fault", "watchdog", "ending"), [
    (True, False, "", None), (False, False, "", Ending.DELIVERED), (True, True, "", Ending.DELIVERED), (True, False, "reset", Ending.DELIVERED),
])  # fmt: skip
def test_a_guest_that_asked_for_a_reset_did_not_die_of_what_it_survived_before(
    is_routine: bool, triple_fault: bool, watchdog: str, ending: Ending | None
) -> None:
    """Linux with two CPUs: its last page fault is of user code, and no user code runs on the way to the reset."""
    report = replace(delivered(cpl=3), is_routine=is_routine, switch_offset=1)
    seen = with_ending(report, Outcome(Reason.RESET, triple_fault=triple_fault, watchdog=watchdog), traced=False)
    assert seen is not None and seen.ending is ending
    if ending is None:
        assert plain(seen.detail or "").endswith("came last; the guest handled others like it, and asked for a reset")
        verdict = judge_untraced(RunEnd(asked_for_reset=True), seen, None)
        assert (verdict.status, [finding.rule for finding in verdict.findings]) == (Status.FAULTED, ["asked-for-reset"])


@pytest.mark.parametrize("is_planned", [False, True])
@pytest.mark.parametrize("handled", [0, 1])
def test_a_guest_that_seabios_reset_died_of_nothing(handled: int, is_planned: bool, tmp_path: Path) -> None:
    """Its INT3 was the guest's; or "a triple fault with no record before it", of one that handled an exception under the planned CR3."""
    log = Log().interrupt(0x20, WIDE)
    for _ in range(handled):
        log.exception(14, 2, WIDE).interrupt(0x20, replace(WIDE, rip=WIDE.rip + 8, rsp=WIDE.rsp + 64))
    (tmp_path / "log").write_text(log.seabios_reset().text)
    report = observe(tmp_path / "log", WIDE.cr3 if is_planned else None)
    seen = with_ending(report, Outcome(Reason.RESET, triple_fault=True), traced=is_planned)
    assert seen is not None and (seen.ending, seen.first) == (None, None)
    assert RESET_BY_BIOS in (seen.detail, *seen.notes) and "the log holds no exception" not in map(plain, seen.notes)
    if not is_planned:
        verdict = judge_untraced(RunEnd(asked_for_reset=True), seen, None)  # QEMU could not be asked
        assert (verdict.status, [finding.rule for finding in verdict.findings]) == (Status.FAULTED, ["bios-reset"])


@pytest.mark.parametrize("panic", [None, "no init"])
def test_where_nothing_was_fatal_nothing_is_called_so(panic: str | None) -> None:
    """Neither of a guest that ended itself, nor of one that could still say why it gave up."""
    report = replace(delivered(), is_routine=True, earlier=(Message("1 exception came first; fatal: #PF"),))
    outcome = Outcome(Reason.RESET if panic else Reason.EXITED, exit_status=None if panic else DEBUG_EXIT_PASS, registers={})
    seen = replace(report, is_routine=False) if panic else with_ending(report, outcome)
    assert seen is not None
    verdict = judge_untraced(RunEnd(passed=not panic, panic=panic), seen, None)
    assert not any("fatal" in plain(each.message) for each in verdict.diagnostics)


def of_user_code(refused: str | None, reason: Reason = Reason.AWAITED, error: int = 0x14, virt: int = 0x45) -> Ending | None:
    """What a page fault at 45h comes to, whose address the tables now refuse or let through."""
    record = InterruptRecord(100, 7, 14, error, RegisterDump(rip=0x45, rsp=RSP, cr2=0x45, cr3=CR3, cpl=3))
    report = LogReport(first=record.fault, fatal=record.fault, ending=Ending.DELIVERED, records=1, events=(Happened(record),))
    walked = FaultWalk(virt=virt, cr3=CR3, access="user fetch", refused=refused, dump="", levels=())
    seen = with_ending(report, Outcome(reason, walk=walked), traced=False)
    assert seen is not None
    return seen.ending


def test_a_page_of_user_code_that_is_mapped_since_was_the_kernels_to_map() -> None:
    """An init that is paged in on demand: its last page fault is no death of a guest that lives on."""
    assert of_user_code(refused=None) is None
    assert of_user_code(refused="not-present") is Ending.DELIVERED
    assert of_user_code(refused=None, error=0x10) is Ending.DELIVERED  # the kernel's own
    assert of_user_code(refused=None, virt=0x46) is Ending.DELIVERED
    assert of_user_code(refused=None, reason=Reason.STANDSTILL) is Ending.DELIVERED
