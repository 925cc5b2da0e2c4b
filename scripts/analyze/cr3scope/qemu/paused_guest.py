"""A paused guest's CPUs and its memory, asked of QEMU's monitor as far as a question needs them."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from cr3scope import limits
from cr3scope.input.logs.register_dump import read_registers
from cr3scope.paging.tables import Entries, entries_of
from cr3scope.qemu import memory_map
from cr3scope.qemu.qmp import QmpError
from cr3scope.qemu.saved_memory import Monitor, SavedMemory, saved
from cr3scope.target.memory import Memory, MemoryUnavailable
from cr3scope.target.standstill import Look
from cr3scope.target.stopped_cpu import PHYS_BITS, StoppedCpu, Table, widened
from cr3scope.x86.descriptors import MOST_LIMIT
from cr3scope.x86.entry import ENTRIES, PAGE_BYTES
from cr3scope.x86.segment import Segment

_SEGMENT = re.compile(r"\b([CDEFGS]S|TR|LDT) ?=([0-9a-f]{4}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) ([0-9a-f]{8})\b")
_CODE_BITS = re.compile(r"^CS ?=.* CS(16|32|64)\b", re.MULTILINE)
_TABLE = re.compile(r"\b([GI]DT) ?= *([0-9a-f]{8,16}) ([0-9a-f]{8})\b")
_FORMS = {"g": 8, "b": 1}  # bytes of a word that `xp` prints, with all its digits
_VALUES = {form: re.compile(rf" 0x([0-9a-f]{{{2 * size}}})\b") for form, size in _FORMS.items()}
_WORD_BYTES = _FORMS["g"]
_MOST_AS_TEXT = 2 * PAGE_BYTES  # more is asked for as a file
_CPU_HEAD = "CPU#"
_CPU = re.compile(r"^[ \r]*CPU#(\d{1,9})[ \r]*$", re.MULTILINE)
_PHYS_BITS = re.compile(r"3[2-9]|4\d|5[0-2]")  # MAXPHYADDR


class MonitorMemory:
    """The memory of a paused guest. RAM is read by files, and by pages of `xp` where QEMU writes none; the rest by `xp`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._pages: dict[int, bytes] = {}
        self._ram_pages: dict[int, bytes] = {}  # those of them that are RAM all over
        self._tables: dict[int, Entries | None] = {}
        self._saved = SavedMemory(monitor)

    def table(self, phys: int) -> Entries | None:
        """Return a page of entries, asked for once; None where there is no memory."""
        if phys not in self._tables:
            page = self._page(phys)
            self._tables[phys] = entries_of(page) if page else None
        return self._tables[phys]

    def physical(self, phys: int, length: int) -> bytes:
        """Return bytes of physical memory; none of a long piece that QEMU cannot write to a file."""
        first, last = phys & -PAGE_BYTES, phys + length - 1 | PAGE_BYTES - 1
        if phys + length <= first + PAGE_BYTES and (known := self._ram_pages.get(first)) is not None:
            return known[phys - first : phys - first + length]
        if length <= PAGE_BYTES and self._saved.is_ram(first, last):  # a device may mind to be read beside what is asked for
            pages = {at: self._page(at) for at in range(first, last, PAGE_BYTES)}
            data = b"".join(pages.values())
            if len(data) == last + 1 - first:
                self._ram_pages |= pages
                return data[phys - first : phys - first + length]
        if length <= _MOST_AS_TEXT:
            return self._as_text(phys, length)
        return saved(self._monitor, phys, length)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield the first bytes at each of many places, of which nothing else is wanted."""
        yield from (self._as_text(phys, length) for phys in places)

    def _page(self, phys: int) -> bytes:
        """A whole page; nothing if not all of it is memory."""
        if phys not in self._pages:
            page = self._saved.page(phys)
            if page is None:
                told = self._dump("g", ENTRIES, phys)
                page = told if len(told) == PAGE_BYTES else b""
            self._pages[phys] = page
        return self._pages[phys]

    def _as_text(self, phys: int, length: int) -> bytes:
        """By quadwords, an eighth of the words; then byte by byte what is left, or where the memory ends in a line."""
        whole = length // _WORD_BYTES
        data = self._dump("g", whole, phys) if whole else b""
        left = length - len(data)
        return data + self._dump("b", left, phys + len(data)) if left else data

    def _dump(self, form: str, count: int, phys: int) -> bytes:
        """The bytes of at most so many words: what is no word of that size ends them, as QEMU's refusal does."""
        told = self._monitor.monitor(f"xp /{count}{form}x {phys:#x}")
        data = bytes.fromhex("".join(_VALUES[form].findall(told)[:count]))
        if _FORMS[form] == 1:
            return data
        words = array("Q", data)
        words.byteswap()  # a word is printed with its highest byte first
        return words.tobytes()


def look(monitor: Monitor) -> Look:
    """Return the registers of every CPU. Raises MemoryUnavailable if QEMU does not answer."""
    text = monitor.monitor("info registers -a")
    _check_count(text)
    parts = text.split(_CPU_HEAD)
    return tuple(read_registers(part) for part in (parts[1:] or parts))


def _check_count(text: str) -> None:
    if text.count(_CPU_HEAD) > limits.MONITOR_CPUS:
        raise QmpError(f"info registers -a: more than {limits.MONITOR_CPUS} CPUs")


def stopped_cpus(monitor: Monitor, memory: Memory | None = None) -> tuple[StoppedCpu, ...]:
    """Return all CPUs of a paused guest, with the monitor's memory or another that shows the same.

    Raises MemoryUnavailable if QEMU does not answer.
    """
    phys_bits = _phys_bits(monitor)

    @cache
    def ram() -> tuple[tuple[int, int], ...]:
        return tuple(memory_map.asked(monitor.monitor))

    memory = memory or MonitorMemory(monitor)
    text = monitor.monitor("info registers -a")
    _check_count(text)
    head, *told = _CPU.split(text)
    numbers, texts = told[::2] or ["0"], told[1::2] or [head]
    return tuple(
        _stopped(memory, int(number), text, phys_bits, ram) for number, text in zip(numbers, texts, strict=True)
    )


def _stopped(
    memory: Memory, number: int, text: str, phys_bits: int, ram: Callable[[], Iterable[tuple[int, int]]]
) -> StoppedCpu:
    found = {m[1]: Table(int(m[2], 16), int(m[3], 16)) for m in _TABLE.finditer(text)}
    tables = {name: table for name, table in found.items() if table.limit <= MOST_LIMIT}
    segments = {m[1]: Segment(*(int(word, 16) for word in m.groups()[1:])) for m in _SEGMENT.finditer(text)}
    selectors = {name: one.selector for name, one in segments.items()}
    bases = {f"{name}_BASE": segments[name].base for name in ("FS", "GS") if name in segments}
    return StoppedCpu(
        memory, widened(read_registers(text)) | bases, phys_bits, selectors, tables.get("IDT"), tables.get("GDT"), number,
        _code_bits(text, segments.get("CS")), ram_ranges=ram, segments=segments,
    )  # fmt: skip


def _code_bits(text: str, code: Segment | None) -> int:
    """In words, which QEMU leaves away in real mode; L counts in long mode alone."""
    told = _CODE_BITS.search(text)
    if told:
        return int(told[1])
    return 64 if code is None else 32 if code.is_big else 16


def has_gigapages(monitor: Monitor) -> bool:
    """Return whether CPUID offers 1 GiB pages; true if QEMU does not tell."""
    return _property(monitor, "pdpe1gb") not in (False, "false")


def _phys_bits(monitor: Monitor) -> int:
    told = str(_property(monitor, "phys-bits"))
    return int(told) if _PHYS_BITS.fullmatch(told) else PHYS_BITS


def _property(monitor: Monitor, name: str) -> object:
    """A property of the first CPU: a value over QMP, its text by the monitor's words; None if QEMU does not tell."""
    try:
        path = monitor.execute("query-cpus-fast")[0]["qom-path"]
        told: object = monitor.execute("qom-get", path=path, property=name)
    except (MemoryUnavailable, LookupError, TypeError):
        return None
    return told
