"""Other CPUs do not come to long mode."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.x86.cpu_state import CR4_PAE, EFER_LME, PagingMode
from cr3scope.x86.mode import LONG


_OURS = (PagingMode.LEVELS_4, PagingMode.LEVELS_5)


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    if start is None:
        return
    state, own = start.paged or start.seen.state, start.seen.own
    if state is None:
        return
    refused = own is not None and start.paged is None and own.refused.rule in ("long-mode-off", "reserved-bits")
    if start.first.paging_mode not in _OURS or not refused and (start.paged is None or start.paged.paging_mode in _OURS):
        return
    names = [name for name, is_set in (("EFER.LME", state.efer & EFER_LME), ("CR4.PAE", state.cr4 & CR4_PAE)) if not is_set]
    if not names:
        return
    yield RULE.finding(
        message("the other CPUs turn paging on without {names}: their tables are those of long mode", names=tuple(names)),
        message("CR4={cr4}, EFER={efer}; the boot CPU has CR4={first_cr4}, EFER={first_efer}", cr4=Hex(state.cr4), efer=Hex(state.efer),
                first_cr4=Hex(start.first.cr4), first_efer=Hex(start.first.efer)),
    )  # fmt: skip


RULE = Rule(
    id="ap-mode-missing",
    title="the other CPUs do not enter long mode",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Each CPU has CR4 and EFER of its own, and starts with both clear. CR0.PG means long mode only if CR4.PAE "
        "and EFER.LME are set before; with LME alone the mov to CR0 is #GP, with PAE alone the top table is read "
        "as PAE paging's pointers."
    ),
    shows="v=0d with CR0=60000011 on the other CPU, or v=0e right behind the mov to CR0; then a triple fault.",
    fix="Set CR4.PAE and EFER.LME (by RDMSR, OR, WRMSR) before CR0.PG, on each CPU.",
    manual="Intel SDM volume 3A, 11.8.5 and 5.1.1",
    check=_check,
    needs=TRACE,
)
