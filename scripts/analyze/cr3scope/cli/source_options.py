"""What ``maps``, ``walk`` and ``diff`` share: naming a source, and where the report goes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cr3scope.errors import UnusableInput
from cr3scope.sources.capture_dump import DUMPS
from cr3scope.sources.open import open_source
from cr3scope.sources.source import Source
from cr3scope.text import printable

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SOURCE_HELP = "a capture, an ELF core of dump-guest-memory, or an image of physical memory"


def hexadecimal(text: str) -> int:
    """A 64-bit number in hex, with or without 0x, as logs and debuggers print them."""
    try:
        value = int(text.replace("`", ""), 16)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"not a 64-bit hexadecimal number: {printable(text)}")
    return value


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Options for what a source does not tell by itself."""
    group = parser.add_argument_group("what the source does not tell (numbers in hex)")
    for name, words in (
        ("--cr3", "root of the tables; needed for a memory image"),
        ("--cr4", "bit 12 (LA57) set: five levels"),
        ("--efer", "bit 11 (NXE) set: NX counts"),
    ):
        group.add_argument(name, metavar="X", type=hexadecimal, help=words)
    group.add_argument(
        "--base",
        metavar="X",
        type=hexadecimal,
        default=0,
        help="physical address where a memory image starts",
    )
    group.add_argument("--dump", choices=DUMPS, default="new", help="which dump of a capture")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Where the JSON goes."""
    parser.add_argument("--json", metavar="FILE", help="write the answer as JSON; - for stdout")


def open_named(arguments: argparse.Namespace, path: str) -> Source:
    """Opens a source with the options of the command line."""
    return open_source(
        path,
        cr3=arguments.cr3,
        cr4=arguments.cr4,
        efer=arguments.efer,
        base=arguments.base,
        dump=arguments.dump,
    )


def publish(
    document: Iterable[str], lines: Iterable[str], warnings: Iterable[str], target: str | None
) -> None:
    """Text to standard output and warnings to standard error; JSON to where it was asked for.

    With ``-`` as target nothing but JSON goes to standard output.
    """
    for warning in warnings:
        print(f"cr3scope: warning: {printable(warning)}", file=sys.stderr)
    if target == "-":
        sys.stdout.writelines(document)
        return
    if target is not None:
        try:
            with open(target, "w", encoding="utf-8") as file:
                file.writelines(document)
        except OSError as error:
            raise UnusableInput(f"{target}: {error.strerror}") from error
    sys.stdout.writelines(f"{line}\n" for line in lines)


def as_json(report: dict[str, object]) -> Iterator[str]:
    """A report of plain values as a document."""
    yield json.dumps(report) + "\n"
