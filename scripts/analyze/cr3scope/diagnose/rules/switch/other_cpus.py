"""Other CPUs, or other states of this one, that refuse what this boot's CPU grants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.numbered import numbered
from cr3scope.diagnose.shared.numbered_stacks import numbered_stacks
from cr3scope.message import Fact, Hex, Message, message
from cr3scope.model import matrix
from cr3scope.model.matrix import Refusal
from cr3scope.x86.access import EntryRef
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered

_MUST_SET_NXE = Message("an AP must set EFER.NXE before it loads this CR3")
# The others have rules of their own: smep-smap-user-bit, global-nonleaf, la57-mismatch. That an AP
# starts without NXE, and old CPUs without 1 GiB pages, a loader may know and heed.
_SEVERITY = {
    **dict.fromkeys((matrix.WRITE_PROTECT, *matrix.FEWER_PHYS_BITS), Severity.WARNING),
    **dict.fromkeys((matrix.NO_GIGAPAGES, matrix.NXE_CLEAR), Severity.NOTE),
}


def _check(context: Context) -> Iterator[Finding]:
    facts = context.facts
    without_nxe = facts.refused_without_nxe if _has_aps(context) else ()
    by_entry: dict[EntryRef, list[Refusal]] = {}
    told: set[matrix.Variant] = set()
    for refusal in (*facts.refused_elsewhere, *without_nxe):
        if refusal.variant in told or not refusal.fault.guilty:
            continue
        if matrix.cannot_be_here(refusal, context.intent):
            continue
        told.add(refusal.variant)
        by_entry.setdefault(refusal.fault.guilty[0], []).append(refusal)
    for entry, refusals in by_entry.items():
        yield _finding(context, entry, refusals)


def _has_aps(context: Context) -> bool:
    """The trace tells of stacks with more than one number: each CPU has its own. Where it holds their code, that tells whether they set NXE."""
    return context.facts.ap_start is None and len(numbered_stacks(context.intent)) > 1


def _finding(context: Context, entry: EntryRef, refusals: list[Refusal]) -> Finding:
    first = refusals[0]
    told = [refusal.variant for refusal in refusals]
    proof = [
        message("{entry:full}: {reason} there, good on this CPU", entry=entry, reason=first.fault.reason),
        *(_refused(number, refusal) for number, refusal in enumerate(refusals, 1)),
    ]
    title = _MUST_SET_NXE  # judged last: no other CPU refuses this entry then
    if first.variant is not matrix.NXE_CLEAR:
        title = _title(first, tuple(variant.label for variant in told))
        if matrix.NXE_CLEAR in told:
            proof.append(_MUST_SET_NXE)
    severity = min((_SEVERITY[variant] for variant in told), key=list(Severity).index)
    finding = RULE.finding(title, *proof, severity=severity)
    source = context.attribution.source(entry, first.fault.virt)
    return replace(finding, entry=entry, range=covered(entry, first.fault.virt), source=source)


def _title(first: Refusal, cpus: tuple[str, ...]) -> Message:
    if first.step is not None:
        return message("the switch would die on {cpus}", cpus=cpus)
    return message("{what} would fault on {cpus}", what=_what(1, first), cpus=cpus)


def _refused(number: int, refusal: Refusal) -> Message:
    """What one CPU refuses, and how: the ``number``-th of them."""
    cpu, what, access, error, cr2 = (
        numbered(name, number) for name in ("cpu", "what", "access", "error_code", "cr2")
    )
    facts: dict[str, Fact] = {
        cpu: refusal.variant.label, what: _what(number, refusal), access: refusal.kind,
        error: Hex(refusal.fault.error_code), cr2: Hex(refusal.fault.virt),
    }  # fmt: skip
    return Message(f"{{{cpu}}}: {{{what}}}: {{{access}}}, #PF (error {{{error}:04x}}), CR2={{{cr2}}}", facts)


def _what(number: int, refusal: Refusal) -> Message:
    """A step of the plan, or the range that was asked for."""
    step, name = numbered("step", number), numbered("name", number)
    if refusal.step is not None:
        return Message(f"step {{{step}}} ({{{name}}})", {step: refusal.step.step, name: refusal.step.name})
    if refusal.named is not None:
        return Message(f"{{{name}}}", {name: refusal.named.label})
    virt = numbered("virt", number)
    return Message(f"{{{virt}}}", {virt: Hex(refusal.fault.virt)})


RULE = Rule(
    id="other-cpus",
    title="other CPUs refuse these tables",
    severity=Severity.WARNING,
    modes=LONG,
    reason=(
        "What a bit of an entry means depends on the CPU. Address bits from MAXPHYADDR up and PS "
        "in a PDPTE without 1 GiB pages are reserved, bit 63 is until EFER.NXE is set, and with "
        "CR0.WP=0 the supervisor writes to read-only pages. So the plan is judged again for "
        "MAXPHYADDR 36, 39, 40 and 46, without 1 GiB pages, with WP=1, and for an AP with NXE=0. "
        "Kernel pages under SMEP and SMAP are judged by smep-smap-user-bit, G in a top-level "
        "entry on AMD by global-nonleaf. Under CR4.LA57=1 no four-level tables work: la57-mismatch."
    ),
    shows=(
        "Nothing on this machine. On the CPUs that the finding names v=0e: with RSVD (e=0009, "
        "000b, 0019) for a reserved bit, e=0003 for a write with WP=1."
    ),
    fix=(
        "Mask frames with MAXPHYADDR, ask CPUID before 1 GiB pages are used, set R/W where the "
        "kernel writes, and set EFER.NXE on each CPU before it loads CR3."
    ),
    manual="Intel SDM volume 3A, 5.1.4, 5.5.4, 5.6.1 and table 11-1; AMD APM volume 2, 5.3",
    check=_check,
    needs=SWITCH,
)
