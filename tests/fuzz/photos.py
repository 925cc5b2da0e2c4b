"""Photo streams, damaged, in frames whose checksums are right again; and texts of frames, damaged."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from analyze.photo_writer import frames, packed
from fuzz import wire
from fuzz.logs import kept_as_file
from fuzz.noise import damaged
from fuzz.small_boots import small_boot
from fuzz.target import Case, Target, require, verdict_of

from cr3scope.input.photo.reader import read_photos
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status

_ROOMS = (40, 300, 700, 5000)
_PATHS = (wire.GOLDEN, wire.REAL)


@cache
def _stream(path: Path) -> bytes:
    return packed(path.read_bytes())


def _make(rng: Random) -> Case:
    if rng.random() < 0.05:
        texts = frames(packed(wire.written(small_boot(rng))), rng.choice(_ROOMS))
        return Case(b"C3S: scanned\n" + b"".join(b"%s\n" % each.encode() for each in texts), ".txt", {"whole": True})
    data = _stream(rng.choice(_PATHS))
    if rng.random() < 0.8:
        data = damaged(rng, data)
    texts = list(frames(data, rng.choice(_ROOMS)))[:255]
    rng.shuffle(texts)
    if rng.random() < 0.3:
        texts = texts[: rng.randrange(len(texts) + 1)]
    text = "".join(f"{each}\n" for each in texts).encode()
    if rng.random() < 0.3:
        text = damaged(rng, text)
    return Case(b"C3S: scanned\n" + text, ".txt")


def _check(case: Case) -> None:
    with kept_as_file(case.data, case.suffix) as path:
        verdict, words = verdict_of(lambda: analyze(read_photos([path])))
    if case.meant.get("whole"):
        require(verdict is not None and not verdict.findings, f"of a healthy boot: {words[:200]}")
    require(verdict is None or verdict.status is not Status.HEALTHY, "healthy, of a boot whose end nobody heard")


PHOTO = Target("photo", _make, _check, ("input/photo/frames.py", "input/photo/stream.py", "input/photo/reader.py"))
