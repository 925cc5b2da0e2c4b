"""Runs the guest of the modes of paging on Bochs, whose model of the CPU nobody of QEMU's has written.

A ROM holds all of memory from 1 MiB to the last table, copies it there and goes on as under QEMU. Bochs' debugger waits for a word on its input, and port E9h is
its output; it has no device by which a guest ends it, so it is ended when all answers are there.
"""

from __future__ import annotations

import os
import struct
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from boot.modes.guest import ANSWER_BYTES, CPU_BYTES, ENTRY, VENDOR_AT, Answer, Cpu, Record, low_memory, rom, told
from boot.modes.memory import Image

MODEL = "corei7_skylake_x"
SECONDS = 120.0
_ROM_BYTES = 2 << 20  # the most that Bochs takes
_COPY_AT = 0xFFFF_F000
_VENDORS = (b"ntel", b"cAMD")
_PIECE = 1 << 16


def _settings(folder: Path) -> str:
    return f"""config_interface: textconfig
display_library: sdl2
romimage: file="{folder / 'bochs.rom'}", address={(1 << 32) - _ROM_BYTES:#x}
vgaromimage: file="/usr/share/bochs/VGABIOS-lgpl-latest"
cpu: count=1, ips=50000000, model={MODEL}, reset_on_triple_fault=0
memory: guest=64, host=64
port_e9_hack: enabled=1
speaker: enabled=0
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=0, gameport=0, iodebug=0
log: {folder / 'bochs.log'}
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


def _rom(low: bytes) -> bytes:
    """The image, then 32-bit code that copies it, then the reset vector."""
    first = (1 << 32) - _ROM_BYTES
    # mov ax, 10h; mov ds, ax; mov es, ax; cld; mov esi, first; mov edi, ENTRY; mov ecx, count; rep movsd; ljmp 8:ENTRY
    copy = bytes.fromhex("66b81000 8ed8 8ec0 fc") + struct.pack("<BIBIBI", 0xBE, first, 0xBF, ENTRY, 0xB9, len(low) // 4)
    copy += bytes.fromhex("f3a5 ea") + struct.pack("<IH", ENTRY, 8)
    made = bytearray(_ROM_BYTES)
    tail = rom(_COPY_AT)
    assert len(low) <= _ROM_BYTES - len(tail)
    made[: len(low)], made[-len(tail) :] = low, tail
    at = _COPY_AT - first
    made[at : at + len(copy)] = copy
    return bytes(made)


def ask(folder: Path, image: Image, records: Sequence[Record]) -> tuple[Cpu, list[Answer]]:
    """Boot once and return the CPU and an answer for each record; fewer if the guest died of one, or after two minutes."""
    (folder / "bochs.rom").write_bytes(_rom(low_memory(image, records)))
    (folder / "bochsrc").write_text(_settings(folder))
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
    wanted = CPU_BYTES + len(records) * ANSWER_BYTES
    with subprocess.Popen(["stdbuf", "-o0", "bochs", "-q", "-f", str(folder / "bochsrc")], env=environment, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # fmt: skip
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        data, begin = _told_until(process, wanted)
        watch.cancel()
        process.kill()
    assert begin >= 0, data[-200:]
    return told(data[begin : begin + wanted])


def _told_until(process: subprocess.Popen[bytes], wanted: int) -> tuple[bytes, int]:
    """What it writes, up to so many bytes of the guest's or its end, and where the guest's begin; -1 if it said nothing."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"c\n")
    process.stdin.flush()
    data, begin = b"", -1
    while piece := os.read(process.stdout.fileno(), _PIECE):
        data += piece
        if begin < 0:
            begin = max(-1, *(data.find(vendor) - VENDOR_AT for vendor in _VENDORS))
        if begin >= 0 and len(data) - begin >= wanted:
            break
    return data, begin
