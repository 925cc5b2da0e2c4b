"""Verdicts for the tests of the forms for CI: a usual one, and one in which every name is chosen by an enemy."""

from __future__ import annotations

from dataclasses import replace

import boot_builder as b
from boot_builder import healthy

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import Writer
from cr3scope.images.place import Place
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import message
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

# What gets out of Markdown, of XML, of a workflow command, of a line of a terminal.
EVIL = (
    "\n::error file=a.c,line=1::owned", "\n  ::add-mask::x", "##[error]owned", "``` </code></details><script>x</script>", "[x](http://evil.example)", "@root #1",
    "]]></failure><failure/>", "\x1b[31m", "\0", "\ud800", "\ufffe", "a%0Ab", "![i](//evil.example)", "`` ` ``", "<img src=x onerror=y>",
)  # fmt: skip


def faulting(source: str | None = "loader/x.c:87") -> Verdict:
    """A boot with NX in a PML4 entry, which a line of the loader wrote."""
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    verdict = analyze(scene.capture())
    return replace(verdict, findings=tuple(replace(one, source=source) for one in verdict.findings))


def hostile(evil: str) -> Verdict:
    """A verdict in which each field that a guest or a file chooses holds ``evil``."""
    title, proof = message("{name} is wrong", name=evil), message("it says {words}", words=evil)
    finding = Finding("nx-leaf-code", Severity.ERROR, title, (proof, message("{name}: {words}", name=evil, words=evil)), message("mend {name}", name=evil), source=f"{evil}/x,y:z.c:7",
                      writer=Writer(0x1000, 0x2000, evil, callers=(evil,)))  # fmt: skip
    warning = replace(finding, severity=Severity.WARNING, source=None, writer=None, entry=None)
    first = Fault(14, 17, 0x1000, 0x2000, 0x3000)
    seen = Observation(Ending.TRIPLE_FAULT, first, source=evil, detail=evil, said=(evil,), last=evil,
                       places=(Place("RIP", 0x2000, evil, f"{evil}:3", evil),))  # fmt: skip
    return Verdict(Status.FAULTED, (finding, warning), observation=seen, diagnostics=(Diagnostic(message("{words}", words=evil)),))


def unexplained() -> Verdict:
    """A guest that hung, of which no rule says why."""
    return Verdict(Status.HUNG, diagnostics=(Diagnostic("the guest has not said what was expected"),))


def incomplete() -> Verdict:
    """Evidence that does not suffice."""
    return Verdict(Status.INCOMPLETE, diagnostics=(Diagnostic("the capture ends in the middle", line=7),))
