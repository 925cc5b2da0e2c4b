"""What will strike a CPU next that still stands, alive or dead: its own tables, stacks and gates, asked of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from cr3scope import limits
from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Need, Rule, able
from cr3scope.diagnose.rules.descriptors import idt_not_loaded
from cr3scope.diagnose.rules.live import code_writable, null_mapped
from cr3scope.diagnose.rules.processors import ap_shared_tss
from cr3scope.diagnose.stopped import context
from cr3scope.message import message
from cr3scope.model import scan
from cr3scope.model.delivery import Delivery
from cr3scope.model.role import Role
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.tables import root_entries
from cr3scope.paging.walk import PageFault, access
from cr3scope.target.standstill import waits_to_be_started
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.registers import RFLAGS_VIRTUAL_8086
from cr3scope.x86.word import DWORD, MASK32, MASK64, QWORD

# What kernels make right late: Linux protects its code behind the last step of its start.
_AT_THE_END = (code_writable.RULE, null_mapped.RULE)
_CHECKS: tuple[Rule, ...] = tuple(rule for rule in RULES if Need.LIVE in rule.needs)


def audit(cpus: Sequence[StoppedCpu], firmware_cr3: int | None, is_done: bool) -> tuple[Finding, ...]:
    """Return warnings, each rule's once; none of a CPU without paging, in ring 3, that nobody has started, whose top table
    nobody can read, or that still runs under the firmware's tables (``firmware_cr3``): these are not its own.
    ``is_done``: the guest has nothing more to do, so that nothing will be made right either. MemoryUnavailable if nobody
    answers.
    """
    found: dict[str, Finding] = {}
    own = [cpu for cpu in sorted(cpus, key=lambda one: one.number)[: limits.AUDIT_CPUS] if _is_own(cpu, firmware_cr3)]
    for cpu in own:
        for finding in _of(cpu, is_done):
            found.setdefault(finding.rule, _named(finding, cpu, len(cpus)))
    for finding in ap_shared_tss.shared(own):
        found.setdefault(finding.rule, finding)
    return tuple(found.values())


def _is_own(cpu: StoppedCpu, firmware_cr3: int | None) -> bool:
    has_paging = cpu.in_long_mode or cpu.mode is CpuMode.PROTECTED and bool(cpu.cpu.cr0 & CR0_PG)
    if not has_paging or waits_to_be_started(cpu.registers) or cpu.selectors.get("CS", 0) & RPL or cpu.cpu.rflags & RFLAGS_VIRTUAL_8086:
        return False
    if root_entries(cpu, cpu.cpu) is None:
        return False  # it lives by them: what is wrong is the reading
    return firmware_cr3 is None or cpu.cpu.cr3 != firmware_cr3


def _of(cpu: StoppedCpu, is_done: bool) -> Iterator[Finding]:
    registers = cpu.delivery_registers
    stack = tuple(_stack(cpu))
    seen = replace(context(cpu, cpu.cpu, registers, stack), gate_of=cpu.gate)
    checked = [finding for rule in able(_CHECKS, seen) if is_done or rule not in _AT_THE_END for finding in rule.check(seen)]
    has_idt = all(one.rule != idt_not_loaded.RULE.id for one in checked)
    net = scan.safety_net(Delivery(cpu, cpu.cpu, cpu, cpu.platform), registers) if has_idt else ()
    yield from compose(seen, RULES, [*stack, *net])
    yield from checked


def _stack(cpu: StoppedCpu) -> Iterable[Strike]:
    """The next push."""
    width, mask = (QWORD, MASK64) if cpu.code_bits == 64 else (DWORD, MASK32)
    refused = access(cpu, cpu.cpu, cpu.stack - width & mask, AccessKind.WRITE, width=width, platform=cpu.platform)
    if isinstance(refused, PageFault):
        for entry in refused.guilty or (None,):
            yield Strike(Target.PLAN, AccessKind.WRITE, refused.virt, refused.reason, entry, rsp=cpu.rsp, role=Role.STACK_WRITE)


def _named(finding: Finding, cpu: StoppedCpu, count: int) -> Finding:
    """A warning; of several CPUs with the number."""
    which = (message("CPU {cpu} of {cpus}", cpu=cpu.number, cpus=count),) if count > 1 else ()
    return replace(finding, severity=Severity.WARNING, proof=(*finding.proof, *which), step=None, mends=())
