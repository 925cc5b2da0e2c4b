"""The firmware's words tell whether anything was started, and whether it came back."""

from __future__ import annotations

import pytest

from cr3scope.qemu.boot_manager import Attempts, read_attempts, seabios_gave_up, seabios_still_works

FAILED = b'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0): Not Found\r\n'
STARTED = b'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\n'
SHELL = (
    b'BdsDxe: starting Boot0002 "EFI Internal Shell" from Fv(7CB8)/FvFile(7C04)\r\n'
    b"\x1b[2J\x1b[01;01HUEFI Interactive Shell v2.2\r\n"
)
PROMPT = b"\x1b[1m\x1b[33mShell> \x1b[0m\x1b[37m\x1b[40m"
MENU = (
    b'BdsDxe: starting Boot0000 "UiApp" from Fv(7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1)'
    b"/FvFile(462CAA21-7614-4503-836E-8AB6F4662331)\r\n"
)
NOTHING = b"BdsDxe: No bootable option or device was found.\r\n"


@pytest.mark.parametrize("end", [SHELL + PROMPT, NOTHING, MENU])
def test_firmware_that_found_nothing_is_at_its_end(end: bytes) -> None:
    seen = read_attempts(FAILED + end)
    assert seen.gave_up and seen.started == ()
    assert seen.failed == ("UEFI Misc Device: Not Found (failed to load)",)


@pytest.mark.parametrize("end", [SHELL + PROMPT, NOTHING, MENU])
def test_loader_that_came_back_is_told_from_none_at_all(end: bytes) -> None:
    seen = read_attempts(STARTED + end)
    assert seen.gave_up and seen.started == ("UEFI Misc Device",)


@pytest.mark.parametrize(
    "serial",
    [b"", b"hello", FAILED, STARTED, NOTHING + STARTED, SHELL, SHELL + PROMPT + b"fs0:\r\n",
     SHELL + PROMPT + STARTED, MENU + STARTED],
)  # fmt: skip
def test_firmware_or_guest_at_work_has_not_given_up(serial: bytes) -> None:
    assert read_attempts(serial).gave_up == ""


def test_attempts_at_the_network_are_told() -> None:
    assert read_attempts(FAILED + b"\r\n>>Start PXE over IPv4.\r\n" + NOTHING).network


def test_firmware_that_still_looks_is_told_from_one_that_started_something() -> None:
    network = b"\r\n>>Start PXE over IPv4.\r\n"
    assert read_attempts(FAILED + network).is_looking
    for serial in (b"", STARTED, FAILED + STARTED + network, FAILED + SHELL, FAILED + SHELL + PROMPT):
        assert not read_attempts(serial).is_looking


@pytest.mark.parametrize(("words", "works"), [("", False), ("SeaBIOS (version 1.16.2)\n", True), ("SeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n", False), ("HELLO\n", False)])
def test_a_bios_that_works_is_told_by_its_screen(words: str, works: bool) -> None:
    assert seabios_still_works(words) == works


def test_names_of_options_cannot_steer_a_terminal() -> None:
    seen = read_attempts(STARTED.replace(b"Misc", b"\x07\x9b2J") + NOTHING)
    assert all(name.isprintable() for name in seen.started)


def test_half_a_word_of_the_firmware_is_none() -> None:
    whole = FAILED + SHELL + PROMPT
    for length in range(len(whole)):
        assert isinstance(read_attempts(whole[:length]), Attempts)


def test_seabios_says_so_on_the_screen() -> None:
    screen = "SeaBIOS (version 1.16)\n\nBooting from Hard Disk...\nNo bootable device.\n"
    assert seabios_gave_up(screen) == "SeaBIOS says: No bootable device."
    assert seabios_gave_up("a kernel's text\n") == ""
