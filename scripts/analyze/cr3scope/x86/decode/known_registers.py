"""General registers of which some are known: what code that is only looked at leaves in them."""

from __future__ import annotations

from collections.abc import Mapping

from cr3scope.x86.word import MASK32, MASK64


class KnownRegisters:
    """Values by lower-case name. What is not known reads as None."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values: dict[str, tuple[int, int]] = {name: (value, MASK64) for name, value in values.items()}  # with the bits that are known

    def get(self, name: str) -> int | None:
        """Return the value of a 64-bit register or of a part of it; None if not all of its bits are known."""
        whole, bits, shift = _part(name)
        value, known = self._values.get(whole, (0, 0))
        mask = (1 << bits) - 1
        return value >> shift & mask if known >> shift & mask == mask else None

    def set(self, name: str, value: int | None) -> None:
        """Set a register or a part of it; a ``value`` of None makes it unknown.

        A 32-bit write clears the upper half; a smaller one leaves the rest as it is (Intel SDM volume 1, 3.4.1.1).
        """
        whole, bits, shift = _part(name)
        before, known = self._values.get(whole, (0, 0))
        mask = (1 << bits) - 1 << shift
        if bits == 32:
            before, known = 0, known | MASK64 & ~MASK32
        if value is None:
            self._values[whole] = before & ~mask, known & ~mask
        else:
            self._values[whole] = before & ~mask | value << shift & mask, known | mask

    def all(self) -> dict[str, int | None]:
        """Return the 64-bit registers as they are now, None for those that are not known."""
        return {name: value if known == MASK64 else None for name, (value, known) in self._values.items()}


def is_part_of(name: str, whole: str) -> bool:
    """Return whether ``name`` is the 64-bit register ``whole`` or a part of it."""
    return _part(name)[0] == whole


def _part(name: str) -> tuple[str, int, int]:
    """The 64-bit register that ``name`` is a part of, how many bits of it that is, and from which one on."""
    if name.endswith("_base"):  # of FS and GS
        return name, 64, 0
    if name[:1] == "r" and name[1:2].isdigit():
        return name.rstrip("dwb"), {"d": 32, "w": 16, "b": 8}.get(name[-1], 64), 0
    if name[:1] in ("r", "e"):
        return f"r{name[1:]}", 64 if name[0] == "r" else 32, 0
    if len(name) == 2 and name[1] in "lh":
        return f"r{name[0]}x", 8, 8 if name[1] == "h" else 0
    return f"r{name.removesuffix('l')}", 16 if len(name) == 2 else 8, 0
