"""What VMX says of an event that was being delivered, and of an entry that failed.

SDM volume 3C: 25.9.3 (IDT-vectoring information), 27.8; volume 3D: appendix C (exit reasons).
"""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.x86.exceptions import NMI, name
from cr3scope.x86.word import MASK64

_VALID, _UNUSED = 1 << 31, 0x7FFF_E000
_INTERRUPT, _NMI_TYPE, _EXCEPTION, _INT, _PRIVILEGED, _SOFTWARE = 0, 2, 3, 4, 5, 6
_FAILED_ENTRY = 1 << 31
_REASONS = {
    33: "the guest's state is invalid", 34: "an MSR could not be loaded", 41: "a machine check came",
}  # fmt: skip
_SVM_INVALID = (0xFFFF_FFFF, MASK64)  # VMEXIT_INVALID (APM 2, 15.5.1)


@dataclass(frozen=True, slots=True)
class Vectored:
    """An event that was being delivered."""

    vector: int
    kind: int

    @property
    def is_exception(self) -> bool:
        """Return whether it is an exception, not a device's interrupt, an NMI or an INT instruction."""
        return self.kind in (_EXCEPTION, _PRIVILEGED, _SOFTWARE)

    @property
    def words(self) -> str:
        """Return it as ``#PF`` or ``hardware interrupt 0x20``."""
        if self.kind == _INTERRUPT:
            return f"hardware interrupt {self.vector:#04x}"
        if self.kind == _INT:
            return f"INT {self.vector:#04x} (the instruction)"
        return "an NMI" if self.kind == _NMI_TYPE else name(self.vector)


def vectored(info: int) -> Vectored | None:
    """Return the event of an IDT-vectoring information field; None if the number is none, or not valid."""
    kind = info >> 8 & 7
    if info >> 32 or not info & _VALID or info & _UNUSED or kind in (1, 7):
        return None
    if kind == _EXCEPTION and info & 0xFF > 31 or kind == _NMI_TYPE and info & 0xFF != NMI:
        return None
    return Vectored(info & 0xFF, kind)


def entry_failure(number: int) -> str:
    """Return why an entry failed, in words that follow its number; empty if the number does not say."""
    if number in _SVM_INVALID:
        return ": the VMCB is invalid"
    reason = _REASONS.get(number & 0xFFFF) if number & _FAILED_ENTRY else None
    return f": {reason}" if reason else ""
