"""The loader jumps to what is not code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.input.capture.records import Boot
from cr3scope.diagnose.shared.entry_symbol import is_first_byte, missing_entry
from cr3scope.diagnose.shared.file_place import LOOKED_AT_BYTES, called, line_of, placed
from cr3scope.diagnose.shared.numbered import numbered, together
from cr3scope.images.elf_symbols import ElfSymbols
from cr3scope.images.elf_twin import PF_X
from cr3scope.images.kernel_file import KernelFile, Load
from cr3scope.message import Fact, Hex, Message, message
from cr3scope.model.intent import Intent
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind
from cr3scope.x86.decode.calls import calls_to
from cr3scope.x86.mode import ALL_MODES

# Where linkers put an x86-64 executable without a script; its text follows the headers.
_DEFAULTS = (("GNU ld", 0x40_0000), ("lld", 0x20_0000))
_DEFAULT_BYTES = 0x2000
_HANDOFF_BYTES = 4096  # the loader's own code around mov cr3
# By chance, and only as long as it is linked first, a file begins where it should.
_MAY_BEGIN = re.compile(r"main|start|entry|boot|init", re.IGNORECASE)
# Functions of every C library: whatever a file is for, none of them is its entry.
_NO_ENTRIES = frozenset("""
    abort abs atoi bcmp bcopy bzero itoa memchr memcmp memcpy memmove memset printf putchar puts snprintf sprintf strcat strchr
    strcmp strcpy strlen strncmp strncpy strnlen strrchr strstr vsnprintf vsprintf inb inl inw outb outl outw
""".split())


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.kind is not AccessKind.FETCH:
        return None
    if not context.intent.segments or context.intent.is_code(strike.virt):
        return None
    if not context.is_told and all(step.virt != strike.virt for step in context.boot.plan):
        return None  # whoever jumped there, it need not be the loader
    return Claim(_jump(strike.virt), proof=_hints(context.boot, strike.virt), stands_alone=True)


def _check(context: Context) -> Iterator[Finding]:
    intent, boot = context.intent, context.boot
    if not intent.segments:
        return
    steps = {s.virt: s.step for s in reversed(boot.plan) if s.kind is AccessKind.FETCH}
    for elf in boot.elfs:
        if not _is_file_code(intent, elf.entry):
            finding = RULE.finding(
                message(
                    "the entry point {entry_point} of {file} is outside every executable segment",
                    entry_point=Hex(elf.entry),
                    file=elf.name,
                ),
                Message("no PT_LOAD with PF_X has file bytes there"),
            )
            yield replace(finding, step=steps.get(elf.entry))
    for (name, _), memory in boot.memories.items():
        if name == "entry" and memory.data and not any(memory.data):
            finding = RULE.finding(
                message("the bytes at the entry point {entry_point} are all zero", entry_point=Hex(memory.virt)),
                Message("00 00 is `add [rax], al`: the CPU slides through it until something faults"),
            )
            yield replace(finding, step=steps.get(memory.virt))
    for virt, step in steps.items():
        if _is_astray(context, virt):
            yield replace(RULE.finding(_jump(virt), *_hints(boot, virt)), step=step)


def _is_astray(context: Context, virt: int) -> bool:
    """A jump to what nobody called code. That an identity map lets it through says nothing."""
    intent = context.intent
    rip = context.switch.registers.rip if context.switch else virt
    if abs(virt - rip) < _HANDOFF_BYTES or any(elf.entry == virt for elf in context.boot.elfs):
        return False
    mapping = intent.mapping_of(virt)
    if mapping is not None and mapping.role == "identity":
        return not any(virt in named for named in [*intent.segments, *intent.images])
    return not intent.is_code(virt)


def _jump(virt: int) -> Message:
    return message("the jump goes to {virt}, which is outside every executable segment", virt=Hex(virt))


def _hints(boot: Boot, virt: int) -> tuple[Message, ...]:
    """One line of where the files begin, and of who puts code at that address; none if nobody knows."""
    found = []
    for number, elf in enumerate(boot.elfs, 1):
        file, entry_point = numbered("file", number), numbered("entry_point", number)
        facts: dict[str, Fact] = {file: elf.name, entry_point: Hex(elf.entry)}
        found.append(message(f"e_entry of {{{file}}} is {{{entry_point}}}", **facts))
    linkers = [name for name, first in _DEFAULTS if 0 <= virt - first < _DEFAULT_BYTES]
    found += [message("{linker} puts code there by default", linker=linker) for linker in linkers]
    return (together(found),) if found else ()


def _is_file_code(intent: Intent, virt: int) -> bool:
    return any(
        s.virt <= virt < s.virt + s.filesz and "x" in s.flags for s in intent.boot.segments
    )


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        if any(one.entry is not None for one in kernel.multiboot) or (kernel.limine is not None and kernel.limine.sets_entry):
            continue  # e_entry does not count
        load = kernel.at_virt(kernel.entry) or kernel.at_phys(kernel.entry)
        if load is None or not load.flags & PF_X:
            yield from _outside(kernel, load)
        else:
            yield from _inside(kernel, load, kernel.entry if load.virt <= kernel.entry <= load.last else
                               kernel.entry - load.phys + load.virt)  # fmt: skip


def _outside(kernel: KernelFile, load: Load | None) -> Iterator[Finding]:
    if not kernel.loads:
        return  # nothing is loaded: segment-layout says so
    if not kernel.entry:
        yield RULE.finding(Message("the file names no entry: e_entry is 0"),
                           Message("ld: warning: cannot find entry symbol"))  # fmt: skip
    elif load is None:
        yield RULE.finding(message("the entry {entry_point} lies in no segment of the file", entry_point=Hex(kernel.entry)))
    elif not kernel.has_loader_of_its_own:
        yield RULE.finding(
            message("the entry {entry_point} lies in {segment}, which may not be executed", entry_point=Hex(kernel.entry), segment=called(load))
        )


def _inside(kernel: KernelFile, load: Load, virt: int) -> Iterator[Finding]:
    """What the entry meets, at its virtual address."""
    symbols = kernel.symbols
    held = symbols.at(virt) if symbols is not None else None
    code = kernel.bytes_at(virt, LOOKED_AT_BYTES)
    if virt >= load.virt + load.filesz or (code and not any(code)):
        yield RULE.finding(
            message("the file holds no code at the entry {entry_point}: zeros", entry_point=Hex(kernel.entry)),
            message("it lies in {segment}, of which {filesz} bytes are in the file", segment=called(load), filesz=Hex(load.filesz)),
        )
    elif held is not None and held[1] != virt and symbols is not None and _is_sized(symbols, held[1]):
        found = RULE.finding(
            message("the entry {entry_point} lies within a function: {symbol}", entry_point=Hex(kernel.entry), symbol=placed(kernel, virt)),
            Message("no symbol is there"),
            severity=Severity.WARNING,
        )
        yield replace(found, source=line_of(kernel, virt))
    elif held is not None and symbols is not None:
        yield from _by_accident(kernel, virt, held[0])


def _by_accident(kernel: KernelFile, virt: int, name: str) -> Iterator[Finding]:
    """A function like others at the first byte of code: where the linker goes if it does not know the entry's symbol."""
    wanted = missing_entry(kernel)
    is_first = is_first_byte(kernel, virt)
    calls = sum(calls_to(start, code, virt) for start, code in kernel.code()) if is_first else 0
    is_known = name in _NO_ENTRIES
    if not is_first or not (calls or is_known or wanted):
        return
    function = dict(kernel.symbols.functions()).get(virt, 1) if kernel.symbols is not None else 1
    called = "{calls} call in the file goes to it" if calls == 1 else "{calls} calls in the file go to it"
    found = RULE.finding(
        message("the entry fell on {symbol}, because {missing} is not defined", symbol=placed(kernel, virt), missing=wanted)
        if wanted else message("the entry fell on {symbol}, a function like others", symbol=placed(kernel, virt)),
        Message("it is the first byte of code: the linker enters there if it does not find the symbol of ENTRY()"),
        *((message(called + ": nobody calls an entry", calls=calls),) if calls else ()),
        severity=Severity.ERROR if is_known or calls > 1 or wanted and not _MAY_BEGIN.search(name) else Severity.WARNING,
    )  # fmt: skip
    yield replace(found, source=line_of(kernel, virt), range=(kernel.entry, kernel.entry + function - 1))


def _is_sized(symbols: ElfSymbols, start: int) -> bool:
    return start in dict(symbols.functions())


RULE = Rule(
    id="wrong-entry",
    title="the entry point is wrong",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "e_entry is 0 or the linker's default when ENTRY() names a symbol that does not exist, and "
        "points to zero bytes when the object with the entry was not linked or not loaded."
    ),
    shows=(
        "v=0e e=0010 with RIP=CR2=e_entry; over zero bytes, e=0010 at a page-aligned CR2 far "
        "behind e_entry; after a jump to 0, often #UD at a00000h or below."
    ),
    fix="Check ENTRY() against the symbol table, and that the bytes at e_entry equal the file's.",
    manual="ELF gABI, ELF header, e_entry",
    claim=_claim,
    check=_check,
    lint=_lint,
)
