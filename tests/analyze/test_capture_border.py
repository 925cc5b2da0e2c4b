"""What captures meet on their way: redirects, consoles that speak in between, loaders and kernels that say less."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from fuzz import wire
from trace_writer import Writer, golden, seal

from cr3scope.cli.main import main
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.sources.open import open_source
from cr3scope.render.message import plain
from cr3scope.render.text import render
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
HEALTHY = (CAPTURES / "healthy.serial.log").read_bytes()
LINES = golden().lines


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_begin_that_stands_twice_is_damage_and_no_second_boot(newline: bytes) -> None:
    data = b"".join([LINES[0], *LINES]).replace(b"\n", newline)
    capture = read_capture(data)
    assert [found.message for found in capture.damage] == ["record 0x0 is duplicated or out of order"]
    assert len(capture.boots) == 1 and not capture.boots[0].complete


@pytest.mark.parametrize("kind", ["exit", "call", "fault"])
def test_what_a_loader_still_says_behind_its_own_end_is_read(kind: str) -> None:
    writer = Writer()
    writer.end()
    if kind == "fault":
        names = "vector error cr2 cr3 rip rsp rflags cs ss rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15"
        writer.put("fault", dict.fromkeys(names.split(), 0), by="safe-idt")
    else:
        writer.put(kind, status=0, attempts=1, what="ConOut->OutputString")
    (boot,) = (capture := read_capture(writer.data)).boots
    assert capture.damage == [] and boot.complete
    assert boot.exit or boot.calls or boot.faults


def test_text_that_looks_like_a_record_is_none_where_the_totals_prove_it() -> None:
    at = next(number for number, line in enumerate(LINES) if b" end producer=loader" in line)
    shown = [b"cr3scope: step 3, @c3s1 2f evil: fault\r\n", b"@c3s1 \r\n"]
    capture = read_capture(b"".join([*LINES[:at], *shown, *LINES[at:]]))
    assert capture.damage == [] and capture.boots[0].complete
    assert "2 texts that look like records are none" in capture.notes[0].message
    lost = read_capture(b"".join([*LINES[: at - 1], *shown, *LINES[at:]]))
    assert lost.damage[0].message.startswith("damaged record") and len(lost.damage) > 2
    behind = read_capture(b"".join([*LINES, *shown]))
    assert behind.damage and not behind.boots[0].complete


def of_handoff(**fields: int) -> bytes:
    """A real healthy boot whose handoff has other registers, with all sums right again."""
    items = wire.copied(wire.base(wire.REAL))
    (cpu,) = (each for each in items if each.kind == "cpu" and each.fields["when"] == "handoff")
    for key, value in fields.items():
        cpu.honest.discard(key)
        cpu.fields[key] = f"{value:x}"
    return wire.written(items)


def test_long_mode_without_paging_is_no_state_of_a_cpu() -> None:
    """It was taken for a boot in which every step goes through (Intel SDM volume 3A, 11.8.5)."""
    capture = read_capture(of_handoff(cr0=0x10033))
    assert [found.message for found in capture.damage] == ["cpu record: field cr0 is 0x10033: no PG, but long mode is active in efer"]


@pytest.mark.parametrize("when", ["entry", "handoff"])
def test_a_cpu_that_is_told_twice_is_damage(when: str) -> None:
    """The last one was believed, whatever the first one said."""
    items = wire.copied(wire.base(wire.REAL))
    at, cpu = next((at, each) for at, each in enumerate(items) if each.kind == "cpu" and each.fields["when"] == when)
    capture = read_capture(wire.written([*items[: at + 1], *wire.copied([cpu]), *items[at + 1 :]]))
    assert [found.message for found in capture.damage] == [f"cpu record: that of when={when} stands twice"]


def test_a_plan_without_paging_leads_astray_and_is_not_healthy() -> None:
    verdict = analyze(read_capture(of_handoff(cr0=0x10033, efer=0)))
    assert verdict.status is Status.WILL_FAULT and verdict.findings == ()
    assert render(verdict).startswith("WILL FAULT: from step 1 on the bytes are not those that were meant")


def test_an_access_over_pages_without_paging_is_one_of_neighbours() -> None:
    """It was an internal error: nothing maps it."""
    items = wire.parse(of_handoff(cr0=0x10033, efer=0))
    first = next(each for each in items if each.kind == "plan")
    first.honest.discard("width")
    first.fields["width"] = "3000"
    assert analyze(read_capture(wire.written(items))).status is Status.WILL_FAULT


def test_global_entries_of_a_firmware_that_did_not_page_are_in_no_tlb() -> None:
    """It was an internal error: they map nothing."""
    items = wire.copied(wire.base(wire.REAL))
    for cpu in (each for each in items if each.kind == "cpu"):
        changed = {"cr4": cpu.number("cr4") | 0x80} | ({"cr0": 0x10033, "efer": 0} if cpu.fields["when"] == "entry" else {})
        cpu.honest -= changed.keys()
        cpu.fields.update({key: f"{value:x}" for key, value in changed.items()})
    old = wire.dumped(items, "old")
    assert old is not None
    tables = wire.tables_of(old)
    entries = next(entries for entries in tables.values() if any(entry & 1 for entry in entries))
    entries[next(at for at, entry in enumerate(entries) if entry & 1)] |= 0x100
    wire.put_tables(old, tables)
    verdict = analyze(read_capture(wire.written(items)))
    assert "stale-tlb" not in [one.rule for one in verdict.findings]


@pytest.mark.parametrize("totals", [[(3, 1)], [(3, 1), (4, 0)], [(4, 0), (3, 1)], [(4, 0), (3, 1), (4, 0)]])
def test_a_check_that_failed_is_not_taken_back_by_later_totals(totals: list[tuple[int, int]]) -> None:
    items = wire.copied(wire.base(wire.REAL))
    at = next(number for number, each in enumerate(items) if each.kind == "summary")
    items[at : at + 1] = [wire.Item("summary", {"pass": f"{passed:x}", "fail": f"{failed:x}"}) for passed, failed in totals]
    (boot,) = (capture := read_capture(wire.written(items))).boots
    assert (boot.summary, analyze(capture).status) == ((3, 1), Status.FAULTED)


# --- what is promised ------------------------------------------------------------------------------------------------


def real_loader_alone(traces: str = "") -> bytes:
    """A real boot up to its loader's `end`, which now promises nothing, with all sums right again."""
    writer = Writer()
    writer.lines.clear()
    for line in HEALTHY[HEALTHY.index(b"@c3s1 0 ") :].splitlines():
        if not line.startswith(b"@c3s1 "):
            continue
        body = line.decode().rsplit(" #", 1)[0]
        if " end producer=loader" in body:
            break
        writer.lines.append(seal(body + traces if " elf " in body else body))
    writer.producer = "loader"
    writer.end()
    return writer.data


@pytest.mark.parametrize(
    ("traces", "said"),
    [("", "nobody knows whether it ran"), (" traces=yes", "by its file the kernel goes on with the trace")],
)
def test_a_loader_that_promises_nothing_is_not_believed_against_the_kernels_file(traces: str, said: str) -> None:
    verdict = analyze(read_capture(real_loader_alone(traces)))
    assert verdict.status is Status.INCOMPLETE and verdict.exit_status != 0
    assert any(said in plain(one.message) for one in verdict.diagnostics)


def test_a_kernel_that_by_its_file_does_not_trace_need_not_be_heard_of() -> None:
    assert analyze(read_capture(real_loader_alone(" traces=no"))).status is Status.HEALTHY


# --- ways to a file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "encoding"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (b"", "utf-16-le")]
)
def test_a_capture_of_two_bytes_a_character_is_read(
    mark: bytes, encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(mark + HEALTHY.decode("latin-1").replace("\n", "\r\n").encode(encoding))
    assert main(["analyze", str(file)]) == 0
    assert capsys.readouterr().out.startswith("HEALTHY")
    assert open_source(file).boot is not None


def test_a_trace_behind_more_chatter_than_anybody_looks_through_is_found(tmp_path: Path) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(b"BdsDxe: chatter\r\n" * (1 << 20) + HEALTHY)
    assert open_source(file).boot is not None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("rip", "the CPU's rip at the handoff is 0x"),
        ("idt_base", "and what is recorded of the IDT is at 0x"),
        ("gdt_base", "and what is recorded of the GDT is at 0x"),
    ],
)
def test_registers_that_another_record_contradicts_are_damage(key: str, words: str) -> None:
    """Checksums right, machine well: but nobody knows which of the two is wrong."""
    items = wire.copied(wire.base(wire.REAL))
    cpu = next(item for item in items if item.kind == "cpu" and item.fields["when"] == "handoff")
    cpu.fields[key] = f"{cpu.number(key) ^ 0x1000:x}"
    verdict = analyze(read_capture(wire.written(items)))
    assert verdict.status is Status.INCOMPLETE
    [said] = [plain(one.message) for one in verdict.diagnostics]
    assert words in said and said.endswith("the records contradict each other")
