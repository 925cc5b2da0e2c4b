"""``cr3scope triage``: a log or a paste in, a verdict out. It needs no capture."""

from __future__ import annotations

import argparse
import os
import select
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from cr3scope.cli.elf_option import add_elf_option
from cr3scope.cli.patience import patience
from cr3scope.cli.results import add_result_options, reported
from cr3scope.errors import UnusableInput
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.verdict.log import judge_log
from cr3scope.wire.source import STDIN

if TYPE_CHECKING:
    from cr3scope.images.elf_file import ElfFile
    from cr3scope.images.symbols import Symbols
    from cr3scope.verdict.types import Verdict

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_STDIN_NAME = "standard input"
_STDIN_DEVICE = "/dev/stdin"
_PIECE = 1 << 20
_PATIENCE_SECONDS = 0.5


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "triage",
        help="find in a log, or in what people paste, what a guest did not survive",
        description="Finds the boot that died, the event that it did not survive, why that could not be delivered, and"
        " what the log shows of the cause. Logs of QEMU, KVM, Bochs and VirtualBox are read, exception screens of the"
        " firmware, an oops of Linux or Xen, and any text that holds some of them.",
    )
    parser.add_argument(
        "log", metavar="LOG", type=Path,
        help="what QEMU wrote with `-d int,cpu_reset -D LOG`, or any of the above; - for standard input",
    )  # fmt: skip
    parser.add_argument(
        "--capture", metavar="FILE", type=Path,
        help="the trace of the same run: joins the log with the tables",
    )  # fmt: skip
    add_elf_option(parser)
    add_result_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge, print, and return the exit status of the verdict."""
    name = _STDIN_NAME if str(arguments.log) == STDIN else str(arguments.log)
    file = None if name == _STDIN_NAME else name
    with reported(arguments, name, file):
        verdict = _verdict(arguments)
        from cr3scope.cli.publish import publish

        publish(verdict, arguments, name, file)
    return verdict.exit_status


def _verdict(arguments: argparse.Namespace) -> Verdict:
    with patience(f"reading {arguments.log}", _STDIN_DEVICE if str(arguments.log) == STDIN else arguments.log), opened(arguments.log) as log:
        if arguments.capture is None:
            return judge_log(read_story(log), _symbols(arguments.elf))
        from cr3scope.cli import analyze
        from cr3scope.input.capture.file import read_capture_file

        return analyze.judge_with(read_capture_file(arguments.capture), log, arguments.elf)


def _symbols(elf_files: Sequence[ElfFile]) -> Symbols | None:
    if not elf_files:
        return None
    from cr3scope.images.symbols import Symbols

    return Symbols((), elf_files)


@contextmanager
def opened(path: Path) -> Iterator[LogFile]:
    """Open the log as a file: what comes through a pipe is put into one, shortened if it has no end."""
    if str(path) != STDIN and not path.is_fifo():
        with LogFile(path) as log:
            yield log
        return
    from cr3scope.input.logs.int_log.log_filter import LogFilter

    name = _STDIN_NAME if str(path) == STDIN else str(path)
    with _copy(name) as copy:
        try:
            with _stream(path) as source:
                kept = LogFilter(copy)
                for piece in pieces(source):
                    kept.feed(piece)
                kept.finish()
        except OSError as error:
            raise UnusableInput(f"{name}: {error.strerror}") from error
        with LogFile(Path(f"/dev/fd/{copy.fileno()}"), name) as log:
            yield log


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """Yield what comes, until its end. A signal that comes right before a read would wait as long as that does: none waits long."""
    while True:
        while not select.select([source], [], [], _PATIENCE_SECONDS)[0]:
            pass
        piece = os.read(source.fileno(), _PIECE)
        if not piece:
            return
        yield piece


def _copy(name: str) -> BinaryIO:
    """A file without a name: however the command ends, nothing of it is left."""
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(prefix="cr3scope-"))
    except OSError as error:
        raise UnusableInput(f"{name}: no room for a copy (TMPDIR): {error.strerror}") from error


def _stream(path: Path) -> BinaryIO:
    return sys.stdin.buffer if str(path) == STDIN else path.open("rb")
