"""What code is about to do, told without running it."""

from __future__ import annotations

import pytest

from cr3scope.capture.records import AccessKind
from cr3scope.predict.delivery import Registers
from cr3scope.predict.follow import Path, Step, follow

CODE, STACK, KERNEL = 0x10000, 0x20000, 0xFFFF800000000000
JMP_RAX, JMP_R11, CALL_RAX = "ff e0", "41 ff e3", "ff d0"


def path(code: str, memory: dict[int, bytes] | None = None, at: int = CODE, **general: int) -> Path:
    """Follows the bytes of ``code`` at ``at``; nothing else is mapped but ``memory``."""
    mapped = {at: bytes.fromhex(code), **(memory or {})}

    def read(virt: int, count: int) -> bytes | None:
        for base, data in mapped.items():
            if base <= virt < base + len(data):
                return data[virt - base : virt - base + count]
        return None

    return follow(read, general, Registers(at, STACK, 0x38, 0, 0x1000, 0x47, 0x2000, 0xFFF))


def shapes(found: Path) -> list[tuple[str, int]]:
    return [(step.name, step.virt) for step in found.steps]


def entry(found: Path) -> Step:
    return next(step for step in found.steps if step.name == "entry")


def test_a_jump_by_register_is_the_entry() -> None:
    found = path(JMP_R11, r11=KERNEL)
    assert shapes(found) == [
        ("next fetch", CODE), ("entry", KERNEL), ("stack write", STACK - 8),
    ]  # fmt: skip
    assert entry(found).by == CODE
    assert found.end == f"the code at {KERNEL:#x} cannot be read"


@pytest.mark.parametrize(
    ("code", "general"),
    [
        ("48 89 d8 ff e0", {"rbx": KERNEL}),  # mov rax, rbx
        ("48 b8 00 00 00 00 00 80 ff ff ff e0", {}),  # mov rax, imm64
        ("48 89 fb 53 c3", {"rdi": KERNEL}),  # push rbx; ret
        ("53 58 ff e0", {"rbx": KERNEL}),  # push, pop
        ("48 8d 43 10 ff e0", {"rbx": KERNEL - 16}),  # lea
        ("48 83 c0 10 ff e0", {"rax": KERNEL - 16}),  # add
        ("6a 08 53 48 cb", {"rbx": KERNEL}),  # push 8; push rbx; retfq
        ("48 89 1c 24 ff 24 24", {"rbx": KERNEL}),  # mov [rsp], rbx; jmp [rsp]
    ],
)
def test_the_entry_is_found_through(code: str, general: dict[str, int]) -> None:
    assert entry(path(code, **general)).virt == KERNEL


def test_a_pointer_in_memory_is_read_and_followed() -> None:
    found = path("ff 25 fa 0f 00 00", {CODE + 0x1000: KERNEL.to_bytes(8, "little")})
    assert shapes(found)[:3] == [
        ("next fetch", CODE), ("read", CODE + 0x1000), ("entry", KERNEL),
    ]  # fmt: skip


def test_what_arithmetic_leaves_in_memory_is_not_known() -> None:
    found = path("48 89 1c 24 48 01 1c 24 ff 24 24", rbx=KERNEL)
    assert "entry" not in dict(shapes(found))


@pytest.mark.parametrize("code", ["b0 01 ff e0", "66 b8 01 00 ff e0", "8a 03 ff e0", "0f a2 ff e0"])
def test_a_register_that_was_changed_in_ways_not_understood_is_no_entry(code: str) -> None:
    found = path(code, rax=KERNEL, rbx=STACK)
    assert "entry" not in dict(shapes(found))
    assert found.end.startswith("not followed further: jmp rax")


def test_a_write_of_32_bits_clears_the_upper_half() -> None:
    assert entry(path("89 d8 ff e0", rbx=KERNEL | 0x5000, rax=KERNEL)).virt == 0x5000


@pytest.mark.parametrize(
    ("code", "words"),
    [("75 02", "jne"), ("f4", "hlt"), ("0f 0b", "ud2"), ("0f 22 d8", "mov cr3, rax"), ("0f 30", "wrmsr")],
)
def test_the_way_ends_where_nothing_certain_follows(code: str, words: str) -> None:
    assert path(code).end.startswith(f"not followed further: {words}")


def test_a_call_pushes_and_comes_back() -> None:
    # call +1; hlt; ret
    found = path("e8 01 00 00 00 f4 c3")
    assert shapes(found) == [
        ("next fetch", CODE), ("stack write", STACK - 8), ("stack read", STACK - 8),
    ]  # fmt: skip
    assert "hlt" in found.end


def test_a_changed_stack_is_where_the_push_goes() -> None:
    found = path("48 89 dc 50", rbx=0x9000, rax=1)
    assert ("stack write", 0x9000 - 8) in shapes(found)
    assert next(s for s in found.steps if s.name == "stack write").registers.rsp == 0x9000


def test_a_stack_that_is_not_known_ends_the_way_and_claims_no_access() -> None:
    found = path("48 8b 23 50", rbx=0x9000)
    assert shapes(found) == [("next fetch", CODE), ("read", 0x9000), ("stack write", STACK - 8)]
    assert "rsp" in found.end


def test_an_instruction_across_a_page_is_two_fetches() -> None:
    at = 0x10FFE
    found = path("48 89 d8 f4", at=at)
    assert shapes(found)[:2] == [("next fetch", at), ("fetch", 0x11000)]


def test_a_new_idt_is_that_of_the_steps_behind_it() -> None:
    pointer = (0xFFF).to_bytes(2, "little") + (0x7000).to_bytes(8, "little")
    found = path("0f 01 1b 50", {0x9000: pointer}, rbx=0x9000)
    kinds = [(s.name, s.kind, s.registers.idt_base) for s in found.steps]
    assert kinds == [
        ("next fetch", AccessKind.FETCH, 0x2000),
        ("read", AccessKind.READ, 0x2000),
        ("stack write", AccessKind.WRITE, 0x7000),
    ]


def test_a_repeat_of_zero_times_accesses_nothing() -> None:
    assert ("write", 0x9000) in shapes(path("f3 ab", rcx=1, rdi=0x9000))
    assert ("write", 0x9000) not in shapes(path("f3 ab", rcx=0, rdi=0x9000))


def test_a_loop_ends_by_the_limit() -> None:
    assert "instructions were followed" in path("eb fe").end


def test_bytes_that_are_no_instruction_are_named() -> None:
    assert path("06 06").end == f"the bytes at {CODE:#x} are no instruction: 06 06"
