"""A CPU that stands, with tables that are mended in the model only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.paging.tables import Entries
from cr3scope.predict.overlay import Overlay


@dataclass(slots=True)
class MendedCpu(StoppedCpu):
    """Another stop of the same CPU; what ``overlay`` changes nobody else sees."""

    base: StoppedCpu = field(kw_only=True)
    overlay: Overlay = field(kw_only=True)

    def table(self, phys: int) -> Entries | None:
        """As mended so far."""
        return self.overlay.table(phys)

    def physical(self, phys: int, length: int) -> bytes:
        return self.base.physical(phys, length)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        return self.base.heads(places, length)

    def ram(self) -> Iterable[tuple[int, int]]:
        return self.base.ram()


def mended_cpu(now: StoppedCpu) -> MendedCpu:
    """Nothing is mended yet."""
    return MendedCpu(
        now.qmp, now.registers, now.phys_bits, now.selectors, now.idt, now.gdt, now.number,
        now.code_bits, platform=now.platform, base=now, overlay=Overlay(now, now.phys_bits),
    )  # fmt: skip
