"""The serial port's signs and the QMP client, byte by byte."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from analyze.fake_qemu import SCREEN, trace_record

from cr3scope.input.logs.screen import read_screen
from cr3scope.qemu.qmp import QemuLeft, Qmp, QmpError
from cr3scope.qemu.serial_port import SerialPort, Sign
from cr3scope.x86.access import Fault

FAULT = trace_record("@c3s1 5 fault by=kernel vector=e")
END = trace_record("@c3s1 6 end producer=kernel records=6 bytes=1 crc=0 next=none")


def signs(path: Path, data: bytes, size: int) -> list[Sign]:
    """The signs of data that comes in pieces of ``size`` bytes."""
    port = SerialPort(path / "serial.log")
    found = [s for i in range(0, len(data), size) for s in port.feed(data[i : i + size])]
    port.close()
    assert (path / "serial.log").read_bytes() == data == port.received
    return found


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_each_sign_is_told_once_however_the_bytes_come(tmp_path: Path, size: int) -> None:
    noise = b"BdsDxe: loading\x1b[2J\r\n" * 20
    assert signs(tmp_path, noise + FAULT + noise + END + noise, size) == [
        Sign.FAULT_RECORD,
        Sign.TRACE_ENDED,
    ]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_screen_of_the_firmware_is_a_sign(tmp_path: Path, size: int) -> None:
    found = signs(tmp_path, b"x\r\n" + SCREEN, size)
    assert found[-1] is Sign.SCREEN_COMPLETE and found.count(Sign.SCREEN_COMPLETE) == 1


@pytest.mark.parametrize(
    "data",
    [
        FAULT[:-1],
        FAULT.replace(b"vector=e", b"vector=d"),
        END.replace(b"none", b"many"),
        trace_record("@c3s1 6 end producer=loader records=6 bytes=1 crc=0 next=kernel"),
        b"fault in the text of somebody else\n",
    ],
)
def test_damaged_records_and_other_words_are_no_sign(tmp_path: Path, data: bytes) -> None:
    assert signs(tmp_path, data, 10_000) == []


def test_endless_output_keeps_its_beginning_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.SERIAL_BYTES", 1000)
    port = SerialPort(tmp_path / "serial.log")
    for _ in range(100):
        port.feed(b"x" * 100)
    port.feed(FAULT)
    port.close()
    assert port.left_out == 9000 + len(FAULT)
    marker = b"\n[cr3scope: %d bytes left out]\n" % port.left_out
    assert len(port.received) == 1000 + len(marker) and port.received.endswith(FAULT)
    assert port.received.index(marker) == 750
    assert (tmp_path / "serial.log").read_bytes() == port.received


def test_a_panic_is_known_wherever_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.SERIAL_BYTES", 1000)
    port = SerialPort(tmp_path / "serial.log")
    for data in (b"x" * 5000, b"\nKernel panic - not syncing: no init\n", b"x" * 5000):
        port.feed(data)
    port.close()
    assert port.panic == "no init" and b"no init" not in port.received


def test_a_full_disk_costs_the_file_and_not_what_is_judged() -> None:
    port = SerialPort(Path("/dev/full"))
    port.feed(b"hello")
    port.close()
    assert port.received == b"hello" and port.error is not None


def test_screen_is_read_as_the_exception_that_it_shows() -> None:
    expected = Fault(14, 2, 0xFFFF_9000_0000_0000, 0xE3A60F3, 0xE531000)
    assert read_screen(b"chatter" + SCREEN + SCREEN.replace(b"0E3A60F3", b"11111111")) == expected
    assert read_screen(b"no screen") is None


@pytest.mark.parametrize("cut", range(0, len(SCREEN), 11))
def test_screen_that_is_cut_gives_what_it_has(cut: int) -> None:
    fault = read_screen(SCREEN[:cut])
    assert fault is None or fault.vector == 14


@pytest.fixture
def pair() -> Iterator[tuple[Qmp, socket.socket]]:
    """A client, and QEMU's end of its socket."""
    ours, theirs = socket.socketpair()
    client = Qmp(ours)
    theirs.recv(1 << 16)
    yield client, theirs
    client.close()
    theirs.close()


def test_reply_is_told_from_events_and_from_other_replies(pair: tuple[Qmp, socket.socket]) -> None:
    client, qemu = pair
    event = {"event": "STOP"}
    for message in ({"QMP": {}}, {"return": {}, "id": "hello"}, event, {"return": 7, "id": "x"}):
        qemu.sendall(json.dumps(message).encode() + b"\r\n")
    assert client.execute("x") == 7
    assert client.events() == [event]
    assert client.ready and not client.closed


def test_refused_command_says_why(pair: tuple[Qmp, socket.socket]) -> None:
    client, qemu = pair
    qemu.sendall(b'{"error": {"class": "X", "desc": "not now"}, "id": "cont"}\n')
    with pytest.raises(QmpError, match="cont: not now"):
        client.execute("cont")


def test_silent_qemu_is_given_up(
    pair: tuple[Qmp, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.qemu.qmp.REPLY_SECONDS", 0.05)
    with pytest.raises(QmpError, match="no answer"):
        pair[0].execute("query-status")


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"[1]\n", b"7\n", b'{"id": 1}\n', b"x" * 99999])
def test_junk_on_the_socket_is_passed_over(pair: tuple[Qmp, socket.socket], junk: bytes) -> None:
    client, qemu = pair
    qemu.sendall(junk + b"\n" + b'{"event": "RESET"}\n')
    assert client.events() == [{"event": "RESET"}]


def test_qemu_that_has_left_is_known(pair: tuple[Qmp, socket.socket]) -> None:
    client, qemu = pair
    qemu.close()
    assert client.events() == []
    assert client.closed
    with pytest.raises(QmpError):
        client.execute("query-status")


def test_registers_are_read_from_the_monitor(pair: tuple[Qmp, socket.socket]) -> None:
    client, qemu = pair
    text = (
        "RAX=0000000000000001 R8 =00000000000000ff\r\n"
        "RFL=00000046 HLT=1\r\nCS =0038 0000000000000000\r\n"
    )
    reply = {"return": text, "id": "human-monitor-command"}
    qemu.sendall(json.dumps(reply).encode() + b"\n")
    assert client.registers() == {"RAX": 1, "R8": 255, "RFL": 0x46, "HLT": 1}


def test_a_qemu_that_has_ended_is_told_from_one_that_does_not_answer(pair: tuple[Qmp, socket.socket]) -> None:
    """A guest may end in the moment in which something is asked: that is no failure of the question."""
    client, qemu = pair
    qemu.close()
    for _ in range(2):  # its end is read, then the socket is written to in vain
        with pytest.raises(QemuLeft):
            client.execute("stop")
