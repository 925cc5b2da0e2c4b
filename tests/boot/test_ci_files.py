"""`action.yml`, the job for GitLab and the files for VS Code: their steps are carried out as who reads them does, on kernels that boot in a moment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import signal
import stat
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import pytest
from analyze.ci_schemas import code_quality
from analyze.lint_files import kernel_32, written
from boot.test_linted_kernels import ABORT, FUNCTIONS, MAIN

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
CI = ROOT / "docs" / "ci"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
QEMU = "qemu-system-x86_64 -display none -kernel"
_EXPRESSION = re.compile(r"\$\{\{ *([a-z_.]+) *\}\}")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    written(tmp_path / "dead.elf", kernel_32(ABORT + MAIN, FUNCTIONS, entry=0, undefined=("_start",)))
    return tmp_path


def act(folder: Path, step: dict[str, Any], path: str = os.environ["PATH"], **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str], str]:
    """Carry out a step of the action: what it printed, its outputs, the job's summary."""
    given = {name: about["default"] for name, about in ACTION["inputs"].items()} | inputs
    values = {f"inputs.{name}": value for name, value in given.items()} | {"github.action_repository": "owner/cr3scope", "github.action_ref": "v1"}
    files = {"GITHUB_OUTPUT": folder / "outputs", "GITHUB_STEP_SUMMARY": folder / "step-summary"}
    for file in files.values():
        file.write_text("")
    environment = {name: _EXPRESSION.sub(lambda match: values[match[1]], text) for name, text in step.get("env", {}).items()}
    assert "${{" not in step["run"], "an input in the text of a script is executed"
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], cwd=folder, capture_output=True, text=True, timeout=120, env={
        **os.environ, "PATH": path, "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_WORKSPACE": str(folder), **environment, **{name: str(file) for name, file in files.items()},
    })  # fmt: skip
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return done, outputs, files["GITHUB_STEP_SUMMARY"].read_text()


INSTALL, BOOT = ACTION["runs"]["steps"]


@pytest.mark.quick
def test_the_action_boots_lints_annotates_and_tells_what_became_of_it(here: Path) -> None:
    done, outputs, summary = act(here, BOOT, command=f"{QEMU} dead.elf", files="dead.elf", elf="dead.elf", options="--no-who --timeout 20", name="the boot")
    assert done.returncode == 1, done.stderr
    assert outputs == {"status": "1", "verdict": "faulted", "rule": "wrong-entry", "folder": "cr3scope-run"}
    assert set(outputs) == set(ACTION["outputs"])
    assert done.stdout.count("\n::error title=cr3scope%3A wrong-entry::") == 2, done.stdout
    assert "### cr3scope lint: " in summary and "### cr3scope run: FAULTED: #UD" in summary and "`the boot` failed" in summary
    made = here / "cr3scope-run"
    assert {"verdict.json", "report.html", "junit.xml", "cr3scope.sarif", "summary.md", "lint.json", "lint.xml", "lint.sarif", "serial.log"} <= set(os.listdir(made))
    rules = json.loads((made / "cr3scope.sarif").read_text())["runs"][0]["tool"]["driver"]["rules"]
    assert rules[0]["helpUri"].startswith("https://github.com/owner/cr3scope/blob/v1/docs/faults.md#")


@pytest.mark.parametrize(("inputs", "why"), [
    ({}, "neither `command` nor `files` is given"), ({"command": "qemu 'x"}, "`command`: No closing quotation"),
    ({"files": "x", "name": "a\nb"}, "`name` is more than one line of text"), ({"command": "no-such-qemu"}, "no-such-qemu"),
])  # fmt: skip
def test_what_the_action_cannot_use_is_an_annotation_and_status_2(inputs: dict[str, str], why: str, here: Path) -> None:
    done, outputs, _ = act(here, BOOT, **inputs)
    assert done.returncode == 2 and re.search(rf"^::error title=[^:]*::.*{re.escape(why)}", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert outputs.get("verdict", "unusable") == "unusable" and "Traceback" not in done.stderr


def test_no_input_is_executed_and_no_old_verdict_is_told(here: Path) -> None:
    (here / "cr3scope-run").mkdir()
    (here / "cr3scope-run/verdict.json").write_text('{"verdict": "healthy", "findings": []}')
    done, outputs, _ = act(here, BOOT, files="'$(touch owned)' `touch owned`;touch owned", command="no-such-qemu $(touch owned)")
    assert done.returncode == 2 and outputs["verdict"] == "unusable" and not (here / "owned").exists()


def test_the_action_installs_what_the_project_lists(here: Path) -> None:
    said = here / "said"
    for name in ("apt-get", "sudo"):
        (here / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{said}\n')
        (here / name).chmod(0o755)
    assert INSTALL["if"] == "inputs.install == 'true'"
    done, _, _ = act(here, INSTALL, f"{here}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    update, install = said.read_text().splitlines()
    assert update.endswith("apt-get update -q")
    assert set(shlex.split(install)) >= {"qemu-system-x86", "ovmf", "python3", "python3-numpy", "python3-capstone", "--no-install-recommends"}


def test_the_job_for_gitlab_boots_and_reports_its_test(here: Path) -> None:
    document = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    job = document["boot"]
    (here / "Makefile").write_text("kernel.elf:\n\tcp dead.elf kernel.elf\n")
    environment = {**os.environ, **document["variables"], "CR3SCOPE": str(ROOT), "CI_COMMIT_REF_NAME": "a branch"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(job["script"])], cwd=here, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1 and "FAULTED: #UD" in done.stdout, done.stderr
    (test,) = xml.parse(here / job["artifacts"]["reports"]["junit"]).getroot()[0]
    assert (test.get("name"), test[0].tag) == ("boot of a branch", "failure")
    issues = code_quality((here / job["artifacts"]["reports"]["codequality"]).read_text())
    assert issues[0]["check_name"] == "wrong-entry" and issues[0]["severity"] == "critical"
    assert any((here / "boot").samefile(here / path) for path in job["artifacts"]["paths"])
    assert job["before_script"][-1].removeprefix("$CR3SCOPE/") == "scripts/ci/install" and os.access(ROOT / "scripts/ci/install", os.X_OK)


def tasks() -> dict[str, dict[str, Any]]:
    return {task["label"]: task for task in json.loads((CI / "tasks.json").read_text())["tasks"]}


def matched(task: dict[str, Any], line: str) -> list[dict[str, str]]:
    """What VS Code reads of a line by the matchers of a task."""
    found = []
    for pattern in (matcher["pattern"] for matcher in task["problemMatcher"]):
        match = re.search(pattern["regexp"], line)
        if match:
            found.append({name: match[group] for name, group in pattern.items() if isinstance(group, int)})
    return found


@pytest.mark.parametrize("label", ["cr3scope: boot", "cr3scope: lint"])
def test_the_problem_matchers_of_vs_code_know_each_finding_and_nothing_else(label: str, here: Path) -> None:
    task = tasks()[label]
    assert task["command"] == "cr3scope"
    words = [word.replace("build/kernel.elf", "dead.elf") for word in task["args"]]
    done = subprocess.run([ROOT / "scripts/cr3scope", *words], cwd=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    read = [each for line in done.stdout.splitlines() for each in matched(task, line)]
    assert [each["code"] for each in read if each["severity"] == "error"][0] == "wrong-entry"
    assert len(read) == len(re.findall(r"^dead.elf: ", done.stdout, re.MULTILINE)) - (task["args"][0] == "lint"), "the head line of lint is no finding"
    assert all(each["file"] == "dead.elf" for each in read)
    line = "loader/x.c:87: error: NX in PML4[511] forbids execution [nx-upper-level]"
    assert matched(task, line) == [{"file": "loader/x.c", "line": "87", "severity": "error", "message": "NX in PML4[511] forbids execution", "code": "nx-upper-level"}]
    assert matched(task, "  seen  log: x: error: y [z]") == []


def test_vs_code_debugs_a_guest_that_stands_and_is_gone_afterwards(here: Path) -> None:
    """The words of the task start it, those of `launch.json` load the commands into gdb; both on a port of this test's own.

    QEMU 10 and later outlive gdb's `kill` where they were told not to shut down: the guest then held the port of the next one.
    """
    (launch,) = json.loads((CI / "launch.json").read_text())["configurations"]
    task = tasks()[launch["preLaunchTask"]]
    socket = here / "gdb.sock"
    assert f"tcp:{launch['miDebuggerServerAddress']}" in task["args"]
    words = [word.replace("build/kernel.elf", "dead.elf").replace("tcp:127.0.0.1:1234", f"unix:{socket},server=on,wait=off") for word in task["args"]]
    (here / "build").mkdir(exist_ok=True)
    subprocess.run([task["command"], *words], cwd=here, timeout=30, check=True)
    guest = os.pidfd_open(int((here / "build/qemu.pid").read_text()))
    try:
        assert stat.S_ISSOCK(socket.stat().st_mode), "gdb may connect as soon as the task is over"
        setup = [one["text"].replace("${workspaceFolder}/tools/cr3scope", str(ROOT)) for one in launch["setupCommands"]]
        commands = [*setup, f"target remote {socket}", "help cr3scope", "kill"]
        done = subprocess.run(["gdb", "-nx", "-batch", *(word for line in commands for word in ("-ex", line)), "dead.elf"], cwd=here, capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        # Of a QEMU that is gone before gdb has asked for the last time gdb complains.
        assert re.search(r"^0x0*fff0 in ", done.stdout, re.MULTILINE) and "cr3scope walk" in done.stdout, done.stdout + done.stderr
        end = tasks()[launch["postDebugTask"]]
        subprocess.run([end["command"], *end["args"]], cwd=here, timeout=30, check=True)
        assert select.select([guest], [], [], 20)[0], "20 s after it was ended the guest is still there"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(guest, signal.SIGKILL)
        os.close(guest)
