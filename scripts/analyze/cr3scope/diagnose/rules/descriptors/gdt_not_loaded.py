"""A selector is loaded, and GDTR does not lead to the GDT that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.misread_frame import misread_frame
from cr3scope.input.logs.delivery import is_beyond_gdt, is_delivery
from cr3scope.input.logs.event import InterruptRecord, RegisterDump
from cr3scope.message import Hex, Message, message
from cr3scope.paging.canonical import MOST_LEVELS, is_canonical
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, RPL
from cr3scope.x86.exceptions import EXTERNAL, IN_IDT, IN_LDT, NOT_PRESENT, PROTECTION
from cr3scope.x86.mode import PROTECTED

_LEAST_LIMIT = 2 * DESCRIPTOR_BYTES - 1  # the null descriptor, and one that can be loaded
_AT_RESET = (0, 0xFFFF)
# Four times a vector of real mode that leads to the dummy handler of SeaBIOS, F000:FF53.
_BIOS_VECTORS = bytes((0x53, 0xFF, 0x00, 0xF0)) * 4
_OPERAND = 5  # bytes of lgdt's that count with a 16-bit operand size
_BIOS_TABLE = 0x400


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    record = next((one.record for one in death.events if not one.of_delivery and _names_gdt(one.record)), None)
    if record is None or record.cpu.gdt is None or record.cpu.is_protected is False or misread_frame(death) is not None:
        return
    error = record.error_code or 0
    selector = Hex(error & ~(DESCRIPTOR_BYTES - 1))
    proof = message("GDTR has base {gdt_base}, limit {gdt_limit:x}h", gdt_base=Hex(record.cpu.gdt[0]), gdt_limit=Hex(record.cpu.gdt[1]))
    wrong = list(_wrong(record.cpu))
    if is_beyond_gdt(error, record.cpu):
        title = message("selector {selector:02x}h is beyond the limit of the GDT that is loaded", selector=selector)
    elif wrong:
        title = message("selector {selector:02x}h is loaded, and GDTR does not lead to a GDT of the guest's", selector=selector)
    else:
        return
    own = () if wrong or is_null(record.cpu.cs) or is_beyond_gdt(record.cpu.cs or 0, record.cpu) else (_IN_USE,)
    found = RULE.finding(title, proof, *wrong, *(message(words, cs=Hex(record.cpu.cs or 0)) for words in own))
    yield replace(found, fix=Message(_FIX_OF_EITHER)) if own else found


def is_null(selector: int | None) -> bool:
    return not (selector or 0) & ~RPL


_IN_USE = "CS={cs:02x}h lies inside of it: the selector may be wrong, and the table right"
_FIX_OF_EITHER = (
    "Correct the selector that is loaded, if the table is as long as it should be; else the limit (size - 1) in lgdt's operand."
)


def _names_gdt(record: InterruptRecord) -> bool:
    error = record.error_code or 0
    if not record.is_exception or record.vector not in (PROTECTION, NOT_PRESENT) or is_delivery(record) or record.cpu.cpl:
        return False  # what a user's program loads is no matter of lgdt
    return bool(error & ~(EXTERNAL | DESCRIPTOR_BYTES - 1)) and not error & (IN_IDT | IN_LDT)


def _wrong(cpu: RegisterDump) -> Iterator[Message]:
    """What the numbers alone prove of GDTR."""
    assert cpu.gdt is not None
    base, limit = cpu.gdt
    if limit < _LEAST_LIMIT:
        yield Message("so short a table has no descriptor but the null one")
    if cpu.gdt == _AT_RESET:
        yield Message("so a reset leaves it: nobody has loaded a GDT")
    if cpu.in_long_mode and not is_canonical(base, MOST_LEVELS):
        yield Message("the base is not canonical")
    if (limit.to_bytes(8, "little")[:2] + base.to_bytes(8, "little"))[:_OPERAND] in _BIOS_VECTORS:
        yield message(
            "these are bytes of the BIOS' table of interrupts, below {bios_end:x}h: lgdt read its operand there, not where the"
            " guest has it", bios_end=Hex(_BIOS_TABLE),
        )  # fmt: skip


RULE = Rule(
    id="gdt-not-loaded",
    title="the GDT that is loaded does not hold the selector",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "A selector is an offset in the table that GDTR points to at that moment. A far jump or a load of a segment "
        "register raises #GP with the selector as its error code if the table ends before it. The operand of lgdt is "
        "read through DS, and at a linear address: a wrong DS, a pointer without its segment's base or a limit that "
        "was never filled in gives the CPU another table than was meant."
    ),
    shows=(
        "v=0d with e= the selector at the far jump behind mov cr0, or at the first mov to a segment register; GDT= in the dump "
        "has a limit below it, or a base where no GDT is."
    ),
    fix=(
        "Look at the operand of lgdt: limit (size - 1), then the linear address, read through DS; with 16-bit operand size "
        "only 24 bits of it count."
    ),
    manual="Intel SDM volume 3A, 2.4.1, 3.4.2 and 3.5.1; volume 2A, LGDT",
    logged=_logged,
)
