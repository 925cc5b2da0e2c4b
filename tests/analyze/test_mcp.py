"""``mcp``: what a client of the Model Context Protocol gets, and what a hostile one does not."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from analyze.lint_files import Kernel
from analyze.page_scenes import CAPTURES
from analyze.test_machine_hostile import PROGRAM

from cr3scope import limits
from cr3scope.cli.main import VERBS, main
from cr3scope.mcp import server as server_module
from cr3scope.mcp.call import Answer, Call
from cr3scope.mcp.places import Places
from cr3scope.mcp.progress import Progress
from cr3scope.mcp.server import STATELESS, WITH_SESSION, Server
from cr3scope.mcp.tools import tools

FAKE = str(Path(__file__).with_name("fake_qemu.py"))
NX_UPPER = CAPTURES / "nx-upper-level.serial.log"
META = {"io.modelcontextprotocol/protocolVersion": STATELESS, "io.modelcontextprotocol/clientCapabilities": {}}
WAIT_SECONDS = 20


def asks(id_: object, method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}).encode()


def calls(id_: object, name: str, **arguments: object) -> bytes:
    return asks(id_, "tools/call", name=name, arguments=arguments, _meta=META)


class Talk:
    """A server without its streams. ``said``: what it has sent, by the id."""

    def __init__(self, root: Path, with_run: bool = True) -> None:
        self.sent: list[Any] = []
        self.server = Server(tools(("qemu-system-x86_64",), with_run), Places([root]), lambda line: self.sent.append(json.loads(line)))

    def __call__(self, line: bytes) -> Any:
        """The one answer to a line; None if there was none."""
        self.sent.clear()
        self.server.take(line)
        self.server._wait(WAIT_SECONDS)  # else a run is ended by the end of the client
        assert len(self.sent) <= 1
        return self.sent[0] if self.sent else None


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Verbs are not run: the answer is the command line."""

    class Told(Call):
        def answer(self) -> Answer:
            return Answer(False, "\n".join(self._words), {"schema": "x"}, "<html>" if self._with_page else None)

    monkeypatch.setattr(server_module, "Call", Told)
    return Talk(tmp_path)


@pytest.mark.parametrize(("wanted", "agreed"), [*((one, one) for one in WITH_SESSION), ("2025-03-26", WITH_SESSION[0]), ("1999-01-01", WITH_SESSION[0])])
def test_the_revision_that_a_client_wants_is_taken_if_it_is_known(talk: Talk, wanted: str, agreed: str) -> None:
    told = talk(asks(1, "initialize", protocolVersion=wanted, capabilities={}, clientInfo={}))["result"]
    assert told["protocolVersion"] == agreed and told["capabilities"] == {"tools": {}} and told["serverInfo"]["name"] == "cr3scope"
    assert talk(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}') is None
    listed = talk(asks("a", "tools/list"))
    assert listed["id"] == "a" and "resultType" not in listed["result"]
    assert talk(asks(2, "ping")) == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_a_request_that_says_its_own_revision_needs_no_session(talk: Talk) -> None:
    told = talk(asks(1, "server/discover", _meta=META))["result"]
    assert told["supportedVersions"][0] == STATELESS and told["resultType"] == "complete"
    assert told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "cr3scope"
    listed = talk(asks(2, "tools/list", _meta=META))["result"]
    assert (listed["resultType"], listed["cacheScope"]) == ("complete", "public") and listed["ttlMs"] > 0
    assert talk(calls(3, "explain"))["result"]["resultType"] == "complete"


@pytest.mark.parametrize(("line", "code", "id_"), [
    (b"{", -32700, None),
    (b"\xff\xfe", -32700, None),
    (b"[" * 100_000, -32700, None),
    (b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', -32700, None),
    (b'{"jsonrpc": "2.0", "id": ' + b"9" * 10_000 + b', "method": "ping"}', -32700, None),
    (b"[]", -32600, None),
    (b"[" + asks(1, "ping") + b"]", -32600, None),
    (b'"ping"', -32600, None),
    (b'{"id": 5, "method": "ping"}', -32600, 5),
    (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600, None),
    (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600, None),
    (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600, None),
    (b'{"jsonrpc": "2.0", "id": 5, "method": ["ping"]}', -32600, 5),
    (b'{"jsonrpc": "2.0", "id": 5, "method": "ping", "params": [1]}', -32602, 5),
    (asks(5, "resources/list"), -32601, 5),
    (asks(5, "ping", _meta=META), -32601, 5),
    (asks(5, "initialize", _meta=META), -32601, 5),
    (asks(5, "tools/list"), -32602, 5),
    (asks(5, "initialize", protocolVersion=7), -32602, 5),
    (asks(5, "tools/list", _meta={**META, "io.modelcontextprotocol/protocolVersion": "1900-01-01"}), -32022, 5),
    (asks(5, "tools/list", _meta={**META, "io.modelcontextprotocol/clientCapabilities": 1}), -32602, 5),
    (asks(5, "tools/list", _meta=META, cursor="x"), -32602, 5),
    (calls(5, "no-such-tool"), -32602, 5),
    (asks(5, "tools/call", _meta=META, name=["maps"]), -32602, 5),
    (asks(5, "tools/call", _meta=META, name="maps", arguments="x"), -32602, 5),
])  # fmt: skip
def test_what_is_no_request_gets_the_protocols_error(talk: Talk, line: bytes, code: int, id_: object) -> None:
    told = talk(line)
    assert told["error"]["code"] == code and told.get("id") == id_ and ("id" in told) == (id_ is not None)


@pytest.mark.parametrize("line", [
    b'{"jsonrpc": "2.0", "method": "notifications/nonsense", "params": []}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [1]}}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}}',
    b'{"jsonrpc": "2.0", "id": 9, "result": {}}',
    b'{"jsonrpc": "2.0", "id": 9, "error": {}}',
])  # fmt: skip
def test_what_asks_nothing_gets_no_answer(talk: Talk, line: bytes) -> None:
    assert talk(line) is None


def test_all_tools_but_run_only_read_and_say_so(talk: Talk, tmp_path: Path) -> None:
    listed = talk(asks(1, "tools/list", _meta=META))["result"]["tools"]
    names = [one["name"] for one in listed]
    assert names == ["triage", "analyze", "maps", "walk", "diff", "lint", "explain", "report", "run"]
    assert [one["name"] for one in listed if not one["annotations"]["readOnlyHint"]] == ["run"]
    assert all(one["inputSchema"]["additionalProperties"] is False for one in listed)
    assert Talk(tmp_path, with_run=False)(calls(1, "run"))["error"]["code"] == -32602


def value_of(schema: dict[str, Any], name: str) -> object:
    """A value that its schema allows."""
    if name == "command":
        return ["qemu-system-x86_64", "-m", "64"]
    if name in ("capture", "log", "source", "left", "right", "elf", "files"):
        return ["file"] if schema["type"] == "array" else "file"
    if "enum" in schema:
        return schema["enum"][-1]
    return {"string": "10", "boolean": True, "number": schema.get("maximum")}[schema["type"]]


def test_every_argument_of_every_tool_reaches_the_verb(talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    seen: list[Any] = []
    for verb in VERBS:
        monkeypatch.setattr(importlib.import_module(f"cr3scope.cli.{verb.replace('-', '_')}"), "run", lambda given: seen.append(given) or 0)
    for tool in talk(asks(1, "tools/list", _meta=META))["result"]["tools"]:
        given = {name: value_of(schema, name) for name, schema in tool["inputSchema"]["properties"].items()}
        words = talk(calls(2, tool["name"], **given))["result"]["content"][0]["text"].splitlines()
        assert main([words[0], "--json=x", *words[1:]]) == 0, words
        told = vars(seen.pop())
        for name, value in given.items():
            got = told[{"address": "address", "log": "log"}.get(name, name)]
            assert got not in (None, [], False), (tool["name"], name, value)


def test_no_value_is_taken_for_an_option_which_might_write_a_file(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    bad = f"--json={tmp_path}/written"
    for tool in talk(asks(1, "tools/list", _meta=META))["result"]["tools"]:
        schemas = tool["inputSchema"]["properties"]
        usual = {name: value_of(schema, name) for name, schema in schemas.items()}
        for name in (name for name, schema in schemas.items() if schema["type"] == "string"):
            told = talk(calls(2, tool["name"], **{**usual, name: bad}))["result"]
            assert told["isError"] or bad not in told["content"][0]["text"].splitlines(), (tool["name"], name)


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("outside") / "secret"
    file.write_text("secret")
    return file


def test_only_regular_files_below_the_roots_are_read(talk: Talk, tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "-x").write_bytes(b"x")
    names = {str(outside): "outside of", "../x": "outside of", "link": "outside of", "/dev/zero": "outside of", "pipe": "not a regular file",
             ".": "not a regular file", "absent": "No such file", "loop": "", "a\0b": "NUL", "-": "No such file", "x" * 5000: "longer"}  # fmt: skip
    for name, why in names.items():
        told = talk(calls(1, "maps", source=name))["result"]
        assert told["isError"] and why in told["content"][0]["text"] and "structuredContent" not in told, name
    assert talk(calls(1, "triage", log="-x"))["result"]["content"][0]["text"].splitlines() == ["triage", str(tmp_path / "-x")]
    elf = talk(calls(1, "triage", log="-x", elf=["-x@1000"]))["result"]["content"][0]["text"].splitlines()
    assert elf[1] == f"--elf={tmp_path}/-x@1000"
    assert talk(calls(1, "triage", log="-x", elf=[f"{outside}@1000"]))["result"]["isError"]


@pytest.mark.parametrize(("name", "arguments", "why"), [
    ("maps", {}, "source: missing"),
    ("maps", {"source": "x", "nonsense": 1}, "nonsense: no such argument"),
    ("maps", {"source": 7}, "source: not a string"),
    ("maps", {"source": "x", "tree": 1}, "tree: not true or false"),
    ("maps", {"source": "x", "dump": "other"}, "dump: one of new, old, after"),
    ("maps", {"source": "\ud800"}, "source: no text of Unicode"),
    ("lint", {"files": []}, "files: none"),
    ("lint", {"files": ["x"] * 1000}, "files: not an array of at most"),
    ("report", {}, "capture or log"),
    ("run", {"command": ["sh", "-c", "id"]}, "command: begins with qemu-system-x86_64"),
    ("run", {"command": []}, "command: begins with"),
    ("run", {"command": ["/tmp/qemu-system-x86_64"]}, "command: begins with"),
    ("run", {"command": ["qemu-system-x86_64"], "timeout": 1e9}, "timeout: between 1 and"),
    ("run", {"command": ["qemu-system-x86_64"], "timeout": True}, "timeout: not a number"),
    ("run", {"command": ["qemu-system-x86_64"], "folder": "/etc"}, "folder: /etc: outside of"),
])  # fmt: skip
def test_an_argument_that_does_not_fit_is_said_to_the_model(talk: Talk, name: str, arguments: dict[str, object], why: str) -> None:
    told = talk(calls(1, name, **arguments))["result"]
    assert told["isError"] and told["content"][0]["text"].startswith(why)


def test_an_id_in_use_and_calls_without_end_are_refused(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()
    monkeypatch.setattr(server_module.Call, "answer", lambda self: waits.wait(WAIT_SECONDS) and Answer(False, "x"))
    monkeypatch.setattr(limits, "MCP_WAITING", 3)
    for number in (1, 1, 2, 3, 4):
        talk.server.take(calls(number, "explain"))
    assert [(one.get("id"), one["error"]["code"]) for one in talk.sent] == [(1, -32600), (4, -32603)]
    talk.server.take(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}')
    waits.set()
    talk.server.close()
    assert sorted(one["id"] for one in talk.sent[2:]) == [1, 3]  # the cancelled one gets no answer


@contextlib.contextmanager
def process(root: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "mcp", "--root", str(root), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=own, cwd=root,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        for stream in (started.stdin, started.stdout, started.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.mark.slow
def test_a_session_gets_the_verbs_json_and_text_and_nothing_else_on_the_stream(tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_bytes(NX_UPPER.read_bytes())
    (tmp_path / "numpy.py").write_text("raise SystemExit('a module of the client')")
    lines = [
        calls(1, "report", capture="trace.log"), calls(2, "maps", source="trace.log", tree=True),
        calls(3, "walk", source="trace.log", address="0", access="x"), calls(4, "walk", source="trace.log", address="zz"),
        b"x" * (limits.MCP_LINE_BYTES + 10), b'{"cut": ',
    ]  # fmt: skip
    with process(tmp_path) as started:
        out, err = started.communicate(b"\n".join(lines), timeout=WAIT_SECONDS)
        assert (started.returncode, err) == (0, b"")
    told = [json.loads(line) for line in out.splitlines()]
    assert sorted(one["error"]["code"] for one in told if "error" in one) == [-32700, -32600]
    by_id = {one["id"]: one["result"] for one in told if "id" in one}
    assert by_id[1]["structuredContent"]["verdict"] == "will-fault" and not by_id[1]["isError"]
    text, page = by_id[1]["content"]
    assert text["text"].startswith("WILL FAULT") and page["resource"]["text"].startswith("<!DOCTYPE html>")
    assert by_id[2]["structuredContent"]["schema"] == "cr3scope.tree/1" and "nx-upper-level" in by_id[2]["content"][0]["text"]
    assert by_id[3]["structuredContent"]["outcome"] == "fault" and not by_id[3]["isError"]
    assert by_id[4]["isError"] and by_id[4]["content"][0]["text"] == "argument ADDRESS: not a 64-bit hexadecimal number: zz"


def cancel(started: subprocess.Popen[bytes]) -> None:
    assert started.stdin is not None
    started.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n')
    started.stdin.write(calls(2, "explain", rule="nx-upper-level") + b"\n")
    started.stdin.flush()


def hang_up(started: subprocess.Popen[bytes]) -> None:
    assert started.stdin is not None
    started.stdin.close()


def stop_reading(started: subprocess.Popen[bytes]) -> None:
    assert started.stdout is not None
    started.stdout.close()


def end(started: subprocess.Popen[bytes]) -> None:
    started.send_signal(signal.SIGTERM)


def gone(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(descriptor)


@pytest.mark.slow
@pytest.mark.parametrize("leave", [cancel, hang_up, stop_reading, end, subprocess.Popen.kill],
                         ids=["cancel", "hang-up", "stop-reading", "sigterm", "sigkill"])  # fmt: skip
def test_the_qemu_of_a_run_that_nobody_waits_for_is_ended(tmp_path: Path, leave: Callable[[subprocess.Popen[bytes]], None]) -> None:
    os.mkfifo(tmp_path / "tells")
    with process(tmp_path, "--qemu", sys.executable, FAKE_TELLS=str(tmp_path / "tells")) as started:
        assert started.stdin is not None and started.stdout is not None
        started.stdin.write(calls(1, "run", command=[sys.executable, FAKE, "says:busy"]) + b"\n")
        started.stdin.flush()
        pid = int((tmp_path / "tells").read_text())
        leave(started)
        assert gone(pid)
        if leave is cancel:
            told = json.loads(started.stdout.readline())
            assert told["id"] == 2 and "nx-upper-level" in told["result"]["content"][0]["text"]
        else:
            assert started.wait(WAIT_SECONDS) == {hang_up: 0, stop_reading: 128 + signal.SIGPIPE, end: 128 + signal.SIGTERM}.get(leave, -signal.SIGKILL)


def test_a_client_that_asks_for_it_hears_once_a_second_how_long_its_call_is_at_work() -> None:
    sent: list[Any] = []
    now = iter([100.0, 100.4, 100.999, 101.0, 101.2, 101.9, 103.5, 103.6, 104.0])
    progress = Progress("mine", lambda line: sent.append(json.loads(line)), lambda: next(now))
    for _ in range(8):
        progress.beat("run is at work")
    assert {one["method"] for one in sent} == {"notifications/progress"} and not any("id" in one for one in sent)
    assert [one["params"] for one in sent] == [
        {"progressToken": "mine", "progress": seconds, "message": "run is at work"} for seconds in (1.0, 3.5, 4.0)
    ]


@pytest.mark.parametrize(("token", "is_taken"), [("a", True), (7, True), (0, True), (None, False), (True, False), (1.5, False), ([1], False), ({}, False)])
def test_a_token_is_a_string_or_an_integer_and_comes_back_before_the_answer(
    token: object, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MCP_PROGRESS_SECONDS", 1e-6)

    class Told(Call):
        def answer(self) -> Answer:
            self._beat("explain is at work")
            return Answer(False, "x", {})

    monkeypatch.setattr(server_module, "Call", Told)
    talk = Talk(tmp_path)
    meta = META if token is None else {**META, "progressToken": token}
    talk.server.take(asks(5, "tools/call", name="explain", arguments={}, _meta=meta))
    talk.server.close()
    *before, answer = talk.sent
    assert answer["id"] == 5
    assert [one["params"]["progressToken"] for one in before] == ([token] if is_taken else [])


def test_a_call_that_waits_for_others_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MCP_PROGRESS_SECONDS", 1e-6)
    monkeypatch.setattr(limits, "MCP_CALLS", 1)
    first_may_end, waits = threading.Event(), threading.Event()
    monkeypatch.setattr(server_module.Call, "answer", lambda self: first_may_end.wait(WAIT_SECONDS) and Answer(False, "x", {}))
    said: list[Any] = []

    def take(line: bytes) -> None:
        said.append(json.loads(line))
        if said[-1].get("params", {}).get("message") == "explain waits: 1 calls are at work":
            waits.set()

    server = Server(tools((), False), Places([tmp_path]), take)
    server.take(calls(1, "explain"))
    server.take(asks(2, "tools/call", name="explain", arguments={}, _meta={**META, "progressToken": "t"}))
    assert waits.wait(WAIT_SECONDS), said
    first_may_end.set()
    server.close()
    assert sorted(one["id"] for one in said if "id" in one) == [1, 2]


@pytest.mark.slow
def test_a_cancelled_call_that_has_told_of_its_progress_ends_with_its_process_and_says_nothing_more(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tells")
    with process(tmp_path, "--qemu", sys.executable, FAKE_TELLS=str(tmp_path / "tells")) as started:
        assert started.stdin is not None and started.stdout is not None
        command = {"command": [sys.executable, FAKE, "says:busy"]}
        started.stdin.write(asks(1, "tools/call", name="run", arguments=command, _meta={**META, "progressToken": "p"}) + b"\n")
        started.stdin.flush()
        pid = int((tmp_path / "tells").read_text())
        told = [json.loads(started.stdout.readline()) for _ in range(2)]
        assert [one["params"]["progressToken"] for one in told] == ["p", "p"]
        assert 1 <= told[0]["params"]["progress"] < told[1]["params"]["progress"]
        assert told[0]["params"]["message"] == "run is at work"
        cancel(started)
        assert gone(pid)
        started.stdin.close()
        after = [json.loads(line) for line in started.stdout]
        assert [one["id"] for one in after if "id" in one] == [2]  # of the other call


def answer_schemas(talk: Talk) -> dict[str, Any]:
    listed = talk(asks(1, "tools/list", _meta=META))["result"]["tools"]
    return {one["name"]: one["outputSchema"] for one in listed}


def test_every_tool_tells_of_what_its_answers_are(talk: Talk) -> None:
    from jsonschema import Draft202012Validator

    told = answer_schemas(talk)
    assert set(told) == {"triage", "analyze", "maps", "walk", "diff", "lint", "explain", "report", "run"}
    for schema in told.values():
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object" and "$id" not in json.dumps(schema) and "$schema" not in json.dumps(schema)


@pytest.mark.slow
def test_what_tools_answer_is_as_they_say(talk: Talk, tmp_path: Path) -> None:
    from jsonschema import Draft202012Validator

    told = answer_schemas(talk)
    for name, path in (("trace.log", NX_UPPER), ("int.log", CAPTURES / "qemu-10.0.stack-unmapped.interrupts.log")):
        (tmp_path / name).write_bytes(path.read_bytes())
    (tmp_path / "kernel.elf").write_bytes(Kernel(entry=0).bytes())
    asked: list[tuple[str, list[str]]] = [
        ("triage", ["triage", "int.log"]), ("analyze", ["analyze", "trace.log"]), ("maps", ["maps", "trace.log"]), ("maps", ["maps", "--tree", "trace.log"]),
        ("walk", ["walk", "trace.log", "0"]), ("diff", ["diff", "trace.log", "trace.log"]), ("lint", ["lint", "kernel.elf"]), ("explain", ["explain"]),
        ("run", ["run", "--no-who", "--", sys.executable, FAKE, "exit-35"]),
    ]  # fmt: skip
    for tool, words in asked:
        answer = Call(words, [tmp_path], WAIT_SECONDS).answer()
        assert not answer.is_error, answer.text
        assert not [each.message[:300] for each in Draft202012Validator(told[tool]).iter_errors(answer.value)], tool
    other = Call(["walk", "trace.log", "0"], [tmp_path], WAIT_SECONDS).answer().value
    assert list(Draft202012Validator(told["maps"]).iter_errors(other)), "a document of another kind is noticed"


def test_an_answer_without_what_the_tool_promises_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.Call, "answer", lambda self: Answer(False, "the JSON is left out", None))
    told = Talk(tmp_path)(calls(1, "explain"))["result"]
    assert told["isError"] and told["content"][0]["text"] == "the JSON is left out" and "structuredContent" not in told


def test_a_stream_that_takes_nothing_ends_the_server_with_its_status(tmp_path: Path) -> None:
    line = asks(1, "ping").decode()
    for where, status, said in (("> /dev/full", 2, "cr3scope: standard output: No space left on device\n"), ("<&-", 0, "")):
        done = subprocess.run(
            ["sh", "-c", f"printf '%s\n' '{line}' | exec \"$PYTHON\" -c \"$PROGRAM\" mcp {where}"], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHON": sys.executable, "PROGRAM": PROGRAM}, timeout=WAIT_SECONDS,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (status, said), where


def test_what_is_too_much_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MCP_TEXT_BYTES", 2000)
    monkeypatch.setattr(limits, "MCP_JSON_BYTES", 3000)
    told = Call(["explain"], [tmp_path], WAIT_SECONDS).answer()
    assert not told.is_error and told.value is None
    head, *said = told.text.splitlines()[-2:]
    assert head.endswith("more bytes of text are left out") and "is left out: past 3000" in said[0] and len(told.text) < 2300


@pytest.mark.slow
def test_debug_information_leads_to_no_file_outside_of_the_roots(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "q.log").write_bytes((CAPTURES / "qemu-10.0.stack-unmapped.interrupts.log").read_bytes())
    source = f'# 1 "{outside}"\nvoid _start(void) {{ volatile int a = 1; a += 1; a += 1; a += 1; for (;;); }}\n'
    options = "-g -O0 -ffreestanding -nostdlib -fno-pie -no-pie -Wl,-Ttext=0xe4671f0 -Wl,--build-id=none -x c".split()
    subprocess.run(["gcc", *options, "-o", "a.elf", "-"], input=source.encode(), check=True, cwd=tmp_path)
    words = ["triage", f"--elf={tmp_path}/a.elf", f"{tmp_path}/q.log"]
    told, wider = (Call(words, roots, WAIT_SECONDS).answer() for roots in ([tmp_path], [tmp_path, outside.parent]))
    assert f"{outside}:1" in told.text and "1 | secret" not in told.text + json.dumps(told.value)
    assert "1 | secret" in wider.text


def test_a_verb_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    told = Call(["explain"], [tmp_path], 0.0).answer()
    assert told.is_error and told.text.startswith("not done after 0 s")
