"""What a kernel's ELF file shows before it is booted: each mistake, and the same file without it."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from analyze.lint_files import (
    BASE, CODE, END, START, Kernel, R, Segment, W, X, linux, multiboot1, multiboot2, request, tag, written,
)  # fmt: skip

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.lint import lint
from cr3scope.render.finding import facts, proof, title

TEXT, ALL = BASE + 0x1000, Kernel()
LEAF = bytes.fromhex("89 7c 24 f8  8b 44 24 f8  c3")  # mov [rsp-8], edi; mov eax, [rsp-8]; ret
FRAME_LEAF = bytes.fromhex("55 48 89 e5  89 7d fc  8b 45 fc  5d c3")  # gcc -O0: no sub rsp
PROTECTED = bytes.fromhex("fa bc 00 00 10 00 31 ed f4")  # cli; mov esp, 0x100000; xor ebp, ebp; hlt: as good in 32 bits
# movups [rip + 0x2000], xmm0; xorps xmm0, xmm0; movups xmm0, [rip + 0x1ff6], which is the same place; ret
SSE_AS_BEFORE = bytes.fromhex("0f 11 05 00 20 00 00 0f 57 c0 0f 10 05 f6 1f 00 00 c3")
SSE = bytes.fromhex("0f 57 c0 0f 11 07 c3")  # xorps xmm0, xmm0; movups [rdi], xmm0; ret
MB1 = Kernel(entry=0x10_0000, segments=(Segment(0x10_0000, R | X, PROTECTED),), symbols={"_start": (0x10_0000, 9)}, prefix=multiboot1())
MB2 = MB1.with_(prefix=multiboot2())
LIMINE = ALL.with_(segments=(*ALL.segments[:1], Segment(BASE + 0x2000, R | W, START + request(1) + request(2) + END)))


def code(data: bytes, **symbols: tuple[int, int | None]) -> Kernel:
    return ALL.with_(segments=(Segment(TEXT, R | X, data), ALL.segments[1]), symbols={"_start": (TEXT, len(CODE)), **symbols})


def behind(*functions: bytes) -> Kernel:
    """The healthy code, and other functions behind it."""
    data, symbols = CODE, {}
    for number, body in enumerate(functions):
        symbols[f"f{number}"] = (TEXT + len(data), len(body))
        data += body
    return code(data, **symbols)


def with_data(data: bytes, **changes: object) -> Kernel:
    return ALL.with_(segments=(*ALL.segments[:1], Segment(BASE + 0x2000, R | W, data)), **changes)


def found(path: Path, kernel: Kernel | bytes) -> tuple[Finding, ...]:
    return lint(written(path, kernel if isinstance(kernel, bytes) else kernel.bytes())).findings


def calling(target: int, count: int) -> bytes:
    """Calls to an address, from right behind the healthy code on."""
    return b"".join(b"\xe8" + struct.pack("<i", target - (TEXT + len(CODE) + 5 * number + 5)) for number in range(count)) + b"\xc3"


E_ = Severity.ERROR
W_ = Severity.WARNING
MISTAKES: Sequence[tuple[str, Severity, str, Kernel | bytes]] = [
    ("wrong-entry", E_, "the file names no entry: e_entry is 0", ALL.with_(entry=0)),
    ("wrong-entry", E_, "lies in no segment", ALL.with_(entry=BASE + 0x9000, symbols={})),
    ("wrong-entry", E_, "which may not be executed", ALL.with_(entry=BASE + 0x2000)),
    ("wrong-entry", E_, "holds no code at the entry", code(bytes(64))),
    ("wrong-entry", W_, "lies within a function: _start+0x4", ALL.with_(entry=TEXT + 4)),
    ("wrong-entry", E_, "fell on memcpy at 0xffffffff80001000, a function like others",
     ALL.with_(symbols={"memcpy": (TEXT, len(CODE))})),
    ("wrong-entry", E_, "because boot_entry is not defined", ALL.with_(symbols={"print": (TEXT, len(CODE))}, undefined=("boot_entry",))),
    ("wrong-entry", E_, "fell on print", code(CODE + calling(TEXT, 2), _start=(TEXT + 0x10, 11), print=(TEXT, len(CODE)))),
    ("shared-page-permissions", W_, "share the page at 0xffffffff80001000",
     ALL.with_(segments=(ALL.segments[0], Segment(TEXT + 0x800, R | W, bytes(8), offset=0x1800)))),
    ("shared-page-permissions", E_, "share the page",
     LIMINE.with_(segments=(ALL.segments[0], replace(LIMINE.segments[1], virt=TEXT + 0x800)))),
    ("segment-writable-executable", W_, "writable and executable at once: PT_LOAD 0 (rwx",
     ALL.with_(segments=(Segment(TEXT, R | W | X, CODE),))),
    ("segment-layout", E_, "holds more bytes in the file than in memory", ALL.with_(segments=(Segment(TEXT, R | X, CODE, memsz=4),))),
    ("segment-layout", E_, "reaches beyond the end of the file", ALL.with_(segments=(Segment(TEXT, R | X, CODE, filesz=0x9000),))),
    ("segment-layout", E_, "overlap", ALL.with_(segments=(ALL.segments[0], Segment(TEXT + 8, R | X, CODE)))),
    ("segment-layout", W_, "no power of two", ALL.with_(segments=(Segment(TEXT, R | X, CODE, align=0x1800), ALL.segments[1]))),
    ("segment-layout", W_, "at another place in its page", ALL.with_(segments=(Segment(TEXT, R | X, CODE, offset=0x1010), ALL.segments[1]))),
    ("segment-layout", E_, "it has no PT_LOAD", ALL.with_(segments=())),
    ("segment-layout", E_, "beyond the end of the address space", ALL.with_(segments=(*ALL.segments, Segment(-0x1000 & (1 << 64) - 1, R, b"1", memsz=0x2000)))),
    ("segment-layout", E_, "PT_LOAD 2 (r--, 0x4000000000000000..0x4000000000000000) is not canonical", ALL.with_(segments=(*ALL.segments, Segment(1 << 62, R, b"1")))),
    ("segment-layout", E_, "is not canonical", ALL.with_(segments=(*ALL.segments, Segment(0x200000, R, b"1", memsz=1 << 62)))),
    ("load-address", E_, "Limine refuses PT_LOAD 0", LIMINE.with_(entry=0x40_1000, segments=(Segment(0x40_1000, R | X, CODE), LIMINE.segments[1]))),
    ("load-address", E_, "above 4 GiB", MB1.with_(entry=TEXT, segments=(Segment(TEXT, R | X, PROTECTED),))),
    ("load-address", W_, "where it is linked to run", MB1.with_(entry=0xC010_0000, segments=(Segment(0xC010_0000, R | X, PROTECTED),))),
    ("load-address", E_, "display memory", MB1.with_(segments=(*MB1.segments, Segment(0x9_F000, R | W, b"1", memsz=0x2000)))),
    ("load-address", E_, "one over the other", MB1.with_(segments=(*MB1.segments, Segment(0x20_0000, R | W, b"1", phys=0x10_0004)))),
    ("wrong-entry", W_, "fell on kmain at 0xffffffff80001000, because _start is not defined",
     ALL.with_(symbols={"kmain": (TEXT, len(CODE))}, undefined=("_start",))),
    ("symbol-undefined", E_, "printf, puts", ALL.with_(kind=3, undefined=("printf", "puts"))),
    ("symbol-undefined", W_, "printf, puts", ALL.with_(undefined=("printf", "puts"))),
    ("red-zone", W_, "functions keep variables below RSP: f0", behind(LEAF)),
    ("red-zone", W_, "below RSP: f0 at 0xffffffff80001010, f1 at", behind(FRAME_LEAF, LEAF)),
    ("vector-registers", W_, "uses vector registers: f0", behind(SSE, bytes.fromhex("50 58 48 cf"))),
    *(("vector-registers", W_, "uses vector registers: f0", behind(bytes.fromhex(avx) + b"\xc3", bytes.fromhex("50 58 48 cf")))
      for avx in ("c5 f8 57 c0", "c4 e1 78 57 c0", "c4 42 79 58 c0")),  # vxorps with both forms of VEX, vpbroadcastd
    ("vector-registers", W_, "uses vector registers: f0", behind(SSE_AS_BEFORE.replace(b"\xf6", b"\xe6"), bytes.fromhex("50 58 48 cf"))),
    ("vector-registers", W_, "uses vector registers: f", MB1.with_(
        segments=(Segment(0x10_0000, R | X, PROTECTED + SSE),), symbols={"_start": (0x10_0000, 9), "f": (0x10_0009, len(SSE))})),
    ("multiboot-header", E_, "checksum of the Multiboot header", MB1.with_(prefix=multiboot1(checksum=5))),
    ("multiboot-header", E_, "checksum of the Multiboot2 header", MB1.with_(prefix=multiboot2(checksum=5))),
    ("multiboot-header", E_, "where no loader looks", MB1.with_(prefix=bytes(0x2000) + multiboot1())),
    ("multiboot-header", E_, "where no loader looks", MB1.with_(prefix=bytes(0x8000) + multiboot2())),
    ("multiboot-header", E_, "is not aligned", MB1.with_(prefix=bytes(4) + multiboot2())),
    ("multiboot-header", E_, "flags 0x10", MB1.with_(prefix=multiboot1(0x10))),
    ("multiboot-header", E_, "does not end with a tag of type 0", MB1.with_(prefix=multiboot2(tag(6, bytes(4))))),
    ("multiboot-header", E_, "no room for itself", MB1.with_(prefix=multiboot2(struct.pack("<HHI", 6, 0, 4)))),
    ("multiboot-header", E_, "of no known type", MB1.with_(prefix=multiboot2(tag(77) + tag(0)))),
    ("multiboot-header", E_, "architecture 4", MB1.with_(prefix=multiboot2(architecture=4))),
    ("multiboot-header", E_, "an entry address tag is missing", MB1.with_(prefix=multiboot2(tag(2, bytes(16)) + tag(0)))),
    ("multiboot-header", E_, "contradict each other", MB1.with_(prefix=multiboot1(1 << 16, addresses=(0, 0x10_0000, 0, 0, 0x10_0000)))),
    ("multiboot-header", E_, "outside of what it loads", MB1.with_(prefix=multiboot1(1 << 16, addresses=(0x10_0000, 0x10_0000, 0x11_0000, 0, 0x20_0000)))),
    ("entry-in-long-mode", E_, "is for 64 bits: _start", MB2.with_(segments=(Segment(0x10_0000, R | X, CODE),))),
    ("limine-requests", E_, "does not see 1 of 2", LIMINE.with_(segments=(LIMINE.segments[0], Segment(BASE + 0x2000, R | W, START + request(1) + END + request(2))))),
    ("limine-requests", E_, "does not see 1 of 1", with_data(bytes(4) + request(1))),
    ("limine-requests", E_, "does not see 1 of 1", ALL.with_(prefix=bytes(8) + request(1))),
    ("limine-requests", E_, "more than once", with_data(request(1) + request(1))),
    ("linux-header", E_, "the file is cut", linux(cut=40)),
    ("linux-header", E_, "boot flag", linux(flag=0)),
    ("linux-header", E_, "which no loader knows", linux(version=0x100)),
    ("linux-header", W_, "no multiple of kernel_alignment", linux(preferred=0x1234)),
]  # fmt: skip
HEALTHY: dict[str, Kernel | bytes] = {
    "a kernel of one's own": ALL,
    "entered by its physical address": ALL.with_(entry=0x10_0000, segments=(Segment(TEXT, R | W | X, CODE, phys=0x10_0000),)),
    "without symbols": ALL.with_(symbols={}),
    "whose entry -e names, and nobody defines ld's own": ALL.with_(
        entry=TEXT + 4, symbols={"f": (TEXT, 4), "kmain": (TEXT + 4, 12)}, undefined=("_start",)),
    "called from elsewhere, but not first": code(CODE + calling(TEXT + len(CODE), 2)),
    "a position-independent one": ALL.with_(kind=3),
    "Multiboot": MB1, "Multiboot2": MB2,
    "Multiboot2 with tags": MB1.with_(prefix=multiboot2(tag(1, struct.pack("<I", 6)) + tag(77, flags=1) + tag(0))),
    "Multiboot with addresses": MB1.with_(prefix=multiboot1(1 << 16, addresses=(0x10_0000, 0x10_0000, 0, 0, 0x10_0000))),
    "Multiboot, linked high": MB1.with_(entry=0xC010_0000, segments=(Segment(0xC010_0000, R | W | X, PROTECTED, phys=0x10_0000),)),
    "a loader that compares with the numbers": behind(b"\x81\x38" + multiboot1()[:4] + b"\x75\x00\x81\x38" + multiboot2()[:4] + bytes(8)),
    "Limine": LIMINE, "Linux": linux(), "Linux, with a signature behind it": linux() + bytes(100),
    "room for variables": behind(CODE),
    "writes below RSP that nobody reads": behind(bytes.fromhex("48 89 44 24 f8 48 8d 64 24 f8 58 c3")),
    "a barrier": behind(bytes.fromhex("f0 83 44 24 fc 00 c3")),
    "read after a call": behind(bytes.fromhex("89 7c 24 f8 e8 00 00 00 00 8b 44 24 f8 c3")),
    "two ways out, one behind the other": behind(bytes.fromhex("55 48 89 e5 48 8d 64 24 f0 89 7d fc 85 ff 74 02 c9 c3 8b 45 fc c9 c3")),
    "SSE without interrupts": behind(SSE),
    "SSE in a function that has saved it": behind(SSE_AS_BEFORE, bytes.fromhex("50 58 48 cf")),
    "SSE that handlers save": behind(SSE, bytes.fromhex("0f ae 07 48 cf")),
    "vector registers that are only saved": behind(bytes.fromhex("0f 11 07 c3"), bytes.fromhex("50 58 48 cf")),
    "Multiboot that sets CR4": MB1.with_(segments=(Segment(0x10_0000, R | X, PROTECTED + SSE + bytes.fromhex("0f 22 e0 c3")),),
                                         symbols={"_start": (0x10_0000, 9), "f": (0x10_0009, len(SSE))}),
}  # fmt: skip


def loud(findings: Sequence[Finding]) -> list[Finding]:
    return [one for one in findings if one.severity is not Severity.NOTE]


def test_a_segment_of_32_bits_ends_with_4_gib(tmp_path: Path) -> None:
    head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, 0xFFFF_F000, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<8I", 1, 0x1000, 0xFFFF_F000, 0x10_0000, 0x1000, 0x2000, R | X, 0x1000)
    [told] = loud(found(tmp_path / "kernel", (head + segment).ljust(0x1000, b"\0") + b"\xf4" * 0x1000))
    assert (told.rule, told.severity) == ("segment-layout", E_) and "beyond the end of the address space" in title(told)


@pytest.mark.parametrize(("rule", "severity", "words", "kernel"), MISTAKES, ids=[f"{row[0]}-{row[2]}" for row in MISTAKES])
def test_a_mistake_is_told_and_nothing_else(rule: str, severity: Severity, words: str, kernel: Kernel | bytes, tmp_path: Path) -> None:
    told = loud(found(tmp_path / "kernel", kernel))
    assert [(one.rule, one.severity) for one in told] == [(rule, severity)], [title(one) for one in told]
    assert words in title(told[0])


@pytest.mark.parametrize("kernel", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_file_has_no_finding(kernel: Kernel | bytes, tmp_path: Path) -> None:
    told = loud(found(tmp_path / "kernel", kernel))
    assert told == [], [title(one) for one in told]


def test_why_limine_does_not_see_a_request_is_told(tmp_path: Path) -> None:
    for data, why in ((START + END + request(1), "behind the end marker"), (request(1) + START + END, "before the start marker"),
                      (bytes(4) + request(1), "not aligned to 8 bytes")):  # fmt: skip
        (one,) = found(tmp_path / "kernel", with_data(data))
        assert why in proof(one)[0]
    (one,) = found(tmp_path / "kernel", ALL.with_(prefix=bytes(8) + request(1)))
    assert "no segment loads it" in proof(one)[0]


def test_of_many_requests_that_limine_does_not_see_all_are_told(tmp_path: Path) -> None:
    """A line for each reason: of several with one, the JSON had the last one's place."""
    (one,) = found(tmp_path / "kernel", with_data(request(1) + request(2) + START + END + request(3)))
    before, behind = proof(one)
    assert "before the start marker" in before and "behind the end marker" in behind
    assert [len(facts(one)[name]) for name in ("before", "behind")] == [2, 1]


def test_what_debug_information_says_of_a_constant_is_no_request(tmp_path: Path) -> None:
    """As for `constexpr uint64_t id[] = LIMINE_HHDM_REQUEST;`, which no code needs any more: DW_AT_const_value holds it."""
    source, built = tmp_path / "k.c", tmp_path / "kernel"
    source.write_text("void _start(void) { for (;;) { __asm__ volatile(\"hlt\"); } }\n")
    constant = tmp_path / "constant"
    constant.write_bytes(bytes(3) + request(1))
    words = ["gcc", "-nostdlib", "-static", "-no-pie", "-ffreestanding"]
    subprocess.run([*words, source, "-o", built], check=True, capture_output=True)
    subprocess.run(["objcopy", "--add-section", f".debug_info={constant}", built], check=True, capture_output=True)
    linted = lint(built)
    assert "Limine" not in linted.forms and not [one for one in linted.findings if one.rule == "limine-requests"]


def test_64_bits_by_multiboot_is_a_note_about_qemu(tmp_path: Path) -> None:
    (one,) = found(tmp_path / "kernel", MB1)
    assert one.severity is Severity.NOTE and "QEMU" in title(one)


def test_a_header_of_another_version_that_is_seen_makes_a_bad_one_a_warning(tmp_path: Path) -> None:
    both = MB1.with_(prefix=multiboot1() + bytes(4) + multiboot2(checksum=7))
    assert [(one.rule, one.severity) for one in loud(found(tmp_path / "kernel", both))] == [("multiboot-header", W_)]


def test_a_header_too_far_back_in_a_kernel_for_limine_is_a_warning(tmp_path: Path) -> None:
    """Limine boots it all the same."""
    told = loud(found(tmp_path / "kernel", LIMINE.with_(prefix=bytes(0x8000) + multiboot2())))
    assert [(one.rule, one.severity) for one in told] == [("multiboot-header", W_)]


def test_a_large_kernel_is_looked_through_up_to_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.LINT_FUNCTIONS", 3)
    told = lint(written(tmp_path / "kernel", behind(*[LEAF] * 8).bytes()))
    assert len(told.left_out) == 1 and [one.rule for one in told.findings] == ["red-zone"]
