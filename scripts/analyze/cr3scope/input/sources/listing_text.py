"""Lines of a listing out of a captured text: among prompts, chatter and escapes, cut or damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import I64, U64, Data, booleans, integers
from cr3scope.dataclass import dataclass
from cr3scope.input.sources.listing import UTF_16
from cr3scope.text import printable

if TYPE_CHECKING:
    import numpy.typing as npt

# The monitor's answer in QMP is a JSON string, where the ends of lines are written out.
_JSON_END = re.compile(rb"\\r\\n|\\n")
_LOOK_BYTES = 1 << 16
_MOST_NAMED = 3
_QUOTED = 60
_SOUGHT = 200
_ENDS = b"\r\n"
UPPER_HALF = b"0" * 8  # digits of an address of 64 bits that one of 32 lacks


@dataclass(frozen=True, slots=True)
class Grammar:
    """How the lines of a format look. ``line`` and ``broken`` must not match an end of line.

    ``broken`` recognises a line of the format that is damaged or cut, ``tokens`` any line, with what stands before one.
    """

    line: re.Pattern[bytes]
    broken: re.Pattern[bytes]
    tokens: re.Pattern[bytes] = field(init=False)

    def __post_init__(self) -> None:
        line = self.line.pattern
        # The last alternative takes a whole line, so that no text is looked at more than twice, and is known by its end.
        tokens = re.compile(rb"%s|[^\r\n]*?%s|[^\r\n]+[\r\n]*" % (line, line))  # linear: whatever begins is a token
        object.__setattr__(self, "tokens", tokens)


def normalised(data: Data) -> Data:
    """Return the text in bytes with real ends of lines."""
    if data[: len(UTF_16)] == UTF_16:
        data = data[:].decode("utf-16", "replace").encode("ascii", "replace")
    if _JSON_END.search(data[:_LOOK_BYTES]):
        return _JSON_END.sub(b"\n", data[:])
    return data


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a format, which of them stand behind other text, and what is said of broken ones."""

    lines: list[bytes]
    after_chatter: npt.NDArray[np.bool_]
    losses: list[str]


def read_lines(text: Data, grammar: Grammar) -> Lines:
    """Return all lines that match, without what stands before them."""
    tokens = grammar.tokens.findall(text)
    is_chatter = np.array([token[-1] in _ENDS for token in tokens], dtype=np.bool_)
    if not grammar.line.search(tokens[-1]):
        is_chatter[-1] = True
    lines = [token for token, chatter in zip(tokens, booleans(is_chatter)) if not chatter]
    if len(set(map(len, lines))) != 1 or not grammar.line.fullmatch(lines[0]):
        lines = [found[0] for found in map(grammar.line.search, lines) if found]
    others = [tokens[number].strip() for number in integers(np.flatnonzero(is_chatter))]
    broken = [token for token in others if grammar.broken.search(token)]
    behind = np.append(False, is_chatter[:-1])[~is_chatter]
    return Lines(lines, behind, list(_complaints(text, broken)))


def _complaints(text: Data, broken: list[bytes]) -> Iterator[str]:
    at = number = 0
    for token in broken[:_MOST_NAMED]:
        end = rb"[^\S\r\n]*(?![^\r\n])" if len(token) <= _SOUGHT else b""
        start = rb"(?<![^\r\n])[^\S\r\n]*"
        sought = re.compile(start + re.escape(token[:_SOUGHT]) + end)  # linear: only where a line begins
        found = sought.search(text, at)
        place = found.start() if found else at
        number += text[at:place].count(b"\n")
        at = place
        words = printable(token[:_QUOTED].decode("ascii", "replace"))
        yield f"line {number + 1} is cut or damaged, and left out: `{words}`"
    if len(broken) > _MOST_NAMED:
        yield f"{len(broken) - _MOST_NAMED} more lines are cut or damaged, and left out"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Numbers of the lines that count, and what is said of the others."""

    numbers: I64
    notes: list[str]
    losses: list[str]


def last_listing(found: Lines, first: U64) -> Chosen:
    """Return the lines of the last listing in the text.

    In one listing addresses only rise. A single line that breaks the order is damaged, unless other text stands
    before it: there another listing may begin.
    """
    alone = np.zeros(len(first), dtype=np.bool_)
    if len(first) > 2:
        before, middle, after = first[:-2], first[1:-1], first[2:]
        follows = (after > before) & ~found.after_chatter[1:-1] & ~found.after_chatter[2:]
        alone[1:-1] = follows & ((middle >= after) | (middle <= before))
    kept = np.flatnonzero(~alone)
    falls = np.flatnonzero(first[kept][1:] <= first[kept][:-1])
    chosen = Chosen(kept[int(falls[-1]) + 1 :] if len(falls) else kept, [], list(found.losses))
    if alone.any():
        example = int(first[int(np.flatnonzero(alone)[0])])
        chosen.losses.append(
            f"{int(alone.sum())} lines are out of order, and left out: {example:#x}"
        )
    if len(falls):
        chosen.notes.append(f"the text holds {len(falls) + 1} listings: the last one is taken")
    return chosen


def matrix(lines: list[bytes], width: int) -> npt.NDArray[np.uint8]:
    """Return lines of which only the first ``width`` bytes count, one a row."""
    joined = b"".join(lines)
    if len(joined) != width * len(lines):
        joined = b"".join([line[:width] for line in lines])
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(lines), width)


_VALUES = np.zeros(256, dtype=np.uint8)
for _digit in b"0123456789abcdef":
    _VALUES[_digit] = int(chr(_digit), 16)


def hex_column(cells: npt.NDArray[np.uint8]) -> U64:
    """Return numbers from 16 hex digits each."""
    digits = _VALUES[cells]
    pairs = digits[:, 0::2] << np.uint8(4) | digits[:, 1::2]
    return np.ascontiguousarray(pairs).view(">u8")[:, 0].astype(np.uint64)

