"""iret takes other words for RIP and CS than delivery pushed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.facts.frame_above import frame_above
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.logged_event import name
from cr3scope.diagnose.shared.misread_frame import Misreading, misread_frame
from cr3scope.message import Hex, Message, message
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.mode import PROTECTED


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    misread = misread_frame(death)
    if misread is None:
        return
    earlier, refused, misreading = misread
    title = message(_TITLES[misreading], event=name(earlier), rip=Hex(refused.rip or 0))
    error, saved = Hex(refused.error_code or 0), Hex(earlier.rip or 0)
    if misreading is Misreading.WORD_TAKEN:
        proof = message(
            "#GP({error_code:x}h): the selector that iret took for CS is the low half of the saved flags {rflags}",
            error_code=error, rflags=Hex(earlier.cpu.flags or 0),
        )  # fmt: skip
    else:
        half = "upper" if misreading is Misreading.NARROW else "low"
        proof = message(
            "#GP({error_code:x}h): the selector that iret took for CS is the {half} half of {saved_rip}, where {event} was raised",
            error_code=error, half=half, saved_rip=saved, event=name(earlier),
        )  # fmt: skip
    if misreading is Misreading.NARROW:
        yield replace(RULE.finding(title, proof), fix=Message(_NARROW_FIX))
    else:
        yield RULE.finding(title, proof)


def in_memory(now: StoppedCpu) -> Iterator[Finding]:
    """Yield at most one finding on a CPU that stands at a refused iret: the stack tells what no record does, whichever stack it is."""
    frame = frame_above(now)
    if frame is None:
        return
    yield RULE.finding(
        message("a word too many is on the stack at the iret at RIP={rip}: {extra} lies below the frame", rip=Hex(now.rip),
                extra=Hex(frame.extra)),
        message("above it: RIP={saved_rip}, CS={cs:02x}h, flags={flags}; iret takes {saved_rip} for CS", saved_rip=Hex(frame.rip),
                cs=Hex(frame.cs), flags=Hex(frame.flags)),
        Message("an error code that the handler, or its stub, has not taken off leaves just such a frame"),
    )  # fmt: skip


_TITLES = {
    Misreading.CODE_LEFT: "the error code of {event} is still on the stack at the iret at RIP={rip}",
    Misreading.WORD_LEFT: "one word more than {event} pushed is on the stack at the iret at RIP={rip}",
    Misreading.WORD_TAKEN: (
        "the handler of {event} took an error code off the stack that {event} does not push: the iret at RIP={rip} misreads its frame"
    ),
    Misreading.NARROW: "the iret at RIP={rip} pops words of half the size that {event} pushed",
}
_NARROW_FIX = "Write iretq in 64-bit code and iretd (iretl) in 32-bit code: assemblers take a plain iret for one of fewer bytes."


RULE = Rule(
    id="iret-frame",
    title="iret misreads the frame of an exception",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "Some exceptions push an error code below the saved RIP, and iret does not take it off: the handler must. If it does not, "
        "iret takes the error code for RIP and the saved RIP for CS. A handler that takes one off where none was pushed "
        "makes RIP of the saved CS, and CS of the saved flags. In 64-bit code an iret without REX.W pops words of four bytes, and "
        "with an operand size of 16 bits words of two: CS is then of the upper half of the saved RIP."
    ),
    shows=(
        "An exception, then v=0d at the handler's iret, with e= the low 16 bits of the first one's RIP (or of its flags), bits 1:0 "
        "clear."
    ),
    fix=(
        "Take the error code off before iret (add rsp, 8) in the handlers of 8, 10 to 14, 17, 21 and 30, and in no other; stubs "
        "that push a 0 for the others make all frames alike. Take off whatever the handler pushed as well; write iretq in 64-bit code."
    ),
    manual="Intel SDM volume 3A, 7.13, 7.14.2 to 7.14.4; volume 2A, IRET",
    logged=_logged,
)
