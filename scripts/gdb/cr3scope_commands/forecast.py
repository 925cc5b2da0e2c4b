"""What comes after the `mov cr3` at the PC: the accesses that the code there will make, judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import gdb

from cr3scope import exceptions
from cr3scope.capture.records import AccessKind
from cr3scope.machine.page_fault_cause import page_fault_cause
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.walk import PageFault, access
from cr3scope.predict.delivery import Delivery
from cr3scope.predict.machine import Chain, carry
from cr3scope.verdict import Fault, Finding
from cr3scope_commands.switch import new_cr3, switch_at_pc
from cr3scope_commands.target import Stop

_LOOK_AHEAD = 16
_QWORD = 8
_JUMP = re.compile(r"(?:jmp|call)q?\s+\*?%(r\w+)$")
_DIRECT = re.compile(r"(?:jmp|call)q?\s+(0x[0-9a-f]+)\b")
_TO_STACK = re.compile(r"movq?\s+%(r\w+),%rsp$")
_PUSHES = re.compile(r"(?:push|call)")
_WRITES = re.compile(r"(\w+)\s.*%([a-z0-9]+)$")
_READ_ONLY = ("cmp", "test", "push", "jmp", "call")


@dataclass(frozen=True, slots=True)
class Step:
    """One access to come, and RSP at that time. ``by`` is the instruction that leads to it."""

    name: str
    virt: int
    kind: AccessKind
    width: int
    rip: int
    rsp: int
    by: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Under which tables, which accesses, and the first that faults with what becomes of it."""

    cpu: CpuState
    steps: tuple[Step, ...]
    refused: Step | None
    fault: Fault | None
    findings: tuple[Finding, ...]
    chain: Chain | None


def forecast(now: Stop) -> Forecast:
    """Judges the tables of the switch at the PC, or the current ones if there is no switch."""
    switch = switch_at_pc(now)
    cpu = now.cpu.with_(cr3=new_cr3(now)) if switch else now.cpu
    steps = tuple(_steps(now, now.rip + (switch.length if switch else 0)))
    for step in steps:
        found = access(now, cpu, step.virt, step.kind, width=step.width, platform=now.platform)
        if isinstance(found, PageFault):
            vector = found.vector
            if step.kind is AccessKind.WRITE and vector == exceptions.PROTECTION:
                vector = exceptions.STACK_FAULT
            fault = Fault(vector, found.error_code, found.cr2, step.rip, cpu.cr3)
            chain = _chain(now, cpu, step, vector)
            return Forecast(cpu, steps, step, fault, _findings(now, step, fault), chain)
    return Forecast(cpu, steps, None, None, (), None)


def net(now: Stop, cpu: CpuState, rsp: int) -> Chain:
    """What a page fault right after the switch would come to."""
    delivery = Delivery(now, cpu, now, now.platform)
    return carry(delivery, exceptions.PAGE_FAULT, replace(now.delivery_registers, rsp=rsp))


def _chain(now: Stop, cpu: CpuState, step: Step, vector: int) -> Chain:
    registers = replace(now.delivery_registers, rip=step.rip, rsp=step.rsp)
    return carry(Delivery(now, cpu, now, now.platform), vector, registers)


def _findings(now: Stop, step: Step, fault: Fault) -> tuple[Finding, ...]:
    """The package's rules name the cause as they do for a guest that has died there."""
    registers = {**now.registers, "RIP": step.rip, "RSP": step.rsp, "CR3": fault.cr3 or 0}
    return tuple(page_fault_cause(replace(now, registers=registers), fault))


def _steps(now: Stop, first: int) -> Iterator[Step]:
    """The fetches on the way to the entry, the first push, and the fetch of the entry."""
    registers = {name.lower(): value for name, value in now.registers.items()}
    rsp = registers.get("rsp", 0)
    yield Step("next fetch", first, AccessKind.FETCH, 1, first, rsp, first)
    stale: set[str] = set()
    wrote = False
    try:
        code = gdb.selected_inferior().architecture().disassemble(first, count=_LOOK_AHEAD)
    except gdb.error:
        code = []
    for instruction in code:
        at, text = instruction["addr"], " ".join(instruction["asm"].split("#")[0].split())
        text = re.sub(r"\s*<.*$", "", text)
        if at != first and at % 4096 < instruction["length"]:
            yield Step("fetch", at, AccessKind.FETCH, 1, at, rsp, at)
        loaded = _TO_STACK.match(text)
        if loaded and loaded[1] not in stale:
            rsp = registers.get(loaded[1], rsp)
        if _PUSHES.match(text):
            if not wrote:
                yield Step("stack write", rsp - _QWORD, AccessKind.WRITE, _QWORD, at, rsp, at)
            wrote, rsp = True, rsp - _QWORD
        jump, direct = _JUMP.match(text), _DIRECT.match(text)
        if jump and jump[1] not in stale:
            entry = registers.get(jump[1], 0)
            yield Step("entry", entry, AccessKind.FETCH, 1, entry, rsp, at)
        elif direct:
            entry = int(direct[1], 16)
            yield Step("entry", entry, AccessKind.FETCH, 1, entry, rsp, at)
        if jump or direct or text.startswith(("ret", "lret", "iret", "j", "hlt")):
            break
        changed = _WRITES.match(text)
        if changed and not changed[1].startswith(_READ_ONLY):
            stale.add(_whole(changed[2]))
    if not wrote:
        yield Step("stack write", rsp - _QWORD, AccessKind.WRITE, _QWORD, first, rsp, first)


def _whole(register: str) -> str:
    """The 64-bit register that a write to a part of it changes."""
    if register.startswith("r"):
        return register.rstrip("dwb") if register[1:2].isdigit() else register
    return "r" + register.removeprefix("e")
