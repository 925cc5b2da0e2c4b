"""What `cr3scope save` notes beside QEMU's registers: words of a key and a value, each read once, here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.numbers import as_in_c, decimal, hexadecimal
from cr3scope.text import printable
from cr3scope.x86.entry import MAX_PHYS_BITS, PHYS_BITS
from cr3scope.x86.platform import Platform

PLATFORM, EFER, MAXPHYADDR, RAM = "platform", "efer", "maxphyaddr", "ram"
SHOWN_CR3 = "shown_cr3"  # whose tables are meant, if nobody names others
_BLANK, _IN_WORD = " ", "-"  # words are told apart by blanks
_LONGEST_SHOWN = 40
Range = tuple[int, int]  # first and last physical address, inclusive


@dataclass(frozen=True, slots=True)
class CoreWords:
    """None, or no range, where the core does not tell. ``phys_bits`` is MAXPHYADDR."""

    efer: int | None = None
    shown_cr3: int | None = None
    phys_bits: int = MAX_PHYS_BITS
    platform: Platform = Platform.HARDWARE
    ram: tuple[Range, ...] = ()


def read_words(words: Mapping[str, str], path: str) -> CoreWords:
    """Return what the words tell; UnusableInput if one of them has a value that no machine has."""
    platform = Platform.named(words.get(PLATFORM, Platform.HARDWARE.word).replace(_IN_WORD, _BLANK))
    if platform is None:
        raise _absurd(words, path, PLATFORM, "neither hardware nor a QEMU version's TCG")
    phys_bits = MAX_PHYS_BITS
    if MAXPHYADDR in words:
        told = decimal(words[MAXPHYADDR], MAX_PHYS_BITS)
        if told is None or told not in PHYS_BITS:
            raise _absurd(words, path, MAXPHYADDR, f"a CPU has {PHYS_BITS[0]} to {PHYS_BITS[-1]} bits")
        phys_bits = told
    return CoreWords(_number(words, path, EFER), _number(words, path, SHOWN_CR3), phys_bits, platform, _ranges(words, path))


def words_of(shown_cr3: int, efer: int, phys_bits: int, platform: Platform, ram: Iterable[Range]) -> dict[str, str]:
    """Return the words that :func:`read_words` reads."""
    return {
        SHOWN_CR3: f"{shown_cr3:#x}", EFER: f"{efer:#x}", MAXPHYADDR: str(phys_bits), PLATFORM: platform.word.replace(_BLANK, _IN_WORD),
        RAM: ",".join(f"{first:x}-{last:x}" for first, last in ram),
    }  # fmt: skip


def _number(words: Mapping[str, str], path: str, key: str) -> int | None:
    if key not in words:
        return None
    value = as_in_c(words[key])
    if value is None:
        raise _absurd(words, path, key, "no number of 64 bits")
    return value


def _ranges(words: Mapping[str, str], path: str) -> tuple[Range, ...]:
    """The ranges of RAM, as ``0-9ffff,100000-fffffff``."""
    pieces = words[RAM].split(",") if words.get(RAM) else []
    if len(pieces) > limits.CORE_RAM_RANGES:
        raise UnusableInput(f"{path}: the core's note tells {len(pieces)} ranges of RAM: at most {limits.CORE_RAM_RANGES} are read")
    found = []
    for piece in pieces:
        first, _, last = piece.partition("-")
        begin, end = hexadecimal(first, MAX_PHYS_BITS), hexadecimal(last, MAX_PHYS_BITS)
        if begin is None or end is None or end < begin:
            raise UnusableInput(f"{path}: the core's note tells a range of RAM that is none: {printable(piece[:_LONGEST_SHOWN])}")
        found.append((begin, end))
    return tuple(found)


def _absurd(words: Mapping[str, str], path: str, key: str, why: str) -> UnusableInput:
    return UnusableInput(f"{path}: the core's note says {key}={printable(words[key][:_LONGEST_SHOWN])}: {why}")
