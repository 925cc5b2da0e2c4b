"""Each JSON that a verb prints has its schema below `docs/schema`: real outputs are valid, and hold no field that it does not tell of."""

from __future__ import annotations

import json
import re
import struct
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from analyze.ci_scenes import EVIL, faulting, hostile, incomplete, unexplained
from analyze.lint_files import Image, Kernel, written
from analyze.test_logs_damage import TEXTS
from analyze.test_rehearsal import rehearse
from analyze.test_sources_listing_cli import FORMS, MEMORY, put
from boot_builder import healthy
from trace_writer import CODE, ROOT as TABLES, golden

from cr3scope.cli.main import main
from cr3scope.input.capture.records import RehearsalRecord
from cr3scope.render import json as json_form
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

ROOT = Path(__file__).parents[2]
FOLDER, PACKAGE = ROOT / "docs" / "schema", ROOT / "scripts"
CAPTURES = ROOT / "tests" / "captures"
FAKE = str(Path(__file__).with_name("fake_qemu.py"))
_NAME = re.compile(r'"(cr3scope\.[a-z.-]+/[0-9]+)"')


def names() -> set[str]:
    """The name of each JSON that the code prints."""
    files = (file for file in PACKAGE.rglob("*.py"))
    return {name for file in files for name in _NAME.findall(file.read_text(encoding="utf-8"))}


def path_of(name: str) -> Path:
    return FOLDER / f"{name.replace('/', '-')}.json"


@cache
def schema_of(name: str) -> dict[str, Any]:
    return dict(json.loads(path_of(name).read_text(encoding="utf-8")))


def closed(schema: Any) -> Any:
    """The same, but that no object may have a field which it does not tell of."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else {}
    return {**{key: closed(each) for key, each in schema.items()}, **more}


@cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(closed(schema_of(name)))


def check(document: Any) -> None:
    errors = list(_validator(document["schema"]).iter_errors(document))
    assert not errors, [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in errors[:3]]


def test_each_schema_that_the_code_names_has_its_file() -> None:
    assert len(names()) >= 7
    assert {path_of(name).name for name in names()} - {file.name for file in FOLDER.glob("*.json")} == set()


@pytest.mark.parametrize("name", sorted(names()))
def test_a_schema_is_one_names_itself_and_lets_fields_be_added(name: str) -> None:
    from jsonschema import Draft202012Validator

    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == schema["properties"]["schema"]["const"] == name
    assert "additionalProperties" not in json.dumps(schema), "a field that is added would make old readers refuse it"


def test_statuses_and_endings_are_those_of_the_code() -> None:
    verdict = schema_of("cr3scope.verdict/1")
    assert verdict["properties"]["verdict"]["enum"] == [each.value for each in Status]
    assert set(verdict["$defs"]["observation"]["properties"]["outcome"]["enum"]) == {"ran", *(each.value for each in Ending)}


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    main([*map(str, words), "--json", "-"])
    return json.loads(capsys.readouterr().out)


def test_verdicts_of_captures_and_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for capture in sorted(CAPTURES.glob("*.trace")) + sorted(CAPTURES.glob("*.serial.log")):
        check(printed(capsys, "analyze", capture))
    log = tmp_path / "log"
    for content in (*(text.encode() for text in TEXTS.values()), *(path.read_bytes() for path in CAPTURES.glob("*.interrupts.log"))):
        log.write_bytes(content)
        check(printed(capsys, "triage", log))


def test_verdicts_made_by_hand() -> None:
    rehearsed = rehearse(healthy(), RehearsalRecord(0, 1, True, 14, 2, 0x1000, 0x1000), RehearsalRecord(0, 2, False, why="no stack"))
    refused = rehearse(healthy(), state="refused", why="no memory")
    for verdict in (faulting(), unexplained(), incomplete(), *map(hostile, EVIL), analyze(rehearsed.capture()), analyze(refused.capture())):
        check(json.loads(json_form.render(verdict)))


def test_verdicts_with_a_rehearsal() -> None:
    for records in ((RehearsalRecord(0, 2, True, 14, 0x11, 1, 1),), (RehearsalRecord(0, 2, False, why="no room"),)):
        scene = rehearse(healthy(), *records)
        check(json.loads(json_form.render(analyze(scene.capture()))))


@pytest.mark.parametrize("scenario", ["exit-33", "exit-35", "storm"])
def test_verdicts_of_runs(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "-o", str(tmp_path), "--no-who", "--json", "-", "--", sys.executable, FAKE, scenario])
    check(json.loads(capsys.readouterr().out))


def test_walks_maps_and_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "serial.log"
    capture.write_bytes(golden().data)
    image = tmp_path / "memory.bin"
    data = bytearray(0x6000)
    for phys, table in MEMORY.items():
        struct.pack_into("<512Q", data, phys, *(0 if number == 0 and phys != TABLES else value for number, value in enumerate(table)))
    image.write_bytes(data)
    listings = [put(tmp_path, form) for form in FORMS]
    for source in (capture, *listings):
        check(printed(capsys, "maps", source))
        if source not in listings:
            check(printed(capsys, "maps", source, "--tree"))
            for address in ((), (hex(CODE),), ("0",), ("ffff900000000000",)):
                check(printed(capsys, "map", source, *address))
        for address in (hex(CODE), "0", "fffff00000000000"):
            for access in "rwx":
                check(printed(capsys, "walk", source, address, "--access", access, "--user"))
        check(printed(capsys, "diff", capture, source))
        differences = printed(capsys, "diff", image, source, "--cr3", hex(TABLES))
        check(differences)
        assert differences["differences"]
    check(printed(capsys, "maps", capture, "--tree"))
    check(printed(capsys, "maps", image, "--cr3", hex(TABLES), "--tree"))
    check(printed(capsys, "map", image, "--cr3", hex(TABLES), hex(CODE)))


def test_rules_and_linted_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(printed(capsys, "explain"))
    check(printed(capsys, "explain", "nx-upper-level"))
    files = [written(tmp_path / "a", Kernel(entry=0).bytes()), written(tmp_path / "b", Image(section_alignment=0x200).bytes()), tmp_path / "absent"]
    check(printed(capsys, "lint", *files))


@pytest.mark.parametrize("path", ["/nowhere", "/usr/bin:/bin"])
def test_what_doctor_sees(path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", path)
    check(printed(capsys, "doctor"))


def test_a_field_that_no_schema_tells_of_is_noticed() -> None:
    document = json.loads(json_form.render(faulting()))
    document["findings"][0]["entry"]["new"] = 1
    with pytest.raises(AssertionError, match="findings/0"):
        check(document)
