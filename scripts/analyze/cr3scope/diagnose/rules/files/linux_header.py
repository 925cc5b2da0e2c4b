"""A Linux kernel whose header contradicts the file."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Hex, message
from cr3scope.x86.mode import OF_FILES

_BOOT_FLAG = 0xAA55
_FIRST_VERSION = 0x200
_ROUNDED = 16  # the size is told in units of so many bytes


def _lint(linted: LintedFile) -> Iterator[Finding]:
    header = linted.file.linux
    if header is None:
        return
    if header.boot_flag != _BOOT_FLAG:
        yield RULE.finding(message("the boot flag of the Linux header is {flag}, not {wanted}",
                                   flag=Hex(header.boot_flag), wanted=Hex(_BOOT_FLAG)))  # fmt: skip
    if header.version < _FIRST_VERSION:
        yield RULE.finding(message("the Linux header is of version {version}, which no loader knows", version=Hex(header.version)))
    elif header.bytes_wanted - _ROUNDED >= header.file_bytes:
        yield RULE.finding(
            message("the file is cut: its header wants {bytes_wanted} bytes, it has {file_bytes}",
                    bytes_wanted=header.bytes_wanted, file_bytes=header.file_bytes),
            message("(setup_sects + 1) * 512 + syssize * {unit}", unit=_ROUNDED),
        )  # fmt: skip
    alignment = header.alignment
    if header.is_relocatable and header.preferred and (not alignment or alignment & alignment - 1 or header.preferred % alignment):
        yield RULE.finding(
            message("pref_address {preferred} is no multiple of kernel_alignment {alignment}",
                    preferred=Hex(header.preferred), alignment=Hex(alignment)),
            severity=Severity.WARNING,
        )  # fmt: skip


RULE = Rule(
    id="linux-header",
    title="the header for Linux' boot protocol contradicts the file",
    severity=Severity.ERROR,
    modes=OF_FILES,
    reason=(
        "A loader copies setup_sects + 1 sectors as set-up code and syssize paragraphs behind them as the kernel, to an address that "
        "the header names. A file that was cut on its way, or a header that was written by hand, has it copy what is not there."
    ),
    shows="The loader's own message, or a kernel that dies while it unpacks itself.",
    fix="Copy the file anew; of your own header take the sizes from the linker script.",
    manual="Linux, Documentation/arch/x86/boot.rst: The Real-Mode Kernel Header",
    lint=_lint,
)
