"""A loader that gave the machine back."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES

RULE = Rule(
    id="loader-returned",
    title="the loader returned to the firmware",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The firmware started the loader and went on to what it does when nothing is left to boot: "
        "the loader came back, by a return from its entry or by Exit(), before ExitBootServices."
    ),
    shows="`BdsDxe: starting Boot...`, then the next option, the shell or the menu; no exception.",
    fix=(
        "Look at what the loader printed last, and check each status that it ignores; an error of "
        "a boot service, such as a file that it does not find, is the usual reason."
    ),
    manual="UEFI 2.10, 7.4 (EFI_BOOT_SERVICES.Exit)",
)
