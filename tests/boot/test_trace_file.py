"""The trace as a file on the boot volume: it takes the place of another trace, and of nothing else that is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from boot.reference import Run, boot

STAYS = b"cr3scope: the trace file is not written: what has its name is no trace, or may not be changed"


def traced(folder: Path, name: str) -> Run:
    return boot(folder, config=f"sinks=uart,file;trace_file={name}")


def on_volume(run: Run, name: str) -> bytes:
    return subprocess.run(["mcopy", "-n", "-i", run.folder / "disk.img", f"::/{name}", "-"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", ["initrd.img", "cr3scope.cfg", "EFI"])
def test_what_is_no_trace_stays(name: str, tmp_path: Path) -> None:
    """The kernel's archive was gone after one boot, and the loader's own settings."""
    run = traced(tmp_path, f"\\{name}")
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    assert STAYS in run.serial
    assert name == "EFI" or not on_volume(run, name).startswith(b"@c3s")


def test_a_trace_is_written_where_there_is_none(tmp_path: Path) -> None:
    run = traced(tmp_path, "\\EFI\\BOOT\\x.trc")
    assert run.verdict["verdict"] == "healthy" and STAYS not in run.serial, run.explain()
    written = on_volume(run, "EFI/BOOT/x.trc")
    first, second = written.splitlines()[:2]
    assert first.startswith(b"@c3s1 0 begin ") and first in run.serial and second in run.serial
