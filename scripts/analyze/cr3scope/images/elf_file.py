"""How a user names an ELF twin. Apart from what reads it: to name one must cost no time."""

from __future__ import annotations

from pathlib import Path

from cr3scope.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ElfFile:
    """``base`` is where it was loaded, None if not said.

    Of a relocatable file (linked at 0) the base is added to every address; of any other it is
    where the lowest segment lies.
    """

    path: Path
    base: int | None = None
