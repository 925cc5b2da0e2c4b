"""Builds the plugin of QEMU (`scripts/qemu_plugin/`) for the QEMU at hand, once for each version of its plugin API."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.numbers import decimal
from cr3scope.places import Files, present
from cr3scope.text import printable

NEWEST_API = 7  # that the source knows; a QEMU that takes this one no more says so when it is started
COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
# QEMU refuses this one and says which it takes.
_ASKING = """\
__attribute__((visibility("default"))) int qemu_plugin_version = 1 << 30;
__attribute__((visibility("default"))) int qemu_plugin_install(void) { return -1; }
"""
_TAKES = re.compile(r"supports only up to version (\d{1,6})")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class NoPlugin(UnusableInput):
    """Why there can be no plugin, in a line."""


def plugin_for(command: Sequence[str]) -> Path:
    """Return the plugin for the QEMU that a command starts; NoPlugin if none can be had.

    The command is started, and ends before it has opened a disk; what it opens earlier (a log, a -chardev's file) it begins anew.
    """
    return _built("plugin", _flags_of(api_of(command)), sorted(_sources().glob("*.c")))


def api_of(command: Sequence[str]) -> int:
    """Return the version of the plugin API to build for, as the QEMU tells that a command starts; NoPlugin if none."""
    try:
        with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
            source = Path(folder, "asking.c")
            source.write_text(_ASKING)
            asking = _built("asking", (), [source])
    except OSError as error:
        raise NoPlugin(f"the plugin was not built: {error.filename or tempfile.gettempdir()}: {error.strerror}") from error
    _, words = _ran([*command, "-display", "none", "-D", os.devnull, "-plugin", str(asking)], limits.PLUGIN_ASK_SECONDS)
    found = _TAKES.search(words)
    newest = decimal(found[1], 1 << 20) if found else None
    if newest is None:
        said = next((line for line in reversed(words.splitlines()) if line.strip()), "it said nothing")
        raise NoPlugin(f"this QEMU was asked for its plugin API, and does not tell it: {printable(said.strip())}")
    return min(newest, NEWEST_API)


def compile_command(compiler: str, flags: Sequence[str], sources: Sequence[Path], target: Path) -> list[str]:
    """Return the words that build the plugin of its sources."""
    return [compiler, *_FLAGS, *flags, *map(str, sources), "-o", str(target), "-ldl"]


def _flags_of(api: int) -> tuple[str, ...]:
    return (f"-DCR3SCOPE_API={api}",)


def _sources() -> Path:
    try:
        return present(Files.PLUGIN)
    except UnusableInput as error:
        raise NoPlugin(f"the plugin was not built: {error}") from error


def _built(name: str, flags: Sequence[str], sources: Sequence[Path]) -> Path:
    """In the cache, under a name that tells what it was built of."""
    compiler = _compiler()
    digest = hashlib.sha256(repr((compiler, os.uname().machine, *_FLAGS, *flags)).encode())
    for file in (*sources, *sorted(sources[0].parent.glob("*.h"))):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    folder = _cache()
    target = folder / f"{name}-{digest.hexdigest()[:16]}.so"
    if not _is_ours(target):
        try:
            with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as work:
                made = Path(work, target.name)
                _compile(compile_command(compiler, flags, sources, made))
                made.chmod(0o700)
                made.rename(target)
        except OSError as error:
            raise NoPlugin(f"the plugin was not built: {folder}: {error.strerror}") from error
    return target


def _is_ours(program: Path) -> bool:
    """Whether it was built before, and nobody else can have changed it since: the folder may have been open to others once."""
    try:
        found = program.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _compile(words: Sequence[str]) -> None:
    status, said = _ran(words, limits.PLUGIN_BUILD_SECONDS)
    if status is None:
        raise NoPlugin(f"the plugin was not built: {words[0]} was not done after {limits.PLUGIN_BUILD_SECONDS} s")
    if status:
        lines = said.strip().split("\n")
        why = next((line for line in lines if "error" in line), lines[0])
        raise NoPlugin(f"the plugin was not built: {printable(why) or 'the compiler does not say why'}")


def _compiler() -> str:
    named = os.environ.get("CC", "").split()
    for name in (*named[:1], *COMPILERS):
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoPlugin("the plugin was not built: there is no C compiler (cc, gcc or clang)")


def _cache() -> Path:
    """A folder that nobody else can write to: what lies there is executed."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    except RuntimeError as error:
        raise NoPlugin("the plugin was not built: you have no home folder to keep it in: set XDG_CACHE_HOME") from error
    folder = base / "cr3scope"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise NoPlugin(f"the plugin was not built: {folder} is not ours")
        if found.st_mode & _OTHERS:
            folder.chmod(0o700)
    except OSError as error:
        raise NoPlugin(f"the plugin was not built: {folder}: {error.strerror}") from error
    return folder


def _ran(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Exit status, None if the time was up, and what it prints on standard error. It and what it started are ended."""
    from cr3scope.qemu.brood import Brood

    brood = Brood()
    try:
        process = brood.start(command)
        try:
            _, said = process.communicate(timeout=seconds)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            status, said = None, b""
    except (OSError, ValueError) as error:
        raise NoPlugin(f"{command[0]}: cannot be started: {error}") from error
    finally:
        brood.end()
        brood.close()
    return status, said[: limits.PLUGIN_WORDS_BYTES].decode(errors="replace")
