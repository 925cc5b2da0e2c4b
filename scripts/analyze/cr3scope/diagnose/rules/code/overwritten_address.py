"""The CPU was sent to an address that is no address: its bytes are text, or code."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.misled import misled
from cr3scope.message import Hex, Message, message
from cr3scope.paging.canonical import MOST_LEVELS, is_canonical
from cr3scope.x86.mode import ALL_MODES

def _logged(death: LoggedDeath) -> Iterator[Finding]:
    record = death.origin
    bytes_are = None if record is None else misled(record)
    if record is not None and bytes_are is not None:
        rip = record.rip or 0
        meaning = Message("most likely a return address, or a pointer to a function, was overwritten")
        if not is_canonical(rip, MOST_LEVELS):
            meaning = Message("it is not canonical: no code can be there. What was taken for an address is other data")
        title = message("the CPU was sent to {virt}, whose bytes are {bytes_are}", virt=Hex(rip), bytes_are=bytes_are)
        yield RULE.finding(title, meaning)


RULE = Rule(
    id="overwritten-address",
    title="an address that is text or code",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "A ret or an indirect jump took data for an address. A string that was copied beyond the end of a buffer on the stack "
        "leaves letters where a return address was; a pointer that is read once too often leaves the first bytes of "
        "the function that it leads to."
    ),
    shows="v=0d with IP= of eight printable bytes in 64-bit mode, or v=0e with CR2=IP of four letters in 32-bit mode.",
    fix="Look for who writes beyond a buffer on the stack, or for a call through a pointer that is one level too deep.",
    manual="Intel SDM volume 1, 3.3.7.1 and 6.4",
    logged=_logged,
)
