"""How a place in a file that is linted is called."""

from __future__ import annotations

from cr3scope.images.kernel_file import KernelFile, Load
from cr3scope.message import Fact, Hex, Message, Span, message

LOOKED_AT_BYTES = 16  # of code at an entry: zeros are none


def placed(kernel: KernelFile, virt: int) -> Message:
    """Return an address with its symbol, where the file has one."""
    symbol = kernel.twin.symbol(virt)
    if symbol is None:
        return message("{virt}", virt=Hex(virt))
    return message("{symbol} at {virt}", symbol=symbol, virt=Hex(virt))


def line_of(kernel: KernelFile, virt: int) -> str | None:
    """Return ``file:line`` of an address; None if the file does not tell."""
    line = kernel.twin.line(virt)
    return None if line is None else str(line)


def called(load: Load, name: str = "segment") -> Message:
    """Return a segment in words: its number as `readelf -l` counts those that are loaded, its rights, its addresses.

    ``name`` is that of its facts, where a message has several.
    """
    facts: dict[str, Fact] = {
        name: load.number, f"{name}_rights": load.rights, f"{name}_range": Span(load.virt, load.last),
    }  # fmt: skip
    return Message(f"PT_LOAD {{{name}}} ({{{name}_rights}}, {{{name}_range}})", facts)
