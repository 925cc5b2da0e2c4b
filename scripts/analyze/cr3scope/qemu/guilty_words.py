"""What of a paused guest's memory a finding is about, where that is no entry of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.writer import GuiltyWord
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.word import QWORD

# Of these the 8 bytes are meant that hold the first byte at RIP; of those the address is one of the finding's facts.
_CODE = ("code-overwritten", "instruction-refused", "zero-sled")
_GATES = ("idt-gate-bad", "selector-mismatch")


def guilty_words(cpu: StoppedCpu, findings: Sequence[Finding], rip: int | None) -> Iterator[GuiltyWord]:
    """Yield the words that findings are about, as far as the live tables map them. MemoryUnavailable if nobody answers."""
    for finding in findings:
        gate = finding.title.facts.get("virt")
        if finding.rule in _GATES and finding.entry is None and isinstance(gate, int):
            yield from _word(cpu, finding.rule, "the gate", gate)
        elif finding.rule in _CODE and finding.entry is None and rip is not None:
            yield from _word(cpu, finding.rule, "the code there", rip)


def _word(cpu: StoppedCpu, rule: str, what: str, virt: int) -> Iterator[GuiltyWord]:
    phys = walk(cpu, cpu.cpu, virt & -QWORD, cpu.platform).phys
    data = b"" if phys is None else cpu.physical(phys, QWORD)
    if phys is not None and len(data) == QWORD:
        yield GuiltyWord(rule, what, phys, int.from_bytes(data, "little"))
