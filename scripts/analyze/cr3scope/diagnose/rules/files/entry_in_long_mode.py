"""64-bit code where the loader enters in 32-bit mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import line_of, placed
from cr3scope.images.kernel_file import KernelFile
from cr3scope.message import Message, message
from cr3scope.x86.decode.instruction import can_decode, decode_all, text
from cr3scope.x86.decode.memory_operands import REX_W
from cr3scope.x86.mode import OF_FILES

_LOOKED_AT = 6  # instructions
_BYTES = 64
_FRAME = ("rsp", "rbp")  # what a function's first instructions set up


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        headers = [one for one in kernel.multiboot if one.is_seen]
        if not headers or not can_decode() or any(one.enters_by_efi for one in headers):
            continue
        entry = next((one.entry for one in headers if one.entry is not None), kernel.entry)
        code = _code(kernel, entry)
        wide = next((one for one in islice(decode_all(code, entry), _LOOKED_AT) if _is_wide(one)), None)
        if wide is None:
            continue
        narrow = [text(one) for one in decode_all(code[wide.address - entry : wide.address - entry + wide.size], wide.address, 32)]
        found = RULE.finding(
            message("the code at the entry is for 64 bits: {place}", place=placed(kernel, entry)),
            message("{instruction} there is executed as: {as_32_bits}", instruction=text(wide), as_32_bits="; ".join(narrow)),
            Message("a Multiboot loader enters in protected mode, 32 bits, without paging"),
        )
        yield replace(found, source=line_of(kernel, entry), range=(entry, entry + _BYTES - 1))


def _code(kernel: KernelFile, entry: int) -> bytes:
    load = kernel.at_phys(entry)
    if kernel.at_virt(entry) is None and load is not None:
        entry += load.virt - load.phys
    return kernel.bytes_at(entry, _BYTES)


def _is_wide(one: Any) -> bool:
    """Whether it sets up a stack frame of 64 bits: in 32-bit code the same bytes make no sense."""
    from capstone import x86

    if not one.rex & REX_W or not one.operands or one.operands[0].type != x86.X86_OP_REG:
        return False
    return one.reg_name(one.operands[0].reg) in _FRAME


RULE = Rule(
    id="entry-in-long-mode",
    title="the loader enters 64-bit code in 32-bit mode",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "Multiboot and Multiboot2 leave the CPU in protected mode with 32-bit segments and no paging, also where the ELF file has 64 "
        "bits. There each REX prefix is an instruction of its own (48h: dec eax), and the rest another one than was meant."
    ),
    shows="v=0d, v=06 or a run into the weeds within the first instructions, with CS of 32 bits (CS32 in QEMU's registers).",
    fix=(
        "Enter assembly code for 32 bits that builds page tables, turns on CR4.PAE, EFER.LME and CR0.PG and jumps through a 64-bit code "
        "segment; or use a protocol that enters in long mode (Limine, UEFI)."
    ),
    manual="Multiboot Specification 0.6.96, 3.2; Multiboot2 Specification 2.0, 3.3; Intel SDM volume 2A, 2.2.1 (REX)",
    lint=_lint,
)
