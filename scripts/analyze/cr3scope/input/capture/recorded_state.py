"""The paging state that a ``cpu`` record tells of."""

from __future__ import annotations

from cr3scope.input.capture.records import CpuRecord
from cr3scope.x86.cpu_state import PAT_AT_RESET, CpuState

_AMD_VENDORS = ("AuthenticAMD", "HygonGenuine")


def cpu_state(record: CpuRecord) -> CpuState:
    """Return the registers and CPUID facts of the record, as the state that decides about paging."""
    get = record.registers.get
    return CpuState(
        cr3=get("cr3", 0),
        cr0=get("cr0", 0),
        cr4=get("cr4", 0),
        efer=get("efer", 0),
        max_phys_bits=record.max_phys_bits,
        has_1g_pages="1g" in record.features,
        is_amd=record.vendor in _AMD_VENDORS,
        rflags=get("rflags", 2),
        pat=get("pat", PAT_AT_RESET) if "pat" in record.features else PAT_AT_RESET,
    )
