"""`cr3scope run --who` on 32-bit kernels: halves of entries, gates, descriptors and words of the stack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from boot.guest import judge
from boot.reference import ROOT
from boot.test_protected_guests import QEMU, SECONDS, built_kernel

_SOURCE = "tests/boot/foreign/protected/kernel.S"
_LINES = (ROOT / _SOURCE).read_text().splitlines()


@dataclass(frozen=True, slots=True)
class Wrote:
    """``part`` of ``what`` was written last by the line with that text behind a label; by no instruction if that is None."""

    line: str | None
    what: str | None = None
    part: str = "whole"


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    mode: str
    defines: tuple[str, ...]
    rule: str
    wrote: tuple[Wrote, ...]


_GATE, _DESCRIPTOR, _WORD, _STACK0 = "the gate", "the descriptor", "the word on the stack", "the stack in the TSS"
_FILLED = (Wrote("mov %dx, 6(%edi)", _GATE, "high"), Wrote("movw $CODE_SELECTOR, 2(%edi)", _GATE, "low"))
ROWS = (
    Row("halves", "PAE", ("WITH_EFER", "EFER_BITS=0x800", "IN_TABLES=entry_of kernel_main; orl $0x80000000, 4(%edi)"), "nx-leaf-code",
        (Wrote("IN_TABLES", None, "high"), Wrote("mov %eax, (%edi)", None, "low"))),
    Row("short-entry", "SMALL", ("IN_TABLES=entry_of kernel_main; movl $0, (%edi); addl $0x1000, 4(%edi)",), "code-unmapped",
        (Wrote("IN_TABLES"),)),
    Row("never-written", "SMALL", ("ROOT=directory + 0x1000",), "identity-missing-trampoline", (Wrote(None),)),
    Row("gate", "SMALL", ("CODE_SELECTOR=0x10",), "selector-mismatch", _FILLED),
    Row("descriptor", "SMALL", ("IN_KERNEL=movb $0x1a, gdt + 13",), "selector-mismatch",
        (*_FILLED, Wrote("IN_KERNEL", _DESCRIPTOR, "high"))),
    Row("far-jump", "SMALL", ("IN_KERNEL=movb $0x92, gdt + 29; ljmp $0x18, $done",), "instruction-refused",
        (Wrote("IN_KERNEL", _DESCRIPTOR, "high"), Wrote(None, "the code there"))),
    Row("returned", "SMALL", ("IN_KERNEL=push $0x64636261; ret",), "code-unmapped",
        (Wrote(None), Wrote("IN_KERNEL", _WORD))),
    Row("stack0", "SMALL", ("IN_KERNEL=movl $0, tss + 4",), "ring0-stack-missing", (Wrote("IN_KERNEL", _STACK0),)),
    Row("stack0-in-file", "SMALL", ("STACK0=0",), "ring0-stack-missing", (Wrote(None, _STACK0),)),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_who_wrote_what_kills_is_told_by_its_line(row: Row, tmp_path: Path) -> None:
    kernel = built_kernel(tmp_path, row.mode, row.defines)
    run = judge(tmp_path, [*QEMU, "-kernel", str(kernel)], SECONDS, [kernel], who="--who")
    found = next((each for each in run.verdict["findings"] if each["rule"] == row.rule), None)
    assert found is not None, run.explain()
    told = [(each["what"], each["part"], each["rip"] and _text(each["place"])) for each in found["writers"]]
    assert told == [(each.what, each.part, each.line) for each in row.wrote], run.explain()
    assert found["unwritten"] is (row.wrote[0].line is None)


def _text(place: str) -> str:
    """The line of the source at ``file:line``, without a label before it and a comment behind it."""
    match = re.fullmatch(re.escape(_SOURCE) + r":(\d+)", place)
    assert match is not None, place
    return re.sub(r"^[0-9]+:|/\*.*", "", _LINES[int(match[1]) - 1]).strip()
