"""A QMP peer that says anything: its lines, and the answers of the human monitor in them; an image graph in memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from unittest import mock

from analyze import dead_guest
from analyze.storm_log import record
from fuzz.elves import tiny
from fuzz.noise import damaged, damaged_text, number
from fuzz.target import HOSTILE, Case, Find, Target, require, shown

from cr3scope import limits
from cr3scope.images.debug_table import debug_images, table_counts
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.loaded import Loaded
from cr3scope.model.follow import follow
from cr3scope.qemu import memory_map
from cr3scope.qemu.examine import examine
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.paused_guest import has_gigapages, look, stopped_cpus
from cr3scope.qemu.qmp import REPLY_SECONDS, Listener, Qmp
from cr3scope.render.message import plain
from cr3scope.target.memory import MemoryUnavailable
from cr3scope.verdict.types import Unsaid

_REGISTERS = """\
CPU#0
RAX=0000000000000001 RBX=0000000000000002 RCX=0000000000000000 RDX=0000000000000000
RSI=0000000000000000 RDI=0000000000000000 RBP=0000000000000000 RSP=0000000000015800
R8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000
RIP=0000000000013100 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0008 0000000000000000 ffffffff 00af9a00 DPL=0 CS64 [-R-]
SS =0010 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
FS =0010 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     0000000000011000 0000001f
IDT=     0000000000010000 00000fff
CR0=80010011 CR2=0000000000001234 CR3=0000000000001000 CR4=00000020
EFER=0000000000000d00
"""
_MTREE = "FlatView #0\n Root memory region: system\n  0000000000000000-00000000001fffff (prio 0, ram): pc.ram\n  00000000000a0000-00000000000bffff (prio 1, i/o): vga\n"
_ASKED = re.compile(r"xp /(\d+)([gbh])x (0x[0-9a-f]+)")
_WIDTH, _CELLS = {"g": 8, "b": 1, "h": 2}, {8: "Q", 1: "B", 2: "H"}
_MOST_WORDS = 4096
_FOLLOWED = (follow.MOST_INSTRUCTIONS, *(32,) * 7)  # a way through zeros goes on to the end, and took a third of the time of all
_IMAGES = 0x40_0000
_HALTED = b"\xf4\xeb\xfd"  # hlt, and back to it
_SERIAL = (
    b"", b"", b"Kernel panic - not syncing: VFS\r\n", b"ASSERT failed\r\nsystem halted\r\n", b"\x1b[31m<b7>all tests passed\r\n",
    b'BdsDxe: failed to load Boot0001 "UEFI <b7>" from PciRoot(0x0): Not Found\r\nBdsDxe: No bootable option or device was found.\r\n',
    b'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\nBdsDxe: No bootable option or device was found.\r\n',
    b'BdsDxe: loading Boot0004 "UEFI PXEv4" from PciRoot(0x0)\r\n>>Start PXE over IPv4.\r\n',
)  # fmt: skip
_SCREEN = "SeaBIOS (version 1.16)\n\nBooting from Hard Disk...\nNo bootable device.\n"


class _Ram(dead_guest.Ram):
    """Two MiB at 0, and behind them the firmware's list of images."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self.put(dead_guest.GDT, struct.pack("<4Q", 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF, 0))
        self.put(dead_guest.CODE, rng.choice((b"\xf4", b"\x0f\x0b", b"\xeb\xfe", b"\xff\xe0", rng.randbytes(16))))
        for _ in range(rng.choice((0, 0, 1, 4))):
            self.put(rng.choice((dead_guest.ROOT, dead_guest.PDPT, dead_guest.PD, dead_guest.PT)) + 8 * rng.randrange(512), number(rng).to_bytes(8, "little"))


@lru_cache(256)
def _printed(at: int, width: int, data: bytes, count: int) -> str:
    """As the monitor prints so many words: those that are there, and where the memory ends."""
    data = data[: count * width]
    words = [f"0x{word:0{2 * width}x}" for word in memoryview(data[: len(data) & -width]).cast(_CELLS[width])]
    if len(data) % width:  # of what is cut short there are fewer digits of value
        words.append(f"0x{int.from_bytes(data[len(words) * width :], 'little'):0{2 * width}x}")
    row = 16 // width
    lines = [f"{at + width * n:016x}: {' '.join(words[n : n + row])}\r\n" for n in range(0, len(words), row)]
    end = 16 * len(lines)
    return "".join(lines) + (f"{at + end:016x}: Cannot access memory\n" if end < count * width else "")


class _Peer:
    """The monitor's answers; some of them are not what was asked for."""

    damage = ""

    def __init__(self, rng: Random) -> None:
        self._rng, self.ram = rng, _Ram(rng)
        self._honest = rng.choice((1.0, rng.random()))
        registers = _REGISTERS
        if rng.random() < 0.5:
            registers = registers.replace("HLT=0", "HLT=1").replace(f"RIP={dead_guest.CODE:016x}", f"RIP={dead_guest.CODE + 1:016x}")
            self.ram.put(dead_guest.CODE, _HALTED)
        if rng.random() < 0.3:
            registers = registers.replace("RFL=00000046", "RFL=00000246")
        if rng.random() < 0.2:
            registers = registers.replace("EFER=0000000000000d00", "EFER=0000000000000000").replace("00af9a00 DPL=0 CS64", "00cf9a00 DPL=0 CS32")
            self.ram.put(0xB8000, "".join(f"{letter}\x07" for line in _SCREEN.split("\n") for letter in line.ljust(80)).encode())
        self.registers = self._perhaps("".join(registers.replace("CPU#0", f"CPU#{n}") for n in range(rng.choice((1, 1, 2, 5)))))
        self.tree = self._perhaps(_MTREE)

    def _perhaps(self, text: str) -> str:
        return text if self._rng.random() < self._honest else damaged_text(self._rng, text)

    def monitor(self, line: str) -> str:
        if line.startswith("info registers"):
            return self.registers
        if line.startswith("info mtree"):
            return self.tree
        if line.startswith("info jit"):
            return self._perhaps("Translation buffer state:\n")
        asked = _ASKED.fullmatch(line)
        return self._perhaps(self._dumped(int(asked[1]), _WIDTH[asked[2]], int(asked[3], 16))) if asked else self._perhaps("unknown command: 'x'\n")

    def _dumped(self, count: int, width: int, at: int) -> str:
        return _printed(at, width, self.ram.physical(at, count * width), min(count, _MOST_WORDS))

    def _save(self, at: object, size: object, filename: object) -> None:
        """Write memory to a file, or something else in its place."""
        assert isinstance(at, int) and isinstance(size, int)
        file, how = Path(str(filename)), self._rng.choice(("honest", "honest", "short", "link", "pipe", "folder", "nothing"))
        if how in ("honest", "short"):
            file.write_bytes(self.ram.physical(at, size)[: size - (how == "short")])
        elif how == "link":
            file.symlink_to("/proc/self/maps")
        elif how == "pipe":
            os.mkfifo(file)
        elif how == "folder":
            file.mkdir()

    def execute(self, command: str, **arguments: object) -> object:
        if command == "pmemsave":
            self._save(arguments["val"], arguments["size"], arguments["filename"])
        right: dict[str, object] = {"query-cpus-fast": [{"qom-path": "/machine/unattached/device[0]"}], "qom-get": 40, "query-status": {"status": "paused"}}
        return right.get(command, {}) if self._rng.random() < self._honest else _any_json(self._rng)


def _any_json(rng: Random, depth: int = 3) -> object:
    how = rng.randrange(9 if depth else 6)
    if how < 6:
        return rng.choice((None, True, -1, number(rng), 10**40, 1e308, float("inf"), float("nan"), "", "40", "x" * 100, rng.choice(HOSTILE), "\ud800"))
    if how == 6:
        return [_any_json(rng, depth - 1) for _ in range(rng.randrange(3))]
    keys = ("qom-path", "status", "name", "desc", "data", "reason", "action", "x")
    return {rng.choice(keys): _any_json(rng, depth - 1) for _ in range(rng.randrange(4))}


def _make_examined(rng: Random) -> Case:
    return Case(str(rng.getrandbits(48)).encode(), ".seed")


def _check_examined(case: Case) -> None:
    """All that is asked of a paused guest."""
    rng = Random(int(case.data or b"0"))
    peer = _Peer(rng)
    outcome = Outcome(
        reason=rng.choice((*Reason, Reason.TIMEOUT, Reason.STANDSTILL, Reason.IDLE, Reason.NOTHING_BOOTED)), triple_fault=rng.random() < 0.4, serial=rng.choice(_SERIAL),
        run_state=rng.choice(("running", "paused", "prelaunch", "")), unsaid=rng.choice(((), (), (), (Unsaid("--expect", "a\x1b["),))), watchdog=rng.choice(("", "", "", "reset")),
    )  # fmt: skip
    most = rng.choice((limits.MONITOR_CPUS, 3))
    with mock.patch.object(limits, "MONITOR_CPUS", most), mock.patch.object(follow, "MOST_INSTRUCTIONS", rng.choice(_FOLLOWED)):
        _examine(peer, outcome, rng)


def _examine(peer: _Peer, outcome: Outcome, rng: Random) -> None:
    try:
        outcome.looks = [look(peer) for _ in range(2)]
        has_gigapages(peer)
        list(memory_map.asked(peer.monitor))
        for cpu in stopped_cpus(peer):
            cpu.bytes_at(cpu.registers.get("RIP", 0), 16)
            at, length = rng.choice((0, 0x13000, 0x1F_F000)), 0x8000
            found = cpu.memory.physical(at, length)
            require(len(found) <= length, "more bytes than were asked for")
    except (MemoryUnavailable, UnusableInput) as error:
        require(str(error).strip(), "a refusal without a word")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        log = Path(folder, "interrupts.log")
        log.write_bytes(_log(outcome, rng))
        kernel = Path(folder, "kernel.elf")
        kernel.write_bytes(tiny())
        files = rng.choice(((), (ElfFile(kernel, dead_guest.CODE & ~0xFFF),), (ElfFile(kernel),)))
        kept = Path(folder, "kept")
        if rng.random() < 0.9:
            kept.mkdir()
        try:
            examine(kept, log, files, peer, outcome)  # type: ignore[arg-type]
        except (MemoryUnavailable, UnusableInput) as error:
            require(str(error).strip(), "a refusal without a word")
        for finding in outcome.findings:
            shown(plain(finding.title))
        state = kept / "machine.txt"
        if state.exists():
            shown(state.read_text(encoding="utf-8").replace("\t", " "))


def _log(outcome: Outcome, rng: Random) -> bytes:
    """What QEMU wrote of the guest that now stands: nothing, the end alone, or a fault at its place."""
    if rng.random() < 0.4:
        return b"check_exception old: 0x8 new 0xe\nTriple fault\n" if outcome.triple_fault else b""
    told, at = rng.choice(((14, dead_guest.CODE), (13, dead_guest.CODE), (6, dead_guest.CODE + 1), (14, 0x9000))), dead_guest.STACK + 0x800
    fault = "".join(record(0, told[0], 2, rip=told[1], rsp=at, cr2=0x1234, cr3=dead_guest.ROOT))
    if outcome.triple_fault:
        fault += "".join(record(1, 8, rip=told[1], rsp=at, cr2=0x1234, cr3=dead_guest.ROOT, old=told[0])) + "check_exception old: 0x8 new 0xe\nTriple fault\n"
    return fault.encode()


def _make_dialogue(rng: Random) -> Case:
    lines = [{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}, {"return": {}, "id": "hello"}]
    lines += [{"event": rng.choice(("RESET", "SHUTDOWN", "STOP", "WATCHDOG")), "data": {"guest": True, "reason": "guest-reset"}} for _ in range(rng.randrange(3))]
    commands = ("query-status", "human-monitor-command", "query-commands", "qom-get", "qom-get 1", "x-blockdev-set-active")
    right: list[object] = [
        {"return": {"status": "paused"}, "id": "query-status"}, {"return": _REGISTERS, "id": "human-monitor-command"},
        {"return": [{"name": "blockdev-set-active"}, {"name": None}], "id": "query-commands"}, {"return": {}, "id": "blockdev-set-active"},
    ]  # fmt: skip
    replies: list[object] = [{"return": _any_json(rng), "id": rng.choice(commands)} for _ in range(rng.randrange(6))]
    replies += [{"error": _any_json(rng), "id": rng.choice(commands)} for _ in range(rng.randrange(3))]
    replies += rng.sample(right, rng.randrange(len(right) + 1))
    everything: list[object] = [*lines, *replies]
    if rng.random() < 0.5:
        everything.insert(rng.randrange(len(everything)), _any_json(rng))
    if rng.random() < 0.5:
        at = rng.randrange(len(everything))
        key = rng.choice(("QMP", "event", "return", "error", "id", "data"))
        everything[at] = {key: _any_json(rng), rng.choice(("return", "id", "event")): _any_json(rng)}
    text = "".join(json.dumps(line) + "\r\n" for line in everything)
    data = text.encode()
    if rng.random() < 0.5:
        data = damaged(rng, data)
    if rng.random() < 0.05:
        data = b"[" * 5000 + b"\n" + data
    hows = ("", "", "", "events", "long", "pieces", "deaf", "silent", "stopped", "interrupted", "late", "listener")
    return Case(data, ".qmp", {f"how {number}": rng.choice(hows) for number in range(7)})


def _check_dialogue(case: Case) -> None:
    """Each question is asked of a peer of its own, which has said everything before."""
    questions: tuple[Callable[[Qmp], object], ...] = (
        Qmp.events, Qmp.run_state, Qmp.registers, lambda qmp: qmp.monitor("info registers"), lambda qmp: qmp.execute("qom-get"), Qmp.activate_disks,
        Qmp.quit,
    )  # fmt: skip
    for at, question in enumerate(questions):
        _ask(case, question, str(case.meant.get(f"how {at}", "")))


def _ask(case: Case, question: Callable[[Qmp], object], how: str) -> None:
    """``how``: what befalls the connection, or whoever asks."""
    budget = {"events": {"QMP_EVENTS": 2}, "long": {"QMP_MESSAGE_BYTES": 100}, "pieces": {"QMP_TURN_BYTES": 1 << 16}}.get(how, {})
    with contextlib.ExitStack() as stack:
        for name, value in budget.items():
            stack.enter_context(mock.patch.object(limits, name, value))
        called, theirs = stack.enter_context(_connected(how))
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            theirs.sendall(case.data[: 1 << 16])
        if how == "deaf":
            theirs.close()
        elif how != "silent":
            theirs.shutdown(socket.SHUT_WR)
        qmp = called()
        read, write = os.pipe()
        stack.callback(os.close, read)
        stack.callback(os.close, write)
        begin = time.monotonic()
        if how == "stopped":
            os.write(write, b"x")
        qmp.bound(begin + {"late": -1.0, "silent": 0.01}.get(how, 10.0), lambda: how in ("stopped", "interrupted"), read)
        stack.callback(qmp.close)
        try:
            answer = question(qmp)
            require(question is not Qmp.events or all(isinstance(event, dict) for event in answer), "an event that is no object")  # type: ignore[attr-defined]
            question(qmp)
        except MemoryUnavailable as error:
            require(str(error).strip(), "a refusal without a word")
        require(time.monotonic() - begin < REPLY_SECONDS, "waits longer than it may")


@contextlib.contextmanager
def _connected(how: str) -> Iterator[tuple[Callable[[], Qmp], socket.socket]]:
    """What makes our end of a connection, and the peer's end."""
    if how != "listener":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            yield lambda: Qmp(ours), theirs
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as theirs:
        path = Path(folder, "qmp")
        listener = Listener(path)
        theirs.connect(str(path))
        require(select.select([listener], [], [], 1)[0], "a caller that is not heard")
        yield listener.accept, theirs
        listener.close()
        with contextlib.suppress(OSError):  # the name is taken
            Listener(path)
            raise Find("two listen in one place")


class _Firmware:
    """Memory in pieces, as the firmware leaves its list of images in it."""

    def __init__(self, pieces: dict[int, bytes], ranges: list[tuple[int, int]]) -> None:
        self._pieces, self._ranges = pieces, ranges

    def ram(self) -> list[tuple[int, int]]:
        return self._ranges

    def physical(self, phys: int, length: int) -> bytes:
        for start, data in self._pieces.items():
            if start <= phys < start + len(data):
                return data[phys - start :][: max(length, 0)]
        return b""

    bytes_at = physical

    def heads(self, places: object, length: int) -> list[bytes]:
        return [self.physical(at, length) for at in places]  # type: ignore[attr-defined]


_GUID = bytes.fromhex("772e1549da1a6447b7a27afefed95e8b")


def _make_graph(rng: Random) -> Case:
    """Return the system table, the debug table, and images of which some are not there."""
    data = bytearray(0x2000)

    def put(at: int, form: str, *values: int) -> None:
        struct.pack_into("<" + form, data, at, *(number(rng, each, 64) if form[-1] == "Q" and rng.random() < 0.06 else each for each in values))

    at = _IMAGES
    data[0:8] = b"IBI SYST"
    put(8, "Q", at + 0x100)
    put(0x100 + 104, "Q", 2)
    put(0x100 + 112, "Q", at + 0x300)
    data[0x300 + 24 : 0x300 + 40] = _GUID
    put(0x300 + 40, "Q", at + 0x400)
    count = rng.choice((1, 3, 1023, number(rng, 3, 32)))
    struct.pack_into("<II", data, 0x400, 0, count)
    put(0x408, "Q", at + 0x500)
    for image in range(3):
        put(0x500 + 8 * image, "Q", at + 0x800 + 32 * image)
        struct.pack_into("<I", data, 0x800 + 32 * image, rng.choice((1, 1, 1, 2)))
        put(0x808 + 32 * image, "Q", at + 0x900 + 128 * image)
        put(0x900 + 128 * image + 32, "Q", at + 0xC00 + 64 * image)
        put(0x900 + 128 * image + 64, "Q", at + 0x1000)
        put(0x900 + 128 * image + 72, "Q", 0x1000)
        name = rng.choice(("\\EFI\\BOOT\\BOOTX64.EFI", "a/b.efi", "<b7>\x1b[31m", "")).encode("utf-16-le")[:40] + b"\0\0"
        struct.pack_into("<BBH", data, 0xC00 + 64 * image, 4, 4, rng.choice((4 + len(name), 0, 3, 0xFFFF)))
        data[0xC04 + 64 * image : 0xC04 + 64 * image + len(name)] = name
        struct.pack_into("<BBH", data, 0xC00 + 64 * image + 4 + len(name), 0x7F, 0xFF, 4)
    return Case(damaged(rng, bytes(data)) if rng.random() < 0.5 else bytes(data), ".bin",
                {"ranges": [(0, 0x7FFFFF), (0x100000000, number(rng, 0x13FFFFFFF, 36))] if rng.random() < 0.3 else [(0, 0x7FFFFF)]})  # fmt: skip


def _check_graph(case: Case) -> None:
    guest = _Firmware({_IMAGES: case.data}, case.meant.get("ranges", [(0, 0x7FFFFF)]))  # type: ignore[arg-type]
    try:
        table_counts(guest)
        found = list(debug_images(guest))
        require(len(found) <= 1024, "more images than any firmware loads")
        for image in found[:8]:
            loaded = Loaded(guest, image)
            require(all(loaded.names), "an empty name")
            list(loaded.switches())
    except UnusableInput as error:
        require(str(error).strip(), "a refusal without a word")


EXAMINED = Target("examined", _make_examined, _check_examined, ("qemu/paused_guest.py", "qemu/memory_map.py", "qemu/text_screen.py", "qemu/examine.py"))
DIALOGUE = Target("qmp", _make_dialogue, _check_dialogue, ("qemu/qmp.py", "input/logs/register_dump.py"))
GRAPH = Target("image-graph", _make_graph, _check_graph, ("images/debug_table.py",))
