"""Pictures that stand alone: SVG without scripts, fonts or anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from cr3scope.text import printable

CHARACTER, LINE = 7.3, 17  # of the fixed font, in pixels
_FONT = 12
_MARGIN = 12


def document(width: float, height: float, title: str, shapes: Iterable[str]) -> Iterator[str]:
    """Yield a picture line by line; ``title`` is what a reader of screens says."""
    size = f"{width + 2 * _MARGIN:.0f}", f"{height + 2 * _MARGIN:.0f}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" viewBox="{-_MARGIN} {-_MARGIN} {size[0]} {size[1]}"'
        f' role="img" font-family="monospace" font-size="{_FONT}" xml:space="preserve">'
    )
    yield f"<title>{plain(title)}</title>"
    yield f'<rect x="{-_MARGIN}" y="{-_MARGIN}" width="100%" height="100%" fill="#ffffff"/>'
    yield (
        '<defs><pattern id="taken" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="4" stroke="#c22f2f" stroke-width="2.4"/></pattern></defs>'
    )
    yield from shapes
    yield "</svg>"


def plain(words: str) -> str:
    """Return text from anywhere as the text of an element."""
    return escape(printable(words))


def text(x: float, y: float, words: str, colour: str = "#1d232b", bold: bool = False) -> str:
    """Return one line of text whose base line is at ``y``."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill={quoteattr(colour)}{weight}>{plain(words)}</text>'


def rect(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", title: str = "") -> str:
    """Return a box; ``title`` shows where a pointer rests on it."""
    head = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill={quoteattr(fill)} stroke={quoteattr(stroke)}'
    return f"{head}><title>{plain(title)}</title></rect>" if title else f"{head}/>"


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a thin line."""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#8a94a3" stroke-width="1"/>'
