"""Numbers, bytes and damage that break readers."""

from __future__ import annotations

from random import Random

_EDGES = (0, 1, 2, 7, 8, 0x1F, 0x20, 0x34, 0x35, 0xFF, 0x100, 0x1FF, 0x200, 0xFFF, 0x1000, 0x1001, 0xFFFF, 0x10000, 0x7FFF_FFFF,
          0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 40) - 1, 1 << 47, (1 << 47) - 1, 1 << 52, (1 << 52) - 1, 1 << 56, (1 << 63) - 1,
          1 << 63, (1 << 64) - 0x1000, (1 << 64) - 1, 0xFFFF_8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF)  # fmt: skip


def number(rng: Random, near: int = 0, bits: int = 64) -> int:
    """Return a number at an edge, near another, with one of its bits flipped, or any."""
    how = rng.randrange(6)
    if how == 0:
        value = rng.choice(_EDGES)
    elif how == 1:
        value = near + rng.choice((-0x1000, -8, -1, 1, 8, 0x1000))
    elif how in (2, 3):
        value = near ^ 1 << rng.randrange(bits)
    elif how == 4:
        value = rng.getrandbits(rng.randrange(1, bits + 1))
    else:
        value = rng.choice(_EDGES) + near
    return value % (1 << bits)


def damaged(rng: Random, data: bytes, most: int = 4) -> bytes:
    """Return the bytes with a few of them changed, cut out, doubled, or the rest gone."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, most + 1)):
        if not out:
            break
        at, length = rng.randrange(len(out)), rng.choice((1, 1, 2, 4, 8, 64))
        how = rng.randrange(7)
        if how == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            out[at : at + length] = rng.randbytes(length)
        elif how == 2:
            del out[at : at + length]
        elif how == 3:
            out[at:at] = out[at : at + length]
        elif how == 4:
            del out[at:]
        elif how == 5:
            out[at : at + length] = number(rng).to_bytes(8, "little")[:length]
        else:
            other = rng.randrange(len(out))
            out[at : at + length] = out[other : other + length]
    return bytes(out)


def damaged_text(rng: Random, text: str, most: int = 4) -> str:
    """Return a text with words and lines changed: numbers, names, whole lines doubled, swapped or gone."""
    lines = text.split("\n")
    for _ in range(rng.randrange(1, most + 1)):
        at = rng.randrange(len(lines))
        how = rng.randrange(9)
        if how == 0:
            del lines[at : at + rng.choice((1, 2, 8))]
        elif how == 1:
            lines[at:at] = lines[at : at + rng.choice((1, 2, 8))]
        elif how == 2:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif how in (3, 4, 5):
            lines[at] = _other_word(rng, lines[at])
        elif how == 6:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        elif how == 7:
            lines[at] += rng.choice((" " * 3000, "0" * 3000, "\x1b[2J", "<b7>", "\0", "\r", "=" * 3000, "é", "\u0663\u0664"))
        else:
            del lines[at:]
        if not lines:
            lines = [""]
    return "\n".join(lines)


def _other_word(rng: Random, line: str) -> str:
    words = line.split(" ")
    at = rng.randrange(len(words))
    words[at] = rng.choice((f"{number(rng):x}", f"{number(rng):016x}", f"{number(rng)}", f"0x{number(rng):x}", "-1", "nan", "inf", "1e99", "",
                            "٣٤", "f" * 17, "9" * 400, words[at] * 2, words[at][::-1], words[at][1:], "\x1b[31m", "<b7>"))  # fmt: skip
    return " ".join(words)
