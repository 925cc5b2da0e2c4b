"""How QEMU left by itself: whether that was its guest's doing, and what it said."""

from __future__ import annotations

import re

from cr3scope.qemu.outcome import DEBUG_EXIT_FAIL, DEBUG_EXIT_PASS, Outcome, Reason

# With its own name in front; that somebody ended it by a signal is told by its event.
_SAYS = re.compile(r"^qemu[\w-]*: (?!warning:|terminating on signal)", re.MULTILINE)
_FATAL = re.compile(r"^qemu: fatal: [^\n]*", re.MULTILINE)
_FAILED = 1  # QEMU's own status for every failure; isa-debug-exit gives odd ones, this one for 0


def last_words(outcome: Outcome) -> str:
    """Return the last line of QEMU's own on standard error that is no warning; "" without one.

    Where QEMU gives up by itself, that is why: it prints all registers behind it.
    """
    fatal = _FATAL.search(outcome.words)
    if fatal:
        return fatal[0].rstrip()
    lines = (line.strip() for line in outcome.words.split("\n"))
    return next((line for line in reversed([*lines]) if line and "warning:" not in line), "")


def failure_words(outcome: Outcome, is_traced: bool) -> str:
    """Return how QEMU left without its guest having ended it; "" if it did not, or was ended by a signal.

    ``is_traced``: the guest's trace tells by itself whether it came to its end.
    """
    if outcome.reason is Reason.ENDED:
        return f"QEMU was ended by somebody else ({outcome.ended_by}), not by its guest"
    status = outcome.exit_status
    if outcome.reason is not Reason.EXITED or status is None or status < 0 or _is_fair(outcome, status, is_traced):
        return ""
    said = last_words(outcome)
    return f"QEMU left by itself, with exit status {status}: {said or 'it said nothing'}"


def exit_notes(outcome: Outcome) -> list[str]:
    """Return what is to be said of an exit status that the guest gave, and that is neither success nor failure."""
    status = outcome.exit_status
    if outcome.reason is not Reason.EXITED or status is None or status < 0 or failure_words(outcome, is_traced=False):
        return []
    if status in (0, DEBUG_EXIT_PASS, DEBUG_EXIT_FAIL):
        return []
    return [
        f"the guest ended QEMU with exit status {status}; known are {DEBUG_EXIT_PASS} (success) and"
        f" {DEBUG_EXIT_FAIL} (failure)"
    ]


def _is_fair(outcome: Outcome, status: int, is_traced: bool) -> bool:
    """Whether a guest may have ended QEMU with this status, or a script around it says that all went well."""
    if status == _FAILED:
        return outcome.has_debug_exit and not last_words(outcome)
    if not status:  # QEMU itself pauses when its guest powers off
        return not _SAYS.search(outcome.words) and (is_traced or not outcome.is_bare)
    return status % 2 == 1
