"""``cr3scope maps``: what an address space maps, with inherited rights."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import (
    SOURCE_HELP,
    add_json_option,
    add_source_options,
    open_named,
    publish,
    refuse_table_options,
)
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.source import Source
from cr3scope.model.intent import Intent
from cr3scope.model.range_names import RangeNames, range_names
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.render.maps import as_blocks, incompleteness, json_text

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("maps", help="list the effective mappings of an address space")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    add_source_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the mappings and return 0: they are not judged."""
    with patience(f"reading {arguments.source}"):
        source = open_named(arguments, arguments.source)
    if isinstance(source, Listing):
        refuse_table_options(arguments, arguments.source, source)
        from cr3scope.render import listing as listing_form

        text = listing_form.as_text(source)
        publish(listing_form.json_text(source), text, source.warnings, arguments.json)
        return 0
    with patience(f"walking the tables of {arguments.source}"):
        found = mappings(source.tables, source.cpu)
    warnings = [*source.warnings, *incompleteness(found)]
    if not source.tells_pat:
        warnings.append("the source does not tell the PAT: memory types are by its value at reset")
    names = _names(found, source)
    lines = as_blocks(found, source.tables, source.cpu, source.description, names)
    publish(json_text(found, warnings, names), lines, warnings, arguments.json)
    return 0


def _names(found: Mappings, source: Source) -> RangeNames | None:
    """What a trace says of the ranges; None without one, or if it names none of them."""
    if source.boot is None:
        return None
    names = range_names(found, Intent(source.boot), is_planned=source.dump != "old")
    return names if names.names else None
