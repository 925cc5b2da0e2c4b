"""`make releases`: whatever ends it leaves no process and no mount behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from boot.reference import ROOT
from release_matrix import isolated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of mounts and processes need root")
SECONDS = 60
# A first process that leaves another one in the background; both hold the pipe open as long as they live.
BUSY = "exec 3>{alive}; sleep 600 & echo up >&3; wait"
PROGRAM = """
import sys
from pathlib import Path
from release_matrix import isolated
isolated.run(sys.argv[2:], Path(sys.argv[1]))
"""


def in_this_system(folder: Path, inside: str, words: str) -> list[str]:
    """The command that enters a root, on this system as the root: bound to a folder, which only the namespace sees."""
    (folder / "root").mkdir()
    enter = f'mount --rbind / "$0/root" && exec {isolated.ENTER} "$0/root" "$0" {inside} sh -c "$1"'
    return ["sh", "-c", enter, str(folder), words]


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_every_ending_takes_processes_and_mounts_down(how: signal.Signals, tmp_path: Path) -> None:
    before = mounts()
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    program = subprocess.Popen(
        [sys.executable, "-B", "-c", PROGRAM, tmp_path / "log", *in_this_system(tmp_path, "/", BUSY.format(alive=alive))],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/releases")}, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert read(reader) == b"up\n", (tmp_path / "log").read_text()
        assert mounts() == before, "its mounts are to be seen outside"
        program.send_signal(how)
        program.wait(SECONDS)
        assert read(reader) == b"", "a process was left"
        assert mounts() == before
    finally:
        program.kill()
        program.wait()
        os.close(reader)


def read(reader: int) -> bytes:
    """What comes next; nothing at the end, once the last writer is gone."""
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while True:
        assert poll.poll(SECONDS * 1000), f"neither data nor an end within {SECONDS} s"
        try:
            data = os.read(reader, 100)
        except BlockingIOError:
            continue
        return data


def test_a_command_has_no_input_no_terminal_and_a_plain_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CR3SCOPE_TEST_ALL", "1")
    monkeypatch.setenv("MAKEFLAGS", "-k")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    log = tmp_path / "log"
    status = isolated.run(["sh", "-c", "env; wc -c; tty; exit 7"], log)
    told = log.read_text().splitlines()
    assert status == 7
    assert told[-2:] == ["0", "not a tty"]
    assert "http_proxy=http://proxy.example:3128" in told
    assert not any(line.startswith(("CR3SCOPE", "MAKE")) for line in told)


def test_inside_a_root_a_shell_is_process_1_and_namespaces_can_be_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = "cat /proc/1/comm; pwd; unshare --mount --pid --fork true && mountpoint -q /dev/shm && echo yes"
    status = isolated.run(in_this_system(tmp_path, "/usr", words), log)
    assert (status, log.read_text()) == (0, "enter\n/usr\nyes\n")


def test_a_command_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "STEP_SECONDS", 0.1)
    log = tmp_path / "log"
    assert isolated.run(["sleep", "600"], log) == isolated.TOO_LONG
    assert log.read_text() == "\nended after 0.1 seconds\n"


def test_a_machine_without_namespaces_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolated.check()
    fake = tmp_path / "setpriv"
    fake.write_text("#!/bin/sh\necho unshare: unshare failed: Operation not permitted >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        isolated.ReleasesError, match=r"^no namespaces of .* here: unshare: unshare failed: Operation not"
    ):
        isolated.check()
    fake.unlink()
    with pytest.raises(isolated.ReleasesError, match=r"^setpriv is not installed: it comes with util-linux$"):
        isolated.check()
