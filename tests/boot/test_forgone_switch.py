"""A guest that traces is not stopped at its switch: it runs as fast as without `run`, and its trace says more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from boot.fault_rows import FORMS
from boot.snapshot import at_loader
from boot.state_file import incoming

from cr3scope.images.elf_file import ElfFile
from cr3scope.qemu.command import read_command
from cr3scope.qemu.guest import watch
from cr3scope.qemu.outcome import Reason
from cr3scope.qemu.switch_look import SwitchLook
from cr3scope.qemu.switch_stop import SwitchStop

SECONDS = 60.0
REFUSES = f"{FORMS['kept']}\ninject=nx-upper-level\npreflight=stop"


@pytest.mark.parametrize(("config", "stops"), [(FORMS["kept"], 0), ("sinks=file", 1), (REFUSES, 0)], ids=["traces", "silent", "never switches"])
def test_only_a_guest_that_does_not_trace_is_looked_at(config: str, stops: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never comes to its switch shows that it is let go as it begins to trace, and not there."""
    command, snapshot = at_loader(tmp_path, config=config)
    forgone: list[SwitchStop] = []
    plain = SwitchStop.forgo
    monkeypatch.setattr(SwitchStop, "forgo", lambda self, qmp: (forgone.append(self), plain(self, qmp)))
    looked: list[Any] = []
    look = SwitchLook([ElfFile(snapshot.folder / "kernel.elf")])
    monkeypatch.setattr(SwitchLook, "look", lambda *_, **__: looked.append(True))
    outcome = watch(read_command([*command, *incoming(snapshot.state)]), tmp_path, SECONDS, at_switch=look)
    assert outcome.reason is (Reason.SAID_ALL if config is REFUSES else Reason.EXITED) and not outcome.notes, outcome
    assert (len(forgone), len(looked)) == (1 - stops, stops)
