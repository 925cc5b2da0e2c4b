"""The verdict on a run: what the trace or the log says, and what only the run knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.diagnose.facts.last_words import last_words
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.input.logs.observe import LogReport
from cr3scope.message import Message, as_messages, message
from cr3scope.qemu.ending import with_ending
from cr3scope.qemu.outcome import DEBUG_EXIT_FAIL, DEBUG_EXIT_PASS, Outcome, Reason
from cr3scope.qemu.serial_port import panic_words
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import describe

if TYPE_CHECKING:
    from cr3scope.images.elf_file import ElfFile


def judge_run(
    capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome
) -> Verdict:
    """Return the verdict on a run. ``capture``: what the trace's sink received, or anything else; ``log``: QEMU's."""
    if outcome.debug_exit == DEBUG_EXIT_PASS:
        outcome.forget_examination()
    judge = _judge_traced if SENTINEL in capture else _judge_untraced
    return _with_run(judge(capture, log, elf_files, outcome), outcome)


def _judge_untraced(
    _capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome
) -> Verdict:
    from cr3scope.cli.triage import verdict_of

    told = with_ending(_report(log, None, outcome), outcome, traced=False) or LogReport()
    verdict = _with_findings(verdict_of(told), outcome)
    if elf_files or outcome.images or outcome.callers:
        from cr3scope.images.symbols import Symbols
        from cr3scope.verdict.places import with_places
        from cr3scope.verdict.source_texts import with_source_texts

        placed = [replace(each, base=outcome.bases.get(each.path, each.base)) for each in elf_files]
        symbols = Symbols((), placed)
        symbols.put_loaded(outcome.images)
        rip = outcome.registers.get("RIP")
        try:
            verdict = with_places(verdict, told, symbols, rip, outcome.callers)
            verdict = with_source_texts(verdict, symbols)
        except UnusableInput as error:  # a damaged file costs its names, not what the boot has shown
            outcome.notes.append(str(error))
    return _with_last_words(verdict, outcome)


def _judge_traced(
    capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome
) -> Verdict:
    from cr3scope.input.capture.reader import read_capture
    from cr3scope.verdict.analysis import analyze, chosen_boot, symbols_of_boot
    from cr3scope.verdict.places import with_places
    from cr3scope.verdict.source_texts import with_source_texts

    read = read_capture(capture)
    boot = chosen_boot(read)
    planned = boot.cpus.get("handoff") if boot else None
    cr3 = planned.registers.get("cr3") if planned else None
    report = with_ending(_report(log, cr3, outcome), outcome)
    symbols = symbols_of_boot(read, elf_files)
    verdict = analyze(read, report, lambda _images: symbols, outcome.qemu)
    if boot is not None and report is not None and elf_files:
        verdict = with_places(verdict, report, symbols)
    return with_source_texts(verdict, symbols)


def _with_findings(verdict: Verdict, outcome: Outcome) -> Verdict:
    """The verdict of a guest without a trace, with what the paused machine told."""
    from cr3scope.diagnose.catalogue import BY_ID

    findings = outcome.findings
    seen = verdict.observation
    if outcome.judged and seen is not None:  # the log alone can often but guess
        seen = replace(seen, cpu=outcome.judged)
        verdict = replace(verdict, observation=seen)
    if outcome.images and seen is not None and seen.switch is not None and not seen.switch.before:
        own = "under the firmware's own tables: nobody has switched yet"
        seen = replace(seen, detail=f"{seen.detail}; {own}" if seen.detail else own)
        verdict = replace(verdict, observation=seen)
    if outcome.debug_exit == DEBUG_EXIT_PASS and seen and seen.ending is Ending.HANDLED:
        ran = replace(seen, ending=None, detail="the guest handled it and ended with success")
        verdict = replace(verdict, status=Status.HEALTHY, observation=ran)
    if any(f.severity is Severity.ERROR for f in findings) and verdict.status is Status.HEALTHY:
        verdict = replace(verdict, status=Status.FAULTED)
    if outcome.reason is Reason.RESET and verdict.status is Status.HEALTHY:
        findings = (*findings, BY_ID["asked-for-reset"].finding(
            Message("the guest asked for a reset"), *as_messages("QEMU reports a reset by the guest without a triple fault")
        ))  # fmt: skip
        verdict = replace(verdict, status=Status.FAULTED)
    words = panic_words(outcome.serial)
    if words is not None:
        title = f"the kernel gave up: {words or 'it does not say why'}"
        findings = (BY_ID["kernel-panic"].finding(Message(title), *as_messages("said on the serial port")), *findings)
        verdict = replace(verdict, status=Status.FAULTED)
        if seen is not None and seen.ending is Ending.HANDLED and seen.first is not None:
            # Who can still speak has handled it; what came of it, the message says.
            what = describe(seen.first.vector, seen.first.error_code)
            detail = f"before that {what} at RIP={seen.first.rip or 0:#x}, and it was handled"
            seen = replace(seen, ending=None, detail=detail, chain=())
            verdict = replace(verdict, observation=seen)
    return replace(verdict, findings=findings)


def _with_last_words(verdict: Verdict, outcome: Outcome) -> Verdict:
    """Of a guest that is not well."""
    well = verdict.status is Status.HEALTHY and not verdict.findings
    if well or verdict.observation is None:
        return verdict
    said = last_words(outcome.serial)
    if outcome.screen:
        said = last_words(outcome.screen.encode())
    return replace(verdict, observation=replace(verdict.observation, said=said))


def _report(log: Path, cr3: int | None, outcome: Outcome) -> LogReport | None:
    try:
        return observe(log, cr3)
    except UnusableInput as error:
        outcome.notes.append(str(error))
        return None


def _with_run(verdict: Verdict, outcome: Outcome) -> Verdict:
    """What only the run knows: the guest's exit status, and what went wrong with the watching."""
    status = outcome.exit_status if outcome.reason is Reason.EXITED else outcome.debug_exit
    if status == DEBUG_EXIT_PASS and verdict.observation is None:
        ran = Observation(None, source=f"isa-debug-exit, QEMU's exit status {status}")
        survives = verdict.prediction.survives if verdict.prediction else None
        verdict = replace(verdict, observation=ran, agreement=survives)
    elif status == DEBUG_EXIT_FAIL and verdict.exit_status == 0:
        verdict = replace(
            verdict, status=Status.FAULTED, findings=(*verdict.findings, _check_failed(status))
        )
    heads: list[str] = []  # what explains the verdict: the first of them is its headline
    if status is not None and status < 0:
        last = outcome.words.strip().split("\n")[-1]
        heads.append(f"QEMU itself was ended by signal {-status}{': ' if last else ''}{last}")
        if verdict.status is Status.HEALTHY:
            verdict = replace(verdict, status=Status.INCOMPLETE)
    if outcome.run_state == "prelaunch":  # -S with a debugger that never said "continue"
        verdict = replace(verdict, status=Status.INCOMPLETE, observation=None, agreement=None)
        heads.append("the guest never ran: -S, and nobody told QEMU to continue")
    if outcome.reason is Reason.INTERRUPTED:
        seen = verdict.observation
        if seen is not None and seen.ending is None:  # not "ran": nobody knows what would have come
            verdict = replace(verdict, observation=None, agreement=None)
        heads.append(f"interrupted after {outcome.seconds:.1f} s{_where(outcome)}")
        if verdict.status is Status.HEALTHY:
            verdict = replace(verdict, status=Status.INCOMPLETE)
    first, last_ones = map(Diagnostic, heads), map(Diagnostic, outcome.notes)
    return replace(verdict, diagnostics=(*first, *verdict.diagnostics, *last_ones))


def _where(outcome: Outcome) -> str:
    rip = outcome.registers.get("RIP", outcome.registers.get("EIP"))
    return "" if rip is None else f", at RIP={rip:#x}"


def _check_failed(status: int) -> Finding:
    return Finding(
        rule="kernel-check-failed",
        severity=Severity.ERROR,
        title=message("the kernel ended with FAIL (QEMU's exit status {exit_status})", exit_status=status),
        proof=(Message("the capture does not say which check failed"),),
        fix=Message("give the kernel a trace sink that outlives ExitBootServices, and run again"),
    )
