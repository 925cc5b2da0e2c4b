"""A verdict as one HTML page, `report.html`: complete as text, and drawn by its own scripts; nothing is fetched.

Jinja2 is imported here only, since most runs print text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.render import fault_walk, message, rehearsal
from cr3scope.render.finding import also, fix, proof, title, writer
from cr3scope.render.message import plain
from cr3scope.render.report import bundle, embed
from cr3scope.render.report.course import course, deliveries
from cr3scope.render.source_line import as_text
from cr3scope.render.text import fault_words, goes_on, headline
from cr3scope.text import printable
from cr3scope.verdict.types import Verdict
from cr3scope.x86.names import entry_words, range_words

if TYPE_CHECKING:
    from jinja2 import Template

# What would end a script, or begin a comment in one, wherever it stands in a string of JSON.
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(verdict: Verdict) -> str:
    """Return the whole page. Everything that came from the guest is escaped by the template engine."""
    from markupsafe import Markup

    data, guilty = embed.as_dict(verdict), embed.guilty(verdict.findings)
    events, left_out = course(verdict, frozenset(entry.phys for entry in guilty))
    walk, mended = verdict.walk, verdict.mended
    return _template().render(
        verdict=verdict,
        policy=bundle.policy(),
        style=Markup(bundle.style()),
        script=Markup(bundle.script()),
        data=Markup(json.dumps(data, separators=(",", ":")).translate(_UNSAFE)),
        changes=data["changes"] if data else None,
        headline=headline(verdict),
        guilty=guilty,
        events=events,
        left_out=left_out,
        chain=_chain(verdict),
        is_seen=bool(verdict.observation and verdict.observation.first),
        rehearsal=rehearsal.words(verdict.rehearsal) if verdict.rehearsal else "",
        walk_heading=fault_walk.heading(walk) if walk else "",
        level_words=fault_walk.level_words,
        mended=goes_on(mended) if mended else "",
        entry_words=entry_words,
        range_words=range_words,
        fault_words=fault_words,
        source_line=as_text,
        title=title,
        proof=proof,
        fix=fix,
        also=also,
        writer=writer,
    )


@cache
def _template() -> Template:
    """Return the page's template, compiled once in a process: that takes longer than a page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "report" / "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["plain"] = plain
    return environment.get_template("report.html.j2")


def _chain(verdict: Verdict) -> Sequence[str]:
    """The deliveries from the first exception on: as they were seen, else as they are foreseen."""
    prediction, observation = verdict.prediction, verdict.observation
    if observation is not None and observation.first is not None and observation.ending is not None:
        return [*deliveries(observation), observation.ending.value]
    if prediction is None or prediction.first is None:
        return [message.text(said) for said in prediction.chain] if prediction is not None else []
    ends = [prediction.ends.value] if prediction.ends else []
    return [message.raised(prediction.first), *(message.text(said) for said in prediction.chain), *ends]
