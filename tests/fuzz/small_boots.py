"""Small boots of any layout, all of them healthy: what is said against one of them is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random

from analyze import boot_builder as builder
from analyze import trace_writer as writer
from fuzz.wire import Item

_P, _W, _LARGE, _NX = builder.P, builder.W, builder.PS, builder.NX
_PAGE, _SLOT = builder.PAGE, 2 << 20
_RAM_SLOTS, _DEVICE_SLOTS = range(1, 1500), range(1536, 2000)  # of 2 MiB: RAM ends at 3 GiB, with the heap at its end
_VECTORS = 32
CR0, MAXPHYADDR = 0x8001_0033, 40
_CR4, _LA57 = 0x668, 1 << 12
_SIZES = {1: _PAGE, 2: _SLOT}


@dataclass
class Range:
    """What the loader maps. ``level``: of its leaves."""

    name: str
    role: str
    virt: int
    phys: int
    pages: int
    rights: str
    level: int = 1

    @property
    def size(self) -> int:
        """Return its length in bytes."""
        return self.pages * _SIZES[self.level]


@dataclass(frozen=True)
class Step:
    """An access of the plan."""

    name: str
    kind: str
    virt: int
    width: int
    rip: int


@dataclass
class Layout:
    """Where everything lies. ``tables``: entries of each table by its address; ``parents``: level, and the entry that leads to it."""

    rng: Random
    levels: int
    root: int = 0
    ranges: list[Range] = field(default_factory=list)
    tables: dict[int, list[int]] = field(default_factory=dict)
    parents: dict[int, tuple[int, int]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._slots = iter(self.rng.sample(_RAM_SLOTS, 24))
        self._devices = iter(self.rng.sample(_DEVICE_SLOTS, 2))
        spaces = self.rng.sample(range(256, 512), 3)  # entries of the root, in the upper half
        self._places = iter(self.rng.sample([(space, gib) for space in spaces for gib in range(16)], 24))
        self._table_at = self.frame()
        self.root = self._new_table(self.levels, 0)

    @property
    def cr4(self) -> int:
        """Return CR4, which says how many levels there are."""
        return _CR4 | (_LA57 if self.levels == 5 else 0)

    def of(self, role: str) -> Range:
        """Return the first range of a role."""
        return next(one for one in self.ranges if one.role == role)

    def frame(self, device: bool = False) -> int:
        """Return 2 MiB of memory that nothing else has."""
        return next(self._devices if device else self._slots) * _SLOT

    def virt(self) -> int:
        """Return 1 GiB of the upper half that nothing else has."""
        space, gib = next(self._places)
        shift = 12 + 9 * (self.levels - 1)
        return ((space - 512 << shift) + (gib << 30)) % (1 << 64)

    def put(self, one: Range) -> Range:
        """Map a range."""
        self.ranges.append(one)
        leaf = _P | (_W if "w" in one.rights else 0) | (0 if "x" in one.rights else _NX) | (_LARGE if one.level > 1 else 0)
        for number in range(one.pages):
            offset = number * _SIZES[one.level]
            table, index = self._slot(one.virt + offset, one.level)
            self.tables[table][index] = one.phys + offset | leaf
        return one

    def _slot(self, virt: int, level: int) -> tuple[int, int]:
        table = self.root
        for above in range(self.levels, level, -1):
            index = virt >> 12 + 9 * (above - 1) & 511
            if not self.tables[table][index]:
                self.tables[table][index] = self._new_table(above - 1, table + 8 * index) | _P | _W
            table = self.tables[table][index] & ~0xFFF
        return table, virt >> 12 + 9 * (level - 1) & 511

    def _new_table(self, level: int, parent: int) -> int:
        phys = self._table_at
        self._table_at += _PAGE
        self.tables[phys], self.parents[phys] = [0] * 512, (level, parent)
        return phys


@cache
def small_base(number: int) -> tuple[Item, ...]:
    """Return the records of the small boot of that number, which may not be changed."""
    return tuple(small_boot(Random(number)))


def laid_out(rng: Random, has_idt: bool) -> Layout:
    """Return where everything lies of a boot that goes well, with its tables and its plan."""
    layout = Layout(rng, rng.choice((4, 4, 5)))
    layout.steps += _mapped(layout, has_idt)
    return layout


def small_boot(rng: Random) -> list[Item]:
    """Return the records of a boot that goes well."""
    layout = laid_out(rng, has_idt := rng.random() < 0.6)
    steps, loader, stack, text = layout.steps, layout.of("loader"), layout.of("stack"), layout.of("text")
    items = [
        Item("begin", {"producer": "loader", "version": "0"}),
        Item("config", {"preflight": "warn", "kernel": ""}),
        *_sometimes(rng, Item("firmware", {"vendor": "some"} | _numbers(revision=0x10000, uefi=0x20046))),
        Item("mmap", {"index": "0", "total": "1", "size": "30", "d": "0:c0000:2:f"}),
        _cpu(layout, steps[0].rip, stack.virt + stack.size, loader.virt if has_idt else None),
        *_sometimes(rng, Item("entry", _numbers(rax=0, rbx=1, rcx=2, rdx=3, rsi=4, rdi=loader.virt))),
        *_sometimes(rng, Item("image", {"name": "loader.efi"} | _numbers(base=layout.ranges[0].phys, size=_PAGE, text=0, text_size=_PAGE))),
        Item("elf", {"name": "kernel.elf", "entry": f"{text.virt:x}", "size": "8000", "machine": "3e"}),
        *_segments(layout),
    ]  # fmt: skip
    if rng.random() < 0.7:
        items += [Item("table", _numbers(phys=phys, level=level, parent=parent, caller=0x1234)) for phys, (level, parent) in layout.parents.items()]
    items += [_map(number, one) for number, one in enumerate(layout.ranges)]
    items.append(Item("region", {"name": "guard", "role": "guard"} | _numbers(virt=stack.virt - _PAGE, last=stack.virt - 1)))
    items += [
        Item("plan", {"step": f"{number:x}", "name": writer.text(step.name), "kind": step.kind} | _numbers(virt=step.virt, width=step.width, rip=step.rip))
        for number, step in enumerate(steps)
    ]
    items += [Item("preflight", {"step": f"{number:x}", "outcome": "ok"}) for number in range(len(steps))]
    items += _memories(loader, layout.ranges[0].virt) if has_idt else []
    rehearsal = [Item("rehearsal", {"step": f"{number:x}", "outcome": "ok"}) for number in range(len(steps))]
    rehearsed = _sometimes(rng, Item("rehearse", {"state": "begin"}), *rehearsal, Item("rehearse", {"state": "end"}))
    loaded = _sometimes(rng, *(Item("loaded", {"of": "kernel.elf", "index": f"{number:x}"}) for number in range(2)))
    return [*items, *loaded, *_dump(layout), *rehearsed, *_ending(rng)]


def _sometimes(rng: Random, *items: Item) -> tuple[Item, ...]:
    """Return the records, or none."""
    return items if rng.random() < 0.4 else ()


def _mapped(layout: Layout, has_idt: bool) -> list[Step]:
    """Map everything; return the plan."""
    rng = layout.rng
    code = layout.frame() + rng.randrange(512) * _PAGE
    trampoline = layout.put(Range("handoff code", "trampoline", code, code, 1, "r-x"))
    own = layout.frame()
    layout.put(Range("loader data", "loader", own, own, 4 if has_idt else 1, "rw-"))
    virt, phys = layout.virt(), layout.frame()
    for name, rights in (("text", "r-x"), *((("rodata", "r--"),) if rng.random() < 0.5 else ()), ("data", "rw-")):
        one = layout.put(Range(f"kernel {name}", name, virt, phys, rng.randrange(1, 9), rights))
        virt, phys = virt + one.size, phys + one.size
    stack = layout.put(Range("stack 0", "stack", layout.virt() + _PAGE, layout.frame(), rng.randrange(1, 9), "rw-"))
    text, data = layout.of("text"), layout.of("data")
    top = stack.virt + stack.size
    steps = [
        Step("instruction after mov cr3", "fetch", trampoline.virt + 0x34, 8, trampoline.virt + 0x34),
        Step("first push on the new stack", "write", top - 8, 8, trampoline.virt + 0x38),
        Step("kernel entry", "fetch", text.virt, 1, text.virt),
        *(Step("kernel rodata read", "read", one.virt, one.size, text.virt + 4) for one in layout.ranges if one.role == "rodata"),
        Step("kernel data write", "write", data.virt, 8, text.virt + 8),
    ]
    others = [
        ("boot info", "boot-info", "r--", 1, 1), ("initrd", "initrd", "r--", rng.randrange(1, 80), 1), ("heap", "data", "rw-", rng.randrange(1, 4), 2),
        ("frame buffer", "framebuffer", "rw-", 1, rng.choice((1, 2))),
    ]  # fmt: skip
    for name, role, rights, pages, level in rng.sample(others, rng.choice((0, 0, 1, 1, 2, len(others)))):
        frame = layout.frame(device=role == "framebuffer") if level == 1 or pages == 1 else 3 * (1 << 30) - pages * _SLOT
        one = layout.put(Range(name, role, layout.virt(), frame, pages, rights, level))
        kind = "write" if "w" in rights else "read"
        steps.append(Step(f"{name} first byte", kind, one.virt, 1, text.virt + 0x10 + len(steps)))
        steps.append(Step(f"{name} last byte", kind, one.virt + one.size - 1, 1, text.virt + 0x10 + len(steps)))
    return steps


def _numbers(**fields: int) -> dict[str, str]:
    return {name: f"{value:x}" for name, value in fields.items()}


def _cpu(layout: Layout, rip: int, rsp: int, tables: int | None) -> Item:
    at = tables or 0
    registers: Mapping[str, int] = {
        "cr0": CR0, "cr2": 0, "cr3": layout.root, "cr4": layout.cr4, "cr8": 0, "efer": 0xD00,
        "pat": 0x0007_0406_0007_0406, "gdt_base": at, "gdt_limit": len(builder.gdt()) - 1 if at else 0, "idt_base": at + _PAGE if at else 0,
        "idt_limit": 16 * _VECTORS - 1 if at else 0, "tr": builder.TSS_SELECTOR if at else 0, "ldtr": 0, "cs": builder.CODE_SELECTOR if at else 0,
        "ss": 0x10 if at else 0, "ds": 0, "es": 0, "fs": 0, "gs": 0, "rsp": rsp, "rip": rip, "rflags": 2, "maxphyaddr": MAXPHYADDR,
    }  # fmt: skip
    vendor = layout.rng.choice(("GenuineIntel", "AuthenticAMD"))
    return Item("cpu", {"when": "handoff"} | _numbers(**registers) | {"vendor": vendor, "features": "nx,1g,pge,pat"})


def _segments(layout: Layout) -> Iterator[Item]:
    for index, one in enumerate(one for one in layout.ranges if one.name.startswith("kernel")):
        size = one.size - 0x100
        numbers = _numbers(index=index, virt=one.virt, last=one.virt + size - 1, phys=one.phys, filesz=size, memsz=size, offset=_PAGE * (index + 1))
        yield Item("segment", {"of": "kernel.elf"} | numbers | {"flags": one.rights})


def _map(number: int, one: Range) -> Item:
    place = _numbers(virt=one.virt, last=one.virt + one.size - 1, phys=one.phys)
    return Item("map", {"name": writer.text(one.name), "role": one.role} | place | {"rights": one.rights, "size": f"{_SIZES[one.level]:x}", "type": "wb",
                        "caller": f"{0x1000 + number:x}"})  # fmt: skip


def descriptor_tables(loader: Range, trampoline: int) -> list[tuple[str, int, bytes, int]]:
    """Return name, address, bytes and planes of GDT, IDT and TSS; gates lead behind the trampoline's code."""
    gates = b"".join(builder.gate(trampoline + 0x100 + 16 * vector) for vector in range(_VECTORS))
    tss = bytearray(104)
    tss[0x24:0x2C] = (loader.virt + loader.size).to_bytes(8, "little")
    at = loader.virt + 2 * _PAGE
    descriptor = 0x67 | (at & 0xFF_FFFF) << 16 | 0x89 << 40 | (at >> 24 & 0xFF) << 56
    gdt = builder.gdt()[:24] + descriptor.to_bytes(8, "little") + (at >> 32).to_bytes(8, "little") + builder.gdt()[40:]
    return [("gdt", loader.virt, gdt, 0), ("idt", loader.virt + _PAGE, gates, 2), ("tss", at, bytes(tss), 0)]


def _memories(loader: Range, trampoline: int) -> Iterator[Item]:
    for name, virt, data, planes in descriptor_tables(loader, trampoline):
        stream = writer.word_stream(data, planes) if planes else data
        place = _numbers(virt=virt, length=len(data), words=planes)
        yield Item("memory", {"name": name, "when": "handoff"} | place, stream)
        yield Item("memory-end", {"name": name, "bytes": "0", "crc": "0"}, None, {"bytes", "crc"})


def _dump(layout: Layout) -> Iterator[Item]:
    stream = writer.dump_stream((phys, layout.parents[phys][0], table) for phys, table in sorted(layout.tables.items()))
    yield Item("dump", {"id": "new"} | _numbers(cr3=layout.root, levels=layout.levels), stream)
    yield Item("dump-end", {"id": "new", "pages": f"{len(layout.tables):x}", "bytes": "0", "crc": "0"}, None, {"bytes", "crc"})


def _ending(rng: Random) -> Iterator[Item]:
    checks = rng.randrange(1, 4)
    yield Item("end", {"producer": "loader", "records": "0", "bytes": "0", "crc": "0", "next": "kernel"}, None, {"records", "bytes", "crc"})
    yield from _sometimes(rng, Item("exit", _numbers(status=0, attempts=1)))
    yield Item("section", {"producer": "kernel"})
    yield from (Item("check", {"name": f"check.{number}", "outcome": "pass"}) for number in range(checks))
    yield Item("summary", {"pass": f"{checks:x}", "fail": "0"})
    yield Item("end", {"producer": "kernel", "records": "0", "bytes": "0", "crc": "0", "next": "none"}, None, {"records", "bytes", "crc"})
