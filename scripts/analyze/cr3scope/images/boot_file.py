"""A file that somebody wants to boot: an ELF kernel, a UEFI image, a Linux kernel, or a flat Multiboot image."""

from __future__ import annotations

import mmap
import stat
from pathlib import Path

from cr3scope import limits
from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass
from cr3scope.elf.head import MAGIC
from cr3scope.errors import UnusableInput
from cr3scope.images.efi_file import EfiFile, read_efi
from cr3scope.images.kernel_file import KernelFile, read_kernel
from cr3scope.images.protocols.linux import LinuxHeader, read_linux
from cr3scope.images.protocols.multiboot import Multiboot, find_multiboot
from cr3scope.input.plain_file import refuse_other

_MZ = b"MZ"


@dataclass(frozen=True)
class BootFile:
    """What of it there is; a Linux kernel is mostly a UEFI image as well."""

    path: Path
    kernel: KernelFile | None = None
    efi: EfiFile | None = None
    linux: LinuxHeader | None = None
    multiboot: tuple[Multiboot, ...] = ()
    size: int = 0

    def forms(self) -> tuple[str, ...]:
        """Return what the file is, and for whom, in words for lists: ``ELF64``, ``Multiboot2``, ``UEFI``, .."""
        found = [f"ELF{self.kernel.bits}"] if self.kernel else []
        found += [f"PE32{'+' if self.efi.bits == 64 else ''}", "UEFI"] if self.efi else []
        found += ["Linux"] if self.linux else []
        found += [{1: "Multiboot", 2: "Multiboot2"}[one.version] for one in self.multiboot]
        if self.kernel is not None:
            found += ["Limine"] if self.kernel.limine else []
            found += ["PVH"] if self.kernel.has_pvh_entry else []
        return tuple(found)


def read_boot_file(path: Path) -> BootFile:
    """Return what a file is. UnusableInput if it cannot be read, is too long, damaged, or nothing that is booted."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise UnusableInput(f"{path}: a folder")
        refuse_other(path, found.st_mode)
        if found.st_size > limits.LINT_FILE_BYTES:
            raise UnusableInput(f"{path}: has {found.st_size} bytes: at most {limits.LINT_FILE_BYTES} are read")
        with path.open("rb") as file:
            head = file.read(len(MAGIC)) if found.st_size else b""
            data: Data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if head else b""
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of a name with a NUL
        raise UnusableInput(f"{path!s}: {error}") from error
    if head == MAGIC:
        kernel = read_kernel(path)
        return BootFile(path, kernel, multiboot=kernel.multiboot, size=len(data))
    linux = read_linux(data)
    if head.startswith(_MZ):
        return BootFile(path, efi=read_efi(path, data), linux=linux, size=len(data))
    multiboot = () if linux else tuple(one for one in find_multiboot(data) if one.is_seen and one.names_addresses)
    if not linux and not multiboot:
        raise UnusableInput(f"{path}: {'empty' if not head else 'neither an ELF file, nor a UEFI image, nor a Linux kernel'}")
    return BootFile(path, linux=linux, multiboot=multiboot, size=len(data))
