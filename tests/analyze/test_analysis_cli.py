"""``cr3scope analyze`` and ``cr3scope explain``, as a user calls them, on captures of real boots."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cr3scope.cli.main import main
from cr3scope.diagnose.catalogue import RULES

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
HEALTHY = CAPTURES / "healthy.serial.log"
NX = CAPTURES / "nx-upper-level.serial.log"


def test_a_healthy_capture_exits_0_in_one_breath(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(HEALTHY)]) == 0
    assert capsys.readouterr().out.startswith("HEALTHY: every step of the plan goes through")


def test_a_faulty_capture_exits_1_and_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(NX)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(
        "WILL FAULT: #PF (error 0011: instruction fetch, present) "
        "at the first instruction after mov cr3\n"
    )
    assert "PML4[0] at 0x" in out


def test_json_on_standard_output_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(NX), "--json", "-"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert found["verdict"] == "will-fault"
    assert found["findings"][0]["rule"] == "nx-upper-level"
    assert found["prediction"]["ends"] == "storm"


def test_json_into_a_file_leaves_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "verdict.json"
    assert main(["analyze", str(HEALTHY), "--json", str(target)]) == 0
    assert json.loads(target.read_text())["verdict"] == "healthy"
    assert capsys.readouterr().out.startswith("HEALTHY")


def test_a_capture_that_was_cut_is_never_healthy(tmp_path: Path) -> None:
    whole = HEALTHY.read_bytes()
    cut = tmp_path / "cut.log"
    for length in range(0, len(whole) - 200, 997):
        cut.write_bytes(whole[:length])
        assert main(["analyze", str(cut)]) != 0, length


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze", "/nonexistent/x"], "/nonexistent/x: No such file or directory"),
        (["analyze", str(HEALTHY), "--elf", "/nonexistent/x"], "/nonexistent/x: No such file"),
        (["analyze", str(HEALTHY), "--elf", str(HEALTHY)], "not an ELF file"),
        (["analyze", str(HEALTHY), "--log", "/nonexistent/x"], "/nonexistent/x"),
        (["analyze", str(HEALTHY), "--json", "/nonexistent/x"], "/nonexistent/x: No such file"),
    ],
)
def test_unusable_input_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_directory_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_explain_lists_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(rule.id for rule in RULES)


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_explain_tells_why_how_it_looks_and_what_to_do(
    rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", rule]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{rule} (")
    for heading in ("Why", "In a log", "Mend", "Manual"):
        assert f"\n{heading} " in out
    assert max(map(len, out.splitlines())) <= 100


def test_explain_of_an_unknown_rule_offers_close_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nx-uper-level"]) == 2
    err = capsys.readouterr().err
    assert "no rule nx-uper-level; did you mean nx-upper-level" in err


def test_explain_cannot_be_made_to_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_the_whole_run_works_from_a_checkout(tmp_path: Path) -> None:


    command = CAPTURES.parent.parent / "scripts/cr3scope"
    done = subprocess.run(
        [command, "analyze", HEALTHY, "--json", "-"], capture_output=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "cr3scope.verdict/1"


def test_explain_as_json_has_every_rule_with_all_its_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "cr3scope.diagnose.catalogue/1"
    assert {rule["id"] for rule in report["rules"]} == {rule.id for rule in RULES}
    assert all(rule[name] for rule in report["rules"] for name in ("title", "reason", "fix", "severity"))


def test_explain_of_one_rule_as_json_is_that_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nx-upper-level", "--json", "-"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)["rules"]
    assert (rule["id"], rule["severity"]) == ("nx-upper-level", "error")
