"""The loader jumps to what is not code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.input.capture.records import Boot
from cr3scope.diagnose.shared.numbered import numbered, together
from cr3scope.message import Fact, Hex, Message, message
from cr3scope.model.intent import Intent
from cr3scope.model.strike import Strike, Target
from cr3scope.x86.access import AccessKind

# Where linkers put an x86-64 executable without a script; its text follows the headers.
_DEFAULTS = (("GNU ld", 0x40_0000), ("lld", 0x20_0000))
_DEFAULT_BYTES = 0x2000
_HANDOFF_BYTES = 4096  # the loader's own code around mov cr3


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


RULE = Rule(
    id="wrong-entry",
    title="the entry point is wrong",
    severity=Severity.ERROR,
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
)
