"""How effective mappings read: as text, and as the contract ``cr3scope.maps/1``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from cr3scope.paging import entry as bits
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, Mappings
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.render.columns import blocks, choices, hex_digits, lines, quoted_hex
from cr3scope.verdict import EntryRef

SCHEMA = "cr3scope.maps/1"
SIZE_NAMES = {1: "4K", 2: "2M", 3: "1G"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MOST_NAMED = 1 << 14  # a veto costs a walk; a list longer than this nobody reads
_HEADS = ("first", "last", "phys", "rights")
_VETO_HEAD = "denied above the leaf"
_WIDTH = 100
_PHYS_DIGITS = 13  # 52 bits


def json_text(found: Mappings, warnings: Sequence[str]) -> Iterator[str]:
    """The JSON document in pieces, a line for each range; ``size`` is that of the pages, in bytes."""
    yield f'{{"schema": {json.dumps(SCHEMA)}, "mappings": [\n'
    ends = choices(
        [
            f', "size": {bits.level_bytes(level):>10}, "rights": {json.dumps(rights)},'
            f' "level": {level}, "memory_type": {json.dumps(memory_type)}}}'
            for rights, level, memory_type in found.kinds()
        ]
        or [""]
    )
    kinds = found.kind_numbers()
    for block in blocks(len(found)):
        rows = block.stop - block.start
        cells = (
            '{"first": ', quoted_hex(found.first[block]),
            ', "last": ', quoted_hex(found.last[block]),
            ', "phys": ', quoted_hex(found.phys[block]),
            ends[kinds[block]], ",\n",
        )  # fmt: skip
        text = lines(cells, rows)
        yield text if block.stop < len(found) else text[: -len(",\n")] + "\n"
    yield f'], "warnings": {json.dumps(list(warnings))}}}\n'
