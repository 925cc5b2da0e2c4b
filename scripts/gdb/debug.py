"""`make debug`: boots the reference loader and opens gdb, stopped right before ``mov cr3``.

The loader waits (``debugger=wait``) after it has traced where the firmware put it; from that record this
program knows the address for the symbols, so nobody types one. QEMU ends with gdb.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

BOOT = Path(__file__).resolve().parent.parent / "boot"
WAIT_SECONDS = 60
# An intact record ends with its checksum.
IMAGE = re.compile(rb"@c3s1 [0-9a-f]+ image [^#\n]*\bbase=([0-9a-f]+)[^#\n]*#[0-9a-f]{8}\n")

COMMANDS = Path(__file__).resolve().parent / "cr3scope_gdb.py"
STOP = """
printf "stopped right before mov cr3: RAX holds the new root, RSP the new stack, R11 the entry, RDI the boot info\\n"
info line *$pc
x/4i $pc
info registers rax rsp r11 rdi cr3
cr3scope check
"""
# `disconnect`, not `kill`: QEMU's end would be an error of the connection.
BATCH = """
cr3scope handoff sysv
cr3scope step
disconnect
"""


class NotReached(Exception):
    """The guest did not come to the point where gdb could take over; the message says what was waited for."""


def guest(build: Path, run: Path) -> subprocess.Popen[bytes]:
    """The reference boot with its serial port on standard output and gdb's stub on a socket."""
    config = ";".join(filter(None, ("debugger=wait", os.environ.get("CONFIG"))))
    subprocess.run([BOOT / "prepare", build, run], check=True, env={**os.environ, "CONFIG": config})
    command = subprocess.run([BOOT / "qemu-command", run, run / "disk.img"], check=True,
                             capture_output=True, text=True).stdout.splitlines()
    return subprocess.Popen(
        [*command, "-serial", "stdio", "-no-reboot", "-chardev",
         f"socket,path={run}/gdb,server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in gdb must not reach QEMU
    )


def image_base(serial: IO[bytes], log: IO[bytes]) -> int:
    """Reads the serial port up to the ``image`` record."""
    heard, until = b"", time.monotonic() + WAIT_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(serial, selectors.EVENT_READ)
        while not (match := IMAGE.search(heard)):
            if not selector.select(until - time.monotonic()):
                raise NotReached(f"no image record on the serial port within {WAIT_SECONDS} s")
            data = os.read(serial.fileno(), 1 << 16)
            if not data:
                raise NotReached("QEMU ended before the loader told where it is")
            log.write(data)
            heard += data
    return int(match[1], 16)


def drain(serial: IO[bytes], log: IO[bytes]) -> None:
    """Keeps the guest from blocking on a full pipe, and its trace from getting lost."""
    while data := os.read(serial.fileno(), 1 << 16):
        log.write(data)
        log.flush()


def gdb_script(build: Path, run: Path, base: int, commands: str) -> str:
    """What gdb does before it hands over to the person."""
    return "\n".join((
        "set pagination off", "set confirm off", f"source {COMMANDS}", "set architecture i386:x86-64",
        f"add-symbol-file {build}/loader/loader.elf -o {base:#x}",
        f"add-symbol-file {build}/kernel/kernel.elf",
        f"target remote {run}/gdb",
        "hbreak *&handoff_mov_cr3",
        "set var debugger_go = 1",
        "continue", STOP, commands,
    ))


def main() -> int:
    """Boots, waits, and runs gdb to its end."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", action="store_true", help="no terminal: print, step across, end")
    parser.add_argument("--commands", type=Path, metavar="FILE", help="gdb commands at the stop")
    parser.add_argument("build", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    commands = BATCH if arguments.batch else ""
    if arguments.commands:
        commands = arguments.commands.read_text()
    process = guest(arguments.build, arguments.run)
    assert process.stdout is not None
    try:
        with open(arguments.run / "serial.log", "wb") as log:
            base = image_base(process.stdout, log)
            threading.Thread(target=drain, args=(process.stdout, log), daemon=True).start()
            script = arguments.run / "gdb.script"
            script.write_text(gdb_script(arguments.build, arguments.run, base, commands))
            command = ["gdb", "-q", "-nx", *(["-batch"] if arguments.batch else []), "-x", str(script)]
            return subprocess.run(command, check=False).returncode
    except NotReached as error:
        print(f"debug: {error}", file=sys.stderr)
        return 2
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
