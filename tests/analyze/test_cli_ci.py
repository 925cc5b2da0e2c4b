"""The options for CI and editors at each verb that has them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from analyze.ci_schemas import check_junit, check_sarif
from analyze.lint_files import Image, Kernel, written
from analyze.storm_log import firmware, record

from cr3scope.cli.main import main

CAPTURES = Path(__file__).parent.parent / "captures"
FAKE = str(Path(__file__).with_name("fake_qemu.py"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a verb runs, with a capture that will fault, a log of a death, and two kernels."""
    shutil.copy(CAPTURES / "nx-upper-level.serial.log", tmp_path / "serial.log")
    (tmp_path / "int.log").write_text("".join([*firmware(), record(150, 14, 0x11), record(151, 8, 0), "Triple fault\n"]))
    written(tmp_path / "broken.elf", Kernel(entry=0).bytes())
    written(tmp_path / "warned.efi", Image(section_alignment=0x200).bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    return tmp_path


VERBS = {
    "analyze": (["analyze", "serial.log"], ["serial.log"], 1),
    "triage": (["triage", "int.log"], ["int.log"], 1),
    "run": (["run", "-o", "out", "--no-who", "OPTIONS", "--", sys.executable, FAKE, "exit-35"], [Path(sys.executable).name], 1),
    "lint": (["lint", "broken.elf", "warned.efi", "absent"], ["broken.elf", "warned.efi", "absent"], 2),
}
FORMS = ["--junit", "j.xml", "--sarif", "s.json", "--markdown", "m.md", "--github", "--lines"]


def ask(words: list[str], options: list[str]) -> int:
    at = words.index("OPTIONS") if "OPTIONS" in words else len(words)
    return main([*words[:at], *options, *words[at + 1 :]])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_judges_has_all_forms_and_they_are_valid(verb: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, names, status = VERBS[verb]
    assert ask(words, FORMS) == status
    shown = capsys.readouterr().out
    tests = xml.parse("j.xml").getroot()[0]
    assert [test.get("name") for test in tests] == names and {test.get("classname") for test in tests} == {f"cr3scope.{verb}"}
    (run,) = json.loads(Path("s.json").read_text())["runs"]
    assert [each["name"] for each in run["properties"]["judged"]] == names and run["results"]
    assert Path("m.md").read_text().startswith(f"### cr3scope {verb}: ")
    assert shown.startswith("::stop-commands::") and "\n::error " in shown and ": error: " in shown
    check_junit(Path("j.xml"))
    check_sarif(Path("s.json"))


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", ["--junit", "--sarif", "--markdown", "--codequality"])
def test_a_form_for_standard_output_has_it_for_itself(verb: str, form: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, _, status = VERBS[verb]
    assert ask(words, [form, "here"]) == status
    capsys.readouterr()
    assert ask(words, [form, "-"]) == status
    assert capsys.readouterr().out == Path("here").read_text()


@pytest.mark.parametrize(("options", "why"), [
    (["--json", "-", "--junit", "-"], "--json and --junit: both to standard output"),
    (["--sarif", "-", "--github"], "--sarif - and --github: both to standard output"),
    (["--json", "x", "--sarif", "x"], "--json and --sarif: both to x"),
    (["--junit", "x", "--sarif", "./x"], "--junit and --sarif: both to ./x"),
])  # fmt: skip
def test_two_forms_for_one_place_are_refused_before_any_work(options: list[str], why: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, _, _ in VERBS.values():
        assert ask(words, options) == 2
        assert capsys.readouterr() == ("", f"cr3scope: {why}\n")
    assert not Path("out").exists() and not Path("x").exists()


@pytest.mark.parametrize("words", [
    ["analyze", "absent.log", "--name", "boot"], ["triage", "absent.log", "--name", "boot"],
    ["run", "--name", "boot", "OPTIONS", "--", "no-such-qemu"],
])  # fmt: skip
def test_what_cannot_be_used_is_told_in_every_form_and_no_old_report_is_left(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for old in ("j.xml", "s.json", "m.md"):
        Path(old).write_text("an old report that says that all is well")
    assert ask(words, FORMS) == 2
    shown = capsys.readouterr()
    why = shown.err.removeprefix("cr3scope: ").rstrip("\n")
    assert f"::error title=cr3scope%3A boot::{why}\n" in shown.out and f"boot: error: {why} [unusable]\n" in shown.out
    (test,) = xml.parse("j.xml").getroot()[0]
    assert (test[0].tag, test[0].get("message")) == ("error", why)
    (run,) = json.loads(Path("s.json").read_text())["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "could not be judged" in Path("m.md").read_text()
    check_junit(Path("j.xml"))
    check_sarif(Path("s.json"))


def test_a_report_that_cannot_be_written_leaves_the_others_as_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "serial.log", "--sarif", "no/such/s.json", "--junit", "j.xml"]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("WILL FAULT") and shown.err == "cr3scope: no/such/s.json: No such file or directory\n"
    assert xml.parse("j.xml").getroot()[0].get("failures") == "1"


def test_a_name_below_the_checkout_is_the_same_wherever_that_lies(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(here))
    assert main(["analyze", str(here / "serial.log"), "--markdown", "-"]) == 1
    assert "`serial.log` failed" in capsys.readouterr().out


def test_a_healthy_boot_annotates_nothing_and_passes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(CAPTURES / "healthy.serial.log"), "--github", "--junit", "j.xml"]) == 0
    assert "::error" not in capsys.readouterr().out
    assert xml.parse("j.xml").getroot()[0].get("failures") == "0"


def test_rules_lead_to_the_documents_where_somebody_says_where_these_are(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CR3SCOPE_DOCS", "https://docs.example/tree/docs")
    assert main(["analyze", "serial.log", "--sarif", "s.json"]) == 1
    (rule,) = json.loads(Path("s.json").read_text())["runs"][0]["tool"]["driver"]["rules"]
    assert rule["helpUri"] == "https://docs.example/tree/docs/faults.md#nx-upper-level"
    check_sarif(Path("s.json"))


@pytest.mark.slow
def test_a_log_from_a_pipe_has_a_name_and_no_file(here: Path) -> None:
    with Path("int.log").open() as log:
        words = [sys.executable, "-c", "import sys; from cr3scope.cli.main import main; sys.exit(main())", "triage", "-", "--sarif", "s.json"]
        assert subprocess.run(words, stdin=log, stdout=subprocess.DEVNULL, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60).returncode == 1
    (run,) = json.loads(Path("s.json").read_text())["runs"]
    assert run["properties"]["judged"][0]["name"] == "standard input"
    assert all("artifactLocation" not in str(result["locations"]) for result in run["results"])
    check_sarif(Path("s.json"))
