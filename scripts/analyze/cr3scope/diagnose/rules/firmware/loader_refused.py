"""The loader gave up before the switch, and said why."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    for where, what, status in context.boot.errors:
        ended = Message("an `error` record ended the boot")
        if status:
            ended = message("an `error` record ended the boot, status {status}", status=Hex(status))
        yield RULE.finding(message("{where}: {what}", where=where, what=what), ended)


RULE = Rule(
    id="loader-refused",
    title="the loader refused to boot",
    severity=Severity.ERROR,
    modes=LONG,
    reason="The loader met input or a machine that it cannot use, and returned to the firmware.",
    shows="No switch at all: the new CR3 never appears in the log.",
    fix="Mend what the message names.",
    manual="docs/trace-format.md, kind `error`",
    check=_check,
)
