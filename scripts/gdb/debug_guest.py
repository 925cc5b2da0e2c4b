"""The reference boot under a debugger: QEMU with its stub, up to where the loader waits."""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "analyze"))

from cr3scope.input.capture.reader import read_capture  # noqa: E402: found by the line above
from cr3scope.text import printable  # noqa: E402

BOOT = Path(__file__).resolve().parent.parent / "boot"
WAIT_SECONDS = 60.0
_PATIENT_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# An intact record ends with its checksum.
_IMAGE = re.compile(rb"@c3s1 [0-9a-f]+ image [^#\n]{0,2000}?\bbase=([0-9a-f]{1,16})[^#\n]{0,2000}#[0-9a-f]{8}\n")
_ERROR = re.compile(rb"@c3s1 [0-9a-f]+ error [^#\n]{0,4000}#[0-9a-f]{8}\r?\n")
_PIECE = 1 << 16


class NotReached(Exception):
    """The guest did not come to the point where gdb could take over; the message says why."""


def prepared(build: Path, run: Path) -> list[str]:
    """Make the run's folder with the boot volume of a loader that waits (``debugger=wait``), and return QEMU's command.

    NotReached if that cannot be.
    """
    config = ";".join(filter(None, ("debugger=wait", os.environ.get("CONFIG"))))
    try:
        subprocess.run([BOOT / "prepare", build, run], check=True, env={**os.environ, "CONFIG": config})
        return subprocess.run([BOOT / "qemu-command", run, run / "disk.img"], check=True,
                              stdout=subprocess.PIPE, text=True).stdout.splitlines()
    except subprocess.CalledProcessError as error:
        raise NotReached(f"{Path(error.cmd[0]).name} failed: see above") from error


def guest(command: Sequence[str], stub: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the boot, its serial port on standard output, gdb's stub where ``stub`` (options of QEMU) says."""
    return subprocess.Popen(
        [*command, "-serial", "stdio", *stub],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in gdb must not reach QEMU
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """However this program ends, QEMU ends too (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def image_base(serial: IO[bytes], log: IO[bytes]) -> int:
    """Read the serial port up to the ``image`` record, and return its address; NotReached if it does not come.
    """
    heard, began = b"", time.monotonic()
    told = not sys.stderr.isatty()
    with selectors.DefaultSelector() as selector:
        selector.register(serial, selectors.EVENT_READ)
        while not (match := _IMAGE.search(heard)):
            gone = time.monotonic() - began
            if gone > WAIT_SECONDS:
                raise NotReached(f"no image record on the serial port within {WAIT_SECONDS:g} s")
            if not selector.select((WAIT_SECONDS if told else _PATIENT_SECONDS) - gone):
                if not told:
                    print("the firmware is starting ...", file=sys.stderr)
                told = True
                continue
            data = os.read(serial.fileno(), _PIECE)
            if not data:
                raise NotReached("QEMU ended before the loader told where it is")
            log.write(data)
            heard += data
            refused = refusal(heard)
            if refused:
                raise NotReached(refused)
    return int(match[1], 16)


def refusal(heard: bytes) -> str:
    """Return why the loader gave the boot up, if it told; else empty."""
    if not _ERROR.search(heard):
        return ""
    errors = [error for boot in read_capture(heard).boots for error in boot.errors]
    return "".join(f"the loader refused to boot: {printable(where)}: {printable(what)}"
                   for where, what, _ in errors[-1:])  # fmt: skip


def drain(serial: IO[bytes], log: IO[bytes], refused: Callable[[str], None]) -> None:
    """Keep the guest from blocking on a full pipe, and its trace from getting lost.

    ``refused`` is called with the words of a loader that gives up.
    """
    heard = Path(log.name).read_bytes()
    while data := os.read(serial.fileno(), _PIECE):
        log.write(data)
        log.flush()
        tail = heard[-_PIECE:] + data
        heard += data
        if _ERROR.search(tail) and (words := refusal(heard)):
            refused(words)
