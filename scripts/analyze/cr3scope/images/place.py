"""What is at an address, by the files and images that are known."""

from __future__ import annotations

from cr3scope.dataclass import dataclass



@dataclass(frozen=True, slots=True)
class Place:
    """What is at an address: ``symbol`` as ``name+0x12``, ``source`` as ``file:line``, ``image`` (that
    the firmware loaded) as ``name.efi+0x12``.

    Of a return address, symbol and line are those of the call.
    """

    name: str  # "RIP", "CR2", "stack": a return address
    address: int
    symbol: str | None = None
    source: str | None = None
    image: str | None = None
