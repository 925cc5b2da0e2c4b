"""What code is about to do, told without running it."""

from __future__ import annotations

import pytest

from cr3scope.model.follow.course import Step
from cr3scope.model.follow.follow import Path, follow
from cr3scope.model.role import Role
from cr3scope.render import role
from cr3scope.render.message import text
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.decode.instruction import decode
from cr3scope.x86.registers import Registers

CODE, STACK, KERNEL = 0x10000, 0x20000, 0xFFFF800000000000
JMP_RAX, JMP_R11, CALL_RAX = "ff e0", "41 ff e3", "ff d0"


GDT, IDT = 0x1000, 0x2000
NO_SEGMENT, CODE_64, DATA = 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
CODE_32, NOT_PRESENT, READ_ONLY = 0x00CF9B000000FFFF, 0x00CF13000000FFFF, 0x00CF91000000FFFF
NOT_ACCESSED, TSS, TSS_HIGH = 0x00CF92000000FFFF, 0x0000890030000067, 1
DESCRIPTORS = (NO_SEGMENT, CODE_64, DATA, CODE_32, NOT_PRESENT, READ_ONLY, NOT_ACCESSED, TSS, TSS_HIGH)
SELECTOR = {name: 8 * number for number, name in enumerate(DESCRIPTORS)}


def path(
    code: str,
    memory: dict[int, bytes] | None = None,
    at: int = CODE,
    bits: int = 64,
    cpu: CpuState | None = None,
    **general: int,
) -> Path:
    """Follows the bytes of ``code`` at ``at``; nothing else is mapped but a GDT and ``memory``."""
    gdt = b"".join(one.to_bytes(8, "little") for one in DESCRIPTORS)
    mapped = {at: bytes.fromhex(code), GDT: gdt, **(memory or {})}

    def read(virt: int, count: int) -> bytes | None:
        for base, data in mapped.items():
            if base <= virt < base + len(data):
                return data[virt - base : virt - base + count]
        return None

    registers = Registers(at, STACK, 8, 0, GDT, 8 * len(DESCRIPTORS) - 1, IDT, 0xFFF)
    return follow(read, general, registers, bits, cpu)


def shapes(found: Path) -> list[tuple[str, int]]:
    return [(role.text(step.role), step.virt) for step in found.steps]


def entry(found: Path) -> Step:
    return next(step for step in found.steps if step.role is Role.ENTRY)


def test_a_jump_by_register_is_the_entry() -> None:
    found = path(JMP_R11, r11=KERNEL)
    assert shapes(found) == [
        ("next fetch", CODE), ("entry", KERNEL), ("stack write", STACK - 8),
    ]  # fmt: skip
    assert entry(found).by == CODE
    assert text(found.end) == f"the code at {KERNEL:#x} cannot be read"


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


@pytest.mark.parametrize("code", ["b0 01 b4 02 ff e0", "66 b8 01 02 ff e0", "b8 00 00 00 00 48 89 d8 b4 02 b0 01 ff e0"])
def test_a_write_of_8_or_16_bits_leaves_the_rest(code: str) -> None:
    """Before, the register counted as unknown."""
    assert entry(path(code, rax=KERNEL, rbx=KERNEL)).virt == KERNEL & -0x10000 | 0x201


@pytest.mark.parametrize("code", ["8a 03 ff e0", "66 8b 03 ff e0", "0f a2 ff e0", "8a 03 b4 01 ff e0"])
def test_a_register_that_was_changed_in_ways_not_understood_is_no_entry(code: str) -> None:
    found = path(code, rax=KERNEL, rbx=STACK)
    assert "entry" not in dict(shapes(found))
    assert text(found.end).startswith("not followed further: jmp rax")


def test_a_write_of_32_bits_clears_the_upper_half() -> None:
    assert entry(path("89 d8 ff e0", rbx=KERNEL | 0x5000, rax=KERNEL)).virt == 0x5000


@pytest.mark.parametrize(
    ("code", "words"),
    [("75 02", "jne"), ("f4", "hlt"), ("0f 22 d8", "mov cr3, rax"), ("0f 30", "wrmsr")],
)
def test_the_way_ends_where_nothing_certain_follows(code: str, words: str) -> None:
    assert text(path(code).end).startswith(f"not followed further: {words}")


def test_a_call_pushes_and_comes_back() -> None:
    # call +1; hlt; ret
    found = path("e8 01 00 00 00 f4 c3")
    assert shapes(found) == [
        ("next fetch", CODE), ("stack write", STACK - 8), ("stack read", STACK - 8),
    ]  # fmt: skip
    assert "hlt" in text(found.end)


def test_a_changed_stack_is_where_the_push_goes() -> None:
    found = path("48 89 dc 50", rbx=0x9000, rax=1)
    assert ("stack write", 0x9000 - 8) in shapes(found)
    assert next(s for s in found.steps if s.role is Role.STACK_WRITE).registers.rsp == 0x9000


def test_a_stack_that_is_not_known_ends_the_way_and_claims_no_access() -> None:
    found = path("48 8b 23 50", rbx=0x9000)
    assert shapes(found) == [("next fetch", CODE), ("read", 0x9000)]
    assert "rsp" in text(found.end)


def test_an_instruction_across_a_page_is_two_fetches() -> None:
    at = 0x10FFE
    found = path("48 89 d8 f4", at=at)
    assert shapes(found)[:2] == [("next fetch", at), ("fetch", 0x11000)]


def test_a_new_idt_is_that_of_the_steps_behind_it() -> None:
    pointer = (0xFFF).to_bytes(2, "little") + (0x7000).to_bytes(8, "little")
    found = path("0f 01 1b 50", {0x9000: pointer}, rbx=0x9000)
    kinds = [(role.text(s.role), s.kind, s.registers.idt_base) for s in found.steps]
    assert kinds == [
        ("next fetch", AccessKind.FETCH, 0x2000),
        ("read", AccessKind.READ, 0x2000),
        ("stack write", AccessKind.WRITE, 0x7000),
    ]


def test_a_repeat_of_zero_times_accesses_nothing() -> None:
    assert ("write", 0x9000) in shapes(path("f3 ab", rcx=1, rdi=0x9000))
    assert ("write", 0x9000) not in shapes(path("f3 ab", rcx=0, rdi=0x9000))


def test_a_loop_ends_by_the_limit() -> None:
    found = path("90 eb fd")
    assert (text(found.end), found.count) == ("no more are followed", 256)


def test_a_jump_to_itself_is_an_endless_loop() -> None:
    assert text(path("90 eb fe").end) == f"an endless loop at {CODE + 1:#x}"


def test_bytes_that_are_no_instruction_are_named() -> None:
    assert text(path("06 06").end) == f"the bytes at {CODE:#x} are no instruction that the decoder knows: 06 06"


# -- the stack pointer, in whatever width it is written -----------------------------------------


@pytest.mark.parametrize(
    ("code", "top"),
    [
        ("bc 00 00 30 00 50", 0x300000),  # mov esp, 0x300000; push rax
        ("89 dc 50", 0x3000),  # mov esp, ebx
        ("83 e4 f0 50", STACK),  # and esp, -16
        ("83 ec 10 50", STACK - 16),  # sub esp, 16
        ("53 5c 50", 0x3000),  # push rbx; pop rsp; push rax
        ("66 bc 00 30 50", STACK & -0x10000 | 0x3000),  # mov sp, 0x3000
        ("66 89 dc 50", STACK & -0x10000 | 0x3000),  # mov sp, bx
    ],
)
def test_a_write_to_the_lower_half_of_rsp_moves_the_stack(code: str, top: int) -> None:
    assert shapes(path(code, rbx=0x3000, rax=1))[-1] == ("stack write", top - 8)


@pytest.mark.parametrize("code", ["66 8b 23 50", "94 50", "8b 23 50"])
def test_a_stack_pointer_that_is_not_known_ends_the_way(code: str) -> None:
    assert text(path(code, rbx=0x3000, rax=1).end).startswith("not followed further")


def test_a_push_of_two_bytes_moves_two_bytes() -> None:
    assert shapes(path("66 50 66 58 50", rax=1))[1:] == [
        ("stack write", STACK - 2), ("stack read", STACK - 2), ("stack write", STACK - 8),
    ]  # fmt: skip


# -- what the CPU refuses whatever the tables say ------------------------------------------------


def refused(found: Path) -> tuple[int, int | None] | None:
    stop = found.stop
    return None if stop is None else (stop.refused.vector, stop.refused.error_code)


def test_ud2_is_an_exception_and_no_survival() -> None:
    found = path("90 0f 0b")
    assert refused(found) == (6, None)
    assert found.stop is not None and found.stop.registers.rip == CODE + 1
    assert "stack write" not in dict(shapes(found))


@pytest.mark.parametrize(
    ("register", "selector", "exception"),
    [
        ("d8", SELECTOR[DATA], None),
        ("d8", SELECTOR[CODE_64], None),
        ("d8", 0, None),
        ("d8", 8 * len(DESCRIPTORS), (13, 8 * len(DESCRIPTORS))),
        ("d8", SELECTOR[TSS], (13, SELECTOR[TSS])),
        ("d8", SELECTOR[DATA] | 3, (13, SELECTOR[DATA])),
        ("d8", SELECTOR[NOT_PRESENT], (11, SELECTOR[NOT_PRESENT])),
        ("d0", SELECTOR[DATA], None),
        ("d0", 0, None),
        ("d0", SELECTOR[CODE_64], (13, SELECTOR[CODE_64])),
        ("d0", SELECTOR[READ_ONLY], (13, SELECTOR[READ_ONLY])),
        ("d0", SELECTOR[NOT_PRESENT], (12, SELECTOR[NOT_PRESENT])),
        ("e8", SELECTOR[READ_ONLY], None),
    ],
)
def test_a_selector_is_judged_by_its_descriptor(
    register: str, selector: int, exception: tuple[int, int] | None
) -> None:
    found = path(f"8e {register} 90", rax=selector)  # mov ds/ss/gs, eax
    assert refused(found) == exception
    if exception is None:
        assert found.count == 2


def test_a_descriptor_is_read_and_its_accessed_bit_written() -> None:
    found = path("8e d8", rax=SELECTOR[NOT_ACCESSED])
    at = GDT + SELECTOR[NOT_ACCESSED]
    assert [(role.text(s.role), s.virt, s.kind) for s in found.steps[1:3]] == [
        ("GDT read", at, AccessKind.READ), ("GDT write", at + 4, AccessKind.WRITE),
    ]  # fmt: skip
    assert "GDT write" not in dict(shapes(path("8e d8", rax=SELECTOR[DATA])))


@pytest.mark.parametrize(
    ("selector", "exception"),
    [(SELECTOR[TSS], None), (SELECTOR[DATA], (13, SELECTOR[DATA])), (0, (13, 0))],
)
def test_the_task_register_takes_an_available_tss(
    selector: int, exception: tuple[int, int] | None
) -> None:
    found = path("0f 00 d8 90", rax=selector)  # ltr ax
    assert refused(found) == exception
    assert found.last.tr == (selector if exception is None else 0)


@pytest.mark.parametrize(
    ("selector", "exception"),
    [
        (SELECTOR[CODE_64], None),
        (SELECTOR[CODE_32], None),
        (SELECTOR[DATA], (13, SELECTOR[DATA])),
        (0, (13, 0)),
        (0x200, (13, 0x200)),
    ],
)
def test_a_far_return_needs_a_code_segment(
    selector: int, exception: tuple[int, int] | None
) -> None:
    found = path("51 53 48 cb", rbx=CODE + 0x100, rcx=selector)  # push rcx; push rbx; retfq
    assert refused(found) == exception
    if exception is not None:
        assert found.stop is not None and found.stop.registers.rsp == STACK - 16


def test_iretq_needs_a_stack_segment_that_can_be_written() -> None:
    code = "52 53 9c 51 53 48 cf"  # push rdx (SS), rbx (RSP), flags, rcx (CS), rbx (RIP); iretq
    for stack, exception in ((DATA, None), (READ_ONLY, (13, SELECTOR[READ_ONLY])), (NO_SEGMENT, None)):
        found = path(code, rbx=0x3000, rcx=SELECTOR[CODE_64], rdx=SELECTOR[stack])
        assert refused(found) == exception


def test_code_whose_state_is_off_is_undefined() -> None:
    sse, off, on = "0f 57 c0", CpuState(cr3=0x1000, cr4=0x20), CpuState(cr3=0x1000, cr4=0x220)
    assert refused(path(sse, cpu=off)) == (6, None)
    assert refused(path(sse, cpu=on)) is None
    assert refused(path("0f ae f0", cpu=off)) is None  # mfence


# -- repeated string instructions ----------------------------------------------------------------


def test_a_repeated_store_touches_every_page() -> None:
    found = path("f3 48 ab", rdi=0x30010, rcx=1024, rax=0)  # rep stosq: 8 KiB
    assert shapes(found)[1:4] == [("write", 0x30010), ("write", 0x31000), ("write", 0x32000)]


def test_a_repeated_copy_reads_and_writes_every_page() -> None:
    found = path("f3 a4 90", rdi=0x30FFF, rsi=0x50000, rcx=2)  # rep movsb
    assert set(shapes(found)[1:4]) == {("write", 0x30FFF), ("write", 0x31000), ("read", 0x50000)}
    assert found.count == 2


def test_a_repeated_store_without_a_count_ends_the_way() -> None:
    assert text(path("f3 48 ab", rdi=0x30000).end).startswith("not followed further: rep stosq")
    assert text(path("fd f3 48 ab", rdi=0x30000, rcx=9).end).startswith("not followed further: rep stosq")


def test_code_that_was_written_on_the_way_is_not_followed() -> None:
    found = path("f3 48 ab 90", rdi=CODE - 16, rcx=512, rax=0)
    assert text(found.end) == f"the code at {CODE + 3:#x} is written on the way"


# -- 32-bit code in long mode --------------------------------------------------------------------


def test_compatibility_mode_pushes_four_bytes_and_knows_inc() -> None:
    found = path("40 50 c3", bits=32, rax=KERNEL & 0xFFFFFFFF | 0x4FFF)
    assert shapes(found)[1:3] == [("stack write", STACK - 4), ("stack read", STACK - 4)]
    assert entry(found).virt == 0x5000


def test_a_far_jump_leads_from_32_bit_to_64_bit_code() -> None:
    found = path("ea 00 40 00 00 08 00", {0x4000: bytes.fromhex("41 50")}, bits=32, r8=1)
    assert entry(found).virt == 0x4000
    assert shapes(found)[-1] == ("stack write", STACK - 8)


@pytest.mark.parametrize(
    ("code", "name"),
    [("ff2b", "ljmp"), ("48ff2b", "ljmp"), ("ff1b", "lcall"), ("ff23", "jmp"), ("f3c3", "ret"),
     ("0fb903", "ud1"), ("f348ab", "rep stosq")],
)  # fmt: skip
def test_an_instruction_has_one_name_whatever_capstone_decodes_it(code: str, name: str) -> None:
    assert decode(bytes.fromhex(code), 0x1000).mnemonic == name


@pytest.mark.parametrize(
    ("code", "accesses"),
    [
        ("a801 0210", {(0x30000, "read", 1)}),  # test al, 1 leaves RAX as it was; add dl, [rax]
        ("f2480f2d03", {(0x31000, "read", 8)}),  # cvtsd2si rax, [rbx]
        ("dd3b", {(0x31000, "write", 2)}),  # fnstsw [rbx]
        ("0f0303", {(0x31000, "read", 2)}),  # lsl eax, [rbx]
        ("0f2f03", {(0x31000, "read", 4)}),  # comiss xmm0, [rbx]
        ("660fc8 0210", set()),  # bswap ax: what it leaves is undefined
        ("0f1a03", set()), ("0f1b03", set()),  # bndldx, bndstx: no operations without MPX
    ],
)  # fmt: skip
def test_operands_are_the_same_whatever_capstone_decodes_them(code: str, accesses: set[tuple[int, str, int]]) -> None:
    found = {(step.virt, step.kind.value, step.width) for step in path(code, rax=0x30000, rbx=0x31000).steps}
    assert {each for each in found if each[0] in (0x30000, 0x31000)} == accesses
