"""A stopped guest under given page tables: QEMU with them in its memory, and gdb to set CR3."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# By their numbers in QEMU's target description, gdb-xml/i386-64bit.xml.
CR0, CR3, CR4, EFER = 27, 29, 30, 32
VALUES = {EFER: 0xD00, CR4: 0x20, CR0: 0x8001_0033}  # LME comes before PG
MEGABYTES = 64
SECONDS = 60.0  # for one answer


class Monitor:
    """A connection to QMP; an answer may have any length. ``stub`` is the socket of gdb's stub."""

    def __init__(self, connection: socket.socket, stub: Path) -> None:
        self.stub = stub
        self._socket = connection
        self._socket.settimeout(SECONDS)
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> None:
        """Returns once the command is done."""
        answer = json.loads(self._ask(command, arguments))
        if "return" not in answer:
            raise SystemExit(f"bench: {command}: {answer}")

    def monitor(self, line: str) -> bytes:
        """What the human monitor answers, as QMP wraps it."""
        return self._ask("human-monitor-command", {"command-line": line})

    def _ask(self, command: str, arguments: dict[str, Any]) -> bytes:
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        return self._read()

    def _read(self) -> bytes:
        """One message: a stopped guest sends no events."""
        parts = []
        while not parts or not parts[-1].endswith(b"\n"):
            parts.append(self._socket.recv(1 << 20))
            if not parts[-1]:
                raise SystemExit("bench: QEMU has left")
        return b"".join(parts)


@contextlib.contextmanager
def paged_guest(tables: Path, base: int) -> Iterator[Monitor]:
    """The guest, with the root of its tables at ``base``, where the file ``tables`` is loaded."""
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder, contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(f"{folder}/qmp")
        listener.listen(1)
        process = subprocess.Popen([
            "qemu-system-x86_64", "-S", "-accel", "tcg", "-m", str(MEGABYTES), "-cpu", "max",
            "-display", "none", "-nic", "none", "-serial", "none",
            "-device", f"loader,file={tables},addr={base:#x},force-raw=on",
            "-chardev", f"socket,path={folder}/gdb,server=on,wait=off,id=gdb",
            "-gdb", "chardev:gdb",
            "-qmp", f"unix:{folder}/qmp",
        ], stdin=subprocess.DEVNULL)  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.kill)
        if not select.select([listener], [], [], SECONDS)[0]:
            raise SystemExit(f"bench: QEMU did not call within {SECONDS:g} s")
        monitor = Monitor(stack.enter_context(listener.accept()[0]), Path(folder, "gdb"))
        words = ["-ex", f"target remote {folder}/gdb"]
        # Not `set $cr3`: gdb knows these registers as sets of flags, to which it assigns no number.
        for number, value in {CR3: base, **VALUES}.items():
            packet = f"P{number:x}={value.to_bytes(8, 'little').hex()}"
            words += ["-ex", f"maintenance packet {packet}"]
        subprocess.run(["gdb", "-nx", "-batch", *words, "-ex", "disconnect"], check=True,
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        yield monitor
