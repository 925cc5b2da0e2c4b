"""`cr3scope listen`: a pty, a TCP port, a unix socket and a FIFO, at whose other end a machine speaks."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import socket
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cr3scope.cli import listen, listen_verdict
from cr3scope.cli.main import main
from cr3scope.errors import UnusableInput
from cr3scope.wire.heard import Heard
from cr3scope.wire.line import open_line
from cr3scope.wire.reader import Came, Gone, Reader
from cr3scope.wire.source import Kind, Source, read_source

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
HEALTHY = (CAPTURES / "healthy.serial.log").read_bytes()
DIES = (CAPTURES / "nx-upper-level.serial.log").read_bytes()
PANIC = b"[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"
LIMIT = 30.0  # seconds, for what takes a fraction of one


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.wire.reader.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("cr3scope.wire.listener._GRACE", {sign: 0.05 for sign in listen_signs()})


def listen_signs() -> list[Any]:
    from cr3scope.wire import listener

    return list(listener._GRACE)


def terminal() -> tuple[int, int]:
    """A pseudo terminal as QEMU makes one: its ends for the machine and for the listener."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return ours, theirs


def send(end: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(end, left[:4096]) :]


@contextmanager
def beside(speak: Callable[[], None]) -> Iterator[None]:
    """The machine, which speaks while the test listens."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            speak()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(LIMIT)
    assert not thread.is_alive() and not failed, failed


def heard_at(source: str | Path, folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and the verdicts, in the order of the boots."""
    status = main(["listen", str(source), "-o", str(folder / "o"), "--timeout", str(LIMIT), *options])
    return status, [json.loads(file.read_text()) for file in sorted((folder / "o").glob("*.json"))]


@contextmanager
def fifo(folder: Path, *said: bytes) -> Iterator[Path]:
    """A pipe into which a machine speaks; it is closed behind what is said."""
    path = folder / "pipe"
    os.mkfifo(path)

    def speak() -> None:
        with path.open("wb", buffering=0) as out:  # waits until somebody listens
            for each in said:
                out.write(each)

    with beside(speak):
        yield path


def words(verdict: dict[str, Any]) -> str:
    return "\n".join(each["message"] for each in verdict["diagnostics"])


def rules(verdict: dict[str, Any]) -> list[str]:
    return [each["rule"] for each in verdict["findings"]]


def test_a_pipe_is_judged_as_its_capture_is_and_kept_byte_by_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fifo(tmp_path, HEALTHY) as path:
        status, verdicts = heard_at(path, tmp_path, "--once", "--json", "-")
    shown = capsys.readouterr()
    assert (status, len(verdicts), verdicts[0]["verdict"]) == (0, 1, "healthy")
    assert json.loads(shown.out) == verdicts[0]
    heard = verdicts[0].pop("heard")
    assert heard == {"number": 1, "capture": str(tmp_path / "o/boot-001.log"), "bytes": len(HEALTHY), "seconds": heard["seconds"], "ended": "said-all"}
    assert (tmp_path / "o/boot-001.log").read_bytes() == HEALTHY
    assert main(["analyze", str(CAPTURES / "healthy.serial.log"), "--json", "-"]) == 0
    analyzed = json.loads(capsys.readouterr().out)
    assert {**verdicts[0], "observation": None} == {**analyzed, "observation": None}
    assert "\x1b" not in shown.err and "SUMMARY: 43 passed, 0 failed" in shown.err and "@c3s" not in shown.err


def test_a_pseudo_terminal_of_a_machine_that_is_gone_is_judged_and_not_opened_again(tmp_path: Path) -> None:
    ours, theirs = terminal()
    name = os.ttyname(theirs)

    def speak() -> None:
        os.write(ours, DIES[:2000])  # before somebody listens: kept by the terminal
        ready.wait(LIMIT)
        send(ours, DIES[2000:])
        os.close(theirs)
        heard.wait(LIMIT)
        os.close(ours)

    ready, heard = threading.Event(), threading.Event()
    kept = listen._Ear.said

    def said(self: Any, data: bytes) -> None:
        kept(self, data)
        ready.set()
        if (tmp_path / "o/boot-001.log").exists() and b" next=kernel " in data:
            heard.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listen._Ear, "said", said)
        with beside(speak):
            status, verdicts = heard_at(name, tmp_path, "--baud", "921600", "--idle", "1")
    assert (status, [each["verdict"] for each in verdicts]) == (1, ["will-fault"])
    assert rules(verdicts[0])[0] == "nx-upper-level"
    assert (tmp_path / "o/boot-001.log").read_bytes() == DIES


def test_a_tcp_console_that_breaks_off_is_called_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT)

        def speak() -> None:
            for said in (HEALTHY[:3000], HEALTHY):
                connected, _ = server.accept()
                with connected:
                    connected.sendall(said)

        with beside(speak):
            name = f"127.0.0.1:{server.getsockname()[1]}"
            status, verdicts = heard_at(name, tmp_path, "--boots", "2")
    assert (status, [each["verdict"] for each in verdicts]) == (2, ["incomplete", "healthy"])
    assert "the console ended" in words(verdicts[0])
    assert "closed at the other end: waiting for it to come again" in capsys.readouterr().err


def test_a_unix_socket_that_is_not_there_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = threading.Event()
    monkeypatch.setattr("cr3scope.cli.listen.say", lambda _line: asked.set())

    def speak() -> None:
        assert asked.wait(LIMIT)
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(LIMIT)
            server.bind("console")
            server.listen()
            connected, _ = server.accept()
            with connected:
                connected.sendall(HEALTHY)

    with beside(speak):
        status, verdicts = heard_at("unix:console", tmp_path, "--wait", "--once")
    assert (status, verdicts[0]["verdict"]) == (0, "healthy")


def test_a_machine_that_begins_to_boot_again_ends_its_boot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fifo(tmp_path, DIES + HEALTHY) as path:
        status, verdicts = heard_at(path, tmp_path, "--boots", "2", "--json", "-")
    assert (status, [each["verdict"] for each in verdicts]) == (1, ["will-fault", "healthy"])
    assert "restarted" in rules(verdicts[0]) and "began to boot again" in words(verdicts[0])
    assert b"".join(file.read_bytes() for file in sorted((tmp_path / "o").glob("*.log"))) == DIES + HEALTHY
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["will-fault", "healthy"]


def test_a_piece_that_ends_within_a_record_of_the_next_boot_gives_it_to_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = HEALTHY.index(b"@c3s1 6d ") + 9
    pieces = [HEALTHY + HEALTHY[:at], HEALTHY[at:]]
    monkeypatch.setattr(Reader, "take", lambda _self: [Came(pieces.pop(0), time.monotonic())] if pieces else [Gone("it is gone", is_last=True)])
    with fifo(tmp_path, b"x") as path:
        status, verdicts = heard_at(path, tmp_path, "--boots", "2")
    assert (status, [each["verdict"] for each in verdicts]) == (0, ["healthy", "healthy"])


def test_who_comes_in_the_middle_of_a_boot_is_told_so_and_waits_for_a_whole_one(tmp_path: Path) -> None:
    with fifo(tmp_path, HEALTHY[9000:] + HEALTHY) as path:
        status, verdicts = heard_at(path, tmp_path, "--once")
    assert (status, [each["verdict"] for each in verdicts]) == (0, ["incomplete", "healthy"])
    assert "in the middle of this boot" in words(verdicts[0])


def test_a_machine_that_falls_silent_is_judged(tmp_path: Path) -> None:
    is_judged = threading.Event()
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def speak() -> None:
        with path.open("wb", buffering=0) as out:
            out.write(DIES)
            is_judged.wait(LIMIT)  # it does not hang up

    def judge(*given: Any) -> Any:
        is_judged.set()
        return judged(*given)

    judged = listen_verdict.judge_heard
    with pytest.MonkeyPatch.context() as patch, beside(speak):
        patch.setattr(listen_verdict, "judge_heard", judge)
        status, verdicts = heard_at(path, tmp_path, "--once", "--idle", "0.2")
    assert (status, verdicts[0]["verdict"]) == (1, "will-fault")
    assert re.search(r"the machine has said nothing for (0\.[2-9]|[1-9]\d*) s \(--idle\)", words(verdicts[0]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_capture_that_can_be_used_and_its_verdict(tmp_path: Path, number: signal.Signals) -> None:
    kept = listen._Ear.said
    total = 0

    def said(self: Any, data: bytes) -> None:
        nonlocal total
        total += len(data)
        kept(self, data)
        if total == len(DIES):
            os.kill(os.getpid(), number)

    path = tmp_path / "pipe"
    os.mkfifo(path)
    is_over = threading.Event()

    def speak() -> None:
        with path.open("wb", buffering=0) as out:
            out.write(DIES)
            is_over.wait(LIMIT)

    with pytest.MonkeyPatch.context() as patch, beside(speak):
        patch.setattr(listen._Ear, "said", said)
        status, verdicts = heard_at(path, tmp_path)
        is_over.set()
    assert (status, verdicts[0]["verdict"]) == (1, "will-fault")
    assert words(verdicts[0]).startswith("interrupted after 0.")
    assert (tmp_path / "o/boot-001.log").read_bytes() == DIES


def test_nothing_is_lost_while_a_boot_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = terminal()
    has_begun, is_written = threading.Event(), threading.Event()
    chatter = b"".join(b"%08d console text of some length\r\n" % number for number in range(1 << 14))
    judged = listen_verdict.judge_heard

    def speak() -> None:
        send(ours, HEALTHY)
        assert has_begun.wait(LIMIT)
        send(ours, HEALTHY + chatter)  # far more than a terminal keeps: somebody must take it
        is_written.set()

    def judge(heard: Heard, files: Any) -> Any:
        has_begun.set()
        assert is_written.wait(LIMIT)
        return judged(heard, files)

    monkeypatch.setattr(listen_verdict, "judge_heard", judge)
    with beside(speak):
        status, verdicts = heard_at(os.ttyname(theirs), tmp_path, "--boots", "2", "--baud", "921600", "-q")
    os.close(ours)
    os.close(theirs)
    assert (status, [each["verdict"] for each in verdicts]) == (0, ["healthy", "healthy"])
    assert b"".join((tmp_path / f"o/boot-00{number}.log").read_bytes() for number in (1, 2)) == HEALTHY + HEALTHY + chatter


def test_who_does_not_take_what_came_gets_no_more_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.LISTEN_WAITING_BYTES", 1 << 17)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    class Wire:
        descriptor = theirs.fileno()

        def losses(self) -> list[str]:
            return []

        def close(self) -> None:
            theirs.close()

    reader = Reader(Wire(), None)
    ours.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while sent < 1 << 26:
            try:
                sent += ours.send(bytes(1 << 16))
            except BlockingIOError:
                ours.settimeout(0.3)  # nobody takes any more
                try:
                    sent += ours.send(bytes(1))
                except TimeoutError:
                    raise BlockingIOError from None
    assert reader.has_more()
    ours.close()
    received = 0
    events: list[Any] = []
    while not any(isinstance(each, Gone) for each in events):
        events = reader.take()
        received += sum(len(each.data) for each in events if isinstance(each, Came))
    reader.close()
    assert received == sent < 1 << 24


def test_a_second_listener_is_refused(tmp_path: Path) -> None:
    ours, theirs = terminal()
    name = os.ttyname(theirs)
    first = open_line(Source(Kind.SERIAL, name, name))
    with pytest.raises(UnusableInput, match="somebody else listens at it"):
        open_line(Source(Kind.SERIAL, name, name))
    first.close()
    open_line(Source(Kind.SERIAL, name, name)).close()
    os.close(ours)
    os.close(theirs)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    first = open_line(Source(Kind.PIPE, str(path), str(path)))
    with pytest.raises(UnusableInput, match="somebody else listens at it"):
        open_line(Source(Kind.PIPE, str(path), str(path)))
    first.close()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/dev/ttyQ7", "/dev/ttyQ7: no such device, socket or pipe, and not HOST:PORT"),
        ("/dev/null", "/dev/null: a device, but no serial line that could be set up"),
        ("/dev/tty", "/dev/tty: this terminal itself"),
        ("here:70000", "here:70000: '70000' is no port: 1 to 65535"),
        ("here:0", "'0' is no port"), ("tcp:here", "tcp:here: not HOST:PORT"),
        ("127.0.0.1:1", "127.0.0.1:1: Connection refused (--wait waits for it)"),
        ("unix:nobody", "unix:nobody: No such file or directory (--wait"),
        ("nothing", "nothing: no such device"), (".", ".: a folder"), ("a file", "a file: a file: `cr3scope analyze` judges it"),
        ("unix:" + "x" * 200, "path too long"), ("a\0b", "null"),
    ],
)  # fmt: skip
def test_what_cannot_be_listened_at_is_one_line(
    tmp_path: Path, name: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_bytes(b"")
    assert main(["listen", name, "--timeout", "5"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


@pytest.mark.parametrize("value", ["fast", "0", "-1", "1e5", "99999999999"])
def test_a_speed_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["listen", "/dev/null", "--baud", value])
    assert stop.value.code == 2 and "is no speed: a number, as 115200" in capsys.readouterr().err


def test_only_a_serial_line_has_a_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["listen", str(tmp_path / "pipe"), "--baud", "9600", "-o", str(tmp_path / "o")]) == 2
    assert "a pipe: only a serial line has a speed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errno.EACCES, "permission denied: it belongs to the group "),
        (errno.EBUSY, "somebody else listens at it"),
        (errno.EIO, "Input/output error"),
        (None, "it does not take 12345 baud"),
    ],
)
def test_why_a_serial_line_cannot_be_opened_is_said(error: int | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import serial

    def fail(_self: Any) -> None:
        raise ValueError("baud") if error is None else serial.SerialException(error, "could not open port")

    ours, theirs = terminal()
    name = os.ttyname(theirs)
    os.chown(name, -1, 20) if os.getuid() == 0 else None
    monkeypatch.setattr(serial.Serial, "open", fail)
    with pytest.raises(UnusableInput, match=says):
        open_line(Source(Kind.SERIAL, name, name), 12345)
    os.close(ours)
    os.close(theirs)


def test_without_pyserial_a_pipe_works_and_a_serial_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)  # type: ignore[misc]
    assert main(["listen", "/dev/null", "-o", str(tmp_path / "o")]) == 2
    assert "pyserial, with which serial lines are opened, is not installed: package python3-serial" in capsys.readouterr().err
    with fifo(tmp_path, HEALTHY) as path:
        assert heard_at(path, tmp_path, "--once")[0] == 0


def test_a_lock_file_of_another_program_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.wire.serial_device._LOCKS", (str(tmp_path),))
    ours, theirs = terminal()
    name = os.ttyname(theirs)
    lock = tmp_path / f"LCK..{Path(name).name}"
    lock.write_text(f"{os.getpid():10d}\n")
    with pytest.raises(UnusableInput, match=f"process {os.getpid()} uses it"):
        open_line(Source(Kind.SERIAL, name, name))
    for stale in ("   4194303\n", "no number\n", ""):
        lock.write_text(stale)
        open_line(Source(Kind.SERIAL, name, name)).close()
    os.close(ours)
    os.close(theirs)


def test_a_kernel_that_panics_without_a_trace_is_judged_as_triage_would(tmp_path: Path) -> None:
    with fifo(tmp_path, b"SeaBIOS (version 1.16)\r\n" + PANIC, b"SeaBIOS (version 1.16)\r\nBooting\r\n") as path:
        status, verdicts = heard_at(path, tmp_path, "--boots", "2")
    assert status == 1
    assert [each["verdict"] for each in verdicts] == ["faulted", "incomplete"]
    assert "Unable to mount root fs" in verdicts[0]["observation"]["detail"]
    assert "nothing in what was said tells how it went" in words(verdicts[1]) and "last words: Booting" in words(verdicts[1])


def test_a_trace_and_the_firmwares_screen_are_judged_together(tmp_path: Path) -> None:
    screen = (
        b"!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!\r\n"
        b"ExceptionData - 0000000000000011  I:1 R:0 U:0 W:0 P:1 PK:0 SS:0 SGX:0\r\n"
        b"RIP  - 000000000DF9E034, CS  - 0000000000000038, RFLAGS - 0000000000010046\r\n"
        b"CR0  - 0000000080010033, CR2 - 000000000DF9E034, CR3 - 000000000DE6A000\r\n"
        b"!!!! Can't find image information. !!!!\r\n"
    )
    with fifo(tmp_path, DIES + screen) as path:
        status, verdicts = heard_at(path, tmp_path, "--once")
    assert (status, verdicts[0]["verdict"], verdicts[0]["agreement"]) == (1, "faulted", True)


def test_a_wrong_speed_is_guessed_at(tmp_path: Path) -> None:
    with fifo(tmp_path, bytes(range(128, 256)) * 4) as path:
        status, verdicts = heard_at(path, tmp_path, "--once")
    assert status == 2 and "is the speed right (--baud)?" in words(verdicts[0])


def test_what_was_kept_before_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    mine = [tmp_path / "o" / name for name in ("boot-041.log", "boot-042.json")]
    for file in mine:
        file.write_text("{}")
    with fifo(tmp_path, HEALTHY) as path:
        heard_at(path, tmp_path, "--once")
    assert sorted({file.name for file in (tmp_path / "o").iterdir()} - {file.name for file in mine}) == ["boot-043.json", "boot-043.log"]
    assert [file.read_text() for file in mine] == ["{}", "{}"]


def test_nothing_that_was_heard_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["listen", str(tmp_path / "pipe"), "-o", str(tmp_path / "o"), "--timeout", "0.1"]) == 2
    assert "pipe: nothing was heard" in capsys.readouterr().err


def test_a_source_is_told_by_its_form() -> None:
    assert read_source("[::1]:4444") == Source(Kind.TCP, "[::1]:4444", host="::1", port=4444)
    assert read_source("tcp::4444") == Source(Kind.TCP, "tcp::4444", host="localhost", port=4444)
    assert read_source("unix:/a:b") == Source(Kind.UNIX, "unix:/a:b", "/a:b")
    assert read_source("-").kind is Kind.STDIN
    assert not Source(Kind.SERIAL, "x", "/dev/pts/3").comes_again
