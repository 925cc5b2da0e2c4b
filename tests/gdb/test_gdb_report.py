"""The page of a live guest: from gdb at its switch, and from a run that watched it die without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from analyze.test_report_doors import embedded, titles
from boot.verbs import cr3scope
from gdb_session import kernel, multiboot


def test_gdb_writes_a_page_with_the_spaces_before_and_behind_the_switch(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    others = [tmp_path / f"report.{form}" for form in ("json", "md", "sarif", "xml")]
    text = multiboot(tmp_path, "LONG_STORE", "\n".join(["hbreak last_switch", "continue", *(f"cr3scope report {file}" for file in (page, *others))]))
    assert all(f"{file}: " in text for file in (page, *others)), text
    verdict, summary, results, tests = (file.read_text() for file in others)
    assert json.loads(verdict)["findings"][0]["rule"] == json.loads(results)["runs"][0]["results"][0]["ruleId"] == "access-fault"
    assert summary.startswith("### cr3scope gdb: WILL FAULT") and '<failure type="access-fault"' in tests
    data = embedded(page.read_text())
    assert [title for title, _ in titles(data)] == ["before the switch", "behind the switch"]
    assert data["start"] == "0x400000"
    assert "access-fault" in page.read_text()


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    text = multiboot(tmp_path, "LONG_STORE", f"hbreak last_switch\ncontinue\ncr3scope report {tmp_path}/none/report.html")
    assert f"cr3scope report: {tmp_path}/none/report.html: No such file or directory" in text, text


def test_a_guest_that_died_without_a_trace_leaves_its_tables_in_the_page(tmp_path: Path) -> None:
    page, run = tmp_path / "report.html", tmp_path / "run"
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-cpu", "max", "-kernel"]
    done = cr3scope("run", "-o", run, "--timeout", "20", "--html", page, "--", *command, kernel(tmp_path, "NO_IDT"))
    assert done.returncode == 1, done.stderr
    data = embedded(page.read_text())
    assert [title for title, _ in titles(data)] == ["as the guest left it"]
    assert data["start"] == "0x40000000"


def test_where_gdb_has_no_template_engine_one_line_says_what_else_there_is(tmp_path: Path) -> None:
    commands = f"python import sys; sys.modules['jinja2'] = None\ncr3scope report {tmp_path}/report.html"
    text = multiboot(tmp_path, "LONG_STORE", f"hbreak last_switch\ncontinue\n{commands}")
    assert "cr3scope report: jinja2 is missing from gdb's Python: `save` a core, and `analyze --html` that" in text, text


@pytest.mark.parametrize("command", ["report", "save"])
def test_gdb_writes_no_file_called_like_standard_output(command: str, tmp_path: Path) -> None:
    text = multiboot(tmp_path, "LONG_STORE", f"hbreak last_switch\ncontinue\ncr3scope {command} -")
    assert f"cr3scope {command}: -: names standard output, which this cannot be written to: name a file" in text, text
