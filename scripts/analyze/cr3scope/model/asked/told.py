"""What a comparison of the tables with the calls comes to: all that the rules ask of it, told at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cr3scope.dataclass import dataclass
from cr3scope.model.asked.aliases import Alias, common, conflicting_types
from cr3scope.model.asked.calls import Overwrite
from cr3scope.model.asked.compare import Comparison, Piece
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CR0_WP, CpuState
from cr3scope.x86.entry import USER, WRITABLE
from cr3scope.x86.platform import Platform


@dataclass(frozen=True, slots=True)
class Denied:
    """A piece that lacks the rights ``letters`` although they were asked for, and the entries that deny them."""

    piece: Piece
    letters: str
    guilty: tuple[EntryRef, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """How the tables differ from what was asked for.

    ``denied`` and the aliases are looked for one by one, and are no more than whoever asked will name. ``types``: names, by
    PAT index.
    """

    types: tuple[str, ...]
    overwrites: tuple[Overwrite, ...]
    unasked: tuple[Piece, ...]
    elsewhere: tuple[Piece, ...]
    stronger: tuple[tuple[Piece, str], ...]  # with the letters of what was not asked for
    denied: tuple[Denied, ...]
    other_type: tuple[Piece, ...]
    writable_and_executable: tuple[Alias, ...]  # one frame at two addresses
    both_as_asked: Piece | None  # the first range that may be written and executed, as its call wanted it
    conflicting: tuple[Alias, ...]  # memory types, outside identity maps
    conflicting_with_identity: Alias | None
    framebuffers: tuple[Piece, ...]


def told(comparison: Comparison, tables: Tables, cpu: CpuState, platform: Platform, most: int) -> Asked:
    """Return what the comparison comes to; ``tables``, ``cpu`` and ``platform`` are those that it was made of.

    ``most``: so many at most of what is looked for one by one.
    """
    writable, executable = comparison.granting("w", but="x"), comparison.granting("x", but="w")
    identity = comparison.of_role("identity")
    rest = ~identity
    return Asked(
        types=comparison.types,
        overwrites=comparison.overwrites,
        unasked=tuple(comparison.unasked()),
        elsewhere=tuple(comparison.elsewhere()),
        stronger=tuple(comparison.stronger()),
        denied=tuple(islice(_denied(comparison, tables, cpu, platform), most)),
        other_type=tuple(comparison.other_type()),
        writable_and_executable=tuple(islice(common(comparison, writable, executable), most)),
        both_as_asked=next(_both_as_asked(comparison), None),
        conflicting=tuple(islice(conflicting_types(comparison, rest, rest), most)),
        conflicting_with_identity=next(conflicting_types(comparison, rest, identity), None),
        framebuffers=tuple(comparison.pieces(comparison.of_role("framebuffer"))),
    )


def _denied(comparison: Comparison, tables: Tables, cpu: CpuState, platform: Platform) -> Iterator[Denied]:
    # A missing W strikes by itself as long as CR0.WP is set; X always does.
    for piece, letters in comparison.weaker("u" if cpu.cr0 & CR0_WP else "wu"):
        path = walk(tables, cpu, piece.virt, platform)
        if letters == "u" and path.leaf.value & USER:
            continue  # a parent denies it: upper-level-supervisor
        yield Denied(piece, letters, path.lacking(USER if "u" in letters else WRITABLE))


def _both_as_asked(comparison: Comparison) -> Iterator[Piece]:
    for piece in comparison.pieces(comparison.granting("wx")):
        if piece.named is not None and {"w", "x"} <= set(piece.named.rights or ""):
            yield piece
