"""What a tool is called with: parameters, as a JSON Schema and as a check of what a client gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cr3scope import limits
from cr3scope.dataclass import dataclass

Value = str | bool | float | list[str]


class Unfit(Exception):
    """An argument that the tool cannot take: one line that names it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. ``kind``: "string", "boolean", "number" or "strings"; ``choices``: the only strings that it may be;
    ``least`` and ``most``: of a number."""

    name: str
    words: str
    kind: str = "string"
    is_needed: bool = False
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 0

    def schema(self) -> dict[str, object]:
        """Return its JSON Schema."""
        told: dict[str, object] = {"type": "array" if self.kind == "strings" else self.kind, "description": self.words}
        if self.kind == "strings":
            told |= {"items": {"type": "string"}, "maxItems": limits.MCP_WORDS}
        if self.choices:
            told["enum"] = list(self.choices)
        if self.kind == "number":
            told |= {"minimum": self.least, "maximum": self.most}
        return told

    def check(self, value: object) -> Value:
        """Return the value of the parameter; Unfit if it is of another type, or beyond its limits."""
        if self.kind == "boolean" and isinstance(value, bool):
            return value
        if self.kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
            if not self.least <= value <= self.most:
                raise Unfit(f"{self.name}: between {self.least:g} and {self.most:g}")
            return float(value)
        if self.kind == "string" and isinstance(value, str):
            if self.choices and value not in self.choices:
                raise Unfit(f"{self.name}: one of {', '.join(self.choices)}")
            return _word(self.name, value)
        if self.kind == "strings" and isinstance(value, list) and len(value) <= limits.MCP_WORDS:
            words = [one for one in value if isinstance(one, str)]
            if len(words) == len(value):
                return [_word(self.name, one) for one in words]
        raise Unfit(f"{self.name}: not {_KINDS[self.kind]}")


_KINDS = {
    "string": "a string", "boolean": "true or false", "number": "a number",
    "strings": f"an array of at most {limits.MCP_WORDS} strings",
}  # fmt: skip


def _word(name: str, value: str) -> str:
    if len(value) > limits.MCP_WORD_LETTERS or "\0" in value:
        raise Unfit(f"{name}: longer than {limits.MCP_WORD_LETTERS} characters, or with a NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unfit(f"{name}: no text of Unicode") from error
    return value


def schema(parameters: Sequence[Parameter]) -> dict[str, object]:
    """Return the JSON Schema of a tool's arguments."""
    return {
        "type": "object",
        "properties": {one.name: one.schema() for one in parameters},
        "required": [one.name for one in parameters if one.is_needed],
        "additionalProperties": False,
    }


def checked(parameters: Sequence[Parameter], given: Mapping[str, object]) -> dict[str, Value]:
    """Return the arguments that were given; Unfit if one is unknown, missing or wrong."""
    known = {one.name: one for one in parameters}
    for name in given:
        if name not in known:
            raise Unfit(f"{name[:60]}: no such argument; there are {', '.join(known) or 'none'}")
    for one in parameters:
        if one.is_needed and one.name not in given:
            raise Unfit(f"{one.name}: missing; {one.words}")
    return {name: known[name].check(value) for name, value in given.items()}
