"""Segments that no loader can lay out as the file wants it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

from cr3scope import limits
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.file_place import called
from cr3scope.images.kernel_file import KernelFile, Load
from cr3scope.message import Hex, Message, message
from cr3scope.paging.canonical import MOST_LEVELS, is_canonical
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import OF_FILES
from cr3scope.x86.word import MASK32, MASK64


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        if not kernel.loads:
            yield RULE.finding(Message("nothing of the file is loaded: it has no PT_LOAD"))
        for load in islice(kernel.loads, limits.LINT_PAIRS):
            yield from _alone(kernel, load)
        yield from _together(kernel)


def _alone(kernel: KernelFile, load: Load) -> Iterator[Finding]:
    if load.filesz > load.memsz:
        yield RULE.finding(
            message("{segment} holds more bytes in the file than in memory", segment=called(load)),
            message("p_filesz={filesz}, p_memsz={memsz}", filesz=Hex(load.filesz), memsz=Hex(load.memsz)),
        )
    if load.offset + load.filesz > kernel.size:
        yield RULE.finding(
            message("{segment} reaches beyond the end of the file: it is cut", segment=called(load)),
            message("p_offset={offset}, p_filesz={filesz}, the file has {size} bytes",
                    offset=Hex(load.offset), filesz=Hex(load.filesz), size=kernel.size),
        )  # fmt: skip
    if load.virt + load.memsz > (MASK64 if kernel.bits == 64 else MASK32) + 1:
        yield RULE.finding(
            message("{segment} reaches beyond the end of the address space", segment=called(load)),
            message("p_vaddr={virt}, p_memsz={memsz}", virt=Hex(load.virt), memsz=Hex(load.memsz)),
        )
    elif load.memsz and (load.virt ^ load.last) >> 63 or not is_canonical(load.virt, MOST_LEVELS) or not is_canonical(load.last, MOST_LEVELS):
        yield RULE.finding(
            message("{segment} is not canonical, with {levels} levels of tables either: no CPU reaches it", segment=called(load), levels=MOST_LEVELS),
            message("p_vaddr={virt}, p_memsz={memsz}", virt=Hex(load.virt), memsz=Hex(load.memsz)),
        )
    if load.align > 1 and load.align & load.align - 1:
        yield RULE.finding(
            message("the alignment of {segment} is no power of two: {align}", segment=called(load), align=Hex(load.align)),
            severity=Severity.WARNING,
        )
    elif load.align >= PAGE_BYTES and load.filesz and (load.virt - load.offset) % PAGE_BYTES:
        yield RULE.finding(
            message("{segment} lies at another place in its page than its bytes do in the file", segment=called(load)),
            message("p_vaddr={virt}, p_offset={offset}, p_align={align}: who maps pages of the file maps other bytes",
                    virt=Hex(load.virt), offset=Hex(load.offset), align=Hex(load.align)),
            severity=Severity.WARNING,
        )  # fmt: skip


def _together(kernel: KernelFile) -> Iterator[Finding]:
    taken = [load for load in kernel.loads if load.memsz]
    for one, other in islice(combinations(taken, 2), limits.LINT_PAIRS):
        if one.virt <= other.last and other.virt <= one.last:
            yield RULE.finding(
                message("{one} and {other} overlap", one=called(one, "segment"), other=called(other, "other")),
                Message("what is loaded last overwrites the other"),
            )
            return


RULE = Rule(
    id="segment-layout",
    title="a segment of the file cannot be laid out as it says",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "A loader copies p_filesz bytes from p_offset to p_vaddr (or p_paddr) and clears the rest up to p_memsz. Sizes, places "
        "and alignments that contradict each other, or segments one over the other, leave other bytes in memory than were linked: "
        "from a linker script with sections at fixed addresses, a file that was edited, or one that is cut."
    ),
    shows="Nothing before the switch; then v=06 or v=0d in code that is not what was linked, or a loader that refuses the file.",
    fix="Let the linker place what follows (`. = ALIGN(4096)`), and look at `readelf -lW`.",
    manual="ELF gABI, program header (p_filesz, p_memsz, p_offset, p_align)",
    lint=_lint,
)
