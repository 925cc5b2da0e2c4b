"""Anyone's QEMU command is watched with nothing changed that need not be."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cr3scope.errors import UnusableInput
from cr3scope.qemu.command import Serial, read_command

QEMU = "qemu-system-x86_64"


def watched(*words: str) -> list[str]:
    return read_command([QEMU, *words]).watched(Path("/t/log"), Path("/t/serial"), Path("/t/qmp"))


def value(words: list[str], option: str) -> str:
    """The last value, which is the one that QEMU takes."""
    return words[len(words) - 1 - words[::-1].index(option) + 1]


def test_what_is_needed_is_appended_and_the_command_stays() -> None:
    given = ["-m", "256", "-drive", "file=a b.img", "disk.img"]
    words = watched(*given)
    assert words[: len(given) + 1] == [QEMU, *given]
    assert value(words, "-d") == "int,cpu_reset"
    assert value(words, "-D") == "/t/log"
    assert value(words, "-serial") == "file:/t/serial"
    assert value(words, "-qmp") == "unix:/t/qmp"
    assert "-no-reboot" in words and "-no-shutdown" in words


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ("guest_errors", "guest_errors,int,cpu_reset"),
        ("cpu_reset", "cpu_reset,int"),
        ("int,mmu", "int,mmu,cpu_reset"),
    ],
)
def test_log_items_of_the_command_are_kept(given: str, merged: str) -> None:
    assert value(watched("-d", given), "-d") == merged


def test_log_file_of_the_command_is_overridden_and_remembered_for_a_copy() -> None:
    command = read_command([QEMU, "-D", "mine.log"])
    assert command.log_file == Path("mine.log")
    assert value(watched("-D", "mine.log"), "-D") == "/t/log"


@pytest.mark.parametrize("option", ["-daemonize", "--daemonize"])
def test_command_that_daemonizes_is_refused(option: str) -> None:
    with pytest.raises(UnusableInput, match="-daemonize"):
        read_command([QEMU, option])


def test_empty_command_is_refused() -> None:
    with pytest.raises(UnusableInput, match="no QEMU command"):
        read_command([])


@pytest.mark.parametrize("words", [["-append", "-daemonize"], ["-name", "-D"], ["-fw_cfg", "-d"]])
def test_value_that_looks_like_an_option_is_none(words: list[str]) -> None:
    command = read_command([QEMU, *words])
    assert command.log_file is None and command.log_items == ("int", "cpu_reset")


def test_flag_does_not_swallow_the_option_after_it() -> None:
    assert value(watched("-nographic", "-d", "mmu"), "-d") == "mmu,int,cpu_reset"
    assert value(watched("--enable-kvm", "--d", "mmu"), "-d") == "mmu,int,cpu_reset"


@pytest.mark.parametrize(
    ("words", "serial"),
    [
        ([], Serial.OURS),
        (["-nographic"], Serial.STDOUT),
        (["-serial", "stdio"], Serial.STDOUT),
        (["-serial", "mon:stdio"], Serial.STDOUT),
        (["-nographic", "-serial", "none"], Serial.ELSEWHERE),
        (["-serial", "pty"], Serial.ELSEWHERE),
        (["-serial", "chardev:x", "-serial", "stdio"], Serial.ELSEWHERE),
    ],
)
def test_serial_port_of_the_command_is_left_alone(words: list[str], serial: Serial) -> None:
    assert read_command([QEMU, *words]).serial is serial
    added = watched(*words)[1 + len(words) :]
    assert ("-serial" in added) is (serial is Serial.OURS)


def test_file_that_a_serial_port_goes_to_gets_a_copy() -> None:
    command = read_command([QEMU, "-serial", "file:out.txt", "-m", "1G"])
    assert command.serial_copy == Path("out.txt")
    words = command.watched(Path("/t/log"), Path("/t/serial"), Path("/t/qmp"))
    assert words.count("-serial") == 1 and value(words, "-serial") == "file:/t/serial"
    assert words[:3] == [QEMU, "-m", "1G"]


def test_line_to_repeat_the_boot_is_runnable_by_a_shell() -> None:
    line = read_command([QEMU, "-drive", "file=it's here.img"]).to_repeat(Path("/r/again.log"))
    words = shlex.split(line)
    assert words[:3] == [QEMU, "-drive", "file=it's here.img"]
    assert value(words, "-D") == "/r/again.log" and value(words, "-serial") == "stdio"
    assert "-qmp" not in words


def test_comma_in_a_socket_path_is_doubled_for_qemu() -> None:
    words = read_command([QEMU]).watched(Path("/t/log"), Path("/t/s"), Path("/t/a,b"))
    assert value(words, "-qmp") == "unix:/t/a,,b"


ISA = ["-device", "isa-serial,chardev=s"]


@pytest.mark.parametrize(
    ("words", "serial"),
    [
        (["-chardev", "socket,id=s,path=/x", *ISA], Serial.TAPPED),
        (["-chardev", "file,path=a,,b,id=s", "-serial", "chardev:s"], Serial.TAPPED),
        (["-chardev", "stdio,id=s,mux=on", "-serial", "chardev:s"], Serial.STDOUT),
        (["-chardev", "null,id=s,logfile=mine", *ISA], Serial.ELSEWHERE),
        (["-chardev", "null,id=other", *ISA], Serial.ELSEWHERE),
        (["-device", "isa-serial"], Serial.ELSEWHERE),
    ],
)
def test_serial_port_with_a_backend_of_its_own_keeps_it(words: list[str], serial: Serial) -> None:
    assert read_command([QEMU, *words]).serial is serial
    assert "-serial" not in watched(*words)[1 + len(words) :], "the guest's port would become COM2"


def test_tapped_backend_logs_to_us_and_only_while_it_is_watched() -> None:
    words = ["-chardev", "file,path=a,,b,id=s", "-serial", "chardev:s"]
    assert watched(*words)[2] == "file,path=a,,b,id=s,logfile=/t/serial"
    assert "logfile" not in read_command([QEMU, *words]).to_repeat(Path("/r/again.log"))


def test_what_decides_how_the_guest_starts_and_ends_is_noticed() -> None:
    plain = read_command([QEMU])
    assert not (plain.has_action or plain.waits or plain.has_debugger)
    given = read_command([QEMU, "-S", "-s", "-action", "reboot=reset"])
    assert given.has_action and given.waits and given.has_debugger
    assert read_command([QEMU, "--gdb", "tcp::1"]).has_debugger
    assert not read_command([QEMU, "-append", "-S"]).waits


@pytest.mark.parametrize("before", [["env", "X=y"], ["sudo", "-u", "root"], ["./wrapper.sh"]])
def test_words_before_the_qemu_stay_and_its_options_are_found(before: list[str]) -> None:
    command = read_command([*before, QEMU, "-d", "mmu", "-S"])
    assert command.words[: len(before)] == tuple(before)
    assert command.log_items == ("mmu", "int", "cpu_reset") and command.waits


@pytest.mark.parametrize(
    ("words", "has"),
    [(["-device", "ib700"], True), (["-device", "driver=i6300esb,id=w"], True), (["-watchdog", "ib700"], True),
     (["-device", "e1000,id=wdt"], False), (["-nographic"], False)],
)  # fmt: skip
def test_a_watchdog_device_is_known(words: list[str], has: bool) -> None:
    assert read_command(["qemu-system-x86_64", *words]).has_watchdog is has
