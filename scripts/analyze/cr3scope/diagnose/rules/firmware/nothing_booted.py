"""The firmware found nothing to start."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="nothing-booted",
    title="nothing was booted",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "UEFI starts \\EFI\\BOOT\\BOOTX64.EFI of a FAT file system on a medium that is attached. "
        "Where it finds none it tries the network and then shows its shell or its menu: none of "
        "your code has run, so there is nothing to judge."
    ),
    shows=(
        "`BdsDxe: failed to load ...: Not Found`, `UEFI Interactive Shell`, `No bootable option or "
        "device was found`; with SeaBIOS `No bootable device.` on the screen."
    ),
    fix=(
        "Check that the loader is at /EFI/BOOT/BOOTX64.EFI (mdir -i IMAGE ::/EFI/BOOT), that the "
        "volume is FAT, that -drive names the right image with format=raw and has a device, and "
        "that UEFI firmware is given (-drive if=pflash,...): SeaBIOS boots no .efi."
    ),
    manual="UEFI 2.10, 3.5.1.1 (removable media boot behavior)",
)
