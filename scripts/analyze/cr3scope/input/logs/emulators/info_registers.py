"""What QEMU's monitor answers to ``info registers``. Dumps that were written for something else are none."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from cr3scope.input.logs.event import Event, RegisterDump, Shown
from cr3scope.input.logs.int_log.record import whole_dump
from cr3scope.input.logs.log_format import last_bytes
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.emulators.qemu_dumps import QemuDump, dumps_in

_CPU = re.compile(rb"CPU#(\d{1,4})\b")
_MONITORS = ("", "monitor")
_MOST_CPUS, _MOST_DUMPS = 512, 1024


def events_of_monitor(log: LogFile) -> Iterator[Event]:
    """Yield the CPU whose registers the monitor showed last; of several one that runs."""
    start, data = last_bytes(log)
    shown: dict[int, tuple[QemuDump, RegisterDump]] = {}
    for one in deque(dumps_in(data), maxlen=_MOST_DUMPS):
        if one.kind not in _MONITORS:
            continue
        head = _CPU.match(data, one.header) if one.header >= 0 else None
        number = int(head[1]) if head else 0
        if number in shown or len(shown) >= _MOST_CPUS:  # asked once more
            shown.clear()
        cpu = whole_dump(data, one.start, one.end)
        if cpu.rip is not None:
            shown[number] = one, cpu
    if not shown:
        return
    number = next((number for number, (_, cpu) in shown.items() if not cpu.halted), min(shown))
    one, cpu = shown[number]
    yield Shown(start + one.start, cpu, _whose(number, shown))


def _whose(number: int, shown: dict[int, tuple[QemuDump, RegisterDump]]) -> str:
    if len(shown) == 1:
        return f"CPU {number}" if number else "the CPU"
    halted = sum(bool(cpu.halted) for _, cpu in shown.values())
    state = f"{halted or 'none'} {'is' if halted == 1 else 'are'} halted"
    return f"CPU {number} of the {len(shown)} that are shown ({state})"
