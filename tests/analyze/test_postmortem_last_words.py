"""The last lines of a serial port, whatever a guest sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr3scope.diagnose.facts.last_words import (
    MOST_CHARACTERS, MOST_LINES, gave_up_in_words, last_words, may_have_failed_in_words,
)  # fmt: skip
from cr3scope.input.logs.logfile import LogText
from cr3scope.input.logs.panic import first_panic


def test_the_last_lines_are_told_oldest_first_without_empty_ones() -> None:
    assert last_words(b"one\r\ntwo\r\n\r\nthree\r\n----\r\nfour") == ("two", "three", "four")


def test_a_trace_and_the_boot_manager_are_no_speech() -> None:
    others = b"@c3s1 5 map virt=0 #00000000\r\nBdsDxe: loading Boot0001\r\n"
    assert last_words(b"hello\r\n" + others) == ("hello",)


def test_moving_the_cursor_ends_a_line_and_steers_no_terminal() -> None:
    assert last_words(b"\x1b[2J\x1b[01;01Hloading\x1b[02;01H\x1b[1mfailed\x07\x9b") == (
        "loading", "failed\\x07\ufffd",
    )  # fmt: skip


@given(st.binary(max_size=3000))
def test_any_bytes_are_few_printable_lines(serial: bytes) -> None:
    lines = last_words(serial)
    assert len(lines) <= MOST_LINES
    assert all(line.isprintable() and len(line) <= MOST_CHARACTERS for line in lines)


def test_xen_that_panics_is_quoted() -> None:
    serial = (
        b"(XEN) ****************************************\r\n(XEN) Panic on CPU 0:\r\n"
        b"(XEN) Could not construct domain 0\r\n(XEN) ****************************************\r\n"
    )
    assert first_panic(LogText(serial, "")) == "Could not construct domain 0"


def test_a_crashed_dom0_is_xen_giving_up() -> None:
    serial = (
        b"(XEN) Domain 0 (vcpu#0) crashed on cpu#0:\r\n"
        b"(XEN) [    5.04] Hardware Dom0 crashed: 'noreboot' set - not rebooting.\r\n"
    )
    assert first_panic(LogText(serial, "")) == "Hardware Dom0 crashed: 'noreboot' set - not rebooting."


def test_a_guest_of_xen_that_panics_is_not_xen() -> None:
    assert first_panic(LogText(b"(XEN) Domain 3 crashed\r\n", "")) is None


def test_the_firmwares_exception_screen_is_not_the_guests_speech() -> None:
    screen = b"!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!\r\nRIP  - 1\r\n"
    assert last_words(b"loading kernel\r\n" + screen) == ("loading kernel",)


def test_of_a_panic_its_first_lines_count_not_the_addresses_after_it() -> None:
    lines = ["ok", "cpu 0: panic: no inode", " 801009a3", " 80102a2d", " 801034e3", " 801035d9"]
    assert last_words("\r\n".join(lines).encode()) == ("ok", "cpu 0: panic: no inode", "801009a3")
    old = ["panic: long ago", *["fine"] * 40, "one", "two", "three"]
    assert last_words("\r\n".join(old).encode()) == ("one", "two", "three")


CERTAIN = [
    "KernelPanic: no root", "[kpanic] no root", "KERNEL PANIC: no root", "panicked at src/main.rs:12:5:", "*** Panic!", "PANIC cannot mount root",
    "panic handler: out of memory", "unhandled exception in handler", "Fatal: no memory map", "panic: state not ok",
]  # fmt: skip
POSSIBLE = [
    "ERROR: no memory map found, halting", "EXCEPTION 0x0e at 0x1234", "Schwerer Fehler: kein Speicher", "Erreur fatale : panique du noyau",
    "12 passed, 3 failed", "паника ядра", "内核错误",
]  # fmt: skip
HARMLESS = [
    "panic handler installed\ntests: 12 passed, 0 failed\nno unhandled exceptions\nall done", "should_panic::should_fail...\t[ok]",
    "It did not crash!", "initialising exception handling", "a mirror on the terrace", "command line: root=/dev/sda panic=-1", "Kernel command line: oops=panic panic_on_warn=1",
]  # fmt: skip


@pytest.mark.parametrize("said", CERTAIN)
def test_who_says_that_it_gives_up_gave_up(said: str) -> None:
    assert gave_up_in_words(b"hello\r\n" + said.encode() + b"\r\n", "") == said
    assert gave_up_in_words(b"", f"hello\n{said}\n") == said


@pytest.mark.parametrize("said", POSSIBLE)
def test_words_that_may_mean_it_are_no_certainty(said: str) -> None:
    assert not gave_up_in_words(said.encode(), "")
    assert may_have_failed_in_words(said.encode(), "") == said
    gone_on = b"\n".join([said.encode(), *[b"then more went well"] * 30])
    assert not may_have_failed_in_words(gone_on, "")


@pytest.mark.parametrize("said", HARMLESS)
def test_words_of_a_guest_that_is_well_are_no_alarm(said: str) -> None:
    assert not gave_up_in_words(said.encode(), "") and not may_have_failed_in_words(said.encode(), "")
