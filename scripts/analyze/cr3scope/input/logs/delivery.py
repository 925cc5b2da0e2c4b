"""Which event was raised by the delivery of the one before it, and what of that delivery failed (SDM 3A, 7.12 to 7.15)."""

from __future__ import annotations

from cr3scope.input.logs.event import NO_EXCEPTION, InterruptRecord, Kind, RegisterDump
from cr3scope.input.logs.why import Why as Why
from cr3scope.paging.canonical import is_canonical, levels_of
from cr3scope.x86 import exceptions
from cr3scope.x86.cpu_state import USER
from cr3scope.x86.descriptors import TSS_BYTES
from cr3scope.x86.exceptions import (
    EXTERNAL,
    FRAME_REACH,
    IN_IDT,
    IN_LDT,
    INVALID_TSS,
    NOT_PRESENT,
    PAGE_FAULT,
    PROTECTION,
    STACK_FAULT,
)

_FRAME_WORDS, _SHORT_FRAME_WORDS = 5, 3  # without an error code: RSP and SS are pushed always in long mode only
_FRAME_ALIGNMENT = 16  # in long mode (SDM 3A, 7.14.2)
_OTHER_STACK = 1 << 16
_LONG_GATE, _GATE, _REAL_GATE = 16, 8, 4  # bytes (SDM 3A, 7.11 and 7.14.1; 22.1.4)
_AT_RESET = ((0, 0), (0, 0x3FF), (0, 0xFFFF))  # base and limit of an IDT that nobody has loaded
_DESCRIPTOR = 8
_TELLING = exceptions.CONTRIBUTORY | exceptions.PAGE_FAULTS | {exceptions.DOUBLE_FAULT}  # while which are delivered QEMU says so


def is_delivery(record: InterruptRecord) -> bool:
    """Return whether the log itself says that an exception was raised while another one was delivered."""
    return record.old not in (None, NO_EXCEPTION)


def gate_bytes(cpu: RegisterDump) -> int | None:
    """Return the size of a gate of the IDT; None where the CPU's mode is not known."""
    if cpu.is_protected is False:  # EFER.LMA may stand where PE was cleared, or never set: delivery goes by PE
        return _REAL_GATE
    if cpu.in_long_mode:
        return _LONG_GATE
    return None if cpu.in_long_mode is None else _GATE


def has_no_idt(cpu: RegisterDump) -> bool:
    """Return whether a CPU in protected mode has the IDT that it had at reset, or none: nobody has loaded one."""
    return cpu.is_protected is True and cpu.idt in _AT_RESET


def gate_at(cpu: RegisterDump, address: int) -> int | None:
    """Return the vector whose gate holds ``address``; None if it is in no gate, or the mode is not known."""
    size = gate_bytes(cpu)
    if size is None or cpu.idt is None or not 0 <= address - cpu.idt[0] <= min(cpu.idt[1], 256 * size - 1):
        return None
    return (address - cpu.idt[0]) // size


def gate_of_error(error: int, vector: int, cpu: RegisterDump) -> bool:
    """Return whether an error code names the gate of ``vector``: in long mode QEMU before 8.0 counts in eights of a gate of 16."""
    if not error & IN_IDT:
        return False
    gate = error >> 3 & 0x1FFF
    return gate == vector or gate == 2 * vector and cpu.in_long_mode is not False


def least_frame(record: InterruptRecord) -> int:
    """Return the bytes by which a handler's RSP lies below that of its event at least, if it has taken no more than one
    word too many from the stack; 1 where the mode is not known."""
    if record.cpu.in_long_mode is None:
        return 1
    return 8 * (_FRAME_WORDS - 1) if record.cpu.in_long_mode else 4 * (_SHORT_FRAME_WORDS - 1)


def raised_by(before: InterruptRecord, record: InterruptRecord) -> bool:
    """Return whether ``record`` was raised by the delivery of ``before``, the event right before it.

    QEMU says so of what can become a double fault alone. Else it must have been raised in the very place, and for
    something that nothing but delivery touches: the gate, the selector in it, the descriptor tables, the TSS; or it
    is the fetch of the handler of an INT instruction.
    """
    if is_delivery(record):
        return True
    if not record.is_exception or before.is_exception and is_delivery(before):
        return False
    if before.is_exception and record.old == NO_EXCEPTION and before.vector in _TELLING:
        return False
    if before.cr3 is not None and record.cr3 is not None and before.cr3 != record.cr3:
        return False
    if (before.rip, before.rsp) != (record.rip, record.rsp):
        return _fetches_handler(before, record)
    error = record.error_code or 0
    if record.vector == INVALID_TSS and (before.kind is Kind.INT or before.cpu.cpl):
        return True  # SS0 may be null: its error code is 0 then. No instruction of user code raises it
    if record.vector in exceptions.SELECTOR_ERRORS:
        if before.kind is Kind.INT or gate_of_error(error, before.vector, record.cpu):
            return True  # an INT instruction does nothing else that could raise one
        return bool(error & ~EXTERNAL) and not error & IN_IDT and before.kind is not Kind.INTERRUPT
    if record.vector != PAGE_FAULT or record.cr2 is None:
        return False
    if record.cpu.cpl == USER and not error & exceptions.PF_USER:  # what the CPU touched on its own account
        return True
    if gate_at(record.cpu, record.cr2) == before.vector or _in_table(record.cpu.gdt, record.cr2) or _in_task(record):
        return True
    return before.kind is not Kind.INTERRUPT and is_push(before, record.cr2)


def _fetches_handler(before: InterruptRecord, record: InterruptRecord) -> bool:
    """Whether ``record`` is the fetch of the handler of an INT instruction: five quadwords below the aligned RSP, or on
    another stack (SDM 3A, 7.14.2); three doublewords outside of long mode."""
    if before.kind is not Kind.INT or record.access != "fetch" or before.rsp is None or record.rsp is None:
        return False
    if before.vector >= exceptions.FIRST_INTERRUPT:
        return False
    if record.rsp == rsp_at_handler(before):
        return True
    if not record.cpu.in_long_mode or before.cpu.cpl or record.cpu.cpl or _has_wild_stack(record):
        return False
    is_frame = (record.rsp + 8 * _FRAME_WORDS) % _FRAME_ALIGNMENT == 0
    return is_frame and abs(record.rsp - before.rsp) > _OTHER_STACK


def rsp_at_handler(record: InterruptRecord) -> int | None:
    """Return RSP at the first instruction of an event's handler, if it is taken on the stack that is in use; None where
    that cannot be: it came in user mode, or the log does not tell all that it takes."""
    if record.rsp is None or record.cpu.cpl or record.cpu.in_long_mode is None:
        return None
    with_code = record.is_exception and record.vector in exceptions.WITH_ERROR_CODE
    if record.cpu.in_long_mode:
        return (record.rsp & -_FRAME_ALIGNMENT) - 8 * (_FRAME_WORDS + with_code)
    return record.rsp - 4 * (_SHORT_FRAME_WORDS + with_code)


def enters_handler(before: InterruptRecord, record: InterruptRecord) -> bool:
    """Return whether ``record`` is the fetch of the first instruction of the handler of ``before``, on the frame that its
    delivery pushed."""
    if is_delivery(record) or record.access != "fetch" or record.rip is None or record.rip == before.rip:
        return False
    return record.rsp is not None and record.rsp == rsp_at_handler(before)


def why(before: InterruptRecord, struck: int | None, error: int | None, after: RegisterDump) -> Why | None:
    """Return why ``before`` could not be delivered; None where the log does not bear out one reason.

    ``struck``: the vector that was raised instead, ``error`` its error code, None if it became a double fault, whose
    own is 0; ``after``: the registers at that time, of which CR2 tells what a page fault was about.
    """
    cpu = before.cpu
    if has_no_idt(cpu):
        return Why.NO_IDT
    size = gate_bytes(cpu)
    if cpu.idt is not None and size is not None and (before.vector + 1) * size - 1 > cpu.idt[1]:
        return Why.BEYOND_IDT
    if struck == PAGE_FAULT:
        return _unmapped(before, after)
    if struck == STACK_FAULT:
        return Why.STACK_BAD
    if struck == INVALID_TSS:
        return Why.NO_TSS
    if struck == NOT_PRESENT:
        return Why.SEGMENT_NOT_PRESENT if error is not None and not error & IN_IDT else Why.GATE_NOT_PRESENT
    if struck != PROTECTION:
        return None
    if not cpu.cpl and cpu.in_long_mode and _has_wild_stack(before):
        return Why.STACK_BAD
    if before.kind is Kind.INT and cpu.cpl == USER and cpu.idt is not None and (error is None or gate_of_error(error, before.vector, cpu)):
        return Why.GATE_BAD_OR_PRIVILEGED
    if error is None or error & IN_IDT:
        return None if cpu.idt is None else Why.GATE_BAD  # nobody knows whether one is loaded
    if not error & ~EXTERNAL:
        return Why.NULL_SELECTOR
    return Why.BEYOND_GDT if is_beyond_gdt(error, cpu) else Why.BAD_SELECTOR


def is_beyond_gdt(selector: int, cpu: RegisterDump) -> bool:
    """Return whether a selector, or an error code that names one, leaves the GDT."""
    if cpu.gdt is None or selector & (IN_LDT | IN_IDT):
        return False
    return (selector & ~7) + _DESCRIPTOR - 1 > cpu.gdt[1]


def _unmapped(before: InterruptRecord, after: RegisterDump) -> Why | None:
    touched, cpu = after.cr2, before.cpu
    if touched is None:
        return None
    if after.rip is not None and touched == after.rip != before.rip:
        return Why.HANDLER_UNMAPPED
    if gate_at(cpu, touched) is not None:
        return Why.IDT_UNMAPPED
    if _in_table(cpu.gdt, touched):
        return Why.GDT_UNMAPPED
    if cpu.task is not None and (cpu.task or cpu.cpl) and cpu.task <= touched < cpu.task + TSS_BYTES:
        return Why.TSS_UNMAPPED
    if cpu.task == 0 and (cpu.cpl == USER or touched < TSS_BYTES):
        return Why.NO_TSS  # what it read in its place is no stack
    if is_push(before, touched):
        return Why.STACK_UNMAPPED
    # Nothing else is touched but the stack that the TSS tells of.
    known = cpu.idt is not None and cpu.gdt is not None and cpu.task is not None and gate_bytes(cpu) is not None
    return Why.STACK_UNMAPPED if known else None


def _has_wild_stack(before: InterruptRecord) -> bool:
    return before.rsp is not None and not is_canonical(before.rsp, levels_of(before.cpu.cr4))


def is_push(before: InterruptRecord, touched: int) -> bool:
    """Return whether ``touched`` is where the frame of an event goes on the stack that is in use."""
    return before.rsp is not None and 0 < (before.rsp - touched) % (1 << 64) <= FRAME_REACH


def _in_table(table: tuple[int, int] | None, address: int) -> bool:
    return table is not None and table[0] <= address <= table[0] + table[1]


def _in_task(record: InterruptRecord) -> bool:
    return bool(record.task) and record.cr2 is not None and 0 <= record.cr2 - (record.task or 0) < TSS_BYTES
