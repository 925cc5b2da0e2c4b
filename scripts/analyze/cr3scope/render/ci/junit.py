"""Results as JUnit's XML, as Jenkins and GitLab read it: one test for each thing that was judged.

Two schemas are published of what Jenkins reads; what is written here is valid by both, so that no test names a file or a line by an attribute.
"""

from __future__ import annotations

import xml.etree.ElementTree as xml
from collections.abc import Sequence

from cr3scope.render.ci.judged import Judged, State
from cr3scope.text import printable

_ELEMENTS = {State.FAILED: "failure", State.UNKNOWN: "error"}


def render(results: Sequence[Judged], root: str = "") -> str:
    """Return the whole document, with a final newline. It depends on the results alone: it has no time and no host."""
    counts = {name: str(sum(one.state is state for one in results)) for state, name in ((State.FAILED, "failures"), (State.UNKNOWN, "errors"))}
    counts = {"name": "cr3scope", "tests": str(len(results)), **counts}
    suites = xml.Element("testsuites", counts)
    suite = xml.SubElement(suites, "testsuite", counts)
    for judged in results:
        _test(suite, judged)
    xml.indent(suites)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{xml.tostring(suites, encoding='unicode')}\n"


def _test(suite: xml.Element, judged: Judged) -> None:
    test = xml.SubElement(suite, "testcase", {"classname": f"cr3scope.{judged.verb}", "name": printable(judged.name)})
    if judged.state is State.PASSED:
        xml.SubElement(test, "system-out").text = judged.report
        return
    first = judged.first_error
    said = xml.SubElement(test, _ELEMENTS[judged.state], {"type": first.rule if first else judged.verdict or "unusable", "message": judged.headline})
    said.text = judged.report
