"""Inputs that once made the product lie, hang, swell or fail inside, each made anew: their answers stand in ``corpus/answers``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

from analyze import core_builder
from analyze import trace_writer as writer
from analyze.logs import fuzz as model
from fuzz import wire
from fuzz.wire import Item

from cr3scope.input.sources.write_core import write_core

_WORD = (1 << 64) - 1
_EHDR, _PHDR, _SHDR = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ"
_CORE, _PROGRAM, _X86_64 = 4, 2, 62
_LOAD, _DYNAMIC, _NOTE = 1, 2, 4
_ROOT, _STACK_PAGES = 0xDE6A000, 0xDE70000  # tables of the boot that is kept
_BITS, _STRINGS, _COMPRESSED = 1, 3, 0x800
MADE: dict[str, Callable[[], bytes]] = {}


def made(maker: Callable[[], bytes]) -> Callable[[], bytes]:
    """Add a maker under the name of its function."""
    MADE[maker.__name__.replace("_", "-")] = maker
    return maker


def _boot() -> list[Item]:
    """A healthy boot, which may be changed."""
    return wire.copied(wire.base(wire.REAL))


def _of(items: list[Item], kind: str, **fields: str) -> Item:
    return next(each for each in items if each.kind == kind and fields.items() <= each.fields.items())


def _without_kernel(items: list[Item]) -> list[Item]:
    """The loader's part of a boot."""
    return items[: next(at for at, each in enumerate(items) if each.kind == "end") + 1]


def _edited(items: list[Item], phys: int, index: int, change: Callable[[int], int]) -> list[Item]:
    """The boot with one entry of the new tables changed."""
    dump = wire.dumped(items, "new")
    assert dump is not None
    tables = wire.tables_of(dump)
    tables[phys][index] = change(tables[phys][index])
    wire.put_tables(dump, tables)
    return items


@made
def second_boot_dies() -> bytes:
    """Two boots in one capture: the second one's kernel may not be executed, and is not heard of."""
    return wire.written(_boot()) + wire.written(_without_kernel(_edited(_boot(), _ROOT, 511, lambda entry: entry | 1 << 63)))


@made
def second_boot_is_silent() -> bytes:
    """The same with a stack that nobody mapped."""
    return wire.written(_boot()) + wire.written(_without_kernel(_edited(_boot(), _STACK_PAGES, 4, lambda _: 0)))


@made
def begin_is_doubled() -> bytes:
    """A line that stands there twice."""
    data = wire.written(_boot())
    line = data[: data.index(b"@c3s1 1 ")]
    return line + data


@made
def section_is_not_promised() -> bytes:
    """The loader's part of a boot in which the field is changed that promises the kernel's."""
    items = _without_kernel(_boot())
    items[-1].fields["next"] = "none"
    return wire.written(items)


@made
def exit_behind_the_end() -> bytes:
    """A kernel that does not trace: the loader's own words stand behind its end."""
    items = _boot()
    at = next(at for at, each in enumerate(items) if each.kind == "exit")
    items = items[: at + 1]
    items[-2].fields["next"] = "none"
    _of(items, "elf").fields["traces"] = "no"
    return wire.written(items)


@made
def names_of_letters_that_a_locale_lacks() -> bytes:
    """Names in UTF-8, with what turns the direction of a line and what ends it."""
    items = _edited(_boot(), _ROOT, 511, lambda entry: entry | 1 << 63)
    for each in items:
        if each.kind == "map":
            each.fields["name"] = writer.text("Kern‮\x9b2J Ärger 核\u2028")
    return wire.written(items)


@made
def dump_of_very_many_tables() -> bytes:
    """Few bytes that stand for 60,000 tables of entries."""
    items = _boot()
    dump = wire.dumped(items, "new")
    assert dump is not None and dump.stream is not None
    dump.stream = dump.stream[:-1] + b"".join(writer.repeat(1 << 12, 1, 0) for _ in range(15)) + b"\0"
    _of(items, "dump-end", id="new").fields["pages"] = f"{16 + 15 * (1 << 12):x}"
    return wire.written(items)


@made
def guard_of_half_the_space() -> bytes:
    """A guard of 128 TiB."""
    items = _boot()
    _of(items, "region").fields |= {"virt": "0", "last": "7fffffffffff"}
    return wire.written(items)


@made
def maps_of_not_canonical_addresses() -> bytes:
    """Ranges that begin or end where no address is."""
    items = _boot()
    first = _of(items, "map", role="stack")
    for number, (virt, last) in enumerate(((1 << 47, (1 << 47) + 0xFFF), (_WORD - (1 << 48), _WORD - (1 << 48) + 0xFFF), (1 << 50, (1 << 50) + 0xFFF))):
        more = wire.copied([first])[0]
        more.fields |= {"virt": f"{virt:x}", "last": f"{last:x}", "phys": f"{0x100000 + 0x1000 * number:x}"}
        items.insert(items.index(first), more)
    return wire.written(items)


@made
def maps_5000() -> bytes:
    """Very many records of what was mapped."""
    items = [each for each in _boot() if each.kind != "mmap"]  # whose records are as long as they may be
    at, more = items.index(_of(items, "map", role="stack")), []
    for number in range(5000):
        virt = 0xFFFF_9000_0000_0000 + number * 0x2000
        more.append(Item("map", {"name": "heap", "role": "data", "virt": f"{virt:x}", "last": f"{virt + 0xFFF:x}", "phys": f"{0x100000 + number * 0x1000:x}",
                                 "rights": "rw-", "size": "1000", "type": "wb", "caller": "0"}))  # fmt: skip
    return wire.written(items[:at] + more + items[at:])


@made
def map_whose_memory_wraps() -> bytes:
    """Frames beyond the last one."""
    items = _boot()
    _of(items, "map", role="stack").fields["phys"] = f"{_WORD - 0xFFF:x}"
    return wire.written(items)


@made
def plan_of_huge_accesses() -> bytes:
    """Fifty reads of 256 MiB each."""
    items = _boot()
    step = _of(items, "plan", step="7")
    at, count = items.index(step), 18
    more = []
    for number in range(50):
        more.append(Item("plan", {**step.fields, "step": f"{count + number:x}", "width": f"{256 << 20:x}"}))
    last = max(index for index, each in enumerate(items) if each.kind == "plan") + 1
    assert at < last
    return wire.written(items[:last] + more + items[last:])


def _elf(kind: int, phnum: int, programs: bytes, shnum: int = 0, sections: bytes = b"", more: bytes = b"") -> bytes:
    at = 64 + len(programs)
    head = struct.pack(_EHDR, b"\x7fELF\x02\x01\x01" + bytes(9), kind, _X86_64, 1, 0, 64, at if sections else 0, 0, 64, 56, phnum, 64, shnum, 0)
    return head + programs + sections + more


@made
def core_with_a_dynamic_section_of_2e63() -> bytes:
    """A header that a library would walk for hours."""
    return _elf(_CORE, 2, struct.pack(_PHDR, _DYNAMIC, 6, 64, 0, 0, 1 << 63, 1 << 63, 8) + struct.pack(_PHDR, _NOTE, 0, 0, 0, 0, 0, 0, 4))


@made
def core_with_2e32_segments() -> bytes:
    """The number of segments stands in section 0, where one may write anything."""
    section = struct.pack(_SHDR, 0, 0, 0, 0, 0, 0, 0, 0xFFFF_FFFF, 0, 0)
    return _elf(_CORE, 0xFFFF, b"", 1, section, bytes(4096))


@made
def core_with_65534_notes() -> bytes:
    """Very many segments of notes, all at the same place."""
    return _elf(_CORE, 65534, struct.pack(_PHDR, _NOTE, 0, 64, 0, 0, 4096, 4096, 4) * 65534)


def _core(words: dict[str, str], code: str = core_builder.SWITCH, limit: int | None = None) -> bytes:
    cpu = core_builder.cpu()
    if limit is not None:
        segments = {name: replace(each, limit=limit) for name, each in cpu.segments.items()}
        cpu = replace(cpu, segments=segments)
    return write_core(cpu, core_builder.memory(code), {"efer": "0xd00", "platform": "tcg", **words})


@made
def core_of_addresses_of_1e11_bits() -> bytes:
    """A width of addresses that would fill memory."""
    return _core({"maxphyaddr": str(10**11)})


@made
def core_of_negative_addresses() -> bytes:
    """The same, negative."""
    return _core({"maxphyaddr": "-1"})


@made
def core_with_tables_of_4_gib() -> bytes:
    """Descriptor tables whose limit has 32 bits."""
    return _core({}, limit=0xFFFF_FFFF)


@made
def notes_about_vectors() -> bytes:
    """Prose in which the sign of a record stands."""
    return b"TODO: v=2 of the loader, v=3 later\n"


@made
def triple_fault_without_its_lines() -> bytes:
    """A log that has lost the lines that announce exceptions."""
    text = model.make(next(seed for seed in range(999) if _dies(seed))).text
    return "".join(line for line in text.splitlines(True) if "check_exception" not in line).encode()


def _dies(seed: int) -> bool:
    case = model.make(seed)
    last = case.meaning.told[-1] if case.meaning.told else None
    return last is not None and last.outcome == "triple-fault" and len(case.meaning.told) == 1 and "Triple fault" in case.text and case.meaning.boots == 1


@made
def listing_with_a_line_of_60000_digits() -> bytes:
    """A line over which a pattern might go back and forth."""
    return b"---[ User Space ]---\n0x" + b"0" * 60000 + b"-0x" + b"1" * 60000 + b"\n0x0000000000000000-0x0000000000200000           2M     RW             PSE         x  pmd\n"


@made
def log_18410() -> bytes:
    """The head is cut: an interrupt on the vector of the double fault has lost the line that announces it."""
    return ("     1: v=08 e=0000 i=0 cpl=3 IP=001b:0000000000407379 pc=0000000000407379 SP=0023:000000007ffedbb0 EAX=0000000012345000\n"
            "CR0=80010011 CR2=00000000 CR3=06f8a000 CR4=00000200\ncheck_exception old: 0xffffffff new 0xe\n"
            "     2: v=0e e=0002 i=0 cpl=3 IP=001b:0000000000407379 pc=0000000000407379 SP=0023:000000007ffedbb0 CR2=000000000021fffc\n"
            "CR0=80010011 CR2=0021fffc CR3=06f8a000 CR4=00000200\ncheck_exception old: 0xe new 0xe\n"
            "     3: v=08 e=0000 i=0 cpl=3 IP=001b:0000000000407379 pc=0000000000407379 SP=0023:000000007ffedbb0 EAX=0000000012345000\n"
            "CR0=80010011 CR2=0021fffc CR3=06f8a000 CR4=00000200\ncheck_exception old: 0x8 new 0xe\n").encode()  # fmt: skip


@made
def log_55480() -> bytes:
    """Another CPU is sent INIT, and nothing else is amiss."""
    return model.make(55480).text.encode()


@made
def log_56129() -> bytes:
    """Each of two boots may have survived what its log ends with."""
    return model.make(56129).text.encode()


def _debugged(sections: dict[bytes, tuple[int, bytes]]) -> bytes:
    """A program of one page, with sections by name: flags and bytes."""
    names = b"\0" + b"".join(name + b"\0" for name in (*sections, b".shstrtab"))
    rows, data, at = [bytes(64)], b"", 64 + 56
    for name, (flags, content) in {**sections, b".shstrtab": (0, names)}.items():
        kind = _STRINGS if name == b".shstrtab" else _BITS
        rows.append(struct.pack(_SHDR, names.index(name + b"\0"), kind, flags, 0, at + len(data), len(content), 0, 0, 1, 0))
        data += content
    head = struct.pack(_EHDR, b"\x7fELF\x02\x01\x01" + bytes(9), _PROGRAM, _X86_64, 1, 0x400000, 64, at + len(data), 0, 64, 56, 1, 64, len(rows), len(rows) - 1)
    return head + struct.pack(_PHDR, _LOAD, 5, 0, 0x400000, 0x400000, at, 0x10000, 4096) + data + b"".join(rows)


@made
def elf_whose_lines_unpack_to_6_gb() -> bytes:
    """Sections of DWARF that say so of themselves."""
    bomb = struct.pack("<IIQQ", 1, 0, 6 << 30, 1) + zlib.compress(bytes(1 << 20), 9)
    return _debugged({name: (_COMPRESSED, bomb) for name in (b".debug_info", b".debug_abbrev", b".debug_line", b".debug_str")})


@made
def elf_of_5000_units() -> bytes:
    """Units of DWARF 5 without ranges, each of which might be the right one."""
    abbreviations = b"\x01\x11\x00\x10\x17\x00\x00\x00"  # a unit with DW_AT_stmt_list and no more
    unit = struct.pack("<IHBBIBI", 13, 5, 1, 8, 0, 1, 0)
    program = struct.pack("<IHIBBBbBB", 14, 4, 8, 1, 1, 1, -5, 14, 1) + bytes(2)  # DWARF 4, 6.2.4: no directories, no files, no rows
    return _debugged({b".debug_info": (0, unit * 5000), b".debug_abbrev": (0, abbreviations), b".debug_line": (0, program)})
