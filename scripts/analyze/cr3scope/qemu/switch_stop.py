"""Stops a guest once, right before its loader switches the tables, to look at what it will switch to.

Only where the user's kernel file says that it is handed a boot info (docs/handoff.md): what is looked at is that,
and nobody else's guest is stopped. Breakpoints stand on every `mov cr3` of the images that the firmware has loaded
from a file system by the time at which QEMU starts the guest (a saved machine), or the firmware a boot option.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cr3scope.qemu.gdb_stub import GdbStub, StubClosed
from cr3scope.qemu.qmp import Qmp, QmpError

_LOADING_SECONDS = 0.02  # between two looks at a saved machine that is not there yet
_INCOMING = "inmigrate"  # QEMU's state while it takes a saved machine
_NEVER = float("inf")

Sites = Callable[[Qmp], Sequence[int]]
Look = Callable[[Qmp], None]


class Held(QmpError):
    """The guest stands, and could not be let go: what it does from there on is not its own."""


class SwitchStop:
    """``sites`` tells where a guest that stands may switch, ``look`` is called when it is about to."""

    def __init__(self, channels: Path, sites: Sites, look: Look) -> None:
        self._path = channels / "gdb"
        self._sites, self._look = sites, look
        self._set: list[int] = []
        self.stub: GdbStub | None = None
        self.next_try = _NEVER
        self._is_restored = False

    def begin(self) -> None:
        """Let the first search be now."""
        self.next_try = time.monotonic()

    def search(self, qmp: Qmp) -> None:
        """Stop the guest if it runs, look for places to stop at, and let it go on. QmpError if QEMU does not answer."""
        if qmp.run_state() == _INCOMING:
            self.next_try = time.monotonic() + _LOADING_SECONDS
            self._is_restored = True
            return
        self.next_try = _NEVER
        qmp.execute("stop")
        try:
            found = self._sites(qmp)
            if found:
                self._arm(qmp, found)
        finally:
            if self.stub is None:
                qmp.execute("cont")

    def stopped(self, qmp: Qmp, is_needed: bool = True) -> bool:
        """Look if the guest has stopped, and let it go on; return whether that was all. ``is_needed`` as above.
        ``Held`` if it cannot be let go."""
        assert self.stub is not None
        try:
            if not self.stub.has_stopped():
                return False
        except QmpError:  # the guest has ended before it came there, and QEMU with it: that is told elsewhere
            self.stub.close()
            self.stub = None
            return True
        try:
            if is_needed:
                self._look(qmp)
        finally:
            self._leave()
        return True

    def _arm(self, qmp: Qmp, found: Sequence[int]) -> None:
        qmp.monitor(f"gdbserver unix:{str(self._path).replace(',', ',,')},server=on,wait=off")
        stub = GdbStub(self._path)
        try:
            for address in found:
                stub.set_breakpoint(address)
                self._set.append(address)
            if self._is_restored:
                qmp.activate_disks()
            stub.go()
        except QmpError:
            stub.close()
            raise
        self.stub = stub

    def _leave(self) -> None:
        stub, self.stub = self.stub, None
        if stub is None:
            return
        try:
            for address in self._set:
                stub.clear_breakpoint(address)
            stub.let_go()
        except StubClosed:
            raise
        except QmpError as error:
            raise Held(str(error)) from error
        finally:
            with contextlib.suppress(OSError):
                stub.close()
