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


REGISTERS = (
    "RAX=0000000000000001 RBX=0000000000000002\r\n"
    "RIP=00000000000abcde RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
    "CS =0038 0000000000000000 ffffffff 00af9a00\r\n"
    "CR0=80010033 CR2=0000000000001234 CR3=000000000e531000 CR4=00000668\r\n"
)

# At work: halted with interrupts off, it stands still.
RUNNING = REGISTERS.replace("HLT=1", "HLT=0").replace("RFL=00000046", "RFL=00000246")


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
        self.replies: dict[str, bytes | object] = {}  # by command, or by the monitor's line

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
                reply = REGISTERS
            line_of = request.get("arguments", {}).get("command-line", "").split(" /")[0]
            special = self.replies.get(line_of, self.replies.get(request["execute"]))
            if isinstance(special, bytes):
                self.monitor.sendall(special.replace(b"ID", json.dumps(request.get("id")).encode()))
                continue
            self.send({"return": reply if special is None else special, "id": request.get("id")})
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


# Answers that no QEMU gives: a whole message as bytes (ID is the question's), or what is returned.
LIES: dict[str, dict[str, bytes | object]] = {
    "error-is-a-word": {"query-status": b'{"error": "x", "id": ID}\n'},
    "error-is-null": {"query-status": b'{"error": null, "id": ID}\n'},
    "answer-of-lists": {"query-status": [[[]]]},
    "registers-of-none": {"info registers": "", "info registers -a": ""},
    "registers-are-a-number": {"info registers": 7},
    "wide-words": {"xp": "0000000000000000: 0xffff 0xfffffffffffffffffff\r\n" * 200},
    "junk-words": {"xp": "0000000000000000: 0xzz 0x\x1b[31m\r\n" * 200},
    "width-without-end": {"query-cpus-fast": [{"qom-path": "/x"}], "qom-get": b'{"return": 1e999, "id": ID}\n'},
    "memory-without-end": {
        "info mtree -f": " 0000000000000000-ffffffffffffffff (prio 0, ram): x\r\n",
        "info registers -a": REGISTERS + "EFER=0000000000000d00\r\n",
    },
    "cpu-without-registers": {"info registers -a": "CPU#0\r\n\r\nCPU#1\r\n"},
}


def flood(machine: Machine, scenario: str) -> NoReturn:
    """Sends more than anybody can take."""
    endless = {
        "flood-line": b"x" * 65536,
        "flood-events": b'{"event": "X", "data": {}}\r\n' * 2000,
        "flood-answers": b'{"return": 1, "id": "zz"}\r\n' * 2000,
    }
    if scenario in endless:
        machine.deaf = True  # else two threads would write into one line
        machine.answers.join(0.2)
        while True:
            machine.monitor.sendall(endless[scenario])
    while True:
        os.write(2, b"\x1b[31m" * 10000)


def main(scenario: str) -> NoReturn:
    if scenario == "refuses":
        print("qemu: warning: something else\nqemu: no such machine", file=sys.stderr)
        sys.exit(1)
    if scenario == "never-calls":
        threading.Event().wait()
    machine = Machine()
    machine.deaf = scenario == "deaf"
    machine.answers.start()
    if scenario not in ("works-silently", "reset-unlogged", "reset-emulated"):
        machine.log.write("".join(firmware(3)).encode())
    if "FAKE_TELLS" in os.environ:  # a pipe, for whoever waits until it runs
        Path(os.environ["FAKE_TELLS"]).write_text(str(os.getpid()))
    machine.replies = LIES.get(scenario, {})
    if scenario.startswith("flood-"):
        flood(machine, scenario)
    if scenario.startswith("fails-"):
        machine.answers.join(0.3)
        print("qemu-system-x86_64: fatal: could not read the disk", file=sys.stderr, flush=True)
        os._exit(int(scenario.removeprefix("fails-")))
    if scenario.startswith("ended-by-"):
        machine.send({"event": "SHUTDOWN", "data": {"guest": False, "reason": scenario.removeprefix("ended-by-")}})
    if scenario in ("deep", "huge-number"):
        machine.answers.join(0.2)
        junk = b"[" * 200_000 if scenario == "deep" else b'{"event": ' + b"9" * 100_000 + b"}"
        machine.monitor.sendall(junk + b"\r\n")
    if scenario == "hangs-up":
        machine.answers.join(0.3)
        machine.monitor.sendall(b'{"return": {"status"')
        machine.monitor.shutdown(socket.SHUT_RDWR)
        threading.Event().wait()
    if scenario == "late-panic":
        machine.serial.write(b"chatter of a kernel\n" * 4096)
        machine.serial.write(b"Kernel panic - not syncing: late\n")
    if scenario == "detaches":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        machine.serial.write(b"child %d\n" % child.pid)
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
    elif scenario in ("reset-unlogged", "reset-emulated"):  # as under KVM; and under TCG, before any interrupt
        machine.replies = {"info jit": "Translation buffer state:\r\n"} if scenario == "reset-emulated" else {}
        machine.send({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset"}})
    elif scenario.startswith("barks-"):
        action = scenario.removeprefix("barks-")
        machine.send({"event": "WATCHDOG", "data": {"action": action}})
    elif scenario.startswith("state-"):
        machine.state = scenario.removeprefix("state-")
    elif scenario.startswith("busy-state-"):  # of a guest that was at work
        machine.state = scenario.removeprefix("busy-state-")
        machine.replies = {"info registers": RUNNING, "info registers -a": RUNNING}
        machine.serial.write(b"chatter\r\n")
    elif scenario == "works-silently":
        machine.replies = {"info registers": RUNNING, "info registers -a": RUNNING}
    elif scenario.startswith("says:"):
        machine.replies = {"info registers": RUNNING, "info registers -a": RUNNING} if "busy" in scenario else {}
        machine.serial.write(scenario.removeprefix("says:").encode())
    elif scenario.startswith("says-all-of:"):
        machine.serial.write(Path(scenario.removeprefix("says-all-of:")).read_bytes())
    elif scenario.startswith("panics-to-qemu:"):  # by a pvpanic device
        machine.serial.write(Path(scenario.removeprefix("panics-to-qemu:")).read_bytes())
        machine.send({"event": "GUEST_PANICKED", "data": {"action": "pause"}})
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
