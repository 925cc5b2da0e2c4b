"""What the model says the CPU will do."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.images.place import Place
from cr3scope.message import Message
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

NOTHING = Message("")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says the CPU will do. ``first`` and ``ends`` are None if it survives.

    ``diverges``: the first step, before any that faults, whose address leads to other memory than
    was meant. From there on the CPU works with other bytes than those that the plan tells of. ``step`` is named as the
    plan does, or by its role in followed code; without words if there is none.
    """

    survives: bool
    step: Message = NOTHING
    first: Fault | None = None
    ends: Ending | None = None
    chain: tuple[Message, ...] = ()  # one for each exception that follows
    number: int | None = None  # of the plan step; step 0 is the first fetch after mov cr3
    diverges: int | None = None
    diverges_words: Message = NOTHING
    place: Place | None = None  # of the first exception's RIP, as far as files tell
    followed: Message | None = None  # of code that was followed without a plan, and survives: how far
