"""Results as compilers print them, one line for each finding: editors, and whatever reads a compiler's output, know them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.render.ci.judged import Judged, State
from cr3scope.render.finding import title
from cr3scope.text import printable


def render(results: Sequence[Judged], root: str = "") -> str:
    """Return a line ``FILE:LINE: SEVERITY: what is wrong [RULE]`` for each finding; without ``:LINE`` the file is what was judged."""
    return "".join(f"{printable(line)}\n" for judged in results for line in _of(judged, root))


def _of(judged: Judged, root: str) -> Iterator[str]:
    if judged.state is not State.PASSED and not judged.has_error:
        yield f"{judged.name}: error: {judged.headline} [{judged.verdict or 'unusable'}]"
    for finding in judged.findings:
        place = judged.place(finding, root)
        where = judged.name if place is None else f"{place.file}:{place.line}"
        yield f"{where}: {finding.severity.value}: {title(finding)} [{finding.rule}]"
