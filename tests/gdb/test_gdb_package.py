"""What the commands need of the package: the instruction's encoding, and cores of page tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from boot.reference import ROOT

from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.open import open_source
from cr3scope.input.sources.write_core import write_core
from cr3scope.x86.decode import instruction as decode
from cr3scope.x86.mov_cr3 import find_mov_cr3, mov_cr3_at


@pytest.mark.parametrize(
    ("code", "register", "length"),
    [("0f22d8", "rax", 3), ("0f22df", "rdi", 3), ("410f22d8", "r8", 4), ("480f22d9", "rcx", 4)],
)
def test_mov_cr3_is_decoded(code: str, register: str, length: int) -> None:
    found = mov_cr3_at(bytes.fromhex(code))
    assert found is not None and (found.register, found.length) == (register, length)


@pytest.mark.parametrize("code", ["0f20d8", "0f22e0", "0f22c0", "0f22", ""])
def test_other_instructions_are_no_mov_cr3(code: str) -> None:
    assert mov_cr3_at(bytes.fromhex(code)) is None


def test_every_switch_of_an_image_is_found_with_its_prefix() -> None:
    code = bytes.fromhex("90 0f22d8 c3 410f22db 0f22e0")
    assert [(one.offset, one.register) for one in find_mov_cr3(code)] == [
        (1, "rax"), (5, "r11"), (6, "rbx"),
    ]  # fmt: skip


def test_a_byte_before_the_switch_that_may_end_another_instruction_hides_nothing() -> None:
    code = bytes.fromhex("4883c448 0f22d8")  # add rsp, 0x48; mov cr3, rax
    found = list(find_mov_cr3(code))
    assert (4, 3, "rax") in [(one.offset, one.length, one.register) for one in found]
    assert {one.end for one in found} == {7}


def test_outside_64_bit_mode_there_is_no_rex_prefix() -> None:
    code = bytes.fromhex("40 0f22d8")  # inc eax; mov cr3, eax
    assert mov_cr3_at(code) is not None
    assert mov_cr3_at(code, 32) is None
    found = mov_cr3_at(code[1:], 32)
    assert found is not None and (found.offset, found.length, found.register) == (0, 3, "rax")


@pytest.mark.parametrize(
    ("code", "bits", "words"),
    [("0f22d8", 64, "mov cr3, rax"), ("410f22dc", 64, "mov cr3, r12"), ("0f22df", 32, "mov cr3, edi")],
)
def test_the_words_for_a_switch_are_those_of_the_disassembler(code: str, bits: int, words: str) -> None:
    """In Intel's order what is loaded stands first: `mov rax, cr3` would read CR3."""
    found = mov_cr3_at(bytes.fromhex(code), bits)
    assert found is not None and found.text == words == decode.text(decode.decode(bytes.fromhex(code), 0, bits))
    assert found.loads(0x1000) == f"{words} loads 0x1000"


def test_no_text_has_a_switch_in_the_order_that_reads_cr3() -> None:
    """Reports come from one function (`MovCr3.loads`); this is about what people wrote by hand."""
    wrong = re.compile(r"mov [a-z{}]+[0-9]*[a-z}]*, ?cr3\b.{0,12} loads|mov [^`\n]{1,12}, ?%cr3\b", re.IGNORECASE)
    for path in [*sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        found = wrong.search(path.read_text())
        assert found is None, f"{path}: {found[0] if found else ''}"


def test_a_written_core_reads_back(tmp_path: Path) -> None:
    pages = {phys: bytes([phys >> 12 & 0xFF]) * 4096 for phys in (0x1000, 0x2000, 0x9000)}
    path = tmp_path / "core"
    path.write_bytes(write_core(CoreCpu({"CR0": 0x80000001, "CR3": 0x2000, "CR4": 0x20}), pages))
    source = open_source(path, efer=0xD00)
    assert (source.cpu.cr3, source.cpu.cr4) == (0x2000, 0x20)
    for phys, data in pages.items():
        entries = source.tables.table(phys)
        assert entries is not None and entries.astype(np.uint64).tobytes() == data
    assert source.tables.table(0x3000) is None
