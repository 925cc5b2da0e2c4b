"""The CPU's page walk: where an address leads, and which fault an access raises.

Intel SDM volume 3A, chapter 5: 5.5 (the walk), 5.6 (access rights), 5.7 (page-fault exceptions).
"""

from __future__ import annotations

from cr3scope.dataclass import dataclass
from cr3scope.paging.canonical import LEVELS, is_canonical
from cr3scope.paging.reason import Reason
from cr3scope.paging.tables import Tables, root_entries, table_entries
from cr3scope.x86 import entry as bits
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.cpu_state import (
    CR0_WP,
    CR4_CET,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    RFLAGS_AC,
    CpuState,
)
from cr3scope.x86.entry import EntryFormat
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.word import MASK32, MASK64

__all__ = [
    "AccessKind", "PageFault", "Platform", "Reason", "Translation", "Walk", "access",
    "is_canonical", "walk",
]  # fmt: skip

_KEY_ACCESS_DISABLE, _KEY_WRITE_DISABLE = 1, 2


@dataclass(frozen=True, slots=True)
class Walk:
    """The entries that an address meets from the top, and where they lead.

    ``stop`` is None if the last entry is a good leaf; then ``phys`` is where ``virt`` lies. For
    TABLE_UNREADABLE the last entry is the one that points to the missing table; a missing root
    leaves no entry.
    """

    virt: int
    entries: tuple[EntryRef, ...]
    stop: Reason | None
    phys: int | None = None
    page_size: int = bits.PAGE_BYTES
    missing_table: int | None = None

    @property
    def leaf(self) -> EntryRef:
        """Return the last entry met."""
        return self.entries[-1]

    @property
    def writable(self) -> bool:
        """Return whether R/W of every level grants writes; CR3 carries no rights (SDM 3A, 5.6.1)."""
        return not self.lacking(bits.WRITABLE)

    @property
    def user(self) -> bool:
        """Return whether this is a user-mode address: U/S of every level together (SDM 3A, 5.6)."""
        return not self.lacking(bits.USER)

    @property
    def executable(self) -> bool:
        """Return whether no level has NX."""
        return not self.having(bits.NO_EXECUTE)

    @property
    def rights(self) -> str:
        """Return ``rwxu`` with ``-`` for what some level denies."""
        letters = ((True, "r"), (self.writable, "w"), (self.executable, "x"), (self.user, "u"))
        return "".join(letter if granted else "-" for granted, letter in letters)

    def lacking(self, right: int) -> tuple[EntryRef, ...]:
        """Return every entry on the path that has this bit clear and thereby denies a right."""
        return tuple(entry for entry in self.entries if not entry.value & right and entry.form.has_rights)

    def having(self, right: int) -> tuple[EntryRef, ...]:
        """Return every entry on the path that has this bit set, among those that grant or deny rights."""
        return tuple(entry for entry in self.entries if entry.value & right and entry.form.has_rights)


@dataclass(frozen=True, slots=True)
class Translation:
    """An access that goes through; ``phys`` is where its first byte lies."""

    virt: int
    phys: int
    page_size: int
    rights: str
    entries: tuple[EntryRef, ...]

    @property
    def leaf(self) -> EntryRef:
        """Return the entry that maps the page."""
        return self.entries[-1]


@dataclass(frozen=True, slots=True)
class PageFault:
    """The exception that an access raises.

    ``virt`` is the first byte that could not be accessed. ``cr2`` is None for #GP, which leaves CR2
    alone. ``guilty`` holds every entry that vetoes, from the top: all of them must change.
    """

    vector: int
    error_code: int
    cr2: int | None
    guilty: tuple[EntryRef, ...]
    reason: Reason
    virt: int


def walk(
    tables: Tables, cpu: CpuState, virt: int, platform: Platform = Platform.HARDWARE
) -> Walk:
    """Follow ``virt`` from the root; stop at the first entry that is not present or not valid.

    Outside long mode an address has 32 bits, and what is above is dropped; without paging it is the physical one.
    """
    formats = bits.formats_of(cpu)
    depth = len(formats)
    if depth < LEVELS:
        virt &= MASK32
    elif not is_canonical(virt, depth):
        return Walk(virt, (), Reason.NON_CANONICAL)
    met: list[EntryRef] = []
    table = cpu.root
    for form in formats:
        entries = root_entries(tables, cpu) if form.is_loaded else table_entries(tables, form, table)
        if entries is None:
            return Walk(virt, tuple(met), Reason.TABLE_UNREADABLE, missing_table=table)
        index = form.index(virt)
        value = int(entries[index])
        met.append(EntryRef.of(form, table, index, value))
        stop = stops(form, value, cpu, platform)
        if stop is not None:
            return Walk(virt, tuple(met), stop)
        table = form.frame(value)
        if form.is_leaf(value):
            return Walk(virt, tuple(met), None, table | virt & (form.page_bytes - 1), form.page_bytes)
    return Walk(virt, (), None, virt)


def alike(tables: Tables, leaf: EntryRef, page_size: int) -> int:
    """Return how many entries from a leaf on, in its table, differ from it in their frame alone; at least 1.

    All of them answer an access alike, so that a long range takes one walk for each table.
    """
    entries = table_entries(tables, leaf.form, leaf.phys & bits.PAGE_FRAME)
    assert entries is not None
    # Frame bits beyond MAXPHYADDR are reserved, and the low ones of a large leaf are.
    may_differ = (1 << leaf.form.sure_phys_bits) - page_size | bits.ACCESSED | bits.DIRTY
    word = entries.dtype.type
    differs = (entries[leaf.index :] ^ word(leaf.value)) & word(MASK64 & ~may_differ)
    others = differs.nonzero()[0]
    return int(others[0]) if len(others) else len(differs)


def stops(form: EntryFormat, value: int, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> Reason | None:
    """Return why a walk ends at an entry of this format, whatever the access; None if it does not."""
    if not value & bits.PRESENT:
        return Reason.NOT_PRESENT
    return Reason.RESERVED if value & form.checked_mask(value, cpu, platform) else None


def access(
    tables: Tables,
    cpu: CpuState,
    virt: int,
    kind: AccessKind,
    user: bool = False,
    width: int = 1,
    implicit: bool = False,
    shadow_stack: bool = False,
    platform: Platform = Platform.HARDWARE,
) -> Translation | PageFault:
    """Return where one access of ``width`` bytes leads, which may cross pages, or the fault that it raises.

    ``user``: at CPL 3. ``implicit``: the CPU reaches for a descriptor table or the TSS, which is a supervisor
    access at any CPL (SDM 3A, 5.6). ``shadow_stack``: made by CALL, RET and their kin on a shadow stack.
    """
    request = _Request(cpu, kind, user and not implicit, implicit, shadow_stack, platform)
    is_short = cpu.has_short_addresses  # then the last byte of the address space is followed by the first
    if is_short:
        virt &= MASK32
    last = virt + max(width, 1) - 1
    wraps = platform.has(Quirk.WRAPS_AROUND)
    for edge in () if is_short else (virt, last):
        if (edge > MASK64 and not wraps) or not is_canonical(edge & MASK64, cpu.levels):
            return PageFault(exceptions.PROTECTION, 0, None, (), Reason.NON_CANONICAL, virt)
    first: Walk | None = None
    while True:
        path = walk(tables, cpu, virt & MASK64, platform)
        fault = _refusal(path, request)
        if fault is not None:
            return fault
        first = first or path
        virt = (virt | path.page_size - 1) + 1
        if virt > last or not path.entries:
            break
        virt += (alike(tables, path.leaf, path.page_size) - 1) * path.page_size
        if virt > last:
            break
        if not is_short and not is_canonical(virt & MASK64, cpu.levels):
            return PageFault(exceptions.PROTECTION, 0, None, (), Reason.NON_CANONICAL, virt)
    assert first.phys is not None
    return Translation(first.virt, first.phys, first.page_size, first.rights, first.entries)


def refusal(path: Walk, cpu: CpuState, kind: AccessKind, user: bool) -> PageFault | None:
    """Return the fault that an access to the page of a walk raises, None if the entries allow it."""
    return _refusal(path, _Request(cpu, kind, user, False, False, Platform.HARDWARE))


def refusal_elsewhere(path: Walk, cpu: CpuState, kind: AccessKind) -> PageFault | None:
    """Return the fault that an access along a walk which this boot's CPU makes to its end raises on another CPU, None if that allows
    it; by what the manuals say.

    For CPUs that take the same table for the root, and are in the same mode of paging: they meet the same entries.
    """
    request = _Request(cpu, kind, False, False, False, Platform.HARDWARE)
    for count, entry in enumerate(path.entries, 1):
        stop = stops(entry.form, entry.value, cpu)
        if stop is not None:
            return _refusal(Walk(path.virt, path.entries[:count], stop), request)
    return _refusal(path, request)


def behind(fault: PageFault) -> int:
    """Return the first address that the entry which refuses an access does not cover; the next page where none does."""
    size = min((entry.form.page_bytes for entry in fault.guilty), default=bits.PAGE_BYTES)
    return (fault.virt & -size) + size


@dataclass(frozen=True, slots=True)
class _Request:
    cpu: CpuState
    kind: AccessKind
    user: bool
    implicit: bool
    shadow_stack: bool
    platform: Platform

    @property
    def error_code(self) -> int:
        """Return what the error code says of the access; I/D only with NX or SMEP (SDM 3A, 5.7)."""
        code = exceptions.PF_USER if self.user else 0
        if self.kind is AccessKind.WRITE:
            code |= exceptions.PF_WRITE
        if self.kind is AccessKind.FETCH and self.cpu.tells_fetches:
            code |= exceptions.PF_FETCH
        if self.shadow_stack:
            code |= exceptions.PF_SHADOW_STACK
        return code


def _refusal(path: Walk, request: _Request) -> PageFault | None:
    """The fault of an access to the page of ``path``, None if it is allowed."""
    code = request.error_code
    if path.stop is None:
        veto = _veto(path, request) if path.entries else None  # without paging nothing has rights
        if veto is None:
            return None
        reason, guilty = veto
        code |= exceptions.PF_PRESENT
        # PK tells of the key even where another right is missing too (SDM 3A, 5.7).
        if _key_forbids(path, request):
            code |= exceptions.PF_KEY
        return PageFault(exceptions.PAGE_FAULT, code, path.virt, guilty, reason, path.virt)
    if _is_reserved(path.stop, request.platform):
        code |= exceptions.PF_RESERVED
        if not request.platform.has(Quirk.RESERVED_WITHOUT_PRESENT):
            code |= exceptions.PF_PRESENT
    return PageFault(exceptions.PAGE_FAULT, code, path.virt, path.entries[-1:], path.stop, path.virt)


def _is_reserved(stop: Reason, platform: Platform) -> bool:
    """Return whether the walk stopped at bits that must be zero, told or read where no memory is."""
    if stop is Reason.TABLE_UNREADABLE:
        return not platform.has(Quirk.ABSENT_MEMORY_IS_ZERO)
    return stop is Reason.RESERVED


def _veto(path: Walk, request: _Request) -> tuple[Reason, tuple[EntryRef, ...]] | None:
    """Access rights, SDM 3A, 5.6.1 and 5.6.2: the first reason and all entries behind it."""
    if request.user and not path.user:
        return Reason.SUPERVISOR, path.lacking(bits.USER)
    if request.kind is AccessKind.FETCH:
        return _fetch_veto(path, request)
    if request.shadow_stack:
        if not _is_shadow_stack(path, request):
            return Reason.SHADOW_STACK, _not_shadow_stack(path, request)
    else:
        if request.kind is AccessKind.WRITE and not path.writable:
            if request.user or request.cpu.cr0 & CR0_WP:
                return Reason.READ_ONLY, path.lacking(bits.WRITABLE)
        if not request.user and path.user and _smap_forbids(request):
            return Reason.SMAP, (path.leaf,)
    if _key_forbids(path, request):
        return Reason.PROTECTION_KEY, (path.leaf,)
    return None


def _fetch_veto(path: Walk, request: _Request) -> tuple[Reason, tuple[EntryRef, ...]] | None:
    if not path.executable:  # with NXE=0 the walk has stopped at bit 63 already
        return Reason.NO_EXECUTE, path.having(bits.NO_EXECUTE)
    if not request.user and path.user and request.cpu.cr4 & CR4_SMEP:
        return Reason.SMEP, (path.leaf,)
    return None


def _smap_forbids(request: _Request) -> bool:
    """RFLAGS.AC exempts explicit accesses alone (SDM 3A, 5.6.1)."""
    if not request.cpu.cr4 & CR4_SMAP:
        return False
    return request.implicit or not request.cpu.rflags & RFLAGS_AC


def _is_shadow_stack(path: Walk, request: _Request) -> bool:
    """Leaf read-only and dirty under writable parents, of the access's own mode (SDM 3A, 5.6.1)."""
    return not _not_shadow_stack(path, request)


def _not_shadow_stack(path: Walk, request: _Request) -> tuple[EntryRef, ...]:
    """The entries that keep the page from being a shadow-stack page; empty if it is one."""
    parents = [entry for entry in path.lacking(bits.WRITABLE) if entry is not path.leaf]
    leaf = path.leaf.value
    wrong_leaf = leaf & bits.WRITABLE or not leaf & bits.DIRTY or path.user != request.user
    if not request.cpu.cr4 & CR4_CET or wrong_leaf:
        parents.append(path.leaf)
    return tuple(parents)


def _key_forbids(path: Walk, request: _Request) -> bool:
    """PKRU for user pages, PKRS for supervisor pages, data accesses in long mode alone (SDM 3A, 5.6.2)."""
    cpu = request.cpu
    if request.kind is AccessKind.FETCH or cpu.has_short_addresses or not cpu.cr4 & (CR4_PKE if path.user else CR4_PKS):
        return False
    key = (path.leaf.value & bits.KEY_MASK) >> bits.KEY_SHIFT
    denied = (cpu.pkru if path.user else cpu.pkrs) >> 2 * key
    if denied & _KEY_ACCESS_DISABLE:
        return True
    write_protected = request.user or bool(cpu.cr0 & CR0_WP)
    is_write = request.kind is AccessKind.WRITE
    return bool(denied & _KEY_WRITE_DISABLE) and is_write and write_protected
