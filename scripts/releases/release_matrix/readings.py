"""What the programs' own output and files say: versions, counts of tests, times, verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# The tools that matter, in the table's order, and the command whose first line has the version.
_PACKAGE = "dpkg-query -W -f '${{source:Upstream-Version}}\\n' {}"
_MODULE = "scripts/boot/python -c 'import {0}; print({0}.__version__)'"
TOOLS: Mapping[str, str] = {
    "gcc": "x86_64-linux-gnu-gcc --version",
    "clang": "clang --version",
    "ld": "x86_64-linux-gnu-ld --version",
    "lld": "ld.lld --version",
    "gnu-efi": _PACKAGE.format("gnu-efi"),
    "QEMU": "qemu-system-x86_64 --version",
    "OVMF": _PACKAGE.format("ovmf"),
    "gdb": "gdb --version",
    "Python": "scripts/boot/python --version",
    "numpy": _MODULE.format("numpy"),
    "pyelftools": _MODULE.format("elftools"),
    "capstone": _MODULE.format("capstone"),
    "mypy": "mypy --version",
    "pyflakes": _MODULE.format("pyflakes"),
    "pytest": _MODULE.format("pytest"),
    "clang-format": "clang-format --version",
    "Linux (guest)": _PACKAGE.format("linux-image-cloud-amd64"),
}
_VERSION = re.compile(r"\d+(?:\.\d+)+")
# pytest's last line: "12 passed, 1 skipped in 3.45s", in `=` signs unless it is quiet.
_CLOSING = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in \d+\.\d+s", re.MULTILINE)
_SKIP = re.compile(r"^SKIPPED \[(\d+)\] (\S+?): (.*)$", re.MULTILINE)
_DATE = "%Y-%m-%d  %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Counts:
    """Hold how many tests passed, failed (errors included) and were skipped."""

    passed: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Hold how many tests were skipped at one place, and why."""

    count: int
    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold a verdict's status, whether what happened agrees with what was foreseen, and the rules that it names.

    A boot that was only slow, and never came to its trace, is called healthy too: nothing was foreseen then.
    """

    status: str
    agreed: bool
    rules: frozenset[str]

    def __str__(self) -> str:
        said = [self.status.upper(), *sorted(self.rules), *(() if self.agreed else ("not as foreseen",))]
        return ", ".join(said)


def versions_script() -> str:
    """Return a shell script that prints each tool, a tab, and the line in which its version stands."""
    return "\n".join(
        f"printf '%s\\t%s\\n' '{tool}' \"$({command} 2>/dev/null | head -n 1)\""
        for tool, command in TOOLS.items()
    )


def versions(printed: str) -> dict[str, str]:
    """Return the version of each tool that printed one; a tool that is not installed is left out."""
    found = {}
    for line in printed.splitlines():
        tool, tab, said = line.partition("\t")
        match = _VERSION.search(said)
        if tab and tool in TOOLS and match:
            found[tool] = match[0]
    return found


def counts(log: str) -> Counts | None:
    """Return what pytest's closing line counts, the last one of the log; None if no test was run to its end."""
    closing = _CLOSING.findall(log)
    if not closing:
        return None
    said = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", closing[-1])}
    return Counts(said.get("passed", 0), said.get("failed", 0) + said.get("error", 0), said.get("skipped", 0))


def skips(log: str) -> tuple[Skip, ...]:
    """Return the skipped tests with their reasons, as `pytest -rs` lists them."""
    return tuple(Skip(int(count), place, reason) for count, place, reason in _SKIP.findall(log))


def installing_seconds(history: str) -> float:
    """Return how long packages were unpacked and configured, from the lines of apt's history.log."""
    total, start = 0.0, None
    for line in history.splitlines():
        name, _, value = line.partition(": ")
        try:
            if name == "Start-Date":
                start = datetime.strptime(value, _DATE)
            elif name == "End-Date" and start is not None:
                total += (datetime.strptime(value, _DATE) - start).total_seconds()
                start = None
        except ValueError:
            start = None
    return total


def verdict(file: Path) -> Verdict:
    """Return what a verdict in JSON says; one without a status if there is none that can be read."""
    try:
        told = json.loads(file.read_text())
        rules = frozenset(str(finding["rule"]) for finding in told["findings"])
        return Verdict(str(told["verdict"]), told["agreement"] is True, rules)
    except (OSError, ValueError, KeyError, TypeError):
        return Verdict("", False, frozenset())
