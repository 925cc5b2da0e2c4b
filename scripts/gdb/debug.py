"""`make debug`: boots the reference loader and opens gdb, stopped right before ``mov cr3``.

The loader waits (``debugger=wait``) after it has traced where the firmware put it; from that record this
program knows the address for the symbols, so nobody types one. QEMU ends with gdb.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from debug_guest import NotReached, drain, guest, image_base, prepared

from cr3scope.errors import UnusableInput
from cr3scope.qemu.channels import channels_in
from cr3scope.render.output_file import open_new, write_whole

COMMANDS = Path(__file__).resolve().parent / "cr3scope_gdb.py"
BATCH_SECONDS = 240  # a boot takes seconds, and `blame` three boots at most
MOST_PORT = 65535
STOP = """
printf "stopped right before mov cr3: RAX holds the new root, RSP the new stack, R11 the entry, RDI the boot info\\n"
info line *$pc
x/4i $pc
"""
TRACED = """cr3scope trace {trace}
cr3scope check
"""
# A reset boots again (`cr3scope blame` needs that): the guest stops at its first instruction, linear
# FFFFFFF0h (Intel SDM volume 3A, 11.1.4). gdb sees RIP FFF0h there and calls the stop a SIGTRAP.
RESET = "hbreak *0xfffffff0"
# A status beside gdb's own, 0 and 1 for an error: the boot faults, or nobody wrote the entry.
FAULTS = 10
# Not `kill`: QEMU's end would be an error of the connection. A guest that turned off is gone already.
DISCONNECT = "python gdb.execute('disconnect') if gdb.selected_inferior().pid else None"
BATCH = f"""
python from cr3scope_commands import target, trace
python gdb.set_convenience_variable("will_fault", int(trace.will_fault(target.stop())))
cr3scope handoff sysv
cr3scope step
{DISCONNECT}
quit $will_fault * {FAULTS}
"""


def connecting(build: Path, base: int, target: str) -> tuple[str, ...]:
    """Return the lines with which any gdb comes to the switch of a loader that waits."""
    return (
        f"source {COMMANDS}", "set architecture i386:x86-64",
        f"add-symbol-file {build}/loader/loader.elf -o {base:#x}",
        f"add-symbol-file {build}/kernel/kernel.elf",
        f"target remote {target}",
        RESET,
        "hbreak *&switch_mov_cr3",
        "set var debugger_go = 1",
        "continue",
    )  # fmt: skip


def gdb_script(build: Path, run: Path, base: int, commands: str, stub: Path) -> str:
    """Return what gdb does before it hands over to the person; ``stub`` is the socket where it finds the guest."""
    log = str(run / "serial.log").replace("\\", "\\\\").replace('"', '\\"')  # gdb splits words as a shell does
    return "\n".join((
        "set pagination off", "set confirm off", *connecting(build, base, str(stub)), STOP, TRACED.format(trace=f'"{log}"'),
        commands,
    ))


def main() -> int:
    """Boot, wait, and run gdb to its end. Exit status: 0, 1 (the boot faults), 2 (it did not work)."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", action="store_true", help="no terminal: print, step across, end")
    parser.add_argument("--blame", metavar="ENTRY", help="print who wrote this entry, and end")
    parser.add_argument("--server", metavar="PORT", type=port, help="no gdb: wait for one on PORT")
    parser.add_argument("--commands", type=Path, metavar="FILE", help="gdb commands at the stop")
    parser.add_argument("build", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    needed = ["gdb"] if arguments.server is None else []
    for tool in (*needed, os.environ.get("QEMU") or "qemu-system-x86_64"):
        if shutil.which(tool) is None:
            print(f"debug: {tool} is not installed: run make deps", file=sys.stderr)
            return 2
    try:
        command = prepared(arguments.build, arguments.run)
        if arguments.server is not None:
            return serve(arguments, command)
        with channels_in(arguments.run) as channels:
            return debug(arguments, command, channels / "gdb")
    except (NotReached, UnusableInput) as error:
        print(f"debug: {error}", file=sys.stderr)
    except OSError as error:
        print(f"debug: {error.filename or arguments.run}: {error.strerror}", file=sys.stderr)
    return 2


def port(words: str) -> int:
    """Return a TCP port, 1 to 65535."""
    if len(words) > len(str(MOST_PORT)) or not words.isdecimal() or not 1 <= int(words) <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"{words!r} is no TCP port: 1 to {MOST_PORT}")
    return int(words)


def debug(arguments: argparse.Namespace, qemu: list[str], socket: Path) -> int:
    """Run gdb on the boot; they meet at ``socket``, of a name that both take as it is."""
    commands = BATCH if arguments.batch else ""
    if arguments.blame:
        commands = f"cr3scope blame {arguments.blame}\ndisconnect\nquit ($cr3scope_writes == 0) * {FAULTS}\n"
    if arguments.commands:
        commands = arguments.commands.read_text()
    batch = arguments.batch or arguments.blame is not None
    stub = ("-chardev", f"socket,path={socket},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb")
    process = guest(qemu, stub)
    assert process.stdout is not None
    refusals: list[str] = []

    def refused(words: str) -> None:
        refusals.append(words)
        if batch:
            process.kill()  # gdb would wait for a switch that never comes
        else:
            print(f"\ndebug: {words}", file=sys.stderr)

    try:
        with open_new(arguments.run / "serial.log") as log:
            base = image_base(process.stdout, log)
            log.flush()
            threading.Thread(target=drain, args=(process.stdout, log, refused), daemon=True).start()
            script = arguments.run / "gdb.script"
            write_whole(script, [os.fsencode(gdb_script(arguments.build, arguments.run, base, commands, socket))])
            command = ["gdb", "-q", "-nx", *(["-batch"] if batch else []), "-x", str(script)]
            status = subprocess.run(
                command, check=False, timeout=BATCH_SECONDS if batch else None
            ).returncode
            if batch and refusals:
                raise NotReached(refusals[0])
            return {0: 0, FAULTS: 1}.get(status, 2)
    except subprocess.TimeoutExpired as error:
        raise NotReached(f"gdb was not done within {BATCH_SECONDS} s; see {arguments.run}/serial.log") from error
    finally:
        process.kill()
        process.wait()


def serve(arguments: argparse.Namespace, qemu: list[str]) -> int:
    """Boot up to where the loader waits, print what gdb must be told, and stay as long as QEMU."""
    process = guest(qemu, ("-gdb", f"tcp:127.0.0.1:{arguments.server}"))
    assert process.stdout is not None
    try:
        with open_new(arguments.run / "serial.log") as log:
            base = image_base(process.stdout, log)
            print(f"the loader waits for gdb on port {arguments.server}; Ctrl-C ends QEMU", file=sys.stderr)
            print(*connecting(arguments.build.resolve(), base, f"localhost:{arguments.server}"), sep="\n",
                  flush=True)
            log.flush()
            with contextlib.suppress(KeyboardInterrupt):
                drain(process.stdout, log, lambda words: print(f"debug: {words}", file=sys.stderr))
    finally:
        process.kill()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
