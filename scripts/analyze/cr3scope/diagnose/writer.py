"""Who wrote a word of memory that a finding is about."""

from __future__ import annotations

from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.input.writers.layout import Part
from cr3scope.x86.word import QWORD


class When(Enum):
    """How a store lies to the switch of the tables."""

    BEFORE = "before the switch"
    AFTER = "after the switch"
    UNKNOWN = "at a time of which nobody knows"


@dataclass(frozen=True, slots=True)
class Writer:
    """The instruction at ``rip`` that stored last to what a finding is about; None if no code of the guest ever did.

    ``place`` and ``callers`` are ``file:line``, ``function+0xOFFSET``, ``IMAGE+0xOFFSET`` or an address; ``callers`` the newest first. ``what``: the
    thing that was written, where that is not the finding's entry; ``part``: which part of it. ``old`` and ``new``: its bytes, None if nobody knows.
    ``instructions``: at most so many were executed by that CPU from then to the switch; None if nobody counted. ``others``: who
    wrote what else the finding is about, as the other half of an entry that was made by two stores. ``lost``: the place of the store
    that was last there and left ``new``, where memory has been changed since, and not by an instruction; "" otherwise.
    """

    phys: int
    rip: int | None = None
    place: str = ""
    old: int | None = None
    new: int | None = None
    callers: tuple[str, ...] = ()
    cpu: int = 0
    when: When = When.UNKNOWN
    instructions: int | None = None
    what: str = ""
    part: Part = Part.WHOLE
    others: tuple[Writer, ...] = ()
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Caught:
    """A store behind which the guest was stopped: by the instruction at ``rip``; what the word held before (None if nobody knows), and
    holds since.
    """

    phys: int
    rip: int
    old: int | None
    new: int
    cpu: int


@dataclass(frozen=True, slots=True)
class GuiltyWord:
    """A word that a finding of a rule is about, though it is no entry: a gate, a descriptor, code, a word of the stack.

    ``width``: its bytes, 4 or 8. ``ignored``: bits of ``value`` that the CPU changes by itself. ``is_past``: the CPU took the value
    from there, and may have pushed something over it since.
    """

    rule: str
    what: str
    phys: int
    value: int
    width: int = QWORD
    ignored: int = 0
    is_past: bool = False
