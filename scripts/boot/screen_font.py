"""Write the glyphs with which `trace/` draws on a screen, from a console font of the distribution (PSF 1 or 2, 8 x 16).

    screen_font.py HEADER [FONT]

Without FONT the first one that is there of those that `scripts/boot/packages` installs.
"""

from __future__ import annotations

import glob
import gzip
import sys
from pathlib import Path

_PLACES = (
    "/usr/share/consolefonts/Unifont-APL8x16.psf*",
    "/usr/share/consolefonts/Lat15-Fixed16.psf*",
    "/usr/share/consolefonts/Lat15-VGA16.psf*",
    "/usr/share/consolefonts/default8x16.psf*",
    "/usr/lib/kbd/consolefonts/default8x16.psf*",
    "/usr/share/kbd/consolefonts/default8x16.psf*",
)
_FIRST, _LAST = 0x20, 0x7E
_BYTES = 16  # of a glyph: 8 x 16 dots
_MAGIC_1, _MAGIC_2 = b"\x36\x04", b"\x72\xb5\x4a\x86"


class Unusable(Exception):
    """A font of no use. The message says why."""


def glyphs(font: bytes) -> list[bytes]:
    """Return the 16 rows of each printable character of ASCII; Unusable if the font is none of 8 x 16 dots."""
    if font.startswith(_MAGIC_2) and len(font) >= 32:
        words = [int.from_bytes(font[at : at + 4], "little") for at in range(0, 32, 4)]
        start, count, size, height, width = words[2], words[4], words[5], words[6], words[7]
        if (size, height, width) != (_BYTES, 16, 8):
            raise Unusable(f"its glyphs are of {width} x {height} dots, not 8 x 16")
    elif font.startswith(_MAGIC_1) and len(font) >= 4:
        start, count, size = 4, 512 if font[2] & 1 else 256, font[3]
        if size != _BYTES:
            raise Unusable(f"its glyphs are of 8 x {size} dots, not 8 x 16")
    else:
        raise Unusable("no console font (PSF)")
    if count <= _LAST or len(font) < start + size * (_LAST + 1):
        raise Unusable("it ends before the letters do")
    # In fonts for the console the first 128 glyphs are those of ASCII, whatever their table of Unicode adds.
    return [font[start + size * code : start + size * (code + 1)] for code in range(_FIRST, _LAST + 1)]


def read(path: Path) -> list[bytes]:
    """Return the glyphs of a file, compressed or not; Unusable if they cannot be had."""
    try:
        data = path.read_bytes()
        return glyphs(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise Unusable(str(error)) from error


def header(path: Path) -> str:
    """Return the text of the header, of one font."""
    rows = read(path)
    lines = ["/* Made by scripts/boot/screen_font.py of %s: 8 x 16 dots, from the blank to ~. */" % path.name.removesuffix(".gz"),
             "#pragma once", "", "#include <stdint.h>", "",
             "static const uint8_t screen_font[%d][%d] = {" % (len(rows), _BYTES)]  # fmt: skip
    lines += ["    {" + ", ".join(f"0x{byte:02x}" for byte in row) + "}," for row in rows]
    return "\n".join([*lines, "};", ""])


def main() -> int:
    """Write the header; return 0, or 1 with a line that says which font is missing or wrong."""
    target = Path(sys.argv[1])
    chosen = sys.argv[2:] or [path for place in _PLACES for path in sorted(glob.glob(place))][:1]
    if not chosen:
        print("screen_font: no console font: install psf-unifont (Debian, Ubuntu) or kbd's fonts, or say FONT=file.psf", file=sys.stderr)
        return 1
    try:
        text = header(Path(chosen[0]))
    except Unusable as error:
        print(f"screen_font: {chosen[0]}: {error}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
