"""Bits of a page-table entry and which of them are reserved.

Intel SDM volume 3A, section 5.5.4 (formats, tables 5-14 to 5-20) and figure 5-11; AMD APM volume 2,
section 5.3 for what differs there. One entry format serves all levels: what a bit means depends on
the level and on whether the entry is a leaf.
"""

from __future__ import annotations

from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform, Quirk

PAGE_BYTES = 4096
PAGE_SHIFT = 12
PAGE_OFFSET = PAGE_BYTES - 1  # of an address in its page
PAGE_FRAME = ~PAGE_OFFSET  # of an address: where its page begins
ENTRIES = 512
ENTRY_BYTES = 8
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


def level_shift(level: int) -> int:
    """Return the lowest address bit that a level indexes: 12 for a PT up to 48 for a PML5."""
    return 12 + 9 * (level - 1)


def level_bytes(level: int) -> int:
    """Return how many bytes one entry of a level covers."""
    return 1 << level_shift(level)


def level_index(virt: int, level: int) -> int:
    """Return the index of the entry of a level that translates ``virt``."""
    return virt >> level_shift(level) & (ENTRIES - 1)


def is_leaf(value: int, level: int) -> bool:
    """Return whether a present entry maps a page instead of pointing to a table.

    PS counts at levels 2 and 3 only; in a PTE bit 7 is PAT, above a PDPTE it is reserved.
    """
    return level == 1 or (level in (2, 3) and bool(value & LARGE))


def frame(value: int, level: int) -> int:
    """Return the physical address that an entry holds: of its frame if it is a leaf, else of its table.

    Bit 12 of a large leaf is PAT, and bits below the page size are reserved: neither is address.
    """
    address = value & ADDRESS_MASK
    return address & -level_bytes(level) if is_leaf(value, level) else address


def pat_index(value: int, level: int) -> int:
    """Return which of the eight fields of the PAT a leaf selects (SDM 3A, 5.9.2 and 13.12.3)."""
    pat = value & (PAT_4K if level == 1 else PAT_LARGE)
    return bool(value & WRITE_THROUGH) | bool(value & CACHE_DISABLE) << 1 | bool(pat) << 2


def denied_rights(value: int) -> str:
    """Return the letters of ``wxu`` that an entry takes away, whatever the other levels grant."""
    told = (("w", not value & WRITABLE), ("x", value & NO_EXECUTE), ("u", not value & USER))
    return "".join(letter for letter, denies in told if denies)


def reserved_mask(
    level: int, value: int, cpu: CpuState, platform: Platform = Platform.HARDWARE
) -> int:
    """Return the bits that must be zero in a present entry of this level and kind.

    Of the bits that look reserved and are not: bits 58:52 are ignored, and so are 62:52 without protection
    keys; 11:9 belong to software.
    """
    mask = 0
    if cpu.max_phys_bits < MAX_PHYS_BITS:
        mask |= (1 << MAX_PHYS_BITS) - (1 << cpu.max_phys_bits)
    if not cpu.has_nx:
        mask |= NO_EXECUTE
    if level >= 4:
        mask |= LARGE
        if cpu.is_amd and not platform.has(Quirk.GLOBAL_NONLEAF_IGNORED):
            mask |= GLOBAL  # APM volume 2, figures 5-18 and 5-20: MBZ; Intel ignores it
    if level == 3 and not cpu.has_1g_pages and not platform.has(Quirk.GIGAPAGES_ALWAYS):
        mask |= LARGE
    if level in (2, 3) and value & LARGE:
        mask |= level_bytes(level) - 2 * PAT_LARGE  # 20:13 or 29:13
    return mask


def entry_name(level: int, index: int) -> str:
    """Return the name of an entry, as ``PML4[511]``."""
    return f"{LEVEL_NAMES.get(level, f'level {level}')}[{index}]"
