"""Gathers what a run has left, and has it judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.lint_files import FilesLinted
from cr3scope.diagnose.facts.last_words import last_words
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.beside import beside
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.logs.formats.qemu_int import by_boot, observe
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.logfile import LogFile
from cr3scope.qemu.ending import with_ending
from cr3scope.qemu.left import exit_notes, failure_words, last_words as own_words
from cr3scope.qemu.outcome import DEBUG_EXIT_FAIL, Outcome, Reason
from cr3scope.render.message import plain
from cr3scope.verdict.run import RunEnd, judge_traced, judge_untraced
from cr3scope.verdict.linted import FileFinding
from cr3scope.verdict.types import Verdict
from cr3scope.x86.ending import Ending

if TYPE_CHECKING:
    from cr3scope.diagnose.writer import Caught
    from cr3scope.images.elf_file import ElfFile
    from cr3scope.images.symbols import Symbols
    from cr3scope.input.writers.reader import WritersFile
    from cr3scope.input.capture.records import Boot


def judge_run(
    capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome,
    linted: FilesLinted | None = None, writers: WritersFile | None = None,
    caught: Mapping[int, Caught] | None = None,
) -> Verdict:  # fmt: skip
    """Return the verdict on a run. ``capture``: what the trace's sink received, or anything else; ``log``: QEMU's.

    ``linted``: what was found in its files.
    ``writers``: what the plugin has kept; ``caught``: at what stores the guest was stopped instead.
    """
    linted = linted or FilesLinted()
    outcome.notes += linted.notes
    if outcome.passed:
        outcome.forget_examination()
    if SENTINEL in capture:
        verdict, symbols = _judge_traced(capture, log, elf_files, outcome, linted)
    else:
        report = with_ending(_report(log, None, outcome), outcome, traced=False) or LogReport()
        verdict, symbols = _judge_untraced(report, elf_files, outcome, linted)
    if writers is None and caught is None:
        return verdict
    from cr3scope.verdict.writers import attributed, caught_at

    if writers is None:
        return caught_at(verdict, caught or {}, symbols, outcome.guilty)
    return attributed(verdict, writers, symbols, outcome.guilty, outcome.cpu, SENTINEL not in capture)


def _judge_untraced(
    report: LogReport, elf_files: Sequence[ElfFile], outcome: Outcome, linted: FilesLinted
) -> tuple[Verdict, Symbols | None]:
    symbols = _symbols(elf_files, outcome)
    return judge_untraced(_end(outcome, linted, is_traced=False), report, symbols), symbols


def _judge_traced(
    capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome, linted: FilesLinted
) -> tuple[Verdict, Symbols | None]:
    from cr3scope.input.capture.reader import read_capture
    from cr3scope.verdict.analysis import case_of_capture, planned_cr3, symbols_of_boot

    read = read_capture(capture)
    if not read.boots:  # any guest can print what begins like a record
        seen = with_ending(_report(log, None, outcome), outcome, traced=False)
        if seen is not None and seen.ending in (Ending.TRIPLE_FAULT, Ending.STORM):
            outcome.notes += [plain(each.message) for each in read.damage[:1]]
            return _judge_untraced(seen, elf_files, outcome, linted)

    def told(boots: Sequence[Boot]) -> Sequence[LogReport | None] | LogReport | None:
        several = _reports_by_boot(log, boots) if len(boots) > 1 else None
        if several is None:
            return with_ending(_report(log, planned_cr3(read), outcome), outcome)
        return [*several[:-1], with_ending(several[-1], outcome)]  # the run's end is that of the last boot

    symbols = symbols_of_boot(read, elf_files)
    console = b"" if capture is outcome.serial else beside(outcome.serial)
    case = case_of_capture(read, told, symbols, outcome.qemu, console=console)
    if case.has_error or case.observation is not None and case.observation.ending not in (None, Ending.PARKED):
        outcome.audited = ()  # of what has struck already the trace tells more
    return judge_traced(_end(outcome, linted, is_traced=True), case, symbols), symbols


def _reports_by_boot(log: Path, boots: Sequence[Boot]) -> Sequence[LogReport] | None:
    """What the log says of each boot of a capture; None if it cannot be read, or tells of fewer or more."""
    from cr3scope.verdict.boots import planned_cr3

    try:
        with LogFile(log) as opened:
            return by_boot(opened, [planned_cr3(boot) for boot in boots])
    except UnusableInput:
        return None


def _symbols(elf_files: Sequence[ElfFile], outcome: Outcome) -> Symbols | None:
    """What the guest had loaded, as far as files and the firmware tell."""
    if not (elf_files or outcome.images or outcome.callers):
        return None
    from cr3scope.images.symbols import Symbols

    placed = [replace(each, base=outcome.bases.get(each.path, each.base)) for each in elf_files]
    symbols = Symbols((), placed)
    symbols.put_loaded(outcome.images)
    return symbols


def _report(log: Path, cr3: int | None, outcome: Outcome) -> LogReport | None:
    try:
        return observe(log, cr3)
    except UnusableInput as error:
        outcome.notes.append(str(error))
        return None


def _end(outcome: Outcome, linted: FilesLinted, is_traced: bool) -> RunEnd:
    failure = failure_words(outcome, is_traced)
    lost = [*([failure] if failure else []), *outcome.losses]
    status = outcome.exit_status if outcome.reason is Reason.EXITED else None
    return RunEnd(
        exit_status=status,
        passed=outcome.passed,
        failed=status == DEBUG_EXIT_FAIL,
        words=own_words(outcome),
        lost=lost,
        never_ran=outcome.never_ran,
        is_interrupted=outcome.reason is Reason.INTERRUPTED,
        held=outcome.held,
        refused=outcome.refused,
        unsaid=outcome.missed,
        ended=outcome.reason.name.lower().replace("_", "-"),
        asked_for_reset=outcome.reason is Reason.RESET,
        is_reset_untold=outcome.is_reset_untold,
        seconds=outcome.seconds,
        linted=[*(FileFinding(one) for one in outcome.audited), *linted.findings],
        findings=outcome.findings,
        at_switch=outcome.at_switch,
        walk=outcome.walk,
        mended=outcome.mended,
        picture=outcome.picture,
        cpu=outcome.judged,
        rip=outcome.registers.get("RIP", outcome.registers.get("EIP")),
        callers=outcome.callers,
        is_firmwares=bool(outcome.images),
        panic="" if outcome.panic is None and outcome.reason is Reason.PANICKED else outcome.panic,
        said=last_words(outcome.screen.encode() if outcome.screen else outcome.serial),
        notes=[*(note for note in outcome.notes if note not in lost), *exit_notes(outcome)],
    )
