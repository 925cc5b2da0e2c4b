"""Tables of one mode of paging, read in another."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR0_PG, CR4_PAE, EFER_LME, CpuState, PagingMode
from cr3scope.x86.mode import PAGED

_NAMES = {
    PagingMode.BITS_32: "32-bit paging (a page directory of 4-byte entries)",
    PagingMode.PAE: "PAE paging (four PDPTEs)",
    PagingMode.LEVELS_4: "long mode (a PML4)",
}
_SHORT, _LONG = (2, 3), (4,)  # levels


def _claim(context: Context, strike: Strike) -> Claim | None:
    """The code that turned paging on is not mapped where it runs, but would be in another mode of paging."""
    current = context.current
    if strike.kind is not AccessKind.FETCH or context.intent.role_at(strike.virt) != "trampoline":
        return None
    if current is not None and current.cr0 & CR0_PG or context.cpu.paging_mode not in _NAMES:
        return None
    other = _other(context, strike.virt)
    if other is None:
        return None
    made, walked = other.paging_mode, context.cpu.paging_mode
    return Claim(
        message("CR3={cr3} points to tables of {made}, and the CPU reads them as those of {walked}: {why}",
                cr3=Hex(context.cpu.cr3), made=_NAMES[made], walked=_NAMES[walked], why=_why(context.cpu, made)),
        proof=(message("read so, {virt} is mapped where it lies", virt=Hex(strike.virt)),),
        stands_alone=True,
    )  # fmt: skip


def _other(context: Context, virt: int) -> CpuState | None:
    """The mode in which the tables map the code where it lies; of several the one that EFER.LME leaves; None if that is
    not one."""
    wanted = _LONG if context.cpu.efer & EFER_LME else _SHORT
    for depths in (wanted, (*_LONG, *_SHORT)):
        others = [context.cpu.with_depth(depth) for depth in depths if depth != context.cpu.levels]
        fitting = [other for other in others if _is_identity(context, other, virt)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _is_identity(context: Context, cpu: CpuState, virt: int) -> bool:
    found = access(context.tables, cpu, virt, AccessKind.FETCH, platform=context.platform)
    return isinstance(found, Translation) and found.phys == virt


def _why(cpu: CpuState, made: PagingMode) -> Message:
    has_pae, has_lme = cpu.cr4 & CR4_PAE, cpu.efer & EFER_LME
    if made is PagingMode.BITS_32:
        return Message("CR4.PAE is set" if not has_lme else "CR4.PAE and EFER.LME are set")
    if not has_pae:
        return Message("CR4.PAE is 0")
    return Message("EFER.LME is set" if made is PagingMode.PAE else "EFER.LME is 0")


RULE = Rule(
    id="tables-of-other-mode",
    title="the tables are of another mode of paging",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Where paging is turned on, CR4.PAE and EFER.LME decide what CR3 points to: without PAE a page directory of 1024 "
        "entries of four bytes, with PAE four PDPTEs, with both a PML4. A loader that goes on with the tables of its 32-bit "
        "code, or builds 8-byte entries and forgets PAE, gives the CPU entries that it reads at other places and in halves."
    ),
    shows=(
        "v=0e at the instruction behind the mov to CR0, CR2=EIP; with a large page's entry read as a PML4E the reserved bit is "
        "in e=. CR4 and EFER in the dump tell which tables the CPU reads."
    ),
    fix="Set CR4.PAE and EFER.LME before CR0.PG as the tables want it, or build the tables of the mode that is turned on.",
    manual="Intel SDM volume 3A, 5.1.1 and 5.1.2, 5.3, 5.4.1",
    claim=_claim,
    needs=SWITCH,
)
