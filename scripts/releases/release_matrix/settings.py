"""The settings of `make releases`, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release_matrix.errors import ReleasesError

SUITES = ("bookworm", "trixie", "sid")
# The names of Debian and of the kernel.
ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}
TESTS = {"quick": ("make", "quick"), "all": ("make", "test")}
# As `make test` does before and with pytest, for some of the files.
SOME_TESTS = (
    'make build/deps-test.stamp build test-programs && exec scripts/boot/python -m pytest -q -n 2 "$@"'
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what was asked for; `mirror` is None where the machine's own is taken.

    `emulated`: the architecture is not this machine's.
    """

    suites: tuple[str, ...]
    tests: tuple[str, ...]
    arch: str
    mirror: str | None
    refresh: bool
    emulated: bool = False

    @property
    def tests_title(self) -> str:
        """Return what the tests are called in progress and table: the verb, or the files."""
        return " ".join(self.tests if self.tests in TESTS.values() else ("pytest", *self.tests[4:]))


def read(environment: Mapping[str, str], tree: Path, machine: str) -> Settings:
    """Return the settings, defaults filled in; raise ReleasesError for a value that cannot be used.

    `machine`: the kernel's name of this machine's architecture, the default.
    """
    suites = tuple(dict.fromkeys(environment.get("SUITES", "").split())) or SUITES
    for suite in suites:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
            raise ReleasesError(f"SUITES: {suite!r} is not the name of a release, such as {' '.join(SUITES)}")
    arch = environment.get("ARCH", "") or next(
        (name for name, kind in ARCHES.items() if kind == machine), "amd64"
    )
    if arch not in ARCHES:
        raise ReleasesError(f"ARCH={arch}: {' or '.join(ARCHES)}")
    refresh = environment.get("REFRESH", "") or "0"
    if refresh not in ("0", "1"):
        raise ReleasesError(f"REFRESH={refresh}: 0 or 1")
    return Settings(
        suites=suites,
        tests=tests_command(environment.get("TESTS", "").strip() or "quick", tree),
        arch=arch,
        mirror=environment.get("MIRROR") or None,
        refresh=refresh == "1",
        emulated=ARCHES[arch] != machine,
    )


def tests_command(value: str, tree: Path) -> tuple[str, ...]:
    """Return the words that run the tests: `quick`, `all`, or the named files and folders under tests/."""
    if value in TESTS:
        return TESTS[value]
    paths = value.split()
    for path in paths:
        inside = (tree / path.split("::")[0]).resolve().is_relative_to((tree / "tests").resolve())
        if not inside or not (tree / path.split("::")[0]).exists():
            raise ReleasesError(f"TESTS={value}: {', '.join(TESTS)}, or files and folders under tests/")
    return ("sh", "-c", SOME_TESTS, "tests", *paths)
