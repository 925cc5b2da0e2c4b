"""The forms for CI and editors: what each holds, and that no name gets out of its place."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from analyze.ci_scenes import EVIL, faulting, hostile, incomplete, unexplained
from analyze.ci_schemas import check_junit, check_sarif, code_quality, lacking

from cr3scope import limits
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.render.ci import codequality, github, junit, lines, markdown, sarif
from cr3scope.render.ci.judged import Judged, State, of_verdict, unusable
from cr3scope.verdict.types import Status, Verdict

COMMAND = re.compile(r"^\s*::(\w[\w-]*)(?: ([^:]*(?:=[^:]*)*))?::(.*)$")


def judged(verdict: Verdict, name: str = "kernel.elf") -> Judged:
    return of_verdict(verdict, name, "run", name)


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """What a runner of GitHub reads (actions/runner, ActionCommand.TryParseV2, and ``##[`` anywhere of its older form)."""
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        assert line.startswith("::"), f"no command begins here: {line!r}"
        info, _, data = line[2:].partition("::")
        name, _, given = info.partition(" ")
        properties = dict(each.split("=", 1) for each in given.split(",")) if given else {}
        found.append((name, {key: _unescaped(value, True) for key, value in properties.items()}, _unescaped(data)))
    return found


def _unescaped(text: str, is_property: bool = False) -> str:
    if is_property:
        text = text.replace("%3A", ":").replace("%2C", ",")
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def test_an_annotation_stands_at_the_line_that_made_the_entry() -> None:
    ((name, properties, data),) = commands(github.render([judged(faulting())]).rstrip("\n"))
    assert (name, properties["file"], properties["line"]) == ("error", "loader/x.c", "87")
    assert properties["title"] == "cr3scope: nx-upper-level"
    assert data.startswith("NX in PML4[511] forbids") and "\nWILL FAULT: #PF" in data and "\nmend: clear NX" in data


def test_a_file_below_the_checkout_is_named_from_there() -> None:
    ((_, properties, _),) = commands(github.render([judged(faulting("/work/tree/loader/x.c:87"))], "/work/tree").rstrip("\n"))
    assert properties["file"] == "loader/x.c"
    ((_, properties, _),) = commands(github.render([judged(faulting("/work/other/x.c:87"))], "/work/tree").rstrip("\n"))
    assert properties["file"] == "/work/other/x.c"


def test_nothing_is_annotated_of_what_is_well_and_something_of_what_no_rule_explains() -> None:
    assert github.render([judged(Verdict(Status.HEALTHY))]) == ""
    for verdict, words in ((unexplained(), "HUNG: the guest has not said"), (incomplete(), "INCOMPLETE: line 7")):
        ((name, _, data),) = commands(github.render([judged(verdict)]).rstrip("\n"))
        assert name == "error" and data.startswith(words)


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_begins_a_command_or_leaves_its_own(evil: str) -> None:
    read = commands(github.render([judged(hostile(evil), evil)]).rstrip("\n"))
    assert [name for name, _, _ in read] == ["error", "warning"]
    assert set(read[0][1]) == {"file", "line", "title"} and set(read[1][1]) == {"title"}
    assert read[0][1]["line"] == "7"


def test_what_is_printed_beside_annotations_stands_where_commands_are_off() -> None:
    first, *body, last, end = github.silenced(judged(hostile("\n ::error::x")).report).split("\n")
    word = first.removeprefix("::stop-commands::")
    assert end == "" and last == f"::{word}::" and len(word) == 32 and word not in "".join(body)
    assert github.silenced("x\n") != github.silenced("x\n"), "a word that can be guessed turns them on again"


def test_an_annotation_of_a_long_message_is_cut() -> None:
    assert len(github.render([judged(hostile("x" * 100_000))])) < 5 * limits.ANNOTATION_CHARACTERS + 200_000
    longest = max(len(data) for _, _, data in commands(github.render([judged(hostile("x" * 100_000))]).rstrip("\n")))
    assert longest == limits.ANNOTATION_CHARACTERS


def test_junit_has_one_test_for_each_thing_and_its_counts() -> None:
    results = [judged(Verdict(Status.HEALTHY), "a"), judged(faulting(), "b"), judged(incomplete(), "c"), unusable("d", "run", None, "no\nsuch file")]
    suites = xml.fromstring(junit.render(results))
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    assert [(test.get("name"), test[0].tag) for test in suite] == [("a", "system-out"), ("b", "failure"), ("c", "error"), ("d", "error")]
    failure = suite[1][0]
    assert failure.get("type") == "nx-upper-level" and str(failure.get("message")).startswith("WILL FAULT: #PF")
    assert "loader/x.c:87" in str(failure.text)
    assert suite[3][0].get("message") == "no such file"


@pytest.mark.parametrize("evil", EVIL)
def test_junit_stays_xml_whatever_a_guest_says(evil: str) -> None:
    text = junit.render([judged(hostile(evil), evil)])
    (test,) = xml.fromstring(text.encode())[0]
    assert [each.tag for each in test] == ["failure"]
    assert test[0].text == judged(hostile(evil)).report


def of_run(*results: Judged, **named: str) -> dict[str, Any]:
    (run,) = json.loads(sarif.render(results, **named))["runs"]
    return dict(run)


def test_sarif_has_the_line_the_entry_and_the_rule() -> None:
    run = of_run(judged(faulting()), docs="https://docs.example/cr3scope/")
    (result,) = run["results"]
    (rule,) = run["tool"]["driver"]["rules"]
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "loader/x.c", "uriBaseId": "%SRCROOT%"} and physical["region"]["startLine"] == 87
    assert physical["address"]["name"] == "PML4[511]" and physical["address"]["length"] == 8
    assert result["level"] == "error" and run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "nx-upper-level"
    assert rule["shortDescription"]["text"] == BY_ID["nx-upper-level"].title
    assert rule["helpUri"] == "https://docs.example/cr3scope/faults.md#nx-upper-level"
    assert run["invocations"][0]["exitCode"] == 1


def test_sarif_of_another_build_has_the_same_fingerprint_and_of_another_entry_another() -> None:
    def mark(verdict: Verdict) -> str:
        return str(of_run(judged(verdict))["results"][0]["partialFingerprints"])

    assert mark(faulting("loader/x.c:87")) == mark(faulting("loader/x.c:99")) != mark(faulting("loader/y.c:87"))


def test_sarif_of_what_no_rule_explains_is_not_a_clean_one() -> None:
    (result,) = of_run(judged(unexplained()))["results"]
    assert result["level"] == "error" and result["message"]["text"].startswith("HUNG:")
    run = of_run(judged(incomplete()))
    assert run["results"] == [] and run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["toolExecutionNotifications"][0]["level"] == "error"


@pytest.mark.parametrize("evil", EVIL)
def test_sarif_makes_no_link_of_a_name(evil: str) -> None:
    run = of_run(judged(hostile(evil), evil))
    for result in run["results"]:
        assert not re.search(r"(?<!\\)\]\(", result["message"]["text"])
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w./~%-]+", uri), uri


def test_sarif_has_no_placeholder_for_an_argument_that_it_does_not_give() -> None:
    texts = [result["message"]["text"] for result in of_run(judged(hostile("a{0}b")))["results"]]
    assert any("a{{0}}b" in text for text in texts) and not any(re.search(r"(?<!\{)\{[0-9]", text) for text in texts)


def test_lines_are_those_of_a_compiler() -> None:
    assert lines.render([judged(faulting())]).startswith("loader/x.c:87: error: NX in PML4[511] forbids")
    assert lines.render([judged(faulting(None))]).startswith("kernel.elf: error: ")
    assert lines.render([judged(unexplained())]) == "kernel.elf: error: HUNG: the guest has not said what was expected [hung]\n"
    assert all(line.count("\n") <= 1 for line in lines.render([judged(hostile("\n"))]).splitlines(keepends=True))
    assert lines.render([judged(hostile("\nx.c:1: error: y"))]).count("\n") == 2


def test_markdown_says_what_where_and_the_mend_and_is_always_the_same() -> None:
    text = markdown.render([judged(faulting())])
    assert text == markdown.render([judged(faulting())])
    assert text.startswith("### cr3scope run: WILL FAULT: #PF")
    assert "- source: `loader/x.c:87`" in text and "   - mend: clear NX (bit 63) of PML4" in text and "(`nx-upper-level`)" in text


def _outside_code(text: str) -> str:
    """What of a Markdown text is no code (CommonMark 0.31, 4.5 fenced code blocks and 6.1 code spans)."""
    kept, fence = [], ""
    for line in text.split("\n"):
        mark = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == "`" * len(line.rstrip()) and len(line.rstrip()) >= len(fence) else fence
        elif mark:
            fence = mark[0]
        else:
            kept.append(line)
    assert not fence, "a block of code has no end"
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", "\n".join(kept))


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_that_a_guest_says_breaks_out_of_markdown(evil: str) -> None:
    text = markdown.render([judged(hostile(evil), evil)])
    outside = _outside_code(text)
    for sign in ("evil", "script", "owned", "@", "<img", "onerror", "add-mask", "\x1b", "\0", "`"):
        assert sign not in outside, (sign, outside)
    assert outside.count("<") == outside.count("<details><summary>") * 2 + outside.count("</summary>") + outside.count("</details>")


@pytest.mark.slow
def test_markdown_fits_into_an_issue_and_says_what_it_leaves_out() -> None:
    many = [judged(hostile("`" + "y" * 3000), str(number)) for number in range(100)]
    text = markdown.render(many)
    assert len(text) < 65_536 and re.search(r"\n\d+ more are left out\n", text)
    _outside_code(text)
    alone = markdown.render([judged(hostile("z" * 70_000))])
    assert len(alone) < 65_536 and "more characters are left out" in alone


def test_markdown_of_many_tells_first_what_is_wrong() -> None:
    text = markdown.render([judged(Verdict(Status.HEALTHY), "good"), judged(faulting(), "bad")])
    assert text.index("`bad` failed") < text.index("`good` passed")


def test_every_state_is_an_exit_status() -> None:
    assert [judged(each).state for each in (Verdict(Status.HEALTHY), faulting(), incomplete())] == [State(0), State(1), State(2)]


@pytest.mark.skipif(bool(lacking()), reason=lacking())
def test_what_an_enemy_says_is_valid_by_the_published_schemas(tmp_path: Path) -> None:
    results = [judged(hostile(evil), evil) for evil in EVIL]
    (tmp_path / "j.xml").write_text(junit.render(results), encoding="utf-8")
    (tmp_path / "s.json").write_text(sarif.render(results, docs="https://docs.example"))
    check_junit(tmp_path / "j.xml")
    check_sarif(tmp_path / "s.json")


def test_code_quality_has_the_line_the_rule_and_the_mend() -> None:
    (issue,) = code_quality(codequality.render([judged(faulting("/work/tree/loader/x.c:87"))], "/work/tree"))
    assert issue["location"] == {"path": "loader/x.c", "lines": {"begin": 87}}
    assert (issue["check_name"], issue["severity"]) == ("nx-upper-level", "critical")
    assert issue["description"].startswith("NX in PML4[511] forbids") and "; mend: clear NX (bit 63) of PML4[511]" in issue["description"]
    assert "no line is known" not in issue["description"]


def test_code_quality_says_where_no_line_is_known() -> None:
    (issue,) = code_quality(codequality.render([judged(faulting(None), "./build/kernel.elf")]))
    assert issue["location"] == {"path": "build/kernel.elf", "lines": {"begin": 1}}
    assert issue["description"].endswith("(no line is known)")


def test_code_quality_of_what_no_rule_explains_is_not_a_clean_one() -> None:
    told = code_quality(codequality.render([judged(unexplained()), judged(incomplete()), unusable("-", "triage", None, "no\nsuch file")]))
    assert [each["check_name"] for each in told] == ["hung", "incomplete", "unusable"]
    assert {each["severity"] for each in told} == {"critical"} and told[2]["location"]["path"] == "-"
    assert code_quality(codequality.render([judged(Verdict(Status.HEALTHY))])) == []


def test_code_quality_knows_a_mistake_again_and_two_of_a_kind_apart() -> None:
    def marks(verdict: Verdict) -> list[str]:
        return [each["fingerprint"] for each in code_quality(codequality.render([judged(verdict)]))]

    assert marks(faulting("loader/x.c:87")) == marks(faulting("loader/x.c:99")) != marks(faulting("loader/y.c:87"))
    verdict = faulting()
    twice = replace(verdict, findings=verdict.findings * 2)
    assert marks(twice)[0] == marks(verdict)[0] and len(set(marks(twice))) == 2


@pytest.mark.parametrize("evil", EVIL)
def test_code_quality_stays_what_it_is_whatever_a_guest_says(evil: str) -> None:
    text = codequality.render([judged(hostile(evil), evil)])
    assert [each["check_name"] for each in code_quality(text)] == ["nx-leaf-code"] * 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", json.loads(text)[0]["description"])
