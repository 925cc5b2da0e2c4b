"""The kernel looked at its address space from inside and did not find what it was promised."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Context, Rule
from cr3scope.message import message
from cr3scope.x86.mode import ALL_MODES


def _check(context: Context) -> Iterator[Finding]:
    failed = [check for check in context.boot.checks if not check.passed]
    for check in failed:
        detail = (message("{detail}", detail=check.detail),) if check.detail else ()
        title = message("the kernel's check failed: {check}", check=check.name)
        if check.cpu:
            title = message("the kernel's check failed on CPU {cpu}: {check}", cpu=check.cpu, check=check.name)
        yield RULE.finding(title, *detail)
    summary = context.boot.summary
    if summary is not None and summary[1] > len(failed):
        yield RULE.finding(
            message("the kernel counts {failed} failed checks", failed=summary[1]),
            message("the capture names {named} of them", named=len(failed)),
        )


RULE = Rule(
    id="kernel-check-failed",
    title="a check of the kernel failed",
    severity=Severity.ERROR,
    modes=ALL_MODES,
    reason=(
        "The kernel tests what it was handed: rights by provoking faults, BSS for zeroes, stacks, "
        "checksums, the recursive window. The failing check says what differs."
    ),
    shows="A line FAIL on the console, and a `check` record with outcome=fail in the trace.",
    fix="See the check's own words; then the loader's code for that range.",
    manual="docs/handoff.md",
    check=_check,
)
