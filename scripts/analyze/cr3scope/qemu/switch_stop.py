"""Stops a guest once, right before its loader switches the tables, to look at what it will switch to.

Only where the user's kernel file says that it is handed a boot info (docs/handoff.md): what is looked at is that,
and nobody else's guest is stopped. Breakpoints stand on every `mov cr3` of the images that the firmware has loaded
from a file system, from the moment on at which they are found: whatever is in memory when QEMU starts the guest,
else when the firmware says that it starts a boot option, or a second later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cr3scope.qemu.gdb_stub import GdbStub
from cr3scope.qemu.qmp import Qmp, QmpError

BOOTING = b"BdsDxe: starting Boot"  # edk2, on every console, before the loader's first instruction
_AGAIN_SECONDS, _LOADING_SECONDS = 1.0, 0.02
_INCOMING = "inmigrate"  # QEMU's state while it takes a saved machine
_NEVER = float("inf")

Sites = Callable[[Qmp], Sequence[int]]
Look = Callable[[Qmp], None]


class SwitchStop:
    """``sites`` tells where a guest that stands may switch, ``look`` is called when it is about to."""

    def __init__(self, channels: Path, sites: Sites, look: Look) -> None:
        self._path = channels / "gdb"
        self._sites, self._look = sites, look
        self._set: list[int] = []
        self._is_started = False
        self.stub: GdbStub | None = None
        self.next_try = _NEVER

    def begin(self, qmp: Qmp) -> None:
        """Start a guest that waits; QmpError as QMP's."""
        self.next_try = time.monotonic()
        self.search(qmp)

    def search(self, qmp: Qmp) -> None:
        """Look for places to stop at, and start the guest if it waits. QmpError if QEMU does not answer."""
        if not self._is_started and qmp.run_state() == _INCOMING:
            self.next_try = time.monotonic() + _LOADING_SECONDS
            return
        self.next_try = time.monotonic() + _AGAIN_SECONDS
        try:
            found = self._sites(qmp)
            if found:
                self._arm(qmp, found)
        except QmpError:
            self.next_try = _NEVER
            raise
        finally:
            if not self._is_started and self.stub is None:
                qmp.execute("cont")
            self._is_started = True

    def hurry(self) -> None:
        """Look again as soon as can be: the firmware starts what it has loaded."""
        if self.next_try != _NEVER:
            self.next_try = time.monotonic()

    def stopped(self, qmp: Qmp) -> bool:
        """Look if the guest has stopped, and let it go on; return whether that was all."""
        assert self.stub is not None
        if not self.stub.has_stopped():
            return False
        try:
            self._look(qmp)
        finally:
            self._leave()
        return True

    def _arm(self, qmp: Qmp, found: Sequence[int]) -> None:
        qmp.monitor(f"gdbserver unix:{str(self._path).replace(',', ',,')},server=on,wait=off")
        self.next_try = _NEVER
        self.stub = GdbStub(self._path)
        for address in found:
            self.stub.set_breakpoint(address)
            self._set.append(address)
        self.stub.go()

    def _leave(self) -> None:
        stub, self.stub = self.stub, None
        if stub is None:
            return
        try:
            for address in self._set:
                stub.clear_breakpoint(address)
            stub.let_go()
        finally:
            with contextlib.suppress(OSError):
                stub.close()
