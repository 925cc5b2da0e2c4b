"""Whose CPU is modelled: the manuals', or QEMU's software CPU (TCG) of one version.

Where the two differ, a fault is predicted for the one on which the boot runs. Each difference is a
row here, with the QEMU versions that have it; docs/emulation.md shows them as a table.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import ClassVar

from cr3scope.dataclass import dataclass

Version = tuple[int, int]  # QEMU's, major and minor
_NEWEST: Version = (1 << 16, 0)  # what a TCG of unknown version is taken for
_WORD = re.compile(r"tcg(?: ([0-9]{1,4})\.([0-9]{1,4}))?")


class Quirk(Enum):
    """What TCG does otherwise: its way, the manual's way, the first version that no longer does (or None), and the first that does,
    where earlier ones did not.
    """

    RESERVED_WITHOUT_PRESENT = (
        "RSVD in a page fault's error code comes without P", "with P (SDM 3A, 5.7)", None,
    )
    ABSENT_MEMORY_IS_ZERO = (
        "a page table, or what delivery reads, is zero where no memory is", "all ones, on a PC's bus", None,
    )
    GLOBAL_NONLEAF_IGNORED = (
        "G in a PML4E or PML5E is ignored on an AMD CPU", "reserved (APM 2, figures 5-18, 5-20)", None,
    )
    GIGAPAGES_ALWAYS = (
        "PS in a PDPTE maps 1 GiB without the CPUID bit", "reserved (SDM 3A, table 5-16)", None,
    )
    PDPTES_IN_MEMORY = (
        "PDPTEs of PAE paging are read at each walk, which faults for bits above MAXPHYADDR and sets bit 5 in them",
        "loaded with CR3, where reserved bits raise #GP(0) (SDM 3A, 5.4.1)", None,
    )
    PSE36_ALWAYS = (
        "bits 20:13 of a PDE that maps 4 MiB are address bits 39:32 on every CPU",
        "those above MAXPHYADDR are reserved (SDM 3A, table 5-4)", None,
    )
    WRAPS_AROUND = (
        "the last byte of the address space is followed by the first", "#GP or #SS (SDM 1, 3.3.7.1)", None,
    )
    STACK_PROTECTION = (
        "a stack address that is not canonical raises #GP", "#SS (SDM 1, 3.3.7.1)", None,
    )
    JUMP_THEN_FAULT = (
        "a jump to an address that is not canonical faults at that address", "at the jump (SDM 2A, JMP)", None,
    )
    READS_BEFORE_WRITE = (
        "what reads and writes in one instruction faults as a read where no page is present",
        "as a write", None,
    )
    COMPARES_BACKWARDS = ("CMPS reads its second operand first", "order not told", None)
    RESERVED_CR3_HANGS = (
        "`mov cr3` of reserved bits is repeated without end", "#GP(0) (SDM 3A, 2.5)", None,
    )
    NULL_TASK = ("LTR takes a null selector", "#GP(0) (SDM 2A, LTR)", None)
    LONG_AND_DEFAULT = ("a code segment with L and D both set is taken", "#GP (SDM 3A, 5.2.1)", None)
    PAGING_UNCHECKED = (
        "PG without PE is taken, and a mov that sets PG with LME and without PAE is dropped", "#GP(0) (SDM 2B, MOV to CR0)", None,
    )
    LONG_MODE_UNCHECKED = (
        "CR4.PAE and EFER.LME change in long mode, and CR0.PG is cleared in 64-bit code, which then goes on as 32-bit code",
        "#GP(0) (SDM 2B, MOV to CR0 and CR4; WRMSR)", None,
    )
    NO_LIMITS = ("no offset is compared with its segment's limit", "#GP(0) or #SS(0) (SDM 3A, 6.3)", None)
    RETURN_STACK_ABSENT = (
        "IRET to a stack segment that is not present raises #NP", "#SS (SDM 2A, IRET)", None,
    )
    NEVER_EXTERNAL = (
        "EXT is never set in the error code of a delivery that failed", "set (SDM 3A, 7.13)", None,
    )
    GATE_TIMES_16 = (
        "a gate that cannot be used is named by vector * 16 + 2 in the error code",
        "vector * 8 + 2 (SDM 3A, 7.13)", (8, 0),
    )  # fmt: skip
    CACHES_UNCHECKED = ("INVD and WBINVD are executed in every ring", "#GP(0) outside ring 0 (SDM 2A, INVD; 2D, WBINVD)", None, (9, 1))

    def __init__(self, tcg: str, manual: str, before: Version | None, since: Version = (0, 0)) -> None:
        self.tcg, self.manual, self.before, self.since = tcg, manual, before, since


@dataclass(frozen=True, slots=True)
class Platform:
    """A CPU that does what the manuals say (``qemu`` is None), or the TCG of a QEMU version."""

    qemu: Version | None

    HARDWARE: ClassVar[Platform]
    TCG: ClassVar[Platform]  # of unknown version: taken for the newest

    def has(self, quirk: Quirk) -> bool:
        """Return whether this CPU differs from the manuals in that way."""
        return self.qemu is not None and quirk.since <= self.qemu and (quirk.before is None or self.qemu < quirk.before)

    @property
    def word(self) -> str:
        """Return ``hardware``, ``tcg`` or ``tcg 7.2``, which :meth:`named` takes."""
        if self.qemu is None:
            return "hardware"
        return "tcg" if self == Platform.TCG else f"tcg {self.qemu[0]}.{self.qemu[1]}"

    @staticmethod
    def named(word: str) -> Platform | None:
        """Return the platform of which this is the :attr:`word`; None if it is none's."""
        match = _WORD.fullmatch(word)
        if match is None:
            return Platform.HARDWARE if word == Platform.HARDWARE.word else None
        return Platform((int(match[1]), int(match[2]))) if match[1] else Platform.TCG


Platform.HARDWARE = Platform(None)
Platform.TCG = Platform(_NEWEST)
