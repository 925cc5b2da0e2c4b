"""Bits of a page-table entry, in every mode of paging, and which of them are reserved.

Intel SDM volume 3A, sections 5.3 (32-bit paging, tables 5-3 to 5-6), 5.4 (PAE, tables 5-7 to 5-11) and 5.5.4
(4 and 5 levels, tables 5-14 to 5-20, figure 5-11); AMD APM volume 2, section 5.3 for what differs there. What a bit
means depends on the mode, on the level and on whether the entry is a leaf: an :class:`EntryFormat` is one row of that.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from cr3scope.dataclass import dataclass
from cr3scope.x86.cpu_state import CR4_PSE, CpuState, PagingMode
from cr3scope.x86.platform import Platform, Quirk

PAGE_BYTES = 4096
PAGE_SHIFT = 12
PAGE_OFFSET = PAGE_BYTES - 1  # of an address in its page
PAGE_FRAME = ~PAGE_OFFSET  # of an address: where its page begins
ENTRIES = 512
ENTRY_BYTES = 8
SHORT_ENTRY_BYTES = 4  # of 32-bit paging
LEAST_PHYS_BITS = 36  # of any 64-bit CPU's MAXPHYADDR: what an entry sets above may be reserved on some

PRESENT = 1 << 0
WRITABLE = 1 << 1
USER = 1 << 2
WRITE_THROUGH = 1 << 3
CACHE_DISABLE = 1 << 4
ACCESSED = 1 << 5
DIRTY = 1 << 6
LARGE = 1 << 7  # PS, at levels 2 and 3
PAT_4K = 1 << 7  # of a PTE: there bit 7 is no PS
GLOBAL = 1 << 8
PAT_LARGE = 1 << 12  # of a 2 MiB or 1 GiB leaf
NO_EXECUTE = 1 << 63
KEY_SHIFT = 59  # protection key, bits 62:59 of a leaf
KEY_MASK = 15 << KEY_SHIFT

ADDRESS_MASK = 0x000F_FFFF_FFFF_F000  # 51:12; what of it is above MAXPHYADDR is reserved
MAX_PHYS_BITS = 52
PHYS_BITS = range(32, MAX_PHYS_BITS + 1)  # MAXPHYADDR as CPUID can tell it (SDM 3A, 5.1.4; QEMU takes no other)

LEVEL_NAMES = {5: "PML5", 4: "PML4", 3: "PDPT", 2: "PD", 1: "PT"}

MOST_LEVELS = max(LEVEL_NAMES)

_INDEX_BITS = 9
_PSE36_BITS = 40  # what bits 20:13 of a PDE that maps 4 MiB reach, as address bits 39:32 (SDM 3A, 5.3)
_PSE36_AT, PSE36_SHIFT = 13, 19  # the lowest of them, and how far up it stands in the address
_PSE36_MASK = 0xFF << _PSE36_AT
_SHORT_BITS = 32  # of an address outside long mode, and of an entry of 32-bit paging
_SOFTWARE_HIGH = 0x7FF << MAX_PHYS_BITS  # 62:52, ignored in long mode and reserved in PAE paging


@dataclass(frozen=True, slots=True)
class EntryFormat:
    """How the entries of one level read in one mode of paging.

    ``shift``: the lowest bit of an address that the level indexes, with ``index_bits`` of them. ``takes_ps``: PS makes an
    entry map a page; ``is_last``: every entry does. ``has_rights``: R/W, U/S and NX count. ``reserved``: bits that must be
    zero in every present entry, ``reserved_large`` in one that maps a large page; more depend on the CPU.
    ``is_loaded``: the CPU keeps such entries from the load of CR3 on, and checks them there (SDM 3A, 5.4.1).
    ``is_legacy``: it is of a mode outside long mode.
    """

    level: int
    shift: int
    index_bits: int = _INDEX_BITS
    entry_bytes: int = ENTRY_BYTES
    takes_ps: bool = False
    is_last: bool = False
    has_rights: bool = True
    reserved: int = 0
    reserved_large: int = 0
    is_loaded: bool = False
    is_legacy: bool = False

    @property
    def entries(self) -> int:
        """Return how many entries a table has."""
        return 1 << self.index_bits

    @property
    def page_bytes(self) -> int:
        """Return how many bytes one entry covers."""
        return 1 << self.shift

    def index(self, virt: int) -> int:
        """Return the index of the entry that translates ``virt``."""
        return virt >> self.shift & (1 << self.index_bits) - 1

    def is_leaf(self, value: int) -> bool:
        """Return whether a present entry maps a page instead of pointing to a table."""
        return self.is_last or (self.takes_ps and bool(value & LARGE))

    def frame(self, value: int) -> int:
        """Return the physical address that an entry holds: of its frame if it is a leaf, else of its table.

        Bit 12 of a large leaf is PAT, and bits below the page size are reserved: neither is address. Those of 32-bit
        paging hold address bits 39:32 in bits 20:13.
        """
        if not self.is_leaf(value):
            return value & ADDRESS_MASK
        if self.entry_bytes == ENTRY_BYTES:
            return value & ADDRESS_MASK & -(1 << self.shift)
        return value & self.frame_mask | (value & self.high_mask) << PSE36_SHIFT

    @property
    def frame_mask(self) -> int:
        """Return the bits of a leaf that are those of its frame's address."""
        return ADDRESS_MASK & -self.page_bytes

    @property
    def high_mask(self) -> int:
        """Return the bits of a leaf that stand ``PSE36_SHIFT`` bits further up in its frame's address."""
        return _PSE36_MASK if self.is_short and not self.is_last else 0

    @property
    def is_short(self) -> bool:
        """Return whether entries have 4 bytes: those of 32-bit paging."""
        return self.entry_bytes < ENTRY_BYTES

    @property
    def sure_phys_bits(self) -> int:
        """Return up to where a set address bit is reserved on no CPU that has this mode."""
        return LEAST_PHYS_BITS if self.index_bits == _INDEX_BITS else _SHORT_BITS

    def pat_index(self, value: int) -> int:
        """Return which of the eight fields of the PAT a leaf selects (SDM 3A, 5.9.2 and 13.12.3)."""
        pat = value & (PAT_4K if self.is_last else PAT_LARGE)
        return bool(value & WRITE_THROUGH) | bool(value & CACHE_DISABLE) << 1 | bool(pat) << 2

    def denied_rights(self, value: int) -> str:
        """Return the letters of ``wxu`` that an entry takes away, whatever the other levels grant."""
        told = (("w", not value & WRITABLE), ("x", value & NO_EXECUTE), ("u", not value & USER))
        return "".join(letter for letter, denies in told if denies) if self.has_rights else ""

    def reserved_mask(self, value: int, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> int:
        """Return the bits that must be zero in a present entry of this kind.

        Of the bits that look reserved and are not: in long mode bits 58:52 are ignored, and so are 62:52 without
        protection keys; 11:9 belong to software. Of a PDPTE of PAE paging they are checked by the load of CR3.
        """
        is_large = self.takes_ps and bool(value & LARGE)
        if self.is_short:
            return self._beyond_pse36(cpu, platform) if is_large else 0
        mask = self.reserved
        if self.is_loaded and platform.has(Quirk.PDPTES_IN_MEMORY):
            mask = _SOFTWARE_HIGH | NO_EXECUTE
        if cpu.max_phys_bits < MAX_PHYS_BITS:
            mask |= (1 << MAX_PHYS_BITS) - (1 << cpu.max_phys_bits)
        if not cpu.has_nx:
            mask |= NO_EXECUTE
        if self.level >= 4 and cpu.is_amd and not platform.has(Quirk.GLOBAL_NONLEAF_IGNORED):
            mask |= GLOBAL  # APM volume 2, figures 5-18 and 5-20: MBZ; Intel ignores it
        if self.level == 3 and self.takes_ps and not cpu.has_1g_pages and not platform.has(Quirk.GIGAPAGES_ALWAYS):
            mask |= LARGE
        return mask | self.reserved_large if is_large else mask

    def checked_mask(self, value: int, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> int:
        """Return those of the reserved bits for which a walk faults: none where the load of CR3 has checked them."""
        if self.is_loaded and not platform.has(Quirk.PDPTES_IN_MEMORY):
            return 0
        return self.reserved_mask(value, cpu, platform)

    def _beyond_pse36(self, cpu: CpuState, platform: Platform) -> int:
        """Bit 21 of a 4 MiB leaf, and what of 20:13 is above MAXPHYADDR: all of it without PSE-36 (SDM 3A, table 5-4)."""
        reach = _PSE36_BITS if platform.has(Quirk.PSE36_ALWAYS) else min(cpu.max_phys_bits, _PSE36_BITS)
        return self.page_bytes // 2 | _PSE36_MASK & -(1 << (reach - PSE36_SHIFT))


def level_shift(level: int) -> int:
    """Return the lowest address bit that a level of long mode indexes: 12 for a PT up to 48 for a PML5."""
    return PAGE_SHIFT + _INDEX_BITS * (level - 1)


def level_bytes(level: int) -> int:
    """Return how many bytes one entry of a level of long mode covers."""
    return 1 << level_shift(level)


def _large(level: int) -> EntryFormat:
    """A PD or PDPT with PS: the address bits below the page size but PAT are reserved, 20:13 or 29:13."""
    shift = level_shift(level)
    return EntryFormat(level, shift, takes_ps=True, reserved_large=(1 << shift) - 2 * PAT_LARGE)


_PT, _PD = EntryFormat(1, PAGE_SHIFT, is_last=True), _large(2)
_PDPT, _PML4, _PML5 = _large(3), EntryFormat(4, level_shift(4), reserved=LARGE), EntryFormat(5, level_shift(5), reserved=LARGE)
# Bits 2:1, 8:5 and all above MAXPHYADDR (SDM 3A, table 5-8).
_PDPTE_RESERVED = WRITABLE | USER | ACCESSED | DIRTY | LARGE | GLOBAL | _SOFTWARE_HIGH | NO_EXECUTE
_PAE = (
    EntryFormat(3, level_shift(3), 2, has_rights=False, reserved=_PDPTE_RESERVED, is_loaded=True, is_legacy=True),
    replace(_PD, reserved=_SOFTWARE_HIGH, is_legacy=True),
    replace(_PT, reserved=_SOFTWARE_HIGH, is_legacy=True),
)
_SHORT_PT = EntryFormat(1, PAGE_SHIFT, 10, SHORT_ENTRY_BYTES, is_last=True, is_legacy=True)
_FORMATS = {
    PagingMode.NONE: (),
    PagingMode.PAE: _PAE,
    PagingMode.LEVELS_4: (_PML4, _PDPT, _PD, _PT),
    PagingMode.LEVELS_5: (_PML5, _PML4, _PDPT, _PD, _PT),
}


def formats_of(cpu: CpuState) -> tuple[EntryFormat, ...]:
    """Return the formats of all levels, from the root down; none where nothing is paged.

    In 32-bit paging PS counts with CR4.PSE alone, and is ignored without it (SDM 3A, table 5-5).
    """
    mode = cpu.paging_mode
    return _short_formats(bool(cpu.cr4 & CR4_PSE)) if mode is PagingMode.BITS_32 else _FORMATS[mode]


@cache
def _short_formats(takes_ps: bool) -> tuple[EntryFormat, ...]:
    return EntryFormat(2, 22, 10, SHORT_ENTRY_BYTES, takes_ps=takes_ps, is_legacy=True), _SHORT_PT


@cache
def long_format(level: int) -> EntryFormat:
    """Return the format of a level of long mode."""
    formats = _FORMATS[PagingMode.LEVELS_5]
    return formats[-level] if 0 < level <= len(formats) else EntryFormat(level, level_shift(level))


def level_index(virt: int, level: int) -> int:
    """Return the index of the entry of a level of long mode that translates ``virt``."""
    return long_format(level).index(virt)


def is_leaf(value: int, level: int) -> bool:
    """Return whether a present entry of long mode maps a page instead of pointing to a table.

    PS counts at levels 2 and 3 only; in a PTE bit 7 is PAT, above a PDPTE it is reserved.
    """
    return long_format(level).is_leaf(value)


def frame(value: int, level: int) -> int:
    """Return the physical address that an entry of long mode holds: of its frame if it is a leaf, else of its table."""
    return long_format(level).frame(value)


def reserved_mask(
    level: int, value: int, cpu: CpuState, platform: Platform = Platform.HARDWARE
) -> int:
    """Return the bits that must be zero in a present entry of this level and kind, in the CPU's mode of paging."""
    found = next((form for form in formats_of(cpu) if form.level == level), None)
    return (found or long_format(level)).reserved_mask(value, cpu, platform)


def entry_name(level: int, index: int) -> str:
    """Return the name of an entry, as ``PML4[511]``."""
    return f"{LEVEL_NAMES.get(level, f'level {level}')}[{index}]"
