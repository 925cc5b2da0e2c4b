"""Nothing is said of what boots everywhere: kernels and images of the machine's own packages, and this tree's."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import pytest
from boot.reference import make

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.lint import lint
from cr3scope.render.finding import title

OTHERS = sorted(path for pattern in ("/boot/vmlinuz*", "/boot/m*t86+*", "/usr/lib/grub*/x86_64-efi*/**/*.efi*", "/usr/lib/systemd/boot/efi/*.efi*",
                                     "/usr/lib/shim/*.efi*") for path in glob(pattern, recursive=True))  # fmt: skip


@pytest.mark.parametrize("path", OTHERS)
def test_others_files_have_no_finding_but_the_note_of_strict_firmware(path: str) -> None:
    found = lint(Path(path)).findings
    assert [title(one) for one in found if one.severity is not Severity.NOTE] == []
    assert {one.rule for one in found} <= {"efi-strict-nx"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernel/kernel.elf", "loader/loader.efi", "loader/loader.elf"])
def test_this_trees_files_have_none_at_all(name: str) -> None:
    assert [title(one) for one in lint(Path(make(name))).findings] == []
