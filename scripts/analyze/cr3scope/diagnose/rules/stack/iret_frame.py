"""iret takes other words for RIP and CS than delivery pushed."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.shared.logged_event import name
from cr3scope.diagnose.shared.misread_frame import misread_frame
from cr3scope.message import Hex, message
from cr3scope.x86.mode import PROTECTED


def _logged(death: LoggedDeath) -> Iterator[Finding]:
    misread = misread_frame(death)
    if misread is None:
        return
    earlier, refused, is_left = misread
    place, error = Hex(refused.rip or 0), Hex(refused.error_code or 0)
    if is_left:
        title = message("the error code of {event} is still on the stack at the iret at RIP={rip}", event=name(earlier), rip=place)
        proof = message(
            "#GP({error_code:x}h): the selector that iret took for CS is the low half of {saved_rip}, where {event} was raised",
            error_code=error, saved_rip=Hex(earlier.rip or 0), event=name(earlier),
        )  # fmt: skip
    else:
        title = message(
            "the handler of {event} took an error code off the stack that {event} does not push: the iret at RIP={rip} misreads"
            " its frame", event=name(earlier), rip=place,
        )  # fmt: skip
        proof = message(
            "#GP({error_code:x}h): the selector that iret took for CS is the low half of the saved flags {rflags}",
            error_code=error, rflags=Hex(earlier.cpu.flags or 0),
        )  # fmt: skip
    yield RULE.finding(title, proof)


RULE = Rule(
    id="iret-frame",
    title="iret misreads the frame of an exception",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "Some exceptions push an error code below the saved RIP, and iret does not take it off: the handler must. If it does not, "
        "iret takes the error code for RIP and the saved RIP for CS. A handler that takes one off where none was pushed "
        "makes RIP of the saved CS, and CS of the saved flags."
    ),
    shows=(
        "An exception, then v=0d at the handler's iret, with e= the low 16 bits of the first one's RIP (or of its flags), bits 1:0 "
        "clear."
    ),
    fix=(
        "Take the error code off before iret (add rsp, 8) in the handlers of 8, 10 to 14, 17, 21 and 30, and in no other; stubs "
        "that push a 0 for the others make all frames alike."
    ),
    manual="Intel SDM volume 3A, 7.13, 7.14.2 to 7.14.4; volume 2A, IRET",
    logged=_logged,
)
