"""A file as the rules see it that look at files alone."""

from __future__ import annotations

from functools import cached_property

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.facts.file_uses import FileUses, file_uses
from cr3scope.images.boot_file import BootFile
from cr3scope.images.kernel_file import KernelFile


@dataclass(frozen=True)
class LintedFile:
    """What a rule may look at. Code is decoded when a rule first asks for it."""

    file: BootFile

    @property
    def kernels(self) -> tuple[KernelFile, ...]:
        """Return the file as an ELF kernel, or nothing: what a rule loops over."""
        return () if self.file.kernel is None else (self.file.kernel,)

    @cached_property
    def uses(self) -> FileUses:
        """Return what the code of an ELF kernel uses; nothing of other files."""
        return FileUses() if self.file.kernel is None else file_uses(self.file.kernel)
