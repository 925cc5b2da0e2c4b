"""`cr3scope run` on firmware of another kind: other page tables, rights by section, images above 4 GiB, a list elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.guest import watch
from boot.reference import first_stage, make
from boot.test_foreign_loaders import SECONDS, errors

LOADER = "foreign/stack_unmapped"  # dies at once: no storm that runs over what the firmware holds


@pytest.mark.parametrize("stage", ["large_pages", "moved_list", "section_rights"])
def test_the_cause_and_the_image_are_named_whatever_the_firmware_is_like(stage: str, tmp_path: Path) -> None:
    program, twin = make(f"{LOADER}.efi"), make(f"{LOADER}.elf")
    run = watch(tmp_path, program, SECONDS, elf=[twin], FIRST_STAGE=first_stage(stage))
    assert [f["rule"] for f in errors(run)] == ["stack-unmapped"], run.explain()
    died = run.verdict["observation"]["places"][0]
    assert died["symbol"] is not None, run.explain()
    assert str(died["image"]).startswith("loader.efi+0x"), run.explain()


@pytest.mark.parametrize("stage", ["large_pages", "moved_list", "section_rights"])
def test_a_loader_without_a_mistake_is_healthy_whatever_the_firmware_is_like(stage: str, tmp_path: Path) -> None:
    run = watch(tmp_path, make(f"{LOADER}.mended.efi"), SECONDS, FIRST_STAGE=first_stage(stage))
    assert (run.status, run.verdict["verdict"], errors(run)) == (0, "healthy", []), run.explain()


def test_a_loader_above_4_gib_that_maps_only_what_is_below_is_told_the_entry_of_its_own_code(tmp_path: Path) -> None:
    program = make("foreign/nx_pml4.mended.efi")
    run = watch(tmp_path, program, SECONDS, FIRST_STAGE=first_stage("high"), MEM="4G")
    [found] = errors(run)
    code = int(run.verdict["observation"]["first"]["rip"], 16)
    assert code >= 1 << 32 and found["rule"] == "identity-missing-trampoline", run.explain()
    entry = found["entry"]
    assert isinstance(entry, dict) and (entry["level"], entry["index"]) == (3, code >> 30), run.explain()
