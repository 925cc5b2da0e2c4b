"""What the firmware's boot manager said on the serial port, or SeaBIOS on the screen.

edk2, MdeModulePkg/Library/UefiBootManagerLib and Universal/BdsDxe (its words are on every console, so
on the serial port); SeaBIOS, src/boot.c.
"""

from __future__ import annotations

import re

from cr3scope.dataclass import dataclass
from cr3scope.text import printable

_CONTROL = re.compile(rb"\x1b\[[0-9;?=]*[A-Za-z]")  # of a terminal (ECMA-48, CSI)
_FAILED = re.compile(r'BdsDxe: failed to (load|start) Boot[0-9A-F]{4} "([^"\n]{1,80})"[^\n]{0,300}: ([^\n:]+)')
_STARTED = re.compile(r'BdsDxe: starting Boot[0-9A-F]{4} "([^"\n]{1,80})" from ([^\n]*)')
_IN_FIRMWARE = re.compile(r"^Fv\(|/FvFile\(")  # the shell and the set-up menu are in the flash
# edk2's UiApp, whatever the option that starts it is called.
_MENU = "/FvFile(462CAA21-7614-4503-836E-8AB6F4662331)"
_NO_OPTION = "BdsDxe: No bootable option or device was found."
_SHELL = "UEFI Interactive Shell v"
_PROMPT = "Shell> "
_NETWORK = re.compile(r">>Start (?:PXE|HTTP Boot) over IPv[46]")
_SEABIOS = "No bootable device."
_SEABIOS_BEGINS, _SEABIOS_BOOTS = "SeaBIOS (version ", "Booting from "
_MOST = 6


@dataclass(frozen=True, slots=True)
class Attempts:
    """What was tried; ``gave_up`` says how the firmware showed that it has nothing left, "" if it has not."""

    started: tuple[str, ...] = ()  # options outside the firmware's own flash
    failed: tuple[str, ...] = ()
    network: bool = False
    shell: bool = False  # the firmware's own runs, and a startup.nsh of it may start anything
    gave_up: str = ""

    @property
    def is_looking(self) -> bool:
        """Return whether nothing was started yet, and what was tried had no success."""
        return bool(self.failed or self.network) and not self.started and not self.shell


def read_attempts(serial: bytes) -> Attempts:
    """Return what the boot manager tried, from everything that came out of the serial port."""
    if b"BdsDxe: " not in serial and _SHELL.encode() not in serial:
        return Attempts()
    text = _CONTROL.sub(b"", serial).decode("latin-1").replace("\r", "")
    every = list(_STARTED.finditer(text))
    started = [m for m in every if not _IN_FIRMWARE.search(m[2])]
    last = started[-1].end() if started else 0
    shell = text.find(_SHELL, last)
    gave_up = ""
    if _NO_OPTION in text[last:]:
        gave_up = "the firmware says: no bootable option or device was found"
    elif shell >= 0 and text.endswith(_PROMPT):
        gave_up = "the firmware's own shell waits at its prompt"
    elif every and _MENU in every[-1][2]:
        gave_up = "the firmware shows its set-up menu"
    return Attempts(
        tuple(printable(m[1]) for m in started[:_MOST]),
        tuple(
            printable(f"{m[2]}: {m[3].strip()} (failed to {m[1]})")
            for m in list(_FAILED.finditer(text))[:_MOST]
        ),
        _NETWORK.search(text) is not None,
        shell >= 0,
        gave_up,
    )


def seabios_still_works(screen: str) -> bool:
    """Return whether SeaBIOS has greeted on the text screen, and started nothing yet."""
    return _SEABIOS_BEGINS in screen and _SEABIOS_BOOTS not in screen


def seabios_gave_up(screen: str) -> str:
    """Return what SeaBIOS says on the text screen when nothing is left to boot; "" if it does not."""
    line = next((s for s in screen.split("\n") if s.startswith(_SEABIOS)), None)
    return f"SeaBIOS says: {printable(line.strip())}" if line else ""
