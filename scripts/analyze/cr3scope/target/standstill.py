"""Whether a guest can still do anything: judged from looks at its registers, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cr3scope.x86.cpu_state import CR0_PE, RFLAGS_IF
from cr3scope.x86.standing import Standing

LOOK_SECONDS = 0.75  # with the questions at the end, a parked guest is judged within 3 s
LOOKS = 3  # so many in a row must show the same
LOOP_BYTES = 64
# What a loop that waits for a flag may change: the flag's value and the result of the comparison.
_MAY_CHANGE = frozenset({"RIP", "EIP", "RAX", "EAX", "RFL", "EFL", "HLT", "CCS", "CCD", "CCO"})

Registers = Mapping[str, int]
Look = tuple[Registers, ...]  # one for each CPU


def interrupts_on(registers: Registers) -> bool:
    """Return RFLAGS.IF; taken as on where QEMU does not tell."""
    return bool(registers.get("RFL", registers.get("EFL", RFLAGS_IF)) & RFLAGS_IF)


def standing(registers: Registers, cpu: int) -> Standing:
    """Return where a CPU is and what could move it."""
    rip = registers.get("RIP", registers.get("EIP", 0))
    return Standing(cpu, rip, bool(registers.get("HLT")), interrupts_on(registers))


def stands_still(looks: Sequence[Look], interrupted: bool = True) -> bool:
    """Return whether no CPU will ever run other code: each is halted with interrupts off, or in a tight loop
    that no interrupt leaves.

    ``interrupted``: interrupts came between the looks, or nobody knows; then a loop with interrupts on may be
    left.
    """
    cpus = by_cpu(looks)
    return bool(cpus) and all(is_halted(cpu) or is_spinning(cpu, interrupted) for cpu in cpus)


def is_left_alone(looks: Sequence[Look]) -> bool:
    """Return whether no CPU went anywhere, of a guest that no interrupt came to meanwhile: each is halted, whether
    an interrupt could wake it or not, or in a tight loop."""
    cpus = by_cpu(looks)
    return bool(cpus) and all(_stays_halted(cpu) or is_spinning(cpu, interrupted=False) for cpu in cpus)


def waits_to_be_started(registers: Registers) -> bool:
    """Return whether this may be a CPU that nobody has started: halted with interrupts off, in real mode."""
    return bool(registers.get("HLT")) and not interrupts_on(registers) and not registers.get("CR0", CR0_PE) & CR0_PE


def by_cpu(looks: Sequence[Look]) -> list[tuple[Registers, ...]]:
    """Return what each CPU showed in every look; nothing as long as there are too few."""
    return list(zip(*looks, strict=False)) if len(looks) >= LOOKS else []


def place(registers: Registers) -> int:
    """Return the instruction pointer; -1 if it is not told, or is none that code can be read at: that of real mode."""
    if "EIP" in registers and not registers.get("CR0", CR0_PE) & CR0_PE:
        return -1
    return registers.get("RIP", registers.get("EIP", -1))


def halts_for_ever(registers: Registers) -> bool:
    """Return whether a CPU is halted with interrupts off: one such look tells all, of a CPU that somebody has started."""
    return bool(registers.get("HLT")) and not interrupts_on(registers)


def is_halted(looks: Sequence[Registers]) -> bool:
    """Return whether every look shows hlt with interrupts off; CPUs that wait for their start show that too."""
    return all(map(halts_for_ever, looks))


def _stays_halted(looks: Sequence[Registers]) -> bool:
    return all(seen.get("HLT") and seen.get("RIP", seen.get("EIP")) == looks[0].get("RIP", looks[0].get("EIP")) for seen in looks)


def is_spinning(looks: Sequence[Registers], interrupted: bool = True) -> bool:
    """Return whether every look shows the same few bytes of code with the same registers, and no interrupt can
    come."""
    rips = [place(seen) for seen in looks]
    if min(rips) < 0 or max(rips) - min(rips) >= LOOP_BYTES:
        return False
    if any(seen.get("HLT") for seen in looks):
        return False
    if interrupted and any(map(interrupts_on, looks)):
        return False
    steady = [{k: v for k, v in seen.items() if k not in _MAY_CHANGE} for seen in looks]
    return all(seen == steady[0] for seen in steady)


def moves(looks: Sequence[Registers]) -> bool:
    """Return whether a loop that spins shows another value at the same instruction: a clock, a counter."""
    values: dict[int, set[int | None]] = {}
    for seen in looks:
        values.setdefault(place(seen), set()).add(seen.get("RAX", seen.get("EAX")))
    return any(len(each) > 1 for each in values.values())
