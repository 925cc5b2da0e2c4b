"""What `make test` has just made is not asked of make again; whatever else a test asks for is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from boot import made, reference
from boot.test_foreign_loaders import AS_PE, LOADERS


def noted(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let a make have made files of these names in the build folder ``folder``."""
    (folder / "programs.made").write_text("\n".join(names) + "\n")
    monkeypatch.setenv(made.NOTES, str(folder / "programs.made"))


def test_make_is_started_for_what_no_note_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[object]] = []
    monkeypatch.setattr(reference, "BUILD", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: started.append(list(words)))
    noted(tmp_path, monkeypatch, "foreign/a.efi", "foreign/a.elf")
    make = reference.make.__wrapped__  # not what an earlier test has asked for
    assert make("foreign/a.efi") == tmp_path / "foreign/a.efi" and not started
    make("foreign/b.efi")
    assert [words[2] for words in started] == [tmp_path / "foreign/b.efi"]


def test_a_note_of_another_build_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, mine = tmp_path / "other", tmp_path / "mine"
    other.mkdir()
    mine.mkdir()
    noted(other, monkeypatch, "foreign/a.efi")
    assert made.made_before(other) == {"foreign/a.efi"} and not made.made_before(mine)
    monkeypatch.delenv(made.NOTES)
    assert not made.made_before(other)


def test_every_foreign_loader_and_its_twin_is_among_what_make_test_makes() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    words = ["make", "-npq", f"BUILD={reference.BUILD}", "foreign-programs"]
    told = subprocess.run(words, cwd=reference.ROOT, env=environment, capture_output=True, text=True).stdout
    [rule] = [line for line in told.splitlines() if line.startswith("foreign-programs:")]
    wanted = {f"foreign/{'pe/' if name in AS_PE else ''}{name}{twin}.efi" for name in LOADERS for twin in ("", ".mended")}
    made = {word.removeprefix(f"{reference.BUILD}/") for word in rule.split()}
    assert wanted <= made | {name.removesuffix(".elf") + ".efi" for name in made if name.endswith(".elf")}  # the recipe converts those
