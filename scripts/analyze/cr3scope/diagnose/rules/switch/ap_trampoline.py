"""A CPU that died before it left real mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Hex, Message, message
from cr3scope.target.standstill import Look, Registers, by_cpu
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PE
from cr3scope.x86.mode import REAL

_LOOKED_AT = 16  # bytes of code
_SENT = Message("a start-up interrupt with vector n sends a CPU to n << 12, in real mode")


def astray(cpus: Sequence[StoppedCpu], looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield a finding on each CPU but the first that runs in real mode and does not get out of it, while another is in long mode.

    One that waits for its start is halted.
    """
    seen = by_cpu(looks)
    for cpu in cpus:
        if not cpu.number or cpu.halted or cpu.mode is not CpuMode.REAL or not any(other.in_long_mode for other in cpus):
            continue
        selector, code = cpu.selectors.get("CS", 0), cpu.physical(cpu.pc, _LOOKED_AT)
        where = {"cpu": cpu.number, "cs": Hex(selector), "ip": Hex(cpu.rip & 0xFFFF)}
        if code in (bytes(_LOOKED_AT), b"\xff" * _LOOKED_AT):
            title = message("CPU {cpu} runs in real mode at {cs:04x}:{ip:04x}, where there is no code: {byte:02x}h without end",
                            **where, byte=Hex(code[0]))  # fmt: skip
        elif cpu.number < len(seen) and all(_runs_in_real_mode(look) for look in seen[cpu.number]):
            title = message("CPU {cpu} was started, and does not leave real mode: it runs at {cs:04x}:{ip:04x}", **where)
        else:
            continue
        yield RULE.finding(title, message("code there: {code}", code=code), _SENT)


def _runs_in_real_mode(registers: Registers) -> bool:
    return not registers.get("HLT") and not registers.get("CR0", CR0_PE) & CR0_PE


RULE = Rule(
    id="ap-trampoline",
    title="a CPU died, or runs astray, in real mode",
    severity=Severity.ERROR,
    modes=REAL,
    reason=(
        "A CPU that is woken by INIT and SIPI starts in real mode, in the page below 1 MiB that the "
        "SIPI names, with nothing set up. An exception there finds no IDT that fits, and its triple "
        "fault resets the whole machine while the boot CPU is well."
    ),
    shows="`Triple fault` without any v= record: QEMU logs no exception of real mode.",
    fix=(
        "Check that the trampoline was copied to the SIPI's page, that it was assembled as 16-bit "
        "code for that address, and that its GDT pointer is taken relative to CS."
    ),
    manual="Intel SDM volume 3A, 10.4.4 (MP initialization example) and 22.1",
)
