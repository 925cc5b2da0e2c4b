"""Addresses at which the loader that the file is made for cannot load it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

from cr3scope import limits
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import called
from cr3scope.images.kernel_file import KernelFile, Load
from cr3scope.images.protocols.limine import LOWEST
from cr3scope.message import Hex, Message, Span, message
from cr3scope.x86.mode import OF_FILES
from cr3scope.x86.word import FOUR_GIB

_DEVICES = Span(0xA_0000, 0xF_FFFF)  # display memory and the firmware's ROM, in every PC
_HIGH = 1 << 31  # no loader finds RAM there on a small machine, and a linked address mostly begins there


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        taken = [load for load in kernel.loads if load.memsz]
        if kernel.limine is not None:
            yield from _limine(kernel, taken)
        elif any(not one.names_addresses for one in kernel.multiboot):
            yield from _multiboot(taken)


def _limine(kernel: KernelFile, taken: list[Load]) -> Iterator[Finding]:
    low = [load for load in taken if load.virt < LOWEST]
    if low and not kernel.is_relocatable:  # else the loader moves it up
        yield RULE.finding(
            message("Limine refuses {segment}: a kernel lies at {lowest} or above", segment=called(low[0]), lowest=Hex(LOWEST)),
            Message("the Limine boot protocol, \"Entry memory layout\""),
        )


def _multiboot(taken: list[Load]) -> Iterator[Finding]:
    for load in taken:
        if load.phys + load.memsz > FOUR_GIB:
            why = message("p_paddr={phys}, the CPU has no paging and 32 bits then", phys=Hex(load.phys))
            yield RULE.finding(message("{segment} is to be loaded above 4 GiB", segment=called(load)), why)
            return
        if load.phys >= _HIGH and load.phys == load.virt:
            yield RULE.finding(
                message("{segment} is to be loaded where it is linked to run", segment=called(load)),
                message("p_paddr={phys} is p_vaddr: a loader without paging needs RAM there", phys=Hex(load.phys)),
                severity=Severity.WARNING,
            )
            return
        if load.phys <= _DEVICES.last and load.phys + load.memsz > _DEVICES.first:
            yield RULE.finding(
                message("{segment} is to be loaded over display memory or ROM", segment=called(load)),
                message("{loaded}; no RAM lies in {devices}",
                        loaded=Span(load.phys, load.phys + load.memsz - 1), devices=_DEVICES),
            )  # fmt: skip
    for one, other in islice(combinations(taken, 2), limits.LINT_PAIRS):
        if one.phys < other.phys + other.memsz and other.phys < one.phys + one.memsz:
            yield RULE.finding(
                message("{one} and {other} are to be loaded one over the other",
                        one=called(one, "segment"), other=called(other, "other")),
                message("p_paddr={phys} and {other_phys}", phys=Hex(one.phys), other_phys=Hex(other.phys)),
            )  # fmt: skip
            return


RULE = Rule(
    id="load-address",
    title="the file cannot be loaded where it wants to lie",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "A Multiboot loader copies each segment to p_paddr, without paging. The linker makes that equal to p_vaddr unless the script "
        "says AT(..): a kernel that is linked high is then to be loaded at 2 GiB or above, where small machines have no RAM. Limine "
        "maps the kernel itself, at 0xffffffff80000000 and above only."
    ),
    shows="The loader's own message (\"out of memory\", \"Lower half PHDRs are not allowed\"), or a reset.",
    fix="In the linker script give each section AT(ADDR(.text) - KERNEL_VIRT + 0x100000); for Limine link at 0xffffffff80000000.",
    manual="Multiboot Specification 0.6.96, 3.1.3; ELF gABI, program header (p_paddr); the Limine boot protocol, Entry memory layout",
    lint=_lint,
)
