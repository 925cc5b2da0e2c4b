"""Stands in for QEMU: takes the options that a run adds; its first word is the scenario."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from itertools import count
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parent.parent))

from analyze.storm_log import HANDLER, firmware, record, storm  # noqa: E402

SCREEN = b"""!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!\r
ExceptionData - 0000000000000002  I:0 R:0 U:0 W:1 P:0 PK:0 SS:0 SGX:0\r
RIP  - 000000000E3A60F3, CS  - 0000000000000038, RFLAGS - 0000000000000046\r
CR0  - 0000000080010033, CR2 - FFFF900000000000, CR3 - 000000000E531000\r
!!!! Find image based on IP(0xE3A60F3) app.efi (ImageBase=000000000E3A5000) !!!!\r
"""


def trace_record(body: str) -> bytes:
    """A record of docs/trace-format.md with its checksum."""
    data = body.encode() + b" "
    return data + b"#%08x\n" % zlib.crc32(data)


def option(name: str) -> str:
    """The last value, as QEMU takes it."""
    words = sys.argv
    return words[len(words) - words[::-1].index(name)]


class Machine:
    """The channels that a run opens."""

    def __init__(self) -> None:
        self.serial = open(option("-serial").removeprefix("file:"), "wb", buffering=0)
        self.log = open(option("-D"), "wb", buffering=0)
        self.monitor = socket.socket(socket.AF_UNIX)
        self.monitor.connect(option("-qmp").removeprefix("unix:"))
        self.send({"QMP": {"version": {}, "capabilities": []}})
        self.answers = threading.Thread(target=self.answer, daemon=True)
        self.deaf = False
        self.state = "running"

    def send(self, message: dict[str, object]) -> None:
        self.monitor.sendall(json.dumps(message).encode() + b"\r\n")

    def answer(self) -> None:
        """Answers until told to quit."""
        for line in self.monitor.makefile("rb"):
            request = json.loads(line)
            if self.deaf and request["execute"] != "qmp_capabilities":
                continue
            reply: object = {}
            if request["execute"] == "query-status":
                reply = {"status": self.state}
            if request["execute"] == "human-monitor-command":
                reply = (
                    "RAX=0000000000000001 RBX=0000000000000002\r\n"
                    "RIP=00000000000abcde RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
                    "CS =0038 0000000000000000 ffffffff 00af9a00\r\n"
                    "CR0=80010033 CR2=0000000000001234 CR3=000000000e531000 CR4=00000668\r\n"
                )
            self.send({"return": reply, "id": request.get("id")})
            if request["execute"] == "cont":
                self.serial.write(b"continued\n")
            if request["execute"] == "set-action":
                self.serial.write(json.dumps(request["arguments"]).encode() + b"\n")
            if request["execute"] == "quit":
                os._exit(0)

    def stay(self) -> NoReturn:
        self.answers.join()
        threading.Event().wait()
        sys.exit()


def main(scenario: str) -> NoReturn:
    if scenario == "refuses":
        print("qemu: warning: something else\nqemu: no such machine", file=sys.stderr)
        sys.exit(1)
    if scenario == "never-calls":
        threading.Event().wait()
    machine = Machine()
    machine.deaf = scenario == "deaf"
    machine.answers.start()
    machine.log.write("".join(firmware(3)).encode())
    if scenario.startswith("exit-"):
        machine.serial.write(b"hello from the guest\n" * 1000)
        sys.stderr.flush()
        # Give the handshake its turn: a real QEMU takes seconds to come here.
        machine.answers.join(0.3)
        os._exit(int(scenario.removeprefix("exit-")))
    if scenario == "fault-record":
        machine.serial.write(trace_record("@c3s1 0 fault by=safe-idt vector=e error=11"))
    elif scenario == "ended":
        machine.serial.write(trace_record("@c3s1 0 end producer=x next=none records=0"))
    elif scenario == "screen":
        machine.serial.write(b"chatter\r\n" + SCREEN)
    elif scenario == "reset":
        machine.log.write(b"check_exception old: 0x8 new 0xe\nTriple fault\n")
        machine.send({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}})
    elif scenario.startswith("barks-"):
        action = scenario.removeprefix("barks-")
        machine.send({"event": "WATCHDOG", "data": {"action": action}})
    elif scenario.startswith("state-"):
        machine.state = scenario.removeprefix("state-")
    elif scenario == "panic":
        machine.log.write(record(150, 14, 0x2, rip=0x5000, cr2=0x6000).encode())
        machine.serial.write(b"all was well\r\nKernel panic - not syncing: no init\r\n")
    elif scenario == "flood":
        while True:
            machine.serial.write(b"x" * 4095 + b"\n")
    elif scenario == "storm":
        for number in count(3):
            machine.log.write(
                (record(number, 14, 0x11, rip=HANDLER, cr2=HANDLER) * 20).encode()
            )
    elif scenario == "falling-storm":
        machine.log.write("".join(storm(8000, 3)).encode())
    elif scenario == "finite-storm":
        machine.log.write("".join(storm(8000, 3)).encode())
        machine.send({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}})
    elif scenario.startswith("tell:"):
        Path(scenario.removeprefix("tell:")).write_text(str(os.getpid()))
    elif scenario == "child":
        child = subprocess.Popen(["sleep", "1000"])
        machine.serial.write(b"child %d\n" % child.pid)
    machine.stay()


if __name__ == "__main__":
    main(sys.argv[1])
