"""Nobody has loaded an IDT, and something had to be delivered."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.diagnose.shared.logged_event import undelivered
from cr3scope.diagnose.shared.no_idt import BIOS_LIMIT, RESET_LIMIT, is_no_idt
from cr3scope.input.logs.delivery import Why, has_no_idt
from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import PROTECTED


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    failed = death.failed
    idt: tuple[int, int] | None = None
    proof: tuple[Message, ...] = ()
    if failed is not None and _is_none(failed.why, failed.record):
        idt, proof = failed.record.cpu.idt, tuple(_proof(failed.record))
    elif death.is_silent and has_no_idt(death.dump):
        idt, proof = death.dump.idt, (Message("with it no exception can be delivered: a triple fault, in protected mode"),)
    if idt is not None:
        base, limit = idt
        yield RULE.finding(_title(base, limit), *proof, *_left_by(base, limit))


def _check(context: Context) -> Iterator[Finding]:
    base, limit = context.registers.idt_base, context.registers.idt_limit
    if is_no_idt(base, limit):
        yield RULE.finding(_title(base, limit), Message("the first exception or interrupt is a triple fault, without a word"),
                           *_left_by(base, limit))  # fmt: skip


def _title(base: int, limit: int) -> Message:
    return message("no IDT is loaded: IDTR has base {idt_base}, limit {idt_limit:x}h", idt_base=Hex(base), idt_limit=Hex(limit))


def _is_none(why: Why | None, record: InterruptRecord) -> bool:
    return why is Why.NO_IDT or why is Why.BEYOND_IDT and record.cpu.idt is not None and not record.cpu.idt[1]


def _proof(record: InterruptRecord) -> Iterator[Message]:
    yield undelivered(record)
    if record.kind is Kind.INT:
        yield Message("an INT on an empty IDT is also how some code resets the machine on purpose")


def _left_by(base: int, limit: int) -> Iterator[Message]:
    if base:
        return
    if limit == BIOS_LIMIT:
        yield Message("so real mode has it: the BIOS' table of interrupts, which is none of protected mode")
    elif limit == RESET_LIMIT:
        yield Message("so a reset leaves it")


RULE = Rule(
    id="idt-not-loaded",
    title="no IDT is loaded",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "Until somebody executes lidt, IDTR holds what the reset, the BIOS or a boot loader left there. In protected mode "
        "that is no table of gates: the first exception cannot be delivered, nor can the double fault, and the CPU "
        "resets. The first exception is the cause; without an IDT nothing can report it."
    ),
    shows=(
        "The exception, then v=08 and `Triple fault`, with IDT= base 0 and limit 0, 3ff or ffff in the dump, or limit 0 with "
        "any base."
    ),
    fix="Mend the first exception; load an IDT with gates for all 32 exceptions (lidt) before anything can fault, and cli till then.",
    manual="Intel SDM volume 3A, 7.10, 11.1.1 (table 11-1) and 22.1.4",
    check=_check,
    needs=LIVE,
    logged=_logged,
)
