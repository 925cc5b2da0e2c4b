"""Guests from Debian's packages: no false alarm, and what they were doing is told truly."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from boot.grub import grub
from boot.guest import judge, watch, watch_kernel
from boot.reference import Run
from boot.verbs import cr3scope

# A guest that waits for a person ends with the time: long enough to come there on a busy machine, and then to
# be looked at as often as it takes to find a hang.
WAITING_SECONDS = 10
PANIC_SECONDS = 60
# As its version 8 is named, and those before.
_MEMTEST_8 = Path("/boot/mt86+x64")
MEMTEST = _MEMTEST_8 if _MEMTEST_8.exists() else Path("/boot/memtest86+x64.efi")


def linux() -> Path:
    """The newest installed kernel of linux-image-cloud-amd64."""
    found = sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64"))
    assert found, "no kernel in /boot: install linux-image-cloud-amd64 (make deps)"
    return found[-1]


def assert_still_there(run: Run, interrupts: str = "(on|off|on and off)") -> None:
    """Neither a fault nor a hang: the guest was at work when the time was up. Firmware that waits for a key
    turns interrupts off for moments."""
    verdict = run.verdict
    assert (run.status, verdict["verdict"]) == (0, "healthy"), run.explain()
    assert verdict["findings"] == []
    seen = verdict["observation"]
    assert (seen["outcome"], seen["first"]) == ("ran", None), run.explain()
    assert "still there" in seen["detail"], run.explain()
    assert re.search(rf", interrupts {interrupts}$", seen["detail"]), run.explain()
    assert "still there" in run.text


def test_grub_at_its_prompt_is_no_hang(tmp_path: Path) -> None:
    run = watch(tmp_path, grub(tmp_path), WAITING_SECONDS)
    assert b"grub> " in run.serial, "GRUB did not come to its prompt in time"
    assert_still_there(run)


def test_memtest_at_work_with_interrupts_off_is_no_hang(tmp_path: Path) -> None:
    run = watch(tmp_path, MEMTEST, WAITING_SECONDS)
    assert b"BdsDxe: starting Boot" in run.serial, "the firmware did not start memtest86+ in time"
    assert_still_there(run, "off")


def test_linux_without_a_root_is_said_to_panic_and_not_to_fault(tmp_path: Path) -> None:
    run = watch_kernel(tmp_path, linux(), "console=ttyS0", PANIC_SECONDS, MEM="512")
    verdict = run.verdict
    assert [f["rule"] for f in verdict["findings"]] == ["kernel-panic"], run.explain()
    assert run.text.startswith("FAULTED: the kernel gave up: "), run.explain()
    assert "Unable to mount root fs" in verdict["findings"][0]["title"]
    seen = verdict["observation"]
    assert seen["outcome"] == "ran", run.explain()
    assert seen["records"] > 0, "the kernel's own page faults are told of"


# init: write(1, "init is here\n"), then pause() for ever. Linked statically: nothing else is in the initrd.
_INIT = """
.globl _start
_start: mov $1, %eax; mov $1, %edi; lea words(%rip), %rsi; mov $13, %edx; syscall
1: mov $34, %eax; syscall; jmp 1b
words: .ascii "init is here\\n"
"""


def test_linux_with_an_init_lives_and_nothing_would_strike_it(tmp_path: Path) -> None:
    """By QEMU's own loader: tables, descriptors and stacks of a kernel that has done all it does at its start."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (tmp_path / "init.S").write_text(_INIT)
    subprocess.run(["cc", "-nostdlib", "-static", "-o", root / "init", tmp_path / "init.S"], check=True)
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=b".\ndev\ninit\n", check=True, capture_output=True)
    (tmp_path / "initrd").write_bytes(packed.stdout)
    done = cr3scope(
        "run", "-o", tmp_path, "--timeout", str(PANIC_SECONDS), "--until", "init is here", "--json", tmp_path / "verdict.json", "--",
        "qemu-system-x86_64", "-display", "none", "-nic", "none", "-m", "512", "-kernel", str(linux()), "-initrd", str(tmp_path / "initrd"),
        "-append", "console=ttyS0 quiet rdinit=/init", seconds=PANIC_SECONDS + 60,
    )  # fmt: skip
    run = Run(done.returncode, done.stdout, done.stderr, tmp_path)
    assert b"init is here" in run.serial, run.explain()
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()
    assert run.verdict["observation"]["ended"] == "awaited", run.explain()


# The firmware's countdown to its shell, and the quiet after it.
NOTHING_SECONDS = 60


def assert_nothing_booted(run: Run, says: str) -> None:
    assert (run.status, run.verdict["verdict"]) == (1, "faulted"), run.explain()
    assert [f["rule"] for f in run.verdict["findings"]] == ["nothing-booted"]
    assert says in run.verdict["findings"][0]["title"]
    assert "EFI/BOOT/BOOTX64.EFI" in run.verdict["findings"][0]["fix"]
    assert run.text.startswith("FAULTED: nothing was booted: ")


def test_medium_without_a_loader_is_said_to_boot_nothing(tmp_path: Path) -> None:
    no_program = tmp_path / "empty.efi"
    no_program.write_bytes(b"")
    run = watch(tmp_path, no_program, NOTHING_SECONDS)
    # OVMF since 2026 has no shell in it.
    has_shell = b"UEFI Interactive Shell" in run.serial
    shell, none = "the firmware's own shell waits at its prompt", "no bootable option or device was found"
    assert_nothing_booted(run, shell if has_shell else none)


def test_uefi_program_under_seabios_is_said_to_boot_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    command = ["qemu-system-x86_64", "-display", "none", "-nic", "none",
               "-drive", f"format=raw,file={disk}"]  # fmt: skip
    assert_nothing_booted(judge(tmp_path, command, NOTHING_SECONDS), "SeaBIOS says")
