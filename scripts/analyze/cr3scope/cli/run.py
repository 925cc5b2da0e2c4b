"""``cr3scope run``: boots a QEMU, watches it until the guest is done, and judges."""

from __future__ import annotations

import argparse
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.elf_option import add_elf_option, check_twins
from cr3scope.cli.lint_files import FilesLinted
from cr3scope.cli.outputs import folder
from cr3scope.cli.results import add_result_options, reported
from cr3scope.cli.seconds import seconds
from cr3scope.cli.run_verdict import judge_run
from cr3scope.cli.who import add_who_options, boot_twice, boot_with_plugin, open_writers, work_folder
from cr3scope.errors import Ended, UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.qemu.capture_command import capture_by
from cr3scope.qemu.awaited import Awaited
from cr3scope.qemu.command import Command, kernel_of, read_command
from cr3scope.qemu.entry_watch import EntryWatch
from cr3scope.qemu.guest import watch
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.qmp import Qmp
from cr3scope.render.output_file import write_asked, write_whole

if TYPE_CHECKING:
    from cr3scope.qemu.guest import WriteWatch
    from cr3scope.qemu.switch_look import SwitchLook
    from cr3scope.verdict.types import Verdict

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SERIAL, LOG, COMMAND = "serial.log", "interrupts.log", "qemu.cmd"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run QEMU, observe the guest, and judge",
        description="Runs any QEMU command, adds what it takes to watch it (a log of interrupts,"
        " QMP, and the serial port if the command says nothing of it), ends it when the guest is"
        " done, and judges.",
    )
    parser.add_argument(
        "-o", dest="folder", metavar="DIR", type=folder, default=Path("cr3scope-run"),
        help=f"where {SERIAL}, {LOG} and {COMMAND} go (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=60.0,
        help="when a guest that is not done counts as hung (default: %(default)g)",
    )  # fmt: skip
    words = parser.add_argument_group("what the guest says on its serial port (Python's regular expressions)")
    for name, what in (("expect", "must be said, else the guest hung"), ("fail", "must not be said: the guest failed"),
                       ("until", "ends the run at once: the guest is done")):  # fmt: skip
        words.add_argument(f"--{name}", metavar="REGEX", type=_pattern, help=what)
    words.add_argument("--idle", metavar="SECONDS", type=seconds,
                       help="ends the run of a guest that has said nothing and halted for so long: it is done")  # fmt: skip
    add_elf_option(parser)
    parser.add_argument("--elf-kernel", action="store_true",
                        help="take the file behind QEMU's -kernel as --elf too: for a command that others complete, as cargo does")  # fmt: skip
    add_who_options(parser)
    add_result_options(parser)
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
    """Boot, judge, print; return the exit status of the verdict."""
    kernel = kernel_of(_words(arguments))
    name = str(kernel) if kernel is not None else Path(*_words(arguments)[:1]).name
    file = None if kernel is None else str(kernel)
    with reported(arguments, name, file):
        with watched(arguments) as (outcome, verdict):
            from cr3scope.cli.publish import publish

            publish(verdict, arguments, name, file, outcome.kept)
            return verdict.exit_status


@contextmanager
def watched(arguments: argparse.Namespace) -> Iterator[tuple[Outcome, Verdict]]:
    """Boot, and let the caller have what came of it, and the verdict; afterwards only what was captured is left."""
    try:
        command = _prepare(arguments)
    except (KeyboardInterrupt, Ended) as error:  # while it is watched, they end the watching
        raise UnusableInput("interrupted before QEMU was started") from error
    folder: Path = arguments.folder
    try:
        with work_folder(folder) as work:
            boots = partial(_boot, arguments)
            if arguments.who is False:
                came_of = boots(command, folder, arguments.timeout, None)
            else:
                how = boot_with_plugin if arguments.who else boot_twice
                came_of = how(command, folder, work, arguments.timeout, boots)
        yield came_of
    except OSError as error:
        raise UnusableInput(f"{error.filename or folder}: {error.strerror}") from error
    except (KeyboardInterrupt, Ended) as error:
        raise UnusableInput(f"interrupted while it was judged; {folder} has what was captured") from error


def _words(arguments: argparse.Namespace) -> list[str]:
    """The QEMU command, which may begin with ``--``."""
    words: list[str] = arguments.command
    return words[1:] if words[:1] == ["--"] else words


def _prepare(arguments: argparse.Namespace) -> Command:
    command = read_command(_words(arguments))
    if arguments.elf_kernel:
        if command.kernel is None:
            raise UnusableInput("--elf-kernel: the QEMU command has no -kernel")
        arguments.elf = [*arguments.elf, ElfFile(command.kernel)]
    check_twins(arguments.elf)
    folder: Path = arguments.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        line = command.to_repeat(folder / "again.log")
        write_whole(folder / COMMAND, [os.fsencode(line + "\n")])
    except OSError as error:
        raise UnusableInput(f"{error.filename or folder}: {error.strerror}") from error
    return command


def _boot(
    arguments: argparse.Namespace, command: Command, folder: Path, seconds: float, witness: WriteWatch | None
) -> tuple[Outcome, Verdict]:
    """What came of it, and the verdict."""
    linted = FilesLinted()
    awaited = Awaited(arguments.expect, arguments.fail, arguments.until, arguments.idle)
    examine = partial(_examine, folder, arguments.elf)
    meanwhile = partial(_meanwhile, linted, [file.path for file in arguments.elf], command.kernel)
    outcome = watch(command, folder, seconds, meanwhile, examine, _at_switch(arguments.elf), awaited, witness)
    for source, target in ((SERIAL, command.serial_copy), (LOG, command.log_file)):
        if target is not None:
            _copy(folder / source, target, outcome)
    program = command.words[0]
    if not outcome.started and outcome.reason is Reason.EXITED:
        raise UnusableInput(_did_not_start(program, outcome))
    if not outcome.started and outcome.reason is Reason.TIMEOUT:
        raise UnusableInput(_did_not_call(program, outcome))
    capture = _capture(arguments.capture_command, outcome)
    writers = open_writers(witness)
    caught = witness.caught if isinstance(witness, EntryWatch) else None
    try:
        return outcome, judge_run(capture, folder / LOG, arguments.elf, outcome, linted.wait(), writers, caught)
    finally:
        if writers is not None:
            writers.close()


def _at_switch(files: list[ElfFile]) -> SwitchLook | None:
    """Of a kernel that says in its file that it is handed a boot info."""
    if not any(ElfTwin(file.path).declared_accesses() for file in files):
        return None
    from cr3scope.qemu.switch_look import SwitchLook

    return SwitchLook(files)


def _pattern(text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(os.fsencode(text), re.MULTILINE)  # linear: as far as the user's own is, and bounded
    except (re.error, OverflowError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _meanwhile(linted: FilesLinted, files: list[Path], booted: Path | None) -> None:
    """While the firmware starts: by the time the guest is done the analyzer is loaded, and knows the files."""
    linted.start(files, booted)  # a thread: of a process that has no more to fork
    for name in ("cr3scope.cli.analyze", "cr3scope.images.symbols"):
        importlib.import_module(name)


def _copy(source: Path, target: Path, outcome: Outcome) -> None:
    """To where the command itself wanted it."""
    try:
        write_asked(target, [source.read_bytes()])
    except OSError as error:
        outcome.notes.append(f"{target}: {error.strerror}: see {source}")


def _did_not_start(program: str, outcome: Outcome) -> str:
    lines = [line for line in outcome.words.split("\n") if line.strip() and "warning:" not in line]
    own = f"{Path(program).name}: "
    printed = outcome.stdout.decode(errors="replace").strip().split("\n")[0]
    why = next((line for line in lines if line.startswith(own)), lines[0] if lines else printed)
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
        found = capture_by(command)
        if not found.why:
            return found.capture
        outcome.lose(f"--capture-command: {found.why}")
    if SENTINEL not in outcome.serial and SENTINEL in outcome.stdout:
        return outcome.stdout
    return outcome.serial


def _examine(folder: Path, files: list[ElfFile], qmp: Qmp, outcome: Outcome) -> None:
    from cr3scope.qemu.examine import audit_traced, examine

    if SENTINEL not in outcome.serial and SENTINEL not in outcome.stdout:
        examine(folder, folder / LOG, files, qmp, outcome)
    else:
        audit_traced(folder / LOG, qmp, outcome)
