"""The page walk a second time, as plainly as can be: bit by bit, from the manuals' tables.

It shares no code with the package; slow on purpose. Intel SDM volume 3A, 5.3 to 5.7; AMD APM
volume 2, 5.3. What QEMU's TCG does differently is marked where it differs. Two levels are 32-bit paging, with 1024 entries
of a table; three are PAE paging, whose first table has 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Table = list[int]
Memory = Mapping[int, Table]
Place = tuple[int, int]  # level and index of an entry

PAGE_BITS = {1: 12, 2: 21, 3: 30, 4: 39, 5: 48}


def bit(value: int, number: int) -> bool:
    return value >> number & 1 == 1


@dataclass(frozen=True)
class Machine:
    """Control bits by name."""

    root: int
    levels: int = 4
    pse: bool = False  # counts in 32-bit paging alone
    wp: bool = True
    nxe: bool = True
    smep: bool = False
    smap: bool = False
    pke: bool = False
    pks: bool = False
    ac: bool = False
    pkru: int = 0
    pkrs: int = 0
    maxphyaddr: int = 52
    gigapages: bool = True
    amd: bool = False
    tcg: bool = False


@dataclass(frozen=True)
class Outcome:
    """``vector`` is None for a translation, which goes to ``phys``."""

    vector: int | None
    error: int = 0
    cr2: int | None = None
    vetoes: tuple[Place, ...] = ()
    phys: int | None = None
    size: int | None = None


def leaf(entry: int, level: int, machine: Machine) -> bool:
    if level == 1:
        return True
    if machine.levels == 2:
        return machine.pse and bit(entry, 7)
    if machine.levels == 3 and level == 3:
        return False
    if level == 2 or level == 3:
        return bit(entry, 7)
    return False


def page_bits(level: int, machine: Machine) -> int:
    return 22 if machine.levels == 2 and level == 2 else PAGE_BITS[level]


def reserved(entry: int, level: int, machine: Machine) -> bool:
    """Whether a present entry has a bit set that must be zero, and for which a walk faults."""
    if machine.levels == 2:
        if not leaf(entry, level, machine) or level == 1:
            return False
        # Bits 13 to 20 are address bits 32 to 39.
        beyond = range(13 + max(machine.maxphyaddr, 32) - 32, 21)
        return bit(entry, 21) or not machine.tcg and any(bit(entry, number) for number in beyond)
    if machine.levels == 3 and level == 3 and not machine.tcg:
        return False  # the load of CR3 has checked it
    must_be_zero = set(range(machine.maxphyaddr, 52))
    if machine.levels == 3:
        must_be_zero |= set(range(52, 63))
        if level == 3:
            must_be_zero.add(63)
    if not machine.nxe:
        must_be_zero.add(63)
    if level == 5 or level == 4:
        must_be_zero.add(7)
        if machine.amd and not machine.tcg:
            must_be_zero.add(8)
    if level == 3 and machine.levels > 3 and not machine.gigapages and not machine.tcg:
        must_be_zero.add(7)
    if level == 3 and machine.levels > 3 and bit(entry, 7):
        must_be_zero |= set(range(13, 30))
    if level == 2 and bit(entry, 7):
        must_be_zero |= set(range(13, 21))
    return any(bit(entry, number) for number in must_be_zero)


def canonical(virt: int, levels: int) -> bool:
    if levels < 4:
        return virt < 2**32
    highest = 47 if levels == 4 else 56
    return len({bit(virt, number) for number in range(highest, 64)}) == 1


def index_of(virt: int, level: int, machine: Machine = Machine(0)) -> int:
    entries = 1024 if machine.levels == 2 else 4 if machine.levels == 3 == level else 512
    return (virt >> page_bits(level, machine)) % entries


def frame(entry: int, level: int, machine: Machine) -> int:
    """Bits 51 down to the page size; of 4 MiB, bits 13 to 20 above 31 down to 22."""
    lowest = page_bits(level, machine) if leaf(entry, level, machine) else 12
    found = sum(1 << number for number in range(lowest, 52) if bit(entry, number))
    if lowest == 22:
        found += sum(1 << number + 19 for number in range(13, 21) if bit(entry, number))
    return found


def one_page(
    memory: Memory,
    machine: Machine,
    virt: int,
    kind: str,
    user: bool = False,
    implicit: bool = False,
) -> Outcome:
    """An access within one page; ``kind`` is fetch, read or write."""
    if not canonical(virt, machine.levels):
        return Outcome(13, 0, None)
    if implicit:
        user = False
    error = 0
    if kind == "write":
        error += 2
    if user:
        error += 4
    if kind == "fetch" and (machine.nxe and machine.levels > 2 or machine.smep):
        error += 16

    path: list[tuple[Place, int]] = []
    table = machine.root
    for level in range(machine.levels, 0, -1):
        if table not in memory:
            # A read that nothing answers: all ones on a PC, zero in TCG.
            code = error if machine.tcg else error + 8 + 1
            return Outcome(14, code, virt, tuple(place for place, _ in path[-1:]))
        place = (level, index_of(virt, level, machine))
        entry = memory[table][place[1]]
        if not bit(entry, 0):
            return Outcome(14, error, virt, (place,))
        if reserved(entry, level, machine):
            return Outcome(14, error + 8 + (0 if machine.tcg else 1), virt, (place,))
        path.append((place, entry))
        table = frame(entry, level, machine)
        if leaf(entry, level, machine):
            break
    (level, _), last = path[-1]
    size = 2 ** page_bits(level, machine)

    here = (path[-1][0],)
    if machine.levels == 3:
        path = path[1:]  # the first has no rights
    not_writable = tuple(place for place, entry in path if not bit(entry, 1))
    not_user = tuple(place for place, entry in path if not bit(entry, 2))
    not_executable = tuple(place for place, entry in path if bit(entry, 63))
    user_page = not not_user

    key = last >> 59 & 15
    rules = machine.pkru if user_page else machine.pkrs
    key_denies = False
    if machine.levels > 3 and kind != "fetch" and (machine.pke if user_page else machine.pks):
        if bit(rules, 2 * key):
            key_denies = True
        if bit(rules, 2 * key + 1) and kind == "write" and (user or machine.wp):
            key_denies = True

    vetoes: tuple[Place, ...] = ()
    if user and not user_page:
        vetoes = not_user
    elif kind == "fetch" and not_executable:
        vetoes = not_executable
    elif kind == "fetch" and not user and user_page and machine.smep:
        vetoes = here
    elif kind == "write" and not_writable and (user or machine.wp):
        vetoes = not_writable
    elif kind != "fetch" and not user and user_page and machine.smap:
        if implicit or not machine.ac:
            vetoes = here
    if not vetoes and key_denies:
        vetoes = here
    if vetoes:
        return Outcome(14, error + 1 + (32 if key_denies else 0), virt, vetoes)
    return Outcome(None, phys=table + virt % size, size=size)


def access(
    memory: Memory,
    machine: Machine,
    virt: int,
    kind: str,
    user: bool = False,
    implicit: bool = False,
    width: int = 1,
) -> Outcome:
    """Byte by byte; the first byte's translation is the outcome if all go through."""
    around = 2**64 if machine.levels > 3 else 2**32
    ends = [virt, virt + width - 1]
    if machine.levels < 4:
        ends = [at % 2**32 for at in ends]
    if machine.tcg:
        ends = [at % 2**64 for at in ends]
    if any(at > 2**64 - 1 or not canonical(at, machine.levels) for at in ends):
        return Outcome(13, 0, None)
    first = one_page(memory, machine, virt, kind, user, implicit)
    for byte in range(virt, virt + width):
        at = byte % around
        if byte != virt and at % 4096 != 0:
            continue
        outcome = one_page(memory, machine, at, kind, user, implicit)
        if outcome.vector is not None:
            return outcome
    return first


@dataclass(frozen=True)
class Page:
    """A leaf as reached from the root."""

    virt: int
    phys: int
    level: int
    rights: str
    pat: int


def pages(memory: Memory, machine: Machine) -> Iterator[Page]:
    """Every page that the tables map, in the order of virtual addresses (upper half last)."""
    yield from _pages(memory, machine, machine.root, machine.levels, 0, "rwxu")


def _pages(
    memory: Memory, machine: Machine, table: int, level: int, virt: int, rights: str
) -> Iterator[Page]:
    for index, entry in enumerate(memory.get(table, [])):
        if not bit(entry, 0) or reserved(entry, level, machine):
            continue
        here = virt + index * 2 ** page_bits(level, machine)
        denied = ("w" if not bit(entry, 1) else "") + ("x" if bit(entry, 63) else "")
        denied += "u" if not bit(entry, 2) else ""
        if machine.levels == 3 == level:
            denied = ""
        granted = "".join("-" if letter in denied else letter for letter in rights)
        if not leaf(entry, level, machine):
            yield from _pages(memory, machine, frame(entry, level, machine), level - 1, here, granted)
            continue
        width = {4: 48, 5: 57}.get(machine.levels, 64)
        if here >= 2 ** (width - 1):
            here += 2**64 - 2**width
        pat = bit(entry, 3) + 2 * bit(entry, 4) + 4 * bit(entry, 7 if level == 1 else 12)
        yield Page(here, frame(entry, level, machine), level, granted, pat)
