"""Opens a source and recognises by its content what it is."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.elf_core import Core, open_core, read_core
from cr3scope.elf.head import MAGIC
from cr3scope.input.sources.listing import UTF_16, Listing
from cr3scope.input.sources.physical_memory import PhysicalMemory, Run
from cr3scope.input.sources.source import Overrides, Source
from cr3scope.input.wide_text import narrowed
from cr3scope.paging.pdptes import refused_pdptes
from cr3scope.paging.tables import root_entries
from cr3scope.x86.cpu_state import CpuState, PagingMode
from cr3scope.x86.names import entry_name
from cr3scope.x86.word import MASK32

_RECORD = re.compile(rb"@c3s[0-9]+ ")
# The memory of a guest may hold records too, but most of its beginning is no text.
_CAPTURE_LOOK_BYTES = 16 << 20
_TEXT = bytes([*range(0x20, 0x7F), *b"\t\n\r\x1b"])
_LEAST_TEXT = 0.5
# Memory is told from a listing by its first bytes alone: to search it all would take long.
_LISTING_LOOK_BYTES = 1 << 16
_COMPRESSED = (b"KDUMP   ", b"makedumpfile", b"PAGEDU64")


def open_source(
    path: str | os.PathLike[str],
    *,
    cr0: int | None = None,
    cr3: int | None = None,
    cr4: int | None = None,
    efer: int | None = None,
    base: int = 0,
    dump: str = "new",
) -> Source:
    """Return the page tables in a capture, an ELF core, or a raw image of physical memory.

    ``base`` is the physical address of an image's first byte; ``dump`` chooses one of a capture. UnusableInput
    if the file is none of these, or does not tell enough.
    """
    source = open_any(path, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer, base=base, dump=dump)
    if isinstance(source, Listing):
        raise UnusableInput(f"{os.fspath(path)}: a {source.description} holds no tables")
    return source


def open_any(
    path: str | os.PathLike[str],
    *,
    cr0: int | None = None,
    cr3: int | None = None,
    cr4: int | None = None,
    efer: int | None = None,
    base: int = 0,
    dump: str = "new",
) -> Source | Listing:
    """Return what :func:`open_source` does, or the text of a listing, which heeds none of the options."""
    name = os.fspath(path)
    data = load(name)
    overrides = Overrides(cr0, cr3, cr4, efer)
    source = _recognise(data, name, overrides, base, dump)
    if isinstance(source, Listing):
        return source
    cpu = source.cpu
    if cpu.paging_mode is PagingMode.NONE:
        raise UnusableInput(f"{name}: paging is off (CR0 {cpu.cr0:#x}): nothing is mapped (see --cr0)")
    if cpu.has_short_addresses and cpu.cr3 > MASK32:
        raise UnusableInput(f"{name}: CR3 {cpu.cr3:#x}: in {cpu.paging_mode.value} paging CR3 has 32 bits (see --cr4, --efer)")
    if root_entries(source.tables, cpu) is None:
        raise UnusableInput(f"{name}: no table at CR3 {cpu.cr3:#x} in the {source.container}")
    return replace(source, warnings=(*source.warnings, *_about_pdptes(source)))


def _about_pdptes(source: Source) -> Iterator[str]:
    """A CPU in PAE paging uses the PDPTEs that it has loaded, whatever is in memory since (SDM 3A, 5.4.1)."""
    cpu = source.cpu
    if cpu.paging_mode is not PagingMode.PAE or cpu.pdptes is not None:
        return
    yield "the source does not tell the four PDPTEs that the CPU has loaded with CR3: those in memory are taken"
    for entry in refused_pdptes(source.tables, cpu):
        yield (
            f"{entry_name(entry)} at {entry.phys:#x} has a reserved bit set ({entry.value:#x}): a CPU that loads this CR3"
            " raises #GP"
        )


def _recognise(
    data: Data, name: str, overrides: Overrides, base: int, dump: str
) -> Source | Listing:
    if data[: len(MAGIC)] == MAGIC:
        return open_core(data, name, overrides)
    if data[:16].startswith(_COMPRESSED):
        raise UnusableInput(
            f"{name}: a compressed dump: dump-guest-memory writes an ELF core without -z, -l, -s"
            " or -w"
        )
    if _is_capture(data):
        from cr3scope.input.sources.capture_dump import open_dump

        return open_dump(data[:], name, overrides, dump)
    if _is_text(data[:_LISTING_LOOK_BYTES]) or data[: len(UTF_16)] == UTF_16:
        from cr3scope.input.sources.open_listing import open_listing

        listing = open_listing(data, name)
        if listing is not None:
            return listing
    if overrides.cr3 is None:
        raise UnusableInput(
            f"{name}: no capture, no ELF core, no listing; for an image of physical memory give"
            " --cr3"
        )
    cpu = overrides.apply(CpuState(overrides.cr3))
    memory = PhysicalMemory(data, [Run(base, len(data), 0)])
    container = f"memory image {base:#x}..{base + len(data) - 1:#x}"
    warnings = overrides.assumed(cpu, "cr4", "efer")
    return Source(container, memory, cpu, warnings=tuple(warnings), is_partial=True)


def _is_capture(data: Data) -> bool:
    head = narrowed(data[:_CAPTURE_LOOK_BYTES])
    if not _is_text(head):
        return False
    if _RECORD.search(head) is not None or len(data) <= _CAPTURE_LOOK_BYTES:
        return _RECORD.search(head) is not None
    is_wide = head != data[: len(head)]
    return _RECORD.search(narrowed(data[:]) if is_wide else data) is not None


def _is_text(head: bytes) -> bool:
    return len(head.translate(None, _TEXT)) <= (1 - _LEAST_TEXT) * len(head)


def open_core_file(path: str | os.PathLike[str]) -> Core:
    """Return all that an ELF core holds; UnusableInput if the file is none."""
    name = os.fspath(path)
    return read_core(load(name), name)


def load(name: str) -> Data:
    """Map a file into memory, or read a pipe. UnusableInput if it cannot be read, or is empty."""
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISCHR(status.st_mode) and not file.isatty():
                raise UnusableInput(f"{name}: a device, not a file")
            if not stat.S_ISREG(status.st_mode):
                data: Data = file.read(limits.PIPE_BYTES + 1)
                if len(data) > limits.PIPE_BYTES:
                    raise UnusableInput(f"{name}: more than {limits.PIPE_BYTES >> 20} MiB come through this pipe: put them into a file")
            elif status.st_size:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            else:
                data = b""
    except OSError as error:
        raise UnusableInput(f"{name}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise UnusableInput(f"{name}: {error}") from error
    if not len(data):
        raise UnusableInput(f"{name}: the file is empty")
    return data
