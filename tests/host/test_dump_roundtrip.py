"""What the C library dumps, decoded by another reading of the format, is what was in memory."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import c_unit
import format_decoder
import pytest
from format_decoder import Table

PAGE_BYTES = 4096
PRESENT = 1
LARGE = 1 << 7
FRAME = 0x000FFFFFFFFFF000


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    c_unit.run(c_unit.build("test_trace_dump"), TRACE_SAMPLES=str(folder))
    return folder


def read_pages(path: Path) -> dict[int, list[int]]:
    """Physical memory of a sample: the entries of each page by its address."""
    raw = path.read_bytes()
    words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
    return {words[i]: words[i + 1 : i + 513] for i in range(0, len(words), 513)}


def walk(pages: dict[int, list[int]], cr3: int, levels: int) -> list[Table]:
    """Each table page once, in the order of a breadth-first walk from the root."""
    root = (cr3 & FRAME, levels)
    queue, visited, met = deque([root]), {root}, {root[0]}
    order = [Table(*root, pages.get(root[0]))]
    while queue:
        phys, level = queue.popleft()
        for entry in pages.get(phys, ()):
            if not entry & PRESENT or level == 1 or (level in (2, 3) and entry & LARGE):
                continue
            child = (entry & FRAME, level - 1)
            if child in visited:
                continue
            visited.add(child)
            queue.append(child)
            if child[0] not in met:
                met.add(child[0])
                order.append(Table(*child, pages.get(child[0])))
    return order


@pytest.mark.slow
def test_dumped_tables_are_those_of_memory_in_breadth_first_order(samples: Path) -> None:
    sources = sorted(samples.glob("*.pages"))
    assert len(sources) >= 30
    for source in sources:
        found = format_decoder.records(source.with_suffix(".trace").read_bytes())
        opening, data, closing = format_decoder.carried(found, "dump")
        decoded = list(format_decoder.tables(data))
        cr3, levels = opening.number("cr3"), opening.number("levels")
        assert decoded == walk(read_pages(source), cr3, levels), source.stem
        assert closing.number("pages") == len(decoded), source.stem
        assert opening.fields["id"] == closing.fields["id"] == "new"


def test_samples_use_every_operation_of_the_stream(samples: Path) -> None:
    unreadable = format_decoder.records((samples / "unreadable-pages.trace").read_bytes())
    decoded = format_decoder.tables(format_decoder.carried(unreadable, "dump")[1])
    assert sum(table.entries is None for table in decoded) == 2
    firmware = format_decoder.records((samples / "firmware.trace").read_bytes())
    _, stream, _ = format_decoder.carried(firmware, "dump")
    assert len(list(format_decoder.tables(stream))) == 1028
    assert len(stream) < 1028 * 3, "repeats were not written as such"
    random = format_decoder.records((samples / "incompressible.trace").read_bytes())
    _, stream, _ = format_decoder.carried(random, "dump")
    assert 64 * PAGE_BYTES < len(stream) < 65 * PAGE_BYTES, "random tables were not verbatim"


def test_carried_memory_is_the_bytes_that_were_given(samples: Path) -> None:
    sources = sorted(samples.glob("*.bytes"))
    assert len(sources) >= 80
    planes = set()
    for source in sources:
        found = format_decoder.records(source.with_suffix(".trace").read_bytes())
        opening, data, closing = format_decoder.carried(found, "memory")
        given = source.read_bytes()
        assert format_decoder.memory(opening, data) == given, source.stem
        assert len(data) <= len(given), f"{source.stem}: coding made it longer"
        assert opening.number("virt") == 0xFFFFFFFF80000123
        assert opening.fields["name"] == closing.fields["name"] == source.stem
        planes.add(opening.number("words"))
    assert planes == {0, 1, 2, 3}
