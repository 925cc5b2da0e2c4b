"""``cr3scope lint``: what a kernel's file or a .efi image shows before anybody boots it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.outputs import takes_stdout
from cr3scope.cli.results import add_ci_options, judged_for_ci, shown
from cr3scope.cli.source_options import add_json_option, as_json, publish
from cr3scope.cli.streams import say
from cr3scope.diagnose.lint import Linted, lint
from cr3scope.errors import UnusableInput
from cr3scope.render.lint import Refused, as_blocks, as_dict
from cr3scope.render.table import Block, lines_of
from cr3scope.text import printable

if TYPE_CHECKING:
    from cr3scope.render.ci.judged import Judged

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "lint",
        help="find in a kernel's file or a .efi image what will not boot, without booting it",
        description="Looks at ELF kernels (Multiboot, Multiboot2, Limine, a loader of your own), .efi images and Linux"
        " kernels: entry, segments, rights, headers, code that uses the red zone or SSE, against what the boot protocol demands.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="an ELF file, a .efi image, a Linux kernel")
    add_json_option(parser)
    add_ci_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at each file and print; return 2 if one cannot be used, else 1 if one has an error, else 0."""
    seen: list[Linted | Refused] = []
    for path in arguments.files:
        with patience(f"reading {path}", path):
            seen.append(_one(path))
    refused = _publish(seen, arguments)
    for file in seen:
        if isinstance(file, Refused):
            say(f"cr3scope: {printable(file.why)}")
    if refused:
        raise UnusableInput("; ".join(refused))
    if any(isinstance(file, Refused) for file in seen):
        return 2
    return int(any(isinstance(file, Linted) and file.has_error for file in seen))


def _publish(seen: Sequence[Linted | Refused], arguments: argparse.Namespace) -> list[str]:
    """What went wrong with files for CI."""
    only = takes_stdout(arguments)
    hidden = arguments.github and only is None  # names in a file are no commands to who reads what is printed
    blocks: Iterable[Block] = as_blocks(seen) if only is None else ()
    if hidden:
        sys.stdout.write(shown(arguments, "".join(f"{line}\n" for line in lines_of(blocks))))
        blocks = ()
    publish(as_json(as_dict(seen)), blocks, (), arguments.json)

    def judged() -> Sequence[Judged]:
        from cr3scope.render.ci.judged import of_file

        return [of_file(file) for file in seen]

    return judged_for_ci(arguments, judged)


def _one(path: Path) -> Linted | Refused:
    try:
        return lint(path)
    except UnusableInput as error:
        return Refused(path, str(error))
