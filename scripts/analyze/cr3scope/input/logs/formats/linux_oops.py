"""What Linux prints of an exception in the kernel: an oops (arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c), or a panic."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.panic import LINUX_PANIC

BY = "the kernel's oops"
SIGNS = (
    b"BUG: unable to handle ", b"BUG: kernel NULL pointer", b" [#", b"PANIC: early exception ", b"PANIC: double fault",
    b"Corrupted page table at ", LINUX_PANIC,
)  # fmt: skip


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.guests.linux_oops import events_of_linux  # most logs are none of these

    return events_of_linux(log)


FORMAT = Format(BY, _events, SIGNS)
