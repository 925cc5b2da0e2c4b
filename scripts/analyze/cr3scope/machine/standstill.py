"""Whether a guest can still do anything: judged from looks at its registers, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.machine.qmp import Qmp, read_registers

LOOK_SECONDS = 1.0
LOOKS = 3  # so many in a row must show the same
LOOP_BYTES = 64
_INTERRUPTS_ON = 1 << 9  # RFLAGS.IF
_CPU = "CPU#"
# What a loop that waits for a flag may change: the flag's value and the result of the comparison.
_MAY_CHANGE = frozenset({"RIP", "RAX", "RFL", "HLT", "CCS", "CCD", "CCO"})

Registers = dict[str, int]


def look(qmp: Qmp) -> tuple[Registers, ...]:
    """The registers of every CPU; QmpError if QEMU does not answer."""
    text = qmp.monitor("info registers -a")
    parts = text.split(_CPU)
    return tuple(read_registers(part) for part in (parts[1:] or parts))


def interrupts_on(registers: Registers) -> bool:
    """RFLAGS.IF; taken as on where QEMU does not tell."""
    return bool(registers.get("RFL", registers.get("EFL", _INTERRUPTS_ON)) & _INTERRUPTS_ON)


def stands_still(looks: Sequence[tuple[Registers, ...]]) -> bool:
    """No CPU will ever run other code: each is halted or in a tight loop, with interrupts off."""
    if len(looks) < LOOKS:
        return False
    cpus = list(zip(*looks, strict=False))
    return bool(cpus) and all(is_halted(cpu) or is_spinning(cpu) for cpu in cpus)


def is_halted(looks: Sequence[Registers]) -> bool:
    """hlt with interrupts off in every look; CPUs that wait for their start are so too."""
    return all(seen.get("HLT") and not interrupts_on(seen) for seen in looks)


def is_spinning(looks: Sequence[Registers]) -> bool:
    """The same few bytes of code with the same registers in every look, interrupts off."""
    rips = [seen.get("RIP", -1) for seen in looks]
    if min(rips) < 0 or max(rips) - min(rips) >= LOOP_BYTES:
        return False
    steady = [{k: v for k, v in seen.items() if k not in _MAY_CHANGE} for seen in looks]
    return all(seen == steady[0] for seen in steady) and not any(map(interrupts_on, looks))
