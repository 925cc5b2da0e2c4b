"""The boot CPU died before it left real mode."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.delivered import Raised
from cr3scope.model.delivery import Delivery
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode
from cr3scope.x86.exceptions import BREAKPOINT
from cr3scope.x86.mode import REAL

_CODE_BYTES = 16


def of_cpu(now: StoppedCpu) -> Iterator[Finding]:
    """Yield the finding on a CPU that resets in real mode, where QEMU logs no exception."""
    title = message("CPU {cpu} died in real mode at {cs:04x}:{ip:04x}",
                    cpu=now.number, cs=Hex(now.selectors.get("CS", 0)), ip=Hex(now.rip))  # fmt: skip
    yield RULE.finding(title, message("triple fault; code there: {code}", code=now.physical(now.pc, _CODE_BYTES)), *_proof(now))


def _proof(now: StoppedCpu) -> Iterator[Message]:
    if now.idt is not None:
        yield message("the table of interrupts: base {base}, limit {limit}", base=Hex(now.idt.base), limit=Hex(now.idt.limit))
    vector = _interrupt(now)
    if vector is not None:
        met = Delivery(now, now.cpu, now, now.platform).deliver(vector, now.delivery_registers, True)
        if isinstance(met, Raised):
            yield message("the INT instruction there met {touching} which is refused", touching=met.touching)


def _interrupt(now: StoppedCpu) -> int | None:
    """The vector of an INT instruction at the PC; None of another."""
    code = now.bytes_at(now.pc, LONGEST)
    one = decode(code, now.rip, now.code_bits) if code and can_decode() else None
    if one is None or one.mnemonic not in ("int", "int3"):
        return None
    return BREAKPOINT if one.mnemonic == "int3" else int(one.operands[0].imm) & 0xFF


RULE = Rule(
    id="died-in-real-mode",
    title="the boot CPU died in real mode",
    severity=Severity.ERROR,
    modes=REAL,
    reason=(
        "In real mode an exception or interrupt is taken through a table of far pointers at IDTR's base, which the BIOS has at 0 "
        "with limit 3FFh. After a lidt for protected mode, or with a table that somebody has overwritten, none can be taken: the "
        "first one, of whatever, resets the machine."
    ),
    shows="`Triple fault` with no record before it, and CR0 with PE clear in the dump.",
    fix="Load the IDT of protected mode behind the mov to CR0 that sets PE, interrupts off (cli), and look at the instruction there.",
    manual="Intel SDM volume 3A, 22.1.4 and 11.8.2",
)
