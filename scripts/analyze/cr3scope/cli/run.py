"""``cr3scope run``: boots a QEMU, watches it until the guest is done, and judges."""

from __future__ import annotations

import argparse
import importlib
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.errors import UnusableInput
from cr3scope.intlog.observe import LogReport, observe
from cr3scope.machine.command import read_command
from cr3scope.machine.ending import DEBUG_EXIT_FAIL, DEBUG_EXIT_PASS, with_ending
from cr3scope.machine.guest import Outcome, Reason, watch
from cr3scope.machine.qmp import Qmp
from cr3scope.machine.serial_port import panic_words
from cr3scope.verdict import Diagnostic, Ending, Finding, Observation, Severity, Status, Verdict

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SERIAL, LOG, COMMAND = "serial.log", "interrupts.log", "qemu.cmd"
_SENTINEL = b"@c3s"
_CAPTURE_SECONDS = 30


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run QEMU, observe the guest, and judge",
        description="Runs any QEMU command, adds what it takes to watch it (a log of interrupts,"
        " QMP, and the serial port if the command says nothing of it), ends it when the guest is"
        " done, and judges.",
    )
    parser.add_argument(
        "-o", dest="folder", metavar="DIR", type=Path, default=Path("cr3scope-run"),
        help=f"where {SERIAL}, {LOG} and {COMMAND} go (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=60.0,
        help="when a guest that is not done counts as hung (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--elf", metavar="FILE", type=Path, action="append", default=[],
        help="ELF twin of a loaded image, for source lines (may be given more than once)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON; - for stdout")
    parser.add_argument("--html", metavar="FILE", help="write the verdict as one HTML page")
    parser.add_argument(
        "--capture-command", metavar="COMMAND",
        help="shell command that prints the capture once the guest has ended, for a trace that is"
        " on the boot volume",
    )  # fmt: skip
    parser.add_argument(
        "command", metavar="-- QEMU ARGS", nargs=argparse.REMAINDER, help="the QEMU command"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Boots, judges, prints; returns the exit status of the verdict."""
    words: list[str] = arguments.command
    command = read_command(words[1:] if words[:1] == ["--"] else words)
    folder: Path = arguments.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        line = command.to_repeat(folder / "again.log")
        (folder / COMMAND).write_text(line + "\n", errors="surrogateescape")
        examine = partial(_examine, folder / LOG)
        outcome = watch(command, folder, arguments.timeout, _import_analysis, examine)
        if command.serial_copy is not None:
            command.serial_copy.write_bytes(outcome.serial)
    except OSError as error:
        raise UnusableInput(f"{error.filename or folder}: {error.strerror}") from error
    if not outcome.started and outcome.reason is Reason.EXITED:
        raise UnusableInput(_did_not_start(command.words[0], outcome))
    capture = _capture(arguments.capture_command, outcome)
    verdict = _with_run(_judge(capture, folder / LOG, arguments.elf, outcome), outcome)

    from cr3scope.cli.publish import publish

    publish(verdict, arguments.json, arguments.html)
    return verdict.exit_status


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("between 0 and 86400 seconds")
    return value


def _import_analysis() -> None:
    """While the firmware starts: by the time the guest is done the analyzer is loaded."""
    for name in ("cr3scope.cli.analyze", "cr3scope.symbols", "elftools.elf.elffile"):
        importlib.import_module(name)


def _did_not_start(program: str, outcome: Outcome) -> str:
    said = outcome.words.strip() or outcome.stdout.decode(errors="replace").strip()
    lines = [line for line in said.split("\n") if "warning:" not in line]
    own = f"{Path(program).name}: "
    why = next((line for line in lines if line.startswith(own)), lines[0] if lines else "")
    return (
        f"{program}: no guest was started (exit status {outcome.exit_status}):"
        f" {why.removeprefix(own) or 'it printed nothing'}"
    )


def _capture(command: str | None, outcome: Outcome) -> bytes:
    """What the trace's sink received: the named source, else the serial port, else stdout."""
    if command is not None:
        try:
            done = subprocess.run(
                command, shell=True, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_CAPTURE_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            outcome.notes.append(f"--capture-command took more than {_CAPTURE_SECONDS} s")
        else:
            if done.returncode == 0:
                return done.stdout
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            outcome.notes.append(f"--capture-command: exit status {done.returncode}: {said}")
    if _SENTINEL not in outcome.serial and _SENTINEL in outcome.stdout:
        return outcome.stdout
    return outcome.serial


def _judge(capture: bytes, log: Path, elf_files: Sequence[Path], outcome: Outcome) -> Verdict:
    if _SENTINEL not in capture:
        from cr3scope.cli.triage import verdict_of

        report = with_ending(_report(log, None, outcome), outcome, traced=False)
        return _with_findings(verdict_of(report or LogReport()), outcome)

    from cr3scope.analysis import analyze, chosen_boot
    from cr3scope.capture.reader import read_capture
    from cr3scope.symbols import Symbols

    read = read_capture(capture)
    boot = chosen_boot(read)
    planned = boot.cpus.get("handoff") if boot else None
    cr3 = planned.registers.get("cr3") if planned else None
    report = with_ending(_report(log, cr3, outcome), outcome)
    return analyze(read, report, lambda images: Symbols(images, elf_files))


def _examine(log: Path, qmp: Qmp, outcome: Outcome) -> None:
    """Asks the paused machine itself for the cause; a trace knows more, so it is not asked then."""
    if _SENTINEL in outcome.serial or _SENTINEL in outcome.stdout:
        return
    from cr3scope.machine.causes import causes
    from cr3scope.machine.snapshot import take_snapshot

    try:
        report = observe(log)
    except UnusableInput:
        report = None
    seen = with_ending(report, outcome, traced=False)
    if seen is not None:
        rips = [cpus[0].get("RIP", 0) for cpus in outcome.looks if cpus]
        outcome.findings = causes(take_snapshot(qmp), seen, rips)


def _with_findings(verdict: Verdict, outcome: Outcome) -> Verdict:
    """The verdict of a guest without a trace, with what the paused machine told."""
    from cr3scope.rules import BY_ID

    findings = outcome.findings
    seen = verdict.observation
    if outcome.exit_status == DEBUG_EXIT_PASS and seen and seen.ending is Ending.HANDLED:
        ran = replace(seen, ending=None, detail="the guest handled it and ended with success")
        verdict = replace(verdict, status=Status.HEALTHY, observation=ran)
    if outcome.reason is Reason.RESET and verdict.status is Status.HEALTHY:
        findings = (*findings, BY_ID["asked-for-reset"].finding(
            "the guest asked for a reset", "QEMU reports a reset by the guest without a triple fault"
        ))  # fmt: skip
        verdict = replace(verdict, status=Status.FAULTED)
    words = panic_words(outcome.serial)
    if words is not None:
        title = f"the kernel gave up: {words or 'it does not say why'}"
        findings = (BY_ID["kernel-panic"].finding(title, "said on the serial port"), *findings)
        verdict = replace(verdict, status=Status.FAULTED)
    return replace(verdict, findings=findings)


def _report(log: Path, cr3: int | None, outcome: Outcome) -> LogReport | None:
    try:
        return observe(log, cr3)
    except UnusableInput as error:
        outcome.notes.append(str(error))
        return None


def _with_run(verdict: Verdict, outcome: Outcome) -> Verdict:
    """What only the run knows: the guest's exit status, and what went wrong with the watching."""
    status = outcome.exit_status if outcome.reason is Reason.EXITED else None
    if status == DEBUG_EXIT_PASS and verdict.observation is None:
        ran = Observation(None, source=f"isa-debug-exit, QEMU's exit status {status}")
        survives = verdict.prediction.survives if verdict.prediction else None
        verdict = replace(verdict, observation=ran, agreement=survives)
    elif status == DEBUG_EXIT_FAIL and verdict.exit_status == 0:
        verdict = replace(
            verdict, status=Status.FAULTED, findings=(*verdict.findings, _check_failed(status))
        )
    notes = [Diagnostic(note) for note in outcome.notes]
    if status is not None and status < 0:
        notes.insert(0, Diagnostic(f"QEMU itself was ended by signal {-status}"))
        if verdict.status is Status.HEALTHY:
            verdict = replace(verdict, status=Status.INCOMPLETE)
    if outcome.reason is Reason.INTERRUPTED:
        seen = verdict.observation
        if seen is not None and seen.ending is None:  # not "ran": nobody knows what would have come
            verdict = replace(verdict, observation=None, agreement=None)
        notes.insert(0, Diagnostic(f"interrupted after {outcome.seconds:.1f} s"))
        if verdict.status is Status.HEALTHY:
            verdict = replace(verdict, status=Status.INCOMPLETE)
    return replace(verdict, diagnostics=(*verdict.diagnostics, *notes))


def _check_failed(status: int) -> Finding:
    return Finding(
        rule="kernel-check-failed",
        severity=Severity.ERROR,
        title=f"the kernel ended with FAIL (QEMU's exit status {status})",
        detail="the capture does not say which check failed",
        fix="give the kernel a trace sink that outlives ExitBootServices, and run again",
    )

