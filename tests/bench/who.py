"""What it costs to keep who wrote what: a whole boot of a foreign loader that dies, with QEMU's plugin and without."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.plugin_build import plugin_for

ROOT = Path(__file__).resolve().parent.parent.parent
_LOADER = "foreign/stack_unmapped.efi"
_GUEST_MIB = 256
_BLOCK = 512  # of stat's st_blocks
_SECONDS = 300


def figures(folder: Path, build: Path) -> Iterator[tuple[str, float, str, float]]:
    """Yield name, value, unit and limit of each."""
    subprocess.run(["make", "-s", build / _LOADER], cwd=ROOT, check=True)
    settings = {**os.environ, "MEM": str(_GUEST_MIB), "INITRD": "", "FIRST_STAGE": ""}
    subprocess.run([ROOT / "scripts/boot/image", folder / "disk.img", build / _LOADER, ""], check=True, env=settings)
    command = subprocess.run([ROOT / "scripts/boot/qemu-command", folder, folder / "disk.img"], capture_output=True, text=True,
                             check=True, env=settings).stdout.splitlines()  # fmt: skip
    plugin = Plugin(plugin_for(command), folder / "writers")
    boot = [*command, "-no-reboot", "-serial", "null"]
    bare = _cpu(lambda: _run(boot))
    kept = _cpu(lambda: _run([*boot, *plugin.words()]))
    plugin.file.unlink()
    yield "CPU time of a boot that keeps who wrote what, beside a bare one", kept / bare, "times", 3.0
    began = time.perf_counter()
    _run(boot)
    once = time.perf_counter() - began
    watched = Plugin(plugin.program, folder / "watched")
    size = _run_watched(command, folder, watched)
    yield "what is kept then, of the guest's memory", size / (_GUEST_MIB << 20), "times", 1.5
    began = time.perf_counter()
    words = ["run", "-o", folder / "run", "--elf", (build / _LOADER).with_suffix(".elf"), "--", *command]
    done = subprocess.run([ROOT / "scripts/cr3scope", *words], capture_output=True, text=True, check=False, timeout=_SECONDS)
    if "writer" not in done.stdout:
        raise SystemExit(f"bench: no writer:\n{done.stdout}")
    seconds = time.perf_counter() - began
    yield "both boots and the verdict with the writer, of the bare boot's time", seconds / once, "times", 3.5
    yield "from the start to the verdict with the writer", seconds, "s", 15.0 * max(once / 3, 1)  # a boot of 3 s


def _run(words: list[str]) -> None:
    subprocess.run(words, check=False, timeout=_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _run_watched(command: list[str], folder: Path, plugin: Plugin) -> int:
    """How many bytes the file takes that `run` has the plugin keep."""
    from cr3scope.qemu.command import read_command
    from cr3scope.qemu.guest import watch

    watch(read_command(command), folder, _SECONDS, witness=plugin)
    size = plugin.file.stat().st_blocks * _BLOCK
    plugin.file.unlink()
    return size


def _cpu(call: Callable[[], None]) -> float:
    """User and system seconds of the processes that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
