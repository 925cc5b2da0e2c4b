"""Other ways to gdb than its prompt: a front end that speaks gdb/MI, and a `.gdbinit`."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boot import firmware
from boot.channels import calling
from boot.guest import qemu_command
from boot.reference import BUILD, ROOT, build, make
from boot.state_file import load, waiting
from gdb_session import gdb

from cr3scope.qemu.qmp import Qmp

SCRIPT = ROOT / "scripts/gdb/cr3scope_gdb.py"
SECONDS = 90.0


class FrontEnd:
    """A gdb that speaks gdb/MI, as VS Code's C/C++ extension starts it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._heard = b""
        self._token = 0

    def tell(self, command: str) -> None:
        """Sends a command."""
        self._token += 1
        self._in.write(f"{self._token}{command}\n".encode())
        self._in.flush()

    def ask(self, command: str) -> str:
        """What comes up to the command's own result record."""
        self.tell(command)
        return self.hear(f"\n{self._token}^")

    def hear(self, wanted: str) -> str:
        """What comes up to the end of the line with ``wanted``; AssertionError if it does not come."""
        until = time.monotonic() + SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while True:
                at = self._heard.find(wanted.encode())
                end = self._heard.find(b"\n", at + len(wanted)) if at >= 0 else -1
                if end >= 0:
                    text, self._heard = self._heard[:end], self._heard[end:]
                    return text.decode(errors="replace")
                left = until - time.monotonic()
                assert left > 0 and selector.select(left), f"no {wanted!r} within {SECONDS:g} s: {self._heard!r}"
                data = os.read(self._out.fileno(), 1 << 16)
                assert data, f"gdb ended before {wanted!r}: {self._heard!r}"
                self._heard += data


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: list[str | Path], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def front_end(folder: Path, begin: Path | None) -> Iterator[FrontEnd]:
    """Connect one to a guest whose loader has NX in every PML4 entry; at its reset, or in the state ``begin``."""
    port = free_port()
    guest = qemu_command(folder, make("foreign/nx_pml4.efi"))
    stands = ["-S"] if begin is None else waiting(begin)
    options = ["-serial", "null", "-no-reboot", *stands, "-gdb", f"tcp:127.0.0.1:{port}"]
    with calling([*guest, *options], ("-qmp", "unix:{}")) as [connection]:
        qmp = Qmp(connection)
        if begin is not None:
            load(qmp, begin)
        qmp.run_state()  # it answers, so the stub is there
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with running(["gdb", "-nx", "--interpreter=mi2"], **pipes) as process:
            found = FrontEnd(process)
            found.hear("(gdb)")
            # In this order: setupCommands of launch.json, then its miDebuggerServerAddress.
            found.ask(f'-interpreter-exec console "source {SCRIPT}"')
            found.ask('-interpreter-exec console "set architecture i386:x86-64"')
            answer = found.ask(f"-target-select remote localhost:{port}")
            assert "^connected" in answer or "^done" in answer, answer
            yield found


def test_a_front_end_gets_the_verdict_at_the_switch(tmp_path: Path) -> None:
    with front_end(tmp_path, firmware.state({})) as gdb_mi:
        # Its result record is ^running, since the guest runs meanwhile: what it prints comes later.
        gdb_mi.tell('-interpreter-exec console "cr3scope break --on-load bootx64"')
        gdb_mi.hear('~"1 mov cr3 in the image at 0x')
        gdb_mi.ask("-exec-continue")
        gdb_mi.hear('*stopped,reason="breakpoint-hit"')
        told = gdb_mi.ask('-interpreter-exec console "cr3scope check"')
        assert "verdict: faults at the next fetch: #PF (error 0011" in told, told
        assert "rule: nx-upper-level" in told, told
        gdb_mi.tell('-interpreter-exec console "cr3scope step"')
        gdb_mi.hear('~"caught #PF at its handler')
        gdb_mi.hear('~"the handler cannot run; what follows is a storm')


def test_a_front_end_gets_an_error_as_an_error(tmp_path: Path) -> None:
    with front_end(tmp_path, None) as gdb_mi:
        told = gdb_mi.ask('-interpreter-exec console "cr3scope maps"')
        assert '^error,msg="cr3scope maps: the guest is in real mode' in told, told


def test_any_gdb_comes_to_the_switch_of_a_debug_server(tmp_path: Path) -> None:
    build()
    port = free_port()
    server = [sys.executable, ROOT / "scripts/gdb/debug.py", "--server", str(port), BUILD, tmp_path / "run"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL,
             "env": {**os.environ, "INJECT": "stack-readonly", "CONFIG": "", "QEMU": firmware.stand_in({})}}  # fmt: skip
    with running(server, **pipes) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode().strip() for _ in range(9)]
        assert lines[-1] == "continue", lines
        words = [word for line in lines for word in ("-ex", line)]
        done = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", *words, "-ex", "cr3scope check", "-ex", "disconnect"],
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    assert "verdict: faults at the stack write" in done.stdout, done.stdout + done.stderr
    assert "rule: stack-readonly" in done.stdout, done.stdout


def test_the_line_in_gdbinit_loads_the_commands_and_disturbs_nothing(tmp_path: Path) -> None:
    (tmp_path / ".gdbinit").write_text(f"source {SCRIPT}\n")
    done = subprocess.run(
        ["gdb", "-q", "-batch", "-ex", "help cr3scope walk", "-ex", "print 6 * 7"],
        env={**os.environ, "HOME": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Show every page-table entry that an address meets"), done.stdout
    assert done.stdout.endswith("$1 = 42\n") and done.stderr == "", done.stdout + done.stderr


MI = """
from cr3scope_commands import answer
class Gdb:
    @staticmethod
    def execute(command, to_string):
        return {"plain": 'say ~"no record" here\\n', "mi": '~"a \\\\"OK\\\\"\\\\n"\\n@"\\\\303\\\\244\\\\t"\\n'}[command]
answer.gdb = Gdb
print(ascii(answer.answer("plain")), ascii(answer.answer("mi")))
"""


def test_what_a_command_prints_as_mi_records_is_read_as_text(tmp_path: Path) -> None:
    """As gdb 18 gives it to Python under a front end."""
    script = tmp_path / "mi.py"
    script.write_text(MI)
    told = gdb(f"source {script}")
    assert told.splitlines()[-1] == ascii('say ~"no record" here\n') + " " + ascii('a "OK"\n\u00e4\t'), told
