"""A name that no file has defined."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import MOST_NAMED, Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.entry_symbol import missing_entry
from cr3scope.message import Message, Some, message
from cr3scope.x86.mode import OF_FILES

_DEFAULT_ENTRY = "_start"


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        entry = missing_entry(kernel)  # wrong-entry tells that
        names = tuple(name for name in kernel.undefined if name != entry)
        title = message("not defined in any file that was linked: {names}", names=Some(names, MOST_NAMED))
        if names and kernel.is_relocatable:
            yield RULE.finding(title, Message("global and not weak; nobody resolves it when the machine boots, so that its address is 0"))
        elif names and names != (_DEFAULT_ENTRY,):  # that ld looks for in any case: -e names another
            yield RULE.finding(
                title, Message("global and not weak, so that its address is 0: by --unresolved-symbols, or only the linker script names it"),
                severity=Severity.WARNING,
            )  # fmt: skip


RULE = Rule(
    id="symbol-undefined",
    title="a symbol is used that no linked file defines",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "With -shared, as UEFI programs are linked with gnu-efi, or with --unresolved-symbols the linker leaves a missing symbol to a "
        "dynamic linker. Nothing that boots has one: the call goes to address 0, or through a word of the GOT that is 0."
    ),
    shows="v=0e e=0010 with RIP=CR2=0, or a run through whatever lies at address 0.",
    fix="Link the object that defines it; with -shared also give -Wl,--no-undefined (ld: -z defs), so that the linker says it.",
    manual="ELF gABI, symbol table (SHN_UNDEF)",
    lint=_lint,
)
