"""Makes a capture whose loader asked for many more ranges: ``many_maps.py CAPTURE COUNT > NEW``."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

SENTINEL = b"@c3s1 "
DATA_CHARACTERS = 300  # of a `d` record: with a longer number it must stay below 512 bytes
DATA_BYTES = DATA_CHARACTERS // 4 * 3
FAR = 0xFFFF_9000_0000_0000
PAGE = 4096


def with_maps(capture: bytes, count: int) -> bytes:
    """Return the boot with ``count`` ``map`` records before its loader's ``end``, its numbers and totals made right."""
    written: list[bytes] = []
    size = crc = 0
    for body in _bodies(capture, count):
        words = body.split()
        if words[0] == "end":
            kept = [word for word in words if not word.startswith(("records=", "bytes=", "crc="))]
            body = " ".join([*kept, f"records={len(written):x}", f"bytes={size:x}", f"crc={crc:x}"])
        covered = b"%s%x %s " % (SENTINEL, len(written), body.encode())
        line = b"%s#%08x\n" % (covered, zlib.crc32(covered))
        written.append(line)
        size, crc = size + len(line), zlib.crc32(line, crc)
    return b"".join(written)


def _bodies(capture: bytes, count: int) -> Iterator[str]:
    """What stands between number and checksum of each record."""
    is_due = True
    for line in capture.splitlines():
        if not line.startswith(SENTINEL):
            continue
        body = line.decode().split(" ", 2)[2].rsplit(" #", 1)[0]
        kind = body.split()[0]
        if kind == "end" and is_due:
            is_due = False
            yield from map(_map, range(count))
        if kind == "d":
            fields = dict(word.split("=", 1) for word in body.split()[1:])
            for part, at in enumerate(range(0, len(fields["b"]), DATA_CHARACTERS)):
                offset = int(fields["o"], 16) + part * DATA_BYTES
                yield f"d o={offset:x} b={fields['b'][at : at + DATA_CHARACTERS]}"
        else:
            yield body


def _map(number: int) -> str:
    virt, phys = FAR + 2 * number * PAGE, 0x1000_0000 + number * PAGE
    return (
        f"map name=range%20{number} role=data virt={virt:x} last={virt + PAGE - 1:x} phys={phys:x}"
        f" rights=rw- size={PAGE:x} type=wb caller=1234"
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(with_maps(Path(sys.argv[1]).read_bytes(), int(sys.argv[2])))
