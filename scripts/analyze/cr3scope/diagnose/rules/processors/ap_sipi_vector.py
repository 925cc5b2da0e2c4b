"""The start-up interrupt sends other CPUs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.ap_start import is_sent_to_code
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    startup = context.boot.startup
    if startup is None or is_sent_to_code(context.boot):
        return
    yield RULE.finding(
        message("start-up vector {vector:02x}h sends the other CPUs to {sent}, and their code lies at {code}",
                vector=Hex(startup.vector), sent=Hex(startup.vector * PAGE_BYTES), code=Hex(startup.code)),
        message("a CPU begins at vector << 12, in real mode"),
    )  # fmt: skip


RULE = Rule(
    id="ap-sipi-vector",
    title="the start-up interrupt names another page",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "The low eight bits of a start-up interrupt are the number of the 4 KiB page below 1 MiB at which the CPU "
        "begins: CS:IP = (vector << 8):0. Whatever lies in that page is run as 16-bit code."
    ),
    shows=(
        "The boot CPU waits for a CPU that never comes; or the machine resets without a v= record, since QEMU "
        "logs no exception of real mode."
    ),
    fix=(
        "Send the code's physical address >> 12, and place the code at a multiple of 4 KiB below 1 MiB, not at "
        "A0h to BFh."
    ),
    manual="Intel SDM volume 3A, 10.4.4.1 and 12.6.1 (vectors A0h to BFh are reserved)",
    check=_check,
    needs=TRACE,
)
