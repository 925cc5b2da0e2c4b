"""Stops a guest once, right before its loader switches the tables, to look at what it will switch to.

Only where the user's kernel file says that it is handed a boot info (docs/handoff.md): what is looked at is that,
and nobody else's guest is stopped. Breakpoints stand on every `mov cr3` of the images that the firmware has loaded
from a file system by the time at which QEMU starts the guest (a saved machine), or the firmware a boot option.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cr3scope.qemu.gdb_stub import Kind, Point, StubClosed
from cr3scope.qemu.qmp import Qmp, QmpError
from cr3scope.qemu.run_state import PAUSED, RUNNING
from cr3scope.qemu.stub_stop import StubStop

Sites = Callable[[Qmp], Sequence[int]]
Look = Callable[[Qmp], None]
_GOES_ON = PAUSED | {RUNNING}  # what QEMU says of a guest that runs, or that a stub has stopped


class Held(QmpError):
    """The guest stands, and could not be let go: what it does from there on is not its own."""


class SwitchStop(StubStop):
    """``sites`` tells where a guest that stands may switch, ``look`` is called when it is about to."""

    def __init__(self, channels: Path, sites: Sites, look: Look) -> None:
        super().__init__(channels)
        self._sites, self._look = sites, look
        self._set: list[Point] = []

    def points(self, qmp: Qmp) -> Sequence[Point]:
        self._set = [Point(Kind.EXECUTE, address) for address in self._sites(qmp)]
        return self._set

    def stopped(self, qmp: Qmp) -> bool:
        """Look if the guest has stopped, and let it go on; return whether that was all. ``Held`` if it cannot be let go."""
        assert self.stub is not None
        try:
            if not self.stub.has_stopped():
                return False
        except QmpError:  # the guest has ended before it came there, and QEMU with it: that is told elsewhere
            self._drop()
            return True
        try:
            self._look(qmp)
        finally:
            self._leave()
        return True

    def forgo(self, qmp: Qmp) -> None:
        """Let a guest come to its switch, or go on from there, without a look; ``Held`` as above. One that has ended is left as it is.

        QEMU's TCG executes a page in which a breakpoint stands one instruction at a time.
        """
        assert self.stub is not None
        try:
            stands = self.stub.halt(lambda: qmp.run_state() not in _GOES_ON)
        except StubClosed:
            self._drop()
            raise
        except QmpError as error:
            self._drop()
            raise Held(str(error)) from error
        if stands:
            self._leave()
        else:
            self._drop()

    def failed(self, why: str) -> str:
        return f"the loader's switch is not looked at: {why}"

    def _drop(self) -> None:
        if self.stub is not None:
            self.stub.close()
        self.stub = None

    def _leave(self) -> None:
        stub, self.stub = self.stub, None
        if stub is None:
            return
        try:
            for point in self._set:
                stub.clear_point(point)
            stub.let_go()
        except StubClosed:
            raise
        except QmpError as error:
            raise Held(str(error)) from error
        finally:
            with contextlib.suppress(OSError):
                stub.close()
