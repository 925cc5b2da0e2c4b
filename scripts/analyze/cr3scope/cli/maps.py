"""``cr3scope maps``: what an address space maps, with inherited rights."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr3scope.cli.patience import patience
from cr3scope.cli.source_options import (
    SOURCE_HELP,
    add_format_option,
    add_json_option,
    add_source_options,
    open_named,
    publish,
    refuse_table_options,
)
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.listing import Listing
from cr3scope.input.sources.source import Source
from cr3scope.model.intent import Intent
from cr3scope.model.range_names import RangeNames, range_names
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.render.maps import as_blocks, json_text
from cr3scope.render.range_row import incompleteness
from cr3scope.render.table import Block

if TYPE_CHECKING:
    from cr3scope.cli.source_options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("maps", help="list the effective mappings of an address space")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument(
        "--tree", action="store_true", help="show the tables level by level, runs of equal entries as one, and where a right is lost"
    )
    add_format_option(parser, "with --tree ")
    add_source_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the mappings and return 0: they are not judged."""
    _refuse_idle_format(arguments)
    with patience(f"reading {arguments.source}", arguments.source):
        source = open_named(arguments, arguments.source)
    if isinstance(source, Listing):
        if arguments.tree:
            raise UnusableInput(f"{arguments.source}: a {source.description} holds no tables: `maps` without --tree lists its ranges")
        refuse_table_options(arguments, arguments.source, source)
        from cr3scope.render import listing as listing_form

        text = listing_form.as_text(source)
        publish(listing_form.json_text(source), text, source.warnings, arguments.json)
        return 0
    if arguments.tree:
        return _tree(arguments, source)
    with patience(f"walking the tables of {arguments.source}"):
        found = mappings(source.tables, source.cpu)
    warnings = [*source.warnings, *incompleteness(found), *_about_pat(source)]
    names = _names(found, source)
    lines = as_blocks(found, source.tables, source.cpu, source.description, names)
    publish(json_text(found, warnings, names), lines, warnings, arguments.json)
    return 0


def _tree(arguments: argparse.Namespace, source: Source) -> int:
    from cr3scope.cli.maps_tree import look
    from cr3scope.render import tree as tree_form

    tree, names, marks = look(arguments, source)
    warnings = [*source.warnings, *tree_form.incompleteness(tree), *_about_pat(source)]
    lines: Iterable[Block] = tree_form.as_blocks(tree, source.description, names, marks)
    if arguments.format != "text":
        from cr3scope.render import tree_drawn

        draw = tree_drawn.as_svg if arguments.format == "svg" else tree_drawn.as_dot
        lines = draw(tree, source.description, names, marks)
    publish(tree_form.json_text(tree, warnings, names, marks), lines, warnings, arguments.json)
    return 0


def _refuse_idle_format(arguments: argparse.Namespace) -> None:
    if arguments.format == "text":
        return
    if not arguments.tree:
        raise UnusableInput(f"--format {arguments.format} draws the tables: it goes with --tree")


def _about_pat(source: Source) -> list[str]:
    return [] if source.tells_pat else ["the source does not tell the PAT: memory types are by its value at reset"]


def _names(found: Mappings, source: Source) -> RangeNames | None:
    """What a trace says of the ranges; None without one, or if it names none of them."""
    if source.boot is None:
        return None
    names = range_names(found, Intent(source.boot), is_planned=source.dump != "old")
    return names if names.names else None
