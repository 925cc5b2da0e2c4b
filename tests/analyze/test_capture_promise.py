"""Whether a section of the kernel's was due, which the loader may leave out and the kernel's file may tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boot_builder as b
import pytest
import tiny_elf
from boot_builder import healthy

from cr3scope.images.elf_file import ElfFile
from cr3scope.images.symbols import Symbols
from cr3scope.input.capture.records import Capture, ElfRecord
from cr3scope.render.message import plain
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict


def judged(file: Path, *, of: Path | None = None, is_unpromised: bool = False, promises_nothing: bool = True) -> Verdict:
    """The verdict on a boot of a kernel, with its file; ``of``: the file that the loader tells of, if it is another."""
    scene = healthy()
    boot = scene.capture().boots[0]
    size = (of or file).stat().st_size
    boot.elfs = [ElfRecord(0, "kernel.elf", b.ENTRY, size, 62, None, None if is_unpromised else False)]
    boot = replace(boot, promises_nothing=promises_nothing, is_unpromised=is_unpromised, complete=not is_unpromised)
    return analyze(Capture(boots=[boot]), lines=Symbols(boot.images, [ElfFile(file)]))


def kernel(folder: Path, notes: bytes) -> Path:
    return tiny_elf.write(folder / "kernel.elf", b.ENTRY, [(b.ENTRY, 5, b"\xf4", 1)], notes)


TRACES, SILENT = tiny_elf.flags(1), tiny_elf.flags(0)


@pytest.mark.parametrize("notes", [TRACES, SILENT + TRACES, tiny_elf.declares(b.ENTRY, 0, 1) + TRACES])
def test_a_kernel_whose_file_says_that_it_traces_was_not_heard(notes: bytes, tmp_path: Path) -> None:
    verdict = judged(kernel(tmp_path, notes))
    assert (verdict.status, verdict.exit_status) == (Status.INCOMPLETE, 2)
    assert any("by its file the kernel goes on with the trace" in plain(said.message) for said in verdict.diagnostics)


@pytest.mark.parametrize("notes", [b"", SILENT, TRACES + SILENT, TRACES.replace(b"CR3SCOPE", b"cr3scope")])
@pytest.mark.parametrize("is_unpromised", [False, True])
def test_one_whose_file_says_that_it_does_not_is_well(notes: bytes, is_unpromised: bool, tmp_path: Path) -> None:
    verdict = judged(kernel(tmp_path, notes), is_unpromised=is_unpromised)
    assert (verdict.status, [plain(said.message) for said in verdict.diagnostics]) == (Status.HEALTHY, [])


def test_the_file_of_another_kernel_says_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.elf"
    other.write_bytes(bytes(8000))
    assert judged(kernel(tmp_path, TRACES), of=other).status is Status.HEALTHY
    verdict = judged(kernel(tmp_path, b""), of=other, is_unpromised=True)
    assert verdict.status is Status.INCOMPLETE
    assert any("its `elf` record does not tell" in plain(said.message) for said in verdict.diagnostics)


def test_where_the_kernels_section_came_or_is_due_its_file_is_not_asked(tmp_path: Path) -> None:
    assert judged(kernel(tmp_path, TRACES), promises_nothing=False).status is Status.HEALTHY


def test_a_file_with_damaged_notes_is_refused_in_a_line(tmp_path: Path) -> None:
    from cr3scope.errors import UnusableInput

    with pytest.raises(UnusableInput, match="kernel.elf: damaged ELF notes: the note at its byte 0x0 reaches beyond its end"):
        judged(kernel(tmp_path, TRACES[:-3]))
