"""Entries with NX while EFER.NXE is clear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import SWITCH, Claim, Context, Rule
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.message import Hex, Message, message
from cr3scope.model.strike import Strike
from cr3scope.paging.reason import Reason
from cr3scope.x86.cpu_state import CR4_PAE, EFER_NXE
from cr3scope.x86.entry import NO_EXECUTE
from cr3scope.x86.exceptions import PAGE_FAULT, PF_RESERVED
from cr3scope.x86.mode import WITH_NX
from cr3scope.x86.names import covered


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry, cpu = strike.culprit, context.cpu
    if strike.reason is not Reason.RESERVED or entry is None or not entry.form.has_rights:  # of a PDPTE of PAE it always is
        return None
    if entry.value & entry.form.reserved_mask(entry.value, cpu, context.platform) != NO_EXECUTE:
        return None
    return Claim(
        message("{entry} has NX (bit 63), but EFER.NXE is clear: the bit is reserved", entry=entry),
        proof=(message("EFER={efer} at the handoff", efer=Hex(cpu.efer)),),
        stands_alone=True,
    )


def _check(context: Context) -> Iterator[Finding]:
    """Entries that no step touches. What the trace asked for is refused there, and claimed."""
    if context.cpu.has_nx:
        return
    from cr3scope.diagnose.shared.meant import Meant, unless_struck  # numpy: a log alone needs none of it

    found = []
    count = 0
    meant = Meant(context.intent)
    for stage in context.facts.stages:
        chosen = stage.present & stage.has(NO_EXECUTE)
        count += int(chosen.sum())
        found.append((stage, chosen, meant.is_below(stage, chosen)))
    if not count:
        return
    needed = any(below.any() for _, _, below in found)
    stage, chosen = next(
        (stage, below if needed else chosen)
        for stage, chosen, below in found
        if (below if needed else chosen).any()
    )
    entry, virt = next(stage.places(chosen))
    finding = RULE.finding(
        message("{count} present entries have NX (bit 63), but EFER.NXE is clear: the bit is reserved", count=count),
        message("the first is {entry:full}; EFER={efer} at the handoff", entry=entry, efer=Hex(context.cpu.efer)),
        severity=None if needed else Severity.WARNING,
    )
    source = context.attribution.source(entry, virt)
    named = unless_struck(context, entry)
    yield replace(finding, entry=named, range=covered(entry, virt), source=source)


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    """A reserved bit was met where NX is one. No log shows the entry: others may be it."""
    record = next((one.record for one in death.events if _meets_reserved_bit(one.record)), None)
    if record is None or record.cpu.efer is None:
        return
    where = Message("an entry") if record.cr2 is None else message("an entry on the way to {cr2}", cr2=Hex(record.cr2))
    yield RULE.finding(
        message("{where} has a reserved bit set, and EFER.NXE is clear: NX (bit 63) is reserved then", where=where),
        message("error code {error_code:04x}; EFER={efer} on this CPU", error_code=Hex(record.error_code or 0),
                efer=Hex(record.cpu.efer)),
    )  # fmt: skip


def _meets_reserved_bit(record: InterruptRecord) -> bool:
    cpu = record.cpu
    is_it = record.is_exception and record.vector == PAGE_FAULT and bool((record.error_code or 0) & PF_RESERVED)
    return is_it and cpu.efer is not None and not cpu.efer & EFER_NXE and bool((cpu.cr4 or 0) & CR4_PAE)


RULE = Rule(
    id="nx-without-nxe",
    title="NX in the tables, EFER.NXE clear",
    severity=Severity.ERROR,
    modes=WITH_NX,
    reason=(
        "Bit 63 of an entry means no-execute only while EFER.NXE is set. Until then it is reserved "
        "at every level, so that any access through such an entry faults, reads and writes too. "
        "EFER is private to each CPU, and clear on an AP that has just been started."
    ),
    shows=(
        "v=0e with RSVD: e=0009 or 000b on hardware, 0008 or 000a on QEMU TCG; bit 4 is clear even "
        "for a fetch, since without NXE and SMEP the CPU does not report fetches."
    ),
    fix="Set EFER.NXE (MSR C0000080h, bit 11) before mov cr3, on every CPU.",
    manual="Intel SDM volume 3A, 2.2.1 and 5.5.4; AMD APM volume 2, 3.1.7 and 5.6.1",
    claim=_claim,
    check=_check,
    needs=SWITCH,
    logged=_logged,
)
