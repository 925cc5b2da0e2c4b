"""Runs of gdb for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import forked_gdb
from boot import firmware
from boot.channels import calling
from boot.guest import qemu_command
from boot.reference import BOOT_SECONDS, BUILD, ROOT, build
from boot.snapshot import at_loader
from boot.state_file import load, waiting
from cr3scope.qemu.qmp import Qmp


def gdb(*commands: str, first: str = "") -> str:
    """What a gdb without a guest prints for commands, ``first`` before the project's script was sourced."""
    words = [word for command in commands for word in ("-ex", command)]
    script = ROOT / "scripts/gdb/cr3scope_gdb.py"
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-batch", "-ex", first, "-ex", f"source {script}", *words],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def answers(commands: Sequence[str]) -> dict[str, str]:
    """Return what one gdb without a guest prints for each of the commands."""
    mark = "-- next --"
    script = ROOT / "scripts/gdb/cr3scope_gdb.py"
    words = [word for command in commands for word in ("-ex", command, "-ex", f"echo {mark}")]
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-batch", "-ex", f"source {script}", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )  # fmt: skip
    told = done.stdout.split(mark)
    assert len(told) == len(commands) + 1, done.stdout
    return dict(zip(commands, told))


def foreign(
    folder: Path, program: Path, commands: str, settings: Mapping[str, str] = MappingProxyType({}),
    ends: Sequence[str] = ("-no-reboot",), *, at_reset: bool = False,
) -> str:  # fmt: skip
    """What gdb prints for commands on a machine with ``program`` as the removable medium's loader.

    It stands where the firmware first reads the medium, or at its reset. ``settings``: those of
    `make run-trace`; ``ends``: what becomes of QEMU at a reset.
    """
    folder.mkdir(exist_ok=True)
    command = [*qemu_command(folder, program, settings), "-serial", f"file:{folder}/serial.log", *ends]
    return session(folder, command, commands, None if at_reset else firmware.state(settings))


def multiboot(folder: Path, case: str, commands: str) -> str:
    """The same with the kernel of kernels/multiboot.S as it is with CASE_``case``; gdb has its symbols."""
    image = kernel(folder, case)
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-cpu", "max",
               "-kernel", str(image)]
    return session(folder, [*command, "-no-reboot"], f'file "{image.with_suffix(".elf")}"\n{commands}')


def kernel(folder: Path, case: str) -> Path:
    """That kernel as QEMU's multiboot loader takes it, beside the ELF file with its symbols."""
    built = folder / f"{case}.elf"
    source = Path(__file__).parent / "kernels/multiboot.S"
    subprocess.run(["gcc", "-g", "-nostdlib", "-static", "-no-pie", f"-DCASE_{case}",
                    "-Wl,-n,-Ttext=0x100000,--build-id=none,-z,noexecstack,--no-warn-rwx-segments",
                    "-o", built, source], check=True)  # fmt: skip
    # QEMU's multiboot loader takes ELF32 files alone.
    image = built.with_suffix(".elf32")
    subprocess.run(["objcopy", "-O", "elf32-i386", built, image], check=True)
    return image


def session(folder: Path, command: list[str], commands: str, begin: Path | None = None, first: str = "") -> str:
    """What gdb prints for commands on a QEMU that stands at its reset, or in the state ``begin``; ``first``: see gdb()."""
    socket, script = folder / "gdb", folder / "commands"
    stub = ["-chardev", f"socket,path={socket},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"]
    sourced = [first, f"source {ROOT}/scripts/gdb/cr3scope_gdb.py"] if first else []
    head = ["set pagination off", *sourced, "set architecture i386:x86-64", f"target remote {socket}"]
    tail = "python gdb.execute('disconnect') if gdb.selected_inferior().pid else None\n"
    script.write_text("\n".join([*head, commands, tail]))
    stands = ["-S"] if begin is None else waiting(begin)
    with calling([*command, *stands, *stub], ("-qmp", "unix:{}")) as [connection]:
        qmp = Qmp(connection)
        if begin is not None:
            load(qmp, begin)
        qmp.run_state()  # it answers, so the stub is there
        if not first:
            return forked_gdb.run(script, BOOT_SECONDS)
        done = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", "-x", script], capture_output=True, text=True, errors="replace", timeout=BOOT_SECONDS
        )
        return done.stdout + done.stderr


def unwrapped(text: str) -> str:
    """Each sentence in one line again."""
    return re.sub(r"\n {4,}", " ", text)


AT_SWITCH = """set confirm off
add-symbol-file {programs}/loader.elf -o {base:#x}
add-symbol-file {programs}/kernel.elf
hbreak *&switch_mov_cr3
continue
"""
JUDGED = """cr3scope trace "{serial}"
cr3scope check
"""


def at_switch(
    folder: Path, commands: str, inject: str = "", config: str = "", *, judged: str = JUDGED, **settings: str
) -> str:
    """What gdb prints for these commands at the stop before the switch, after those of ``judged``.

    As debug(), but the machine begins at the loader's first instruction, and gdb is the test's own.
    """
    command, snapshot = at_loader(folder, inject=inject, config=config, **settings)
    serial = folder / "serial.log"
    head = AT_SWITCH.format(programs=snapshot.folder, base=snapshot.base) + judged.format(serial=serial)
    return session(folder, [*command, "-serial", f"file:{serial}", "-no-reboot"], head + commands, snapshot.state)


def debug(folder: Path, commands: str, inject: str = "", config: str = "", seconds: int = BOOT_SECONDS) -> str:
    """What `make debug-batch` prints, with these commands at the stop before the switch.

    The machine begins where the firmware first reads the boot volume. ``seconds``: of all boots together.
    """
    build()
    folder.mkdir(exist_ok=True)
    script = folder.with_name(f"{folder.name}.commands")
    script.write_text(f"{commands}\ndisconnect\n")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/gdb/debug.py", "--batch", "--commands", script, BUILD, folder],
        capture_output=True, text=True, errors="replace", timeout=seconds,
        env={**os.environ, "INJECT": inject, "CONFIG": config, "QEMU": firmware.stand_in({})},
    )  # fmt: skip
    return done.stdout + done.stderr
