"""The memory of a paused guest: by files, and by the monitor's `xp`, whose lines QEMU cuts where the memory ends."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

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


RAM = 8 << 20
DEVICE = range(0xA0000, 0xC0000)
TREE = (
    "FlatView #0\n"
    f" {0:016x}-{DEVICE.start - 1:016x} (prio 0, ram): pc.ram\n {DEVICE.start:016x}-{DEVICE.stop - 1:016x} (prio 1, i/o): vga-lowmem\n"
    f" {DEVICE.stop:016x}-{RAM - 1:016x} (prio 0, ram): pc.ram @00000000000c0000\n"
    f"FlatView #1\n {0:016x}-{RAM - 1:016x} (prio 0, ram): pc.ram\n"
)


class Saving(Monitor):
    """A QEMU that writes files, unless ``is_elsewhere``; all pages hold their own number."""

    def __init__(self, *, is_elsewhere: bool = False) -> None:
        super().__init__()
        self._is_elsewhere = is_elsewhere
        self.saved: list[range] = []

    def monitor(self, line: str) -> str:
        """Return the RAM of two address spaces, and what `xp` prints of the small memory."""
        return TREE if line.startswith("info mtree") else super().monitor(line)

    def execute(self, command: str, **named: object) -> object:
        """Write the file."""
        at, size, file = named["val"], named["size"], named["filename"]
        assert command == "pmemsave" and isinstance(at, int) and isinstance(size, int) and isinstance(file, str)
        self.saved.append(range(at, at + size))
        if not self._is_elsewhere:
            Path(file).write_bytes(b"".join((page >> 12).to_bytes(8, "little") * 512 for page in range(at, at + size, 4096)))
        return {}


def test_pages_of_ram_are_read_together_and_a_device_beside_them_is_not() -> None:
    """By QEMU's `xp` each page would be a question, and as many words of text."""
    monitor = Saving()
    memory = MonitorMemory(monitor)
    for page in (*range(0, DEVICE.start, 4096), *range(DEVICE.stop, 2 << 20, 4096), RAM - 4096):
        assert memory.physical(page, 16) == (page >> 12).to_bytes(8, "little") * 2
    table = memory.table(RAM - 4096)
    assert table is not None and set(table.tolist()) == {RAM - 4096 >> 12}
    assert not monitor.words and len(monitor.saved) == 4
    assert not any(set(DEVICE) & set(block) for block in monitor.saved)


def test_where_qemu_writes_no_file_that_is_seen_here_it_is_asked_by_words() -> None:
    monitor = Saving(is_elsewhere=True)
    memory = MonitorMemory(monitor)
    assert [memory.physical(page, 4096) for page in (0, 4096)] == [MEMORY[:4096], MEMORY[4096:8192]]
    assert monitor.words == 1024 and len(monitor.saved) == 1


@pytest.mark.parametrize("what", ["folder", "full folder", "link", "pipe", "short"])
def test_nothing_stays_of_what_qemu_puts_where_its_file_was_to_be(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder there was left behind, and the one around it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "kept").write_bytes(b"a user's")

    class Strange(Saving):
        def execute(self, command: str, **named: object) -> object:
            """Put something else there."""
            at = Path(str(named["filename"]))
            if what == "link":
                at.symlink_to(tmp_path / "kept")
            elif what == "pipe":
                os.mkfifo(at)
            elif what == "short":
                at.write_bytes(b"short")
            else:
                (at / "more" if what == "full folder" else at).mkdir(parents=True)
            return {}

    assert MonitorMemory(Strange()).physical(0, 4096) == MEMORY[:4096]
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"a user's"
