"""CR0.PG is set, CR0.PE is not."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.input.logs.event import RegisterDump
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import REAL


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    dumps: list[RegisterDump] = [*(one.record.cpu for one in death.events), death.dump]
    cpu = next((one for one in dumps if one.has_paging and one.is_protected is False), None)
    if cpu is not None and cpu.cr0 is not None:
        yield of_cr0(cpu.cr0)


def of_cr0(cr0: int) -> Finding:
    """Return the finding on a CR0 that has PG and lacks PE."""
    return RULE.finding(
        message("paging is turned on without protected mode: CR0={cr0} has PG (bit 31), and not PE (bit 0)", cr0=Hex(cr0)),
        Message("PG alone cannot be set: a CPU refuses such a mov to CR0 with #GP(0), and not every emulator does"),
    )


RULE = Rule(
    id="paging-without-pe",
    title="paging is turned on without protected mode",
    severity=Severity.ERROR,
    modes=REAL,
    reason=(
        "Paging exists in protected mode only: PG without PE is refused with #GP(0). A value that was put together from "
        "80000000h alone, or a CR0 that was read before PE was set, loses PE."
    ),
    shows="CR0=80000010 or the like in a dump of QEMU, or #GP(0) at the mov to CR0 on hardware.",
    fix="Set PE together with PG: or eax, 80000001h.",
    manual="Intel SDM volume 3A, 2.5 (PG) and 11.8.5",
    logged=_logged,
)
