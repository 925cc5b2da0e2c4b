"""Anyone's QEMU command, with what is needed to watch it added and nothing else changed.

Of an option that may stand only once, QEMU takes the last; so everything is appended, and only what
would be lost by that (the items of ``-d``, the guest's serial port) is read from the command first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from cr3scope.dataclass import dataclass
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
_DEBUG_EXIT = re.compile(r"(?:driver=)?isa-debug-exit(?:,|$)")
_WATCHDOG = re.compile(r"(?:driver=)?(?:ib700|i6300esb)(?:,|$)")
_ISA_SERIAL = re.compile(r"(?:driver=)?isa-serial(?:,|$)")


class Serial(Enum):
    """Where the guest's first serial port goes."""

    OURS = "ours"  # the command says nothing of it, or named a file that gets a copy
    STDOUT = "stdout"  # QEMU's standard output
    TAPPED = "tapped"  # a -chardev of the command's own, which logs to us as well
    ELSEWHERE = "elsewhere"  # somewhere that is not ours to read


@dataclass(frozen=True, slots=True)
class Command:
    """A QEMU command as the user gave it, and what of it matters here."""

    words: tuple[str, ...]
    log_items: tuple[str, ...]
    log_file: Path | None  # a -D of the user's own: it gets a copy of the bounded log
    serial: Serial
    serial_copy: Path | None  # the file of a `-serial file:`: it gets what the guest sends, too
    tap: int = 0  # place of the -chardev's value, if the serial port is tapped
    has_action: bool = False  # -action, which overrides -no-reboot and -no-shutdown
    waits: bool = False  # -S
    has_debugger: bool = False  # -s or -gdb
    has_debug_exit: bool = False  # -device isa-debug-exit
    has_watchdog: bool = False  # a device that resets a guest which stands

    @property
    def is_bare(self) -> bool:
        """Return whether it is QEMU itself, by its name, and no script around it."""
        return Path(self.words[0]).name.startswith("qemu-system-")

    @property
    def kernel(self) -> Path | None:
        """Return the file that QEMU itself loads and enters (-kernel); None without one."""
        return kernel_of(self.words)

    def watched(self, log: Path, serial: Path, qmp: Path, is_held: bool = False) -> list[str]:
        """Return the command with its log, serial port and QMP on the given FIFOs and (listening) socket.

        ``is_held``: the guest waits until QMP's `cont`. After a reset or power-off the guest stays paused: it can still be asked for registers.
        """
        words = list(self.words)
        if self.serial is Serial.TAPPED:
            words[self.tap] += f",logfile={_escaped(serial)}"
        return [
            *words,
            *self._items(), *_log_file(log),
            *self._serial(f"file:{serial}"),
            *("-qmp", f"unix:{_escaped(qmp)}"),
            *("-no-reboot", "-no-shutdown"),
            *(["-S"] if is_held else []),
        ]

    def to_repeat(self, log: Path) -> str:
        """Return one shell line that boots the same again: serial on standard output, log in a file."""
        line = shlex.join([*self.words, *self._items(), *self._serial("stdio"), "-no-reboot"])
        # In the name of a log QEMU puts its number for `%d`, and takes no other `%`; without one the log is on standard error.
        return f"{line} 2>{shlex.quote(str(log))}" if "%" in str(log) else f"{line} {shlex.join(_log_file(log))}"

    def _items(self) -> list[str]:
        return ["-d", ",".join(self.log_items)]

    def _serial(self, target: str) -> list[str]:
        return ["-serial", target] if self.serial is Serial.OURS else []


def kernel_of(words: Sequence[str]) -> Path | None:
    """Return the file behind ``-kernel`` in a QEMU command; None without one."""
    at = max((place for place, word in enumerate(words[:-1]) if word in ("-kernel", "--kernel")), default=-1)
    return Path(words[at + 1]) if at >= 0 else None


def read_command(words: Sequence[str]) -> Command:
    """Read a command; UnusableInput if it is empty or cannot be watched."""
    if not words:
        raise UnusableInput("no QEMU command given: put it after `--`")
    options = list(options_of(words))
    names = {name for _, name, _ in options}
    last = {name: value for _, name, value in options}
    if "daemonize" in names:
        raise UnusableInput("-daemonize: a QEMU that leaves cannot be watched; remove it")
    serial, copy, tap = _first_serial(options)
    if copy is not None:
        place = next(place for place, name, _ in options if name == "serial")
        words = [*words[:place], *words[place + 2 :]]
    items = (*filter(None, last.get("d", "").split(",")), *LOG_ITEMS)
    return Command(
        tuple(words),
        tuple(dict.fromkeys(items)),
        Path(last["D"]) if last.get("D") else None,
        serial,
        copy,
        tap,
        has_action="action" in names,
        waits="S" in names,
        has_debugger=bool(names & {"s", "gdb"}),
        has_watchdog="watchdog" in names or any(name == "device" and _WATCHDOG.match(value) for _, name, value in options),
        has_debug_exit=any(name == "device" and _DEBUG_EXIT.match(value) for _, name, value in options),
    )


def options_of(words: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (place, name, value) of every option; QEMU accepts one dash and two alike."""
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


def _first_serial(options: Sequence[tuple[int, str, str]]) -> tuple[Serial, Path | None, int]:
    """Where COM1 goes, the file to copy it to, and the place of a -chardev to tap."""
    targets = [value for _, name, value in options if name == "serial"]
    devices = [
        value for _, name, value in options if name == "device" and _ISA_SERIAL.match(value)
    ]
    if not targets and devices:  # a -serial of ours would push the guest's port to COM2
        return _chardev(options, properties_of(devices[0]).get("chardev", ""))
    if not targets:
        nographic = any(name == "nographic" for _, name, _ in options)
        return (Serial.STDOUT if nographic else Serial.OURS), None, 0
    target = targets[0]
    if target.startswith("file:") and len(targets) == 1:
        return Serial.OURS, Path(target.removeprefix("file:")), 0
    if target in ("stdio", "mon:stdio"):
        return Serial.STDOUT, None, 0
    if target.startswith("chardev:"):
        return _chardev(options, target.removeprefix("chardev:"))
    return Serial.ELSEWHERE, None, 0


def _chardev(
    options: Sequence[tuple[int, str, str]], wanted: str
) -> tuple[Serial, Path | None, int]:
    """Any backend can be tapped but one that has a log of its own."""
    for place, name, value in options:
        properties = properties_of(value)
        if name == "chardev" and wanted and properties.get("id") == wanted:
            if value.startswith("stdio,"):
                return Serial.STDOUT, None, 0
            if "logfile" not in properties:
                return Serial.TAPPED, None, place + 1
    return Serial.ELSEWHERE, None, 0


def properties_of(value: str) -> dict[str, str]:
    """Return the properties of ``backend,name=value,...``; a comma within a value is doubled."""
    parts = (part.replace("\0", ",") for part in _parts(value))
    return {name: word for name, found, word in (part.partition("=") for part in parts) if found}


def with_property(value: str, name: str, word: str) -> str:
    """Return an option's value in which a property, wherever it stands, has another word."""
    changed = (f"{name}={word}" if part.startswith(f"{name}=") else part.replace("\0", ",") for part in _parts(value))
    return ",".join(part.replace(",", ",,") for part in changed)


def without_properties(value: str, names: Sequence[str]) -> str:
    """Return an option's value without some of its properties."""
    left = (part for part in _parts(value) if part.partition("=")[0] not in names)
    return ",".join(part.replace("\0", ",,") for part in left)


def _parts(value: str) -> list[str]:
    """The properties of a value, with a NUL for each comma within one."""
    return value.replace(",,", "\0").split(",")


def _log_file(log: Path) -> list[str]:
    return ["-D", str(log)]


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
