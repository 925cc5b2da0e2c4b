"""A reset by SeaBIOS, which the guest, or nobody, has asked for."""

from __future__ import annotations

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Message
from cr3scope.x86.mode import ALL_MODES


def on_reset(proof: Message) -> Finding:
    """Return the finding on a machine that SeaBIOS has reset."""
    return RULE.finding(Message("SeaBIOS reset the machine: the triple fault is its own way to do so"), proof)


RULE = Rule(
    id="bios-reset",
    title="the BIOS reset the machine",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "SeaBIOS resets a machine by an INT3 on an empty IDT. It does so when a CPU comes to its reset vector though it has run before (a jump "
        "to F000:FFF0 or FFFF:0, as old code reboots; Ctrl-Alt-Del), and when it finds nothing to boot and -boot reboot-timeout is given. "
        "No gate of the guest's is missing."
    ),
    shows="INT 0x03 at RIP in E0000h to FFFFFh, in protected mode without paging, with an IDT whose limit is 0; `Triple fault` behind it.",
    fix=(
        "Look at what the guest printed last, and for a jump to F000:FFF0 or FFFF:0. If it makes none, code in real mode has gone astray into the BIOS: "
        "look at the last far jump, far return or IRET before it."
    ),
    manual="SeaBIOS, src/resume.c and src/fw/shadow.c; Intel SDM volume 3A, 10.1.4",
)
