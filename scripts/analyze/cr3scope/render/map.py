"""The answer of `map` as JSON: ``cr3scope.map/1``, the tables on the way of an address with all of their entries."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Walk
from cr3scope.render.strips import ABSENT, RESERVED, Strip, StripCell, levels, rights_text
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import LEVEL_NAMES, EntryFormat

SCHEMA = "cr3scope.map/1"


def as_dict(tables: Tables, cpu: CpuState, path: Walk, warnings: Sequence[str]) -> dict[str, object]:
    """Return the plain values of the JSON document. Addresses and values are hex strings; an entry that is zero is left out."""
    return {
        "schema": SCHEMA,
        "paging": cpu.paging_mode.value,
        "cr3": f"{cpu.cr3:#x}",
        "virt": f"{path.virt:#x}",
        "phys": None if path.phys is None else f"{path.phys:#x}",
        "rights": "----" if path.stop else path.rights,
        "reason": path.stop.value if path.stop else None,
        "levels": [_level(strip) for strip in levels(tables, cpu, path)],
        "warnings": list(warnings),
    }


def _level(strip: Strip) -> dict[str, object]:
    form = strip.entry.form
    return {
        "level": form.level,
        "name": LEVEL_NAMES[form.level],
        "table": f"{strip.table:#x}",
        "index": strip.entry.index,
        "count": len(strip.cells),
        "covers": form.page_bytes,
        "entries": [_entry(form, index, cell, strip.granted) for index, cell in enumerate(strip.cells) if cell.value],
    }


def _entry(form: EntryFormat, index: int, cell: StripCell, granted: str) -> dict[str, object]:
    is_refused = cell.kind in (ABSENT, RESERVED)
    is_leaf = form.is_leaf(cell.value)
    return {
        "index": index,
        "value": f"{cell.value:#x}",
        "kind": {ABSENT: "absent", RESERVED: "reserved"}.get(cell.kind, "page" if is_leaf else "table"),
        "rights": "----" if is_refused else rights_text(form, cell.value, granted),
        "denies": [] if is_refused else [letter for letter in form.denied_rights(cell.value) if letter in granted],
    }
