"""Whether a machine died while another CPU was on its way, of which the boot CPU's plan says nothing."""

from __future__ import annotations

from collections.abc import Iterable

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.input.capture.records import Boot

_FAMILY = "ap-"  # rules about the way of the other CPUs


def cpu_on_its_way(boot: Boot) -> int | None:
    """Return the number of the CPU that was started last, and of which nothing was heard since; None if there is none."""
    if not boot.starting or boot.summary is not None:
        return None
    last = boot.starting[-1]
    return None if any(check.cpu == last for check in boot.checks) else last


def died_of_other(boot: Boot, observation: Observation | None) -> bool:
    """Return whether the machine died while another CPU was on its way."""
    return observation is not None and observation.ending is not None and cpu_on_its_way(boot) is not None


def foretold(findings: Iterable[Finding]) -> bool:
    """Return whether something was found that stops the other CPUs on their way."""
    return any(one.severity is Severity.ERROR and one.rule.startswith(_FAMILY) for one in findings)
