"""Bad input ends in one clear message and a return to firmware: no reset, no hang, no clean verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.bad_inputs import CONFIGS, initrds, write
from boot.firmware import boot_from_first_read
from boot.reference import Run, build
from boot.snapshot import boot_from_snapshot


def check_refused(run: Run, word: str, verdict: str = "incomplete") -> None:
    assert run.status != 0, run.explain()
    assert run.verdict["verdict"] == verdict, run.explain()
    refusals = [f for f in run.verdict["findings"] if f["rule"] == "loader-refused"]
    assert len(refusals) == 1, run.explain()
    told = refusals[0]["title"] + refusals[0]["detail"]
    assert word.lower() in told.lower(), told
    assert b"Triple fault" not in (run.folder / "interrupts.log").read_bytes()


BAD_INITRDS = [
    "missing", "empty", "no-kernel", "cut-in-header", "cut-in-kernel", "not-cpio", "size-not-hex",
    "elf-wrong-machine", "elf-not-elf", "elf-segment-outside-file", "elf-overlapping-segments",
    "elf-write-and-execute", "elf-non-canonical", "elf-size-overflow", "elf-filesz-over-memsz",
    "elf-no-load-segment", "elf-entry-outside-text", "elf-cut",
    # What fuzzers reach (tests/fuzz/): sums that wrap, sizes of nothing and of everything.
    "file-of-4-gib", "name-of-4-gib", "name-of-nothing", "no-trailer", "elf-most-headers", "elf-headers-wrap",
    "elf-headers-of-no-size", "elf-over-1-gib", "elf-entry-behind-the-file",
]


@pytest.mark.parametrize("name", BAD_INITRDS)
def test_bad_initrd_is_refused_by_name(name: str, tmp_path: Path) -> None:
    table = initrds((build() / "kernel/kernel.elf").read_bytes())
    assert sorted(table) == sorted(BAD_INITRDS)
    data, word = table[name]
    check_refused(boot_from_first_read(tmp_path / "run", INITRD=write(tmp_path, data)), word)


@pytest.mark.parametrize("name", CONFIGS)
def test_bad_configuration_is_refused_by_name(name: str, tmp_path: Path) -> None:
    line, word = CONFIGS[name]
    check_refused(boot_from_snapshot(tmp_path, config=line, is_traced=False), word)


def test_preflight_stop_returns_to_firmware_instead_of_resetting(tmp_path: Path) -> None:
    run = boot_from_snapshot(tmp_path, inject="code-unmapped", config="preflight=stop")
    check_refused(run, "preflight", "will-fault")
    assert "code-unmapped" in run.rules, run.explain()


def test_every_failing_allocation_is_refused_by_name(tmp_path: Path) -> None:
    """The n-th allocation fails, for n = 1, 2, ... until the boot needs fewer than n."""
    for n in range(1, 100):
        run = boot_from_snapshot(tmp_path / str(n), config=f"fail_allocation={n}")
        if run.status == 0:
            assert n > 5, "the loader must allocate more than this"
            return
        check_refused(run, "alloc")
    raise AssertionError("100 allocations failed and the boot still asks for more")
