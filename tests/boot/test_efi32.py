"""A program of 32-bit UEFI that turns paging on: built by clang and lld, booted by Debian's OVMF for IA32."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from boot.guest import judge
from boot.reference import Run, takes_all
from boot.test_protected_guests import EXIT

_SOURCE = Path(__file__).parent / "foreign/protected/efi32.S"
_FIRMWARE = Path("/usr/share/OVMF")
_CODE, _VARS = _FIRMWARE / "OVMF32_CODE_4M.secboot.fd", _FIRMWARE / "OVMF32_VARS_4M.fd"
_SECONDS = 90
_OWN_ENTRY = "mov $_behind_paging, %edi; shr $22, %edi; lea _directory(,%edi,4), %edi;"
pytestmark = pytest.mark.skipif(not _CODE.exists(), reason=f"no firmware for IA32 here: {_CODE}")
MISTAKES = {  # the build's words, the first rule, the fatal exception
    "identity": ((f"IN_TABLES={_OWN_ENTRY} movl $0, (%edi)",), "identity-missing-trampoline", (14, 0, "fetch")),
    "reserved": ((f"IN_TABLES={_OWN_ENTRY} orl $0x200000, (%edi)",), "reserved-bits", (14, 8, "fetch")),
    "read-only": ((f"IN_TABLES={_OWN_ENTRY} andl $~2, (%edi)", "IN_PAGING=movl %eax, _gate"), "access-fault", (14, 3, "write")),
    "root": (("ROOT=_directory + 0x80000000",), "bad-root", (14, 0, "fetch")),
    "no-gate": (("IN_PAGING=ud2",), "idt-gate-bad", (6, None, None)),
}
SAMPLE = ("identity",)


def boot(folder: Path, defines: Sequence[str] = ()) -> Run:
    built, program, volume = folder / "efi32.obj", folder / "efi32.efi", folder / "volume"
    told = [f"-D{one}" for one in defines]
    subprocess.run(["clang", "-target", "i386-unknown-windows", "-x", "assembler-with-cpp", "-c", *told, "-o", built, _SOURCE], check=True)
    subprocess.run(["lld-link", "/machine:x86", "/subsystem:efi_application", "/entry:efi_main", "/nodefaultlib", "/safeseh:no",
                    "/dynamicbase", f"/out:{program}", built], check=True)  # fmt: skip
    (volume / "EFI/BOOT").mkdir(parents=True)
    shutil.copy(program, volume / "EFI/BOOT/BOOTIA32.EFI")
    shutil.copy(_VARS, folder / "vars.fd")
    return judge(folder, [
        "qemu-system-x86_64", "-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", "-nodefaults",
        "-display", "none", "-m", "256", *EXIT, "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_CODE}",
        "-drive", f"if=pflash,format=raw,unit=1,file={folder / 'vars.fd'}",
        "-drive", f"file=fat:rw:{volume},format=raw,if=none,id=volume", "-device", "virtio-blk-pci,drive=volume,bootindex=0",
    ], _SECONDS)  # fmt: skip


def test_a_program_of_32_bit_uefi_that_turns_paging_on_is_healthy(tmp_path: Path) -> None:
    run = boot(tmp_path)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()
    assert run.verdict["observation"]["ended"] == "exited", run.explain()


@pytest.mark.parametrize("name", MISTAKES if takes_all() else SAMPLE)
def test_a_mistake_of_a_program_of_32_bit_uefi_is_named(name: str, tmp_path: Path) -> None:
    defines, rule, fault = MISTAKES[name]
    run = boot(tmp_path, defines)
    assert run.verdict["verdict"] == "faulted" and run.rules[:1] == [rule], run.explain()
    fatal = run.verdict["observation"]["fatal"]
    assert (fatal["vector"], fatal["error_code"], fatal["access"]) == fault, run.explain()
