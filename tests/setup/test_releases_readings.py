"""`make releases`: what is read from the programs' output, and the table that is made of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from boot.reference import ROOT
from release_matrix import outcome, readings, table
from release_matrix.outcome import STEPS, Outcome, Step
from release_matrix.readings import Counts, Skip, Verdict


@pytest.mark.parametrize(("log", "counts"), [
    ("....\n2943 passed, 8 failed in 834.12s (0:13:54)\n", Counts(2943, 8, 0)),
    ("== 1 failed, 2 passed, 3 skipped, 4 warnings, 2 errors in 0.50s ==\n", Counts(2, 3, 3)),
    ("1 error in 0.31s\n", Counts(0, 1, 0)),
    ("5 passed in 1.00s\nbuilding\n7 passed, 1 skipped in 2.00s\n", Counts(7, 0, 1)),
    ("12 passed, 1 xfailed, 1 xpassed, 3 deselected in 9.99s\n", Counts(12, 0, 0)),
    ("check: 85 breaches\nmake: *** [Makefile:79: test] Error 2\n", None),
    ("no tests ran in 0.01s\n", None),
    ("we saw that 3 passed in 1.00s\n", None),
    ("", None),
])  # fmt: skip
def test_tests_are_counted_by_pytest_s_closing_line(log: str, counts: Counts | None) -> None:
    assert readings.counts(log) == counts


def test_a_real_closing_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert 0\n"
        "@pytest.mark.skip(reason='no such machine: here')\n"
        "def test_c(): pass\n")  # fmt: skip
    done = subprocess.run([ROOT / "scripts/boot/python", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", tmp_path],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert readings.counts(done.stdout) == Counts(1, 1, 1), done.stdout
    (skip,) = readings.skips(done.stdout)
    assert (skip.count, skip.place.split(":")[0], skip.reason) == (
        1,
        "test_three.py",
        "no such machine: here",
    )


def test_versions_are_what_the_programs_print() -> None:
    printed = "\n".join((
        "gcc\tx86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
        "ld\tGNU ld (GNU Binutils for Debian) 2.45.50.20251201",
        "QEMU\tQEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)",
        "clang\tDebian clang version 19.1.7 (3+b1)",
        "OVMF\t2025.02",
        "mypy\t", "nonsense\t1.2", "a line without a tab 3.4", "",
    ))  # fmt: skip
    assert readings.versions(printed) == {
        "gcc": "12.2.0",
        "ld": "2.45.50.20251201",
        "QEMU": "7.2.22",
        "clang": "19.1.7",
        "OVMF": "2025.02",
    }


@pytest.mark.slow
def test_this_machine_tells_its_versions_by_the_same_script() -> None:
    done = subprocess.run(
        ["sh", "-c", readings.versions_script()], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"clang", "QEMU", "gdb", "Python", "numpy", "mypy", "pytest"} <= set(
        readings.versions(done.stdout)
    )


@pytest.mark.parametrize(("history", "seconds"), [
    ("", 0),
    ("Start-Date: 2026-01-02  23:59:50\nCommandline: apt-get install x\nInstall: x:amd64 (1)\nEnd-Date: 2026-01-03  00:00:05\n", 15),
    ("Start-Date: 2026-01-02  10:00:00\nEnd-Date: 2026-01-02  10:00:30\n\n"
     "Start-Date: 2026-01-02  11:00:00\nEnd-Date: 2026-01-02  11:00:12\n", 42),
    ("Start-Date: 2026-01-02  10:00:00\n", 0),
    ("End-Date: 2026-01-02  10:00:00\nStart-Date: yesterday\nEnd-Date: 2026-01-02  10:00:00\n", 0),
])  # fmt: skip
def test_unpacking_is_timed_by_apt_s_own_history(history: str, seconds: int) -> None:
    assert readings.installing_seconds(history) == seconds


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"verdict": "healthy"}', '{"verdict": "x", "findings": [3]}']
)
def test_a_verdict_that_cannot_be_read_is_no_verdict(text: str, tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(text)
    assert readings.verdict(tmp_path / "verdict.json") .status == ""
    assert readings.verdict(tmp_path / "none.json").status == ""


def test_a_verdict_tells_status_and_rules(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(
        json.dumps({"verdict": "faulted", "agreement": True, "findings": [{"rule": "a"}, {"rule": "b"}]})
    )
    assert readings.verdict(tmp_path / "verdict.json") == Verdict("faulted", True, frozenset("ab"))


# --- the table ---------------------------------------------------------------------------------------------------


def passed(name: str, folder: Path) -> Outcome:
    said = {
        "root": "made",
        "run-trace": "HEALTHY",
        "flagship": "FAULTED, nx-upper-level",
        "tests": "9 passed, 0 failed, 1 skipped",
    }
    return Outcome(
        name, steps={step: Step(True, said[step], folder / f"{name}.{step}.log") for step in STEPS},
        versions={"gcc": "12.2.0"}, counts=Counts(9, 0, 1), skips=(Skip(1, "tests/a.py:3", "no 1 GiB pages"),),
        set_up_seconds=61.4, run_trace_seconds=20.0, tests_seconds=80.6,
    )  # fmt: skip


def cells(text: str) -> dict[str, list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows}


def test_the_table_has_a_column_for_each_release(tmp_path: Path) -> None:
    broken = Outcome("sid", steps={"root": Step(False, "debootstrap failed (1)", tmp_path / "sid.root.log")})
    again = passed("trixie", tmp_path)
    again.reused, again.skips = True, ()
    text = table.render([passed("bookworm", tmp_path), again, broken], "make quick")
    told = cells(text)
    assert told[""] == ["bookworm", "trixie", "sid"]
    assert told["gcc"] == ["12.2.0", "12.2.0", "-"]
    assert told["`make run-trace`"] == ["HEALTHY", "HEALTHY", "-"]
    assert told["`make quick`"] == ["9 passed, 0 failed, 1 skipped"] * 2 + ["-"]
    assert told["seconds: `make quick`"] == ["81", "81", "-"]
    assert told["seconds: root, downloads and the tests' packages"] == ["61", "61 (root from before)", "-"]
    assert text.endswith("\nSkipped:\n\n- bookworm: 1 at `tests/a.py:3`: no 1 GiB pages\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_a_failed_step_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "sid.tests.log"
    log.write_text("".join(f"line {number}\n" for number in range(30)))
    failed = passed("sid", tmp_path)
    failed.steps["tests"] = Step(False, "8 passed, 1 failed, 0 skipped", log)
    assert table.failures([passed("trixie", tmp_path), failed], last_lines=2) == (
        f"sid: tests failed; the end of {log}:\n    line 28\n    line 29\n"
    )
    assert table.failures([passed("trixie", tmp_path)]) == ""


def test_only_all_steps_of_all_releases_are_success(tmp_path: Path) -> None:
    assert outcome.exit_status([passed("trixie", tmp_path), passed("sid", tmp_path)]) == 0
    assert outcome.exit_status([]) == 1
    for step in STEPS:
        failed = passed("sid", tmp_path)
        failed.steps[step] = Step(False, "", tmp_path / "log")
        assert outcome.exit_status([passed("trixie", tmp_path), failed]) == 1
        unreached = passed("sid", tmp_path)
        del unreached.steps[step]
        assert outcome.exit_status([unreached]) == 1
