"""The entry's symbol of a file whose linker did not find it."""

from __future__ import annotations

from cr3scope.images.kernel_file import KernelFile


def is_first_byte(kernel: KernelFile, virt: int) -> bool:
    """Return whether an address is the first byte of code, where the linker enters if it does not know better."""
    first = min((start for _, start, _ in kernel.code_sections), default=None)
    return any(start == virt and (section == ".text" or start == first) for section, start, _ in kernel.code_sections)


def missing_entry(kernel: KernelFile) -> str | None:
    """Return the name that the linker was to enter at and did not find; None if nothing tells.

    GNU ld leaves it in the file as its only undefined symbol: of any other it makes no executable.
    """
    names = kernel.undefined
    return names[0] if len(names) == 1 and not kernel.is_relocatable and is_first_byte(kernel, kernel.entry) else None
