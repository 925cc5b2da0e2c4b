"""``cr3scope map``: an address space as one sees it, level by level."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import (
    SOURCE_HELP,
    add_format_option,
    add_json_option,
    add_source_options,
    as_json,
    hexadecimal,
    open_named,
    publish,
    refuse_long_address,
)
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.source import Source
from cr3scope.paging.walk import Reason, Walk, walk
from cr3scope.render import map as map_form
from cr3scope.render.strips import strips
from cr3scope.render.terminal import wants_colour

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "map", help="show the tables on the way of an address, a cell for each entry"
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument(
        "address", metavar="ADDRESS", nargs="?", type=hexadecimal,
        help="virtual, in hex (default: the first access that a capture plans, else 0)",
    )  # fmt: skip
    add_format_option(parser)
    add_source_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the strips and return 0: they are not judged. UnusableInput of a source that holds no tables."""
    with patience(f"reading {arguments.source}", arguments.source):
        source = open_named(arguments, arguments.source)
    if isinstance(source, Listing):
        raise UnusableInput(f"{arguments.source}: a {source.description} holds no tables: `maps` lists its ranges")
    virt = arguments.address
    if virt is None:
        steps = sorted(source.boot.plan, key=lambda step: step.step) if source.boot else []
        virt = steps[0].virt if steps else 0
    refuse_long_address(source, virt)
    path = walk(source.tables, source.cpu, virt)
    warnings = list(source.warnings)
    if path.stop is Reason.NON_CANONICAL:
        raise UnusableInput(f"{virt:#x}: {path.stop.value}")
    if path.missing_table is not None:
        warnings.append(f"the source does not hold the table at {path.missing_table:#x}")
    head = f"the way of {virt:#x} under CR3={source.cpu.cr3:#x}"
    document = as_json(map_form.as_dict(source.tables, source.cpu, path, warnings))
    publish(document, _answer(arguments.format, source, path, head), warnings, arguments.json)
    return 0


def _answer(form: str, source: Source, path: Walk, head: str) -> Iterator[str]:
    if form == "text":
        yield head
        yield from strips(source.tables, source.cpu, path, wants_colour(sys.stdout))
        return
    from cr3scope.render import strips_drawn

    draw = strips_drawn.as_svg if form == "svg" else strips_drawn.as_dot
    yield from draw(source.tables, source.cpu, path, head)
