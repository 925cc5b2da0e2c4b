"""The texts of the QR codes in a picture, by zbar."""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.input.photo.signs import HEAD_BYTES, MARK, is_heic
from cr3scope.text import printable

# A code whose modules are too fine, or whose picture is too large, is found in another size.
_SIZES = (1.0, 0.5, 2.0, 0.75, 1.5, 0.25)
_NEEDS = "a photo needs Pillow and zbar (Debian: python3-pil, and python3-zbar or zbar-tools)"

Scanner = Callable[[Any], list[str]]


def texts(data: bytes, name: str, is_enough: Callable[[list[str]], bool]) -> list[str]:
    """Return the texts of cr3scope's codes in a picture, each once; several sizes are tried until ``is_enough``.

    UnusableInput if the picture cannot be read, is too large, or a library is missing.
    """
    shown = printable(name)
    if is_heic(data[:HEAD_BYTES]):
        raise UnusableInput(f"{shown}: a HEIC picture, which cannot be read here: make a JPEG or PNG of it")
    image = _opened(data, shown)
    scan = _scanner(shown)
    found: dict[str, None] = {}
    for size in _SIZES:
        width, height = int(image.width * size), int(image.height * size)
        if min(width, height) < 1 or width * height > limits.PICTURE_PIXELS:
            continue
        sized = image if size == 1.0 else image.resize((width, height))
        found.update(dict.fromkeys(text for text in scan(sized) if text.startswith(MARK)))
        if found and is_enough(list(found)):
            break
    return list(found)


def _opened(data: bytes, shown: str) -> Any:
    """The picture in shades of grey."""
    try:
        module = importlib.import_module("PIL.Image")
    except ImportError:
        raise UnusableInput(f"{shown}: {_NEEDS}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a picture that claims to be huge
            image = module.open(io.BytesIO(data))
            if image.width * image.height > limits.PICTURE_PIXELS:
                raise UnusableInput(f"{shown}: {image.width} x {image.height} pixels: more than {limits.PICTURE_PIXELS >> 20} million are not looked at")
            return image.convert("L")
    except UnusableInput:
        raise
    except module.UnidentifiedImageError:  # which names an object of its own
        raise UnusableInput(f"{shown}: this picture cannot be read: it begins like one, and is none or is cut") from None
    except Exception as error:  # whatever a broken picture makes of the library's readers
        raise UnusableInput(f"{shown}: this picture cannot be read: {printable(str(error) or type(error).__name__)}") from None


def _scanner(shown: str) -> Scanner:
    try:
        return _by_library(importlib.import_module("zbar"))
    except ImportError:
        pass
    program = shutil.which("zbarimg")
    if program is None:
        raise UnusableInput(f"{shown}: {_NEEDS}")
    found: str = program
    return lambda image: list(_by_program(found, image))


def _by_library(zbar: Any) -> Scanner:
    scanner = zbar.ImageScanner()
    scanner.set_config(0, zbar.Config.ENABLE, 0)
    scanner.set_config(zbar.Symbol.QRCODE, zbar.Config.ENABLE, 1)

    def scan(image: Any) -> list[str]:
        grey = zbar.Image(image.width, image.height, "Y800", image.tobytes())
        scanner.scan(grey)
        return [symbol.data for symbol in grey]

    return scan


def _by_program(program: str, image: Any) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.pgm"
        image.save(path)
        words = [program, "-q", "--raw", "-Sdisable", "-Sqrcode.enable", str(path)]
        try:
            done = subprocess.run(words, capture_output=True, timeout=limits.PICTURE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return
        yield from done.stdout.decode("ascii", "replace").splitlines()
