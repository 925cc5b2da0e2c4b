"""The accesses that delivering an exception makes, in any mode: each can raise the next exception."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.message import Message
from cr3scope.model.delivered import Raised, Unknown
from cr3scope.model.strike import Target
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.target.contents import PhysicalBytes
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.platform import Platform, Quirk


@dataclass(frozen=True, slots=True)
class DeliveryAccess:
    """The tables, the paging state and the memory that an exception meets."""

    tables: Tables
    cpu: CpuState
    memory: PhysicalBytes
    platform: Platform

    def fetch(self, virt: int) -> PageFault | None:
        """Return the fault of fetching the first byte at ``virt``; None if it goes through."""
        found = self.reach(virt, AccessKind.FETCH, 1)
        return found if isinstance(found, PageFault) else None

    def read(
        self, virt: int, count: int, words: Message, target: Target
    ) -> bytes | Raised | Unknown:
        """Return bytes of a descriptor table or a TSS; ``words`` name them where they cannot be read."""
        data = b""
        while len(data) < count:
            at = virt + len(data)
            width = min(count - len(data), PAGE_BYTES - at % PAGE_BYTES)
            found = self.reach(at, AccessKind.READ, width)
            if isinstance(found, PageFault):
                return self.raised(found, words, target, AccessKind.READ)
            part = self.memory.read(found.phys, width)
            if part is None and not self._reads_nothing_as_zero:
                return Unknown(words)
            data += part or bytes(width)
        return data

    @property
    def _reads_nothing_as_zero(self) -> bool:
        """Whether what is not there is no memory of the machine, and the CPU takes it for zero."""
        return not self.memory.is_recorded and self.platform.has(Quirk.ABSENT_MEMORY_IS_ZERO)

    def reach(self, virt: int, kind: AccessKind, width: int = 1) -> Translation | PageFault:
        """Return where an access leads that delivery makes, or its fault.

        Reads are implicit accesses to descriptor tables.
        """
        implicit = kind is AccessKind.READ
        return access(
            self.tables,
            self.cpu,
            virt,
            kind,
            width=width,
            implicit=implicit,
            platform=self.platform,
        )

    @staticmethod
    def raised(fault: PageFault, words: Message, target: Target, kind: AccessKind) -> Raised:
        """Return the exception that a refused access of delivery raises: of the stack #SS, where it is no #PF."""
        vector = fault.vector
        if kind is AccessKind.WRITE and vector == exceptions.PROTECTION:
            vector = exceptions.STACK_FAULT  # delivery writes to the stack alone
        return Raised(vector, fault.error_code, fault.cr2, words, fault, target, kind)
