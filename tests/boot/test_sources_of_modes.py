"""What a guest in each mode of paging leaves behind: a core and listings, each read as the tables that are in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from boot.modes.cases import state
from boot.modes.guest import STAY, STAYS, Cpu, Record, command
from boot.modes.memory import Image
from boot.modes.spaces import CR0, NXE, PAE, WP, Space, spaces
from boot.test_differential import read_until
from boot.test_listings import guest, save
from boot.verbs import cr3scope

from cr3scope.paging.effective import mappings
from cr3scope.x86.platform import Platform

CPU = Cpu(40, True, True, True, True, True)
NAMES = ("32-bit with PSE", "PAE", "PAE with NXE", "compatibility")
# One boot for a module and mode: one process asks for them all.
pytestmark = pytest.mark.xdist_group("modes")


class Left:
    """What is left of a guest that stays in a mode."""

    def __init__(self, folder: Path, image: Image, space: Space) -> None:
        self.folder, self.image, self.space = folder, image, space
        self.record = Record(CR0 | WP, space.root, space.cr4, space.efer | space.may_efer, image.free - 0x1000, 0, STAY, 0)

    @property
    def core(self) -> Path:
        return self.folder / "core"


@pytest.fixture(scope="module", params=NAMES)
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder, image = tmp_path_factory.mktemp("modes"), Image()
    space = next(one for one in spaces(image) if one.name == request.param)
    found = Left(folder, image, space)
    words = command(folder, image, [found.record], ("-accel", "tcg", "-cpu", "max", "-m", "36M"))
    with guest(folder, words) as (process, listener):
        read_until(process, STAYS)
        with closing(listener.accept()) as qmp:
            qmp.execute("stop")
            save(qmp, folder)
    yield found
    for each in folder.iterdir():
        each.unlink()


def answer_of(*words: str | Path, status: int = 0) -> dict[str, Any]:
    done = cr3scope(*words, "--json", "-")
    assert done.returncode == status, (words, done.returncode, done.stdout[:500], done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def efer(left: Left) -> tuple[str, ...]:
    """EFER stands in no core; NX is taken to be on."""
    return () if left.space.cr4 & PAE == 0 or left.record.efer & NXE else ("--efer", f"{state(left.space, left.record, CPU).efer:x}")


def test_a_core_tells_the_mode_and_maps_what_the_tables_do(left: Left) -> None:
    expected = mappings(left.image, state(left.space, left.record, CPU), Platform.TCG)
    told = answer_of("maps", left.core, *efer(left))
    assert told["paging"] == expected.mode.value
    assert [int(one["first"], 16) for one in told["mappings"]] == expected.first.tolist()
    assert [int(one["phys"], 16) for one in told["mappings"]] == expected.phys.tolist()
    assert [one["rights"] for one in told["mappings"]] == [expected.rights(row) for row in range(len(expected))]
    assert len(expected) > 20


def test_listings_of_the_same_guest_agree_with_its_core(left: Left) -> None:
    if left.space.cr4 & PAE and not left.record.efer & NXE:
        pytest.skip("NX is reserved then, and QEMU lists entries with reserved bits as if they mapped")
    for listing in ("info tlb", "info mem"):
        assert answer_of("diff", left.folder / listing, left.core, *efer(left))["equal"], listing


def test_a_walk_through_a_core_shows_the_levels_of_the_mode(left: Left) -> None:
    depth = {"32-bit": 2, "PAE": 3, "4-level": 4}
    told = answer_of("walk", left.core, "101234", *efer(left))
    assert (told["outcome"], told["phys"], len(told["levels"])) == ("translated", "0x101234", depth[told["paging"]])
    assert answer_of("walk", left.core, "102000", "--access", "w", *efer(left), status=1)["error_code"] == 3


def test_an_address_that_the_mode_does_not_have_is_one_line(left: Left) -> None:
    for verb, status in (("walk", 1), ("map", 0)):
        done = cr3scope(verb, left.core, "100000000")
        if left.space.name == "compatibility":
            assert done.returncode == status, "an address of 64-bit code, which maps nothing there"
        else:
            assert (done.returncode, done.stdout) == (2, "") and "an address has 32 bits" in done.stderr


def test_a_map_of_a_core_has_a_cell_for_each_entry_of_the_mode(left: Left) -> None:
    lines = cr3scope("map", left.core, "101234").stdout.splitlines()
    heads = [line.split()[0] for line in lines if "each cell" in line]
    assert heads == {"32-bit with PSE": ["PD", "PT"], "compatibility": ["PML4", "PDPT", "PD", "PT"]}.get(
        left.space.name, ["PDPT", "PD", "PT"]
    )
    assert any("0x101000; rw" in line for line in lines)


def test_an_image_of_the_memory_is_read_as_the_registers_say(left: Left) -> None:
    (left.folder / "image").write_bytes(left.image.file())
    now = state(left.space, left.record, CPU)
    registers = [word for name in ("cr0", "cr3", "cr4", "efer") for word in (f"--{name}", f"{getattr(now, name):x}")]
    image = answer_of("maps", left.folder / "image", "--base", "200000", *registers)
    assert image["mappings"] == answer_of("maps", left.core, *efer(left))["mappings"]
