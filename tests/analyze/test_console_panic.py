"""What the console says behind a trace counts alike at every door: `analyze`, `triage --capture`, `listen` and `run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from analyze.storm_log import firmware
from analyze.test_listen import DIES, HEALTHY, PANIC, heard_at, fifo

from cr3scope.cli.main import main

FAKE = str(Path(__file__).with_name("fake_qemu.py"))
STARTS = b'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\n'
SCREEN = (
    b"!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!\r\n"
    b"ExceptionData - 0000000000000010  I:1 R:0 U:0 W:0 P:0 PK:0 SS:0 SGX:0\r\n"
    b"RIP  - 000000000E3A6119, CS  - 0000000000000038, RFLAGS - 0000000000210246\r\n"
    b"CR0  - 0000000080010033, CR2 - 000000000E3A6119, CR3 - 000000000E531000\r\n"
    b"!!!! Can't find image information. !!!!\r\n"
)
OOPS = (
    b"[    0.5] BUG: unable to handle page fault for address: ffff900000000000\r\n[    0.5] #PF: error_code(0x0002) - not-present page\r\n"
    b"[    0.5] Oops: 0002 [#1] SMP\r\n[    0.5] RIP: 0010:0xffffffff81000000\r\n[    0.6] udevd[71]: started\r\n"
)


def analyzed(folder: Path, said: bytes) -> int:
    (folder / "said.log").write_bytes(said)
    return main(["analyze", str(folder / "said.log"), "--json", str(folder / "verdict.json")])


def triaged(folder: Path, said: bytes) -> int:
    (folder / "said.log").write_bytes(said)
    (folder / "int.log").write_text("".join(firmware()))
    return main(["triage", str(folder / "int.log"), "--capture", str(folder / "said.log"), "--json", str(folder / "verdict.json")])


def triaged_twice(folder: Path, said: bytes) -> int:
    """The capture is the log, too."""
    (folder / "said.log").write_bytes(said)
    return main(["triage", str(folder / "said.log"), "--capture", str(folder / "said.log"), "--json", str(folder / "verdict.json")])


def heard(folder: Path, said: bytes) -> int:
    with fifo(folder, said) as path:
        status, verdicts = heard_at(path, folder, "-q", "--boots", "1")
    (folder / "verdict.json").write_text(json.dumps(verdicts[0]))
    return status


def run(folder: Path, said: bytes) -> int:
    (folder / "said.log").write_bytes(said)
    words = ["run", "-o", str(folder / "run"), "--timeout", "20", "--json", str(folder / "verdict.json")]
    return main([*words, "--", sys.executable, FAKE, f"says-all-of:{folder / 'said.log'}"])


Door = Callable[[Path, bytes], int]
DOORS = [analyzed, triaged, heard, pytest.param(run, marks=pytest.mark.slow)]


def judged(door: Door, folder: Path, said: bytes) -> tuple[int, dict[str, Any]]:
    status = door(folder, said)
    return status, json.loads((folder / "verdict.json").read_text())


def of(verdict: dict[str, Any]) -> tuple[str, list[str]]:
    return verdict["verdict"], [each["rule"] for each in verdict["findings"] if each["severity"] == "error"]


def words(verdict: dict[str, Any]) -> str:
    return "\n".join(each["message"] for each in verdict["diagnostics"])


DEADLY = {
    "linux": (PANIC, "VFS: Unable to mount root fs"),
    "cut": (b"<0>[    2.123456][    T1] Kernel panic - not syncing: no in", "no in"),
    "coloured": (b"\x1b[1;31mKernel panic - not syncing: x\x1b[0m\r\n", "x"),
    "again": (b"[    9.1] ---[ end Kernel panic - not syncing: x ]---\r\n", "x"),
    "behind a prompt": (b"~ # [   12.345678] Kernel panic - not syncing: sysrq triggered crash\r\n", "sysrq triggered crash"),
    "behind half a line": (b"loading modulKernel panic - not syncing: x\r\n", "x"),
    "early": (b"PANIC: early exception 0x0e IP 10:ffffffff82c0a1b2 error 0 cr2 0xffffffffff240010\r\n", "PANIC: early exception 0x0e"),
    "xen": (b"(XEN) [    3.9] Panic on CPU 0:\r\n(XEN) [    3.9] Could not construct domain 0\r\n", "Could not construct domain 0"),
    "xen, cut": (b"(XEN) Panic on CPU 0:\r\n", "it does not say why"),
    "dom0": (b"(XEN) Hardware Dom0 crashed: 'noreboot' set - not rebooting.\r\n", "Hardware Dom0 crashed: 'noreboot'"),
}


@pytest.mark.parametrize("door", [*DOORS, triaged_twice])
@pytest.mark.parametrize("name", ["linux", "cut", "xen"])
def test_a_panic_behind_a_healthy_trace_is_a_death_at_every_door(door: Door, name: str, tmp_path: Path) -> None:
    said, why = DEADLY[name]
    status, verdict = judged(door, tmp_path, HEALTHY + said)
    assert (status, *of(verdict)) == (1, "faulted", ["kernel-panic"])
    assert verdict["findings"][0]["title"] == f"the kernel gave up: {why}"
    assert verdict["agreement"] is True  # with the plan, all went well


@pytest.mark.parametrize("name", DEADLY)
def test_each_form_of_a_panic_is_known(name: str, tmp_path: Path) -> None:
    said, why = DEADLY[name]
    status, verdict = judged(analyzed, tmp_path, HEALTHY + said)
    assert (status, *of(verdict)) == (1, "faulted", ["kernel-panic"]) and why in verdict["findings"][0]["title"]


@pytest.mark.parametrize("door", [*DOORS, triaged_twice])
@pytest.mark.parametrize("said", [SCREEN, SCREEN[:90], b"Loading" + SCREEN], ids=["whole", "cut", "behind half a line"])
def test_the_firmwares_screen_behind_a_healthy_trace_is_a_death_at_every_door(door: Door, said: bytes, tmp_path: Path) -> None:
    status, verdict = judged(door, tmp_path, HEALTHY + said)
    assert (status, verdict["verdict"], verdict["observation"]["outcome"]) == (1, "faulted", "handled")
    assert verdict["observation"]["first"]["vector"] == 14


QUOTED = {
    "command line": b"[    0.0] Kernel command line: root=/dev/sda panic=10 oops=panic panic_on_warn=1\r\n",
    "sysctl": b"kernel.panic = 10\r\nkernel.panic_on_oops = 1\r\n",
    "echo": b"~ # echo 'Kernel panic - not syncing: x'\r\n",
    "shown": b"> Kernel panic - not syncing: Attempted to kill init!\r\n",
    "of a log": b"Dec  1 03:00:00 host kernel: [    1.000000] Kernel panic - not syncing: of yesterday\r\n",
    "manual": b"       If init dies, the message is \"Kernel panic - not syncing: Attempted to kill init\".\r\n",
    "screen": b"see `!!!! X64 Exception Type - 0E(#PF - Page-Fault)` in the manual\r\n",
    "domain": b"(XEN) Domain 3 (vcpu#0) crashed on cpu#0:\r\n",
    "handler": b"panic handler installed\r\ntest panic: ok\r\nno panic.\r\noptions: debug panic\r\npanic on oops: disabled\r\npanic-timeout: 10\r\nkernel.panic:10\r\n",
    "split": b"[    1.0] Kernel pa@c3s1 z\r\nnic - not syncing: x\r\n",
    "maker": b"[    0.000000] efi: EFI v2.7 by American Megatrends\r\n[    0.000000] DMI: American Megatrends X, BIOS InsydeH2O Version 1\r\n",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", [name for name in QUOTED if name != "split"])
def test_who_speaks_of_a_panic_is_healthy_at_every_door(door: Door, name: str, tmp_path: Path) -> None:
    status, verdict = judged(door, tmp_path, HEALTHY + QUOTED[name])
    assert (status, *of(verdict)) == (0, "healthy", []), words(verdict)


@pytest.mark.parametrize("door", [*DOORS, triaged_twice])
def test_an_oops_behind_a_healthy_trace_is_what_triage_calls_it(door: Door, tmp_path: Path) -> None:
    """Whatever the kernel then still did: the plan was behind it."""
    status, verdict = judged(door, tmp_path, HEALTHY + OOPS)
    assert (status, *of(verdict), verdict["observation"]["outcome"], verdict["agreement"]) == (1, "faulted", [], "handled", None)
    before = HEALTHY.rindex(b"@c3s1 ", 0, HEALTHY.rindex(b" summary "))
    handled = HEALTHY[:before] + OOPS + HEALTHY[before:]  # by a check that provokes one
    assert judged(analyzed, tmp_path, handled)[0] == 0
    assert judged(analyzed, tmp_path, handled + STARTS + OOPS)[0] == 0  # of another boot


def test_words_that_a_record_splits_are_no_panic(tmp_path: Path) -> None:
    _, verdict = judged(analyzed, tmp_path, HEALTHY + QUOTED["split"])
    assert of(verdict) == ("incomplete", [])  # by the damaged record


@pytest.mark.parametrize("door", DOORS)
def test_what_the_trace_finds_comes_before_the_panic(door: Door, tmp_path: Path) -> None:
    status, verdict = judged(door, tmp_path, DIES + PANIC)
    assert (status, *of(verdict)) == (1, "faulted", ["nx-upper-level", "kernel-panic"])


@pytest.mark.parametrize("door", DOORS)
def test_a_panic_that_tears_a_record_is_one_at_every_door(door: Door, tmp_path: Path) -> None:
    at = HEALTHY.index(b" b=", 9000) + 20
    status, verdict = judged(door, tmp_path, HEALTHY[:at] + PANIC)
    assert (status, verdict["verdict"]) == (1, "faulted") and "kernel-panic" in of(verdict)[1]
    assert "does not end with a checksum" in words(verdict)


def test_a_log_that_is_the_capture_itself_tells_of_the_same_boot(tmp_path: Path) -> None:
    for said in (PANIC, SCREEN):
        _, verdict = judged(triaged_twice, tmp_path, HEALTHY + said + STARTS + HEALTHY)
        assert [each["status"] for each in verdict["boots"]] == ["faulted", "healthy"] and "is taken for that" not in words(verdict)


def test_a_kernel_that_was_heard_to_panic_is_not_called_silent(tmp_path: Path) -> None:
    loaders = HEALTHY[: HEALTHY.index(b"@c3s1", HEALTHY.index(b" next=kernel "))]
    status, verdict = judged(analyzed, tmp_path, loaders)
    assert of(verdict) == ("incomplete", ["kernel-silent"])
    status, verdict = judged(analyzed, tmp_path, loaders + PANIC)
    assert (status, *of(verdict)) == (1, "faulted", ["kernel-panic"])
    assert (verdict["observation"]["source"], verdict["agreement"]) == ("the console", True)


@pytest.mark.parametrize(
    ("said", "status", "boots"),
    [
        (HEALTHY + PANIC + STARTS + HEALTHY, "faulted", ["faulted", "healthy"]),
        (HEALTHY + PANIC + HEALTHY, "faulted", ["faulted", "healthy"]),
        (HEALTHY + STARTS + HEALTHY + PANIC, "faulted", ["healthy", "faulted"]),
        (HEALTHY + SCREEN + STARTS + HEALTHY, "faulted", ["faulted", "healthy"]),
        (HEALTHY[: HEALTHY.index(b"@c3s1 40 ")] + PANIC + STARTS + HEALTHY, "faulted", ["faulted", "healthy"]),
        (SCREEN + HEALTHY, "incomplete", ["healthy"]),
        (PANIC + STARTS + HEALTHY, "incomplete", ["healthy"]),
        (HEALTHY + STARTS + HEALTHY, "healthy", ["healthy", "healthy"]),
        (HEALTHY + STARTS + SCREEN, "incomplete", ["healthy"]),
        (HEALTHY + STARTS + PANIC + STARTS + HEALTHY, "incomplete", ["healthy", "healthy"]),
        (HEALTHY + STARTS, "healthy", ["healthy"]),
    ],
    ids=map(str, range(11)),
)
def test_a_panic_is_that_of_the_boot_behind_whose_records_it_stands(said: bytes, status: str, boots: list[str], tmp_path: Path) -> None:
    _, verdict = judged(analyzed, tmp_path, said)
    assert (verdict["verdict"], [each["status"] for each in verdict["boots"]]) == (status, boots)
    assert ("without a trace, and that boot died" in words(verdict)) is (status == "incomplete")


@pytest.mark.parametrize("said", [PANIC, b"x" * 5000 + b"\r\n" + PANIC], ids=["first", "later"])
def test_a_listener_takes_no_panic_of_before_the_trace_for_its_boots(said: bytes, tmp_path: Path) -> None:
    """It is another boot's, though no firmware was heard in between."""
    with fifo(tmp_path, said + HEALTHY[HEALTHY.index(b"@c3s") :]) as path:
        status, verdicts = heard_at(path, tmp_path, "-q", "--boots", "2")
    assert (status, [of(verdict) for verdict in verdicts]) == (1, [("faulted", []), ("healthy", [])])


def test_a_capture_without_a_beginning_is_faulted_by_a_panic(tmp_path: Path) -> None:
    status, verdict = judged(analyzed, tmp_path, HEALTHY[9000:] + PANIC)
    assert (status, *of(verdict)) == (1, "faulted", ["kernel-panic"])
    with fifo(tmp_path, HEALTHY[9000:] + PANIC + STARTS + HEALTHY) as path:
        status, verdicts = heard_at(path, tmp_path, "-q", "--once")
    assert [of(each) for each in verdicts] == [("faulted", ["kernel-panic"]), ("healthy", [])]


DOUBTFUL = ["panic: no root", "KERNEL PANIC: no root", "*** KERNEL PANIC ***", "lapicid 0: panic: remap", "PANIC", "[    1.5] kernel panicked at src/main.rs:1:2:"]


@pytest.mark.parametrize("line", DOUBTFUL)
def test_a_kernels_own_words_of_a_panic_make_no_clean_verdict_and_claim_nothing(line: str, tmp_path: Path) -> None:
    said = HEALTHY + line.encode() + b"\r\n ffffffff80001234\r\n"
    status, verdict = judged(analyzed, tmp_path, said)
    assert (status, *of(verdict)) == (2, "incomplete", []) and line in words(verdict)
    assert judged(analyzed, tmp_path, said + b"all is well\r\n" * 30)[0] == 0


@pytest.mark.parametrize("door", DOORS)
def test_such_words_are_in_doubt_at_every_door(door: Door, tmp_path: Path) -> None:
    status, verdict = judged(door, tmp_path, HEALTHY + b"panic: no root\r\n")
    assert (status, *of(verdict)) == (2, "incomplete", []) and "panic: no root" in words(verdict)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "status"), [(PANIC, "faulted"), (SCREEN, "faulted"), (b"panic: no root\r\n", "incomplete"), (b"hello\r\n", "healthy")],
    ids=["panic", "screen", "doubt", "well"],
)
def test_a_console_beside_another_channel_of_the_trace_counts_too(said: bytes, status: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(HEALTHY)
    (tmp_path / "said.log").write_bytes(said)
    words = ["run", "-o", str(tmp_path / "run"), "--timeout", "3", "--json", str(tmp_path / "verdict.json"), "--capture-command", f"cat {tmp_path / 'trace'}"]
    main([*words, "--until", "hello|root", "--", sys.executable, FAKE, f"says-all-of:{tmp_path / 'said.log'}"])
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == status


@pytest.mark.parametrize("said", [b"", HEALTHY], ids=["untraced", "traced"])
def test_a_guest_that_tells_qemu_of_its_panic_is_not_healthy(said: bytes, tmp_path: Path) -> None:
    target = tmp_path / "verdict.json"
    (tmp_path / "said.log").write_bytes(said)
    status = main(["run", "-o", str(tmp_path / "run"), "--json", str(target), "--", sys.executable, FAKE, f"panics-to-qemu:{tmp_path / 'said.log'}"])
    assert (status, *of(json.loads(target.read_text()))) == (1, "faulted", ["kernel-panic"])
