"""What the rules find in a log, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analyze.said import detail, fix, title
from analyze.short_log import Cpu, Log

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.logged import findings_of_log
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story

Read = Callable[..., "Found"]
LOST = 0x80_0000  # nothing is mapped there


class Found:
    """What the rules find in a log."""

    def __init__(self, report: LogReport) -> None:
        self.report = report
        self.findings = findings_of_log(report)
        self.rules = [one.rule for one in self.findings]

    def of(self, rule: str) -> Finding:
        assert rule in self.rules, self.rules
        return next(one for one in self.findings if one.rule == rule)

    @property
    def words(self) -> str:
        return "\n".join(f"{title(one)}\n{detail(one)}\n{fix(one)}" for one in self.findings)


def reader(folder: Path) -> Read:
    """What reads a log, through a file of the folder."""

    def found(log: Log | str) -> Found:
        path = folder / "log"
        path.write_text(log if isinstance(log, str) else log.text)
        with LogFile(path) as opened:
            return Found(read_story(opened).report)

    return found


def pushed(cpu: Cpu, with_code: bool) -> int:
    """RSP in the handler."""
    return (cpu.rsp & ~0xF) - 40 - 8 * with_code if cpu.wide else cpu.rsp - 12 - 4 * with_code
