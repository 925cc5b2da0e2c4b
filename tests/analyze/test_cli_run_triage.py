"""The verbs `run` and `triage` as a person or a script meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from analyze.storm_log import NEW_CR3, SWITCH, TRIPLE, firmware, record, storm

from cr3scope.cli.main import main
from cr3scope.cli.run_verdict import judge_run
from cr3scope.qemu.outcome import Outcome
from cr3scope.verdict.types import Status

FAKE = str(Path(__file__).with_name("fake_qemu.py"))
PACKAGE = Path(__file__).parents[2] / "scripts/analyze"


def play(folder: Path, scenario: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON verdict of a run of the stand-in."""
    target = folder / "verdict.json"
    words = ["run", "-o", str(folder / "run"), "--json", str(target), *options]
    status = main([*words, "--", sys.executable, FAKE, scenario])
    return status, json.loads(target.read_text())


def triage(path: Path, pieces: Iterator[str] | list[str], *options: str) -> int:
    path.write_text("".join(pieces))
    return main(["triage", str(path), *options])


def test_guest_that_exits_with_pass_is_healthy(tmp_path: Path) -> None:
    status, verdict = play(tmp_path, "exit-33")
    assert (status, verdict["verdict"]) == (0, "healthy")
    assert verdict["observation"]["outcome"] == "ran"


def test_guest_that_exits_with_fail_is_not_healthy(tmp_path: Path) -> None:
    status, verdict = play(tmp_path, "exit-35")
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert [f["rule"] for f in verdict["findings"]] == ["kernel-check-failed"]


@pytest.mark.parametrize("scenario", ["storm", "finite-storm"])
def test_storm_is_faulted_and_its_first_record_kept(tmp_path: Path, scenario: str) -> None:
    status, verdict = play(tmp_path, scenario)
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert verdict["observation"]["outcome"] == "storm"
    assert verdict["observation"]["first"]["vector"] == 14
    assert (tmp_path / "run/interrupts.log").stat().st_size < 16 << 20


def test_guest_that_hangs_is_told_with_its_registers(tmp_path: Path) -> None:
    status, verdict = play(tmp_path, "silent")
    assert (status, verdict["verdict"]) == (1, "hung")
    assert verdict["observation"]["outcome"] == "hang"
    detail = verdict["observation"]["detail"]
    assert "RIP=0xabcde" in detail and "interrupts off" in detail
    assert verdict["observation"]["standing"] == {
        "cpu": 0, "rip": "0xabcde", "halted": True, "interrupts_on": False,
    }  # fmt: skip
    assert [f["rule"] for f in verdict["findings"]] == ["hang-hlt"]
    assert "RIP =0x00000000000abcde" in (tmp_path / "run/machine.txt").read_text()


def test_logs_that_the_command_itself_wanted_are_copied(tmp_path: Path) -> None:
    own, lost = tmp_path / "own.log", tmp_path / "no-folder/own.log"
    words = ["run", "-o", str(tmp_path), "--json", str(tmp_path / "v.json"), "--"]
    assert main([*words, sys.executable, FAKE, "exit-33", "-D", str(own)]) == 0
    assert own.read_bytes() == (tmp_path / "interrupts.log").read_bytes() != b""
    assert main([*words, sys.executable, FAKE, "exit-33", "-D", str(lost)]) == 0
    told = json.loads((tmp_path / "v.json").read_text())["diagnostics"]
    assert any(str(lost) in d["message"] for d in told)


def test_program_that_never_calls_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.qemu.guest.CALL_SECONDS", 0.5)
    assert main(["run", "-o", str(tmp_path), "--", sys.executable, FAKE, "never-calls"]) == 2
    error = capsys.readouterr().err
    assert "no QEMU called" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [("prelaunch", "the guest never ran: -S"), ("inmigrate", "the guest never ran: -incoming"),
     ("paused", 'QEMU says "paused"'), ("debug", 'QEMU says "debug"'), ("postmigrate", 'QEMU says "postmigrate"')],
)  # fmt: skip
def test_guest_that_does_not_run_is_not_judged(tmp_path: Path, state: str, words: str) -> None:
    """One that waited for another machine's memory, or that somebody had stopped, was HEALTHY: \"running\" when the time was up."""
    status, verdict = play(tmp_path, f"busy-state-{state}", "--timeout", "1")
    assert (status, verdict["verdict"]) == (2, "incomplete")
    assert words in verdict["diagnostics"][0]["message"]
    assert verdict["observation"] is None


@pytest.mark.parametrize(("scenario", "rule"), [("reset-unlogged", "reset-untold"), ("reset-emulated", "asked-for-reset")])
def test_a_reset_that_nobody_logs_is_no_triple_fault(tmp_path: Path, scenario: str, rule: str) -> None:
    status, verdict = play(tmp_path, scenario)
    assert (status, verdict["verdict"], verdict["observation"]["outcome"]) == (1, "faulted", "ran")
    assert [found["rule"] for found in verdict["findings"]] == [rule]


@pytest.mark.parametrize("scenario", ["busy-state-suspended", "state-suspended"], ids=["at work", "halted"])
def test_guest_that_sleeps_is_told_as_asleep(tmp_path: Path, scenario: str) -> None:
    """One that was halted with interrupts off was HUNG: it can be woken."""
    status, verdict = play(tmp_path, scenario, "--timeout", "1")
    assert (status, verdict["verdict"]) == (0, "healthy")
    assert "asleep (ACPI S3) at RIP=" in verdict["observation"]["detail"]


def test_watchdog_that_resets_is_named(tmp_path: Path) -> None:
    status, verdict = play(tmp_path, "barks-reset")
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert [f["rule"] for f in verdict["findings"]] == ["watchdog-reset"]


def test_screen_of_the_firmware_is_an_observation_where_the_log_has_none(tmp_path: Path) -> None:
    status, verdict = play(tmp_path, "screen")
    assert (status, verdict["verdict"]) == (1, "faulted")
    first = verdict["observation"]["first"]
    assert (first["error_code"], first["cr2"]) == (2, "0xffff900000000000")


def test_a_panic_is_the_answer_and_not_the_exceptions_that_were_handled_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, verdict = play(tmp_path, "panic")
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert [f["rule"] for f in verdict["findings"]] == ["kernel-panic"]
    assert verdict["observation"]["outcome"] == "ran"
    assert verdict["observation"]["first"]["vector"] == 14
    assert verdict["observation"]["said"][-1] == "Kernel panic - not syncing: no init"
    text = capsys.readouterr().out
    assert text.startswith("FAULTED: the kernel gave up: no init\n")
    assert "\n  said  all was well\n" in text


@pytest.mark.parametrize("ending", [[TRIPLE], []], ids=["triple fault", "handled"])
def test_what_only_begins_like_a_record_hides_no_death(tmp_path: Path, ending: list[str]) -> None:
    """Any guest can print it; of one that lives the damage of its capture is still the answer."""
    log = tmp_path / "interrupts.log"
    log.write_text("".join([*firmware(), record(150, 6), *ending]))
    verdict = judge_run(b"@c3s1 0 begin producer={0}\n", log, (), Outcome(started=True))
    assert verdict.status is (Status.FAULTED if ending else Status.INCOMPLETE)
    assert "damaged record" in str(verdict.diagnostics[0].message)


def test_a_healthy_guest_is_not_quoted(tmp_path: Path) -> None:
    _, verdict = play(tmp_path, "exit-33")
    assert verdict["observation"]["said"] == []


def test_files_of_a_run_are_where_they_were_asked_for(tmp_path: Path) -> None:
    play(tmp_path, "exit-33")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"serial.log", "interrupts.log", "qemu.cmd"}
    assert "exit-33" in (tmp_path / "run/qemu.cmd").read_text()


def test_json_on_standard_output_is_alone_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "-o", str(tmp_path), "--json", "-", "--", sys.executable, FAKE, "exit-33"]
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["schema"] == "cr3scope.verdict/1"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([sys.executable, FAKE, "refuses"], "no such machine"),
        (["no-such-program"], "cannot be started"),
        (["true"], "no guest was started"),
        (["qemu", "-daemonize"], "-daemonize"),
        ([], "no QEMU command"),
    ],
)
def test_what_is_no_running_qemu_cannot_be_used(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-o", str(tmp_path), "--", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_capture_command_is_where_the_capture_comes_from(tmp_path: Path) -> None:
    capture = "printf '@c3s1 0 begin producer=x #00000000\\n'"
    status, verdict = play(tmp_path, "exit-33", "--capture-command", capture)
    assert (status, verdict["verdict"]) == (2, "incomplete")
    assert any("checksum differs" in d["message"] for d in verdict["diagnostics"])


def test_capture_command_that_fails_is_told(tmp_path: Path) -> None:
    _, verdict = play(tmp_path, "exit-33", "--capture-command", "echo no disk >&2; exit 3")
    said = [d["message"] for d in verdict["diagnostics"]]
    assert any("exit status 3: no disk" in words for words in said)


def test_folder_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", "-o", str(tmp_path / "file/run"), "--", "true"]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "1e99"])
def test_time_limit_that_makes_no_sense_is_refused(seconds: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--timeout", seconds, "--", "true"])
    assert stopped.value.code == 2


def test_triage_prints_the_first_exception_and_its_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert triage(tmp_path / "log", chain(firmware(), storm(100, 150))) == 1
    text = capsys.readouterr().out
    assert text.startswith("FAULTED: #PF (error 0011: instruction fetch, present)")
    assert f"{SWITCH:#x}" in text and "storm" in text


def test_triage_of_interrupts_alone_is_silent_and_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "v.json"
    assert triage(tmp_path / "log", firmware(240), "--json", str(target)) == 0
    assert json.loads(target.read_text())["findings"] == []
    assert capsys.readouterr().out.startswith("HEALTHY")


def test_triage_json_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    target = tmp_path / "v.json"
    pieces = [*firmware(), record(150, 14, 0x11, cr2=SWITCH)]
    assert triage(tmp_path / "log", pieces, "--json", str(target)) == 1
    verdict = json.loads(target.read_text())
    assert verdict["prediction"] is None and verdict["agreement"] is None
    assert verdict["observation"]["outcome"] == "delivered"
    assert verdict["observation"]["records"] == 1
    assert verdict["observation"]["first"] == {
        "vector": 14, "error_code": 17, "cr2": hex(SWITCH), "rip": hex(SWITCH), "cr3": hex(NEW_CR3),
    }  # fmt: skip


def test_triage_needs_no_library_beyond_python(tmp_path: Path) -> None:
    """They cost more time to import than the whole triage takes."""
    path = tmp_path / "log"
    path.write_text("".join(chain(firmware(), storm(100, 150))))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cr3scope.cli.main import main\n"
        "main(['triage', sys.argv[2]])\n"
        "print({'numpy', 'rich', 'elftools', 'jinja2'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, PACKAGE, path], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def damaged_kernel(folder: Path) -> Path:
    """Its code is whole and holds the stand-in's RIP; its symbol table lies beyond the file."""
    source, kernel = folder / "kernel.S", folder / "kernel.elf"
    source.write_text(".globl _start\n_start: .fill 4096, 1, 0x90\n")
    linked = ["-Wl,-Ttext=0xe3a6000", "-Wl,--build-id=none", "-o", kernel, source]
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", *linked], check=True)
    data = bytearray(kernel.read_bytes())
    headers = int.from_bytes(data[0x28:0x30], "little")  # e_shoff
    [table] = (at for at in range(headers, len(data), 64) if data[at + 4] == 2)  # SHT_SYMTAB
    data[table + 24 : table + 32] = (1 << 40).to_bytes(8, "little")  # sh_offset
    kernel.write_bytes(data)
    return kernel


def test_a_damaged_elf_file_costs_its_names_and_not_the_verdict(tmp_path: Path) -> None:
    kernel = damaged_kernel(tmp_path)
    status, verdict = play(tmp_path, "screen", "--elf", str(kernel))
    assert (status, verdict["verdict"]) == (1, "faulted")
    said = [note["message"] for note in verdict["diagnostics"]]
    assert any(line.startswith(f"{kernel}: damaged") for line in said), said


def test_a_cut_elf_file_is_refused_before_the_boot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = damaged_kernel(tmp_path)
    kernel.write_bytes(kernel.read_bytes()[:0x1200])
    assert main(["run", "-o", str(tmp_path), "--elf", str(kernel), "--", sys.executable, FAKE, "screen"]) == 2
    assert "cut short" in capsys.readouterr().err
    assert not (tmp_path / "serial.log").exists()
