"""``cr3scope triage``: a ``-d int`` log in, a verdict out. It needs no capture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.intlog.observe import LogReport, observe
from cr3scope.verdict import Diagnostic, Ending, Status, Verdict

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser(
        "triage", help="find the first exception that matters in QEMU's `-d int` log"
    )
    parser.add_argument(
        "log", metavar="INTLOG", type=Path, help="what QEMU wrote with `-d int,cpu_reset -D INTLOG`"
    )
    parser.add_argument("--capture", metavar="FILE", type=Path, help="the trace of the same run")
    parser.add_argument(
        "--elf", metavar="FILE", type=Path, action="append", default=[],
        help="ELF twin of a loaded image, for source lines (may be given more than once)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON; - for stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judges, prints, and returns the exit status of the verdict."""
    if arguments.capture is not None:
        from cr3scope.cli import analyze

        verdict = analyze.judge(analyze.read(arguments.capture), arguments.log, arguments.elf)
    else:
        verdict = verdict_of(observe(arguments.log))
    from cr3scope.cli.publish import publish

    publish(verdict, arguments.json)
    return verdict.exit_status


def verdict_of(report: LogReport) -> Verdict:
    """What the log alone says: nothing is predicted, so nothing is compared."""
    if report.ending is None:
        status = Status.HEALTHY
    else:
        status = Status.HUNG if report.ending is Ending.HANG else Status.FAULTED
    notes = tuple(Diagnostic(note) for note in report.notes)
    return Verdict(status, observation=report.observation(), diagnostics=notes)
