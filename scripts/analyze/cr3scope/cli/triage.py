"""``cr3scope triage``: a ``-d int`` log in, a verdict out. It needs no capture."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cr3scope.cli.elf_option import add_elf_option
from cr3scope.cli.patience import patience
from cr3scope.diagnose.observation import observed
from cr3scope.errors import UnusableInput
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.log_format import Story
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import LogReport
from cr3scope.input.logs.report import read_story
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.ending import Ending

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_STDIN = "-"
_PIECE = 1 << 20
_NO_EXCEPTION = (
    "the log holds no exception: a guest that hangs (hlt with interrupts off, a loop) leaves such a"
    " log as well, and `cr3scope run` tells them apart"
)


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "triage",
        help="find the first exception that matters in QEMU's `-d int` log",
        description="Finds the switch of address spaces in QEMU's log, the first exception under the"
        " new CR3, and what came of it. A serial log with the firmware's exception screen is read"
        " as well.",
    )
    parser.add_argument(
        "log", metavar="INTLOG", type=Path,
        help="what QEMU wrote with `-d int,cpu_reset -D INTLOG`; - for standard input",
    )  # fmt: skip
    parser.add_argument(
        "--capture", metavar="FILE", type=Path,
        help="the trace of the same run: joins the log with the tables",
    )  # fmt: skip
    add_elf_option(parser)
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON; - for stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge, print, and return the exit status of the verdict."""
    with patience(f"reading {arguments.log}"), opened(arguments.log) as log:
        if arguments.capture is not None:
            from cr3scope.cli import analyze

            verdict = analyze.judge_with(analyze.read(arguments.capture), log, arguments.elf)
        else:
            story = read_story(log)
            verdict = story_verdict(story)
            if arguments.elf:
                from cr3scope.images.symbols import Symbols
                from cr3scope.verdict.places import with_places
                from cr3scope.verdict.source_texts import with_source_texts

                symbols = Symbols((), arguments.elf)
                verdict = with_places(verdict, story.report, symbols, story.last_rip)
                verdict = with_source_texts(verdict, symbols)
    from cr3scope.cli.publish import publish

    publish(verdict, arguments.json)
    return verdict.exit_status


@contextmanager
def opened(path: Path) -> Iterator[LogFile]:
    """Open the log as a file: what comes through a pipe is put into one, shortened if it has no end."""
    if str(path) != _STDIN and not path.is_fifo():
        with LogFile(path) as log:
            yield log
        return
    from cr3scope.qemu.log_filter import LogFilter

    name = "standard input" if str(path) == _STDIN else str(path)
    folder = tempfile.mkdtemp(prefix="cr3scope-")
    try:
        target = Path(folder, "log")
        with target.open("wb") as out, _stream(path) as source:
            kept = LogFilter(out)
            while piece := source.read(_PIECE):
                kept.feed(piece)
            kept.finish()
        with LogFile(target, name) as log:
            yield log
    except OSError as error:
        raise UnusableInput(f"{name}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stream(path: Path) -> BinaryIO:
    return sys.stdin.buffer if str(path) == _STDIN else path.open("rb")


def verdict_of(report: LogReport) -> Verdict:
    """Return what the log alone says: nothing is predicted, so nothing is compared."""
    if report.ending is None:
        status = Status.HEALTHY
    else:
        status = Status.HUNG if report.ending is Ending.HANG else Status.FAULTED
    notes = tuple(Diagnostic(note) for note in report.notes)
    return Verdict(status, observation=observed(report), diagnostics=notes)


def story_verdict(story: Story) -> Verdict:
    """Return the verdict on a log that nobody watched growing."""
    verdict = verdict_of(story.report)
    if verdict.status is not Status.HEALTHY:
        return verdict
    seen = replace(observed(story.report), last=story.last)
    if story.reset:
        seen = replace(seen, detail=story.reset, last="")
        return replace(verdict, status=Status.FAULTED, observation=seen, diagnostics=())
    if story.tells_nothing:
        note = Diagnostic(story.tells_nothing)
        return replace(verdict, status=Status.INCOMPLETE, observation=seen, diagnostics=(note,))
    if story.report.records:
        return replace(verdict, observation=seen)
    return replace(verdict, observation=seen, diagnostics=(Diagnostic(_NO_EXCEPTION),))
