"""The analyzer's view of a dump equals what the paused machine's memory and QEMU itself say."""

from __future__ import annotations

import json
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from boot import firmware
from boot.naive_walk import Page, canonical, pages
from boot.qemu_words import qemu_words
from boot.reference import BOOT_SECONDS, BUILD, ROOT, build, first_stage
from boot.verbs import cr3scope

from cr3scope.input.capture.reader import read_capture
from cr3scope.qemu.qmp import Listener, Qmp

MEMORY_BYTES, PIECE_BYTES = 256 << 20, 16 << 20
DONE = b"SUMMARY:"


@contextmanager
def paused_guest(folder: Path, config: str, stage: str) -> Iterator[tuple[Qmp, bytes]]:
    """The reference boot, stopped after the kernel's checks, and what it sent on the serial port."""
    (folder / "cr3scope.cfg").write_text(config + "\nkernel=exit=none\n")
    environment = {"PATH": "/usr/bin:/bin", "FIRST_STAGE": stage, "QEMU": firmware.stand_in({})}
    subprocess.run([ROOT / "scripts/boot/image", folder / "disk.img", BUILD / "loader/loader.efi",
                    BUILD / "kernel/kernel.elf", folder / "cr3scope.cfg"], check=True, env=environment)
    listener = Listener(folder / "qmp")
    guest = subprocess.Popen(
        [*qemu_words(folder, {"QEMU": environment["QEMU"]}), "-serial", "stdio", "-qmp", f"unix:{folder}/qmp"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        serial = read_until(guest, DONE)
        qmp = listener.accept()
        qmp.execute("stop")
        yield qmp, serial
        qmp.close()
    finally:
        guest.kill()
        guest.communicate()
        listener.close()


def read_until(guest: subprocess.Popen[bytes], mark: bytes) -> bytes:
    assert guest.stdout is not None
    heard, until = b"", time.monotonic() + BOOT_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(guest.stdout, selectors.EVENT_READ)
        while mark not in heard:
            ready = selector.select(until - time.monotonic())
            assert ready, f"no {mark!r} on the serial port within {BOOT_SECONDS} s: {heard[-300:]!r}"
            data = guest.stdout.read1(1 << 16)
            assert data, f"QEMU ended before {mark!r}: {heard[-300:]!r}"
            heard += data
    return heard


def saved_memory(qmp: Qmp, file: Path) -> bytes:
    """All of the guest's memory; in pieces, for each must be on the disk before QEMU's answer is due."""
    memory = b""
    for at in range(0, MEMORY_BYTES, PIECE_BYTES):
        qmp.execute("pmemsave", val=at, size=PIECE_BYTES, filename=str(file))
        memory += file.read_bytes()
    return memory


def answer_of(*arguments: str | Path) -> dict[str, Any]:
    done = cr3scope(*arguments, "--json", "-")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def merged(leaves: Iterator[Page]) -> list[tuple[int, int, int, int, str]]:
    """(first, last, phys, page size, rights), neighbours of equal rights and adjacent frames joined."""
    runs: list[tuple[int, int, int, int, str]] = []
    for leaf in leaves:
        rights = "r" + ("w" if leaf.writable else "-") + ("x" if leaf.executable else "-")
        if runs:
            first, last, phys, size, before = runs[-1]
            joins = leaf.virt == last + 1 and leaf.phys == phys + (last + 1 - first)
            if joins and rights == before and leaf.size == size:
                runs[-1] = (first, last + leaf.size, phys, size, rights)
                continue
        runs.append((leaf.virt, leaf.virt + leaf.size - 1, leaf.phys, leaf.size, rights))
    return runs


@pytest.mark.parametrize(("levels", "config"), [(4, ""), (4, "identity=full"), (5, "")])
def test_maps_and_walks_equal_memory_and_qemu(levels: int, config: str, tmp_path: Path) -> None:
    build()
    stage = first_stage("la57" if levels == 5 else "")
    with paused_guest(tmp_path, config, stage) as (qmp, serial):
        capture = tmp_path / "serial.log"
        capture.write_bytes(serial + b"\n")
        memory = saved_memory(qmp, tmp_path / "memory.bin")
        cr3 = qmp.registers()["CR3"]
        planned = read_capture(serial).boots[-1].dumps["new"]
        assert (cr3 & ~0xFFF, levels) == (planned.cr3 & ~0xFFF, planned.levels)

        leaves = list(pages(memory, cr3, levels))
        told = answer_of("maps", capture)["mappings"]
        mine = [(int(m["first"], 16), int(m["last"], 16), int(m["phys"], 16), m["rights"][:3])
                for m in told]
        seen = [(first, last, phys, rights) for first, last, phys, _, rights in merged(iter(leaves))]
        assert flat(mine) == flat(seen)
        check_translations(qmp, capture, leaves, levels)


def flat(runs: list[tuple[int, int, int, str]]) -> list[tuple[int, int, int, str]]:
    """Joined once more without regard to page size: how neighbours merge is each side's own choice."""
    out: list[tuple[int, int, int, str]] = []
    for first, last, phys, rights in sorted(runs):
        if out and out[-1][1] + 1 == first and out[-1][3] == rights:
            before = out[-1]
            if before[2] + (first - before[0]) == phys:
                out[-1] = (before[0], last, before[2], rights)
                continue
        out.append((first, last, phys, rights))
    return out


def check_translations(qmp: Qmp, capture: Path, leaves: list[Page], levels: int) -> None:
    """A sample of addresses, mapped and not, through QEMU's own walk."""
    sample = [leaf.virt + 0x123 for leaf in leaves[:: max(1, len(leaves) // 12)]]
    sample += [0xFFFF_FE00_0000_0000, canonical(1 << 40, levels)]
    for virt in sample:
        answer = qmp.execute("human-monitor-command", **{"command-line": f"gva2gpa {virt:#x}"})
        found = re.search(r"gpa: (0x[0-9a-f]+)", answer)
        walk = answer_of("walk", capture, f"{virt:#x}")
        assert walk["phys"] == (found[1] if found else None), f"{virt:#x}: {answer.strip()}"
