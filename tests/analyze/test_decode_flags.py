"""The flags behind an instruction, and conditional jumps that are followed by them."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from pathlib import Path
from random import Random

import pytest
from analyze.test_predict_follow import CODE, KERNEL, path

from cr3scope.render.message import text
from cr3scope.x86.decode.flags import UNKNOWN, Flags, flags_after, is_taken
from cr3scope.x86.decode.instruction import decode
from cr3scope.x86.decode.known_registers import KnownRegisters

# Each with RAX and RCX, or parts of them.
OPERATIONS = {
    "add rax, rcx": "4801c8", "sub eax, ecx": "29c8", "cmp al, cl": "38c8", "cmp rax, rcx": "4839c8", "cmp ax, cx": "6639c8",
    "and rax, rcx": "4821c8", "or al, cl": "08c8", "xor eax, ecx": "31c8", "test rax, rcx": "4885c8", "add al, cl": "00c8",
    "inc eax": "ffc0", "dec rax": "48ffc8", "cmp rax, -1": "4883f8ff", "sub al, 80h": "2c80", "xor eax, eax": "31c0", "mov eax, ecx": "89c8",
    "shl eax, 4": "c1e004", "shr rax, 3": "48c1e803", "shl al, cl": "d2e0", "shr al, 8": "c0e808",
}  # fmt: skip
JUMPS = ("jo", "jno", "jb", "jae", "je", "jne", "jbe", "ja", "js", "jns", "jp", "jnp", "jl", "jge", "jle", "jg")
_BITS = {"carry": 0, "parity": 2, "zero": 6, "sign": 7, "overflow": 11}
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def flags_of(code: str, rax: int, rcx: int, before: Flags = UNKNOWN) -> Flags:
    one = decode(bytes.fromhex(code), 0)
    known = KnownRegisters({"rax": rax, "rcx": rcx})
    return flags_after(one, before, lambda operand: operand.imm if operand.type == 2 else known.get(one.reg_name(operand.reg)))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """This processor: f0, f1, .. return RFLAGS behind each operation; CF is set before."""
    folder = tmp_path_factory.mktemp("flags")
    bodies = "".join(
        f".globl f{number}\nf{number}: mov %rdi, %rax\nmov %rsi, %rcx\nstc\n.byte {','.join(f'0x{code[at:at + 2]}' for at in range(0, len(code), 2))}"
        "\npushf\npop %rax\nret\n"
        for number, code in enumerate(OPERATIONS.values())
    )
    (folder / "flags.s").write_text(f".text\n{bodies}.section .note.GNU-stack,\"\"\n")
    subprocess.run(["gcc", "-shared", "-o", folder / "flags.so", folder / "flags.s"], check=True)
    return ctypes.CDLL(str(Path(folder, "flags.so")))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the operations are executed")
@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=list(OPERATIONS))
def test_the_flags_are_those_of_a_processor(native: ctypes.CDLL, number: int) -> None:
    random = Random(number)
    function = getattr(native, f"f{number}")
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_uint64, ctypes.c_uint64]
    pairs = [(a, b) for a in _EDGES for b in _EDGES] + [(random.getrandbits(64), random.getrandbits(64)) for _ in range(200)]
    code = [*OPERATIONS.values()][number]
    for rax, rcx in pairs:
        found, told = flags_of(code, rax, rcx, Flags(carry=True)), function(rax, rcx)
        known = {name: getattr(found, name) for name in _BITS if getattr(found, name) is not None}
        assert known == {name: bool(told >> _BITS[name] & 1) for name in known}, (rax, rcx)
        name = [*OPERATIONS][number]
        assert len(known) == {"mov": 1, "shl": 4, "shr": 4}.get(name[:3], 5) or name == "shl al, cl"


@pytest.mark.parametrize("code", ["0f b1 c8", "0f af c1", "f7 e1", "9d", "48 0f a3 c8", "f3 a6"])
def test_what_is_not_computed_leaves_no_flag_known(code: str) -> None:
    assert flags_of(code.replace(" ", ""), 1, 1, Flags(True, True, True, True, True)) == UNKNOWN


@pytest.mark.parametrize(("flags", "taken"), [
    (Flags(zero=True), {"je", "jbe", "jle"}),
    (Flags(carry=True), {"jb", "jbe"}),
    (Flags(zero=False, sign=True, overflow=False), {"jne", "js", "jl", "jle", "jno"}),
    (Flags(), set()),
])  # fmt: skip
def test_a_jump_is_taken_only_if_its_flags_tell(flags: Flags, taken: set[str]) -> None:
    known = KnownRegisters({})
    found = {name: is_taken(decode(bytes((0x70 + number, 0)), 0), flags, known) for number, name in enumerate(JUMPS)}
    assert {name for name, is_it in found.items() if is_it} == taken


ENTERS = "49 bb 00 00 00 00 00 80 ff ff 41 ff e3"  # mov r11, KERNEL; jmp r11


def test_a_conditional_jump_is_followed_where_the_registers_are_known() -> None:
    """cmp eax, 5; je over ud2."""
    code = f"83 f8 05 74 02 0f 0b {ENTERS}"
    assert path(code, rax=5).steps[-1].virt == KERNEL or any(step.virt == KERNEL for step in path(code, rax=5).steps)
    refused = path(code, rax=6)
    assert refused.stop is not None and not any(step.virt == KERNEL for step in refused.steps)
    unknown = path(code)
    assert text(unknown.end).startswith("not followed further: je ") and unknown.count == 1


def test_a_loop_that_counts_is_followed_to_its_end() -> None:
    """mov ecx, 3; 1: dec ecx; jne 1b; and the same by LOOP; jrcxz over ud2."""
    code = f"b9 03 00 00 00 ff c9 75 fc b9 04 00 00 00 e2 fe e3 02 0f 0b {ENTERS}"
    found = path(code)
    assert any(step.virt == KERNEL for step in found.steps), text(found.end)
    assert found.count == 1 + 2 * 3 + 1 + 4 + 1 + 2


def test_a_loop_that_never_ends_ends_the_way() -> None:
    found = path("b9 ff ff ff 7f ff c9 75 fc")
    assert text(found.end) == "no more are followed" and found.last.rip in range(CODE, CODE + 9)
