"""Photos of a screen: pictures, or the texts of codes that somebody scanned, in; a capture out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Capture
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.first_bytes import first_bytes
from cr3scope.input.photo import frames, picture, stream
from cr3scope.input.photo.frames import BadFrame, Frame, Joined
from cr3scope.input.photo.signs import HEAD_BYTES, MARK, is_picture
from cr3scope.text import printable

_LACKS = "from photos of the screen: they hold neither the firmware's memory map and page tables nor what the kernel did later"
_LOST = "{count} records had no room in the codes, or no number: what they say is not known"
_NOT_NEEDED = "codes that are damaged were not used: all {count} are there without them"
_MOST_LISTED = 8


def read_photos(paths: Sequence[Path]) -> Capture:
    """Return the capture that the codes in some files hold, and what of it is missing.

    UnusableInput if they hold none, are of different screens, or one of the files cannot be used.
    """
    if len(paths) > limits.PICTURES:
        raise UnusableInput(f"{len(paths)} photos: at most {limits.PICTURES} are read at once")
    found: list[Frame] = []
    damaged: list[str] = []
    for path in paths:
        own, bad = _frames_of(path)
        if not own and not bad:
            raise UnusableInput(f"{printable(str(path))}: no code of cr3scope is found in it")
        found += own
        damaged += bad
    source = printable(str(paths[0])) if len(paths) == 1 else f"{len(paths)} photos"
    if not found and damaged:
        raise UnusableInput(damaged[0])
    joined = frames.join(found, source)
    return _capture(joined, source, damaged)


def _frames_of(path: Path) -> tuple[list[Frame], list[str]]:
    """The codes of one file, and what is wrong with the damaged ones."""
    data = first_bytes(path, limits.PICTURE_BYTES + 1)
    shown = printable(str(path))
    if len(data) > limits.PICTURE_BYTES:
        raise UnusableInput(f"{shown} has more than {limits.PICTURE_BYTES >> 20} MiB: no photo of a screen has")
    if is_picture(data[:HEAD_BYTES]):
        texts = picture.texts(data, str(path), _is_enough)
    else:
        lines = data.decode("latin-1").splitlines()
        texts = [line[line.index(MARK) :].rstrip() for line in lines if MARK in line]  # no code ends with a blank
    found: list[Frame] = []
    damaged: list[str] = []
    for text in dict.fromkeys(texts):
        try:
            found.append(frames.frame(text))
        except BadFrame as error:
            damaged.append(f"{shown}: a code is damaged: {error}")
    return found, damaged


def _is_enough(texts: list[str]) -> bool:
    """Whether the codes of one picture are all that there are."""
    try:
        found = [frames.frame(text) for text in texts]
    except BadFrame:
        return False
    return len({one.number for one in found}) >= max(one.count for one in found)


def _capture(joined: Joined, source: str, damaged: Sequence[str]) -> Capture:
    notes = [Diagnostic(_LACKS)]
    damage = [] if joined.is_whole else [Diagnostic(words) for words in damaged]
    if joined.is_whole and damaged:  # the checksum over all codes holds
        notes.append(Diagnostic(_NOT_NEEDED.format(count=joined.count)))
    if joined.missing:
        damage.append(Diagnostic(_missing(joined)))
    if not joined.data:
        return Capture([], damage, notes)
    try:
        unpacked = stream.unpack(joined.data, joined.is_whole)
    except stream.Damaged as error:
        raise UnusableInput(f"{source}: the codes hold no trace: {error}") from None
    if unpacked.lost:
        damage.append(Diagnostic(_LOST.format(count=unpacked.lost)))
    if not unpacked.text:
        return Capture([], damage, notes)
    capture = read_capture(unpacked.text, source)
    return replace(capture, damage=[*damage, *capture.damage], notes=[*notes, *capture.notes], is_photo=True)


def _missing(joined: Joined) -> str:
    listed = ", ".join(map(str, joined.missing[:_MOST_LISTED])) + (", ..." if len(joined.missing) > _MOST_LISTED else "")
    are, they = ("is", "it holds") if len(joined.missing) == 1 else ("are", "they hold")
    return f"of {joined.count} codes {len(joined.missing)} {are} missing ({listed}): what {they}, and what is behind it, is not known"
