"""General registers of which some are known: what code that is only looked at leaves in them."""

from __future__ import annotations

from collections.abc import Mapping


class KnownRegisters:
    """Values by lower-case name. What is not known reads as None."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values: dict[str, int | None] = dict(values)

    def get(self, name: str) -> int | None:
        """Return the value of a 64-bit register or of a lower part of it.

        None if it is not known, and for AH to DH.
        """
        whole, bits = _whole(name)
        value = self._values.get(whole)
        is_high = len(name) == 2 and name[1] == "h"
        return None if value is None or is_high else value & (1 << bits) - 1

    def set(self, name: str, value: int | None) -> None:
        """Set a register or a part of it; a ``value`` of None makes it unknown.

        A 32-bit write clears the upper half; a smaller one leaves a mixture, which is unknown (Intel SDM volume
        1, 3.4.1.1).
        """
        whole, bits = _whole(name)
        self._values[whole] = None if value is None or bits < 32 else value & (1 << bits) - 1

    def all(self) -> dict[str, int | None]:
        """Return the 64-bit registers as they are now, None for those that are not known."""
        return dict(self._values)


def is_part_of(name: str, whole: str) -> bool:
    """Return whether ``name`` is the 64-bit register ``whole`` or a part of it."""
    return _whole(name)[0] == whole


def _whole(name: str) -> tuple[str, int]:
    """The 64-bit register that ``name`` is a part of, and how many bits of it that is."""
    if name.endswith("_base"):  # of FS and GS
        return name, 64
    if name[:1] == "r" and name[1:2].isdigit():
        return name.rstrip("dwb"), {"d": 32, "w": 16, "b": 8}.get(name[-1], 64)
    if name[:1] in ("r", "e"):
        return f"r{name[1:]}", 64 if name[0] == "r" else 32
    if len(name) == 2 and name[1] in "lh":
        return f"r{name[0]}x", 8
    return f"r{name.removesuffix('l')}", 16 if len(name) == 2 else 8
