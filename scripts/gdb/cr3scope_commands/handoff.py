"""`cr3scope handoff`."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.capture.records import AccessKind
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.walk import Translation, access
from cr3scope_commands.command import Command, show
from cr3scope_commands.forecast import forecast
from cr3scope_commands.target import Stop, stop

# System V ABI, AMD64 supplement, 3.2.3; Microsoft's x64 calling convention.
_ARGUMENTS = {"sysv": ("rdi", "rsi", "rdx", "rcx"), "ms": ("rcx", "rdx", "r8", "r9")}


class Handoff(Command):
    """Show the arguments where the callee's ABI expects them, and how RSP is aligned.

    cr3scope handoff [sysv|ms]
    At the entry or at the `mov cr3`. A function wants RSP % 16 == 8 at its first instruction,
    as a call leaves it; Microsoft's convention wants 32 bytes of home space above the return
    address as well."""

    name, usage = "handoff", "[sysv|ms]"

    def complete(self, text: str, word: str) -> list[str]:
        """The ABIs."""
        return [abi for abi in _ARGUMENTS if abi.startswith(word)]

    def run(self, words: list[str]) -> None:
        if len(words) > 1 or not set(words) <= set(_ARGUMENTS):
            raise self.misused()
        show(report(stop(), words or list(_ARGUMENTS)))


def report(now: Stop, abis: list[str]) -> Iterator[str]:
    """A line for each ABI's registers, then the stack."""
    seen = forecast(now)
    for abi in abis:
        shown = (f"{name}={now.registers.get(name.upper(), 0):#x}{_mapped(now, seen.cpu, name)}"
                 for name in _ARGUMENTS[abi])  # fmt: skip
        yield f"{abi:<5} {' '.join(shown)}"
    entry = next((step for step in seen.steps if step.name == "entry"), None)
    rsp = entry.rsp if entry else now.registers.get("RSP", 0)
    where = f"at the entry {entry.virt:#x}" if entry else "at the PC"
    fits = "as after a call" if rsp % 16 == 8 else "no function entry: a call leaves RSP % 16 == 8"
    yield f"RSP {where}: {rsp:#x}, RSP % 16 == {rsp % 16}: {fits}"


def _mapped(now: Stop, cpu: CpuState, name: str) -> str:
    value = now.registers.get(name.upper(), 0)
    found = access(now, cpu, value, AccessKind.READ, platform=now.platform)
    return f" (mapped {found.rights})" if isinstance(found, Translation) else ""
