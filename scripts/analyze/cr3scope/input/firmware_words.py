"""What firmware and boot managers say first: patterns by which a machine is known to boot again."""

from __future__ import annotations

import re

# Each by bytes with which it begins. Right after the CPU was reset, once:
_RESET = {
    b"SeaBIOS (version ": rb"SeaBIOS \(version ",
    b"coreboot-": rb"coreboot-[^\n]{1,80} bootblock starting",  # coreboot, src/lib/bootblock.c
    b"SecCoreStartupWithStack(": rb"SecCoreStartupWithStack\(",  # edk2's debug build, OvmfPkg/Sec/SecMain.c
    b"U-Boot SPL 20": rb"U-Boot SPL 20[0-9]{2}\.",
}
# Before something is started, perhaps several times between two resets. Linux tells the maker of its firmware, too.
_NO_NAME = rb"(?<! by )(?<!DMI: )(?<! BIOS )"
_STARTS = {
    b"BdsDxe: ": rb"BdsDxe: (?:loading|starting) Boot[0-9A-F]{4} ",  # edk2, MdeModulePkg/Library/UefiBootManagerLib
    b"Welcome to GRUB!": rb"Welcome to GRUB!",
    b"GNU GRUB  version ": rb"GNU GRUB  version ",
    b"U-Boot 20": rb"U-Boot 20[0-9]{2}\.",
    b"iPXE initialising devices": rb"iPXE initialising devices",
    b"American Megatrends": _NO_NAME + rb"American Megatrends",
    b"InsydeH2O Version": _NO_NAME + rb"InsydeH2O Version",
    b"Phoenix SecureCore": _NO_NAME + rb"Phoenix SecureCore",
}
RESET, STARTS = b"|".join(_RESET.values()), b"|".join(_STARTS.values())
_BOTH = {sign: re.compile(pattern) for sign, pattern in (*_RESET.items(), *_STARTS.items())}


def boots_again_at(text: bytes) -> int | None:
    """Return the first place where firmware speaks up in a text; None if it does not. Takes time linear in it."""
    found = (_first(text, sign, pattern) for sign, pattern in _BOTH.items())
    return min((at for at in found if at is not None), default=None)


def _first(text: bytes, sign: bytes, pattern: re.Pattern[bytes]) -> int | None:
    at = text.find(sign)
    while at >= 0:
        if pattern.match(text, at):
            return at
        at = text.find(sign, at + 1)
    return None
