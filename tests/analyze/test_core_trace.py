"""The trace that `save` puts into a core: used for the switch that it plans, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_builder import NX, core, cpu, memory

from cr3scope.cli.main import main
from cr3scope.input.sources.open import open_core_file
from cr3scope.input.sources.write_core import write_core

GOLDEN = Path(__file__).parent.parent / "captures/golden.trace"


def traced(folder: Path, trace: bytes) -> str:
    """A core whose switch faults, with a trace in it."""
    path = folder / "traced.core"
    pages = memory(veto=NX)
    path.write_bytes(write_core(cpu(), pages, trace=trace))
    return str(path)


def test_a_trace_of_another_switch_is_not_used_and_said_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", traced(tmp_path, GOLDEN.read_bytes())]) == 1
    told = capsys.readouterr().out
    assert "the core holds a trace, but of no plan of this switch: judged without it" in " ".join(told.split())
    assert "[nx-upper-level]" in told


def test_what_is_no_trace_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = traced(tmp_path, b"\x00\xffno trace")
    assert main(["analyze", file]) == 2
    assert capsys.readouterr().err.splitlines() == [f"cr3scope: no cr3scope record in {file}: the trace in it"]


def test_the_trace_comes_back_as_it_went_in(tmp_path: Path) -> None:
    trace = GOLDEN.read_bytes() + b"\r\n\0odd"
    assert open_core_file(Path(traced(tmp_path, trace))).trace == trace


def test_a_core_without_a_trace_says_nothing_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", core(tmp_path, memory(veto=NX))]) == 1
    assert "trace" not in capsys.readouterr().out
