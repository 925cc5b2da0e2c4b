"""The healthy boot is judged healthy on every kind of machine, with nothing to complain about."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.reference import boot, first_stage

# A covering subset: every machine, memory size, CPU count, CPU model and absence occurs.
MACHINES = {
    "q35-default": {},
    "q35-6g-8cpu-nehalem": {"MEM": "6G", "CPUS": "8", "CPU": "Nehalem"},
    "pc-512m-2cpu-qemu64": {"MACHINE": "pc", "MEM": "512", "CPUS": "2", "CPU": "qemu64"},
    "pc-epyc-no-graphics": {"MACHINE": "pc", "CPU": "EPYC", "GRAPHICS": "none"},
    "secure-boot-smm": {"FIRMWARE": "secboot", "MEM": "512", "CPUS": "2"},
    "no-serial": {"SERIAL": "none"},
    "full-identity": {"CONFIG": "identity=full"},
    "full-identity-of-single-pages": {"CONFIG": "identity=full;identity_pages=4k", "MEM": "6G"},
    "full-identity-of-1g-firmware-idt": {
        "CONFIG": "identity=full;identity_pages=1g;safe_idt=off", "MEM": "6G",
    },
    "firmware-idt": {"CONFIG": "safe_idt=off"},
    "int3-on-the-way": {"CONFIG": "breakpoint=on"},
    "five-levels": {"FIRST_STAGE": "la57"},
    "image-above-4g": {"FIRST_STAGE": "high", "MEM": "4G"},
    "firmware-on-1g-pages": {"FIRST_STAGE": "large_pages"},
    "list-of-images-elsewhere": {"FIRST_STAGE": "moved_list"},
    "no-mp-services-no-gop": {"CPUS": "2", "FIRST_STAGE": "no_services"},
}


@pytest.mark.parametrize("machine", MACHINES)
def test_healthy_boot_is_judged_healthy(machine: str, tmp_path: Path) -> None:
    settings = dict(MACHINES[machine])
    settings["FIRST_STAGE"] = first_stage(settings.get("FIRST_STAGE", ""))
    run = boot(tmp_path, config=settings.pop("CONFIG", ""), **settings)
    assert run.status == 0, run.explain()
    verdict = run.verdict
    assert verdict["verdict"] == "healthy", run.explain()
    assert [f for f in verdict["findings"] if f["severity"] != "note"] == []
    assert verdict["prediction"]["outcome"] == "survives"
    assert verdict["observation"]["outcome"] == "ran"
    assert verdict["agreement"] is True
