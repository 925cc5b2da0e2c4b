"""The memory of a paused guest by the monitor's `xp`, whose lines QEMU cuts where the memory ends."""

from __future__ import annotations

import re

import pytest

from cr3scope.qemu.paused_guest import MonitorMemory

END = 0x3000
MEMORY = bytes(at * 7 % 251 for at in range(END))
ASKED = re.compile(r"xp /(\d+)([gb])x (0x[0-9a-f]+)")
WIDTH, LINE = {"g": 8, "b": 1}, {"g": 16, "b": 8}


class Monitor:
    """As QEMU's `memory_dump` prints (monitor/hmp-cmds-target.c): a line that is not all memory ends the answer."""

    def __init__(self) -> None:
        self.words = 0

    def monitor(self, line: str) -> str:
        """Return what `xp` prints; nothing of where the machine has RAM."""
        if line.startswith("info mtree"):
            return ""
        asked = ASKED.fullmatch(line)
        assert asked, line
        form, at = asked[2], int(asked[3], 16)
        end, printed = at + int(asked[1]) * WIDTH[form], ""
        while at < end:
            piece = MEMORY[at : min(at + LINE[form], end)]
            if len(piece) < min(LINE[form], end - at):
                return f"{printed}{at:016x}: Cannot access memory\n"
            words = [piece[n : n + WIDTH[form]] for n in range(0, len(piece), WIDTH[form])]
            self.words += len(words)
            shown = (f" 0x{int.from_bytes(word, 'little'):0{2 * WIDTH[form]}x}" for word in words)
            printed += f"{at:016x}:{''.join(shown)}\r\n"
            at += LINE[form]
        return printed

    def execute(self, command: str, **_: object) -> object:
        """Return nothing."""
        return command


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 31, 4096])
@pytest.mark.parametrize("place", [0, 3, 0x1008, END - 4096, END - 24, END - 16, END - 12, END - 8, END - 1, END])
def test_as_much_is_read_as_byte_by_byte(place: int, length: int) -> None:
    """All of it, or up to the first line of eight bytes that is not all memory."""
    there = length if place + length <= END else (END - place) // 8 * 8
    assert MonitorMemory(Monitor()).physical(place, length) == MEMORY[place : place + there]


def test_a_page_is_read_by_quadwords() -> None:
    monitor = Monitor()
    assert len(MonitorMemory(monitor).physical(0x1000, 4096)) == 4096
    assert monitor.words == 512
