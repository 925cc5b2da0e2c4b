"""`cr3scope run` tells who wrote an entry where QEMU takes no plugin, or there is no compiler: by QEMU's gdb stub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from boot.firmware import stand_in
from boot.guest import judge, qemu_command, watch
from boot.reference import ROOT
from boot.test_foreign_loaders import program
from boot.test_protected_guests import QEMU, SECONDS, built_kernel
from boot.test_who import writer_of

# As a QEMU that was built without them.
_WITHOUT_PLUGINS = """#!/bin/sh
for word; do
    if [ "$word" = -plugin ]; then echo "$0: -plugin: invalid option" >&2; exit 1; fi
done
exec {qemu} "$@"
"""


def without_plugins(folder: Path, qemu: str) -> str:
    program = folder / "qemu-system-x86_64"
    program.write_text(_WITHOUT_PLUGINS.format(qemu=qemu))
    program.chmod(0o755)
    return str(program)


def test_of_a_uefi_loader_the_line_is_told(tmp_path: Path) -> None:
    built = program("nx_pml4")
    qemu = without_plugins(tmp_path, stand_in({}))
    run = judge(tmp_path, qemu_command(tmp_path, built, {"QEMU": qemu}), SECONDS, [built.with_suffix(".elf")], who="")
    writer = writer_of(run.verdict, "nx-upper-level")
    assert writer["place"].startswith("tests/boot/foreign/nx_pml4.c:7"), run.explain()
    assert int(writer["new"], 16) ^ int(writer["old"], 16) == 1 << 63
    assert "no writer" not in run.text


def test_of_a_loader_without_symbols_the_offset_is_that_of_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    built = program("stack_readonly")
    told = writer_of(watch(tmp_path / "with", built, SECONDS, who="--who").verdict, "stack-readonly")
    qemu = without_plugins(tmp_path, stand_in({}))
    run = judge(tmp_path, qemu_command(tmp_path, built, {"QEMU": qemu}), SECONDS, who="")
    writer = writer_of(run.verdict, "stack-readonly")
    assert (writer["place"], writer["old"], writer["new"]) == (told["place"], told["old"], told["new"]), run.explain()


@pytest.mark.parametrize(("code", "is_told"), [
    ("entry_of kernel_main; movl $0, (%edi)", True),
    # Built through an address that is not its own: paging is on, and the page lies HIGH above.
    ("", False),
])  # fmt: skip
def test_without_a_compiler_it_is_told_where_memory_is_mapped_at_its_own_address(code: str, is_told: bool, tmp_path: Path) -> None:
    defines = (f"IN_TABLES={code}",) if code else ("IN_KERNEL=entry_of user; add $HIGH, %edi; andl $~4, (%edi)",)
    kernel = built_kernel(tmp_path, "SMALL", defines)
    found = run_without_compiler(tmp_path, kernel)
    [finding] = [each for each in found["findings"] if each["severity"] == "error"]
    assert finding["entry"] is not None
    said = " ".join(each["message"] for each in found["diagnostics"])
    if is_told:
        assert finding["writer"]["place"].startswith("tests/boot/foreign/protected/kernel.S:"), finding
        assert "no writer" not in said
    else:
        assert finding["writer"] is None
        assert "there is no C compiler" in said and "stopped at each store to what is guilty, tells no writer" in said, said


def run_without_compiler(folder: Path, kernel: Path) -> dict[str, list[dict[str, object]]]:
    """A PATH that has QEMU and Python, and no compiler; nor one in the cache."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("qemu-system-x86_64", "sh", "python3", "env"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to("/usr/bin/python3" if name == "python3" else found)
    environment = {**os.environ, "PATH": str(tools), "CC": "", "XDG_CACHE_HOME": str(folder)}
    words = ["/usr/bin/python3", "-m", "cr3scope", "run", "-o", folder / "run", "--json", "-", "--elf", kernel, "--", *QEMU,
             "-kernel", kernel]  # fmt: skip
    environment["PYTHONPATH"] = str(ROOT / "scripts/analyze")
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stdout, done.stderr
    verdict: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return verdict
