"""Code that runs before the switch lies in memory that strict firmware does not execute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Hex, Message, Span, Vector, message
from cr3scope.model.plan_prediction import Firmware
from cr3scope.paging.walk import PageFault, Reason, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import LONG
from cr3scope.x86.names import covered

_MOST_IMAGE_PAGES = 4096  # of one image


def _check(context: Context) -> Iterator[Finding]:
    firmware = Firmware.of(context.boot)
    if firmware.tables is None or firmware.cpu is None:
        return
    for what, first, last in _code(context):
        fault = _first_refusal(firmware, first, last)
        if fault is None:
            continue
        guilty = fault.guilty[0]
        finding = RULE.finding(
            message("{what} at {range} cannot be executed before the switch", what=what, range=Span(first, last)),
            message(
                "in the firmware's tables {entry:full} has NX; {vector} (error {error_code:04x}) with RIP=CR2={virt}",
                entry=guilty,
                vector=Vector(fault.vector),
                error_code=fault.error_code,
                virt=Hex(fault.virt),
            ),
        )
        yield replace(finding, entry=guilty, range=covered(guilty, fault.virt))
        return


def _code(context: Context) -> Iterator[tuple[Message, int, int]]:
    """What the CPU executes under the firmware's tables: the loader, up to mov cr3 itself."""
    for image in context.boot.images:
        first = image.base + image.text
        if image.text_size:
            yield message("the text of {image}", image=image.name), first, first + image.text_size - 1
    record = context.boot.cpus.get("handoff")
    rip = record.registers.get("rip", 0) if record else 0
    if rip:
        yield Message("mov cr3"), rip - 1, rip - 1  # its last byte


def _first_refusal(firmware: Firmware, first: int, last: int) -> PageFault | None:
    assert firmware.tables is not None and firmware.cpu is not None
    virt = first
    for _ in range(_MOST_IMAGE_PAGES):
        if virt > last:
            break
        found = access(firmware.tables, firmware.cpu, virt, AccessKind.FETCH)
        if isinstance(found, PageFault):
            return found if found.reason is Reason.NO_EXECUTE else None
        virt = (virt | found.page_size - 1) + 1
    return None


RULE = Rule(
    id="firmware-strict-nx",
    title="the firmware forbids execution of code that the loader runs",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "Strict firmware maps EfiLoaderData, boot-services data and the stack with NX. A "
        "trampoline copied to pages of that type, a kernel's stub called before the switch, or an "
        "image whose sections do not say that they are code, faults at its first instruction."
    ),
    shows=(
        "v=0e e=0011 with RIP=CR2 before any mov cr3, on such firmware only; lax firmware runs it."
    ),
    fix=(
        "Allocate code as EfiLoaderCode, keep the trampoline in the image's own text, and clear NX "
        "through EFI_MEMORY_ATTRIBUTE_PROTOCOL where the firmware wants that."
    ),
    manual="UEFI 2.10, 2.3.4, and EFI_MEMORY_ATTRIBUTE_PROTOCOL; Intel SDM volume 3A, 5.6",
    check=_check,
)
