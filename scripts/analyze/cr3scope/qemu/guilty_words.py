"""What of a paused guest's memory a finding is about, where that is no entry of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.writer import GuiltyWord
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, STACK0_AT, Descriptor, Gate, in_local_table
from cr3scope.x86.exceptions import EXTERNAL, IN_IDT, SELECTOR_ERRORS
from cr3scope.x86.word import DWORD, QWORD

# Of these the 8 bytes are meant that hold the first byte at RIP.
_CODE = ("code-overwritten", "instruction-refused", "zero-sled")
_OF_SELECTOR = ("instruction-refused", "compatibility-mode")
_GATES = ("idt-gate-bad", "selector-mismatch")
_RETURNS = ("overwritten-address", "non-canonical", "code-unmapped")  # what a ret may have led to
_STACK0 = "ring0-stack-missing"
_FLAT_BITS = 64


def guilty_words(cpu: StoppedCpu, findings: Sequence[Finding], fault: Fault | None) -> Iterator[GuiltyWord]:
    """Yield the words that findings are about, the first of each rule, as far as the live tables map them.

    ``fault``: what the CPU died of; None if it did not. MemoryUnavailable if nobody answers.
    """
    firsts: dict[str, Finding] = {}
    for finding in findings:
        firsts.setdefault(finding.rule, finding)
    for rule, finding in firsts.items():
        yield from _words(cpu, rule, _facts(finding), fault, finding.entry is not None)


def _facts(finding: Finding) -> dict[str, int]:
    said = (finding.title, *finding.proof)
    return {name: int(fact) for each in said for name, fact in each.facts.items() if isinstance(fact, int)}


def _words(cpu: StoppedCpu, rule: str, facts: dict[str, int], fault: Fault | None, has_entry: bool) -> Iterator[GuiltyWord]:
    """``has_entry``: the finding has an entry of a table, too."""
    rip = cpu.rip if fault is None else fault.rip
    task = cpu.segments.get("TR")
    if rule == _STACK0 and task is not None and task.base:
        yield from _word(cpu, rule, "the stack in the TSS", task.base + STACK0_AT, QWORD if cpu.in_long_mode else DWORD)
    elif rule in _RETURNS and fault is not None and rip and fault.rsp is not None:
        yield from _returned_to(cpu, rule, rip, fault.rsp)
    if has_entry:
        return
    if rule in _GATES and "gate" in facts:
        gate = cpu.gate(facts["gate"])
        if gate is not None:
            at, value = gate
            yield from _word(cpu, rule, "the gate", at)
            yield from _descriptor(cpu, rule, Gate.decode(value.to_bytes(cpu.mode.gate_bytes, "little")).selector)
    if rule in _OF_SELECTOR and fault is not None and fault.vector in SELECTOR_ERRORS:
        error = fault.error_code or 0
        yield from _descriptor(cpu, rule, None if error & IN_IDT else error & ~EXTERNAL)
    if rule in _CODE and rip is not None:
        yield from _word(cpu, rule, "the code there", rip & -QWORD)


def _descriptor(cpu: StoppedCpu, rule: str, selector: int | None) -> Iterator[GuiltyWord]:
    """What a selector names, if that is in the GDT."""
    if not selector or in_local_table(selector) or cpu.gdt is None:
        return
    at = cpu.gdt.base + selector // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES
    if selector >= DESCRIPTOR_BYTES and cpu.gdt.has(at + DESCRIPTOR_BYTES - 1):
        for word in _word(cpu, rule, "the descriptor", at):
            yield replace(word, ignored=Descriptor(word.value).cpu_sets)


def _returned_to(cpu: StoppedCpu, rule: str, rip: int, rsp: int) -> Iterator[GuiltyWord]:
    """The word that a ret would have taken; whether it was one, and no jump, the way there tells."""
    width = QWORD if cpu.code_bits == _FLAT_BITS else DWORD
    for word in _word(cpu, rule, "the word on the stack", rsp - width, width):
        yield replace(word, value=rip, is_past=True)


def _word(cpu: StoppedCpu, rule: str, what: str, virt: int, width: int = QWORD) -> Iterator[GuiltyWord]:
    phys = walk(cpu, cpu.cpu, virt, cpu.platform).phys
    data = b"" if phys is None else cpu.physical(phys, width)
    if phys is not None and len(data) == width:
        yield GuiltyWord(rule, what, phys, int.from_bytes(data, "little"), width)
