"""A verdict as one HTML page without scripts or outside references: to keep, or to attach to a report.

Jinja2 is imported here only, since most runs print text.
"""

from __future__ import annotations

from pathlib import Path

from cr3scope.render.finding import also, fix, proof, title
from cr3scope.render.message import plain
from cr3scope.render.source_line import as_text
from cr3scope.render.text import fault_words, headline
from cr3scope.text import printable
from cr3scope.verdict.types import Verdict
from cr3scope.x86.names import entry_words, range_words


def render(verdict: Verdict) -> str:
    """Return the whole page. Everything that came from the guest is escaped by the template engine."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["plain"] = plain
    template = environment.get_template("report.html.j2")
    return template.render(
        verdict=verdict,
        headline=headline(verdict),
        entry_words=entry_words,
        range_words=range_words,
        fault_words=fault_words,
        source_line=as_text,
        title=title,
        proof=proof,
        fix=fix,
        also=also,
    )
