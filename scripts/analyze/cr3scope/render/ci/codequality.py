"""Results as GitLab's code quality report, which a merge request shows: JSON, an object for each finding.

GitLab demands a file and a line of each: of what has none they are the file that was judged and 1, and the text says so. Of several with one
fingerprint it shows the first alone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.render.ci.judged import Judged, State, below, fingerprint
from cr3scope.render.finding import fix, title
from cr3scope.text import printable

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}
_NO_LINE = "no line is known"
Plain = dict[str, object]


def render(results: Sequence[Judged], root: str = "") -> str:
    """Return the whole document, with a final newline: the same for the same results."""
    found = [each for judged in results for each in _of(judged, root)]
    seen: Counter[object] = Counter()
    for each in found:
        mark = each["fingerprint"]
        seen[mark] += 1
        each["fingerprint"] = mark if seen[mark] == 1 else f"{mark}-{seen[mark]}"
    return json.dumps(found, indent=2) + "\n"


def _of(judged: Judged, root: str) -> Iterator[Plain]:
    if judged.state is not State.PASSED and not judged.has_error:  # else no report could be told from a clean one
        yield _issue(judged, root, None, judged.headline)
    for finding in judged.findings:
        yield _issue(judged, root, finding, f"{title(finding)}; mend: {fix(finding)}")


def _issue(judged: Judged, root: str, finding: Finding | None, words: str) -> Plain:
    place = None if finding is None else judged.place(finding, root)
    file = place.file if place is not None else below(root, judged.file or judged.name)
    return {
        "description": printable(words if place is not None else f"{words} ({_NO_LINE})"),
        "check_name": printable(finding.rule if finding is not None else judged.verdict or "unusable"),
        "fingerprint": fingerprint(judged, finding, place),
        "severity": _SEVERITIES[finding.severity if finding is not None else Severity.ERROR],
        "location": {"path": printable(os.path.normpath(file)), "lines": {"begin": place.line if place is not None else 1}},
    }
