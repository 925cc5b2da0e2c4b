"""The stopped guest behind QEMU's gdb stub: its registers, and its physical memory in bulk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.register_dump import read_registers
from cr3scope.paging.tables import Entries, entries_of
from cr3scope.qemu import memory_map
from cr3scope.qemu.paused_guest import stopped_cpus
from cr3scope.qemu.qmp import QmpError
from cr3scope.qemu.saved_memory import SavedMemory
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.entry import MAX_PHYS_BITS, PAGE_BYTES
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.platform import Platform
from cr3scope_commands.answer import answer

_CHUNK_BYTES = 16 * PAGE_BYTES
_VIRTUAL = "maintenance packet Qqemu.PhyMemMode:0"
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
REAL_MODE = "the guest is in real mode: there is no paging to show"
_INSTRUCTION_POINTERS = {"RIP", "EIP"}


class Monitor:
    """QEMU's monitor through gdb's `monitor`, in the place of a QMP connection."""

    def monitor(self, command: str) -> str:
        """Return what the monitor answers."""
        _Kept.asks = True
        try:
            told = answer(f"monitor {command}")
        except gdb.error as error:
            raise QmpError(
                f"the target has no QEMU monitor to tell CR3 and EFER ({error}); a dump of its"
                " tables can be read by `scripts/cr3scope maps`, `walk` and `diff`"
            ) from error
        finally:
            _Kept.asks = False
        return told.replace("\r", "")

    def registers(self) -> dict[str, int]:
        """Return the registers as the monitor prints them."""
        return read_registers(self.monitor("info registers"))

    def execute(self, command: str, **arguments: object) -> object:
        """Return what a QMP command would, as far as the monitor has words for it: there is no QMP here."""
        if command == "query-cpus-fast":
            return [{"qom-path": "/machine/unattached/device[0]"}]
        if command == "qom-get":
            return self.monitor(f"qom-get {arguments['path']} {arguments['property']}").strip()
        if command == "pmemsave":
            return self.monitor(f'pmemsave {arguments["val"]} {arguments["size"]} "{arguments["filename"]}"')
        raise QmpError(f"{command} needs QMP")


@contextmanager
def physical_mode() -> Iterator[None]:
    """Let the stub take addresses as physical ones within the block; afterwards as virtual ones again."""
    try:
        told = answer("maintenance packet Qqemu.PhyMemMode:1")
        if '"OK"' not in told:
            raise UnusableInput("the target reads no physical memory (QEMU's PhyMemMode)")
        yield
    finally:
        try:
            gdb.execute(_VIRTUAL, to_string=True)
        except KeyboardInterrupt:  # a second Ctrl-C, before the stub was told
            gdb.execute(_VIRTUAL, to_string=True)
            raise


class StubRam:
    """The guest's RAM, in whatever mode its CPU is."""

    def ram(self) -> Iterable[tuple[int, int]]:
        """Return the ranges that QEMU's memory map has."""
        return memory_map.asked(Monitor().monitor)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield what lies at each place; nothing where there is no memory."""
        with physical_mode():
            found = [read_physical(at, length) for at in places]
        yield from (data or b"" for data in found)


class _Kept:
    """The RAM that one command has had QEMU write, for those that follow while the guest stands; of the whole gdb."""

    saved: SavedMemory | None = None
    registers: tuple[Mapping[str, int], ...] = ()  # of all CPUs: QEMU's monitor can move the guest, too
    asks = False  # the monitor, by our own command


def forget_ram(_event: object = None) -> None:
    """Drop the RAM that QEMU has written: the guest may have moved, or somebody has written to its memory."""
    if not _Kept.asks:
        _Kept.saved = None


for _moves in (gdb.events.cont, gdb.events.memory_changed, gdb.events.exited, gdb.events.connection_removed, gdb.events.before_prompt):
    _moves.connect(forget_ram)


_HOOKS = ("hook-restore", "hook-load", "hook-monitor")  # before commands that write memory, or let the guest run, and raise no event


def _hook(name: str) -> str:
    """What a hook of gdb does, "" if there is none of that name."""
    try:
        told: str = gdb.execute(f"show user {name}", to_string=True)
    except gdb.error:
        return ""
    return told


def _lay_hooks() -> None:
    for name in _HOOKS:
        if not _hook(name):  # a user's own stays
            gdb.execute(f'define {name}\npython __import__("{__name__}", fromlist=["all"]).forget_ram()\nend', to_string=True)


_lay_hooks()


class StubMemory:
    """The guest's memory through the stub. Valid until the guest goes on."""

    def __init__(self) -> None:
        self._pages: dict[int, bytes | None] = {}

    @cached_property
    def _saved(self) -> SavedMemory:
        if _Kept.saved is None or not all(__name__ in _hook(name) for name in _HOOKS):
            _Kept.saved = SavedMemory(Monitor())
        return _Kept.saved

    def table(self, phys: int) -> Entries | None:
        """Return a table page, read together with its neighbours, for tables come in groups; None where there is no
        memory."""
        page = self._page(phys, phys & -_CHUNK_BYTES, _CHUNK_BYTES)
        return None if page is None else entries_of(page)

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many of the bytes as can be read."""
        data = b""
        while len(data) < length:
            at = phys + len(data)
            start = at % PAGE_BYTES
            pages = (start + length - len(data) + PAGE_BYTES - 1) // PAGE_BYTES
            page = self._page(at - start, at - start, min(pages * PAGE_BYTES, _CHUNK_BYTES))
            if page is None:
                break
            data += page[start : start + length - len(data)]
        return data

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield the first bytes at many places, without the rest of the page that :meth:`physical` reads, too."""
        return StubRam().heads(places, length)

    def pages_read(self) -> dict[int, bytes]:
        """Return all memory that was read so far, by the physical address of each page."""
        return {phys: page for phys, page in self._pages.items() if page is not None}

    def _page(self, phys: int, first: int, count: int) -> bytes | None:
        """The page at ``phys``; if it was not read yet, with the others of the ``count`` bytes from ``first`` on."""
        if phys not in self._pages:
            data = self._from_files(first, count)
            if data is None:
                with physical_mode():
                    data = read_physical(first, count)
                    if data is None:
                        first, data = phys, read_physical(phys, PAGE_BYTES)
            for at in range(0, len(data or b""), PAGE_BYTES):
                self._pages.setdefault(first + at, data[at : at + PAGE_BYTES] if data else None)
            self._pages.setdefault(phys, None)
        return self._pages[phys]

    def _from_files(self, phys: int, count: int) -> bytes | None:
        """Whole pages, which cost the stub two packets each; None if they are to be read by those."""
        pages = [self._saved.page(at) for at in range(phys, phys + count, PAGE_BYTES)]
        return None if None in pages else b"".join(page for page in pages if page is not None)


def read_physical(phys: int, count: int) -> bytes | None:
    """Return bytes of physical memory, within :func:`physical_mode`; None where there is no memory."""
    if phys + count > 1 << MAX_PHYS_BITS:  # gdb raises OverflowError past 64 bits
        return None
    try:
        return bytes(gdb.selected_inferior().read_memory(phys, count))
    except gdb.MemoryError:
        return None


def stop(memory: StubMemory | None = None, in_real_mode: bool = False) -> StoppedCpu:
    """Return the guest as it stands; an error if there is none, or it is in real mode and that is not ``in_real_mode``.

    The CPU is that of gdb's selected thread, whichever the monitor has chosen. ``memory``: to ask later what
    was read.
    """
    thread = gdb.selected_thread()
    if gdb.selected_inferior().pid == 0 or thread is None:
        raise UnusableInput("no target: start QEMU with -gdb tcp::1234 and `target remote :1234`")
    cpus = stopped_cpus(Monitor(), memory or StubMemory())
    registers = tuple(cpu.registers for cpu in cpus)
    if registers != _Kept.registers:
        _Kept.saved, _Kept.registers = None, registers
    if not any(_INSTRUCTION_POINTERS & set(cpu.registers) for cpu in cpus):
        raise UnusableInput("the target is not QEMU: its monitor shows no registers")
    number = thread.ptid[1] - 1  # QEMU's stub counts from 1
    taken = next((cpu for cpu in cpus if cpu.number == number), None)
    if taken is None:
        raise UnusableInput(f"gdb's thread {thread.num} is none of QEMU's {len(cpus)} CPUs")
    if taken.mode is CpuMode.REAL and not in_real_mode:
        raise UnusableInput(REAL_MODE)
    return replace(taken, platform=platform())


def platform() -> Platform:
    """Return whose CPU runs the guest: QEMU's own of its version, or the machine's."""
    if not is_emulated():
        return Platform.HARDWARE
    told = _VERSION.match(Monitor().monitor("info version"))
    return Platform((int(told[1]), int(told[2]))) if told else Platform.TCG


def is_emulated() -> bool:
    """Return whether TCG runs the guest, which has hardware breakpoints without limit; QmpError if it is no QEMU."""
    return "enabled" not in Monitor().monitor("info kvm")
