"""The stopped guest behind QEMU's gdb stub: its registers, and its physical memory in bulk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import gdb
import numpy as np

from cr3scope.errors import UnusableInput
from cr3scope.machine import memory_map
from cr3scope.machine.qmp import QmpError, read_registers
from cr3scope.machine.snapshot import Snapshot, take_snapshot
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.paging.platform import Platform
from cr3scope.paging.tables import Entries
from cr3scope.predict.delivery import Registers

_CHUNK_BYTES = 16 * PAGE_BYTES
_VIRTUAL = "maintenance packet Qqemu.PhyMemMode:0"
_TASK_REGISTER = re.compile(r"\bTR ?=([0-9a-f]{4}) ")


class Monitor:
    """QEMU's monitor through gdb's `monitor`, in the place of a QMP connection."""

    def monitor(self, command: str) -> str:
        """What the monitor answers."""
        try:
            answer: str = gdb.execute(f"monitor {command}", to_string=True)
        except gdb.error as error:
            raise QmpError(
                f"the target has no QEMU monitor to tell CR3 and EFER ({error}); a dump of its"
                " tables can be read by `scripts/cr3scope maps`, `walk` and `diff`"
            ) from error
        return answer.replace("\r", "")

    def registers(self) -> dict[str, int]:
        """The registers as the monitor prints them."""
        return read_registers(self.monitor("info registers"))

    def execute(self, command: str, **arguments: object) -> object:
        """No QMP here: only what the monitor has words for."""
        if command == "query-cpus-fast":
            return [{"qom-path": "/machine/unattached/device[0]"}]
        if command == "qom-get":
            return self.monitor(f"qom-get {arguments['path']} {arguments['property']}").strip()
        raise QmpError(f"{command} needs QMP")


@contextmanager
def physical_mode() -> Iterator[None]:
    """Within it the stub takes addresses as physical ones; afterwards as virtual ones again."""
    try:
        answer = gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
        if '"OK"' not in answer:
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
        """As QEMU's memory map has it."""
        return memory_map.ram_ranges(Monitor().monitor(memory_map.COMMAND))

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Empty where there is no memory."""
        with physical_mode():
            found = [read_physical(at, length) for at in places]
        yield from (data or b"" for data in found)


@dataclass(slots=True)
class Stop(Snapshot):
    """A Snapshot whose memory comes through the stub. Valid until the guest goes on."""

    platform: Platform = Platform.TCG
    _pages: dict[int, bytes | None] = field(default_factory=dict)

    def table(self, phys: int) -> Entries | None:
        """A table page, read once."""
        if phys not in self._tables:
            page = self._page(phys)
            self._tables[phys] = None if page is None else np.frombuffer(page, dtype=np.uint64)
        return self._tables[phys]

    def physical(self, phys: int, length: int) -> bytes:
        """As many of the bytes as can be read."""
        data = b""
        while len(data) < length:
            at = phys + len(data)
            page = self._page(at & -PAGE_BYTES)
            if page is None:
                break
            start = at % PAGE_BYTES
            data += page[start : start + length - len(data)]
        return data

    def read(self, phys: int, count: int) -> bytes | None:
        """Exactly ``count`` bytes or None, as the exception model asks."""
        data = self.physical(phys, count)
        return data if len(data) == count else None

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Without the neighbours that :meth:`physical` reads, too."""
        return StubRam().heads(places, length)

    def _page(self, phys: int) -> bytes | None:
        """Read together with its neighbours: table pages come in groups."""
        if phys not in self._pages:
            chunk = phys & -_CHUNK_BYTES
            with physical_mode():
                data = read_physical(chunk, _CHUNK_BYTES)
                if data is None:
                    chunk, data = phys, read_physical(phys, PAGE_BYTES)
            for at in range(0, len(data or b""), PAGE_BYTES):
                self._pages.setdefault(chunk + at, data[at : at + PAGE_BYTES] if data else None)
            self._pages.setdefault(phys, None)
        return self._pages[phys]

    def under(self, cr3: int) -> Stop:
        """The same memory as it will be seen once CR3 is ``cr3``."""
        return replace(self, registers={**self.registers, "CR3": cr3})

    def tables_read(self) -> dict[int, bytes]:
        """The table pages that walks have read so far, by physical address."""
        known = self._tables.items()
        return {phys: entries.tobytes() for phys, entries in known if entries is not None}

    @property
    def delivery_registers(self) -> Registers:
        """What an exception reads."""
        idt, gdt = self.idt, self.gdt
        return Registers(
            self.rip, self.registers.get("RSP", 0), self.selectors.get("CS", 0),
            self.selectors.get("TR", 0), gdt.base if gdt else 0, gdt.limit if gdt else 0,
            idt.base if idt else 0, idt.limit if idt else 0,
        )  # fmt: skip


def read_physical(phys: int, count: int) -> bytes | None:
    """Within :func:`physical_mode`; None where there is no memory."""
    if phys + count > 1 << 52:  # the widest physical address; gdb raises OverflowError past 64 bits
        return None
    try:
        return bytes(gdb.selected_inferior().read_memory(phys, count))
    except gdb.MemoryError:
        return None


def stop() -> Stop:
    """The guest as it stands; an error if there is none, or none with long mode's paging."""
    if gdb.selected_inferior().pid == 0 or gdb.selected_thread() is None:
        raise UnusableInput("no target: start QEMU with -gdb tcp::1234 and `target remote :1234`")
    taken = take_snapshot(Monitor())  # type: ignore[arg-type]
    if "RIP" not in taken.registers and "EIP" not in taken.registers:
        raise UnusableInput("the target is not QEMU: its monitor shows no registers")
    if not taken.in_long_mode:
        mode = "protected" if taken.registers.get("CR0", 0) & 1 else "real"
        raise UnusableInput(f"the guest is in {mode} mode: only 64-bit paging can be shown")
    task = _TASK_REGISTER.search(Monitor().monitor("info registers"))
    if task:
        taken.selectors["TR"] = int(task[1], 16)
    accelerated = "enabled" in Monitor().monitor("info kvm")
    return Stop(
        taken.qmp, taken.registers, taken.phys_bits, taken.selectors, taken.idt, taken.gdt,
        platform=Platform.HARDWARE if accelerated else Platform.TCG,
    )  # fmt: skip
