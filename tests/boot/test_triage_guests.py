"""`cr3scope triage` on logs of real boots: symbols, the walk of CR2, and a CPU that dies of several."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from boot import firmware
from boot.guest import qemu_command, watch
from boot.reference import ROOT, make
from boot.verbs import cr3scope

SECONDS = 120
AP = "foreign/smp/ap_loads_bad_cr3"


def triage(log: Path, *options: str | Path) -> dict[str, Any]:
    """The JSON verdict."""
    done = cr3scope("triage", log, "--json", "-", *options)
    assert done.returncode in (0, 1, 2) and done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def log_with_resets(folder: Path, program: Path, cpus: int) -> Path:
    """The log of a machine that may reset, up to the first one after a triple fault."""
    settings = {"CPUS": str(cpus)}
    command = qemu_command(folder, program, {**settings, "QEMU": firmware.stand_in(settings)})
    command += ["-d", "int,cpu_reset", "-D", "/dev/stdout", "-serial", "null", "-monitor", "none"]
    path, died, resets = folder / "int.log", False, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as qemu, path.open("wb") as log:
        assert qemu.stdout is not None
        limit = threading.Timer(SECONDS, qemu.kill)
        limit.start()
        for line in qemu.stdout:
            log.write(line)
            died = died or line.startswith(b"Triple fault")
            resets += died and line.startswith(b"CPU Reset")
            if resets > cpus:
                break
        limit.cancel()
        qemu.kill()
    assert resets > cpus, f"no reset after a triple fault within {SECONDS} s"
    return path


def test_cpu_that_died_is_numbered_where_the_machine_resets(tmp_path: Path) -> None:
    log = log_with_resets(tmp_path, make(f"{AP}.efi"), 2)
    verdict = triage(log)
    seen = verdict["observation"]
    assert seen["outcome"] == "triple-fault"
    assert (seen["first"]["vector"], seen["first"]["error_code"]) == (14, 0x10)
    # QEMU 11 dumps the CPUs as they are after the reset: what is left is a guess.
    after = log.read_text().split("Triple fault", 1)[1]
    is_told = f"RIP={int(seen['first']['rip'], 16):016x}" in after
    assert seen["cpu"].startswith("CPU 1 of 2: " if is_told else "probably CPU 1 of 2: it has no task register"), seen


def test_second_cpu_that_dies_without_a_reset_is_guessed_and_said_to_be(tmp_path: Path) -> None:
    watch(tmp_path, make(f"{AP}.efi"), SECONDS, CPUS="2")
    seen = triage(tmp_path / "interrupts.log")["observation"]
    assert seen["outcome"] == "triple-fault"
    assert seen["cpu"].startswith("probably CPU 1 of 2: ")


def test_second_cpu_that_does_well_is_no_fault(tmp_path: Path) -> None:
    watch(tmp_path, make(f"{AP}.mended.efi"), SECONDS, CPUS="2")
    verdict = triage(tmp_path / "interrupts.log")
    assert verdict["verdict"] == "healthy"
    assert verdict["observation"]["last"]


def test_foreign_loader_is_placed_by_its_mov_cr3_and_its_line_named(tmp_path: Path) -> None:
    watch(tmp_path, make("foreign/nx_pml4.efi"), SECONDS)
    verdict = triage(tmp_path / "interrupts.log", "--elf", make("foreign/nx_pml4.elf"))
    first, *_ = verdict["observation"]["places"]
    assert first["symbol"].startswith("efi_main") or "cr3" in first["symbol"]
    assert "foreign" in first["source"]
    assert any("taken as loaded at" in note["message"] for note in verdict["diagnostics"])


def test_log_and_capture_are_joined_in_a_walk_of_cr2(tmp_path: Path) -> None:
    loader, kernel = make("loader/loader.elf"), make("kernel/kernel.elf")
    subprocess.run(
        [ROOT / "scripts/boot/run-trace", loader.parent.parent, tmp_path],
        env={**os.environ, "INJECT": "nx-upper-level", "QEMU": firmware.stand_in({})}, capture_output=True, timeout=90,
    )  # fmt: skip
    verdict = triage(
        tmp_path / "interrupts.log", "--capture", tmp_path / "serial.log",
        "--elf", loader, "--elf", kernel,
    )  # fmt: skip
    walk = verdict["walk"]
    assert walk["virt"] == verdict["observation"]["first"]["cr2"]
    assert walk["refused"] == "no-execute"
    guilty = [level for level in walk["levels"] if level["guilty"]]
    assert [level["entry"]["level"] for level in guilty] == [4]
    assert guilty[0]["source"].startswith("loader/inject/on_tables.c:")
    assert [level["entry"]["level"] for level in walk["levels"]] == [4, 3, 2, 1]
    assert verdict["observation"]["places"][0]["source"].startswith("trace/switch_jump.S:")
