"""`make debug-batch` without make: exit status, planned values, and what is missing on the machine."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from boot import firmware
from boot.reference import BOOT_SECONDS, BUILD, ROOT, build
from gdb_session import at_switch, debug


def batch(folder: Path, *, inject: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    build()
    return subprocess.run(
        [sys.executable, ROOT / "scripts/gdb/debug.py", "--batch", BUILD, folder],
        capture_output=True, text=True, errors="replace", timeout=BOOT_SECONDS,
        env={**os.environ, "INJECT": inject, "CONFIG": "", "QEMU": firmware.stand_in({}), **environment},
    )  # fmt: skip


@pytest.mark.parametrize(("inject", "status"), [("", 0), ("nx-upper-level", 1)])
def test_the_status_says_whether_the_boot_survives(inject: str, status: int, tmp_path: Path) -> None:
    done = batch(tmp_path / "run", inject=inject)
    assert done.returncode == status, done.stdout + done.stderr
    for name in ("CR3", "RSP", "RIP", "RDI"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} planned "))
        assert line.endswith(": as planned"), line


def test_a_missing_qemu_is_one_line(tmp_path: Path) -> None:
    done = batch(tmp_path / "run", QEMU="no-such-qemu")
    assert done.returncode == 2
    assert done.stderr == "debug: no-such-qemu is not installed: run make deps\n"


def test_a_boot_volume_that_cannot_be_made_is_no_traceback(tmp_path: Path) -> None:
    done = batch(tmp_path / "run", FIRMWARE="nonsense")
    assert done.returncode == 2
    assert done.stderr.endswith("debug: qemu-command failed: see above\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_qemu_that_refuses_its_command_is_no_traceback(tmp_path: Path) -> None:
    done = batch(tmp_path / "run", OVMF_CODE="/no/such/firmware.fd")
    assert done.returncode == 2
    assert done.stderr.endswith("debug: QEMU ended before the loader told where it is\n"), done.stderr


@pytest.mark.parametrize(
    ("inject", "config", "words"),
    [
        ("nonsense", "", "cr3scope.cfg, inject=: no such fault: nonsense"),
        ("nx-upper-level", "preflight=stop", "preflight: preflight: step 0 "),
    ],
)
def test_a_loader_that_refuses_to_boot_is_one_line(
    inject: str, config: str, words: str, tmp_path: Path
) -> None:
    """Before it tells where it is, and after."""
    done = batch(tmp_path / "run", inject=inject, CONFIG=config)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"debug: the loader refused to boot: {words}"), done.stderr


def test_a_folder_with_a_comma_a_blank_and_a_quote_is_one_name_and_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, precious = tmp_path / 'a, "b', tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    (tmp_path / "saved.core").symlink_to(precious)
    (folder / "serial.log").symlink_to(precious)
    (folder / "cr3scope.cfg").touch()
    text = debug(folder, f"cr3scope save {tmp_path}/saved.core\ncr3scope check", "nx-upper-level")
    assert "rule: nx-upper-level" in text and "cannot be read" not in text, text
    assert precious.read_text() == "mine"
    assert (tmp_path / "saved.core").read_bytes().startswith(b"\x7fELF")
    assert b"@c3s1 " in (folder / "serial.log").read_bytes()


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "http"])
def test_what_is_no_port_is_refused(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = ROOT / "scripts/gdb/debug.py"
    monkeypatch.syspath_prepend(str(program.parent))
    monkeypatch.setattr(sys, "argv", [str(program), f"--server={port}", str(BUILD), str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program), run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"{port!r} is no TCP port: 1 to 65535" in told, told


LIVE = """python
import re
said = gdb.execute("cr3scope check", to_string=True)
print("FIRST", said)
at, value = re.search(r"entry +PT.* at (0x[0-9a-f]+) = (0x[0-9a-f]+)", said).groups()
gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
gdb.execute(f"set var *(unsigned long *) {at} = {int(value, 16) & ~(1 << 63)}")
gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)
end
echo SECOND\\n
cr3scope check
"""


def test_an_entry_mended_by_hand_changes_the_verdict_whatever_the_trace_says(tmp_path: Path) -> None:
    text = at_switch(tmp_path, LIVE, "nx-leaf-code:trampoline", "safe_idt=on")
    before, after = text.split("FIRST")[1].split("SECOND")
    assert "rule: nx-leaf-code: " in before, text
    assert "verdict: survives" in after, text
    # The loader did ask for no execution, but its own walk was of other tables.
    assert "rule: nx-leaf-code" not in after and "preflight" not in after, text


def test_a_file_that_is_no_trace_is_one_line_and_the_verdict_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"\0\xffno trace\n")
    (tmp_path / "run").mkdir()
    text = at_switch(tmp_path / "run", f"cr3scope trace off\ncr3scope check\ncr3scope trace {tmp_path}/junk\n", "nx-upper-level")
    assert "cr3scope trace: no cr3scope record in " in text, text
    assert "source loader/" not in text.split("as planned")[-1].split("cr3scope trace:")[0].split("verdict:")[-1], text
    assert "Traceback" not in text, text
