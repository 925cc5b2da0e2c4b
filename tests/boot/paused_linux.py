"""A Debian kernel, booted without a root file system to its panic, then paused and asked by QMP.

Its memory is a file: what is written there, the guest has in its memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cr3scope.qemu.qmp import Qmp

MEGABYTES = 256
CALL_SECONDS = 60.0  # from QEMU's start until it has called on its channels
PANIC_SECONDS = 240.0
DUMP_SECONDS = 180.0
PANIC = b"end Kernel panic"
_LEAF = re.compile(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([X-])[G-]([P-])[D-][A-][C-][T-]([U-])([W-])$")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A line of `info tlb`: the leaf's own bits, whatever the entries above it say."""

    virt: int
    phys: int
    is_large: bool
    writable: bool
    executable: bool
    user: bool


@dataclass(frozen=True, slots=True)
class PausedLinux:
    """The guest: its monitor, its registers, and its physical memory from 0 on as a file."""

    qmp: Qmp
    registers: dict[str, int]
    memory: Path
    folder: Path

    @property
    def levels(self) -> int:
        """Of its page tables."""
        return 5 if self.registers["CR4"] >> 12 & 1 else 4

    def leaves(self) -> list[Leaf]:
        """`info tlb`, whole."""
        return [_leaf(line) for line in self.qmp.monitor("info tlb").splitlines()]

    def translation(self, virt: int) -> int | None:
        """`gva2gpa`; None for an address that is not mapped."""
        said = self.qmp.monitor(f"gva2gpa {virt:#x}").strip()
        if said == "Unmapped":
            return None
        assert said.startswith("gpa: "), f"gva2gpa {virt:#x} answers {said!r}"
        return int(said.removeprefix("gpa: "), 16)

    def core(self) -> Path:
        """Memory and registers as dump-guest-memory writes them."""
        path = self.folder / "core"
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            arguments = {"paging": False, "detach": True, "protocol": f"file:{unfinished}"}
            self.qmp.execute("dump-guest-memory", **arguments)
            self._await_event("DUMP_COMPLETED", DUMP_SECONDS)
            unfinished.rename(path)
        return path

    def _await_event(self, name: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not any(event["event"] == name for event in self.qmp.events()):
            left = until - time.monotonic()
            ready = left > 0 and select.select([self.qmp], [], [], left)[0]
            assert ready and not self.qmp.closed, f"no {name} from QEMU within {seconds:g} s"


def _leaf(line: str) -> Leaf:
    found = _LEAF.match(line.strip())
    assert found, f"not a line of `info tlb`: {line!r}"
    no_execute, large, user, write = (found[number] != "-" for number in range(3, 7))
    return Leaf(int(found[1], 16), int(found[2], 16), large, write, not no_execute, user)


@contextlib.contextmanager
def paused_linux(folder: Path, kernel: Path, cpu: str, cpus: int, words: str) -> Iterator[PausedLinux]:
    """Boots ``kernel`` with the command line ``words``, and pauses it once it has given up."""
    memory = folder / "memory"
    command = [
        "qemu-system-x86_64", "-machine", "q35,accel=tcg,memory-backend=ram", "-cpu", cpu,
        "-smp", str(cpus), "-m", str(MEGABYTES),
        "-object", f"memory-backend-file,id=ram,size={MEGABYTES}M,mem-path={memory},share=on",
        "-vga", "none", "-display", "none", "-nic", "none", "-no-reboot",
        "-kernel", str(kernel), "-append", f"console=ttyS0 {words}",
    ]  # fmt: skip
    # A socket's path is short; that of a test's folder need not be.
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as short, contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(_listener(f"{short}/{name}")) for name in ("qmp", "serial")
        ]
        command += ["-qmp", f"unix:{short}/qmp", "-serial", f"unix:{short}/serial"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        monitor, serial = (stack.enter_context(_accept(listener)) for listener in listeners)
        qmp = Qmp(monitor)
        _read_until(serial, PANIC, PANIC_SECONDS)
        qmp.execute("stop")
        yield PausedLinux(qmp, qmp.registers(), memory, folder)


def _listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


def _accept(listener: socket.socket) -> socket.socket:
    ready, _, _ = select.select([listener], [], [], CALL_SECONDS)
    assert ready, f"QEMU did not call within {CALL_SECONDS:g} s"
    return listener.accept()[0]


def _read_until(serial: socket.socket, mark: bytes, seconds: float) -> None:
    """Waits until the guest has said ``mark``."""
    heard, until = b"", time.monotonic() + seconds
    while mark not in heard:
        left = until - time.monotonic()
        ready = left > 0 and select.select([serial], [], [], left)[0]
        assert ready, f"the guest did not say {mark!r} within {seconds:g} s: {heard[-300:]!r}"
        data = serial.recv(1 << 16)
        assert data, f"QEMU ended before the guest said {mark!r}: {heard[-300:]!r}"
        heard += data


def patch(memory: Path, phys: int, value: int) -> None:
    """Writes an entry of a page table into the guest's memory."""
    with open(memory, "r+b") as file:
        os.pwrite(file.fileno(), value.to_bytes(8, "little"), phys)
