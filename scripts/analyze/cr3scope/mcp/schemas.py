"""What tools say of the JSON that they answer with, of the schemas that stand in the docs and are shipped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cr3scope.places import Files, place_of

_REFERENCE = "#/$defs/"
# A client puts the schemas of all tools into one place, where a name may stand once, and its dialect is the protocol's.
_OF_A_FILE = ("$id", "$schema")


def of(names: Sequence[str]) -> dict[str, object] | None:
    """Return the schema of answers that are one of these documents, as ``cr3scope.walk/1``; None where the files are not there."""
    try:
        told = [json.loads((place_of(Files.SCHEMAS) / f"{name.replace('/', '-')}.json").read_text(encoding="utf-8")) for name in names]
    except OSError:
        return None
    for each in told:
        for key in _OF_A_FILE:
            each.pop(key, None)
    if len(told) == 1:
        return dict(told[0])
    parts: dict[str, object] = {}
    for number, each in enumerate(told):
        parts |= {f"{number}.{name}": _renamed(part, number) for name, part in each.pop("$defs", {}).items()}
    return {"type": "object", "anyOf": [_renamed(each, number) for number, each in enumerate(told)], "$defs": parts}


def _renamed(value: object, number: int) -> object:
    """The same, its references to parts of a document led to those of that number."""
    if isinstance(value, list):
        return [_renamed(each, number) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"{_REFERENCE}{number}.{each.removeprefix(_REFERENCE)}" if key == "$ref" and isinstance(each, str) else _renamed(each, number)
        for key, each in value.items()
    }
