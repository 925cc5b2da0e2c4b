"""``cr3scope analyze``: a capture in, a verdict out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.elf_option import add_elf_option
from cr3scope.cli.patience import patience
from cr3scope.cli.publish import publish
from cr3scope.cli.results import add_result_options, reported
from cr3scope.cli.uncollected import uncollected
from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.input.capture.file import read_capture_file
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.capture.reader import read_capture
from cr3scope.images.symbols import Symbols
from cr3scope.input.capture.records import Boot, Capture
from cr3scope.input.first_bytes import is_elf
from cr3scope.input.logs.console import is_console, read_console, told_at
from cr3scope.input.logs.formats.qemu_int import by_boot
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.photo.signs import is_photo
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.report import read_story
from cr3scope.verdict.analysis import analyze, planned_cr3
from cr3scope.verdict.boots import planned_cr3 as planned_cr3_of
from cr3scope.verdict.types import Verdict

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("analyze", help="judge a capture: what will the switch do?")
    parser.add_argument(
        "capture",
        metavar="CAPTURE",
        type=Path,
        nargs="+",
        help="what a trace sink received; or an ELF core, of gdb's `cr3scope save` or dump-guest-memory; or photos of"
        " the codes on a screen, all of one screen",
    )
    parser.add_argument(
        "--log", metavar="INTLOG", type=Path, help="QEMU's `-d int,cpu_reset` log of the same run"
    )
    add_elf_option(parser)
    add_result_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge, print, and return the exit status of the verdict."""
    name = str(arguments.capture[0])
    with reported(arguments, name, name):
        with patience(f"judging {name}", *arguments.capture), uncollected():
            verdict = _verdict(arguments)
        publish(verdict, arguments, name, name)
    return verdict.exit_status


def _verdict(arguments: argparse.Namespace) -> Verdict:
    first: Path = arguments.capture[0]
    if is_photo(first):
        from cr3scope.input.photo.reader import read_photos

        return judge(read_photos(arguments.capture), arguments.log, arguments.elf)
    if len(arguments.capture) > 1:
        raise UnusableInput(f"{first}: not a photo: of several files only photos of one screen are judged together")
    if not is_elf(first):
        return judge(read_capture_file(first), arguments.log, arguments.elf)
    if arguments.log is not None:
        raise UnusableInput(f"{first}: an ELF core: --log goes with a capture")
    from cr3scope.cli.analyze_core import judge_core  # half of the package: not for a capture

    return judge_core(first, arguments.elf)


def judge(capture: Capture, log: Path | None, elf_files: Sequence[ElfFile]) -> Verdict:
    """Return the verdict on a capture, with the log and the ELF twins if there are any."""
    if log is None:
        return analyze(capture, lines=lambda boot: Symbols(boot.images, elf_files))
    with LogFile(log) as opened:
        return judge_with(capture, opened, elf_files)


def judge_with(capture: Capture, log: LogFile, elf_files: Sequence[ElfFile]) -> Verdict:
    """Return the verdict on a capture and an opened log."""


    def reports(boots: Sequence[Boot]) -> Sequence[LogReport | None] | LogReport:
        several = by_boot(log, [planned_cr3_of(boot) for boot in boots]) if len(boots) > 1 else None
        if several:
            return several
        report = read_story(log, planned_cr3(capture)).report
        if not is_console(report):
            return report
        return _heard_of_each(log, len(boots)) or told_at(log, planned_cr3(capture))

    return analyze(capture, reports, lambda boot: Symbols(boot.images, elf_files))


def _heard_of_each(log: LogFile, count: int) -> Sequence[LogReport | None] | None:
    """What a console's log that holds the trace as well tells of each boot; None if it holds none, or not of ``count`` boots."""
    if log.find(SENTINEL) < 0 or log.size > limits.CAPTURE_BYTES:
        return None
    try:
        own = read_capture(log.read(0, log.size)).boots
    except UnusableInput:  # a trace of another version: what is said beside it counts
        return None
    told = [read_console(boot.console) for boot in own]
    return [one if one.tells else None for one in told] if len(told) == count else None
