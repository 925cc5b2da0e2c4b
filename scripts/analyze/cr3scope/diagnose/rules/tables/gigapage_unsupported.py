"""1 GiB pages on a CPU that has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.diagnose.shared.meant import unless_struck
from cr3scope.message import message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason
from cr3scope.x86.entry import LARGE, reserved_mask
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered
from cr3scope.x86.platform import Quirk

_PDPT = 3


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry, cpu = strike.culprit, context.cpu
    if strike.reason is not Reason.RESERVED or entry is None:
        return None
    if entry.level != _PDPT or not entry.value & LARGE:
        return None
    if entry.value & reserved_mask(_PDPT, entry.value, cpu, context.platform) != LARGE:
        return None  # it would fault with 1 GiB pages too
    return Claim(message("{entry} maps a 1 GiB page, which this CPU does not have", entry=entry))


def _check(context: Context) -> Iterator[Finding]:
    """TCG maps them whatever CPUID says; on hardware the walk refuses them."""
    cpu = context.cpu
    if cpu.has_1g_pages:
        return
    if not context.platform.has(Quirk.GIGAPAGES_ALWAYS):
        return
    for stage in context.facts.stages:
        if stage.form.level != _PDPT or not stage.leaves.any():
            continue
        entry, virt = next(stage.places(stage.leaves))
        finding = RULE.finding(
            message(
                "{count} entries map 1 GiB pages, which CPUID does not offer: bites on real hardware",
                count=int(stage.leaves.sum()),
            ),
            message("the first is {entry:full}; QEMU's TCG does not look at CPUID here", entry=entry),
            severity=Severity.WARNING,
        )
        source = context.attribution.source(entry, virt)
        named = unless_struck(context, entry)
        yield replace(finding, entry=named, range=covered(entry, virt), source=source)


RULE = Rule(
    id="gigapage-unsupported",
    title="1 GiB pages on a CPU without them",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "PS in a PDPTE is a reserved bit on a CPU without 1 GiB pages (CPUID 80000001h, EDX bit "
        "26). Early 64-bit Intel CPUs and many virtual machines with a plain CPU model lack them."
    ),
    shows=(
        "On hardware and KVM v=0e with RSVD: e=0009, 000b or 0019. QEMU TCG runs: it bites on real "
        "CPUs only."
    ),
    fix="Ask CPUID 80000001h, EDX bit 26, and map with 2 MiB pages where it is clear.",
    manual="Intel SDM volume 3A, 5.1.4 and table 5-16; AMD APM volume 2, 5.3.5",
    claim=_claim,
    check=_check,
    needs=SWITCH,
)
