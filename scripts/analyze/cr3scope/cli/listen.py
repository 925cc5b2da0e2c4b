"""``cr3scope listen``: waits at a machine's console, shows what is said, and judges each boot."""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.elf_option import add_elf_option, check_twins
from cr3scope.cli.publish import publish
from cr3scope.cli.outputs import folder, takes_stdout
from cr3scope.cli.results import Unwritten, add_result_options, reported
from cr3scope.cli.seconds import seconds
from cr3scope.cli.streams import say
from cr3scope.errors import Ended, UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.numbers import decimal
from cr3scope.qemu.signals import Signals
from cr3scope.render import json as json_form
from cr3scope.render.output_file import write_whole
from cr3scope.text import printable
from cr3scope.wire.files import prepare
from cr3scope.wire.heard import Heard
from cr3scope.wire.line import Absent, Line, open_line
from cr3scope.wire.listener import Listener, Patience
from cr3scope.wire.reader import Reader
from cr3scope.wire.shown import Shown
from cr3scope.wire.source import Source, read_source

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_USUAL_IDLE = 15.0
_MOST_BOOTS, _MOST_BAUD = 1 << 20, 1 << 24
_WHOLE_DOCUMENTS = ("html", "junit", "sarif", "codequality")  # of which two, one behind the other, are none
_WORST_FIRST = (1, 2)  # an error; not enough to judge


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "listen",
        help="listen at a real machine's serial line, or a console, and judge each boot",
        description="Shows what a machine says on its console, keeps each boot in a file of its own, and judges it when"
        " its trace has ended, it has fallen silent, or it begins to boot again. Goes on until Ctrl-C, or --boots. A form"
        " of the verdict that is asked for is that of the last boot; on standard output JSON has a line for each.",
    )
    parser.add_argument(
        "source", metavar="SOURCE",
        help="a serial device, HOST:PORT (or tcp:HOST:PORT), a unix socket (or unix:PATH), a pipe; - for standard input",
    )  # fmt: skip
    parser.add_argument("--baud", metavar="N", type=_baud, help="speed of a serial line (default: 115200)")
    parser.add_argument(
        "-o", dest="folder", metavar="DIR", type=folder, default=Path("cr3scope-listen"),
        help="where boot-NNN.log, what was said, and boot-NNN.json go; nothing there is written over (default: %(default)s)",
    )  # fmt: skip
    until = parser.add_argument_group("when to judge, and to end")
    until.add_argument("--idle", metavar="SECONDS", type=seconds, default=_USUAL_IDLE,
                       help="judge a machine that has said nothing for so long (default: %(default)g)")  # fmt: skip
    until.add_argument("--once", dest="boots", action="store_const", const=1, help="end after one boot, as --boots 1")
    until.add_argument("--boots", metavar="N", type=_count, help="end after so many boots; one that was not heard from its beginning is not counted")
    until.add_argument("--timeout", metavar="SECONDS", type=seconds, help="end after so long, and judge what has come")
    until.add_argument("--wait", action="store_true", help="wait for a source that is not there yet")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show what is said")
    add_elf_option(parser)
    add_result_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge and print each boot that is heard; return the worst exit status of the boots."""
    with reported(arguments, arguments.source, None):
        return _listen(arguments)


def _listen(arguments: argparse.Namespace) -> int:
    only = takes_stdout(arguments)
    if only in _WHOLE_DOCUMENTS:
        raise UnusableInput(f"--{only} -: a document for each boot would be none together: --{only} FILE has that of the last one")
    check_twins(arguments.elf)
    prepare(arguments.folder)
    source = read_source(arguments.source, may_be_absent=arguments.wait)
    ear = _Ear(arguments, source)
    with Signals() as signals:
        reader = _reader(source, arguments)
        try:
            ear.begin()
            Listener(reader, arguments.folder, Patience(arguments.idle, arguments.timeout), ear, signals).run()
        except (KeyboardInterrupt, Ended) as error:
            raise UnusableInput(f"interrupted while it was judged; {arguments.folder} has what was heard") from error
        finally:
            reader.close()
    return ear.status()


def _reader(source: Source, arguments: argparse.Namespace) -> Reader:
    """UnusableInput if it is not there, unless that is waited for."""
    opener = partial(open_line, source, arguments.baud)
    line: Line | None
    try:
        line = opener()
    except Absent as error:
        if not arguments.wait:
            raise UnusableInput(f"{error} (--wait waits for it)") from error
        say(f"cr3scope: {printable(str(error))}: waiting for it")
        line = None
    return Reader(line, opener if source.comes_again else None)


class _Ear:
    """Shows what is said on standard error, and verdicts on standard output."""

    def __init__(self, arguments: argparse.Namespace, source: Source) -> None:
        self._arguments, self._source = arguments, source
        self._elf: list[ElfFile] = arguments.elf
        self._shown = Shown()
        self._shows = not (arguments.quiet or arguments.github)  # whose runner reads commands from standard error, too
        self._statuses: dict[int, tuple[int, bool]] = {}  # by the boot's number; was it heard from its beginning
        self._refused: list[str] = []  # what could not be written

    def begin(self) -> None:
        """Tell where it listens."""
        if not self._arguments.quiet:
            self.remark("listening (Ctrl-C ends)")
        importlib.import_module("cr3scope.cli.listen_verdict")  # takes a while; what comes meanwhile waits

    def said(self, data: bytes) -> None:
        """Show the lines that are complete."""
        if self._shows:
            self._show(self._shown.feed(data))

    def quiet(self) -> None:
        """Show what has no end yet."""
        self._show(self._shown.rest())

    def remark(self, words: str) -> None:
        """Say a line about the listening."""
        say(f"cr3scope: {printable(f'{self._source.name}: {words}')}")

    def heard(self, boot: Heard) -> bool:
        """Judge a boot, and print the verdict. Return whether more boots are wanted."""
        from cr3scope.cli.listen_verdict import judge_heard

        verdict, is_whole = judge_heard(boot, self._elf)
        if takes_stdout(self._arguments) is None:
            head = f"boot {boot.number}, {boot.total} bytes in {boot.seconds:.1f} s, kept in {boot.path}: {boot.end.value}"
            sys.stdout.write(f"\n{printable(head)}\n")
        kept = boot.path.with_suffix(".json")
        heard = json_form.HeardBoot(boot.number, str(boot.path), boot.total, boot.seconds, boot.end.code)
        try:
            write_whole(kept, [json_form.render(verdict, heard=heard).encode()])
        except OSError as error:
            self._refused.append(f"{kept}: {error.strerror}")
        try:
            publish(verdict, self._arguments, str(boot.path), str(boot.path), heard=heard)
        except Unwritten as error:
            self._refused.append(str(error))
        sys.stdout.flush()
        self._statuses[boot.number] = verdict.exit_status, is_whole  # one that goes on after its verdict may get another
        counted = sum(is_whole for _, is_whole in self._statuses.values())
        return self._arguments.boots is None or counted < self._arguments.boots

    def status(self) -> int:
        """Return the worst status of all boots that were heard from their beginning; of the others, if there is none.

        UnusableInput if nothing was heard, Unwritten if something could not be written.
        """
        if self._refused:
            raise Unwritten("; ".join(dict.fromkeys(self._refused)))
        whole = [status for status, is_whole in self._statuses.values() if is_whole]
        statuses = whole or [status for status, _ in self._statuses.values()]
        if not statuses:
            raise UnusableInput(f"{self._source.name}: nothing was heard")
        return next((status for status in _WORST_FIRST if status in statuses), 0)

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            say(line)


def _baud(text: str) -> int:
    value = decimal(text, _MOST_BAUD)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed: a number, as 115200")
    return value


def _count(text: str) -> int:
    value = decimal(text, _MOST_BOOTS)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of boots")
    return value
