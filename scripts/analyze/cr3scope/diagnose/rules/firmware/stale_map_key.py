"""ExitBootServices failed, and the loader went on all the same."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.mode import LONG

_ERROR = 1 << 63
# EFI_STATUS (UEFI 2.10, appendix D), without the bit that marks an error.
_NAMES = {
    1: "EFI_LOAD_ERROR",
    2: "EFI_INVALID_PARAMETER: the map key is stale",
    3: "EFI_UNSUPPORTED",
    5: "EFI_BUFFER_TOO_SMALL: the memory map was not read",
}


def _check(context: Context) -> Iterator[Finding]:
    boot = context.boot
    if boot.exit is None or boot.exit[0] == 0 or boot.errors:
        return
    if not (boot.closed or boot.plan or boot.checks or boot.summary or context.observation):
        return
    status, attempts = boot.exit
    name = _NAMES.get(status & ~_ERROR) if status & _ERROR else None
    title = message("ExitBootServices failed, status {status}, and the boot went on", status=Hex(status))
    if name is not None:
        title = message(
            "ExitBootServices failed, status {status} ({meaning}), and the boot went on",
            status=Hex(status),
            meaning=name,
        )
    times = message("{attempts} attempt" if attempts == 1 else "{attempts} attempts", attempts=attempts)
    yield RULE.finding(
        title,
        message("after {times} the firmware still owns the machine: its timer, its interrupts, its memory", times=times),
    )


RULE = Rule(
    id="stale-map-key",
    title="ExitBootServices failed and was taken for done",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "The map key names one state of the memory map. Any allocation, and any print that "
        "allocates, between GetMemoryMap and ExitBootServices makes it stale, and the call fails "
        "with EFI_INVALID_PARAMETER. The firmware may have shut down parts of itself by then, and "
        "what it kept goes on: DMA, timers, and memory that the kernel believes its own."
    ),
    shows=(
        "No exception: the kernel may even run. IF is still 1 after the call, and later a device "
        "or a firmware handler writes to memory that was handed out."
    ),
    fix=(
        "Check the status. If it failed, call GetMemoryMap again, with a buffer that is already "
        "there, and ExitBootServices right after it, with nothing in between."
    ),
    manual="UEFI 2.10, 7.4.6 (EFI_BOOT_SERVICES.ExitBootServices)",
    check=_check,
)
