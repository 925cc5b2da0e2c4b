"""Instructions that are #UD because the system software has not turned on what they need."""

from __future__ import annotations

from typing import Any

from cr3scope.x86.cpu_state import CR0_EM, CpuState

_OSFXSR, _FSGSBASE, _OSXSAVE = 1 << 9, 1 << 16, 1 << 18  # of CR4
_SCE = 1 << 0  # of EFER
_FS_GS_BASE = ("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase")


def missing_state(found: Any, cpu: CpuState) -> str | None:
    """Return in words what the instruction needs that is not turned on.

    None if it lacks nothing (SDM 3A, 2.2.1 and 2.5).
    """
    if found.mnemonic in ("syscall", "sysret", "sysretq") and not cpu.efer & _SCE:
        return "EFER.SCE, and it is 0: nobody turned it on"
    if found.mnemonic in _FS_GS_BASE and not cpu.cr4 & _FSGSBASE:
        return "CR4.FSGSBASE, and it is 0: nobody turned it on"
    if found.mnemonic.startswith(("xgetbv", "xsetbv", "xsave", "xrstor")) and not cpu.cr4 & _OSXSAVE:
        return "CR4.OSXSAVE, and it is 0: nobody turned it on"
    groups = {found.group_name(group) for group in found.groups}
    if any(name.startswith(("avx", "fma")) for name in groups):
        if not cpu.cr4 & _OSXSAVE:
            return "AVX, and CR4.OSXSAVE is 0: nobody turned it on"
        return None
    if any(name.startswith(("sse", "ssse")) for name in groups):
        if not cpu.cr4 & _OSFXSR:
            return "SSE, and CR4.OSFXSR is 0: nobody turned it on"
        if cpu.cr0 & CR0_EM:
            return "SSE, and CR0.EM is 1"
    return None
