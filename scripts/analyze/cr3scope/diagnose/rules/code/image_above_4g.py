"""The loader runs above the end of the identity map."""

from __future__ import annotations

import numpy as np

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import TRACE, Claim, Context, Rule
from cr3scope.message import Hex, Span, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.effective import mappings
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG
from cr3scope.x86.word import FOUR_GIB


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.reason is not Reason.NOT_PRESENT or strike.kind is not AccessKind.FETCH:
        return None
    if strike.target not in (Target.PLAN, Target.RANGE) or strike.virt < FOUR_GIB:
        return None
    image = next((named for named in context.intent.images if strike.virt in named), None)
    if image is None:
        return None
    end = _identity_end(context)
    if not 0 < end <= FOUR_GIB:
        return None
    return Claim(
        message(
            "the loader runs at {virt}, the identity map ends at {identity_end}",
            virt=Hex(strike.virt),
            identity_end=Hex(end),
        ),
        proof=(
            message(
                "{image} lies at {image_range}, above 4 GiB",
                image=image.name,
                image_range=Span(image.virt, image.last),
            ),
        ),
    )


def _identity_end(context: Context) -> int:
    """The first address above all that is mapped to itself; 0 if nothing is."""
    found = mappings(context.tables, context.cpu, context.platform)
    last = found.last[found.first == found.phys]
    return int(np.max(last)) + 1 if len(last) else 0


RULE = Rule(
    id="image-above-4g",
    title="the loader is above the identity map",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "An identity map of the first 4 GiB is not one of all memory. Firmware may load an image "
        "anywhere in RAM, on a machine with more than 4 GiB above that line; lld links PE images "
        "to 140000000h, which some firmware honours. The next instruction is then not mapped."
    ),
    shows="v=0e e=0010 with RIP=CR2 at 4 GiB or above: the instruction after mov cr3.",
    fix=(
        "Map the range of the loader's own image (EFI_LOADED_IMAGE_PROTOCOL: ImageBase, ImageSize) "
        "at its own address, or all RAM of the memory map."
    ),
    manual="UEFI 2.10, 2.3.4 and 9.1; Intel SDM volume 3A, 5.10.4.1",
    claim=_claim,
    needs=TRACE,
)
