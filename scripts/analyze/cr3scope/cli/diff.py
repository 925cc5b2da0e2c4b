"""``cr3scope diff``: what two address spaces map differently."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import (
    SOURCE_HELP,
    add_json_option,
    add_source_options,
    as_json,
    hexadecimal,
    open_named,
    publish,
    refuse_table_options,
)
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.source import DUMPS, Source
from cr3scope.paging.compare import Space, space_differences, space_of
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.render.diff import as_blocks, as_dict, left_out
from cr3scope.render.range_row import incompleteness

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("diff", help="show how two address spaces differ")
    parser.add_argument("left", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("right", metavar="SOURCE", help="the one to compare it with")
    add_source_options(parser)
    other = parser.add_argument_group("for the second source, where it is not the same")
    other.add_argument("--right-cr3", metavar="X", type=hexadecimal, help="root of its tables")
    other.add_argument("--right-dump", choices=DUMPS, help="which dump of a capture")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print; return 0 if both map the same as far as both tell, 1 if they differ."""
    with patience(f"comparing {arguments.left} and {arguments.right}", arguments.left, arguments.right):
        left = open_named(arguments, arguments.left)
        right = open_named(_for_right(arguments), arguments.right)
        _refuse_idle_options(arguments, left, right)
        mine, other = _contents(left, right), _contents(right, left)
    warnings = [
        f"{path}: {warning}"
        for path, source, side in ((arguments.left, left, mine), (arguments.right, right, other))
        for warning in _warnings(source, side)
    ]
    spaces = _space(mine, other), _space(other, mine)
    warnings += left_out(spaces[0].tells, spaces[1].tells)
    found = space_differences(*spaces)
    report = as_json(as_dict(found, mine, other, warnings))
    lines = as_blocks(found, mine, other, (left.description, right.description))
    publish(report, lines, warnings, arguments.json)
    return 1 if found else 0


def _for_right(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options with which the second source is opened."""
    given = argparse.Namespace(**vars(arguments))
    given.cr3 = arguments.cr3 if arguments.right_cr3 is None else arguments.right_cr3
    given.dump = arguments.right_dump or arguments.dump
    return given


def _refuse_idle_options(
    arguments: argparse.Namespace, left: Source | Listing, right: Source | Listing
) -> None:
    """UnusableInput for an option that neither source can heed."""
    if isinstance(right, Listing):
        if isinstance(left, Listing):
            refuse_table_options(arguments, arguments.left, left)
        own = argparse.Namespace(cr3=arguments.right_cr3, dump=arguments.right_dump)
        refuse_table_options(own, arguments.right, right)


def _contents(source: Source | Listing, other: Source | Listing) -> Mappings | Listing:
    """What the source maps; a PAT that it does not tell is no difference."""
    if isinstance(source, Listing):
        return source
    cpu = source.cpu
    if isinstance(other, Source) and other.tells_pat and not source.tells_pat:
        cpu = replace(cpu, pat=other.cpu.pat)
    return mappings(source.tables, cpu)


def _space(side: Mappings | Listing, other: Mappings | Listing) -> Space:
    if isinstance(side, Listing):
        return side.space
    return space_of(side, types=not isinstance(other, Listing))


def _warnings(source: Source | Listing, side: Mappings | Listing) -> Iterator[str]:
    yield from source.warnings
    if not isinstance(side, Listing):
        yield from incompleteness(side)
