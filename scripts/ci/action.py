"""What `action.yml` does: lints and boots what its inputs name, and gives the results where GitHub shows them.

Inputs come by the environment. Of what goes back, only words of this project are written: no guest chooses an output.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CR3SCOPE = Path(__file__).resolve().parents[1] / "cr3scope"
UNUSABLE = 2
_WORD = re.compile(r"[a-z0-9-]{1,64}")


class Wrong(Exception):
    """An input that cannot be used."""


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run what the inputs name: lint, boot, report; return the worse exit status."""
    try:
        words = {name: _words(environment, name) for name in ("command", "options", "files", "elf")}
        name, folder = _line(environment, "name"), _line(environment, "folder") or "cr3scope-run"
        if not words["command"] and not words["files"]:
            raise Wrong("neither `command` nor `files` is given")
        Path(folder).mkdir(parents=True, exist_ok=True)
        for old in ("verdict.json", "lint.json"):  # of a run before: the outputs are of this one
            Path(folder, old).unlink(missing_ok=True)
    except (Wrong, OSError) as error:
        print(f"::error title=cr3scope::{_escaped(str(error))}")
        return UNUSABLE
    statuses = []
    if words["files"]:
        statuses.append(_call(environment, folder, "lint", [*_forms(folder, "lint"), "--", *words["files"]]))
    if words["command"]:
        options = ["-o", folder, "--html", f"{folder}/report.html", *_forms(folder, ""), *([f"--name={name}"] if name else [])]
        options += [f"--elf={file}" for file in words["elf"]]
        statuses.append(_call(environment, folder, "run", [*options, *words["options"], "--", *words["command"]]))
    status = max(statuses)
    _put(environment, "GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in _outputs(folder, status).items()))
    return status


def _words(environment: Mapping[str, str], name: str) -> list[str]:
    try:
        return shlex.split(environment.get(f"INPUT_{name.upper()}", ""), comments=False)
    except ValueError as error:
        raise Wrong(f"`{name}`: {error}") from error


def _line(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(f"INPUT_{name.upper()}", "").strip()
    if not value.isprintable():
        raise Wrong(f"`{name}` is more than one line of text")
    return value


def _forms(folder: str, stem: str) -> list[str]:
    names = {"json": "lint.json", "junit": "lint.xml", "sarif": "lint.sarif", "markdown": "lint.md"} if stem else {
        "json": "verdict.json", "junit": "junit.xml", "sarif": "cr3scope.sarif", "markdown": "summary.md"}  # fmt: skip
    return ["--github", *(f"--{form}={folder}/{name}" for form, name in names.items())]


def _call(environment: Mapping[str, str], folder: str, verb: str, words: list[str]) -> int:
    own = dict(environment)
    repository, server = own.get("ACTION_REPOSITORY"), own.get("GITHUB_SERVER_URL", "https://github.com")
    if repository:
        own.setdefault("CR3SCOPE_DOCS", f"{server}/{repository}/blob/{own.get('ACTION_REF') or 'HEAD'}/docs")
    sys.stdout.flush()
    summary = Path(folder, "lint.md" if verb == "lint" else "summary.md")
    summary.unlink(missing_ok=True)
    status = subprocess.run([CR3SCOPE, verb, *words], env=own).returncode
    if summary.is_file():
        _put(environment, "GITHUB_STEP_SUMMARY", summary.read_text(encoding="utf-8") + "\n")
    return status if status in (0, 1) else UNUSABLE


def _outputs(folder: str, status: int) -> dict[str, str]:
    """Of the boot; of the files if there was none."""
    verdict = _read(Path(folder, "verdict.json"))
    files = _read(Path(folder, "lint.json")).get("files", [])
    findings = verdict.get("findings") or [one for file in files for one in file["findings"]]
    rule = next((one["rule"] for one in findings if one["severity"] == "error"), "")
    word = str(verdict.get("verdict", "unusable"))
    return {
        "status": str(status), "verdict": word if _WORD.fullmatch(word) else "unusable", "rule": rule if _WORD.fullmatch(rule) else "", "folder": folder,
    }  # fmt: skip


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _put(environment: Mapping[str, str], name: str, text: str) -> None:
    """Add to one of the files that a runner reads; outside of GitHub there is none."""
    if environment.get(name):
        with open(environment[name], "a", encoding="utf-8") as file:
            file.write(text)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


if __name__ == "__main__":
    sys.exit(main())
