"""``cr3scope maps --tree``: the tables of an address space as a tree, with what a trace says of it."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cr3scope import limits
from cr3scope.arrays import U64, integers
from cr3scope.cli.patience import patience
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.source import Source
from cr3scope.model.intent import Intent
from cr3scope.model.range_names import range_names
from cr3scope.paging.effective import Mappings
from cr3scope.paging.folded import Branch, Folded, Leads, folded
from cr3scope.paging.layers import Marks
from cr3scope.render.maps import name_words
from cr3scope.render.tree import Names


def look(arguments: argparse.Namespace, source: Source) -> tuple[Folded, Names, Marks]:
    """Return the tree, what a trace calls its pages, and which rule blames which entry."""
    with patience(f"walking the tables of {arguments.source}"):
        marks = _marks(arguments, source)
        tree = folded(source.tables, source.cpu, marked=marks)
        return tree, _names(tree, source), marks


def _names(tree: Folded, source: Source) -> Names:
    """What a trace says of each run of pages whose frames go on; nothing of those that stand for several."""
    if source.boot is None:
        return {}
    pages = [one for one in _all(tree.branches) if one.leads is Leads.PAGE and one.copies == one.pieces == 1]
    first, last, phys = (_column(values) for values in ([one.first for one in pages], [one.last for one in pages], [one.entry.frame for one in pages]))
    found = Mappings(first, last, phys, np.zeros_like(first), source.cpu.pat, mode=source.cpu.paging_mode)
    names = range_names(found, Intent(source.boot), is_planned=source.dump != "old")
    return {
        (one.entry.level, one.first): name_words(names.names[number])
        for one, number in zip(pages, integers(names.of_row), strict=True) if number >= 0
    }  # fmt: skip


def _column(values: list[int]) -> U64:
    return np.array(values, dtype=np.uint64)


def _all(branches: tuple[Branch, ...]) -> list[Branch]:
    return [one for branch in branches for one in (branch, *_all(branch.below))]


def _marks(arguments: argparse.Namespace, source: Source) -> Marks:
    """Whom the verdict blames: told of a capture of one boot that is judged in a moment, as its trace has it."""
    is_changed = any(getattr(arguments, name) is not None for name in ("cr0", "cr3", "cr4", "efer"))
    if source.boot is None or source.dump != "new" or is_changed:
        return {}
    path = Path(arguments.source)
    try:
        if not path.is_file() or path.stat().st_size > limits.TREE_JUDGED_BYTES:
            return {}
        from cr3scope.cli.analyze import judge  # half of the package
        from cr3scope.input.capture.file import read_capture_file

        capture = read_capture_file(path)
        if len(capture.boots) != 1:
            return {}
        verdict = judge(capture, None, ())
    except (OSError, UnusableInput):
        return {}
    from cr3scope.render.report.embed import guilty

    return {(entry.level, entry.phys): found.rule for entry, found in guilty(verdict.findings).items()}
