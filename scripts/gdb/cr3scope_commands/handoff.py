"""`cr3scope handoff`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cr3scope.errors import UnusableInput
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope_commands.command import Command, show
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.model.role import Role
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope_commands.target import stop

# System V ABI, AMD64 supplement, 3.2.3; Microsoft's x64 calling convention.
_ARGUMENTS = {"sysv": ("rdi", "rsi", "rdx", "rcx"), "ms": ("rcx", "rdx", "r8", "r9")}
_NAMES = {"sysv": "System V", "ms": "Microsoft"}
_STACK_PARTS = {
    8: "as a call leaves it: right for a C function",
    0: "no return address: right for assembly that calls no further, not for a C function",
}


class Handoff(Command):
    """Show the arguments where the callee's ABI expects them, and how RSP is aligned.

    cr3scope handoff [sysv|ms]
    At the entry or at the `mov cr3`, where they are those with which the entry will be reached. A
    function wants RSP % 16 == 8 at its first instruction, as a call leaves it; Microsoft's convention
    wants 32 bytes of home space above the return address as well."""

    name, usage = "handoff", "[sysv|ms]"

    def names(self, before: list[str], last: str) -> Iterable[str]:
        """Return the ABIs."""
        return () if before else _ARGUMENTS

    def run(self, words: list[str]) -> None:
        if len(words) > 1 or not set(words) <= set(_ARGUMENTS):
            raise self.misused()
        now = stop()
        if not now.in_long_mode:
            raise UnusableInput(f"the guest is in {now.mode.value}: the ABIs are those of 64-bit code")
        show(report(now, predict_code(now) if switch_at_pc(now) else None, words or list(_ARGUMENTS)))


def report(now: StoppedCpu, seen: CodePrediction | None, abis: list[str]) -> Iterator[str]:
    """Yield which ABI the values fit, a line for each one's registers, then the stack."""
    entry = next((s for s in seen.steps if s.role is Role.ENTRY), None) if seen else None
    cpu = seen.cpu if seen else now.cpu
    values: Mapping[str, int | None]
    if seen and entry:
        values, rsp = seen.at_entry, entry.registers.rsp
        where = f"the entry {entry.virt:#x}"
    else:
        values, rsp, where = now.general, now.rsp, f"the PC {now.rip:#x}"
    fitting = [abi for abi in abis if _rights(now, cpu, values.get(_ARGUMENTS[abi][0]))]
    if fitting:
        names = " and ".join(f"{_NAMES[abi]} ({_ARGUMENTS[abi][0]})" for abi in fitting)
        yield f"the first argument points to mapped memory by: {names}"
    else:
        yield "no first argument points to mapped memory"
    for abi in abis:
        shown = (_value(now, cpu, name, values.get(name)) for name in _ARGUMENTS[abi])
        yield f"{abi:<5} {' '.join(shown)}"
    part = rsp % 16
    fits = _STACK_PARTS.get(part, "wrong for any code that stores 16 bytes to its stack")
    yield f"RSP at {where}: {rsp:#x}, RSP % 16 == {part}: {fits}"
    if "ms" in fitting:
        home = access(now, cpu, rsp + 8, AccessKind.WRITE, width=32, platform=now.platform)
        state = "writable" if isinstance(home, Translation) else "NOT writable"
        yield f"home space {rsp + 8:#x}..{rsp + 39:#x}: {state}"


def _value(now: StoppedCpu, cpu: CpuState, name: str, value: int | None) -> str:
    if value is None:
        return f"{name}=?"
    rights = _rights(now, cpu, value)
    return f"{name}={value:#x}" + (f" (mapped {rights})" if rights else "")


def _rights(now: StoppedCpu, cpu: CpuState, value: int | None) -> str:
    """Of the memory that a value points to; small numbers are no pointers."""
    if value is None or value < 0x1000:
        return ""
    found = access(now, cpu, value, AccessKind.READ, platform=now.platform)
    return found.rights if isinstance(found, Translation) else ""
