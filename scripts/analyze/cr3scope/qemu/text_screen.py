"""The VGA text screen of a guest that has not left the BIOS's 80 by 25 characters."""

from __future__ import annotations

import re

from cr3scope.qemu.qmp import Qmp

_SCREEN = 0xB8000  # character and attribute, a row after the other
_COLUMNS, _ROWS = 80, 25
_MOST_ODD = 20  # one character of so many may be none of text
_CELL = re.compile(r"\b0x([0-9a-f]{4})\b")
_AS_SHOWN = bytes(byte & 0x7F or 0x20 for byte in range(256))


def shown_text(qmp: Qmp) -> str:
    """Return the screen's text; "" if it does not look like text: a graphics mode has pixels there.

    QmpError as :func:`read_text_screen`.
    """
    text = read_text_screen(qmp)
    odd = sum(not each.isprintable() for each in text.replace("\n", ""))
    return text if text and odd * _MOST_ODD < len(text) else ""


def read_text_screen(qmp: Qmp) -> str:
    """Return the screen's lines, without trailing spaces; QmpError if QEMU does not answer."""
    words = _CELL.findall(qmp.monitor(f"xp /{_COLUMNS * _ROWS}hx {_SCREEN:#x}"))[: _COLUMNS * _ROWS]
    cells = bytes.fromhex("".join(words))[1::2].translate(_AS_SHOWN).decode("ascii")
    rows = (cells[at : at + _COLUMNS].rstrip() for at in range(0, len(cells), _COLUMNS))
    return "\n".join(rows).rstrip()
