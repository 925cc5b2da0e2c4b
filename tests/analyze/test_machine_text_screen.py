"""A guest's words on the VGA text screen, as far as it shows text."""

from __future__ import annotations

from typing import Any

from cr3scope.qemu.text_screen import shown_text


class Monitor:
    """Answers for the screen's memory: characters with the attribute 07h."""

    def __init__(self, cells: list[int]) -> None:
        self._cells = cells + [0x0720] * (2000 - len(cells))

    def monitor(self, _line: str) -> str:
        rows = range(0, 2000, 8)
        return "".join(f"{r:016x}: " + " ".join(f"{c:#06x}" for c in self._cells[r : r + 8]) + "\n" for r in rows)


def shown(text: str) -> str:
    qmp: Any = Monitor([0x0700 | ord(letter) for letter in text])
    return shown_text(qmp)


def test_text_is_told_line_by_line() -> None:
    assert shown(f"{'Booting':80}{'panic: no root':80}") == "Booting\npanic: no root"


def test_pixels_are_no_text() -> None:
    assert shown("\x01\x7f\x03A" * 400) == ""


def test_an_empty_screen_says_nothing() -> None:
    assert shown("") == ""
