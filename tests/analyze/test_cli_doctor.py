"""`cr3scope doctor`: where an internal error comes from, and nothing about whose machine it is."""

from __future__ import annotations

import codecs
import getpass
import json
import os
import platform
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cr3scope import __version__
from cr3scope.cli import doctor_looks, left_out, main as frame
from cr3scope.cli.doctor_error import told_error
from cr3scope.cli.doctor_messages import _MESSAGES, told_message
from cr3scope.cli.left_out import told_command, told_encoding
from cr3scope.cli.main import VERBS, main, parser_of
from cr3scope.cli.settings import SETTINGS
from cr3scope.cli.verb_parser import VerbParser
from cr3scope.places import PACKAGE

MARK = "hunter2"


def put_verb(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Let `maps` do this work."""

    def add_parser(subparsers: Any) -> None:
        parser = subparsers.add_parser("maps")
        parser.add_argument("source", nargs="?")
        parser.set_defaults(run=lambda _: work())

    real = frame._module
    monkeypatch.setattr(frame, "_module", lambda verb: SimpleNamespace(add_parser=add_parser) if verb == "maps" else real(verb))


def report_of(monkeypatch: pytest.MonkeyPatch, folder: Path, work: Callable[[], object]) -> list[str]:
    """The lines of the report on a verb that does this work."""
    put_verb(monkeypatch, work)
    assert main(["doctor", "--report", str(folder / "report"), "--", "maps"]) == 0
    return (folder / "report").read_text().splitlines()


def fail(error: Exception) -> object:
    raise error


def test_the_report_of_an_internal_error_has_its_place_and_leaves_out_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"CR3SCOPE_{MARK}", "1")
    monkeypatch.setenv("CR3SCOPE_DOCS", MARK)
    monkeypatch.setenv(MARK, MARK)
    where = f"{Path.home()}/{MARK}.log"
    put_verb(monkeypatch, lambda: fail(KeyError(f"no {where} of {getpass.getuser()} on {platform.node()}, see {tmp_path}\n\x1b[2J")))
    assert main(["doctor", "--report", str(tmp_path / "report"), "--", "maps", where]) == 0
    assert "read it before" in capsys.readouterr().out
    text = (tmp_path / "report").read_text()
    for words in (f"cr3scope {__version__}\n", "command: maps, with 1 more words\n", "internal error: KeyError: '[...]'\n", "cr3scope.cli.main, line", "in perform\n",
                  "    status: int = arguments.run(arguments)\n", "settings: CR3SCOPE_DOCS\n"):  # fmt: skip
        assert words in text
    for secret in (MARK, str(Path.home()) + "/", str(tmp_path), "\x1b"):
        assert secret not in text


def test_all_settings_that_the_package_reads_are_known() -> None:
    named = {name for file in PACKAGE.rglob("*.py") for name in re.findall(r'"(CR3SCOPE_[A-Z_]+)"', file.read_text())}
    assert named == set(SETTINGS)


def forms(parser: VerbParser) -> Iterator[list[str]]:
    """Command lines of a verb that hold the mark: as every word, and on every option that the verb has."""
    for form in ("{}", "-{}", "--{}", "--{}=x", "-x{}", "-pass:{}", "-o/home/{}", "-X{}", "-h{}", "@{}", "~/{}", "/home/{}/k", "%2Fhome%2F{}", "-1{}", "-{} b"):
        word = form.format(MARK)
        yield from ([word], ["--", word], ["x", word], [word, "x", word], ["--", "qemu", "-fw_cfg", f"name=opt/{word}", word], ["qemu", word])
    for option in (name for action in parser._actions for name in action.option_strings):
        for given in (option, option[:-1], option[: len(option) // 2 + 1]):
            yield from ([f"{given}={MARK}"], [given, MARK], [f"{given}{MARK}"], [given, f"-{MARK}"], [given, f"--{MARK}"], [given, "--", f"--{MARK}"])
            yield from ([MARK, given, MARK], [given, "-", f"-{MARK}", given, MARK], ["--", f"{option}-{MARK}"])


@pytest.mark.parametrize("verb", VERBS)
def test_no_command_line_tells_a_word_that_is_no_option_of_the_verb(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = parser_of(verb)
    monkeypatch.setattr(left_out, "parser_of", lambda _: parser)  # made once
    seen = 0
    for words in forms(parser):
        told = told_command([verb, *words])
        assert MARK not in told and told.startswith(verb), words
        seen += 1
    assert seen > 50


@pytest.mark.parametrize("first", [MARK, f"/home/{MARK}", f"-{MARK}", f"--{MARK}=x", "", "--", f"map{MARK}", f"maps/{MARK}", f"--version{MARK}", f"MAPS\n{MARK}"])
def test_a_first_word_that_is_no_verb_is_left_out(first: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--report", "-", "--", first, f"-{MARK}", "maps"]) == 0
    told = capsys.readouterr().out
    assert "command: [...], with 2 more words\n" in told
    assert MARK not in told


@pytest.mark.parametrize("words, told", [
    ("maps c --json=x --format svg -", "maps --json --format, with 3 more words"),
    ("maps --js x --for=svg c", "maps --json --format, with 2 more words"),  # as argparse takes what is cut
    ("maps --cr x", "maps, with 2 more words"),  # of several
    ("maps c -- --json", "maps, with 3 more words"),
    ("run -o/home/x --timeout 5 --who -- qemu -o x", "run -o --timeout --who, with 5 more words"),
    ("run --timeout 5 qemu --json x --who", "run --timeout, with 5 more words"),
    ("run -o -- qemu --who", "run -o, with 3 more words"),
    ("maps -hx --json", "maps --json, with 1 more words"),
])  # fmt: skip
def test_the_options_are_told_as_the_verb_calls_them(words: str, told: str) -> None:
    assert told_command(words.split()) == told


def own(value: int) -> int:
    return value


def unbound(is_there: bool = False) -> int:
    if is_there:
        value = 1
    return value


def chained() -> object:
    try:
        {}[MARK]
    except KeyError as error:
        raise ValueError(f"{error}, {MARK}") from error
    return None


def hidden_cause() -> object:
    try:
        int(MARK)
    except ValueError:
        raise IndexError(MARK) from None
    return None


class Broken(ValueError):
    def __str__(self) -> str:
        raise RuntimeError(MARK)


SECRETS = (MARK, f"hun'{MARK}", f"hun\"ter'{MARK}", f"hun\\{MARK}", f"hün\n{MARK}\x1b\u202e", f"{MARK}{{}}{{name}}", f"{MARK} " * 3000)
QUOTING: tuple[tuple[Callable[[str], object], str], ...] = (
    (int, "ValueError: invalid literal for int() with base [...]: [...]"),
    (lambda mark: int(mark.encode()), "ValueError: invalid literal for int() with base [...]: [...]"),
    (float, "ValueError: could not convert string to float: [...]"),
    (lambda mark: {}[mark], "KeyError: [...]"),
    (lambda mark: {}[mark.encode()], "KeyError: [...]"),
    (lambda mark: {}[mark, 1], "KeyError: [...]"),
    (lambda mark: getattr(None, mark), "AttributeError: 'NoneType' object has no attribute [...]"),
    (lambda mark: (mark.encode() + b"\xff").decode(), "UnicodeDecodeError: 'utf-8' codec can't decode byte [...] in position [...]: invalid start byte"),
    (lambda mark: fail(UnicodeEncodeError(mark, mark, 0, 9, mark)), "UnicodeEncodeError: [...] codec can't encode [...]"),
    (lambda mark: own(**{mark: 1}), "TypeError: [...]() got an unexpected keyword argument [...]"),
    (lambda mark: open(f"/none/{mark[:99]}"), f"FileNotFoundError: ENOENT, {os.strerror(2)}"),
    (lambda mark: fail(OSError(2, mark, mark)), f"FileNotFoundError: ENOENT, {os.strerror(2)}"),
    (lambda mark: fail(OSError(mark)), "OSError: [...]"),
    (lambda mark: fail(OSError(mark, mark)), "OSError: [...]"),
    (lambda mark: fail(OSError([mark], mark)), "OSError: [...]"),
    (lambda mark: fail(OSError(1 << 40, mark)), "OSError: [...]"),
    (lambda mark: fail(ValueError(mark)), "ValueError: [...]"),
    (lambda mark: fail(ValueError(mark, 1)), "ValueError: [...]"),
    (lambda mark: fail(Broken(mark)), "a kind of ValueError: [...]"),
    (lambda mark: fail(type(mark[:50].replace("\n", ""), (LookupError,), {"__module__": "builtins"})()), "a kind of LookupError"),
    (lambda mark: json.loads(f'{{"{MARK}" {MARK}'), "json.decoder.JSONDecodeError: Expecting ':' delimiter: line [...] column [...] (char [...])"),
    (lambda mark: SimpleNamespace(mark=mark).mark[9999999], "IndexError: string index out of range"),
    (lambda mark: struct.unpack("<Q", mark.encode()[:5]), "struct.error: unpack requires a buffer of [...] bytes"),
    (lambda mark: fail(ValueError(f"invalid literal for int() with base 10: 'x'\n{mark}")), "ValueError: invalid literal for int() with base [...]: [...]"),
)


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_nothing_that_an_exception_quotes_is_told(secret: str) -> None:
    for quote, told in QUOTING:
        with pytest.raises(Exception) as raised:
            quote(secret)
        lines = list(told_error(raised.value))
        assert lines[0].replace("'[...]'", "[...]") == f"internal error: {told}"
        assert not [line for line in lines if MARK in line or "hün" in line or "h\\xfcn" in line]


@pytest.mark.parametrize("work, told", [
    (unbound, "UnboundLocalError: "),
    (lambda: main(None, None), "TypeError: main() takes "),  # type: ignore[call-arg]
    (lambda: fail(AssertionError()), "AssertionError"),
    (lambda: [1][1:][0], "IndexError: list index out of range"),
    (lambda: 1 // (len("x") - 1), "ZeroDivisionError: "),
])  # fmt: skip
def test_what_quotes_nothing_is_told(work: Callable[[], object], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [line] = [line for line in report_of(monkeypatch, tmp_path, work) if line.startswith("internal error: ")]
    assert line.startswith(f"internal error: {told}")
    assert told.endswith(": ") <= (not line.endswith(": [...]"))


def test_no_message_tells_what_fills_it() -> None:
    for message in _MESSAGES:
        told = told_message(ValueError(message.replace("{name}", MARK).replace("{}", MARK)), ("known",))
        assert MARK not in told
        assert told == message.replace("{name}", "[...]").replace("{}", "[...]")
    assert told_message(ValueError("'"), ("known",)) == "[...]"
    assert told_message(ValueError("'known' object has no attribute 'known.known'"), ("known",)) == "'known' object has no attribute 'known.known'"


@pytest.mark.parametrize("message", [f"'{MARK}' {{}} 'known'", f"division by zero{MARK}", f"{MARK}division by zero", f"'known.{MARK}'", f"'known\\n{MARK}'", f"{MARK}() known", "'",
                                     f"'known' object is not {MARK} known", f"index 1 is out of bounds for axis {MARK} with size 9 with size 2 {MARK}"])  # fmt: skip
def test_a_message_that_is_like_a_known_one_tells_nothing_foreign(message: str) -> None:
    assert not {MARK, "9", "2"} & set(re.findall(r"\w+", told_message(ValueError(message), ("known",))))


def test_the_exceptions_that_one_came_of_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = report_of(monkeypatch, tmp_path, chained)
    assert [line for line in lines if line.startswith(("internal error", "came of"))] == ["internal error: ValueError: [...]", "came of: KeyError: '[...]'"]
    lines = report_of(monkeypatch, tmp_path, hidden_cause)
    assert not [line for line in lines if line.startswith("came of")]


@pytest.mark.parametrize("file", [f"/home/{MARK}/x.py", f"{MARK}.py", f"<{MARK}>", f"<frozen {MARK}>", f"<frozen {MARK}", "<frozen ", "", f"x\n{MARK}", f"{os.__file__}/{MARK}.py",
                                  f"{Path(os.__file__).parent}/{MARK}.py", f"{Path(os.__file__).parent}/site-packages/{MARK}.py", f"{PACKAGE}/../{MARK}/x.py", f"{PACKAGE}-{MARK}/x.py"])  # fmt: skip
def test_of_code_that_nobody_knows_nothing_is_told(file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As of a module that somebody's start-up file loads: its folder's name may be his own."""
    made: dict[str, Any] = {}
    exec(compile(f"def {MARK}():\n    raise ValueError({MARK!r})", file, "exec"), made)
    lines = report_of(monkeypatch, tmp_path, made[MARK])
    assert "    status: int = arguments.run(arguments)" in lines and lines[-1] == "  [...]"
    assert not [line for line in lines if MARK in line]


def test_places_in_python_and_libraries_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = report_of(monkeypatch, tmp_path, lambda: json.loads("{"))
    assert re.match(r"  json\.decoder, line \d+, in ", lines[-1])


@pytest.mark.parametrize("body, told", [
    ("None.misspelt", "AttributeError: 'NoneType' object has no attribute 'misspelt'"),
    ("{}['lacking']", "KeyError: 'lacking'"),
    ("print(of_no_module)", "NameError: name 'of_no_module' is not defined"),
    ("getattr(None, value)", "AttributeError: 'NoneType' object has no attribute '[...]'"),
])  # fmt: skip
def test_names_that_stand_in_the_code_are_told(body: str, told: str) -> None:
    made: dict[str, Any] = {}
    exec(compile(f"def work(value):\n    {body}", str(PACKAGE / "text.py"), "exec"), made)
    with pytest.raises(Exception) as raised:
        made["work"](MARK)
    assert next(told_error(raised.value)) == f"internal error: {told}"


def test_of_recursion_that_does_not_end_the_first_and_the_last_places_are_told() -> None:
    def deeper(depth: int) -> int:
        return deeper(depth - 1) if depth else int(MARK)

    with pytest.raises(ValueError) as raised:
        deeper(100)
    _, *places = told_error(raised.value)
    assert places == ["  [...]"] * 30 + ["  and 42 places more"] + ["  [...]"] * 30
    with pytest.raises(ValueError) as raised:
        deeper(58)
    assert list(told_error(raised.value))[1:] == ["  [...]"] * 60


def test_a_package_behind_a_link_is_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(PACKAGE)
    made: dict[str, Any] = {}
    exec(compile("def work():\n    raise ValueError()", f"{tmp_path}/link/text.py", "exec"), made)
    assert "  cr3scope.text, line 2, in work" in report_of(monkeypatch, tmp_path, made["work"])


def test_a_verb_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = frame._module
    monkeypatch.setattr(frame, "_module", lambda verb: real(verb) if verb != "maps" else fail(ModuleNotFoundError("No module named 'numpy'")))
    assert main(["doctor", "--", "maps", f"--{MARK}"]) == 0
    told = capsys.readouterr().out
    assert "command: maps, with 1 more words\ninternal error: ModuleNotFoundError: No module named 'numpy'\n" in told


@pytest.mark.parametrize("said, told", [
    (f"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-{MARK})\nof {MARK}", "qemu-system-x86_64 7.2.22"),
    (f"QEMU emulator version {MARK} 1.2.3", "qemu-system-x86_64 of unknown version"),
    (f"{MARK} 10.1.2.3", "qemu-system-x86_64 of unknown version"),
])  # fmt: skip
def test_of_a_version_only_the_number_is_told(said: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_looks.shutil, "which", lambda name: name)
    monkeypatch.setattr(doctor_looks, "_said", lambda _: said)
    monkeypatch.setattr(doctor_looks.metadata, "version", lambda _: f"1.26.0+{MARK}")
    lines = list(doctor_looks.versions())
    assert lines[-1] == told and "numpy 1.26.0" in lines


def test_an_encoding_is_told_by_its_own_name() -> None:
    def find(name: str) -> codecs.CodecInfo | None:
        return codecs.CodecInfo(str.encode, bytes.decode, name=name) if name == MARK else None  # type: ignore[arg-type]

    codecs.register(find)
    try:
        assert [told_encoding(name) for name in ("U8", "latin 1", MARK, "x\0", None, "")] == ["utf-8", "iso8859-1", *["[...]"] * 4]
    finally:
        codecs.unregister(find)


def test_what_a_command_prints_goes_nowhere_and_the_streams_are_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`mcp` keeps standard output for itself, and puts standard error in its place: 'wrote' went there."""

    def work() -> int:
        for descriptor in (1, 2):
            os.write(descriptor, MARK.encode())
        os.dup2(2, 1)
        print(f"{MARK}\udcff", file=sys.stderr)
        print(f"{MARK}\udcff")
        return 1

    before = [os.fstat(one)[:3] for one in (1, 2)]
    assert "it ended with status 1" in report_of(monkeypatch, tmp_path, work)
    assert [os.fstat(one)[:3] for one in (1, 2)] == before
    out, err = capfd.readouterr()
    assert MARK not in out + err and out.startswith("wrote ")


def test_help_that_is_asked_for_is_no_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--", "maps", "--help"]) == 0
    assert "command: maps --help, with 0 more words\nit ended with status 0\n" in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_command_it_tells_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"cr3scope {__version__}\nPython ") and "numpy " in told


def test_the_line_of_an_internal_error_names_the_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    put_verb(monkeypatch, lambda: fail(ZeroDivisionError("division by zero")))
    assert main(["maps", "x"]) == 2
    assert "`cr3scope doctor --report FILE -- VERB ...` writes a report" in capsys.readouterr().err


def test_a_command_that_is_refused_is_no_internal_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--", "analyze", str(tmp_path / "none")]) == 0
    assert "it was refused" in capsys.readouterr().out
