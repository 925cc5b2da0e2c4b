"""QEMU's words for what a guest does (`query-status`; qapi/run-state.json)."""

from __future__ import annotations

from typing import Final

RUNNING: Final = "running"
INCOMING: Final = "inmigrate"  # it takes a saved machine
ASLEEP: Final = "suspended"  # ACPI S3: it can be woken
PAUSED: Final = frozenset({"paused", "debug"})  # by a monitor or a debugger: it stands where it stood
STUCK: Final = frozenset({"internal-error", "io-error"})  # from all others QEMU goes on by itself or by somebody's word
NEVER_RAN: Final = {  # why, if that is the last that was heard
    "prelaunch": "-S or -preconfig, and nobody told QEMU to go on",
    INCOMING: "-incoming, and no saved machine came in the time",
}
