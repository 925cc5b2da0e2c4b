"""What the documents say is what the program says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from boot.reference import ROOT, make

from cr3scope.x86.platform import Quirk


def test_faults_page_is_what_make_docs_writes(tmp_path: Path) -> None:
    program = make("host/list_faults")
    out = tmp_path / "faults.md"
    subprocess.run(["scripts/boot/python", "scripts/generate_faults.py", program, out],
                   cwd=ROOT, check=True)
    assert out.read_text() == (ROOT / "docs/faults.md").read_text(), "run make docs"


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_code_of_the_loader_in_the_drop_in_page_is_the_loaders() -> None:
    page = (ROOT / "docs/drop-in.md").read_text()
    files = re.search(r"Its code, as it is \(([^)]*)\):\n\n```c\n(.*?)```", page, re.DOTALL)
    assert files is not None
    sources = [(ROOT / "loader" / name).read_text() for name in re.findall(r"`([^`]+)`", files[1])]
    parts = files[2].split("\n\n")
    assert len(parts) == len(sources)
    for part, source in zip(parts, sources, strict=True):
        assert part.rstrip("\n") in source, part


def test_readme_names_only_verbs_that_exist() -> None:
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    verbs = set(re.findall(r"^  make ([a-z-]+)", listed.stdout, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named <= verbs, named - verbs


def test_every_setting_that_the_boot_scripts_read_is_documented() -> None:
    told = (ROOT / "docs/running.md").read_text()
    for script in ("qemu-command", "prepare", "run-trace"):
        text = (ROOT / "scripts/boot" / script).read_text()
        for name in set(re.findall(r"\$\{([A-Z_]{2,})", text)):
            assert f"`{name}`" in told, f"{script}: {name}"


def test_every_difference_of_qemus_cpu_is_a_row_of_its_page() -> None:
    rows = re.findall(r"^\| (.*) \| (.*) \| (all|before \S+|since \S+) \|$", (ROOT / "docs/emulation.md").read_text(), re.M)

    def versions(quirk: Quirk) -> str:
        if quirk.before is not None:
            return "before %d.%d" % quirk.before
        return "since %d.%d" % quirk.since if quirk.since > (0, 0) else "all"

    assert rows == [(quirk.tcg, quirk.manual, versions(quirk)) for quirk in Quirk]


def test_the_glossary_has_at_most_twenty_words_and_each_is_used() -> None:
    table = (ROOT / "docs/style.md").read_text().partition("| word | meaning |")[2]
    words = re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)
    assert 0 < len(words) <= 20
    package = "\n".join(file.read_text() for file in (ROOT / "scripts").rglob("*.py"))
    assert [word for word in words if not re.search(rf"\b{word}", package)] == []
