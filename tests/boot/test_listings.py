"""Listings of a real paused guest agree with its tables in all that they tell, and only there; those of Linux are in test_linux_maps.py."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from boot import firmware
from boot.qemu_words import qemu_words
from boot.reference import ROOT, build
from boot.test_differential import read_until
from boot.verbs import cr3scope

from cr3scope.input.capture.reader import read_capture
from cr3scope.qemu.qmp import Listener, Qmp

LEFT = b" exit status=0"  # the loader's last record before the switch
KERNEL = "ffffffff80000000"
LISTINGS = ("info tlb", "info mem")
SAVE_SECONDS = 120.0
SWITCH_SECONDS, LOOK_SECONDS = 60.0, 0.03


@contextmanager
def guest(
    folder: Path, command: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], Listener]]:
    """A running QEMU with its serial port on standard output, which calls on a QMP socket."""
    listener = Listener(folder / "qmp")
    process = subprocess.Popen(
        [*command, "-serial", "stdio", "-qmp", f"unix:{folder}/qmp", "-no-reboot",
         "-action", "reboot=shutdown,shutdown=pause"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process, listener
    finally:
        process.kill()
        process.communicate()
        listener.close()


def wait_for(qmp: Qmp, event: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not any(told["event"] == event for told in qmp.events()):
        left = until - time.monotonic()
        assert left > 0 and not qmp.closed, f"no event {event} from QEMU within {seconds:g} s"
        select.select([qmp], [], [], left)


def wait_for_root(qmp: Qmp, root: int) -> None:
    until = time.monotonic() + SWITCH_SECONDS
    while qmp.registers()["CR3"] != root:
        assert time.monotonic() < until, f"CR3 is not {root:#x} after {SWITCH_SECONDS:g} s"
        select.select([qmp], [], [], LOOK_SECONDS)


def save(qmp: Qmp, folder: Path) -> None:
    """Writes the core, and each listing."""
    qmp.execute("dump-guest-memory", paging=False, protocol=f"file:{folder}/core", detach=True)
    wait_for(qmp, "DUMP_COMPLETED", SAVE_SECONDS)
    for command in LISTINGS:
        save_listing(qmp, folder, command)


def save_listing(qmp: Qmp, folder: Path, command: str) -> None:
    """Writes a listing as a person would capture it from a terminal."""
    text = f"QEMU monitor\r\n(qemu) {command}\r\n{qmp.monitor(command)}(qemu) "
    (folder / command).write_text(text, newline="")


def answer_of(*words: str | Path, status: int = 0) -> dict[str, Any]:
    done = cr3scope(*words, "--json", "-")
    assert done.returncode == status, (words, done.returncode, done.stdout[:500], done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ranges(answer: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(told[name] for name in names) for told in answer["mappings"]]


def test_a_right_that_is_denied_above_the_leaves_shows_in_the_tables_alone(tmp_path: Path) -> None:
    """NX in the PML4 entry of the kernel: the guest dies of it, and its listing shows x."""
    environment = {**os.environ, "INJECT": "nx-upper-level", "CONFIG": "", "QEMU": firmware.stand_in({})}
    subprocess.run(
        [ROOT / "scripts/boot/prepare", build(), tmp_path], check=True, env=environment
    )
    with guest(tmp_path, qemu_words(tmp_path, environment)) as (process, listener):
        capture = read_capture(read_until(process, LEFT) + b"\n")
        root = capture.boots[-1].dumps["new"].cr3
        with closing(listener.accept()) as qmp:
            wait_for_root(qmp, root)
            qmp.execute("stop")
            save(qmp, tmp_path)
    core, listing = tmp_path / "core", tmp_path / "info tlb"
    fault = answer_of("walk", core, KERNEL, "--access", "x", status=1)
    assert (fault["reason"], fault["guilty"]) == ("no-execute", ["PML4[511]"])
    assert [entry["veto"] for entry in fault["levels"]] == [["x", "u"], ["u"], ["u"], ["w", "u"]]
    unsure = answer_of("walk", listing, KERNEL, "--access", "x", status=1)
    assert (unsure["outcome"], unsure["rights"], unsure["phys"]) == ("unknown", "r-x-", None)
    same = answer_of("diff", core, listing)
    assert same["equal"] and any("may deny" in words for words in same["warnings"])
    assert answer_of("diff", core, tmp_path / "info mem")["equal"]
    core.unlink()
