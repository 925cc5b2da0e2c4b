"""``mcp`` and clients that leave, however they do, or read nothing: nothing is left of their calls, and nobody waits for them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from analyze.test_mcp import FAKE, META, WAIT_SECONDS, asks, calls, end, gone, hang_up, process, stop_reading

from cr3scope.cli import mcp_wire
from cr3scope.cli.mcp_wire import Output
from cr3scope.mcp import call as call_module
from cr3scope.mcp import server as server_module
from cr3scope.mcp.call import Answer
from cr3scope.mcp.places import Places
from cr3scope.mcp.server import Server
from cr3scope.mcp.tools import tools

PACKAGES = call_module._PACKAGES


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("leave", [hang_up, stop_reading, end, subprocess.Popen.kill], ids=["hang-up", "stop-reading", "sigterm", "sigkill"])
def test_a_call_leaves_no_folder_however_its_client_leaves(tmp_path: Path, leave: Callable[[subprocess.Popen[bytes]], None]) -> None:
    os.mkfifo(tmp_path / "tells")
    (tmp_path / "temporary").mkdir()
    with process(tmp_path, "--qemu", sys.executable, FAKE_TELLS=str(tmp_path / "tells"), TMPDIR=str(tmp_path / "temporary")) as started:
        assert started.stdin is not None
        started.stdin.write(calls(1, "run", command=[sys.executable, FAKE, "says:busy"]) + b"\n")
        started.stdin.flush()
        verb = parent_of(int((tmp_path / "tells").read_text()))
        assert list((tmp_path / "temporary").glob("cr3scope-mcp-*"))
        leave(started)
        started.wait(WAIT_SECONDS)
        assert gone(verb)
    assert not list((tmp_path / "temporary").glob("cr3scope-mcp-*"))


def test_a_verb_whose_server_was_gone_before_it_began_does_nothing_but_clear_away(tmp_path: Path) -> None:
    folder = tmp_path / "cr3scope-mcp-1"
    folder.mkdir()
    (folder / "answer.json").write_text("{}")
    nobody = "1" if os.getpid() != 1 else "2"
    words = [sys.executable, "-c", call_module._START, str(PACKAGES), nobody, str(folder), str(tmp_path), "--", "explain"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert (done.returncode, done.stdout, done.stderr, folder.exists()) == (0, "", "", False)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What a client would read from; the pipe holds a page."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(mcp_wire, "OUTPUT", writes)
    monkeypatch.setattr(mcp_wire, "ERROR", nowhere)
    yield reads
    for descriptor in (reads, writes, nowhere):
        os.close(descriptor)


def test_what_is_only_offered_waits_for_no_client(client: int) -> None:
    output = Output()
    output.send(b"x" * 4096)
    output.offer(b"progress\n")
    assert os.read(client, 1 << 16) == b"x" * 4096
    output.offer(b"progress\n")
    assert os.read(client, 1 << 16) == b"progress\n"
    output.offer(b"x" * 5000)  # would be waited for in its middle
    output.send(b"answer\n")
    assert os.read(client, 1 << 16) == b"answer\n"


def test_who_waits_for_a_client_that_does_not_read_goes_on_at_the_end(client: int) -> None:
    output = Output()
    waits = threading.Thread(target=output.send, args=(b"x" * 100_000,), daemon=True)
    waits.start()
    assert os.read(client, 1) == b"x"  # it has begun
    output.end()
    waits.join(WAIT_SECONDS)
    assert not waits.is_alive()
    output.send(b"more")
    assert b"more" not in os.read(client, 1 << 16)


def test_a_long_message_is_whole_to_a_client_that_is_slow(client: int) -> None:
    output = Output()
    message = bytes(range(256)) * 1000
    waits = threading.Thread(target=output.send, args=(message,), daemon=True)
    waits.start()
    heard = b""
    while len(heard) < len(message):
        output.offer(b"in between\n")
        heard += os.read(client, 1000)
    assert heard == message


def test_progress_is_offered_and_answers_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(call: server_module.Call) -> Answer:
        call._beat("explain is at work")
        return Answer(False, "x", {})

    monkeypatch.setattr("cr3scope.mcp.progress.limits.MCP_PROGRESS_SECONDS", 1e-9)
    monkeypatch.setattr(server_module.Call, "answer", answer)
    sent: list[bytes] = []
    offered: list[bytes] = []
    server = Server(tools((), False), Places([tmp_path]), sent.append, offered.append)
    server.take(asks(1, "tools/call", name="explain", arguments={}, _meta={**META, "progressToken": "p"}))
    server.close()
    assert [json.loads(line).get("method") for line in offered] == ["notifications/progress"]
    assert [json.loads(line).get("id") for line in sent] == [1]
