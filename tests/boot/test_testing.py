"""`cr3scope.testing`, the fixture of its plugin, and what cargo runs: on kernels that QEMU itself loads, in a fraction of a second."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from analyze.lint_files import kernel_32, written
from boot.test_linted_kernels import ABORT, FUNCTIONS, MAIN, QEMU

from cr3scope.errors import UnusableInput
from cr3scope.testing import Booted, boot
from cr3scope.verdict.types import Status

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """A kernel whose entry is ud2: one boot for all that is asked of it."""
    folder = tmp_path_factory.mktemp("dead")
    return boot(*QEMU, written(folder / "kernel", kernel_32(ABORT + MAIN, FUNCTIONS, entry=0)), folder=folder / "run")


@pytest.mark.quick
def test_a_dead_guest_is_an_object_and_its_report_the_message(dead: Booted) -> None:
    assert (dead.status, dead.is_healthy) == (Status.FAULTED, False) and dead.rules
    assert dead.report.startswith(dead.headline) and (dead.folder / "interrupts.log").is_file()
    with pytest.raises(AssertionError) as failed:
        dead.require_healthy()
    assert dead.report in str(failed.value) and str(dead.folder) in str(failed.value)
    dead.require_fault()
    dead.require_fault(dead.rules[0], vector=6)
    for wrong, why in (({"rule": "nx-leaf-code"}, "no error of the rule nx-leaf-code"), ({"vector": 14}, "exception 14 was not the first: 6")):
        with pytest.raises(AssertionError, match=why):
            dead.require_fault(**wrong)  # type: ignore[arg-type]


def test_a_healthy_guest_is_no_fault(tmp_path: Path) -> None:
    healthy = boot(*QEMU, written(tmp_path / "kernel", kernel_32(ABORT + MAIN, FUNCTIONS, entry=4)), folder=tmp_path / "run")
    healthy.require_healthy()
    with pytest.raises(AssertionError, match="neither faulted nor hung"):
        healthy.require_fault()


def test_what_starts_no_guest_is_one_exception_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="no-such-qemu"):
        boot("no-such-qemu", folder=tmp_path)
    with pytest.raises(UnusableInput, match="none that `cr3scope run` takes"):
        boot("qemu-system-x86_64", folder=tmp_path, expect="(")


def test_the_fixture_of_the_page_shows_the_report_of_a_failed_test(tmp_path: Path, dead: Booted) -> None:
    """In a process of its own, as somebody else's tests."""
    (example,) = re.findall(r"```python\n(def test_.*?)```", PAGE, re.DOTALL)
    kernel = written(tmp_path / "kernel.elf", kernel_32(ABORT + MAIN, FUNCTIONS, entry=0))
    (tmp_path / "test_boot.py").write_text(example)
    words = [sys.executable, "-m", "pytest", "-p", "cr3scope.testing.plugin", "-p", "no:cacheprovider", "-q", "test_boot.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the guest is not healthy" in done.stdout and "cr3scope, boot 1" in done.stdout and "FAULTED: #UD" in done.stdout
    assert kernel.exists()


def test_the_runner_of_the_page_is_completed_by_cargo(tmp_path: Path) -> None:
    """cargo runs the words of `runner`, then the path of what it has built, then what stands behind `--`."""
    tomllib = pytest.importorskip("tomllib")
    (config,) = re.findall(r"```toml\n(\[target\..*?)```", PAGE, re.DOTALL)
    (target,) = tomllib.loads(config)["target"].values()
    program, *words = target["runner"]
    assert program == "cr3scope"
    built = tmp_path / "target/x86_64-unknown-none/debug/kernel"
    built.parent.mkdir(parents=True)
    built.write_bytes(kernel_32(ABORT + MAIN, FUNCTIONS, entry=0, undefined=("_start",)))
    done = subprocess.run([ROOT / "scripts/cr3scope", *words, built], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stdout.startswith("FAULTED: #UD"), done.stderr
    assert "is abort" in done.stdout, "--elf-kernel gives the names of the kernel's functions"


def test_the_plugin_alone_loads_nothing_that_boots() -> None:
    """An installed plugin is loaded at each start of pytest, whatever that tests."""
    words = "import sys, cr3scope.testing.plugin; print(sorted(name for name in sys.modules if name.startswith(('cr3scope.', 'numpy'))))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout == "['cr3scope.testing', 'cr3scope.testing.plugin']\n", done.stderr


def test_a_command_without_a_kernel_has_no_symbols_to_take(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "scripts/cr3scope", "run", "-o", tmp_path / "run", "--elf-kernel", "--", "true"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "cr3scope: --elf-kernel: the QEMU command has no -kernel\n")
