"""Where a guest is to stop by QEMU's gdb stub: set before it runs, or as soon as a saved machine is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.qemu.gdb_stub import GdbStub, Point
from cr3scope.qemu.qmp import Qmp, QmpError
from cr3scope.qemu.run_state import INCOMING

_LOADING_SECONDS = 0.02  # between two looks at a saved machine that is not there yet
_NEVER = float("inf")


@dataclass(slots=True)
class StubStop:
    """The connection to the stub, once there is one. ``channels``: a folder for its socket."""

    channels: Path
    stub: GdbStub | None = None
    next_try: float = _NEVER

    def begin(self) -> None:
        """Let the first search be now."""
        self.next_try = time.monotonic()

    def search(self, qmp: Qmp) -> None:
        """Stop the guest if it runs, set what it is to stop at, and let it go on. QmpError if QEMU does not answer."""
        if qmp.run_state() == INCOMING:
            self.next_try = time.monotonic() + _LOADING_SECONDS
            return
        self.next_try = _NEVER
        qmp.execute("stop")
        try:
            points = self.points(qmp)
            if points:
                self._arm(qmp, points)
        finally:
            if self.stub is None:
                qmp.execute("cont")

    def points(self, qmp: Qmp) -> Sequence[Point]:
        """Return what the guest is to stop at; nothing to let it run."""
        raise NotImplementedError

    def stopped(self, qmp: Qmp) -> bool:
        """Look if the guest has stopped, and let it go on; return whether that was all."""
        raise NotImplementedError

    def failed(self, why: str) -> str:
        """Take note that it could not be set, or not be looked at; return a note for the run, "" if there is nothing to say there."""
        raise NotImplementedError

    def _arm(self, qmp: Qmp, points: Sequence[Point]) -> None:
        path = self.channels / "gdb"
        qmp.monitor(f"gdbserver unix:{str(path).replace(',', ',,')},server=on,wait=off")
        stub = GdbStub(path)
        try:
            for point in points:
                stub.set_point(point)
            qmp.activate_disks()
            stub.go()
        except QmpError:
            stub.close()
            raise
        self.stub = stub
