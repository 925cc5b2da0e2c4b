"""``cr3scope run``: boots a QEMU, watches it until the guest is done, and judges."""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.elf_option import add_elf_option
from cr3scope.errors import UnusableInput
from cr3scope.exceptions import describe
from cr3scope.intlog.observe import LogReport, observe
from cr3scope.machine.command import read_command
from cr3scope.machine.ending import DEBUG_EXIT_FAIL, DEBUG_EXIT_PASS, with_ending
from cr3scope.machine.guest import watch
from cr3scope.machine.last_words import last_words
from cr3scope.machine.outcome import Outcome, Reason
from cr3scope.machine.qmp import Qmp
from cr3scope.machine.serial_port import panic_words
from cr3scope.verdict import Diagnostic, Ending, Finding, Observation, Severity, Status, Verdict

if TYPE_CHECKING:
    from cr3scope.elf_file import ElfFile

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
    add_elf_option(parser)
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
        examine = partial(_examine, folder)
        outcome = watch(command, folder, arguments.timeout, _import_analysis, examine)
    except OSError as error:
        raise UnusableInput(f"{error.filename or folder}: {error.strerror}") from error
    for source, target in ((SERIAL, command.serial_copy), (LOG, command.log_file)):
        if target is not None:
            _copy(folder / source, target, outcome)
    if not outcome.started and outcome.reason is Reason.EXITED:
        raise UnusableInput(_did_not_start(command.words[0], outcome))
    if not outcome.started and outcome.reason is Reason.TIMEOUT:
        raise UnusableInput(_did_not_call(command.words[0], outcome))
    capture = _capture(arguments.capture_command, outcome)
    verdict = _with_run(_judge(capture, folder / LOG, arguments.elf, outcome), outcome)

    from cr3scope.cli.publish import publish

    publish(verdict, arguments.json, arguments.html)
    if arguments.json != "-":
        print(*outcome.kept, sep="\n", end="\n" if outcome.kept else "")
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


def _copy(source: Path, target: Path, outcome: Outcome) -> None:
    """To where the command itself wanted it."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        outcome.notes.append(f"{target}: {error.strerror}: see {source}")


def _did_not_start(program: str, outcome: Outcome) -> str:
    said = outcome.words.strip() or outcome.stdout.decode(errors="replace").strip()
    lines = [line for line in said.split("\n") if "warning:" not in line]
    own = f"{Path(program).name}: "
    why = next((line for line in lines if line.startswith(own)), lines[0] if lines else "")
    return (
        f"{program}: no guest was started (exit status {outcome.exit_status}):"
        f" {why.removeprefix(own) or 'it printed nothing'}"
    )


def _did_not_call(program: str, outcome: Outcome) -> str:
    return (
        f"{program}: no QEMU called within {outcome.seconds:.0f} s (-qmp): it hangs before its guest"
        " starts, or it is a wrapper that does not pass its arguments on"
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


def _judge(capture: bytes, log: Path, elf_files: Sequence[ElfFile], outcome: Outcome) -> Verdict:
    if _SENTINEL not in capture:
        from cr3scope.cli.triage import verdict_of

        told = with_ending(_report(log, None, outcome), outcome, traced=False) or LogReport()
        verdict = _with_findings(verdict_of(told), outcome)
        if elf_files:
            from cr3scope.places import with_places
            from cr3scope.symbols import Symbols

            verdict = with_places(verdict, told, Symbols((), elf_files), outcome.registers.get("RIP"))
        return _with_last_words(verdict, outcome)

    from cr3scope.analysis import analyze, chosen_boot
    from cr3scope.capture.reader import read_capture
    from cr3scope.symbols import Symbols

    read = read_capture(capture)
    boot = chosen_boot(read)
    planned = boot.cpus.get("handoff") if boot else None
    cr3 = planned.registers.get("cr3") if planned else None
    report = with_ending(_report(log, cr3, outcome), outcome)
    return analyze(read, report, lambda images: Symbols(images, elf_files))


def _examine(folder: Path, qmp: Qmp, outcome: Outcome) -> None:
    from cr3scope.machine.examine import examine

    traced = _SENTINEL in outcome.serial or _SENTINEL in outcome.stdout
    examine(folder, folder / LOG, qmp, outcome, traced)


def _with_findings(verdict: Verdict, outcome: Outcome) -> Verdict:
    """The verdict of a guest without a trace, with what the paused machine told."""
    from cr3scope.rules import BY_ID

    findings = outcome.findings
    seen = verdict.observation
    if outcome.judged and seen is not None:  # the log alone can often but guess
        seen = replace(seen, cpu=outcome.judged)
        verdict = replace(verdict, observation=seen)
    if outcome.exit_status == DEBUG_EXIT_PASS and seen and seen.ending is Ending.HANDLED:
        ran = replace(seen, ending=None, detail="the guest handled it and ended with success")
        verdict = replace(verdict, status=Status.HEALTHY, observation=ran)
    if any(f.severity is Severity.ERROR for f in findings) and verdict.status is Status.HEALTHY:
        verdict = replace(verdict, status=Status.FAULTED)
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
        if seen is not None and seen.ending is Ending.HANDLED and seen.first is not None:
            # Who can still speak has handled it; what came of it, the message says.
            what = describe(seen.first.vector, seen.first.error_code)
            detail = f"before that {what} at RIP={seen.first.rip or 0:#x}, and it was handled"
            seen = replace(seen, ending=None, detail=detail, chain=())
            verdict = replace(verdict, observation=seen)
    return replace(verdict, findings=findings)


def _with_last_words(verdict: Verdict, outcome: Outcome) -> Verdict:
    """Of a guest that is not well."""
    if verdict.status is Status.HEALTHY or verdict.observation is None:
        return verdict
    said = last_words(outcome.serial)
    return replace(verdict, observation=replace(verdict.observation, said=said))


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
        title=f"the kernel ended with FAIL (QEMU's exit status {status})",
        detail="the capture does not say which check failed",
        fix="give the kernel a trace sink that outlives ExitBootServices, and run again",
    )

