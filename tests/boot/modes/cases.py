"""Random single-bit changes in tables of every mode, and what the model foresees of an access under each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from boot.modes.guest import BACK, MARK, Answer, Cpu, Record
from boot.modes.memory import BACKGROUND, BACKGROUND_END, HIGH, PAGE, UNIT, Image, UnknownMemory, told_by
from boot.modes.spaces import CR0, LMA, LME, USER_PAGE, WP, Space
from cr3scope.paging.pdptes import refused_pdptes
from cr3scope.paging.walk import PageFault, Reason, Translation, access, walk
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import RFLAGS_AC, CpuState
from cr3scope.x86.entry import ACCESSED
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.platform import Platform, Quirk

_KINDS = (AccessKind.READ, AccessKind.WRITE, AccessKind.FETCH)
_AT = (1, 8, 0)  # where in its unit each kind goes
_WIDTH = (4, 4, 1)


@dataclass(frozen=True)
class Case:
    """A record, and what was foreseen. What lies outside the background is not known, but it is not the background."""

    space: str
    record: Record
    foreseen: Translation | PageFault | None  # None: the load of the PDPTEs is refused with #GP(0) before the access
    said: str

    def differs(self, answer: Answer) -> str:
        """What of the answer was foreseen otherwise; "" if nothing was."""
        found = self.foreseen
        if found is None:
            return "" if (answer.vector, answer.error, answer.cr2) == (PROTECTION, 0, 0) else f"{self.said}: {answer}"
        if isinstance(found, PageFault):
            expected = (found.vector, found.error_code, found.cr2 or 0)
            return "" if expected == (answer.vector, answer.error, answer.cr2) else f"{self.said}: {answer}"
        told = told_by(found.phys)
        value = MARK if self.record.kind == 1 else told
        is_right = answer.vector == BACK and (not self._may_be_told(answer.value) if value is None else value == answer.value)
        if self.record.probe:
            is_right = is_right and answer.probe == MARK
        return "" if is_right else f"{self.said}: {answer}"


    def _may_be_told(self, value: int) -> bool:
        """Whether the background tells this value somewhere, at this place of a page."""
        high = HIGH + (value & -UNIT)
        return (value ^ self.record.address) & PAGE - UNIT == 0 and value in (told_by(value), told_by(high))


def state(space: Space, record: Record, cpu: Cpu) -> CpuState:
    """The CPU as the record makes it."""
    efer = record.efer | (LMA if record.efer & LME else 0)
    return CpuState(
        record.cr3, record.cr0, record.cr4, efer, cpu.max_phys_bits, cpu.has_1g_pages, cpu.is_amd,
        RFLAGS_AC | 2 if record.checked and not record.user else 2,
    )  # fmt: skip


def cases(image: Image, space: Space, cpu: Cpu, platform: Platform, seed: int) -> Iterator[Case]:
    """Yield cases without end; those whose outcome depends on memory that nobody knows are left out."""
    chance = random.Random(f"{space.name} {seed}")
    may_cr4 = space.may_cr4 & ~((0 if cpu.has_smep else 1 << 20) | (0 if cpu.has_smap else 1 << 21))
    while True:
        record = _record(space, may_cr4, chance)
        now = state(space, record, cpu)
        if chance.random() < 0.5 and isinstance(_asked(image, record, now, platform), PageFault):
            continue  # half of the accesses go through without the change
        made = _made(image, space, record, now, platform, chance)
        if made is not None:
            yield made


def unchanged(image: Image, space: Space, cpu: Cpu, platform: Platform) -> Case:
    """A read by a supervisor with every table as it is."""
    chance = random.Random(space.name)
    while True:
        record = replace(_record(space, 0, chance), kind=0, user=False, entry=image.free - PAGE)
        case = _foreseen(image, space, record, state(space, record, cpu), platform)
        if isinstance(case.foreseen, Translation):
            return case


def _record(space: Space, may_cr4: int, chance: random.Random) -> Record:
    return Record(
        cr0=CR0 | chance.choice((0, WP)), cr3=space.root | chance.choice((0, 0x18)),
        cr4=space.cr4 | chance.getrandbits(32) & may_cr4, efer=space.efer | chance.getrandbits(32) & space.may_efer,
        entry=0, flipped=0, kind=chance.randrange(3),
        address=chance.choice(space.places) + chance.randrange(PAGE // UNIT) * UNIT,
        user=chance.random() < 0.5, wide=space.wide, checked=chance.random() < 0.3,
    )  # fmt: skip


def _made(
    image: Image, space: Space, record: Record, now: CpuState, platform: Platform, chance: random.Random
) -> Case | None:
    own = {entry.phys for at in (0, USER_PAGE) for entry in walk(image, now, at, platform).entries}
    path = [entry for entry in walk(image, now, record.address, platform).entries if entry.phys not in own]
    entry = chance.choice(path)
    bit = chance.randrange(space.bits)
    if entry.form.is_loaded and 1 << bit == ACCESSED and not platform.has(Quirk.PDPTES_IN_MEMORY):
        return None  # TCG leaves that bit in memory, and so the model does not say that it refuses a PDPTE (paging/pdptes.py)
    record = replace(record, entry=entry.phys, flipped=1 << bit)
    image.changed = (entry.phys, record.flipped)
    try:
        case = _foreseen(image, space, record, now, platform)
        if isinstance(case.foreseen, Translation) and record.kind and not _is_harmless(case.foreseen.phys, record.kind):
            record = replace(record, kind=0)
            case = _foreseen(image, space, record, now, platform)
    except UnknownMemory:
        return None
    finally:
        image.changed = None
    if isinstance(case.foreseen, PageFault) and case.foreseen.reason is Reason.TABLE_UNREADABLE:
        if not platform.has(Quirk.ABSENT_MEMORY_IS_ZERO):
            return None  # a hypervisor answers for what is not there
    return case


def _is_harmless(phys: int, kind: int) -> bool:
    """Whether code there comes back, or a write there does no harm and can be seen."""
    return BACKGROUND <= phys < BACKGROUND_END or kind == 2 and told_by(phys) is not None and phys >= HIGH


def _asked(image: Image, record: Record, now: CpuState, platform: Platform) -> Translation | PageFault:
    at, width = record.address + _AT[record.kind], _WIDTH[record.kind]
    return access(image, now, at, _KINDS[record.kind], user=record.user, width=width, platform=platform)


def _foreseen(image: Image, space: Space, record: Record, now: CpuState, platform: Platform) -> Case:
    found = None if refused_pdptes(image, now, platform) else _asked(image, record, now, platform)
    if record.kind == 1 and isinstance(found, Translation):
        record = replace(record, probe=found.phys)
    said = (
        f"{space.name}: {record.flipped:#x} of the entry at {record.entry:#x}, {'user' if record.user else 'supervisor'}"
        f" {_KINDS[record.kind].value} of {record.address:#x}, cr0 {now.cr0:#x} cr4 {now.cr4:#x} efer {now.efer:#x} ac {record.checked},"
        f" foreseen {found}"
    )
    return Case(space.name, record, found, said)
