"""A kernel's words that it gives up are found where such kernels print them, in a text of any size or piece by piece."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.test_listen import PANIC

from cr3scope.input.logs.logfile import LogText
from cr3scope.input.logs.panic import first_panic, panics
from cr3scope.qemu.serial_port import SerialPort, Sign


def test_a_panic_is_found_wherever_it_is_cut_into_pieces(tmp_path: Path) -> None:
    said = b"x" * 2000 + b"\r\n" + PANIC + b"more\r\n"
    for at in range(1990, len(said)):
        port = SerialPort(tmp_path / "serial.log")
        signs = [*port.feed(said[:at]), *port.feed(said[at:])]
        assert signs.count(Sign.KERNEL_PANIC) == 1 and port.panic == "VFS: Unable to mount root fs"
        port.close()
    assert first_panic(LogText(said, "")) == "VFS: Unable to mount root fs"


def test_a_panic_of_before_a_trace_is_none_of_its_boot(tmp_path: Path) -> None:
    port = SerialPort(tmp_path / "serial.log")
    port.feed(PANIC)
    port.feed(PANIC + b"@c3s1 0 begin")
    assert port.is_traced and port.panic is None
    port.feed(b" x #1\r\nKernel panic - not syncing: x\r\n")
    assert port.panic == "x"
    port.close()


def test_a_panic_whose_line_has_no_end_is_known_in_the_end(tmp_path: Path) -> None:
    port = SerialPort(tmp_path / "serial.log")
    assert not port.feed(b"hello\r\nKernel panic - not syncing: no in") and port.panic == "no in"
    assert Sign.KERNEL_PANIC in port.feed(b"it\r\n") and port.panic == "no init"
    port.close()


@pytest.mark.parametrize("long", [300, 1 << 20, (1 << 20) - 12, (1 << 20) + 150])
def test_a_panic_far_down_is_found_and_one_at_the_end_of_a_long_line_is_none(long: int) -> None:
    text = b"y" * long
    assert first_panic(LogText(text + b"\n" + PANIC, "")) is not None
    assert first_panic(LogText(text + b" " + PANIC, "")) is None
    assert not list(panics(b" " + PANIC[10:], begins_line=False))
