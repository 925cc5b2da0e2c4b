"""What the code of a kernel's file uses: the red zone, vector registers, and what belongs to them.

Of a large kernel only those functions are decoded whose bytes may hold what is looked for.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.images.elf_symbols import ElfSymbols
from cr3scope.images.kernel_file import KernelFile
from cr3scope.x86.decode.instruction import Instruction, can_decode, decode_all, operands_of, text, written
from cr3scope.x86.decode.stack_slots import kept_below_rsp

# [rsp - 1..128]: a ModRM that wants a SIB and 8 bits, the SIB of RSP without an index, a negative number.
_BELOW_RSP = re.compile(rb"[\x44\x4c\x54\x5c\x64\x6c\x74\x7c]\x24[\x80-\xff]", re.DOTALL)
_FRAME, _ROOM = b"\x55\x48\x89\xe5", (b"\x48\x83\xec", b"\x48\x81\xec")  # push rbp; mov rbp, rsp; sub rsp, ..
_PROLOGUE_BYTES = 16
# Opcodes of SSE behind 0Fh, and with a prefix VEX of two or three bytes. Of the second of three the five low bits name one of
# three maps, else it is no instruction (SDM volume 2A, 2.3.5, figure 2-9): `add rsp, imm8` ends with bytes that look like one otherwise.
_MAPS = b"\x01-\x03\x21-\x23\x41-\x43\x61-\x63\x81-\x83\xa1-\xa3\xc1-\xc3\xe1-\xe3"
_VECTOR = re.compile(
    rb"(?:\x0f|\xc5[\x00-\xff]|\xc4[" + _MAPS + rb"][\x00-\xff])[\x10-\x17\x28-\x2f\x50-\x7f\xc6\xd0-\xff]", re.DOTALL
)
_BELOW = re.compile(r"\[r[sb]p - ")
_OF_VECTORS = re.compile(r"\b[xyz]?mm\d")
_WHOLE = ("movups", "movaps", "movdqu", "movdqa")  # all of an XMM register, and nothing else
_OPERAND = re.compile(r"\[r(?:ip|sp|bp)(?: [+-] \w+)?\]")  # which stays where it is within a function
_RELATIVE = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|[0-9]+)\]")
_TO_CR4 = re.compile(rb"\x0f\x22[\xe0-\xe7]", re.DOTALL)
_SAVES = re.compile(rb"\x0f(?:\xae[\x00-\x07\x20-\x27\x30-\x37\x40-\x47\x60-\x67\x70-\x77\x80-\x87\xa0-\xa7\xb0-\xb7]|\xc7[\x20-\x2f\x60-\x6f\xa0-\xaf])", re.DOTALL)
_IRETQ = b"\x48\xcf"
_KEPT = limits.LINT_FUNCTIONS  # answers, for who asks for one file after the other: of a kernel that is built again most functions are the same


@dataclass(frozen=True, slots=True)
class Use:
    """One function that uses something: where first, and by which instruction; ``changes``: not only stored."""

    function: int
    at: int
    instruction: str
    changes: bool = True


@dataclass(frozen=True, slots=True)
class FileUses:
    """What was found; ``is_all``: no function was left out that may use what is looked for."""

    red_zone: tuple[Use, ...] = ()
    vectors: tuple[Use, ...] = ()
    sets_cr4: bool = False
    saves_vectors: bool = False
    returns_from_interrupts: bool = False
    is_all: bool = True


@dataclass(frozen=True, slots=True)
class _Function:
    start: int
    code: bytes


def file_uses(kernel: KernelFile) -> FileUses:
    """Return what the functions of a 64-bit kernel use that its symbols tell; nothing without symbols or capstone."""
    symbols = kernel.symbols
    if kernel.bits != 64 or symbols is None or not can_decode():
        return FileUses()
    extents = symbols.functions()
    budget = _Budget(limits.LINT_FUNCTIONS, limits.LINT_CODE_BYTES)
    red_zone, vectors, returns = [], [], False
    sets_cr4 = saves = False
    for start, code in kernel.code():
        sets_cr4 = sets_cr4 or _TO_CR4.search(code) is not None
        saves = saves or _SAVES.search(code) is not None
        own = [(at, size) for at, size in _inside(extents, start, len(code))]
        starts = [at for at, _ in own]
        for place in _places(_IRETQ, code):
            returns = returns or _is_iretq(symbols, start, code, start + place)
        for function in _functions(own, starts, start, code, _vector_candidates(code, start), budget):
            use = _first_vector(function)
            vectors += [use] if use else []
        for function in _functions(own, starts, start, code, _red_zone_candidates(own, start, code), budget):
            at = kept_below_rsp(decode_all(function.code, function.start)) if _names(function.code, _BELOW) else None
            red_zone += [Use(function.start, at, _words(function, at))] if at is not None else []
    return FileUses(tuple(red_zone), tuple(vectors), sets_cr4, saves, returns, not budget.is_spent)


@dataclass(slots=True)
class _Budget:
    functions: int
    code: int
    is_spent: bool = False

    def takes(self, size: int) -> bool:
        self.functions -= 1
        self.code -= size
        self.is_spent = self.is_spent or self.functions < 0 or self.code < 0
        return not self.is_spent


def _inside(extents: list[tuple[int, int]], start: int, size: int) -> Iterator[tuple[int, int]]:
    first = bisect.bisect_left(extents, (start, 0))
    for at, length in extents[first:]:
        if at >= start + size:
            return
        yield at, min(length, start + size - at)


def _functions(
    own: list[tuple[int, int]], starts: list[int], start: int, code: bytes, places: Iterable[int], budget: _Budget
) -> Iterator[_Function]:
    """Each function that holds one of the places, once, as long as there is a budget."""
    done = -1
    for place in places:
        row = bisect.bisect_right(starts, place) - 1
        if row <= done or place >= own[row][0] + own[row][1]:
            continue
        done = row
        at, size = own[row]
        size = min(size, limits.LINT_FUNCTION_BYTES)
        if not budget.takes(size):
            return
        yield _Function(at, code[at - start : at - start + size])


def _vector_candidates(code: bytes, start: int) -> Iterator[int]:
    return (start + found.start() for found in _VECTOR.finditer(code))


def _red_zone_candidates(own: list[tuple[int, int]], start: int, code: bytes) -> list[int]:
    """Where something may lie below RSP: by RSP itself, or by RBP in a function that makes no room."""
    found = [start + match.start() for match in _BELOW_RSP.finditer(code)]
    for at, size in own:
        body = code[at - start : at - start + size]
        if _FRAME in body[:_PROLOGUE_BYTES] and not any(room in body for room in _ROOM):
            found.append(at)
    return sorted(found)


def _first_vector(function: _Function) -> Use | None:
    """Where it uses them first. A register that it stores before it writes it, and loads again from there at last, is as before."""
    if not _names(function.code, _OF_VECTORS):
        return None
    first: Use | None = None
    stored: dict[str, str] = {}
    is_changed: dict[str, bool] = {}
    for one in decode_all(function.code, function.start):
        if not _OF_VECTORS.search(one.op_str):
            continue
        first = first or Use(function.start, one.address, text(one), changes=False)
        place = _memory(one)
        changed = [register for register in written(one) if _OF_VECTORS.match(register)]
        for register in changed:
            is_changed[register] = not (one.mnemonic in _WHOLE and place is not None and stored.get(register) == place)
        if not changed and one.mnemonic in _WHOLE and place is not None:
            register = one.op_str.rpartition(", ")[2]
            if register not in is_changed:
                stored[register] = place
    return replace(first, changes=any(is_changed.values())) if first is not None else None


@lru_cache(_KEPT)
def _names(code: bytes, wanted: re.Pattern[str]) -> bool:
    """Whether an operand of a function is one of these: asked first, for what is decoded in detail takes ten times as long."""
    return wanted.search("\n".join(operands_of(code, 0))) is not None


def _memory(one: Instruction) -> str | None:
    """A memory operand that is a place of its own, with the address where that is fixed; None if it has none."""
    found = _OPERAND.search(one.op_str)
    if found is None:
        return None
    relative = _RELATIVE.fullmatch(found[0])
    if relative is None:
        return found[0]
    distance = int(relative[2], 0) * (-1 if relative[1] == "-" else 1)
    return f"[{one.address + one.size + distance:#x}]"


def _words(function: _Function, at: int) -> str:
    return next(text(one) for one in decode_all(function.code[at - function.start :], at))


def _places(wanted: bytes, code: bytes) -> Iterator[int]:
    at = code.find(wanted)
    for _ in range(limits.LINT_MAGICS):
        if at < 0:
            return
        yield at
        at = code.find(wanted, at + 1)


def _is_iretq(symbols: ElfSymbols, start: int, code: bytes, place: int) -> bool:
    """Whether an instruction begins there, decoded from the symbol before it on."""
    found = symbols.at(place)
    begin = found[1] if found is not None else place
    if not start <= begin <= place or place - begin > limits.LINT_FUNCTION_BYTES:
        return False
    instructions = decode_all(code[begin - start : place - start + len(_IRETQ)], begin)
    return any(one.address == place and one.mnemonic == "iretq" for one in instructions)
