"""Makes PE images of UEFI programs from their ELF twins: make_pe.py OBJCOPY... -- PROGRAM.elf PROGRAM.efi [...].

objcopy converts. What it leaves is held against the ELF file: every byte that is loaded must lie in the PE at
the same address, every section on pages of its own and never both writable and executable (loader/uefi.ld). Only
then does the image say NX_COMPAT. Anything else is one line, exit status 2, and no file.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "analyze"))

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from cr3scope.images.pe_header import HEADER_BYTES, PeHeader, Section, read_header

_PAGE_BYTES = 4096
_ALLOC = 2  # SHF_ALLOC
_RELATIVE = 8  # R_X86_64_RELATIVE
# Microsoft, PE Format: "COFF File Header", "Optional Header", "DLL Characteristics".
_NEW_HEADER_AT = 0x3C
_TIME_STAMP, _OPTIONAL = 8, 24  # from the signature on
_CHECK_SUM, _DLL_CHARACTERISTICS = 64, 70  # from the optional header on
_NX_COMPAT = 0x100


class Refused(Exception):
    """The image cannot be used, in words for the user."""


def convert(objcopy: list[str], elf: Path, efi: Path) -> None:
    """Let objcopy write every loaded section of `elf` to the new file `efi`. Raises Refused with its message."""
    if not objcopy:
        raise Refused("TARGET_OBJCOPY names no program")
    if not efi.parent.is_dir():
        raise Refused(f"{efi.parent}: no such folder")
    command = [*objcopy, "--strip-all", "--remove-section=.comment", "--output-target=efi-app-x86_64", elf, efi]
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    except OSError as error:
        raise Refused(f"{objcopy[0]}: {error.strerror}") from error
    if done.returncode or not efi.exists():
        raise Refused((done.stderr.strip().splitlines() or [f"{objcopy[0]} failed: it wrote no image"])[-1])


def loaded(elf: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, address and bytes of each loaded section of `elf`. Raises Refused if it is no ELF file."""
    try:
        with elf.open("rb") as file:
            program = ELFFile(file)
            for section in program.iter_sections():
                if section["sh_flags"] & _ALLOC and section["sh_size"]:
                    yield section.name, section["sh_addr"], _bytes(section)
    except (OSError, ELFError) as error:
        raise Refused(f"{elf.name}: {error}") from error


def check_relocations(elf: Path) -> None:
    """Raise Refused unless each word to relocate holds its addend: gnu-efi adds the image's base to the word itself."""
    with elf.open("rb") as file:
        program = ELFFile(file)
        sections = [s for s in program.iter_sections() if s["sh_flags"] & _ALLOC]
        for table in sections:
            if not isinstance(table, RelocationSection):
                continue
            for relocation in table.iter_relocations():
                place, kind = relocation["r_offset"], relocation["r_info_type"]
                holder = next(s for s in sections if s["sh_addr"] <= place < s["sh_addr"] + s["sh_size"])
                at = place - holder["sh_addr"]
                word = int.from_bytes(_bytes(holder)[at : at + 8], "little")
                if kind != _RELATIVE:
                    raise Refused(f"{elf.name}: a relocation of type {kind} in {holder.name} at {place:#x}: gnu-efi knows"
                                  f" R_X86_64_RELATIVE ({_RELATIVE}) alone")  # fmt: skip
                if word != relocation["r_addend"]:
                    raise Refused(f"{elf.name}: the word in {holder.name} at {place:#x} is not its addend (lld needs"
                                  " --apply-dynamic-relocs)")  # fmt: skip


def _bytes(section: Any) -> bytes:
    return bytes(section["sh_size"]) if section["sh_type"] == "SHT_NOBITS" else section.data()


def check(name: str, data: bytes, elf_sections: Iterator[tuple[str, int, bytes]]) -> None:
    """Raise Refused, naming the section, unless the PE in `data` holds every loaded byte with rights of its own."""
    header = read_header(data[:HEADER_BYTES])
    if header is None:
        raise Refused(f"{name}: objcopy wrote no x86-64 PE image")
    wanted_sections = list(elf_sections)
    # The PE has but eight characters for a name.
    names = {address: elf_name for elf_name, address, _ in wanted_sections}
    for section in header.sections:
        said = f"section {names.get(section.offset, section.name)} at {section.offset:#x}"
        if section.offset % _PAGE_BYTES:
            raise Refused(f"{name}: {said} does not begin a page")
        if section.executable and section.writable:
            raise Refused(f"{name}: {said} is both writable and executable")
    for elf_name, address, wanted in wanted_sections:
        _check_section(name, data, header, elf_name, address, wanted)


def _check_section(name: str, data: bytes, header: PeHeader, elf_name: str, address: int, wanted: bytes) -> None:
    where = f"{elf_name}, {len(wanted)} bytes at {address:#x} in the ELF file,"
    holder = _holder(header, address, len(wanted))
    if holder is None:
        raise Refused(f"{name}: section {where} is not in the PE image")
    at = holder.in_file + address - holder.offset
    kept = max(0, min(len(wanted), holder.in_file + holder.bytes_in_file - at))
    # What a PE section has in memory and not in the file is zero.
    if data[at : at + kept] != wanted[:kept] or any(wanted[kept:]):
        raise Refused(f"{name}: section {where} has other bytes in the PE image")


def _holder(header: PeHeader, address: int, size: int) -> Section | None:
    for section in header.sections:
        if section.offset <= address and address + size <= section.offset + section.size:
            return section
    return None


def stamped(data: bytes) -> bytes:
    """Return the image with NX_COMPAT set, without the time of its making and a sum over it (0: not computed)."""
    image = bytearray(data)
    (at,) = struct.unpack_from("<I", image, _NEW_HEADER_AT)
    struct.pack_into("<I", image, at + _TIME_STAMP, 0)
    struct.pack_into("<I", image, at + _OPTIONAL + _CHECK_SUM, 0)
    place = at + _OPTIONAL + _DLL_CHARACTERISTICS
    (flags,) = struct.unpack_from("<H", image, place)
    struct.pack_into("<H", image, place, flags | _NX_COMPAT)
    return bytes(image)


def make(objcopy: list[str], elf: Path, efi: Path) -> int:
    """Make one image; return the exit status, 2 with one line on standard error if it cannot be made."""
    raw = efi.with_name(f"{efi.name}.objcopy")
    try:
        convert(objcopy, elf, raw)
        data = raw.read_bytes()
        check(efi.name, data, loaded(elf))
        check_relocations(elf)
        efi.write_bytes(stamped(data))
    except Refused as why:
        print(f"make_pe: {why}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"make_pe: {error.filename or efi}: {error.strerror}", file=sys.stderr)
        return 2
    finally:
        raw.unlink(missing_ok=True)
    return 0


def main(arguments: list[str]) -> int:
    """Make the images, up to the first that cannot be made; return the exit status."""
    split = arguments.index("--")
    files = [Path(name) for name in arguments[split + 1 :]]
    return next(filter(None, (make(arguments[:split], *pair) for pair in zip(files[::2], files[1::2]))), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
