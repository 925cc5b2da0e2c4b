"""What the C writers write, read by Python: the same as they were given, by the product and by a second reading."""

from __future__ import annotations

import struct
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from fuzz import c_targets
from fuzz.noise import damaged, number
from fuzz.target import Find, require
from fuzz.worker import Tally, keep
from host import format_decoder as decoder

from cr3scope.input.capture.reader import read_capture

_FRAME = 0x000F_FFFF_FFFF_F000
_PAGE = struct.Struct("<513Q")
_DESCRIPTOR = struct.Struct("<IIQQQQ")
_STRIDES = 104  # below it, as fuzz_loader_memory_map.c takes them
_ANSWER_SECONDS = 60


def _dump(given: bytes, trace: bytes, _: bytes) -> None:
    capture = read_capture(trace)
    if b" error where=dump" in trace:
        require("new" not in capture.boots[-1].dumps, "a dump that was given up is taken for one")
        return
    require(not capture.damage, f"damage in what was written: {capture.damage[:1]}")
    pages: dict[int, tuple[int, ...]] = {}
    for words in _PAGE.iter_unpack(given):
        pages.setdefault(words[0], words[1:])  # of two pages at one address the writer reads the first
    opening, data, closing = decoder.carried(decoder.records(trace), "dump")
    expected = list(_walk(pages, opening.number("cr3") & _FRAME, opening.number("levels")))
    told = [(each.phys, each.level, None if each.entries is None else tuple(each.entries)) for each in decoder.tables(data)]
    require(told == expected, "the second reading finds other tables than were in memory")
    require(closing.number("pages") == len(told), "another number of pages")
    dump = capture.boots[-1].dumps["new"]
    read = {phys: tuple(int(entry) for entry in entries) for phys, entries in dump.tables.items()}
    require(read == {phys: entries for phys, _, entries in expected if entries is not None}, "the reader finds other tables than were in memory")


def _walk(pages: dict[int, tuple[int, ...]], root: int, levels: int) -> Iterator[tuple[int, int, tuple[int, ...] | None]]:
    """Yield each table once, breadth first, as docs/trace-format.md orders them."""
    queue, visited, met = deque([(root, levels)]), {(root, levels)}, {root}
    yield root, levels, pages.get(root)
    while queue:
        phys, level = queue.popleft()
        for entry in pages.get(phys, ()):
            child = entry & _FRAME, level - 1
            if not entry & 1 or level == 1 or (level in (2, 3) and entry & 0x80) or child in visited:
                continue
            visited.add(child)
            queue.append(child)
            if child[0] not in met:
                met.add(child[0])
                yield *child, pages.get(child[0])


def _records(given: bytes, trace: bytes, _: bytes) -> None:
    found = decoder.records(trace)
    capture, at = read_capture(trace), 0
    require(not capture.damage, f"damage in what was written: {capture.damage[:1]}")
    for place in (number for number, record in enumerate(found) if record.kind == "memory"):
        (length,) = struct.unpack_from("<I", given, at)
        wanted = given[at + 4 : at + 4 + length]
        opening, data, _ = decoder.carried(found[place:], "memory")
        require(decoder.memory(opening, data) == wanted, "other bytes of memory than were given")
        require(capture.boots[0].memories[opening.fields["name"], "handoff"].data == wanted, "the reader finds other bytes of memory")
        at += 4 + length
    require(at == len(given), "memory that was not written")


def _memory_map(given: bytes, trace: bytes, _: bytes) -> None:
    stride = (given[0] if given else 0) % _STRIDES
    whole = stride >= _DESCRIPTOR.size
    rows = [_DESCRIPTOR.unpack_from(given, at) for at in range(1, len(given) - stride + 1, stride)] if whole else []
    wanted = [(phys >> 12, pages, kind, attributes) for kind, _, phys, _, pages, attributes in rows]
    told: list[tuple[int, int, int, int]] = []
    for record in decoder.records(trace):
        if record.kind == "mmap":
            require(record.number("index") == len(told) and record.number("total") == len(rows), "another place in the map")
            told += _items(record.fields["d"])
    aligned = all(phys % 4096 == 0 for _, _, phys, _, _, _ in rows)
    require(not aligned or told == wanted, "another memory map than was given")


def _items(text: str) -> Iterator[tuple[int, int, int, int]]:
    behind = attributes = 0
    for item in text.split(","):
        words = item.split(":")
        start, pages = int(words[0], 16) if words[0] else behind, int(words[1], 16)
        attributes = int(words[3], 16) if words[3] else attributes
        yield start, pages, int(words[2], 16), attributes
        behind = ((start << 12) + (pages << 12)) % (1 << 64) >> 12


READINGS: dict[str, Callable[[bytes, bytes, bytes], None]] = {"dump": _dump, "records": _records, "loader_memory_map": _memory_map}


class Writer:
    """A writer's program, which answers inputs with what it was given and what it wrote."""

    def __init__(self, program: Path) -> None:
        self._child = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def write(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the writer was given and the trace; Find if it died."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(struct.pack("<I", len(data)) + data)
            self._child.stdin.flush()
        except BrokenPipeError:
            pass
        return self._piece(), self._piece()

    def give(self, data: bytes) -> None:
        """Let a target that writes nothing see the input; :meth:`close` tells whether it lived."""
        assert self._child.stdin is not None
        self._child.stdin.write(struct.pack("<I", len(data)) + data)

    def _piece(self) -> bytes:
        assert self._child.stdout is not None
        head = self._child.stdout.read(4)
        if len(head) < 4:
            raise Find(f"the writer died (status {self._child.wait(_ANSWER_SECONDS)})")
        return self._child.stdout.read(struct.unpack("<I", head)[0])

    def close(self) -> int:
        """End the program; return its status."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        return self._child.wait(_ANSWER_SECONDS)


def made_inputs(rng: Random, known: Iterable[bytes]) -> Iterator[bytes]:
    """Yield inputs without end: those that are known, damaged ones, and random ones."""
    kept = list(known)
    yield from kept
    while True:
        if kept and rng.random() < 0.6:
            yield damaged(rng, rng.choice(kept))
        else:
            runs = (rng.choice((rng.randbytes(rng.randrange(1, 12)), number(rng).to_bytes(8, "little"))) for _ in range(rng.randrange(1, 30)))
            yield b"".join(runs)


def run(name: str, folder: Path, first: int, count: int, seconds: float) -> Tally:
    """Write and read until the inputs or the time are used up."""
    tally, start = Tally(f"roundtrip-{name}"), time.monotonic()
    inputs = folder / "fuzz" / "inputs" / name
    known = [path.read_bytes() for path in sorted(inputs.iterdir())] if inputs.is_dir() else []
    writer = Writer(c_targets.build("replay", name, folder))
    try:
        for number_of_case, data in zip(range(first, first + count), made_inputs(Random(first), known), strict=False):
            if time.monotonic() - start > seconds:
                break
            tally.executions += 1
            try:
                READINGS[name](*writer.write(data), data)
            except Exception as error:
                tally.add(f"{type(error).__name__}: {error}", number_of_case)
                keep(folder / "fuzz" / "finds", f"roundtrip-{name}-{number_of_case}.bin", data)
                if isinstance(error, Find) and "died" in str(error):
                    break
    finally:
        writer.close()
    tally.seconds = time.monotonic() - start
    return tally
