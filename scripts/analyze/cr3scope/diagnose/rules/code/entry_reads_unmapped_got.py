"""The kernel's first lines read a table that its linker made and nobody mapped."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind
from cr3scope.x86.mode import PAGED

_NEAR_ENTRY = 64
_NULL_PAGE = 4096
_RELATIVE = 1 << 31  # how far RIP-relative addressing reaches
_NEAR_ARGUMENT = 4096


def _claim(context: Context, strike: Strike) -> Claim | None:
    if strike.target is not Target.PLAN or strike.kind is not AccessKind.READ:
        return None
    if strike.reason is not Reason.NOT_PRESENT or strike.step is None:
        return None
    virt, rip = strike.virt, strike.step.rip
    entries = (elf.entry for elf in context.boot.elfs)
    entry = next((entry for entry in entries if entry <= rip < entry + _NEAR_ENTRY), None)
    if entry is None or not context.intent.is_code(rip) or context.intent.at(virt) is not None:
        return None
    if virt < _NULL_PAGE or abs(virt - rip) >= _RELATIVE or _is_argument(context, virt):
        return None
    return Claim(
        message(
            "the kernel reads {virt} {offset} bytes into its entry, where no segment is",
            virt=Hex(virt),
            offset=Hex(rip - entry),
        ),
        proof=(
            message("RIP={rip}: within reach of a RIP-relative load, such as one through the GOT", rip=Hex(rip)),
        ),
    )


def _is_argument(context: Context, virt: int) -> bool:
    """A pointer that the kernel was handed is no address of its own."""
    record = context.boot.cpus.get("handoff")
    handed = (record.registers.get(name) for name in ("rdi", "rcx")) if record else ()
    return any(value is not None and value <= virt < value + _NEAR_ARGUMENT for value in handed)


RULE = Rule(
    id="entry-reads-unmapped-got",
    title="the entry code reads an address of its own that is not mapped",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Code built as position independent loads addresses from a global offset table. A linker "
        "script that does not place .got, .got.plt or .data.rel.ro, or a loader that maps only the "
        "segments it knows by name, leaves it out, and the first lines of the kernel read it."
    ),
    shows="v=0e e=0000 with RIP a few bytes behind e_entry and CR2 close to the kernel.",
    fix=(
        "Place .got and .got.plt in a PT_LOAD, and map every PT_LOAD; or build the kernel with "
        "-fno-pic -mcmodel=kernel (-fvisibility=hidden with -fpie), so that it has no such table."
    ),
    manual="System V ABI, AMD64 supplement, 5.2 (global offset table); Intel SDM volume 3A, 5.7",
    claim=_claim,
)
