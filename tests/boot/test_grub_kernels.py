"""The kernels of tests/boot/foreign/protected through GRUB, by both Multiboot protocols, on UEFI and on SeaBIOS: what they died of
is explained as it is where QEMU itself loads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boot.grub import multiboot
from boot.guest import NO_WHO, judge, watch
from boot.protected_rows import ROWS, Row
from boot.reference import Run, takes_all
from boot.test_protected_guests import EXIT, QEMU, SECONDS, built_kernel, check_row, check_writer, who_of

_BIOS = Path("/usr/lib/grub/i386-pc")
_SAMPLE = 4  # of the rows of each way to boot
_ROWS = {row.name: row for row in ROWS}
BY_UEFI = ("pse-off", "identity", "data-read-only", "gate-absent", "no-stack0", "pae-pointer", "pae-off", "selector")
BY_UEFI_2 = ("high-half", "stack", "handler", "pae-nx", "long-no-lme", "long-no-jump", "long-high", "frame-code")
BY_BIOS = ("reserved", "no-ps", "idt", "user-table", "pae-reserved", "long-no-pae", "long-directory", "long-data")
_PF_FETCH = 0x10


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    return names if takes_all() else names[:: len(names) // _SAMPLE]


def by_uefi(folder: Path, mode: str, version: int, defines: tuple[str, ...] = (), has_file: bool = True, who: str = NO_WHO) -> Run:
    kernel = built_kernel(folder, mode, (*defines, *(["MULTIBOOT2"] if version == 2 else [])))
    return watch(folder, multiboot(folder, kernel, version), SECONDS, EXIT, [kernel] if has_file else [], who=who)


def by_bios(folder: Path, mode: str, version: int, defines: tuple[str, ...] = (), has_file: bool = True, who: str = NO_WHO) -> Run:
    """QEMU's -kernel takes GRUB behind its lnxboot.img for a Linux, and SeaBIOS starts it."""
    kernel = built_kernel(folder, mode, (*defines, *(["MULTIBOOT2"] if version == 2 else [])))
    image = folder / "grub.linux"
    image.write_bytes((_BIOS / "lnxboot.img").read_bytes() + multiboot(folder, kernel, version, target="i386-pc").read_bytes())
    return judge(folder, [*QEMU, "-kernel", str(image)], SECONDS, [kernel] if has_file else [], who=who)


@pytest.mark.parametrize(("mode", "version"), [("SMALL", 1), ("CLIMB", 2)])
def test_a_kernel_that_grub_loads_under_uefi_is_healthy(mode: str, version: int, tmp_path: Path) -> None:
    run = by_uefi(tmp_path, mode, version)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()
    assert run.verdict["observation"]["ended"] == "exited", run.explain()


@pytest.mark.parametrize(("mode", "version"), [("PAE", 1), ("PSE", 2), ("CLIMB", 1)])
def test_a_kernel_that_grub_loads_under_seabios_is_healthy(mode: str, version: int, tmp_path: Path) -> None:
    run = by_bios(tmp_path, mode, version)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()
    assert run.verdict["observation"]["ended"] == "exited", run.explain()


def asked_who() -> int:
    """Return in how many of these boots it is held to the source who wrote what is guilty."""
    return sum(who_of(_ROWS[name]) != NO_WHO for names in (BY_UEFI, BY_UEFI_2, BY_BIOS) for name in names[:: len(names) // _SAMPLE])


@pytest.mark.parametrize("row", [_ROWS[name] for name in _some(BY_UEFI)], ids=lambda row: str(row.name))
def test_a_mistake_behind_grub_s_multiboot_under_uefi_is_named(row: Row, tmp_path: Path) -> None:
    _named(_with_nxe(row), by_uefi(tmp_path, row.mode, 1, row.defines, row.has_file, who_of(row)), tmp_path)


@pytest.mark.parametrize("row", [_ROWS[name] for name in _some(BY_UEFI_2)], ids=lambda row: str(row.name))
def test_a_mistake_behind_grub_s_multiboot2_under_uefi_is_named(row: Row, tmp_path: Path) -> None:
    _named(_with_nxe(row), by_uefi(tmp_path, row.mode, 2, row.defines, row.has_file, who_of(row)), tmp_path)


@pytest.mark.parametrize("row", [_ROWS[name] for name in _some(BY_BIOS)], ids=lambda row: str(row.name))
def test_a_mistake_behind_grub_under_seabios_is_named(row: Row, tmp_path: Path) -> None:
    _named(row, by_bios(tmp_path, row.mode, 2 if row.mode == "SMALL" else 1, row.defines, row.has_file, who_of(row)), tmp_path)


def _with_nxe(row: Row) -> Row:
    """The firmware has set EFER.NXE: with PAE, error codes tell fetches (SDM 3A, 5.7)."""
    if row.fault is None or row.fault[2] != "fetch" or row.mode not in ("PAE", "CLIMB") or "CR4_BITS=0x10" in row.defines:
        return row
    return replace(row, fault=(row.fault[0], row.fault[1] | _PF_FETCH, "fetch"))


def _named(row: Row, run: Run, folder: Path) -> None:
    assert run.rules[:1] == [row.rule], run.explain()
    check_row(row, run)
    check_writer(row, run, folder / "kernel.elf")
