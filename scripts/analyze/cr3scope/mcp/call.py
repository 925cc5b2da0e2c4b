"""One call: the verb in a process of its own, so that it can be ended, and whatever it prints stays apart from the protocol."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from cr3scope import limits
from cr3scope.dataclass import dataclass

_PACKAGES = Path(__file__).resolve().parent.parent.parent
# Not `-m`: that would look for modules in the folder where the client works.
_START = "import sys, runpy; sys.path[0] = sys.argv.pop(1); runpy.run_module('cr3scope.cli.called', run_name='__main__')"
_WAIT_SECONDS = 0.5
_JSON, _PAGE = "answer.json", "report.html"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb said. ``value``: its JSON, None where there is none or too much; ``page``: its HTML page."""

    is_error: bool
    text: str
    value: object = None
    page: str | None = None


class Call:
    """A verb that can be ended from another thread."""

    def __init__(
        self, words: Sequence[str], roots: Sequence[Path], seconds: float, with_page: bool = False, beat: Callable[[str], None] = lambda _doing: None
    ) -> None:
        """``roots``: absolute; it works in the first of them, and reads lines of source below all of them. ``beat`` is told now and
        then what is being done."""
        self._words, self._roots, self._seconds, self._with_page, self._beat = words, roots, seconds, with_page, beat
        self._ended = threading.Event()

    @property
    def is_ended(self) -> bool:
        """Return whether nobody waits for the answer any more."""
        return self._ended.is_set()

    def end(self) -> None:
        """Let the process end, and with it whatever it has started; the thread that waits for it sees to that."""
        self._ended.set()

    def await_turn(self, turns: threading.Semaphore) -> bool:
        """Wait until so many other calls are done that this one may begin; return False if nobody waits for it any more."""
        while not turns.acquire(timeout=_WAIT_SECONDS / 5):
            self._beat(f"{self._words[0]} waits: {limits.MCP_CALLS} calls are at work")
            if self.is_ended:
                return False
        return True

    def answer(self) -> Answer:
        """Run the verb to its end and return what it said. The thread that calls this must live as long as the process."""
        with tempfile.TemporaryDirectory(prefix="cr3scope-mcp-") as kept:
            targets = [f"--json={kept}/{_JSON}", *([f"--html={kept}/{_PAGE}"] if self._with_page else [])]
            verb, *rest = self._words
            command = [sys.executable, "-c", _START, str(_PACKAGES), str(os.getpid()), kept, *map(str, self._roots), "--", verb, *targets, *rest]
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONSTARTUP"} | {"NO_COLOR": "1"}
            try:
                process = subprocess.Popen(
                    command, cwd=self._roots[0], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                return Answer(True, f"{verb}: {error.strerror}")
            with process:
                out, err, why = self._listen(process)
            return self._told(process.returncode, out, err, why, Path(kept))

    def _listen(self, process: subprocess.Popen[bytes]) -> tuple[_Kept, _Kept, str]:
        """What it prints until its end, and why it was ended, if it was."""
        assert process.stdout is not None and process.stderr is not None
        kept: dict[IO[bytes], _Kept] = {process.stdout: _Kept(), process.stderr: _Kept()}
        until, why = time.monotonic() + self._seconds, ""
        with selectors.DefaultSelector() as selector:
            for stream in kept:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                if self.is_ended or time.monotonic() > until:
                    why = "ended" if self.is_ended else f"not done after {self._seconds:g} s"
                    _end(process)
                    break
                self._beat(f"{self._words[0]} is at work")
                for key, _ in selector.select(_WAIT_SECONDS / 5):
                    piece = os.read(key.fd, limits.MCP_READ_BYTES)
                    if piece:
                        kept[key.fileobj].add(piece)  # type: ignore[index]
                    else:
                        selector.unregister(key.fileobj)
        if not why:
            try:
                process.wait(limits.MCP_END_SECONDS)
            except subprocess.TimeoutExpired:
                _end(process)
        return kept[process.stdout], kept[process.stderr], why

    def _told(self, status: int, out: _Kept, err: _Kept, why: str, kept: Path) -> Answer:
        said = _words(err.text())
        value, remark = _json(kept / _JSON)
        texts = [why, out.text().rstrip(), said, remark]
        if why or status not in (0, 1):
            return Answer(True, "\n".join(filter(None, texts)) or f"ended with status {status}", value)
        page, remark = _page(kept / _PAGE) if self._with_page else (None, "")
        return Answer(False, "\n".join(filter(None, [*texts, remark])), value, page)


def _words(complaints: str) -> str:
    """What standard error says, without the name of the command and how it is called."""
    said = complaints.replace("cr3scope: ", "").strip()
    return said.rpartition(": error: ")[2] if said.startswith("usage:") else said


class _Kept:
    """The beginning of what was printed, and how much there was."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._kept = self._all = 0

    def add(self, piece: bytes) -> None:
        room = limits.MCP_TEXT_BYTES - self._kept
        if room > 0:
            self._pieces.append(piece[:room])
            self._kept += len(piece[:room])
        self._all += len(piece)

    def text(self) -> str:
        text = b"".join(self._pieces).decode(errors="replace")
        left = self._all - self._kept
        if not left:
            return text
        return f"{text[: text.rfind(chr(10)) + 1] or text}... {left} more bytes of text are left out"


def _json(path: Path) -> tuple[object, str]:
    """The document, and a remark where it cannot be given."""
    try:
        size = path.stat().st_size
        if size > limits.MCP_JSON_BYTES:
            return None, f"the JSON of this answer has {size} bytes, and is left out: past {limits.MCP_JSON_BYTES} (of maps: ask with tree, or walk)"
        return json.loads(path.read_bytes()), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as error:
        return None, f"the JSON of this answer cannot be read: {error}"


def _page(path: Path) -> tuple[str | None, str]:
    try:
        if path.stat().st_size > limits.MCP_PAGE_BYTES:
            return None, f"the page has {path.stat().st_size} bytes, and is left out: `cr3scope analyze --html FILE` writes it"
        return path.read_text(), ""
    except (OSError, ValueError) as error:
        return None, f"the page cannot be read: {error}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM first: a run then ends its QEMU and clears away. One that does not is killed, and its QEMU ends with it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(limits.MCP_END_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
