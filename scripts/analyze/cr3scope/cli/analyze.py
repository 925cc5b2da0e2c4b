"""``cr3scope analyze``: a capture in, a verdict out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.analysis import analyze, chosen_boot
from cr3scope.capture.reader import read_capture
from cr3scope.capture.records import Capture, ImageRecord
from cr3scope.cli.publish import publish
from cr3scope.errors import UnusableInput
from cr3scope.intlog.observe import LogReport, observe
from cr3scope.symbols import LineSource, Symbols
from cr3scope.verdict import Verdict

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb to the command line."""
    parser = subparsers.add_parser("analyze", help="judge a capture: what will the switch do?")
    parser.add_argument("capture", metavar="CAPTURE", type=Path, help="what a trace sink received")
    parser.add_argument(
        "--log", metavar="INTLOG", type=Path, help="QEMU's `-d int,cpu_reset` log of the same run"
    )
    parser.add_argument(
        "--elf",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="ELF twin of a loaded image, for source lines (may be given more than once)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON; - for stdout")
    parser.add_argument("--html", metavar="FILE", help="write the verdict as one HTML page")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judges, prints, and returns the exit status of the verdict."""
    capture = read(arguments.capture)
    verdict = judge(capture, arguments.log, arguments.elf)
    publish(verdict, arguments.json, arguments.html)
    return verdict.exit_status


def read(path: Path) -> Capture:
    """The capture in a file; UnusableInput if it cannot be read."""
    try:
        return read_capture(path.read_bytes())
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}") from error


def judge(capture: Capture, log: Path | None, elf_files: Sequence[Path]) -> Verdict:
    """The verdict on a capture, with the log and the ELF twins if there are any."""

    def symbols_of(images: Sequence[ImageRecord]) -> LineSource:
        return Symbols(images, elf_files)

    return analyze(capture, _report(capture, log), symbols_of)


def _report(capture: Capture, log: Path | None) -> LogReport | None:
    if log is None:
        return None
    boot = chosen_boot(capture)
    planned = boot.cpus.get("handoff") if boot else None
    return observe(log, planned.registers.get("cr3") if planned else None)
