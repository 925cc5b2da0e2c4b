"""What of all that cr3scope can use this machine has: one look for each, and what works without it."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from cr3scope import limits
from cr3scope.cli.gdb_init import line_for
from cr3scope.dataclass import dataclass
from cr3scope.places import Files, is_checkout, place_of
from cr3scope.qemu.plugin_build import COMPILERS
from cr3scope.text import printable

_QEMU = "qemu-system-x86_64"
_GDB_PYTHON = "gdb's Python"
_BROWSERS = ("xdg-open", "chromium", "chromium-browser", "google-chrome", "firefox")
_FIRMWARE_FOLDERS = ("/etc/qemu/firmware", "/usr/share/qemu/firmware", "/usr/local/share/qemu/firmware")
_UNKNOWN = "of unknown version"
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,5}){1,3}")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}")
_QEMU_SAYS = re.compile(r"QEMU emulator version (\d{1,5}(?:\.\d{1,5}){1,3})")
# Asks gdb's own Python, which is not always the one that runs here, once it has loaded the commands.
_ASK_GDB = (
    "python import sys; from cr3scope_commands.libraries import missing;"
    " print('cr3scope-python', '%d.%d' % sys.version_info[:2], *missing())"
)
_GDB_SAYS = re.compile(r"^cr3scope-python (\d\.\d{1,3})((?: \w{1,20}){0,9})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    """One thing: ``found`` is its version or place, None if it is missing. ``without``: what is lost then, and what is not."""

    name: str
    found: str | None
    use: str
    without: str
    package: str

    def as_dict(self) -> dict[str, object]:
        """Return the plain values of JSON."""
        return {"name": self.name, "here": self.found is not None, "found": self.found, "use": self.use,
                "without": self.without, "package": self.package}  # fmt: skip


# Module, its distribution, what it is for, what is lost without it, Debian's package.
_LIBRARIES = (
    ("numpy", "numpy", "page tables in bulk", "logs can be judged (`triage`), and nothing else", "python3-numpy"),
    ("capstone", "capstone", "following code", "neither cores nor the code of other CPUs are judged; the rest is", "python3-capstone"),
    ("rich", "rich", "colour and tables on a terminal", "the same text, without colour and drawn tables", "python3-rich"),
    ("jinja2", "jinja2", "report.html", "no page can be written; text and JSON can", "python3-jinja2"),
    ("argcomplete", "argcomplete", "Tab in the shell", "nothing but `completion` fails", "python3-argcomplete"),
    ("serial", "pyserial", "`listen` on a serial line", "`listen` takes sockets and pipes", "python3-serial"),
    ("PIL", "Pillow", "photos of a screen", "all but photos can be read", "python3-pil"),
)  # fmt: skip
_ELF_READER = ("elftools", "pyelftools")
MODULES = (*(module for module, *_ in _LIBRARIES), _ELF_READER[0])


def looks() -> Iterator[Look]:
    """Yield every look, in the order in which people meet the things."""
    for module, distribution, use, without, package in _LIBRARIES:
        yield Look(distribution, _library(module, distribution), use, without, package)
    yield Look("zbar", _library("zbar", "zbar") or _program(("zbarimg",)), "photos of a screen", "all but photos can be read", "zbar-tools")
    if is_checkout():
        yield Look(_ELF_READER[1], _library(*_ELF_READER), "this tree's boot and tests", "all verbs work", "python3-pyelftools")
    yield Look("QEMU", _program((_QEMU,)), "`run`: boot a guest and watch it", "captures, cores and logs from elsewhere are judged", "qemu-system-x86")
    yield Look("plugin", _plugin(), "`run --who`: who wrote an entry", "`run` works, and names no writer", "gcc")
    yield Look("OVMF", _firmware(), "UEFI guests, the reference boot", "guests that need no UEFI run", "ovmf")
    yield Look("compiler", _program(COMPILERS), "builds the plugin, and your kernel", "`run` works, `run --who` names no writer", "gcc")
    yield Look("gdb", _program(("gdb",)), "`cr3scope` commands at a stop (`gdb-init`)", "all but them works", "gdb")
    gdb = shutil.which("gdb")
    if gdb is not None:
        yield _gdb_python(gdb)
    yield Look("browser", _program(_BROWSERS, asks=False), "report.html", "the page can be read elsewhere: it is one file", "chromium")


def versions() -> Iterator[str]:
    """Yield a line for each library, and for QEMU, with its version as a number: what else is said there may name who has built it."""
    for _, distribution in (*((module, name) for module, name, *_ in _LIBRARIES), _ELF_READER):
        try:
            found = _NUMBER.match(str(metadata.version(distribution)))
        except metadata.PackageNotFoundError:
            yield f"{distribution}: not installed"
        else:
            yield f"{distribution} {found[0] if found else _UNKNOWN}"
    yield _qemu()


def as_lines(found: Sequence[Look]) -> Iterator[str]:
    """Yield a line for each thing that is here, two for what is missing, and a last one with what would bring it."""
    width = max(len(one.name) for one in found)
    for one in found:
        mark = "here   " if one.found is not None else "MISSING"
        yield f"{mark}  {one.name:<{width}}  {printable(one.found) if one.found is not None else one.use}"
        if one.found is None:
            yield f"{'':<{len(mark) + width + 4}}without it: {one.without}"
    packages = list(dict.fromkeys(word for one in found if one.found is None for word in one.package.split()))
    if packages:
        yield ""
        yield f"Debian, Ubuntu: apt install {' '.join(packages)}"


def as_json(version: str, found: Sequence[Look]) -> str:
    """Return the document `cr3scope.doctor/1`."""
    python = {"version": ".".join(map(str, sys.version_info[:3])), "executable": sys.executable}
    return json.dumps({
        "schema": "cr3scope.doctor/1", "version": version, "python": python, "looks": [one.as_dict() for one in found],
    }) + "\n"  # fmt: skip


def _library(module: str, distribution: str) -> str | None:
    """Its version. One that cannot be loaded is missing, whatever its folder says."""
    try:
        importlib.import_module(module)
    except Exception:  # a broken library may raise anything
        return None
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return _UNKNOWN


def _program(names: Sequence[str], asks: bool = True) -> str | None:
    """Name and version of the first of the programs that is there."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            version = _version(_said([path, "--version"])) if asks else None
            return f"{name} {version}" if version else name
    return None


def _qemu() -> str:
    path = shutil.which(_QEMU)
    if path is None:
        return f"{_QEMU}: not installed"
    said = _QEMU_SAYS.match(_said([path, "--version"]))
    return f"{_QEMU} {said[1] if said else _UNKNOWN}"


def _version(said: str) -> str | None:
    found = _VERSION.search(said.partition("\n")[0][:400])
    return found[0] if found else None


def _plugin() -> str | None:
    """Whether it could be built; it is built when it is first needed."""
    source, qemu = place_of(Files.PLUGIN), shutil.which(_QEMU)
    if not source.is_dir() or qemu is None or not any(map(shutil.which, COMPILERS)):
        return None
    return "its source, a compiler and a QEMU that takes plugins" if "\n-plugin" in _said([qemu, "--help"]) else None


def _firmware() -> str | None:
    """The UEFI for x86-64 that QEMU's descriptors of firmware name (docs/interop/firmware.json of QEMU), or OVMF_CODE does."""
    named = os.environ.get("OVMF_CODE")
    if named:
        return f"OVMF_CODE={named}" if Path(named).is_file() else None
    for path in (path for folder in _FIRMWARE_FOLDERS for path in sorted(Path(folder).glob("*.json"))):
        try:
            told = json.loads(path.read_bytes()[: limits.DOCTOR_BYTES])
            serves = "uefi" in told["interface-types"] and any(one["architecture"] == "x86_64" for one in told["targets"])
            image = str(told["mapping"]["executable"]["filename"])
            is_plain = not {"requires-smm", "enrolled-keys", "amd-sev-es", "intel-tdx"} & set(told["features"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
        if serves and is_plain and Path(image).is_file():
            return image
    return None


def _gdb_python(gdb: str) -> Look:
    """Its version, and which libraries it lacks."""
    use, rest = "all `cr3scope` commands of gdb", "walk, maps, fault and check (of the next fetch) work"
    said = _GDB_SAYS.search(_said([gdb, "-nx", "-batch", "-ex", line_for(str(place_of(Files.GDB))), "-ex", _ASK_GDB]))
    if said is None:
        return Look(_GDB_PYTHON, None, use, "a gdb without Python, or that cannot load the commands, has none of them", "gdb")
    if said[2]:
        lacks = said[2].split()
        packages = " ".join(f"python3-{name}" for name in lacks)
        return Look(_GDB_PYTHON, None, f"{said[1]}, without {' and '.join(lacks)}", rest, packages)
    return Look(_GDB_PYTHON, said[1], use, rest, "gdb")


def _said(command: list[str]) -> str:
    """What a program prints on standard output; "" if it cannot be started or does not end."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=limits.DOCTOR_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[: limits.DOCTOR_BYTES]
