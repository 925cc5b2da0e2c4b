"""The user's command that prints the capture once the guest has ended: bounded in time and size, and nobody left."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.qemu.brood import Brood
from cr3scope.qemu.log_pipe import PIPE_BYTES

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Printed:
    """What the command printed; ``why`` says why that is no capture, "" if it is one."""

    capture: bytes = b""
    why: str = ""


def capture_by(command: str) -> Printed:
    """Run a command of the shell and return what it prints."""
    brood = Brood()
    try:
        return _read(brood.start(command, shell=True))
    except (OSError, ValueError) as error:
        return Printed(why=str(error))
    finally:
        brood.end()
        brood.close()


def _read(process: subprocess.Popen[bytes]) -> Printed:
    assert process.stdout is not None and process.stderr is not None
    until = time.monotonic() + SECONDS
    kept: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    most = {process.stdout: limits.COMMAND_CAPTURE_BYTES, process.stderr: limits.STDERR_BYTES}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = until - time.monotonic()
            if left <= 0:
                return Printed(why=f"it took more than {SECONDS:g} s")
            for key, _ in selector.select(left):
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(stream.fileno(), PIPE_BYTES)
                if not data:
                    selector.unregister(stream)
                if len(kept[stream]) + len(data) <= most[stream]:
                    kept[stream] += data
                elif stream is process.stdout:
                    return Printed(why=f"it printed more than {limits.COMMAND_CAPTURE_BYTES} bytes")
    try:
        status = process.wait(max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return Printed(why=f"it took more than {SECONDS:g} s")
    if status:
        said = bytes(kept[process.stderr]).decode(errors="replace").strip().split("\n")[-1]
        return Printed(why=f"exit status {status}: {said}")
    return Printed(bytes(kept[process.stdout]))
