"""How sizes read."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_text(size: int) -> str:
    """Return a size as ``2 MiB``, with one decimal where it is not whole."""
    unit = 0
    value = float(size)
    while round(value, 1) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value.is_integer() else f"{value:.1f} {_UNITS[unit]}"


def page_name(size: int) -> str:
    """Return the size of a page as ``2M``; ``-`` for 0, where nobody tells it."""
    return size_text(size).replace(" ", "").removesuffix("iB") if size else "-"
