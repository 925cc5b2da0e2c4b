"""Damaged initrds and kernels, made from the real ones."""

from __future__ import annotations

import struct
from pathlib import Path

# Offsets in the ELF64 header and in a program header (System V ABI, chapters 4 and 5).
E_MACHINE, E_ENTRY, E_PHOFF, E_PHENTSIZE, E_PHNUM = 18, 24, 32, 54, 56
P_FLAGS, P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ = 4, 8, 16, 32, 40
PHDR_BYTES, PT_LOAD = 56, 1


def newc(files: dict[str, bytes]) -> bytes:
    """A cpio archive in newc format (cpio(5), "New ASCII Format")."""
    out = b""
    for inode, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        fields = [inode, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return out


def patched(elf: bytes, offset: int, form: str, value: int) -> bytes:
    """The file with one number replaced."""
    out = bytearray(elf)
    struct.pack_into("<" + form, out, offset, value)
    return bytes(out)


def load_headers(elf: bytes) -> list[int]:
    """File offsets of the PT_LOAD program headers."""
    (start,) = struct.unpack_from("<Q", elf, E_PHOFF)
    (count,) = struct.unpack_from("<H", elf, E_PHNUM)
    headers = [start + PHDR_BYTES * i for i in range(count)]
    return [h for h in headers if struct.unpack_from("<I", elf, h)[0] == PT_LOAD]


def without_loads(elf: bytes) -> bytes:
    """Every PT_LOAD turned into PT_NULL."""
    for header in load_headers(elf):
        elf = patched(elf, header, "I", 0)
    return elf


def kernels(elf: bytes) -> dict[str, tuple[bytes, str]]:
    """name -> (ELF file, a word that the loader's message must hold)."""
    first, second = load_headers(elf)[:2]
    (first_virt,) = struct.unpack_from("<Q", elf, first + P_VADDR)
    (first_bytes,) = struct.unpack_from("<Q", elf, first + P_FILESZ)
    return {
        "wrong-machine": (patched(elf, E_MACHINE, "H", 183), "machine"),
        "not-elf": (b"MZ" + elf[2:], "ELF"),
        "segment-outside-file": (patched(elf, second + P_OFFSET, "Q", len(elf) + 4096), "file"),
        "overlapping-segments": (patched(elf, second + P_VADDR, "Q", first_virt), "overlap"),
        "write-and-execute": (patched(elf, first + P_FLAGS, "I", 7), "writ"),
        "non-canonical": (patched(elf, second + P_VADDR, "Q", 0x8000_0000_0000_0000), "canonical"),
        "size-overflow": (patched(elf, second + P_MEMSZ, "Q", 0xFFFF_FFFF_FFFF_F000), "overflow"),
        "filesz-over-memsz": (patched(elf, first + P_FILESZ, "Q", 1 << 40), "fil"),
        "no-load-segment": (without_loads(elf), "PT_LOAD"),
        "entry-outside-text": (patched(elf, E_ENTRY, "Q", 0x1000), "entry"),
        "cut": (elf[:40], "trunc"),
        "most-headers": (patched(elf, E_PHNUM, "H", 0xFFFF), "program headers lie past"),
        "headers-wrap": (patched(elf, E_PHOFF, "Q", 0xFFFF_FFFF_FFFF_FFF0), "program headers lie past"),
        "headers-of-no-size": (patched(elf, E_PHENTSIZE, "H", 0), "e_phentsize"),
        "over-1-gib": (patched(elf, second + P_VADDR, "Q", first_virt - (2 << 30)), "1 GiB"),
        "entry-behind-the-file": (patched(elf, E_ENTRY, "Q", first_virt + first_bytes), "entry"),
    }


def initrds(elf: bytes) -> dict[str, tuple[bytes | None, str]]:
    """name -> (initrd or None for a missing file, a word that the loader's message must hold)."""
    archive = newc({"README": b"hello", "kernel.elf": elf})
    table: dict[str, tuple[bytes | None, str]] = {
        "missing": (None, "initrd.img"),
        "empty": (b"", "initrd"),
        "no-kernel": (newc({"README": b"hello"}), "kernel.elf"),
        "cut-in-header": (archive[:60], "trunc"),
        "cut-in-kernel": (archive[: len(archive) // 2], "trunc"),
        "not-cpio": (b"\x1f\x8b" + bytes(4096), "cpio"),
        "size-not-hex": (archive[:54] + b"zzzzzzzz" + archive[62:], "cpio"),
        "file-of-4-gib": (archive[:54] + b"ffffffff" + archive[62:], "past its end"),
        "name-of-4-gib": (archive[:94] + b"ffffffff" + archive[102:], "past its end"),
        "name-of-nothing": (archive[:94] + b"00000000" + archive[102:], "past its end"),
        "no-trailer": (newc({"README": b"hello"})[:128], "no trailer"),
    }
    for name, (kernel, word) in kernels(elf).items():
        table[f"elf-{name}"] = (newc({"kernel.elf": kernel}), word)
    return table


CONFIGS = {
    "unknown-key": ("colour=blue", "colour"),
    "unknown-fault": ("inject=no-such-fault", "no-such-fault"),
    "unknown-variant": ("inject=nx-upper-level:sideways", "sideways"),
    "bad-value": ("preflight=maybe", "maybe"),
    "no-equals": ("just words", "line 1"),
    "bad-number": ("fail_allocation=many", "many"),
}


def write(folder: Path, data: bytes | None) -> str:
    """Value of the INITRD variable: the path of a file that holds ``data``, or nothing."""
    if data is None:
        return ""
    path = folder / "bad-initrd.img"
    path.write_bytes(data)
    return str(path)
