"""Anyone's QEMU command, with what is needed to watch it added and nothing else changed.

Of an option that may stand only once, QEMU takes the last; so everything is appended, and only what
would be lost by that (the items of ``-d``, the guest's serial port) is read from the command first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cr3scope.errors import UnusableInput

LOG_ITEMS = ("int", "cpu_reset")  # without cpu_reset QEMU does not print "Triple fault"

# Options without a value, QEMU 4 to 10 (qemu-options.hx); every other option takes the next word.
_FLAGS = frozenset(
    """alt-grab ctrl-grab curses daemonize enable-fips enable-kvm enable-sync-profile full-screen h
    help mem-prealloc no-acpi no-fd-bootchk no-frame no-hpet no-kvm no-quit no-reboot no-shutdown
    no-user-config nodefaults nodefconfig nographic old-param only-migratable portrait preconfig s
    S sdl semihosting singlestep snapshot usb version win2k-hack xen-attach
    xen-domid-restrict""".split()
)


class Serial(Enum):
    """Where the guest's first serial port goes."""

    OURS = "ours"  # the command says nothing of it, or named a file that gets a copy
    STDOUT = "stdout"  # QEMU's standard output
    ELSEWHERE = "elsewhere"  # somewhere that is not ours to read


@dataclass(frozen=True, slots=True)
class Command:
    """A QEMU command as the user gave it, and what of it matters here."""

    words: tuple[str, ...]
    log_items: tuple[str, ...]
    log_file: str | None  # a -D of the user's own, which is overridden
    serial: Serial
    serial_copy: Path | None  # the file of a `-serial file:`: it gets what the guest sends, too

    def watched(self, log: Path, serial: Path, qmp: Path) -> list[str]:
        """The command with its log, serial port and QMP on the given FIFOs and (listening) socket.

        After a reset or power-off the guest stays paused: it can still be asked for registers.
        """
        return [
            *self.words,
            *self._log(log),
            *self._serial(f"file:{serial}"),
            *("-qmp", f"unix:{str(qmp).replace(',', ',,')}"),
            *("-no-reboot", "-no-shutdown"),
        ]

    def to_repeat(self, log: Path) -> str:
        """One shell line that boots the same again: serial on standard output, log in a file."""
        return shlex.join([*self.words, *self._log(log), *self._serial("stdio"), "-no-reboot"])

    def _log(self, log: Path) -> list[str]:
        return ["-d", ",".join(self.log_items), "-D", str(log)]

    def _serial(self, target: str) -> list[str]:
        return ["-serial", target] if self.serial is Serial.OURS else []


def read_command(words: Sequence[str]) -> Command:
    """Reads a command; UnusableInput if it is empty or cannot be watched."""
    if not words:
        raise UnusableInput("no QEMU command given: put it after `--`")
    log_items: tuple[str, ...] = ()
    log_file = None
    serials: list[tuple[int, str]] = []
    nographic = False
    for place, name, value in _options(words):
        if name == "daemonize":
            raise UnusableInput("-daemonize: a QEMU that leaves cannot be watched; remove it")
        if name == "d":
            log_items = tuple(filter(None, value.split(",")))
        elif name == "D":
            log_file = value
        elif name == "serial":
            serials.append((place, value))
        elif name == "nographic":
            nographic = True
    serial, copy, kept = _first_serial(words, serials, nographic)
    items = tuple(dict.fromkeys((*log_items, *LOG_ITEMS)))
    return Command(tuple(kept), items, log_file, serial, copy)


def _options(words: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(place, name, value) of every option; QEMU accepts one dash and two alike."""
    place = 1
    while place < len(words):
        word = words[place]
        if not word.startswith("-") or word == "-":
            place += 1
            continue
        name = word.removeprefix("-").removeprefix("-")
        if name in _FLAGS:
            yield place, name, ""
            place += 1
        else:
            yield place, name, words[place + 1] if place + 1 < len(words) else ""
            place += 2


def _first_serial(
    words: Sequence[str], serials: Sequence[tuple[int, str]], nographic: bool
) -> tuple[Serial, Path | None, Sequence[str]]:
    """Where COM1 goes, the file to copy it to, and the words that stay."""
    if not serials:
        return (Serial.STDOUT if nographic else Serial.OURS), None, words
    place, target = serials[0]
    if target.startswith("file:") and len(serials) == 1:
        kept = [*words[:place], *words[place + 2 :]]
        return Serial.OURS, Path(target.removeprefix("file:")), kept
    if target in ("stdio", "mon:stdio"):
        return Serial.STDOUT, None, words
    return Serial.ELSEWHERE, None, words
