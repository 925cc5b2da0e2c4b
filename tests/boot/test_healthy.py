"""The healthy boot is judged healthy on every kind of machine, with nothing to complain about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boot.firmware import boot_from_first_read, stand_in
from boot.reference import BUILD, Run, boot, first_stage, takes_all
from boot.verbs import cr3scope

from cr3scope.images.pe_header import read_header

# A covering subset: every machine, memory size, CPU count, CPU model and absence occurs.
MACHINES = {
    "q35-default": {},
    "q35-6g-8cpu-nehalem": {"MEM": "6G", "CPUS": "8", "CPU": "Nehalem"},
    "pc-512m-2cpu-qemu64": {"MACHINE": "pc", "MEM": "512", "CPUS": "2", "CPU": "qemu64"},
    "pc-epyc-no-graphics": {"MACHINE": "pc", "CPU": "EPYC", "GRAPHICS": "none"},
    "nx-on-data-and-stack": {"FIRST_STAGE": "section_rights"},
    "secure-boot-strictnx": {"FIRMWARE": "strictnx", "MEM": "512"},
    "secure-boot-smm": {"FIRMWARE": "secboot", "MEM": "512", "CPUS": "2" if takes_all() else "1"},  # with two it takes thrice as long
    "no-serial": {"SERIAL": "none"},
    "full-identity": {"CONFIG": "identity=full"},
    "full-identity-of-single-pages": {"CONFIG": "identity=full;identity_pages=4k", **({"MEM": "6G"} if takes_all() else {})},  # a 24th of the tables
    "full-identity-of-1g-firmware-idt": {"CONFIG": "identity=full;identity_pages=1g;safe_idt=off", "MEM": "4G"},  # RAM up to 6 GiB
    "firmware-idt": {"CONFIG": "safe_idt=off"},
    "int3-on-the-way": {"CONFIG": "breakpoint=on"},
    "five-levels": {"FIRST_STAGE": "la57"},
    "five-levels-2cpu": {"FIRST_STAGE": "la57", "CPUS": "2"},
    "image-above-4g": {"FIRST_STAGE": "high", "MEM": "4G"},
    "firmware-on-1g-pages": {"FIRST_STAGE": "large_pages"},
    "list-of-images-elsewhere": {"FIRST_STAGE": "moved_list"},
    "no-mp-services-no-gop": {"CPUS": "2", "FIRST_STAGE": "no_services"},
}
AT_RESET = QUICK = "q35-default"


STRICT = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.strictnx.fd")


def needs_firmware(name: str) -> None:
    """Skip the test where the release's OVMF has no such build."""
    if name == "strictnx" and not STRICT.exists():
        pytest.skip("this release's OVMF has no strictnx build")


@pytest.mark.parametrize(
    "machine", [pytest.param(name, marks=[pytest.mark.quick] * (name == QUICK)) for name in MACHINES]
)
def test_healthy_boot_is_judged_healthy(machine: str, tmp_path: Path) -> None:
    run = booted(machine, tmp_path)
    assert run.status == 0, run.explain()
    verdict = run.verdict
    assert verdict["verdict"] == "healthy", run.explain()
    assert [f for f in verdict["findings"] if f["severity"] != "note"] == []
    assert verdict["prediction"]["outcome"] == "survives"
    assert verdict["observation"]["outcome"] == "ran"
    assert verdict["agreement"] is True
    ALSO.get(machine, lambda _: None)(run)


def booted(machine: str, folder: Path) -> Run:
    """The boot on a machine, the default one from the reset, by `make run-trace`'s own script where the trace is in a file."""
    settings = dict(MACHINES[machine])
    needs_firmware(settings.get("FIRMWARE", ""))
    if machine != AT_RESET and "SERIAL" in settings:
        settings["QEMU"] = stand_in(settings)
    boots = boot if machine == AT_RESET or "SERIAL" in settings else boot_from_first_read
    settings["FIRST_STAGE"] = first_stage(settings.get("FIRST_STAGE", ""))
    return boots(folder, config=settings.pop("CONFIG", ""), **settings)


def mapped(run: Run) -> list[dict[str, Any]]:
    """Return what the firmware's own tables map."""
    done = cr3scope("maps", run.folder / "serial.log", "--dump", "old", "--json", "-")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["mappings"]
    return found


def image_base(run: Run) -> int:
    """Return where the firmware has put the loader."""
    [base] = re.findall(r"image name=loader.efi base=([0-9a-f]+) ", run.serial.decode(errors="replace"))
    return int(base, 16)


def has_rights_by_section(run: Run) -> None:
    """Strict firmware gives each section of the loader its own rights."""
    header = read_header((BUILD / "loader/loader.efi").read_bytes())
    assert header is not None
    mappings = mapped(run)
    for section in header.sections:
        at = image_base(run) + section.offset
        [rights] = [m["rights"] for m in mappings if int(m["first"], 16) <= at <= int(m["last"], 16)]
        assert ("x" in rights, "w" in rights) == (section.executable, section.writable), (section, rights)


def is_above_4_gib(run: Run) -> None:
    """The first stage has moved the image."""
    assert image_base(run) >= 1 << 32, run.explain()


# What is asked of a machine beside, so that it is there what its name says.
ALSO: dict[str, Callable[[Run], None]] = {
    "nx-on-data-and-stack": has_rights_by_section,
    "image-above-4g": is_above_4_gib,
}
