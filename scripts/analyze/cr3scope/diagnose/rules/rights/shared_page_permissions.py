"""Two segments in one page: the rights of the one mapped last hold for both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

from cr3scope import limits
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.file_place import called
from cr3scope.message import Hex, Message, message
from cr3scope.model.intent import Named
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mode import PAGED

_LETTER = {AccessKind.FETCH: "x", AccessKind.WRITE: "w"}


def _claim(context: Context, strike: Strike) -> Claim | None:
    entry = strike.culprit
    if strike.reason not in (Reason.NO_EXECUTE, Reason.READ_ONLY) or entry is None:
        return None
    letter = _LETTER.get(strike.kind)
    if not entry.is_leaf or letter is None:
        return None
    if strike.target not in (Target.PLAN, Target.RANGE) or entry.phys in _set_entries(context):
        return None
    later = context.intent.mapping_of(strike.virt)
    if later is None or letter in (later.rights or ""):
        return None  # not a call's doing
    earlier = _deprived(context, strike.virt, letter, later)
    if earlier is None:
        return None
    title = message(
        "the page at {page} belongs to {owner}, but has the rights of {later}",
        page=Hex(strike.virt & -PAGE_BYTES), owner=earlier.label, later=later.label,
    )  # fmt: skip
    source = context.attribution.line(later.caller)
    if source is None:
        proof = message(
            "{later} was mapped with {rights}, over that page too", later=later.label, rights=later.rights
        )
    else:
        proof = message(
            "{later} was mapped at {source} with {rights}, over that page too",
            later=later.label, source=source, rights=later.rights,
        )  # fmt: skip
    return Claim(title, proof=(proof,))


def _deprived(context: Context, virt: int, letter: str, later: Named) -> Named | None:
    """Who needs ``letter`` at ``virt``: a segment that ``later`` is not for, or an earlier call."""
    intent = context.intent
    whose = max(intent.segments, key=lambda segment: _share(segment, later), default=None)
    for segment in intent.segments:
        if virt in segment and letter in (segment.rights or "") and whose is not None:
            if _share(segment, later) < _share(whose, later):
                return segment
    first, numbers = intent.first_call(virt, letter), intent.call_numbers
    return first if first is not None and numbers[id(first)] < numbers[id(later)] else None


def _share(segment: Named, named: Named) -> float:
    """How much of a segment lies in a mapped range: a call is for the segment that it covers."""
    first, last = max(segment.virt, named.virt), min(segment.last, named.last)
    return max(last - first + 1, 0) / max(segment.size, 1)


def _set_entries(context: Context) -> set[int]:
    return {record.entry for record in context.boot.sets}


def _lint(linted: LintedFile) -> Iterator[Finding]:
    for kernel in linted.kernels:
        if kernel.has_loader_of_its_own:
            continue  # which acts on nobody's rights
        taken = [load for load in kernel.loads if load.memsz]
        for one, other in islice(combinations(taken, 2), limits.LINT_PAIRS):
            page = max(one.virt, other.virt) & -PAGE_BYTES
            is_apart = one.last < other.virt or other.last < one.virt
            if one.flags == other.flags or not is_apart or page > min(one.last, other.last):
                continue
            refuses = (Message("Limine refuses such a kernel"),) if kernel.limine is not None else ()
            yield RULE.finding(
                message("{one} and {other} share the page at {page}",
                        one=called(one, "segment"), other=called(other, "other"), page=Hex(page)),
                *refuses,
                severity=Severity.ERROR if refuses else Severity.WARNING,
            )  # fmt: skip
            return


RULE = Rule(
    id="shared-page-permissions",
    title="two segments with different rights share a page",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Rights are per page. Where one PT_LOAD ends and the next begins inside one page, or a "
        "range is rounded out to pages, one leaf serves both, and the call that came last "
        "decides. A linker script without page alignment between segments makes such pages."
    ),
    shows="v=0e e=0011 or e=0003 near the first or last page of a segment, at a page boundary.",
    fix="Align each segment to 4096 bytes in the linker script; map each page with its own rights.",
    manual="ELF gABI, program header (p_align); Intel SDM volume 3A, 5.6.1",
    claim=_claim,
    lint=_lint,
)
