"""From an address of a loaded image to symbol and ``file:line``, by the image's ELF twin."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.loaded import Image
from cr3scope.images.place import Place
from cr3scope.images.source_text import SourceLine, SourceText, source_text
from cr3scope.input.capture.records import ElfRecord, ImageRecord


class LineSource(Protocol):
    """Anything that knows source lines of code addresses as the machine sees them."""

    def line_of_call(self, return_address: int) -> str | None:
        """Return ``file:line`` of the call that returns to this address; None if it is not known."""


class NoSymbols:
    """No ELF twin was given."""

    def line_of_call(self, return_address: int) -> str | None:
        return None


class Symbols:
    """The ELF twins of the images of one boot; without a capture there are no ``images``."""

    def __init__(self, images: Sequence[ImageRecord], files: Sequence[ElfFile]) -> None:
        self._images = images
        self._twins = [ElfTwin(file.path) for file in files]
        self._bases = {
            twin: file.base
            for twin, file in zip(self._twins, files, strict=True)
            if file.base is not None
        }
        for twin in self._twins:
            twin.check()
        self._known: dict[int, str | None] = {}
        self._told: dict[str, set[tuple[SourceLine, Path]]] = {}
        self._loaded: tuple[Image, ...] = ()

    def line_of_call(self, return_address: int) -> str | None:
        """Return the line of the instruction before ``return_address``: the call, not what follows it.

        None if it is not known.
        """
        if return_address not in self._known:
            self._known[return_address] = self._look_up(return_address - 1)
        return self._known[return_address]

    def place(self, name: str, address: int) -> Place | None:
        """Return where ``address`` is, called ``name`` in the report; None if nothing tells."""
        return self._place(name, address, address)

    def caller(self, name: str, return_address: int) -> Place | None:
        """Return where the call is that returns to ``return_address``, called ``name`` in the report.

        None if nothing tells.
        """
        return self._place(name, return_address, return_address - 1)

    def text(self, source: str) -> SourceText | None:
        """Return the text of a line as this object has named it.

        None if no file can be read, or if two files of that name differ in it.
        """
        told = sorted(self._told.get(source, ()), key=str)
        texts = [found for line, built in told if (found := source_text(line, built))]
        return texts[0] if texts and len({found.text for found in texts}) == 1 else None

    def unplaced(self) -> Iterator[ElfTwin]:
        """Yield the twins of which nobody said where they were loaded."""
        placed = {self._twin_of(image) for image in self._images}
        for twin in self._twins:
            if twin.is_relocatable and twin not in placed and twin not in self._bases:
                yield twin

    def traces(self, kernels: Iterable[ElfRecord]) -> bool | None:
        """Return whether by its file one of the kernels goes on with the trace; None if no such file was given."""
        told = [twin.traces for kernel in kernels for twin in self._twins if twin.is_kernel(kernel)]
        return any(told) if told else None

    def left_out(self) -> Iterator[str]:
        """Yield what of the files was not read when somebody asked for it, and why."""
        for twin in self._twins:
            yield from (f"{twin.path}: its {what} are left out: {why}" for what, why in twin.left_out.items())

    @property
    def has_files(self) -> bool:
        """Return whether any ELF twin was given."""
        return bool(self._twins)

    @property
    def has_images(self) -> bool:
        """Return whether a capture tells where images lie."""
        return bool(self._images)

    def put(self, twin: ElfTwin, base: int) -> None:
        """Remember where a twin was loaded."""
        self._bases[twin] = base

    def put_loaded(self, images: Sequence[Image]) -> None:
        """Remember images in memory, of which there need be no file."""
        self._loaded = tuple(images)

    def _place(self, name: str, address: int, inside: int) -> Place | None:
        found = self._find(inside)
        symbol, line = (found[0].symbol(found[1]), self._line(*found)) if found else (None, None)
        image = next((each for each in self._loaded if each.holds(inside)), None)
        words = f"{image.name or f'{image.base:#x}'}+{address - image.base:#x}" if image else None
        return Place(name, address, symbol, line, words) if symbol or line or words else None

    def _look_up(self, address: int) -> str | None:
        found = self._find(address)
        return self._line(*found) if found else None

    def _line(self, twin: ElfTwin, address: int) -> str | None:
        """``file:line``; of what file that is, :meth:`text` is asked."""
        line = twin.line(address)
        if line is None:
            return None
        self._told.setdefault(str(line), set()).add((line, twin.path))
        return str(line)

    def _find(self, address: int) -> tuple[ElfTwin, int] | None:
        """The twin that holds the address, and the address as that file has it."""
        for twin, base in self._bases.items():
            own = address - base + twin.counts_from
            if twin.holds(own):
                return twin, own
        for image in self._images:
            if image.base <= address < image.base + image.size:
                named = self._twin_of(image)
                return (named, address - image.base) if named else None
        for twin in self._twins:
            if twin not in self._bases and not twin.is_relocatable and twin.holds(address):
                return twin, address
        return None

    def _twin_of(self, image: ImageRecord) -> ElfTwin | None:
        """By build id; by name only if one of the two has no build id to disagree with."""
        for twin in self._twins:
            if image.build_id and twin.build_id == image.build_id:
                return twin
        names = {_stem(name) for name in (image.name, image.file) if name}
        for twin in self._twins:
            if _stem(twin.path.name) in names and not (image.build_id and twin.build_id):
                return twin
        return None


def _stem(name: str) -> str:
    return posixpath.basename(name.replace("\\", "/")).split(".")[0].lower()
