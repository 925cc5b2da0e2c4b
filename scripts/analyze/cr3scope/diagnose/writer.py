"""Who wrote a word of memory that a finding is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class When(Enum):
    """How a store lies to the switch of the tables."""

    BEFORE = "before the switch"
    AFTER = "after the switch"
    UNKNOWN = "at a time of which nobody knows"


@dataclass(frozen=True, slots=True)
class Writer:
    """The instruction at ``rip`` that stored last to what a finding is about; None if no code of the guest ever did.

    ``place`` and ``callers`` are ``file:line``, ``function+0xOFFSET``, ``IMAGE+0xOFFSET`` or an address; ``callers`` the newest first. ``what``: the
    thing that was written, where that is not the finding's entry. ``old`` and ``new``: the 8 bytes, None if nobody knows.
    ``instructions``: at most so many were executed by that CPU from then to the switch; None if nobody counted.
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


@dataclass(frozen=True, slots=True)
class GuiltyWord:
    """A word that a finding of a rule is about, though it is no entry: a gate, a descriptor, code, a word of the stack."""

    rule: str
    what: str
    phys: int
    value: int
