"""A frame buffer that is mapped write-back."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import SWITCH, Context, Rule
from cr3scope.diagnose.shared.asked import map_call, range_finding, span
from cr3scope.message import message
from cr3scope.x86.mode import PAGED

_CACHED = ("wb", "wt", "wp")


def _check(context: Context) -> Iterator[Finding]:
    asked = context.facts.asked
    if asked is None or "wc" not in asked.types:
        return  # without a write-combining PAT field the MTRRs' uncached is all there is to have
    for piece in asked.framebuffers:
        if piece.memory_type not in _CACHED:
            continue
        yield range_finding(
            RULE,
            context,
            piece,
            message(
                "the frame buffer at {range} is mapped {memory_type}",
                range=span(piece),
                memory_type=piece.memory_type,
            ),
            message(
                "{call} asked for {asked}; the leaf selects PAT index {pat_index}",
                call=map_call(context, piece),
                asked=context.boot.maps[piece.call].type,
                pat_index=piece.pat_index,
            ),
        )
        return


RULE = Rule(
    id="framebuffer-cached",
    title="the frame buffer is mapped with a cached type",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "A frame buffer is read by the display without looking into the CPU's caches. Write-back "
        "pixels stay there until the line is evicted. Where the firmware's MTRRs say uncached, "
        "they win over write-back, and every pixel is a bus access of its own. TCG shows neither."
    ),
    shows="On hardware: missing or late pixels, or a very slow screen. Nothing on an emulator.",
    fix="Map it write-combining: a PAT field with 01h, selected by the leaves; else UC-.",
    manual="Intel SDM volume 3A, 13.3.1 (write combining), 13.12.3",
    check=_check,
    needs=SWITCH,
)
