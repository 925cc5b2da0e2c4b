"""``cr3scope diff``: what two address spaces map differently."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cr3scope.cli.source_options import (
    SOURCE_HELP,
    add_json_option,
    add_source_options,
    as_json,
    hexadecimal,
    open_named,
    publish,
)
from cr3scope.paging.compare import differences
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.effective import mappings
from cr3scope.render.diff import as_dict, as_text
from cr3scope.render.maps import incompleteness
from cr3scope.sources.capture_dump import DUMPS
from cr3scope.sources.source import Source

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Adds the verb to the command line."""
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
    """0 if both map the same, 1 if they differ."""
    left = open_named(arguments, arguments.left)
    if arguments.right_cr3 is not None:
        arguments.cr3 = arguments.right_cr3
    arguments.dump = arguments.right_dump or arguments.dump
    right = open_named(arguments, arguments.right)
    mine = mappings(left.tables, _with_pat_of(right, left))
    other = mappings(right.tables, _with_pat_of(left, right))
    warnings = [
        f"{path}: {warning}"
        for path, source, side in (
            (arguments.left, left, mine),
            (arguments.right, right, other),
        )
        for warning in (*source.warnings, *incompleteness(side))
    ]
    found = differences(mine, other)
    report = as_json(as_dict(found, mine, other, warnings))
    lines = as_text(found, mine, other, (left.description, right.description))
    publish(report, lines, warnings, arguments.json)
    return 1 if found else 0


def _with_pat_of(other: Source, source: Source) -> CpuState:
    """The source's state; a PAT that it does not tell is no difference."""
    if other.tells_pat and not source.tells_pat:
        return source.cpu.with_(pat=other.cpu.pat)
    return source.cpu
