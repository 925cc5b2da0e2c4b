"""What a reader makes of an undamaged capture: docs/trace-format.md, "What a reader must do"."""

from __future__ import annotations

import pytest
from boot.reference import takes_all
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_writer import CODE, ROOT, Writer, golden, put_cpu, seal, text

from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import MemoryDescriptor
from cr3scope.x86.access import AccessKind

GOLDEN = golden()
JUNK_BYTES = 20_000_000 if takes_all() else 5_000_000
ESCAPES = b"\x1b[2J\x1b[01;01H\x1b[0m"


def test_the_golden_capture_is_read_in_full() -> None:
    (boot,) = read_capture(GOLDEN.data).boots
    assert boot.complete and boot.closed == ["loader", "kernel"]
    assert boot.config == {"preflight": "warn", "kernel": ""}
    assert boot.memory_map == [
        MemoryDescriptor(0, 0x9FFFF, 7, 0xF), MemoryDescriptor(0xA0000, 0xFFFFF, 0, 0xF)
    ]  # fmt: skip
    assert boot.cpus["handoff"].registers["cr3"] == ROOT
    assert boot.cpus["handoff"].features == {"nx", "1g", "pat"}
    assert (boot.maps[0].name, boot.maps[0].rights, boot.maps[0].last) == (
        "code", "r-x", CODE + 0xFFF
    )  # fmt: skip
    assert (boot.plan[0].name, boot.plan[0].kind) == ("first fetch", AccessKind.FETCH)
    assert boot.preflight[0].ok
    assert sorted(boot.dumps["new"].tables) == [0x1000, 0x2000, 0x3000, 0x4000]
    assert boot.memories["idt", "handoff"].data == bytes(range(16)) * 4
    assert boot.checks[0].passed and boot.summary == (1, 0)


@pytest.mark.slow
@given(st.text(max_size=60).filter(lambda words: len(text(words)) < 200))  # twice in one record
@settings(max_examples=200)
def test_text_survives(words: str) -> None:
    writer = Writer()
    writer.put("check", name=words, outcome="fail", detail=words)
    writer.end()
    (boot,) = read_capture(writer.data).boots
    assert (boot.checks[0].name, boot.checks[0].detail) == (words, words)


@given(st.integers(0, (1 << 64) - 1))
def test_numbers_survive(number: int) -> None:
    writer = Writer()
    writer.put("exit", status=number, attempts=1)
    writer.end()
    assert read_capture(writer.data).boots[0].exit == (number, 1)


@pytest.mark.slow
@given(
    st.lists(
        st.binary(max_size=40).filter(
            # By rules 1 and 4 these are no chatter.
            lambda b: b"@c3s" not in b and not b.startswith((b"\n", b"\r\n")) and b[-1:] != b"@"
        ),
        min_size=len(GOLDEN.lines),
        max_size=len(GOLDEN.lines),
    )
)
@settings(max_examples=150)
def test_chatter_between_records_changes_nothing(chatter: list[bytes]) -> None:
    data = b"".join(noise + line for noise, line in zip(chatter, GOLDEN.lines))
    capture = read_capture(data)
    assert capture.damage == []
    assert capture.boots[0].complete


@pytest.mark.parametrize("noise", [b"\xfe\xff", b"\xff\xfe", b"x\0" * 32])
def test_noise_that_begins_like_wide_text_changes_nothing(noise: bytes) -> None:
    capture = read_capture(noise + GOLDEN.data)
    assert capture.damage == [] and capture.boots[0].complete


def test_escape_sequences_glued_before_a_record_change_nothing() -> None:
    capture = read_capture(b"".join(ESCAPES + line for line in GOLDEN.lines))
    assert capture.damage == [] and capture.boots[0].complete


def test_a_channel_may_insert_carriage_returns() -> None:
    capture = read_capture(GOLDEN.data.replace(b"\n", b"\r\n"))
    assert capture.damage == [] and capture.boots[0].complete


def test_a_record_of_exactly_512_bytes_is_read_with_and_without_a_carriage_return() -> None:
    writer = Writer()
    length = 512 - len(seal("@c3s1 1 config a="))
    writer.put("config", a="x" * length)
    assert len(writer.lines[-1]) == 512
    writer.end()
    assert read_capture(writer.data).damage == []
    assert read_capture(writer.data.replace(b"\n", b"\r\n")).damage == []


def test_unknown_kinds_and_keys_are_skipped_and_kinds_counted() -> None:
    writer = Writer()
    writer.put("moonphase", a=1)
    writer.put("moonphase", a=2)
    writer.put("exit", status=0, attempts=1, weather="fair")
    writer.end()
    capture = read_capture(writer.data)
    assert capture.damage == [] and capture.boots[0].complete
    assert any("moonphase" in note.message and "2" in note.message for note in capture.notes)


def test_several_boots_are_told_apart() -> None:
    dead = Writer()
    dead.put("config", boot="first")
    capture = read_capture(dead.data + b"BdsDxe: loading\n" + GOLDEN.data)
    assert [boot.complete for boot in capture.boots] == [False, True]
    assert capture.damage == []
    assert capture.boots[0].config == {"boot": "first"}


def test_a_promised_section_that_is_missing_leaves_the_boot_incomplete_but_undamaged() -> None:
    writer = Writer()
    writer.end("kernel")
    capture = read_capture(writer.data)
    assert capture.damage == []
    assert not capture.boots[0].complete and capture.boots[0].closed == ["loader"]


def test_a_fault_record_between_two_sections_is_read() -> None:
    writer = Writer()
    writer.end("kernel")
    names = "vector error cr2 cr3 rip rsp rflags cs ss rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11"
    writer.put("fault", dict.fromkeys([*names.split(), "r12", "r13", "r14", "r15"], 0), by="x")
    capture = read_capture(writer.data)
    assert capture.damage == [] and capture.boots[0].faults[0].by == "x"


@pytest.mark.parametrize("ended", [True, False])
def test_close_stands_for_what_other_channels_carry_on(ended: bool) -> None:
    writer = Writer()
    if ended:
        writer.end("kernel")
    writer.put("close", sink="file")
    capture = read_capture(writer.data)
    assert capture.damage == [] and capture.boots[0].complete


def test_nothing_may_follow_the_end_of_a_boot() -> None:
    writer = Writer()
    writer.end("none")
    writer.put("config", a="b")
    capture = read_capture(writer.data)
    assert capture.damage and not capture.boots[0].complete


def test_another_major_version_is_refused_by_name() -> None:
    line = seal("@c3s27 0 begin producer=loader version=0")
    with pytest.raises(UnusableInput, match="version 27; this reads 1"):
        read_capture(b"chatter\n" + line)


@pytest.mark.parametrize("data", [b"", b"BdsDxe: starting Boot0001\r\n", b"@c3", bytes(5000)])
def test_input_without_a_record_is_refused(data: bytes) -> None:
    with pytest.raises(UnusableInput, match="no cr3scope record"):
        read_capture(data)


def test_physical_address_widths_that_no_cpu_has_are_damage() -> None:
    writer = Writer()
    put_cpu(writer, "entry")
    writer.lines[-1] = seal(
        writer.lines[-1].decode().rsplit(" #", 1)[0].replace("maxphyaddr=28", "maxphyaddr=ffffffff")
    )
    writer.end()
    assert "maxphyaddr" in read_capture(writer.data).damage[0].message


@pytest.mark.slow
@pytest.mark.parametrize(
    "junk", [b"\0", b"@", b"@c3s1 ", b"@c3s1 0 x #00000000\n", b"\n", b"@c3s1 " + b"a" * 600]
)
def test_megabytes_of_junk_are_read_in_linear_time_and_told_in_few_words(
    junk: bytes,
) -> None:
    """In more than linear time this would run into the limit of the whole test."""
    data = junk * (JUNK_BYTES // len(junk))
    try:
        damage = read_capture(data).damage
    except UnusableInput:
        damage = []
    assert len(damage) <= 1001


def test_more_unknown_kinds_than_are_told_by_name_are_still_counted() -> None:
    writer = Writer()
    for number in range(200):
        writer.put(f"kind-{number:x}", a=number)
    writer.end()
    capture = read_capture(writer.data)
    assert capture.damage == [] and len(capture.notes) <= 100
    assert "136" in capture.notes[-1].message


def test_a_version_number_of_absurd_length_is_refused_too() -> None:
    line = seal(f"@c3s{'1' * 40} 0 begin producer=loader version=0")
    with pytest.raises(UnusableInput, match=r"version 1{8,40}\S*; this reads 1"):
        read_capture(line)


def test_another_version_amid_good_records_is_never_overlooked() -> None:
    lines = GOLDEN.lines
    for version in ("2", "10", "1" * 40):
        foreign = seal(f"@c3s{version} 5 config a=b")
        with pytest.raises(UnusableInput, match="format version"):
            read_capture(b"".join([*lines[:5], foreign, *lines[5:]]))


def test_text_of_a_guest_cannot_steer_the_terminal_through_a_diagnostic() -> None:
    writer = Writer()
    writer.put("end", {"producer": "\x1b[2Jevil\u202e"}, records=1, bytes=0, crc=0, next="none")
    capture = read_capture(writer.data)
    assert capture.damage
    assert all(found.message.isprintable() for found in capture.damage)


@pytest.mark.parametrize("amount", [1, 5])
def test_several_boots_in_a_row_are_each_complete(amount: int) -> None:
    capture = read_capture(GOLDEN.data * amount)
    assert capture.damage == []
    assert [boot.complete for boot in capture.boots] == [True] * amount


def test_damage_in_one_boot_leaves_the_other_complete_but_the_capture_damaged() -> None:
    broken = GOLDEN.data.replace(b"first%20fetch", b"First%20fetch")
    capture = read_capture(broken + GOLDEN.data)
    assert capture.damage
    assert [boot.complete for boot in capture.boots] == [False, True]


def test_a_map_that_is_left_for_another_is_damage() -> None:
    writer = Writer()
    writer.put("mmap", index=0, total=2, size=0x30, d=["0:1:7:f"])
    writer.put("mmap", index=0, total=1, size=0x30, d=["0:1:7:f"])
    writer.end()
    assert "1 of 2" in read_capture(writer.data).damage[0].message


@pytest.mark.parametrize("where", ["before the end", "after a promise"])
def test_nothing_need_follow_a_closed_channel_and_nothing_may(where: str) -> None:
    writer = Writer()
    if where == "after a promise":
        writer.end("kernel")
    writer.put("close", sink="file")
    boot = read_capture(writer.data).boots[0]
    assert boot.complete and boot.closed == ["loader"]
    writer.section("kernel")
    capture = read_capture(writer.data)
    assert capture.damage and not capture.boots[0].complete


def test_a_close_does_not_hide_a_dump_that_was_cut() -> None:
    writer = Writer()
    writer.put("dump", id="new", cr3=0x1000, levels=4)
    writer.put("close", sink="file")
    assert "dump new is not closed" in read_capture(writer.data).damage[0].message


def test_a_boot_that_gave_up_and_another_that_did_not_are_told_apart() -> None:
    writer = Writer()
    writer.put("error", where="initrd", what="not found")
    writer.end()
    capture = read_capture(writer.data + GOLDEN.data)
    assert [boot.complete for boot in capture.boots] == [False, True]
    assert capture.boots[0].errors == [("initrd", "not found", 0)]
