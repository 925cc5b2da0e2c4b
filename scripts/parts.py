"""The parts of the Python package, from the ground up: each may import those before it, and no other.

`make check` holds the imports to this list, and `make docs` makes the table in docs/design.md from it.
"""

from __future__ import annotations

# (name, what its one job is). A module may import its own part and every part above it in this list.
PARTS: tuple[tuple[str, str], ...] = (
    ("x86", "ground words of the architecture: bits, accesses, registers, exceptions, descriptors, platforms, decoding"),
    ("paging", "the architecture's rules: an access in, a translation or the exact fault out"),
    ("elf", "the headers and notes of ELF files, checked against the file"),
    ("input", "what can be read: traces (`capture/`), cores, images and listings (`sources/`), logs (`logs/`)"),
    ("images", "loaded images: the firmware's list of them, ELF and PE twins, where they lie, symbols and lines"),
    ("target", "a CPU that stands: its registers as frozen data, and a memory with two methods; overlays wrap one"),
    ("model", "what the CPU will do: a plan or followed code (`follow/`), delivery, storms, mends; what addresses are for"),
    ("diagnose", "why: refused accesses and evidence in, findings out; one file a rule in `rules/FAMILY/`, facts in `facts/`"),
    ("verdict", "the verdict from evidence and findings: status, agreement, walk, places"),
    ("render", "text, tables, JSON, HTML"),
    ("qemu", "runs a QEMU and watches it: command line, QMP, log, serial port; asks a paused guest"),
    ("mcp", "the verbs for agents: the Model Context Protocol, tools, a process for each call"),
    ("wire", "listens at a machine's console: opens what was named, keeps what is said, tells boots apart"),
    ("cli", "one file for each verb: parse, gather evidence, print"),
    ("testing", "for others' tests: boots a kernel, returns the verdict; a fixture of pytest"),
)
# Imported by every part, and import none.
LOW = frozenset({"errors", "limits", "numbers", "text", "arrays", "message", "places", "dataclass"})


def may_import(part: str, other: str) -> bool:
    """Return whether a module of ``part`` may import one of ``other``; a part that is not listed may import all."""
    names = [name for name, _ in PARTS]
    if part == other or other in LOW or part not in names:
        return True
    return other in names and names.index(other) < names.index(part)
