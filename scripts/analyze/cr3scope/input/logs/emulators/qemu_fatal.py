"""QEMU that gives up by itself: ``Trying to execute code outside RAM or ROM``, and its other ``fatal`` messages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import NO_DUMP, Event, Stopped
from cr3scope.input.logs.signs import FATAL, TRYING
from cr3scope.input.logs.log_format import last_bytes, last_places
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.emulators.qemu_dumps import dump_behind

_FATAL = re.compile(
    rb"(?:-system-(?P<arch>\w{1,16})(?:\.exe)?: |qemu: )(?:fatal: )?"
    rb"(?:(?P<trying>%b)(?P<at>0x[0-9a-f]{1,16})|(?<=%b)(?P<words>[ -~]{1,120}))" % (TRYING, FATAL)
)
_OURS = (b"x86_64", b"i386")


def events_of_qemu_fatal(log: LogFile) -> Iterator[Event]:
    """Yield that QEMU gave up by itself, once for each reason."""
    start, data = last_bytes(log)
    found: dict[str, Stopped] = {}
    for match in last_places(_FATAL, data):
        cpu = dump_behind(data, match.start("trying" if match["at"] else 0))
        arch = match["arch"]
        who = "QEMU" if arch in (None, *_OURS) else f"QEMU ({arch.decode('ascii')})"
        words = f"{who} gave up: `{match['words'].decode('ascii').strip()}`" if match["words"] else ""
        if match["at"]:
            place = int(match["at"], 16)
            words = f"{who} gave up: the guest went on to code at {place:#x}, where there is neither RAM nor ROM"
            if cpu.has_paging:
                words += " (a linear address)"
        if words not in found or found[words].cpu is NO_DUMP:  # a title says it as well
            found[words] = Stopped(start + match.start(), words, cpu=cpu)
    yield from sorted(found.values(), key=lambda event: event.offset)
