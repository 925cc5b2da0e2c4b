"""The reference loader on machines whose serial port is not COM1: it finds the port, and the kernel goes on there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from boot import firmware, tpm_wait
from boot.acpi_tables import MEMORY, PORTS, generic_address, spcr_body
from boot.qemu_words import qemu_words
from boot.reference import BOOT_SECONDS, ROOT, build

from cr3scope.input.capture.reader import read_capture
from cr3scope.render.json import as_dict
from cr3scope.verdict.analysis import analyze

IN_MEMORY = "memory lies there, and no registers"
_PASSED = 33  # of isa-debug-exit

# Of each machine: cr3scope.cfg, the device that carries the trace, the SPCR's address or None; the port that the trace names.
# AS_SAVED: the default machine with its COM1, as others have saved it.
AS_SAVED = ("firmwares", "debugcon", "given-in-memory")
MACHINES: dict[str, tuple[str, str, bytes | None, str]] = {
    "pci": ("", "pci-serial", None, "io:0x"),
    "spcr": ("", "isa-serial,iobase=0x2f8,irq=3", generic_address(PORTS, 8, 1, 0x2F8), "io:0x2f8"),
    "spcr-of-nothing": ("sinks=uart", "isa-serial,iobase=0x3f8,irq=4", generic_address(MEMORY, 8, 1, 0xFED0_0000), "io:0x3f8"),
    # Memory of the loader itself in the boots of the reference machine: what is looked for there would write over it.
    "spcr-in-memory": ("sinks=uart", "isa-serial,iobase=0x3f8,irq=4", generic_address(MEMORY, 8, 1, 0x0DF2_0000), "io:0x3f8"),
    "given-in-memory": ("serial=mmio:df20000;sinks=uart,debugcon", "isa-debugcon,iobase=0xe9", None, "none"),
    "firmwares": ("serial=efi", "", None, "efi"),
    "debugcon": ("serial=io:2f8;sinks=uart,debugcon", "isa-debugcon,iobase=0xe9", None, "none"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_trace_comes_out_of_the_port_that_the_machine_has(machine: str, tmp_path: Path) -> None:
    config, device, address, named = MACHINES[machine]
    said, verdict = _boot(tmp_path, config, device, address, is_saved=machine in AS_SAVED)
    assert verdict["verdict"] == "healthy", verdict
    assert f" serial={named}".encode() in said
    remark = {"spcr-of-nothing": "that ACPI names: nothing answers there", "spcr-in-memory": f"that ACPI names: {IN_MEMORY}"}
    assert (b"cr3scope: serial port" in said) == (machine in remark)
    assert remark.get(machine, "").encode() in said
    is_of_firmware = machine == "firmwares"  # its service ends with it
    assert (b" close sink=efi " in said) == is_of_firmware
    assert (b" summary " in said) != is_of_firmware


def _boot(folder: Path, config: str, device: str, address: bytes | None, *, is_saved: bool) -> tuple[bytes, dict[str, Any]]:
    built = build()
    run, out = folder / "run", folder / "port.log"
    environment = {**os.environ, "CONFIG": config, "INJECT": "", **({"QEMU": firmware.stand_in({})} if is_saved else {"SERIAL": "none"})}
    subprocess.run([ROOT / "scripts/boot/prepare", built, run], env=environment, check=True, timeout=60)
    words = [*qemu_words(run, environment), "-chardev", f"file,id=port,path={out}"]
    if device:
        words += ["-device", f"{device},chardev=port"]
    if is_saved:
        words += ["-serial", "null" if device else "chardev:port"]
    if address is not None:
        (folder / "spcr").write_bytes(spcr_body(address))
        words += ["-acpitable", f"sig=SPCR,data={folder / 'spcr'}"]
    ended = subprocess.run(words, timeout=BOOT_SECONDS, stdout=subprocess.DEVNULL).returncode if is_saved else tpm_wait.run(words, BOOT_SECONDS)
    assert ended == _PASSED
    said = out.read_bytes()
    return said, as_dict(analyze(read_capture(said)))
