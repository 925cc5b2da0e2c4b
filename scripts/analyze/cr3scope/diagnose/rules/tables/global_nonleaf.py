"""G in an entry of a top-level table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.diagnose.shared.meant import Meant, unless_struck
from cr3scope.message import message
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import Reason
from cr3scope.x86.entry import GLOBAL, reserved_mask
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered
from cr3scope.x86.platform import Quirk

_LOWEST_LEVEL = 4  # below, AMD ignores the bit as Intel does


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry, cpu = strike.culprit, context.cpu
    if strike.reason is not Reason.RESERVED or entry is None:
        return None
    if entry.level < _LOWEST_LEVEL:
        return None
    if entry.value & reserved_mask(entry.level, entry.value, cpu, context.platform) != GLOBAL:
        return None
    return Claim(message("{entry} has G (bit 8), which must be zero there on an AMD CPU", entry=entry))


def _check(context: Context) -> Iterator[Finding]:
    """Where the walk lets the bit pass: on Intel, on TCG, and below entries that nobody uses."""
    faults = context.cpu.is_amd and not context.platform.has(Quirk.GLOBAL_NONLEAF_IGNORED)
    meant = Meant(context.intent)
    found = []
    for stage in context.facts.stages:
        if stage.form.level < _LOWEST_LEVEL:
            break
        chosen = stage.present & stage.has(GLOBAL)
        if faults:
            chosen &= ~meant.is_below(stage, chosen)  # the others are refused, and claimed
        found += list(stage.places(chosen))
    if not found:
        return
    entry, virt = found[0]
    proof = message("{entry:full}; Intel CPUs and QEMU's TCG ignore the bit", entry=entry)
    if len(found) > 1:
        proof = message(
            "{entry:full}; so have {more} more; Intel CPUs and QEMU's TCG ignore the bit",
            entry=entry, more=len(found) - 1,
        )  # fmt: skip
    finding = RULE.finding(
        message("{entry} has G (bit 8): bites on AMD CPUs, where it is reserved", entry=entry),
        proof,
        severity=Severity.WARNING,
    )
    source = context.attribution.source(entry, virt)
    named = unless_struck(context, entry)
    yield replace(finding, entry=named, range=covered(entry, virt), source=source)


RULE = Rule(
    id="global-nonleaf",
    title="G in a PML4 or PML5 entry",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "G belongs to leaves: it keeps a translation in the TLB across mov cr3. In a PML4E or "
        "PML5E an AMD CPU demands zero there, Intel ignores the bit. Flags copied from a leaf to "
        "its parents, or one constant for all levels, bring it there."
    ),
    shows=(
        "On an AMD CPU v=0e with RSVD: e=0009, 000b or 0019. On Intel and on QEMU TCG nothing, "
        "whatever the CPU model says."
    ),
    fix="Set G in leaves only.",
    manual="AMD APM volume 2, 5.3.3 (PML4E and PML5E formats); Intel SDM volume 3A, 5.5.4",
    claim=_claim,
    check=_check,
    needs=SWITCH,
)
