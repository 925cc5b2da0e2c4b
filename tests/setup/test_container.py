"""The Containerfile, which no test builds: what it runs is there, and the devcontainer is built from it."""

from __future__ import annotations

import json
import re

from boot.reference import ROOT

CONTEXT = ROOT / "scripts/boot"


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Containerfile").read_text()
    return [(name, words) for name, words in re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)]


def test_the_container_installs_by_deps_and_by_nothing_else() -> None:
    told = instructions()
    assert ("COPY", ". /opt/cr3scope/") in told
    installing = [words for name, words in told if name == "RUN" and "apt" in words]
    assert len(installing) == 1
    assert installing[0].split(" && ")[0] == "/opt/cr3scope/deps test"
    assert not re.search(r"apt(-get)? ", "".join(words for _, words in told))
    assert (CONTEXT / "deps").is_file()
    assert (CONTEXT / "packages").is_file()


def test_the_devcontainer_is_built_from_the_containerfile() -> None:
    build = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Containerfile"
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == CONTEXT
    taken = {words.split("=")[0] for name, words in instructions() if name == "ARG"}
    assert set(build["args"]) <= taken


def test_the_documented_lines_name_the_same_file_and_context() -> None:
    told = (ROOT / "docs/running.md").read_text()
    assert "build -t cr3scope -f Containerfile scripts/boot" in told
    (workdir,) = (words for name, words in instructions() if name == "WORKDIR")
    assert f":{workdir}" in told
