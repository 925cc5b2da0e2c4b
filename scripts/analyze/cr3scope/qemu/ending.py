"""What the end of a run adds to what the log says."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.input.logs.survival import is_past
from cr3scope.input.logs.event import RegisterDump
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.observe import RESET_BY_BIOS
from cr3scope.input.logs.signs import SCREEN_BY
from cr3scope.input.logs.screen import read_screen
from cr3scope.message import Message, message
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.run_state import ASLEEP
from cr3scope.render.chain import what
from cr3scope.target.standstill import interrupts_on, standing
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import PAGE_FAULT, PF_USER

_SAME_STACK = 16 << 10  # bytes above an exception: further up is another stack, as that of a handler (IST)
_LIVES_ON = (Reason.AWAITED, Reason.IDLE, Reason.TIMEOUT)
_HANGS = (Reason.TIMEOUT, Reason.STANDSTILL, Reason.STOPPED)


def with_ending(
    report: LogReport | None, outcome: Outcome, traced: bool = True
) -> LogReport | None:
    """Return the report, completed by why the run ended; ``report`` is None where there is no log to read.

    A trace promises an end: without it the guest hangs. Of a guest without one (``traced`` False) nobody knows
    whether it should have ended.
    """
    seen = report or LogReport()
    if seen.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
        return seen
    screen = read_screen(outcome.serial)
    if seen.ending in (Ending.HANDLED, Ending.DELIVERED):
        if outcome.passed:
            return _survived(seen, "the guest handled it and ended with success")
        if outcome.debug_exit is not None and seen.is_routine:
            return _survived(seen, "the guest handled others like it, and ended itself")
        if outcome.reason is Reason.RESET and not outcome.triple_fault and not outcome.watchdog and seen.is_routine:
            last = what(seen.events[0].record)
            untold = message("{last} came last; the guest handled others like it, and asked for a reset", last=last)
            return replace(_survived(seen, untold), detail=untold)  # whether it handled this one nobody knows
    if seen.ending is Ending.DELIVERED:
        seen = _with_what_came_of_it(seen, outcome, screen)
    if screen is not None and seen.first is None:
        return replace(
            seen, first=screen, ending=Ending.HANDLED, records=1, source=SCREEN_BY
        )
    there = standing(outcome.registers, outcome.cpu) if outcome.registers else None
    if outcome.reason is Reason.NOTHING_BOOTED and seen.ending is None:
        return replace(seen, detail=outcome.gave_up, source="run", standing=there)
    if outcome.reason is Reason.TIMEOUT and seen.ending is None and outcome.registers and not traced:
        return replace(seen, detail=running_words(outcome), source="run", standing=there)
    is_known = outcome.is_log_whole and (traced or outcome.registers or outcome.reason is not Reason.TIMEOUT)
    if outcome.reason in _HANGS and seen.ending is None and not is_known:
        return replace(seen, detail=hang_words(outcome), source="run", standing=there)
    if outcome.reason is Reason.STANDSTILL and outcome.parked is not None and seen.ending is None:
        return replace(seen, ending=Ending.PARKED, detail=parked_words(outcome), source="run", standing=there)
    if outcome.reason in _HANGS and seen.ending is None:
        words = hang_words(outcome)
        return replace(seen, ending=Ending.HANG, detail=words, source="run", standing=there)
    if outcome.reason is Reason.RESET and outcome.triple_fault and seen.ending is None and not seen.is_by_bios:
        words = "triple fault, with no record before it: QEMU logs no exception of real mode"
        return replace(
            seen, ending=Ending.TRIPLE_FAULT, detail=words, source="run", standing=there
        )
    if outcome.watchdog and outcome.reason is not Reason.TIMEOUT:
        return replace(seen, detail="the watchdog device ran out", source="run", standing=there)
    if outcome.reason is Reason.RESET:
        if report is not None and report.switch_offset is None and report.saw_interrupts:
            words = RESET_BY_BIOS if seen.is_by_bios else "the guest asked for a reset: the log has no exception and no triple fault"
            return replace(seen, detail=words, source="run")
        if (report is None or report.switch_offset is None) and outcome.is_reset_untold:
            if traced:
                return None  # the plan may tell how it went
            if outcome.met is not None:
                words = "no log tells it: the guest reset at an instruction that raises this, and it cannot be delivered"
                return replace(seen, first=outcome.met, ending=Ending.TRIPLE_FAULT, detail=words, source="run", standing=there)
            return replace(seen, detail="the guest reset: QEMU logs no exceptions but under TCG", source="run")
        words = RESET_BY_BIOS if seen.is_by_bios else "the guest asked for a reset: there was no triple fault"
        return replace(seen, notes=(*seen.notes, words))
    return seen if report is not None else None


def _with_what_came_of_it(seen: LogReport, outcome: Outcome, screen: Fault | None) -> LogReport:
    """The report on an exception that was delivered: the firmware may have told of it, or the guest stands behind it."""
    first = seen.first
    if screen is not None and first is not None and (screen.vector, screen.rip) == (first.vector, first.rip):
        return replace(seen, ending=Ending.HANDLED)
    origin = seen.events[0].record
    if first is not None and _is_paged_in(first, outcome):
        return _survived(seen, f"{what(origin)} was handled: its page has been mapped since")
    registers = outcome.registers
    rsp = registers.get("RSP", registers.get("ESP"))
    now = RegisterDump(rsp=rsp, cr3=registers.get("CR3"), cpl=registers.get("CPL"))
    if rsp is None or origin.rsp is None or not is_past(origin, now) or rsp - origin.rsp > _SAME_STACK:
        return seen
    return _survived(seen, f"{what(origin)} was handled: the guest stands behind it")


def _is_paged_in(first: Fault, outcome: Outcome) -> bool:
    """Whether a page fault of ring 3 was the kernel's to mend, and it did: the tables let the access through now, and it lives on."""
    walked, is_users = outcome.walk, first.vector == PAGE_FAULT and bool((first.error_code or 0) & PF_USER)
    if not is_users or walked is None or outcome.reason not in _LIVES_ON:
        return False
    return walked.virt == first.cr2 and walked.refused is None


def _survived(seen: LogReport, words: str | Message) -> LogReport:
    counted = message("{counted:handled}", counted=seen.counted) if seen.counted is not None else words
    return replace(seen, ending=None, first=None, fatal=None, events=(), earlier=(), detail=counted, is_routine=False)


def hang_words(outcome: Outcome) -> str:
    """Return where a guest hangs that had to be ended."""
    words = f"not done after {outcome.seconds:.0f} s"
    if outcome.reason is Reason.STOPPED:
        words = f"QEMU stopped the guest by itself ({outcome.run_state})"
    registers = outcome.registers
    for name in ("RIP", "EIP", "RSP", "ESP", "CR3", "CR2"):
        if name in registers:
            words += f", {name}={registers[name]:#x}"
    if registers.get("HLT"):
        on = interrupts_on(registers)
        words += ", halted with interrupts " + ("on" if on else "off: nothing can wake it")
    return words


def parked_words(outcome: Outcome) -> str:
    """Return where a guest is parked, and how."""
    registers = outcome.registers
    flag = "on, and none comes" if interrupts_on(registers) else "off"
    how = outcome.parked.value if outcome.parked else ""
    place = registers.get("RIP", registers.get("EIP", 0))
    return f"{how} at RIP={place:#x}, interrupts {flag}; seen after {outcome.seconds:.1f} s"


def running_words(outcome: Outcome) -> str:
    """Return what a guest was doing that was still there when the time was up."""
    registers = outcome.registers
    state = "asleep (ACPI S3)" if outcome.run_state == ASLEEP else "running"
    if state == "running" and registers.get("HLT"):
        state = "halted, waiting for an interrupt" if interrupts_on(registers) else "halted"
    others = [look[outcome.cpu] for look in outcome.looks if outcome.cpu < len(look)]
    flags = {interrupts_on(seen) for seen in (registers, *others)}  # firmware turns them off for moments
    flag = " and ".join(word for word, is_on in (("on", True), ("off", False)) if is_on in flags)
    place = registers.get("RIP", registers.get("EIP", 0))
    return (
        f"still there after {outcome.seconds:.0f} s, when the time was up: {state} at RIP={place:#x},"
        f" interrupts {flag}"
    )
