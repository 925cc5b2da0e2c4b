"""A guest is stopped once, at its loader's switch, and goes on whatever comes of that."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cr3scope.input.logs.log_report import LogReport
from cr3scope.qemu import gdb_stub
from cr3scope.qemu.command import read_command
from cr3scope.qemu.gdb_stub import GdbStub, Kind, Point, StubClosed
from cr3scope.qemu.qmp import QmpError
from cr3scope.qemu.switch_stop import Held, SwitchStop
from cr3scope.verdict.run import RunEnd, judge_untraced
from cr3scope.verdict.types import Status

INTERRUPT = b"\x03"
SITES = (0x1000, 0x2000)
SILENT_SECONDS = 10.0


class Stub:
    """QEMU's side of the connection: answers each packet, and keeps what it was sent."""

    def __init__(self, path: Path, answers: Callable[[str], Sequence[bytes]], ends_at: str = "") -> None:
        self.sent: list[str] = []
        self._ends_at = ends_at
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        peer.settimeout(SILENT_SECONDS)
        unread = b""
        with peer:
            while data := peer.recv(1 << 12):
                unread += data
                while asked := self._next(unread):
                    packet, unread = asked
                    self.sent.append(packet)
                    peer.sendall(b"+" * (packet != "interrupt") + b"".join(map(framed, self._answers(packet))))
                    if packet == self._ends_at:
                        return

    def _next(self, unread: bytes) -> tuple[str, bytes] | None:
        """The next packet, and what follows it; None if there is no whole one."""
        unread = unread.lstrip(b"+")
        if unread.startswith(INTERRUPT):  # no packet
            return "interrupt", unread.removeprefix(INTERRUPT)
        end = unread.find(b"#")
        if end < 0 or len(unread) < end + 3:
            return None
        packet, check = unread[unread.index(b"$") + 1 : end], unread[end + 1 : end + 3]
        assert int(check, 16) == sum(packet) & 0xFF
        return packet.decode(), unread[end + 3 :]

    def close(self) -> None:
        """Wait for the end of what is sent, which a test that failed may have left open."""
        self._thread.join(2 * SILENT_SECONDS)
        self._listener.close()


def framed(data: bytes) -> bytes:
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


def obliging(packet: str) -> list[bytes]:
    return [b"T05thread:01;"] if packet == "c" else [b"OK"]


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    found = Stub(tmp_path / "gdb", obliging)
    yield found
    found.close()


class Guest:
    """A guest that waits, as QMP shows it; `states` are told one after the other, the last one for ever."""

    def __init__(self, *states: str) -> None:
        self.states, self.said = list(states), list[str]()

    def run_state(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def execute(self, command: str, **_: Any) -> Any:
        self.said.append(command)

    def monitor(self, line: str) -> str:
        self.said.append(line.split(" ")[0])
        return ""

    def activate_disks(self) -> None:
        self.said.append("disks")


def stop(folder: Path, sites: Sequence[int], look: Callable[[Any], None] = lambda _qmp: None) -> SwitchStop:
    return SwitchStop(folder, lambda _qmp: sites, look)


def run_into_it(at: SwitchStop) -> None:
    """Begin, and wait until the guest has stopped and was let go, or whatever it raises instead."""
    guest: Any = Guest("prelaunch")
    at.begin()
    at.search(guest)
    while not at.stopped(guest):
        pass


def test_it_stops_at_every_place_looks_and_takes_all_back(tmp_path: Path, stub: Stub) -> None:
    looked: list[str] = []
    guest: Any = Guest("prelaunch")
    at = stop(tmp_path, SITES, lambda _qmp: looked.append("here"))
    at.begin()
    at.search(guest)
    assert guest.said == ["stop", "gdbserver", "disks"], "the breakpoints are set before it runs, and gdb's stub starts it"
    while not at.stopped(guest):
        pass
    stub.close()
    assert looked == ["here"]
    assert stub.sent == ["Z1,1000,1", "Z1,2000,1", "c", "z1,1000,1", "z1,2000,1", "D"]
    assert at.stub is None and at.next_try == float("inf")


def forgone(at: SwitchStop, *then: str) -> SwitchStop:
    """Begin, and forgo the stop. ``then``: the states of the guest that follow."""
    guest: Any = Guest("prelaunch", *(then or ("running",)))
    at.begin()
    at.search(guest)
    at.forgo(guest)
    return at


@pytest.mark.parametrize("has_come", [True, False], ids=["which stands there already", "which runs"])
def test_a_guest_is_let_go_without_a_look(has_come: bool, tmp_path: Path) -> None:
    said = {"c": [b"T05thread:01;"] if has_come else [], "interrupt": [] if has_come else [b"T02thread:01;"]}
    stub = Stub(tmp_path / "gdb", lambda packet: said.get(packet, [b"OK"]))
    at = forgone(stop(tmp_path, SITES, lambda _qmp: pytest.fail("looked")))
    stub.close()
    assert stub.sent == ["Z1,1000,1", "Z1,2000,1", "c", "interrupt", "z1,1000,1", "z1,2000,1", "D"]
    assert at.stub is None and at.next_try == float("inf")


def test_a_guest_that_ends_before_it_is_let_go_without_a_look_is_not_held(tmp_path: Path) -> None:
    leaving = Stub(tmp_path / "gdb", lambda packet: {"c": [], "interrupt": [b"W00"]}.get(packet, [b"OK"]))
    with pytest.raises(StubClosed):
        forgone(stop(tmp_path, SITES))
    leaving.close()


def test_an_interrupt_that_qemu_loses_is_sent_again(tmp_path: Path) -> None:
    """QEMU 11 does, if it comes right behind the word that lets the guest go."""
    lost = [b"", b"T02thread:01;"]
    deaf = Stub(tmp_path / "gdb", lambda packet: [b for b in [lost.pop(0)] if b] if packet == "interrupt" else [] if packet == "c" else [b"OK"])
    at = forgone(stop(tmp_path, SITES[:1]))
    deaf.close()
    assert deaf.sent == ["Z1,1000,1", "c", "interrupt", "interrupt", "z1,1000,1", "D"] and at.stub is None


def test_a_guest_that_has_ended_without_a_word_of_the_stub_is_not_held(tmp_path: Path) -> None:
    """QEMU 11 says nothing there of a guest that has powered off, and keeps it."""
    silent = Stub(tmp_path / "gdb", lambda packet: {"c": [], "interrupt": []}.get(packet, [b"OK"]))
    at = forgone(stop(tmp_path, SITES), "shutdown")
    silent.close()
    assert at.stub is None and silent.sent[-1] == "interrupt"


def test_a_guest_that_does_not_stop_to_be_let_go_is_said_to_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdb_stub, "_HALT_SECONDS", 0.1)
    silent = Stub(tmp_path / "gdb", lambda packet: {"c": [], "interrupt": []}.get(packet, [b"OK"]))
    with pytest.raises(Held, match="does not stop"):
        forgone(stop(tmp_path, SITES))
    silent.close()


def test_it_goes_on_even_if_the_look_fails(tmp_path: Path, stub: Stub) -> None:
    def fails(_qmp: Any) -> None:
        raise QmpError("no answer")

    at = stop(tmp_path, SITES[:1], fails)
    with pytest.raises(QmpError):
        run_into_it(at)
    stub.close()
    assert stub.sent[-2:] == ["z1,1000,1", "D"]


def test_a_guest_that_cannot_be_let_go_is_said_to_be_held(tmp_path: Path) -> None:
    silent = Stub(tmp_path / "gdb", lambda packet: [b"E01"] if packet == "D" else obliging(packet))
    at = stop(tmp_path, SITES[:1])
    with pytest.raises(Held, match="D: E01"):
        run_into_it(at)
    silent.close()
    seen = judge_untraced(RunEnd(held="gdb stub: D: E01", seconds=3, rip=0x1000), LogReport(), None)
    assert (seen.status, seen.exit_status, seen.observation) == (Status.INCOMPLETE, 2, None)
    assert seen.diagnostics[0].message == (
        "the guest stood at its switch and could not be let go: gdb stub: D: E01: after 3.0 s, at RIP=0x1000"
    )


def test_a_guest_that_ends_while_it_is_let_go_is_not_held(tmp_path: Path) -> None:
    """The stub says so (W: exited), and QEMU's own end tells the rest."""
    leaving = Stub(tmp_path / "gdb", lambda packet: [b"W00"] if packet == "D" else obliging(packet))
    at = stop(tmp_path, SITES[:1])
    with pytest.raises(StubClosed):
        run_into_it(at)
    leaving.close()


def test_a_guest_without_a_place_to_stop_goes_on(tmp_path: Path) -> None:
    guest: Any = Guest("prelaunch", "running")
    at = stop(tmp_path, ())
    at.begin()
    at.search(guest)
    assert guest.said == ["stop", "cont"]
    assert at.next_try == float("inf"), "until the firmware says that it starts something"


def test_a_saved_machine_is_looked_at_once_it_is_there(tmp_path: Path) -> None:
    guest: Any = Guest("inmigrate", "inmigrate", "paused")
    at = stop(tmp_path, ())
    at.begin()
    at.search(guest)
    at.search(guest)
    assert guest.said == [] and at.next_try < float("inf")
    at.search(guest)
    assert guest.said == ["stop", "cont"]


def test_a_saved_machine_can_write_to_its_disks_before_the_stub_starts_it(tmp_path: Path, stub: Stub) -> None:
    """QEMU 10 aborts else: its disks wait for `cont`. It may have been loaded before the first look."""
    guest: Any = Guest("paused")
    at = stop(tmp_path, SITES[:1])
    at.begin()
    at.search(guest)
    assert guest.said == ["stop", "gdbserver", "disks"]
    while not at.stopped(guest):
        pass
    stub.close()


def test_a_guest_that_cannot_be_asked_goes_on(tmp_path: Path) -> None:
    def fails(_qmp: Any) -> Sequence[int]:
        raise QmpError("no answer")

    guest: Any = Guest("prelaunch")
    at = SwitchStop(tmp_path, fails, lambda _qmp: None)
    at.begin()
    with pytest.raises(QmpError):
        at.search(guest)
    assert guest.said == ["stop", "cont"]
    assert at.next_try == float("inf")


def test_a_guest_that_ends_before_it_switches_is_no_error(tmp_path: Path) -> None:
    other = Stub(tmp_path / "gdb", lambda packet: [] if packet == "c" else [b"OK"], ends_at="c")
    guest: Any = Guest("prelaunch")
    at = stop(tmp_path, SITES)
    at.begin()
    at.search(guest)
    while not at.stopped(guest):
        pass
    other.close()
    assert at.stub is None


def test_a_qemu_that_leaves_as_soon_as_it_is_let_go_is_no_error(tmp_path: Path) -> None:
    other = Stub(tmp_path / "gdb", obliging, ends_at="D")
    guest: Any = Guest("prelaunch")
    at = stop(tmp_path, SITES)
    at.begin()
    at.search(guest)
    while not at.stopped(guest):
        pass
    other.close()
    assert other.sent[-1] == "D" and at.stub is None


ANSWERS = {"nothing known": [b""], "an error": [b"E22"]}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_a_stub_that_refuses_is_an_error_in_one_line(tmp_path: Path, answers: list[bytes]) -> None:
    other = Stub(tmp_path / "gdb", lambda _packet: answers)
    found = GdbStub(tmp_path / "gdb")
    with pytest.raises(QmpError, match=r"^gdb stub: Z1,1000,1: [^\n]+$"):
        found.set_point(Point(Kind.EXECUTE, 0x1000))
    found.close()
    other.close()


def test_a_stub_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="gdb stub: "):
        GdbStub(tmp_path / "nobody")


def test_a_guest_is_held_only_where_somebody_wants_to_stop_it(tmp_path: Path) -> None:
    command = read_command(["qemu-system-x86_64"])
    held, plain = (command.watched(tmp_path, tmp_path, tmp_path, is_held) for is_held in (True, False))
    assert held[: len(plain)] == plain and held[len(plain) :] == ["-S"]
