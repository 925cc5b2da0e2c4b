"""What addresses are for, where no trace tells it: inferred from the CPU's registers and from code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cr3scope.input.capture.records import Boot, CpuRecord, PlanStep, RegionRecord
from cr3scope.model.intent import Intent
from cr3scope.model.known import NOTHING, Known
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.x86.access import AccessKind
from cr3scope.x86.exceptions import FRAME_REACH
from cr3scope.x86.mov_cr3 import CR3_SWITCH, LONGEST, switch_before
from cr3scope.x86.registers import Registers


_ENTRY, HANDOFF = "entry", "handoff"
Wanted = tuple[int, int | None, int | None]  # an address, RSP and RIP when it is accessed


def inferred(now: StoppedCpu, registers: Registers, wanted: Iterable[Wanted], known: Known = NOTHING) -> Intent:
    """Return the roles that can be told of a CPU's addresses: idt, gdt, stack, trampoline, and what is known.

    ``wanted``: the addresses that somebody will ask of. One is of the stack if it lies just below RSP; of
    the trampoline if the instruction before it switches, in memory as loaders see it, where virtual is
    physical; and what a file says of the instruction, where it declares the access.
    """
    boot = Boot(
        regions=[*known.regions, *_regions(now, registers, wanted, known)], elfs=list(known.elfs),
        segments=list(known.segments), maps=list(known.maps), tables=list(known.tables),
        loaded=list(known.loaded), memories={(one.name, one.when): one for one in known.memories},
    )  # fmt: skip
    firmware = {} if known.firmware_cr3 is None else {"cr3": known.firmware_cr3}
    for when, told in ((_ENTRY, firmware), (HANDOFF, known.at_switch)):
        if told:
            boot.cpus[when] = CpuRecord(0, when, dict(told), now.phys_bits, "", frozenset())
    if known.entered is not None:
        boot.plan = [PlanStep(0, 0, "kernel entry", AccessKind.FETCH, known.entered, 1, known.entered)]
    return Intent(boot)


def _regions(
    now: StoppedCpu, registers: Registers, wanted: Iterable[Wanted], known: Known
) -> Iterator[RegionRecord]:
    yield _region("idt", registers.idt_base, registers.idt_limit + 1)
    yield _region("gdt", registers.gdt_base, registers.gdt_limit + 1)
    for virt, rsp, rip in wanted:
        declared = known.roles.get(rip or 0)
        if declared is not None and virt != rip:
            yield _region(declared, virt, 1)
        if rsp is not None and 0 < (rsp - virt) % (1 << 64) <= FRAME_REACH:
            yield _region("stack", virt, 1)
        switch = _switch_before(now, virt)
        if switch is not None:
            yield _region("trampoline", virt, 1, name=f"code behind {switch}")


def _region(role: str, virt: int, size: int, name: str = "") -> RegionRecord:
    return RegionRecord(0, name or role, role, virt, virt + size - 1, None)


def _switch_before(now: StoppedCpu, virt: int) -> str | None:
    switch = switch_at_pc(now)
    if switch is not None and virt == now.pc + switch.length:
        return CR3_SWITCH
    if virt < LONGEST or virt >> now.phys_bits:
        return None
    return switch_before(now.physical(virt - LONGEST, LONGEST))
