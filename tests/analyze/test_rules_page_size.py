"""Large pages whose entries lack PS: the frame is taken for a table."""

from __future__ import annotations

from analyze.said import title
from typing import Any

import boot_builder as b
import numpy as np
from boot_builder import Scene, healthy

from cr3scope.diagnose.finding import Finding
from cr3scope.paging.page_size import lacks_page_size
from cr3scope.x86.entry import long_format
from cr3scope.verdict.analysis import analyze


def large_kernel(flags: int) -> Scene:
    """A healthy boot, the kernel in pages of 2 MiB."""
    scene = healthy()
    first = scene.tables.slot(b.KERNEL, 2)
    for number in range(8):
        scene.tables.put(first + 8 * number, b.KERNEL_PHYS + (number << 21) | b.P | b.W | flags)
    return scene


def errors(scene: Scene) -> list[Finding]:
    return [f for f in analyze(scene.capture(), None).findings if f.severity.value == "error"]


def test_what_lacks_ps_is_the_one_error_and_names_where_the_cpu_looks_instead() -> None:
    [finding] = errors(large_kernel(0))
    assert finding.rule == "page-size-missing"
    assert title(finding) == (
        f"PD[0] lacks PS: it maps no page of 2 MiB, but points to a table at {b.KERNEL_PHYS:#x}"
    )
    assert finding.entry is not None and (finding.entry.level, finding.entry.index) == (2, 0)


def test_large_pages_with_ps_are_no_mistake() -> None:
    assert "page-size-missing" not in [finding.rule for finding in errors(large_kernel(b.PS))]


def large(count: int, ps: int = 0, step: int = 1 << 21, start: int = 0) -> Any:
    entries = np.zeros(512, dtype=np.uint64)
    entries[:count] = [start + number * step | 3 | ps for number in range(count)]
    return entries


def test_entries_that_count_in_large_pages_lack_ps() -> None:
    assert lacks_page_size(large(512), long_format(2), 0) and lacks_page_size(large(512), long_format(2), 511)
    assert lacks_page_size(large(4, step=1 << 30), long_format(3), 2)
    mixed = large(512, ps=0x80)
    mixed[100] &= np.uint64(~0x80 & (1 << 64) - 1)
    assert lacks_page_size(mixed, long_format(2), 100) and not lacks_page_size(mixed, long_format(2), 99)


def test_pointers_to_tables_do_not() -> None:
    assert not lacks_page_size(large(512, step=4096, start=0x100000), long_format(2), 5)
    assert not lacks_page_size(large(2), long_format(2), 0)
    assert not lacks_page_size(large(512, ps=0x80), long_format(2), 7)
    assert not lacks_page_size(large(512), long_format(1), 7) and not lacks_page_size(large(512), long_format(4), 7)
    assert not lacks_page_size(large(8), long_format(2), 9)
