"""Asks a paused guest why it died or stopped, and keeps what it tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cr3scope.diagnose import handed_over
from cr3scope.diagnose.after_death import at_death, begins_with, joined, next_after
from cr3scope.diagnose.audit import audit
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.causes import first_cause, still_spinning
from cr3scope.diagnose.facts.at_fault import read_at_fault
from cr3scope.diagnose.facts.callers import callers
from cr3scope.diagnose.facts.file_code import file_code
from cr3scope.diagnose.facts.judged import in_order
from cr3scope.diagnose.facts.known import known_of
from cr3scope.diagnose.facts.last_words import gave_up_in_words, may_have_failed_in_words
from cr3scope.diagnose.facts.loaded_images import bases_of, loaded_images, named
from cr3scope.diagnose.facts.mapped_elsewhere import mapped_elsewhere
from cr3scope.diagnose.facts.overwritten_code import overwritten_code
from cr3scope.diagnose.facts.reset import firmware_cr3, is_bios_reset, reset_cause, reset_port
from cr3scope.diagnose.facts.unlogged_death import unlogged_death
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rules.switch import ap_trampoline
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message, message
from cr3scope.model.known import Known
from cr3scope.qemu.boot_manager import Attempts, read_attempts, seabios_gave_up, seabios_still_works
from cr3scope.qemu.ending import with_ending
from cr3scope.qemu.guilty_words import guilty_words
from cr3scope.qemu.kept_evidence import keep
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.park import is_emulated, parked
from cr3scope.qemu.paused_guest import stopped_cpus
from cr3scope.qemu.qmp import Qmp, QmpError
from cr3scope.qemu.text_screen import read_text_screen, shown_text
from cr3scope.target.memory import MemoryUnavailable
from cr3scope.target.standstill import halts_for_ever
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.verdict.fault_walk import walk_in_memory
from cr3scope.verdict.picture import HeldTables, Picture, Space
from cr3scope.verdict.stopped import prediction_of
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope.x86.ending import WITHOUT_EXCEPTION, Ending


def examine(
    folder: Path, log: Path, files: Sequence[ElfFile], qmp: Qmp, outcome: Outcome
) -> None:
    """Complete ``outcome`` of a guest without a trace: a trace holds all this, and more.

    ``files``: of images that the guest may have loaded. QmpError if QEMU does not answer.
    """
    cpus = stopped_cpus(qmp)
    if not all(cpu.registers for cpu in cpus):
        raise QmpError("info registers -a: a CPU without registers")
    try:
        report = observe(log)
    except UnusableInput:
        report = None
    cpus = tuple(in_order(cpus, report, outcome.looks, outcome.triple_fault))
    judged, reason = cpus[0], outcome.reason
    outcome.registers, outcome.cpu = dict(judged.registers), judged.number  # another CPU is behind no exception of this one
    try:
        cpus = _reset_unlogged(cpus, outcome)
        _look_for_park(qmp, log, cpus, outcome)
        seen = with_ending(report, outcome, traced=False) or LogReport()
        known = _Known(seen, log, files)
        judged = _judge(cpus, known, qmp, outcome)
        _look_around(judged, report, known, qmp, outcome)
        fault = seen.fatal or seen.first
        outcome.guilty = tuple(guilty_words(judged, outcome.findings, fault))
        if not outcome.never_ran and outcome.reason is not Reason.RESET:
            outcome.audited = audit(cpus, firmware_cr3(log, cpus[0]), is_done=outcome.parked is not None)
    except MemoryUnavailable:
        outcome.reason = reason  # a standstill that was seen only now was not wholly asked for
        raise
    finally:
        _keep(folder, cpus, judged, outcome)


def _reset_unlogged(cpus: tuple[StoppedCpu, ...], outcome: Outcome) -> tuple[StoppedCpu, ...]:
    """Return the CPUs, the one first that has made a reset of which no log tells: that asked for it, else that met what it leaves in ``outcome``."""
    if not outcome.is_reset_untold:
        return cpus
    first = next((cpu for cpu in cpus if is_bios_reset(cpu) or reset_port(cpu)), None)
    if first is None:
        met = {cpu.number: fault for cpu in cpus if (fault := unlogged_death(cpu)) is not None}
        first = next((cpu for cpu in cpus if cpu.number in met), cpus[0])
        outcome.met = met.get(first.number)
    return first, *(other for other in cpus if other is not first)


def audit_traced(log: Path, qmp: Qmp, outcome: Outcome) -> None:
    """Leave in ``outcome`` what would strike a guest next whose trace tells all else. QmpError if QEMU does not answer."""
    cpus = stopped_cpus(qmp)
    if cpus and all(cpu.registers for cpu in cpus) and not outcome.never_ran and outcome.reason is not Reason.RESET:
        outcome.audited = audit(cpus, firmware_cr3(log, cpus[0]), is_done=False)


def _look_for_park(qmp: Qmp, log: Path, cpus: tuple[StoppedCpu, ...], outcome: Outcome) -> None:
    """Whether the guest stands where it stands on purpose; and what nobody can know of that."""
    screen = shown_text(qmp)
    said, maybe = gave_up_in_words(outcome.serial, screen), may_have_failed_in_words(outcome.serial, screen)
    is_over = not qmp.damage and outcome.stands_where_it_stood and all(halts_for_ever(cpu.registers) for cpu in cpus)
    if is_over and (outcome.reason is Reason.TIMEOUT or outcome.reason is Reason.IDLE and said):
        outcome.reason = Reason.STANDSTILL  # too early or too late for enough looks; one tells it
    told = said or maybe if outcome.reason is Reason.IDLE else said
    if outcome.reason in (Reason.TIMEOUT, Reason.IDLE) and told and all(cpu.halted for cpu in cpus):
        outcome.lose(f"the guest is halted; whether it gave up is not known: it said {told!r}")
    if outcome.reason is not Reason.STANDSTILL or said or outcome.unsaid:
        return  # what was to go on, and say more, is not parked: it hangs
    outcome.parked = parked(qmp, cpus)
    if outcome.parked is None:
        return
    has_paging = cpus[0].registers.get("CR0", 0) & CR0_PG
    if not is_emulated(qmp):
        outcome.lose("the guest is parked; whether an exception brought it there is not known: QEMU logs none but under TCG")
    elif has_paging and cpus[0].registers.get("CR3") == firmware_cr3(log, cpus[0]):
        outcome.lose("the guest is parked under the firmware's own tables: it has not switched, and whether it gave up is not known")
    elif maybe:
        outcome.lose(f"the guest is parked; whether it gave up is not known: it said {maybe!r}")


class _Known:
    """What the log, the files and each CPU's memory tell, asked for once."""

    def __init__(self, seen: LogReport, log: Path, files: Sequence[ElfFile]) -> None:
        self.seen, self.log, self.files = seen, log, files
        self.at_fault = read_at_fault(log, seen)
        self._by_cpu: dict[int, Known] = {}

    def __call__(self, cpu: StoppedCpu) -> Known:
        if cpu.number not in self._by_cpu:
            fault = self.seen.fatal or self.seen.first
            known = known_of(cpu, fault, self.at_fault, self.files, firmware_cr3(self.log, cpu))
            self._by_cpu[cpu.number] = known
        return self._by_cpu[cpu.number]


def _judge(cpus: tuple[StoppedCpu, ...], known: _Known, qmp: Qmp, outcome: Outcome) -> StoppedCpu:
    """Which CPU it is about; leaves the findings in ``outcome``."""
    judged, seen = cpus[0], known.seen
    found = _not_booted(judged, qmp, outcome)
    if found is not None:
        outcome.findings = (found,)
    elif seen.ending is None and (outcome.reason is Reason.RESET or outcome.watchdog):
        outcome.findings = (reset_cause(judged, known.log, outcome.watchdog, outcome.is_reset_untold),)
    elif seen.ending is Ending.PARKED:
        outcome.findings = ()
    elif seen.ending is None and outcome.reason is Reason.TIMEOUT:
        outcome.findings = tuple(still_spinning(judged, outcome.looks))
    else:
        judged, outcome.findings = _causes(cpus, known, outcome)
    if outcome.reason is not Reason.RESET and found is None:
        outcome.put_first(tuple(ap_trampoline.astray(cpus, outcome.looks)))
    outcome.registers, outcome.cpu = dict(judged.registers), judged.number
    if len(cpus) > 1 and seen.ending is not None:
        outcome.judged = f"CPU {judged.number} of {len(cpus)}, as the paused machine shows"
    return judged


def _causes(
    cpus: Sequence[StoppedCpu], known: _Known, outcome: Outcome
) -> tuple[StoppedCpu, tuple[Finding, ...]]:
    """Which CPU it is about, why it died, and what would have come next."""
    seen, at_fault = known.seen, known.at_fault
    judged, found = first_cause(cpus, seen, outcome.looks, at_fault, known)
    if seen.ending is not None and judged.mode is not CpuMode.REAL:
        outcome.walk = walk_in_memory(judged, seen.fatal or seen.first)
    alive = at_death(judged, at_fault)
    if alive is None:
        return judged, found
    coming = next_after(alive, seen, known(judged))
    if begins_with(coming, found) and coming.free is not None:
        outcome.mended = prediction_of(alive, coming.free)
    return judged, joined(found, coming)


def _look_around(
    judged: StoppedCpu, report: LogReport | None, known: _Known, qmp: Qmp, outcome: Outcome
) -> None:
    """Whose code it was, and who had called it."""
    images = loaded_images(judged) if judged.in_long_mode else []
    if not images:
        outcome.screen = shown_text(qmp)
    outcome.images = named(images)
    outcome.bases = bases_of([each.path for each in known.files if each.base is None], images)
    seen = with_ending(report, outcome, traced=False) or LogReport()
    if seen.ending is None:
        return
    fault = None if seen.ending in WITHOUT_EXCEPTION else seen.fatal or seen.first
    rip, rsp = (fault.rip, fault.rsp) if fault else (judged.pc, judged.stack)
    pieces = list(file_code(known.files, outcome.bases))
    if rsp is not None:
        outcome.callers = tuple(callers(judged, rsp, pieces, judged.code_bits // 8))
    wrong = handed_over.findings(judged, seen, known(judged))
    if wrong:
        told = {one.rule for one in outcome.findings}
        outcome.put_first([one for one in wrong if one.rule not in told])
        return
    if rip is None:
        return
    strayed = mapped_elsewhere(judged, rip, pieces, seen.dump.cpl)
    changed = strayed or overwritten_code(judged, rip, pieces)
    is_blamed = strayed is not None and any(one.entry == strayed.entry for one in outcome.findings)  # more exactly
    if changed is not None and changed.severity is not Severity.ERROR:
        outcome.findings = (*outcome.findings, changed)  # the file may be another: what the machine shows comes first
    elif changed is not None and not is_blamed:
        outcome.put_first([changed])
        outcome.parked = None  # whatever stands there now, nobody meant it


def _not_booted(judged: StoppedCpu, qmp: Qmp, outcome: Outcome) -> Finding | None:
    """The firmware itself, at its end."""
    if outcome.reason not in (Reason.NOTHING_BOOTED, Reason.TIMEOUT) and not (outcome.reason is Reason.RESET and is_bios_reset(judged)):
        return None
    attempts = read_attempts(outcome.serial)
    outcome.gave_up = outcome.gave_up or attempts.gave_up
    if outcome.reason is Reason.TIMEOUT and attempts.is_looking:
        outcome.gave_up = "the firmware was still looking when the time was up"
    if not outcome.gave_up and not judged.in_long_mode:
        screen = read_text_screen(qmp)
        outcome.gave_up = seabios_gave_up(screen)
        if not outcome.gave_up and seabios_still_works(screen) and not judged.cpu.cr0 & CR0_PG:
            outcome.lose("the BIOS had started nothing when the time was up")
    if not outcome.gave_up:
        return None
    rule = "loader-returned" if attempts.started else "nothing-booted"
    title = message("nothing was booted: {gave_up}", gave_up=outcome.gave_up)
    if attempts.started:
        title = message("the loader ({loader}) came back: {gave_up}",
                        loader=attempts.started[-1], gave_up=outcome.gave_up)  # fmt: skip
    return BY_ID[rule].finding(title, *(list(_tried(attempts)) or [Message("the firmware does not say what it tried")]))


def _tried(attempts: Attempts) -> Iterator[Message]:
    for number, name in enumerate(attempts.started, 1):
        yield Message(f"started: {{started_{number}}}", {f"started_{number}": name})
    for number, words in enumerate(attempts.failed, 1):
        yield Message(f"tried: {{tried_{number}}}", {f"tried_{number}": words})
    if attempts.network:
        yield Message("tried: the network (PXE or HTTP)")


def _keep(
    folder: Path, cpus: tuple[StoppedCpu, ...], judged: StoppedCpu, outcome: Outcome
) -> None:
    try:
        kept = keep(folder, cpus, judged, outcome.images)
    except OSError as error:
        outcome.notes.append(f"{error.filename or folder}: {error.strerror}")
        return
    outcome.notes += kept.notes
    outcome.kept = tuple(kept.words())
    if judged.in_long_mode and kept.tables:
        walk = outcome.walk
        cpu = judged.cpu if walk is None or walk.cr3 is None else replace(judged.cpu, cr3=walk.cr3)
        outcome.picture = Picture(Space("as the guest left it", cpu, HeldTables(kept.tables)), platform=judged.platform)
