"""Results as SARIF 2.1.0 (OASIS), which code scanning and editors read: one run, a result for each finding.

What is not in a source file, as an entry of the page tables, is told by its address (SARIF 3.32).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from cr3scope import __version__
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.render import finding as said_of
from cr3scope.render.ci import judged as words
from cr3scope.render.ci.judged import Judged, SourcePlace, State
from cr3scope.text import printable
from cr3scope.x86.names import entry_name

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"  # the reader's own checkout
_UNEXPLAINED = "not-survived"  # of a verdict that no finding explains: SARIF tells of nothing else that is wrong
_PLACEHOLDER = re.compile(r"\{([0-9]+)\}")
Plain = dict[str, object]


def render(results: Sequence[Judged], root: str = "", docs: str = "") -> str:
    """Return the whole document, with a final newline. ``docs``: the URI of the folder of the documents; "" where nobody knows."""
    found = [each for judged in results for each in _results(judged, root)]
    rules = sorted({str(each["ruleId"]) for each in found})
    for each in found:
        each["ruleIndex"] = rules.index(str(each["ruleId"]))
    driver = {"name": "cr3scope", "version": __version__, "semanticVersion": __version__, "rules": [_rule(rule, docs) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(judged) for judged in results],
        "results": found,
        "columnKind": "unicodeCodePoints",
        "properties": {"judged": [_summary(judged) for judged in results]},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _results(judged: Judged, root: str) -> Iterator[Plain]:
    if judged.state is State.FAILED and not judged.has_error:
        yield {
            "ruleId": _UNEXPLAINED, "level": "error", "message": {"text": _text(judged.headline)},
            "locations": [{"physicalLocation": {"artifactLocation": _artifact(words.below(root, judged.file))}}] if judged.file else [],
        }  # fmt: skip
    for finding in judged.findings:
        yield _result(judged, finding, root)


def _result(judged: Judged, finding: Finding, root: str) -> Plain:
    place = judged.place(finding, root)
    return {
        "ruleId": finding.rule,
        "level": finding.severity.value,
        "message": {"text": _text("\n".join(words.lines(judged, finding)))},
        "locations": _locations(judged, finding, place, root),
        "relatedLocations": [
            {"id": number, "message": {"text": _text(f"called from {caller}")}}
            for number, caller in enumerate(finding.writer.callers if finding.writer is not None else (), 1)
        ],
        "partialFingerprints": {"cr3scopeFinding/v1": words.fingerprint(judged, finding, place)},
        "properties": {"facts": said_of.facts(finding), "mends": said_of.mends(finding)},
    }


def _locations(judged: Judged, finding: Finding, place: SourcePlace | None, root: str) -> list[Plain]:
    """The line and the entry that a finding names, as far as it does; else what was judged, as a whole."""
    physical: Plain = {}
    if place is not None:
        source = judged.source_text(finding)
        region: Plain = {"startLine": place.line, **({"snippet": {"text": source}} if source else {})}
        physical = {"artifactLocation": _artifact(place.file), "region": region}
    elif judged.file is not None:
        physical = {"artifactLocation": _artifact(words.below(root, judged.file))}
    entry = finding.entry
    if entry is not None:
        address: Plain = {"absoluteAddress": entry.phys, "length": entry.form.entry_bytes, "kind": "page-table entry", "name": entry_name(entry)}
        physical["address"] = address
    return [{"physicalLocation": physical}] if physical else []


def _artifact(file: str) -> Plain:
    if os.path.isabs(file):
        return {"uri": f"file://{_quoted(file)}"}
    return {"uri": _quoted(os.path.normpath(file)), "uriBaseId": _ROOT}


def _quoted(file: str) -> str:
    return quote(printable(file))


def _rule(rule: str, docs: str) -> Plain:
    known = BY_ID.get(rule)
    if known is None:
        about = "The guest did not survive, or says that it failed; no rule tells why."
        return {"id": rule, "shortDescription": {"text": about}, "defaultConfiguration": {"level": Severity.ERROR.value}}
    told = (("Why", known.reason), ("In a log", known.shows), ("Mend", known.fix), ("Manual", known.manual))
    help_uri = {"helpUri": f"{docs.rstrip('/')}/faults.md#{rule}"} if docs else {}
    return {
        "id": rule,
        "shortDescription": {"text": _text(known.title)},
        "fullDescription": {"text": _text(known.reason)},
        "help": {"text": _text("\n".join(f"{heading}: {said}" for heading, said in told))},
        "defaultConfiguration": {"level": known.severity.value},
        **help_uri,
    }


def _invocation(judged: Judged) -> Plain:
    """What could not be judged is an error of the tool's execution: SARIF has no results then, which is not to be taken for a clean one."""
    is_known = judged.state is not State.UNKNOWN
    notes = [("note", said) for said in judged.remarks]
    if not is_known:
        notes.insert(0, ("error", judged.headline))
    return {
        "executionSuccessful": is_known,
        "exitCode": judged.state.value,
        "exitCodeDescription": judged.headline,
        "toolExecutionNotifications": [{"level": level, "message": {"text": _text(said)}} for level, said in notes],
    }


def _summary(judged: Judged) -> Plain:
    return {"name": printable(judged.name), "verb": judged.verb, "verdict": judged.verdict or None, "headline": judged.headline}


def _text(said: str) -> str:
    """A plain message: nothing in it is taken for a link (SARIF 3.11.6) or a placeholder (3.11.5)."""
    return _PLACEHOLDER.sub(r"{{\1}}", said.replace("](", "\\]("))
