"""The registers as they were when the fatal exception came, from its record in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.int_log.record import registers_at


@dataclass(frozen=True, slots=True)
class AtFault:
    """As far as they are known. ``registers``: by the names of `info registers`.

    ``code_bits``: 64, 32 or 16, of the code segment; ``linear``: RIP with its base, None where that is not known.
    """

    registers: Mapping[str, int] = field(default_factory=dict)
    code_bits: int | None = None
    linear: int | None = None

    def rip_at(self, place: int) -> int:
        """Return RIP as it was if the instruction lies at the linear address ``place``, else that address."""
        return self.registers.get("RIP", self.registers.get("EIP", place)) if place == self.linear else place


def read_at_fault(log: Path, report: LogReport) -> AtFault:
    """Return the registers at the fatal exception; nothing is known of one without a record."""
    fault = report.fatal or report.first
    if fault is None or fault.offset is None:
        return AtFault()
    with LogFile(log) as file:
        dump = registers_at(file, fault)
    return AtFault(dump.general, dump.code_bits, dump.linear)
