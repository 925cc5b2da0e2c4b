"""Within gdb: firmware that boots from the reset finds no TPM at once, and does not wait for it (boot.tpm_wait)."""

from __future__ import annotations

import sys
from pathlib import Path

import gdb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from boot.tpm_wait import ABSENT, ACCESS, LOAD_BYTES, loads_al


class _Absent(gdb.Breakpoint):
    """Says so where the firmware asks. The project's commands leave it on: to them it looks as if it was off."""

    def __init__(self) -> None:
        super().__init__(f"*(unsigned char *) {ACCESS:#x}", gdb.BP_WATCHPOINT, gdb.WP_READ, internal=True)
        self._is_over = False

    @property
    def enabled(self) -> bool:
        """Return False; asked before the guest goes on, when a watchpoint of no use can still be taken off."""
        if self._is_over:
            gdb.Breakpoint.enabled.__set__(self, False)
        return False

    def stop(self) -> bool:
        """Put ones where the register was read to; called by gdb behind the read. Firmware that reads it by another
        instruction goes its own way."""
        behind = gdb.newest_frame().pc()
        self._is_over = not loads_al(bytes(gdb.selected_inferior().read_memory(behind - LOAD_BYTES, LOAD_BYTES)))
        if not self._is_over:
            gdb.parse_and_eval(f"$al = {ABSENT}")
        return self._is_over


_Absent()
