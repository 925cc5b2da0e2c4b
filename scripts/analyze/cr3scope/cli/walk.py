"""``cr3scope walk``: one address through the tables."""

from __future__ import annotations

import argparse
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
    refuse_long_address,
    refuse_table_options,
)
from cr3scope.input.sources.listing import Listing
from cr3scope.paging.walk import PageFault, Translation, access, walk
from cr3scope.render.walk import as_blocks, as_dict
from cr3scope.x86.access import AccessKind

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers

_KINDS = {"r": AccessKind.READ, "w": AccessKind.WRITE, "x": AccessKind.FETCH}


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "walk", help="show every entry that an address meets, and which one vetoes"
    )
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("address", metavar="ADDRESS", type=hexadecimal, help="virtual, in hex")
    parser.add_argument(
        "--access", choices=_KINDS, default="r", help="read, write or fetch (default: r)"
    )
    parser.add_argument("--user", action="store_true", help="at CPL 3 instead of as supervisor")
    add_source_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Walk and print; return 0 if the access goes through, 1 if it faults or the source does not tell."""
    with patience(f"reading {arguments.source}", arguments.source):
        source = open_named(arguments, arguments.source)
    virt, kind = arguments.address, _KINDS[arguments.access]
    mode = "user" if arguments.user else "supervisor"
    if isinstance(source, Listing):
        refuse_table_options(arguments, arguments.source, source)
        from cr3scope.input.sources.listed_access import Outcome, listed_access
        from cr3scope.render import listing_walk

        listed = listed_access(source, virt, kind, arguments.user)
        answer = listing_walk.as_text(listed, f"a {mode} {kind.value}")
        report = as_json(listing_walk.as_dict(listed))
        publish(report, answer, source.warnings, arguments.json)
        return 0 if listed.outcome is Outcome.TRANSLATED else 1
    refuse_long_address(source, virt)
    path = walk(source.tables, source.cpu, virt)
    found: Translation | PageFault | None = access(source.tables, source.cpu, virt, kind, user=arguments.user)
    warnings = list(source.warnings)
    if path.missing_table is not None:
        found = None if source.is_partial else found  # the machine may have it
        warnings.append(f"the source does not hold the table at {path.missing_table:#x}")
    lines = as_blocks(path, found, f"a {mode} {kind.value}")
    report = as_json(as_dict(path, found, warnings, source.cpu.paging_mode))
    publish(report, lines, warnings, arguments.json)
    return 0 if isinstance(found, Translation) else 1
