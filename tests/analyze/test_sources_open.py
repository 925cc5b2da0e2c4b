"""A source is known by its content, and what it does not hold is said in one line."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_writer import CODE, ROOT, Writer, dump_stream, golden, golden_tables, put_cpu

from cr3scope.errors import UnusableInput
from cr3scope.input.sources.open import open_source
from cr3scope.paging.effective import mappings
from cr3scope.paging.walk import walk
from cr3scope.x86.cpu_state import CR4_LA57

CODE_PHYS = 0x20_0000
PT_LOAD, PT_NOTE = 1, 4
HEADER_BYTES, SEGMENT_BYTES = 64, 56


def memory() -> bytes:
    """Physical memory from 0 on with the golden tables."""
    image = np.zeros((6, 512), dtype="<u8")
    for phys, _, table in golden_tables():
        image[phys >> 12] = table
    return image.tobytes()


def core(loads: list[tuple[int, bytes]], notes: bytes = b"", machine: int = 62) -> bytes:
    """An ELF core: (physical address, contents) of each PT_LOAD."""
    at = HEADER_BYTES + SEGMENT_BYTES * (len(loads) + 1)
    heads = struct.pack("<IIQQQQQQ", PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 0)
    body = notes
    for phys, data in loads:
        where = at + len(body)
        heads += struct.pack("<IIQQQQQQ", PT_LOAD, 0, where, 0, phys, len(data), len(data), 0)
        body += data
    ident = b"\x7fELF\2\1\1" + bytes(9)
    head = struct.pack(
        "<HHIQQQIHHHHHH", 4, machine, 1, 0, HEADER_BYTES, 0, 0, HEADER_BYTES, SEGMENT_BYTES,
        len(loads) + 1, 0, 0, 0,
    )  # fmt: skip
    return ident + head + heads + body


def note(name: bytes, description: bytes) -> bytes:
    padded = name + b"\0" * (4 - len(name) % 4)
    return struct.pack("<III", len(name) + 1, len(description), 0) + padded + description


def qemu_state(cr3: int, cr4: int = 0x668, version: int = 1, cr0: int = 0x8001_0033) -> bytes:
    """QEMUCPUState: 18 registers, 10 segments, CR0 to CR4, the kernel's GS base."""
    control = struct.pack("<5Q", cr0, 0, 0x1234, cr3, cr4)
    return struct.pack("<II", version, 440) + bytes(18 * 8 + 10 * 24) + control + bytes(8)


def put(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


def code_phys(path: Path, **options: Any) -> int | None:
    source = open_source(path, **options)
    return walk(source.tables, source.cpu, CODE).phys


def test_a_capture_among_chatter_and_escapes_is_a_capture(tmp_path: Path) -> None:
    chatter = b"\x1b[2J\x1b[01;01H" * 2000 + b"BdsDxe: loading\r\n" * 5000
    source = open_source(put(tmp_path, chatter + golden().data))
    assert source.boot is not None and source.warnings == ()
    assert source.cpu.cr3 == ROOT
    assert source.description == "dump `new` of the capture, CR3 0x1000"


def test_memory_of_a_guest_that_traced_is_no_capture(tmp_path: Path) -> None:
    """The loader's buffers hold records too."""
    image = memory() + golden().data.ljust(0x1000, b"\0") + b"\xaf" * 0x8000
    source = open_source(put(tmp_path, image), cr3=ROOT)
    assert source.boot is None
    assert code_phys(tmp_path / "source", cr3=ROOT) == CODE_PHYS


def test_the_last_boot_that_has_the_dump_counts(tmp_path: Path) -> None:
    tables = golden_tables()
    tables[3][2][0] = 0x77_7001
    again = Writer()
    again.dump("new", ROOT, 4, dump_stream(tables), 4)
    again.end()
    failed = Writer()
    failed.put("error", where="initrd", what="no kernel.elf")
    failed.end()
    data = golden().data + again.data + failed.data
    assert code_phys(put(tmp_path, data)) == 0x77_7000


def test_a_dump_of_five_levels_is_read_as_such_whatever_the_cpu_record_says(tmp_path: Path) -> None:
    top = [0] * 512
    top[511] = ROOT | 3
    writer = Writer()
    put_cpu(writer, "handoff", cr3=0x9000, cr4=0x668, efer=0xD00)
    writer.dump("new", 0x9000, 5, dump_stream([(0x9000, 5, top), *golden_tables()]), 5)
    writer.end()
    source = open_source(put(tmp_path, writer.data))
    assert source.cpu.levels == 5
    assert walk(source.tables, source.cpu, CODE).phys == CODE_PHYS


def test_a_capture_without_the_cpu_state_says_what_is_assumed(tmp_path: Path) -> None:
    writer = Writer()
    writer.dump("new", ROOT, 4, dump_stream(golden_tables()), 4)
    writer.end()
    (warning,) = open_source(put(tmp_path, writer.data)).warnings
    assert "defaults are assumed" in warning


def test_a_core_tells_its_registers(tmp_path: Path) -> None:
    notes = note(b"CORE", bytes(336)) + note(b"QEMU", qemu_state(ROOT))
    notes += note(b"QEMU", qemu_state(0x5000))  # the second CPU
    source = open_source(put(tmp_path, core([(0, memory())], notes)))
    assert (source.cpu.cr0, source.cpu.cr3, source.cpu.cr4) == (0x8001_0033, ROOT, 0x668)
    assert walk(source.tables, source.cpu, CODE).phys == CODE_PHYS
    assert any("EFER" in warning for warning in source.warnings)


def test_a_core_says_which_other_tables_its_cpus_have(tmp_path: Path) -> None:
    waiting = qemu_state(0, cr0=0x6000_0010)  # an AP that does not page
    first, other, third = qemu_state(ROOT), qemu_state(0x5000, 0x1668), qemu_state(0x5000)
    notes = b"".join(note(b"QEMU", state) for state in (first, waiting, other, third, first))
    path = put(tmp_path, core([(0, memory())], notes))
    source = open_source(path, efer=0xD00)
    (warning,) = source.warnings
    assert source.cpu.cr3 == ROOT
    assert "CPU 0 is looked at" in warning and "CR3 0x5000 (CPU 2) (see --cr3)" in warning
    chosen = open_source(path, cr3=0x5000, efer=0xD00)
    assert (chosen.cpu.cr3, chosen.cpu.cr4, chosen.warnings) == (0x5000, 0x1668, ())


def test_a_core_of_a_cpu_that_does_not_page_says_so(tmp_path: Path) -> None:
    path = put(tmp_path, core([(0, memory())], note(b"QEMU", qemu_state(ROOT, cr0=0x6000_0010))))
    (warning,) = open_source(path, efer=0xD00).warnings
    assert warning.startswith("paging is off (CR0 0x60000010)")


@pytest.mark.parametrize("start", [b"KDUMP   ", b"makedumpfile\0\0", b"PAGEDU64"])
def test_a_compressed_dump_is_told_from_an_image(start: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, start + memory())
    with pytest.raises(UnusableInput, match="compressed dump"):
        open_source(path, cr3=ROOT)


@pytest.mark.parametrize("kind", ["image", "core"])
def test_memory_that_ends_before_its_tables_names_the_missing_one(
    kind: str, tmp_path: Path
) -> None:
    whole, end = memory(), 0x3800  # within the PD
    if kind == "core":
        head = core([(0, whole)], note(b"QEMU", qemu_state(ROOT)))[: -len(whole)]
        whole, end = head + whole, len(head) + end
    source = open_source(put(tmp_path, whole[:end]), cr3=ROOT)
    path_of_code = walk(source.tables, source.cpu, CODE)
    assert path_of_code.missing_table == 0x3000 and len(path_of_code.entries) == 2
    found = mappings(source.tables, source.cpu)
    assert len(found) == 0
    (entry,) = found.missing
    assert (entry.level, entry.value & 0xFFFFF000) == (3, 0x3000)


def test_the_command_line_overrides_what_a_core_tells(tmp_path: Path) -> None:
    path = put(tmp_path, core([(0, memory())], note(b"QEMU", qemu_state(0x5000))))
    source = open_source(path, cr3=ROOT, cr4=0x20, efer=0x500)
    assert (source.cpu.cr3, source.cpu.cr4, source.cpu.efer) == (ROOT, 0x20, 0x500)
    assert source.warnings == ()
    assert open_source(path, cr4=CR4_LA57).cpu.levels == 5


def test_registers_that_nobody_tells_are_said_to_be_assumed(tmp_path: Path) -> None:
    path = put(tmp_path, memory())
    (warning,) = open_source(path, cr3=ROOT).warnings
    assert "CR4 0x668 and EFER 0xd00" in warning and "--cr4, --efer" in warning
    (warning,) = open_source(path, cr3=ROOT, cr4=0x20).warnings
    assert "CR4" not in warning and "EFER" in warning
    assert open_source(path, cr3=ROOT, cr4=0x20, efer=0xD00).warnings == ()


def test_a_core_lists_memory_by_physical_address_in_any_order_and_twice(tmp_path: Path) -> None:
    data = memory()
    loads = [(0x3000, data[0x3000:]), (0, data[:0x3000]), (0x2000, data[0x2000:0x3000])]
    assert code_phys(put(tmp_path, core(loads)), cr3=ROOT) == CODE_PHYS


def test_a_core_cut_short_is_said_to_be_cut(tmp_path: Path) -> None:
    whole = core([(0, memory())], note(b"QEMU", qemu_state(ROOT)))
    source = open_source(put(tmp_path, whole[:-0x1800]))
    assert any("cut" in warning for warning in source.warnings)
    path = walk(source.tables, source.cpu, CODE)
    assert path.missing_table == 0x4000


def test_a_pipe_is_a_source(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(golden().data,), daemon=True)
    writer.start()
    assert code_phys(pipe) == CODE_PHYS
    writer.join(timeout=10)
    assert not writer.is_alive()


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (core([(0, memory())], note(b"QEMU", qemu_state(ROOT, version=2))), {}, "give --cr3"),
        (core([(0, memory())], machine=183), {"cr3": ROOT}, "another machine"),
        (core([], note(b"QEMU", qemu_state(ROOT))), {}, "no memory"),
        (core([(0, memory())], note(b"QEMU", qemu_state(0x80_0000))), {}, "no table at CR3 0x80"),
        (memory(), {"cr3": ROOT, "base": 0x10_0000}, "0x100000..0x105fff"),
        (memory()[:0x1800], {"cr3": ROOT}, "no table at CR3 0x1000"),
        (memory(), {}, "give --cr3"),
        (b"@c3s1 0 begin producer=loader version=0 #00000000\n", {}, "no intact dump `new`"),
        (golden().data, {"dump": "after"}, "it has new"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_refused(
    data: bytes, options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = put(tmp_path, data)
    with pytest.raises(UnusableInput) as refusal:
        open_source(path, **options)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_dump_without_its_top_table_is_refused(tmp_path: Path) -> None:
    writer = Writer()
    writer.dump("new", ROOT, 4, dump_stream([(ROOT, 4, None)]), 1)
    writer.end()
    with pytest.raises(UnusableInput, match="no table at CR3 0x1000 in the dump `new`"):
        open_source(put(tmp_path, writer.data))


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "a\0b"])
def test_what_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(UnusableInput):
        open_source(name)


@pytest.mark.parametrize("seed", range(4))
def test_a_core_with_any_damage_is_refused_or_opened_but_never_more(
    seed: int, tmp_path: Path
) -> None:
    whole = core([(0, memory())], note(b"QEMU", qemu_state(ROOT)))
    random = np.random.default_rng(seed)
    heads = HEADER_BYTES + 2 * SEGMENT_BYTES + 32
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(4, heads, 3).tolist():
            damaged[at] = int(random.integers(0, 256))
        try:
            source = open_source(put(tmp_path, bytes(damaged)), cr3=ROOT)
        except UnusableInput as refusal:
            assert "\n" not in str(refusal)
        else:
            walk(source.tables, source.cpu, CODE)
