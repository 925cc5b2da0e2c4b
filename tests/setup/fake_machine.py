"""A machine of which only PATH is made up: real small tools, and package managers that write down how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from boot.reference import ROOT

DEPS = ROOT / "scripts/boot/deps"
# What scripts/boot/deps and the scripts that it asks call, and what every machine has.
_TOOLS = (
    "sh",
    "awk",
    "cat",
    "chmod",
    "cp",
    "dirname",
    "env",
    "mktemp",
    "rm",
    "sed",
    "tail",
    "touch",
    "tr",
    "true",
)
# Commands that a row of the group `run` is found by.
RUN_COMMANDS = ("make", "gcc", "objcopy", "qemu-system-x86_64", "mcopy", "cpio", "python3")


class FakeMachine:
    """One folder as PATH; `calls` is what the fakes wrote down, in order."""

    def __init__(self, folder: Path, *, user: int = 0, machine: str = "x86_64") -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self._calls = folder / "calls"
        for tool in _TOOLS:
            real = shutil.which(tool)
            assert real, tool
            (self.bin / tool).symlink_to(real)
        self.add("id", f"echo {user}")
        self.add("uname", f"echo {machine}")

    def add(self, name: str, *lines: str) -> None:
        """Puts a command on PATH; without lines one that does nothing and succeeds."""
        file = self.bin / name
        file.write_text("\n".join(("#!/bin/sh", *lines, "")))
        file.chmod(0o755)

    def add_manager(self, name: str, *lines: str) -> None:
        """Puts a package manager on PATH that writes down its words, and then does what `lines` say."""
        self.add(name, f'echo "{name} $*" >>{self._calls}', *lines)

    def installing(self, *commands: str) -> str:
        """Yields the line with which a fake brings commands onto PATH, as a package would."""
        return "; ".join(f"cp {self.bin}/uname {self.bin}/{command}" for command in commands)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def deps(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("GNU_EFI", "OVMF"))
        }
        return subprocess.run(
            [DEPS, *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            env={**environment, "PACKAGE_MANAGER": "", "CR3SCOPE_PYTHON": str(self.bin / "python3"), **settings,
                 "PATH": str(self.bin)},
        )  # fmt: skip
