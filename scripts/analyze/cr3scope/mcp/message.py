"""Messages of JSON-RPC 2.0, one a line, as the Model Context Protocol has them: what a client sent, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, TypeGuard

from cr3scope.dataclass import dataclass

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
UNSUPPORTED_VERSION = -32022

Id = str | int
Json = Mapping[str, object]


class Refused(Exception):
    """A request that is answered with an error of the protocol. ``id``: whose, None where it could not be read."""

    def __init__(self, code: int, message: str, id: Id | None = None, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.id, self.data = code, message, id, data


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification, which has no ``id`` and gets no answer."""

    method: str
    params: Json
    id: Id | None = None


def parse(line: bytes) -> Message | None:
    """Return what a client sent; None for an answer, of which nobody here has asked anything. Refused if it is no message."""
    try:
        value = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(PARSE_ERROR, f"not a line of JSON: {_short(error)}") from error
    if isinstance(value, list):
        raise Refused(INVALID_REQUEST, "a batch: the protocol has one message a line")
    if not isinstance(value, dict):
        raise Refused(INVALID_REQUEST, "not a JSON object")
    id_ = value.get("id")
    known = id_ if is_id(id_) else None
    method = value.get("method")
    if value.get("jsonrpc") != "2.0":
        raise Refused(INVALID_REQUEST, 'no message of JSON-RPC 2.0: "jsonrpc" is not "2.0"', known)
    if method is None and ("result" in value or "error" in value):
        return None
    if not isinstance(method, str):
        raise Refused(INVALID_REQUEST, '"method" is no string', known)
    if "id" in value and known is None:
        raise Refused(INVALID_REQUEST, '"id" is neither a string nor an integer')
    params = value.get("params", {})
    if not isinstance(params, dict):
        if known is None:
            return Message(method, {})
        raise Refused(INVALID_PARAMS, '"params" is no object', known)
    return Message(method, params, known)


def is_id(value: object) -> TypeGuard[Id]:
    """Return whether a value can name a request."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _short(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]


def result(id_: Id, value: Json) -> bytes:
    """Return the line that answers a request."""
    return _line({"jsonrpc": "2.0", "id": id_, "result": value})


def notification(method: str, params: Json) -> bytes:
    """Return a line that answers nothing."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def error(refused: Refused) -> bytes:
    """Return the line that refuses a request. Without a known id it has none: by the protocol's schema it is never null."""
    told: dict[str, object] = {"code": refused.code, "message": refused.message}
    if refused.data is not None:
        told["data"] = refused.data
    whose: dict[str, object] = {} if refused.id is None else {"id": refused.id}
    return _line({"jsonrpc": "2.0", **whose, "error": told})


def _line(value: Json) -> bytes:
    return json.dumps(value).encode() + b"\n"
