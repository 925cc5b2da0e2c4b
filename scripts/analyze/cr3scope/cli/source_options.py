"""What ``maps``, ``walk`` and ``diff`` share: naming a source, and where the report goes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.outputs import add_output
from cr3scope.cli.patience import patience
from cr3scope.cli.streams import say
from cr3scope import numbers
from cr3scope.errors import UnusableInput
from cr3scope.render.output_file import STDOUT, write_asked
from cr3scope.render.table import Block, lines_of
from cr3scope.render.terminal import show, wants_colour
from cr3scope.text import printable
from cr3scope.x86.word import MASK32

if TYPE_CHECKING:  # numpy: not every verb that prints JSON needs it
    from cr3scope.input.sources.listing import Listing
    from cr3scope.input.sources.source import Source

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SOURCE_HELP = (
    "a capture, an ELF core of dump-guest-memory, an image of physical memory, or the text of"
    " `info tlb`, `info mem` or Linux' page-table dump"
)
FORMATS = ("text", "svg", "dot")
_FOR_TABLES = ("cr0", "cr3", "cr4", "efer", "base", "dump")


def hexadecimal(text: str) -> int:
    """Return a 64-bit number in hex, with or without 0x, as logs and debuggers print them."""
    value = numbers.hexadecimal(text.replace("`", ""))
    if value is None:
        raise argparse.ArgumentTypeError(f"not a 64-bit hexadecimal number: {printable(text)}")
    return value


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add options for what a source does not tell by itself."""
    from cr3scope.input.sources.source import DUMPS

    group = parser.add_argument_group("what the source does not tell (numbers in hex)")
    for name, words in (
        ("--cr0", "bit 16 (WP) clear: a supervisor writes to read-only pages"),
        ("--cr3", "root of the tables; needed for a memory image"),
        ("--cr4", "bit 12 (LA57) set: five levels; bit 5 (PAE) clear: 32-bit paging, with 4 MiB pages if bit 4 (PSE) is set"),
        ("--efer", "bit 11 (NXE) set: NX counts; bit 10 (LMA) clear, and --cr4 given: PAE paging"),
    ):
        group.add_argument(name, metavar="X", type=hexadecimal, help=words)
    group.add_argument(
        "--base",
        metavar="X",
        type=hexadecimal,
        help="physical address where a memory image starts",
    )
    group.add_argument(
        "--dump", choices=DUMPS, help="which dump of a capture (default: new)"
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where the JSON goes."""
    add_output(parser, "json", "write the answer as JSON")


def add_format_option(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Add the option that chooses between text and pictures on standard output."""
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0],
        help=f"text (default), or {of}a picture for a paper or an issue: SVG, or a graph for graphviz's dot",
    )  # fmt: skip


def open_named(arguments: argparse.Namespace, path: str) -> Source | Listing:
    """Open a source with the options of the command line."""
    from cr3scope.input.sources.open import open_any

    return open_any(
        path,
        cr0=arguments.cr0,
        cr3=arguments.cr3,
        cr4=arguments.cr4,
        efer=arguments.efer,
        base=arguments.base or 0,
        dump=arguments.dump or "new",
    )


def refuse_table_options(arguments: argparse.Namespace, path: str, listing: Listing) -> None:
    """Raise UnusableInput if the command line tells of tables, which a listing does not hold."""
    given = [f"--{name}" for name in _FOR_TABLES if getattr(arguments, name, None) is not None]
    if given:
        raise UnusableInput(
            f"{path}: a {listing.description} holds no tables: {', '.join(given)} cannot apply"
        )


def refuse_long_address(source: Source, virt: int) -> None:
    """Raise UnusableInput if the source's mode of paging has no such address."""
    if source.cpu.has_short_addresses and virt > MASK32:
        raise UnusableInput(f"{virt:#x}: in {source.cpu.paging_mode.value} paging an address has 32 bits")


def publish(
    document: Iterable[str], blocks: Iterable[Block], warnings: Iterable[str], target: str | None
) -> None:
    """Print text to standard output and warnings to standard error; write JSON to where it was asked for.

    With ``-`` as target nothing but JSON goes to standard output.
    """
    for warning in warnings:
        say(f"cr3scope: warning: {printable(warning)}")
    if target == STDOUT:
        _print(document)
        return
    refused = _write(target, document) if target is not None else ""
    if wants_colour(sys.stdout):
        show(blocks, sys.stdout)
    else:
        _print(f"{line}\n" for line in lines_of(blocks))
    if refused:
        raise UnusableInput(refused)


def _write(target: str, document: Iterable[str]) -> str:
    """What went wrong, "" if nothing did."""
    try:
        with patience(f"writing {target}"):
            write_asked(Path(target).absolute(), (piece.encode(errors="backslashreplace") for piece in document))
    except OSError as error:
        return f"{target}: {error.strerror}"
    return ""


def _print(pieces: Iterable[str]) -> None:
    """Pieces of many megabytes in all take the short way around the text layer."""
    out = sys.stdout
    out.flush()
    with nullcontext() if out.isatty() else patience("writing the answer"):  # on a terminal one sees it come
        for piece in pieces:
            out.buffer.write(piece.encode(out.encoding, out.errors or "strict"))


def as_json(report: dict[str, object]) -> Iterator[str]:
    """Yield a report of plain values as a document."""
    yield json.dumps(report) + "\n"
