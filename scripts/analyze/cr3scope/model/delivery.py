"""One attempt to deliver an exception, in the mode that the CPU is in."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.model import long_delivery, protected_delivery, real_delivery
from cr3scope.model.delivered import Entered, Raised, Unknown
from cr3scope.model.delivery_access import DeliveryAccess
from cr3scope.x86 import exceptions
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.platform import Quirk
from cr3scope.x86.registers import Registers


@dataclass(frozen=True, slots=True)
class Delivery(DeliveryAccess):
    """What delivers an exception, and takes the CPU to its handler."""

    def deliver(
        self, vector: int, registers: Registers, software: bool = False
    ) -> Entered | Raised | Unknown:
        """Try to enter the handler of ``vector``, and return how that ends.

        ``software``: raised by an INT instruction, which pushes no error code and leaves EXT clear in that of
        an exception on the way (SDM 3A, 7.4.2, 7.13).
        """
        if registers.mode is CpuMode.REAL:
            return real_delivery.deliver(self, vector, registers)
        external = 0 if software or self.platform.has(Quirk.NEVER_EXTERNAL) else exceptions.EXTERNAL
        if registers.mode is CpuMode.PROTECTED:
            return protected_delivery.deliver(self, vector, registers, software, external)
        return long_delivery.deliver(self, vector, registers, software, external)

    def entered(self, registers: Registers, entered: Entered) -> Registers:
        """Return the registers at the handler's first instruction."""
        flags = registers.rflags if entered.flags is None else entered.flags
        return replace(
            registers, rip=entered.handler, rsp=entered.rsp, cs=entered.selector, tr=entered.task or registers.tr,
            rflags=flags, segments={**registers.segments, **entered.segments},
        )  # fmt: skip

    def after(self, entered: Entered) -> Delivery:
        """Return the delivery of the next exception: a task has tables of its own (SDM 3A, 9.3)."""
        return self if entered.cr3 is None else replace(self, cpu=replace(self.cpu, cr3=entered.cr3))
