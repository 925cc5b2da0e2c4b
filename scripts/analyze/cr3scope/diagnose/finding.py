"""One thing that is wrong, or worth knowing."""

from __future__ import annotations

from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.writer import Writer
from cr3scope.message import Message
from cr3scope.model.changes import Mend
from cr3scope.x86.access import EntryRef

MOST_NAMED = 4  # of like things that one rule names; of the rest it says how many


class Severity(Enum):
    """How bad a finding is: ``ERROR`` faults or corrupts, ``WARNING`` bites elsewhere or later."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (or worth knowing), with its proof and its mend.

    ``title`` and ``proof`` carry typed facts; ``mends`` are changes of the tables that were tried in the model,
    ``fix`` is what the rule advises. ``range`` is inclusive. ``source`` is ``file:line`` of the code that made
    the entry. ``also``: what else was found of the same entry, and says less.
    """

    rule: str
    severity: Severity
    title: Message
    proof: tuple[Message, ...]
    fix: Message
    mends: tuple[Mend, ...] = ()
    entry: EntryRef | None = None
    range: tuple[int, int] | None = None
    source: str | None = None
    step: int | None = None  # the plan step that strikes it, for the order of findings
    also: tuple[Finding, ...] = ()
    writer: Writer | None = None  # None if nobody has looked, or it is not certain
