"""A QEMU command once more, from disks as they were at the first time, and without a trace of it in the user's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.qemu.command import Command, Serial, options_of, properties_of, read_command, with_property, without_properties
from cr3scope.qemu.kept_image import KeptImage, folder_of, keep, place_of

# Options whose value is an image, as it is.
_IMAGES = frozenset({"hda", "hdb", "hdc", "hdd", "fda", "fdb", "pflash", "sd", "mtdblock"})
_PORTS = frozenset({"serial", "parallel", "debugcon", "monitor"})
_CALLED = _PORTS | {"chardev", "mon", "qmp", "qmp-pretty"}
_TRUE, _FALSE = ("on", "yes", "true", "y"), ("off", "no", "false", "n")  # as QEMU reads them
_SHARED = {"virtfs": "a folder of the host", "fsdev": "a folder of the host", "tpmdev": "a TPM"}
_SHARED_DEVICES = ("vfio-", "usb-host", "vhost-user", "pmem", "nvdimm")
_NETWORKS = frozenset({"netdev", "nic", "net"})
_JSON = "{"


@dataclass(frozen=True, slots=True)
class AsBefore:
    """What a command's disks were before its first boot."""

    command: Command
    images: tuple[KeptImage, ...]

    def hazard(self, argv: Sequence[str]) -> str:
        """Return why a second boot could change something of the user's, or meet something else; "" if it cannot.

        ``argv``: the words with which QEMU itself was started at last, whatever script the command is.
        """
        own = {str(image.file) for image in self.images if image.copy is not None} if self.command.is_bare else set()
        for _, name, value in options_of(argv or self.command.words):
            properties = properties_of(value)
            if name in _SHARED and properties.get("readonly") not in _TRUE:
                return f"-{name}: the guest may have changed {_SHARED[name]}"
            if name in _NETWORKS and "smb" in properties:
                return f"-{name} with smb=: the guest may have changed a folder of the host"
            if name == "device" and any(_is_of(value, driver) for driver in _SHARED_DEVICES):
                return f"-device {value.split(',')[0]}: what the guest does to it stays"
            if name == "object" and (properties.get("share") in _TRUE or value.startswith(_JSON) and '"share"' in value):
                return "-object with share=on: the guest's memory is a file of the host"
            if name == "blockdev" and not _is_kept(value, properties, own):
                return "-blockdev: what the guest writes cannot be kept from the image"
            if name == "icount" and properties.get("rr") == "record":
                return "-icount with rr=record: the second boot would be recorded over the first"
            if name in _CALLED and _waits(value, properties):
                return f"-{name}: it waits until somebody connects"
            if name in ("gdb", "s"):
                return "a debugger was there the first time"
        return ""

    def changed(self) -> Iterator[str]:
        """Yield the images that the first boot has written, and of which no copy was kept: the second begins with that."""
        for image in self.images:
            if image.copy is None and image.is_changed():
                yield str(image.file)

    def again(self) -> Command:
        """Return the command for a second boot: on copies where images were written, and nothing is written to any file of the user's."""
        words = list(self.command.words)
        for image in self.images:
            if image.copy is not None:
                words[image.place] = image.instead(words[image.place])
        without: set[int] = set()
        for place, name, value in options_of(words):
            if name == "drive":
                words[place + 1] = _snapshot(value)
            elif name in _IMAGES and folder_of(value) is not None:
                words[place + 1] = value.replace(":rw:", ":")
            elif name in _PORTS and value.startswith("file:"):
                words[place + 1] = "null"
            elif name in ("chardev", "audiodev"):
                words[place + 1] = _nowhere(name, value)
            elif name == "object" and value.startswith("filter-dump,") or name == "trace" and "file" in properties_of(value):
                words[place + 1] = with_property(value, "file", "/dev/null")
            elif name == "plugin":  # the user's own, which may keep a file too
                without |= {place, place + 1}
        left = [word for place, word in enumerate(words) if place not in without]
        again = read_command([*left, "-snapshot"])
        serial = Serial.OURS if self.command.serial is Serial.OURS else again.serial  # a `-serial file:` is no more among the words
        return replace(again, log_file=None, serial_copy=None, serial=serial)


def before_first_boot(command: Command, folder: Path) -> AsBefore:
    """Return what the disks are now, with a copy in ``folder`` of each that is not too large."""
    return AsBefore(command, tuple(_images(command.words, folder)))


def _images(words: Sequence[str], folder: Path) -> Iterator[KeptImage]:
    for place, name, value in options_of(words):
        properties = properties_of(value)
        if name in _IMAGES:
            found = {"": value}
        elif name in ("drive", "blockdev") and not _is_read_only(properties):
            found = {key: properties[key] for key in properties if key == "file" and name == "drive" or _names_file(key)}
        else:
            continue
        for key, word in found.items():
            kept = keep(place + 1, key, word, folder / f"image-{place}-{key}")
            if kept is not None:
                yield kept


def _names_file(key: str) -> bool:
    return key.rpartition(".")[2] == "filename"


def _is_read_only(properties: Mapping[str, str]) -> bool:
    return any(properties.get(name) in _TRUE for name in ("readonly", "read-only")) or properties.get("media") == "cdrom"


def _is_kept(value: str, properties: Mapping[str, str], own: set[str]) -> bool:
    """Whether nothing that a -blockdev writes is the user's: it writes to a copy, to another node, or nowhere."""
    if value.startswith(_JSON):
        return False
    files = [word for key, word in properties.items() if _names_file(key)]
    is_null = (properties.get("driver") or value.split(",")[0]).startswith("null-")
    return _is_read_only(properties) or is_null or all(place_of(file) in own for file in files) and bool(files or "file" in properties)


def _is_of(device: str, driver: str) -> bool:
    """Whether a -device, in QEMU's words or as JSON, begins so."""
    return device.startswith((driver, f"driver={driver}")) or device.startswith(_JSON) and f'"{driver}' in device


def _waits(value: str, properties: Mapping[str, str]) -> bool:
    flags = value.split(",")
    is_server = "server" in flags or properties.get("server") in _TRUE
    return is_server and "nowait" not in flags and properties.get("wait") not in _FALSE


def _snapshot(value: str) -> str:
    properties = properties_of(value)
    if "snapshot" in properties:
        value = with_property(value, "snapshot", "on")
    return with_property(value, "file", properties["file"].replace(":rw:", ":")) if folder_of(properties.get("file", "")) else value


def _nowhere(name: str, value: str) -> str:
    """A -chardev or -audiodev that keeps no file."""
    if value.startswith("file,"):
        return f"null,id={properties_of(value).get('id', '')}"
    if name == "audiodev" and value.startswith("wav,"):
        return f"none,id={properties_of(value).get('id', '')}"
    return without_properties(value, ("logfile", "logappend"))
