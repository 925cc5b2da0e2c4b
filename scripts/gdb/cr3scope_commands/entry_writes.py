"""Who writes to a page-table entry while the guest runs: a hardware watchpoint that keeps a journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gdb

from cr3scope.x86.entry import ENTRY_BYTES
from cr3scope_commands.source_line import place, text_at
from cr3scope_commands.target import physical_mode, read_physical

MOST_FRAMES = 8
MOST_WRITES = 32
_TEXT_INDENT = " " * 6  # below the frame's address


@dataclass(frozen=True)
class Frame:
    """Where a frame stands, and the text of its source line below that, if there is any."""

    place: str
    text: tuple[str, ...]


@dataclass(frozen=True)
class Write:
    """Writes in a row by one instruction on one path, that changed the entry (a byte-wise fill)."""

    old: int
    new: int
    times: int
    backtrace: tuple[Frame, ...]  # the innermost first


class Journal(gdb.Breakpoint):
    """Notes every write that changes the 8 bytes at ``virt``, and lets the guest go on."""

    def __init__(self, virt: int, value: int) -> None:
        super().__init__(f"*(unsigned long *){virt:#x}", gdb.BP_WATCHPOINT, gdb.WP_WRITE, internal=True)
        self._virt = virt
        self.first = self._value = value
        self.count = 0
        self.writes: deque[Write] = deque(maxlen=MOST_WRITES)

    def stop(self) -> bool:
        """Record what an instruction wrote; called by gdb after it."""
        # Not in physical mode: gdb sends no packet of ours before the stop is over.
        data = gdb.selected_inferior().read_memory(self._virt, ENTRY_BYTES)
        new = int.from_bytes(bytes(data), "little")
        if new != self._value:
            self.count += 1
            self._note(Write(self._value, new, 1, tuple(_backtrace())))
            self._value = new
        return False

    def _note(self, write: Write) -> None:
        last = self.writes[-1] if self.writes else None
        if last is not None and last.backtrace == write.backtrace:
            self.writes[-1] = replace(last, new=write.new, times=last.times + 1)
        else:
            self.writes.append(write)

    @property
    def last_seen(self) -> int:
        """Return what the last write left."""
        return self._value


def entry_value(phys: int) -> int | None:
    """Return the 8 bytes at a physical address as a number; None where there is no memory."""
    with physical_mode():
        data = read_physical(phys, ENTRY_BYTES)
    return None if data is None else int.from_bytes(data, "little")


def _backtrace() -> Iterator[Frame]:
    frame = gdb.newest_frame()
    for _ in range(MOST_FRAMES):
        # The watchpoint stops behind the instruction that wrote; a caller's pc lies behind its call.
        if frame is None or frame.pc() == 0:
            return
        inlined = f" in {frame.name()}, inlined" if frame.type() == gdb.INLINE_FRAME else ""
        text = () if inlined else tuple(text_at(frame.pc() - 1, _TEXT_INDENT))
        yield Frame(f"{frame.pc():#x}{inlined or place(frame.pc() - 1)}", text)
        try:
            frame = frame.older()
        except gdb.error:  # the stack further up cannot be read
            return
