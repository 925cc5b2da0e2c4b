"""The fields of one record, read strictly: what does not follow the format is malformed."""

from __future__ import annotations

import base64
import binascii
import re

from cr3scope.x86.word import MASK64

NUMBER = re.compile(r"0|[1-9a-f][0-9a-f]{0,15}")
_ESCAPE = re.compile(r"%([0-9a-f]{2})")
_TEXT = re.compile(r"(?:[^%=,]|%[0-9a-f]{2})*")
_SHOWN = 40


class Malformed(Exception):
    """A field is absent or not what its kind wants. The message names it."""


class Fields:
    """Access to ``key=value`` pairs by the type that the format gives them."""

    def __init__(self, raw: bytes) -> None:
        pairs = [pair.split("=", 1) for pair in raw.decode("ascii").split()]
        self._values: dict[str, str] = dict(pairs)
        if len(self._values) < len(pairs):
            keys = [key for key, _ in pairs]
            raise Malformed(f"field {next(key for key in keys if keys.count(key) > 1)} stands twice")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def keys(self) -> list[str]:
        """Return all keys, in their order on the wire."""
        return list(self._values)

    def raw(self, key: str) -> str:
        """Return the value as it stands on the wire; Malformed if the field is missing."""
        try:
            return self._values[key]
        except KeyError:
            raise Malformed(f"field {key} is missing") from None

    def number(self, key: str, most: int = MASK64) -> int:
        """Return a number of at most ``most``; else Malformed."""
        value = number(self.raw(key), key)
        if value > most:
            raise Malformed(f"field {key} is {value:#x}: at most {most:#x} makes sense")
        return value

    def optional_number(self, key: str) -> int | None:
        """Return a number, or None where the field is absent."""
        return self.number(key) if key in self else None

    def text(self, key: str) -> str:
        """Return a field's text, with its escapes undone."""
        return text(self.raw(key), key)

    def optional_text(self, key: str) -> str | None:
        """Return a field's text, or None where the field is absent."""
        return self.text(key) if key in self else None

    def word(self, key: str, *allowed: str) -> str:
        """Return the value, which is one of a few words; else Malformed."""
        value = self.raw(key)
        if value not in allowed:
            raise Malformed(f"field {key} is none of {', '.join(allowed)}: {value[:_SHOWN]}")
        return value

    def letters(self, key: str, patterns: re.Pattern[str]) -> str:
        """Return a value that matches a pattern as a whole; else Malformed."""
        value = self.raw(key)
        if patterns.fullmatch(value) is None:
            raise Malformed(f"field {key} is malformed: {value[:_SHOWN]}")
        return value

    def items(self, key: str) -> list[str]:
        """Return a list of texts; empty if the value is."""
        value = self.raw(key)
        return [text(item, key) for item in value.split(",")] if value else []

    def data(self, key: str) -> bytes:
        """Return what the value holds in Base64."""
        try:
            return base64.b64decode(self.raw(key), validate=True)
        except binascii.Error:
            raise Malformed(f"field {key} is no base64") from None


def number(value: str, key: str) -> int:
    """Return the number that lower-case hex without leading zeros means, at most 64 bits; else Malformed."""
    if NUMBER.fullmatch(value) is None:
        raise Malformed(f"field {key} is no number: {value[:_SHOWN]}")
    return int(value, 16)


def text(value: str, key: str) -> str:
    """Return a value with each ``%xx`` undone. Bytes that are no UTF-8 are kept visible as escapes."""
    plain = value.replace("%20", " ")  # of most names there is no other escape
    if "%" not in plain and "=" not in plain and "," not in plain:
        return plain
    if _TEXT.fullmatch(value) is None:
        raise Malformed(f"field {key} is no text: {value[:_SHOWN]}")
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
    return plain.encode("latin-1").decode("utf-8", "backslashreplace")
