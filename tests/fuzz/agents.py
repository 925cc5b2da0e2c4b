"""A client of `cr3scope mcp` that sends anything, and tables of which a tree is made."""

from __future__ import annotations

import json
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
from fuzz.noise import damaged, number
from fuzz.target import HOSTILE, Case, Target, require, shown

from cr3scope import limits
from cr3scope.mcp import server as server_module
from cr3scope.mcp.call import Answer, Call
from cr3scope.mcp.parameters import Parameter
from cr3scope.mcp.places import Places
from cr3scope.mcp.server import STATELESS, WITH_SESSION, Server
from cr3scope.mcp.tools import tools
from cr3scope.paging.effective import mappings
from cr3scope.paging.folded import folded
from cr3scope.paging.tables import Entries
from cr3scope.render import tree, tree_drawn
from cr3scope.render.table import lines_of
from cr3scope.x86.cpu_state import CpuState

_CODES = {-32700, -32600, -32601, -32602, -32603, -32022}
_DRAWN = ("svg", "dot", *(None,) * 6)  # of the trees: a picture takes as long as all the rest
_LISTED = (1 << 18, *(1 << 15,) * 3)  # ranges at the most: a few tables in a circle map millions, and to list those takes a second
_LINES = (limits.TREE_LINES, *(1 << 7,) * 31)  # of a tree: thousands of one kind say no more than hundreds, and take most of the time
_META = {"io.modelcontextprotocol/protocolVersion": STATELESS, "io.modelcontextprotocol/clientCapabilities": {}}
_METHODS = ("initialize", "ping", "tools/list", "tools/call", "server/discover", "notifications/cancelled", "notifications/initialized", "x/y")


def _value(rng: Random, depth: int = 0) -> object:
    """Anything of JSON."""
    simple = (None, True, 0, 1, number(rng), -1.5, "", "trace.log", "../x", "/dev/zero", "a\0b", rng.choice(HOSTILE), "\ud800")
    if depth < 3 and rng.random() < 0.2:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if depth < 3 and rng.random() < 0.2:
        return {str(rng.choice(simple)): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(simple)


def _fit(rng: Random, parameter: Parameter) -> object:
    """What a client might give that means well."""
    if parameter.name == "command":
        return ["qemu-system-x86_64", "-m", str(number(rng))]
    word = rng.choice(parameter.choices) if parameter.choices else rng.choice(("trace.log", "trace.log", "10", "trace.log@1000"))
    return {"boolean": True, "number": rng.choice((1, 30, 1e9)), "strings": [word] * rng.randrange(3)}.get(parameter.kind, word)


def _message(rng: Random) -> dict[str, object]:
    made: dict[str, object] = {"jsonrpc": "2.0", "id": rng.choice((1, 2, "a", rng.randrange(1 << 40))), "method": rng.choice(_METHODS)}
    tool = rng.choice(tools(("qemu-system-x86_64",), True))
    given = {one.name: _fit(rng, one) if rng.random() < 0.8 else _value(rng) for one in tool.parameters if one.is_needed or rng.random() < 0.3}
    params: dict[str, object] = {"name": tool.name, "arguments": given, "protocolVersion": rng.choice(WITH_SESSION), "requestId": rng.choice((1, "a"))}
    if rng.random() < 0.7:
        params["_meta"] = dict(_META)
    made["params"] = params
    for _ in range(rng.choice((0, 0, 1, 2))):
        where = rng.choice((made, params, given, params.get("_meta", given)))
        if isinstance(where, dict):
            where[rng.choice((*where, "more"))] = _value(rng)
    if rng.random() < 0.1:
        made.pop(rng.choice(tuple(made)))
    return made


def _lines(rng: Random) -> Case:
    made = [json.dumps(_message(rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass") for _ in range(rng.randrange(1, 6))]
    data = b"\n".join(made)
    return Case(damaged(rng, data) if rng.random() < 0.5 else data, ".jsonl")


class _Told(Call):
    """No verb is run: its command line is the answer."""

    def answer(self) -> Answer:
        require(all(isinstance(word, str) for word in self._words), "a word that is no text")
        return Answer(False, "\n".join(self._words))


def _talk(case: Case) -> None:
    sent: list[bytes] = []
    with tempfile.TemporaryDirectory() as name, mock.patch.object(server_module, "Call", _Told):
        (Path(name) / "trace.log").write_bytes(b"x")
        server = Server(tools(("qemu-system-x86_64",), True), Places([Path(name)]), sent.append)
        for line in case.data.split(b"\n"):
            before = len(sent)
            server.take(line)
            server.close()
            require(len(sent) - before <= 1, "two answers to a line")
    for answer in sent:
        require(answer.endswith(b"\n") and answer.count(b"\n") == 1 and answer.isascii(), "not one line")
        told = json.loads(answer)
        require(told["jsonrpc"] == "2.0" and ("result" in told) != ("error" in told), "no message of JSON-RPC")
        require("error" not in told or told["error"]["code"] in _CODES, "an unknown code")
        require("id" in told or "error" in told, "a result for nobody")
        require(not isinstance(told.get("id", 0), (bool, float, list, dict)), "an id that nobody can have sent")
        require("\ninternal error" not in str(told), "an internal error")


def _tables(rng: Random) -> Case:
    """Some tables that lead to each other and to frames, as words; the CPU's mode is in the first byte."""
    count = rng.randrange(1, 7)
    words = np.zeros((count, 512), dtype="<u8")
    for row in range(count):
        for _ in range(rng.choice((1, 3, 40))):
            at, length = rng.randrange(512), rng.choice((1, 1, 7, 300))
            target = 0x1000 * (1 + rng.randrange(count)) if rng.random() < 0.6 else number(rng) & ~0xFFF
            step = rng.choice((0, 0x1000, 0x20_0000))
            flags = rng.getrandbits(13) & rng.choice((~0, ~0x80)) | rng.choice((1, 1, 1, 0)) | rng.choice((0, 0, 1 << 63))
            there = target % (1 << 64) + np.arange(min(length, 512 - at), dtype=np.uint64) * np.uint64(step)
            words[row, at : at + length] = there & np.uint64((1 << 63) - 1) | np.uint64(flags % (1 << 64))
    meant = {"mode": rng.randrange(4), "name": rng.choice(HOSTILE), "marked": number(rng, 0x1000, 16), "drawn": rng.choice(_DRAWN)}
    return Case(words.tobytes(), ".img", meant | {"listed": rng.choice(_LISTED), "lines": rng.choice(_LINES)})


_CPUS = (
    CpuState(0x1000), CpuState(0x1000, cr4=0x668 | 1 << 12), CpuState(0x1000, cr4=0x10, efer=0, cr0=0x8000_0033),
    CpuState(0x1000, cr4=0x20, efer=0x800, cr0=0x8000_0033),
)  # fmt: skip


class _Pages:
    """Tables side by side, from 0x1000 on."""

    def __init__(self, data: bytes) -> None:
        self._words = np.frombuffer(data, "<u8").reshape(-1, 512)

    def table(self, phys: int) -> Entries | None:
        row = phys // 0x1000 - 1
        return self._words[row].astype(np.uint64) if 0 <= row < len(self._words) else None


def _fold(case: Case) -> None:
    pages = _Pages(case.data)
    cpu, name = _CPUS[int(str(case.meant["mode"]))], str(case.meant["name"])
    marks = {(level, int(str(case.meant["marked"]))): "some-rule" for level in (1, 2, 3, 4)}
    with mock.patch.object(limits, "TREE_LINES", case.meant["lines"]):
        made = folded(pages, cpu, marked=marks)
    listed = mappings(pages, cpu, most=int(str(case.meant["listed"])))
    if not listed.is_cut:
        require(made.mapped == int((listed.last - listed.first + np.uint64(1)).sum()), "the tree maps more or less than the list")
    names = {(one.entry.level, one.first): name for one in made.branches}
    for line in lines_of(tree.as_blocks(made, "tables", names, marks)):
        require(len(shown(line)) <= 100, f"a line of {len(line)} characters")
    json.loads("".join(tree.json_text(made, [], names, marks)))
    if case.meant["drawn"] == "svg":
        ET.fromstring("\n".join(tree_drawn.as_svg(made, name, names, marks)))
    elif case.meant["drawn"] == "dot":
        for line in tree_drawn.as_dot(made, name, names, marks):
            shown(line)


AGENT = Target("agent", _lines, _talk, ("mcp/message.py", "mcp/parameters.py", "mcp/server.py", "mcp/places.py", "mcp/tools.py"))
TREE = Target("tree", _tables, _fold, ("paging/layers.py", "paging/folded.py", "render/tree.py", "render/tree_drawn.py"))
