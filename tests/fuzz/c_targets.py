"""The C parsers and writers under libFuzzer: built, given their first inputs, run, and their lines counted."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.acpi_tables import acpi_seeds
from boot.bad_inputs import newc
from fuzz.elves import tiny, with_note_segment
from fuzz.worker import MOST_SECONDS, ROOT, Tally

SOURCES = Path(__file__).resolve().parent / "c"
_MOST_BYTES = 4096
_BUILD_SECONDS = 300
# Of so many inputs, the first few are chosen by what numbers are compared with as well: dear, and what it finds is kept for the rest.
_ROUND, _LEARNING = 1_000_000, 50_000
_LATE = re.compile(rb"ALARM: .*?Test unit written to ([^\n]+)\n", re.DOTALL)
_EXECUTED = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_CONFIG = ("inject=nx-upper-level:pd,code-unmapped\npreflight=stop\nsafe_idt=off\nidentity=full\ndebugger=wait\nsinks=uart,debugcon,file\nuart_port=2f8\nserial=mmio:0xfe030000:4:1\ndebugcon_port=504\n"
           "trace_file=\\x.trc\nkernel=exit=none do=hlt\nidentity_pages=1g\nbreakpoint=on\nflip=ffffffff80000000:2:63\nfail_allocation=3\n# why\n")  # fmt: skip

# Behind width, height, padding and bits of a frame buffer, and the number of the picture: records and lines.
_WORDS = b"@c3s1 0 begin producer=loader version=0.1.0 #00000000\nwords for people\n@c3s1 1 d o=0 b=AAECAw== #00000000\n"
_SCREENS = (b"\x40\1\xa0\0\0\x20\0\0" + _WORDS, b"\x80\x02\xe0\x01\0\x20\0\0" + _WORDS + b"E")  # a usual one; a large one, which its sum may be


@dataclass(frozen=True)
class CTarget:
    """One program. ``parsers``: the files whose lines it must reach."""

    name: str
    parsers: tuple[str, ...]
    seeds: tuple[bytes, ...] = (b"\0" * 64,)


def targets() -> tuple[CTarget, ...]:
    """Return every C target, in the order in which they run."""
    archive = newc({"README": b"hello", "kernel.elf": bytes(64)})
    return (
        CTarget("cpio", ("loader/kernel/cpio.c",), (archive, archive[:150], newc({"README": b"hello"}))),
        CTarget("loader_elf", ("loader/kernel/elf.c", "loader/kernel/elf_notes.c", "loader/evidence/noted_accesses.c"), (tiny(), with_note_segment(tiny()))),
        CTarget("config", ("loader/config.c",), (_CONFIG.encode(), *(line.encode() for line in _CONFIG.split("\n")))),
        CTarget("acpi_serial", ("loader/evidence/acpi_serial.c",), tuple(acpi_seeds())),
        CTarget("loader_memory_map", ("loader/memory_map.c",)),
        CTarget("kernel_memory_map", ("kernel/memory_map.c",)),
        CTarget("kernel_options", ("kernel/options.c",), (b"exit=none do=hlt do=loop x", b"screen=on tss=busy tss=copied", b"do=hlt\0more")),
        CTarget("kernel_tables", ("kernel/tables.c",)),
        CTarget("preflight", ("trace/preflight.c",)),
        CTarget("dump", ("trace/dump.c", "trace/table_queue.c", "trace/table_stream.c", "trace/words.c", "trace/data_stream.c")),
        CTarget("records", ("trace/trace.c", "trace/memory.c", "trace/base64.c")),
        CTarget("screen", ("trace/screen.c", "trace/screen_sink.c", "trace/photo.c", "trace/photo_frames.c", "trace/photo_kept.c", "trace/qr.c"), _SCREENS),
    )


def build(form: str, name: str, folder: Path) -> Path:
    """Build ``libfuzzer/learning``, ``libfuzzer/counting``, ``replay`` or ``lines`` of a target below a build folder; return the program."""
    program = folder / "fuzz" / form / name
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    command = ["make", "--no-print-directory", "-s", f"BUILD={folder}", str(program)]
    made = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_BUILD_SECONDS)
    assert made.returncode == 0, f"make {program} failed:\n{made.stdout}"
    return ROOT / program


def run(target: CTarget, folder: Path, first: int, runs: int, seconds: float) -> Tally:
    """Fuzz until the time or the runs are used up, or something is found. What it learns stays in ``fuzz/inputs``."""
    tally, start = Tally(target.name), time.monotonic()
    programs = {learns: build(f"libfuzzer/{'learning' if learns else 'counting'}", target.name, folder) for learns in (True, False)}
    inputs, finds = inputs_of(target, folder), folder / "fuzz" / "finds"
    finds.mkdir(parents=True, exist_ok=True)
    seed = first + 1
    while (left := seconds - (time.monotonic() - start)) > 0 and tally.executions < runs:
        learns, most = stage(first + tally.executions)
        program = programs[learns]
        command = [str(program), f"-runs={min(most, runs - tally.executions)}", f"-max_total_time={max(int(left), 1)}", f"-seed={seed + tally.executions}", f"-max_len={_MOST_BYTES}",
                   f"-timeout={MOST_SECONDS:g}", "-rss_limit_mb=1024", f"-use_value_profile={int(learns)}", "-print_final_stats=1", f"-artifact_prefix={finds}/{target.name}-", str(inputs)]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=left + 120)
        executed = _EXECUTED.search(done.stdout)
        tally.executions += int(executed[1]) if executed else 0
        if not done.returncode and executed and int(executed[1]):
            continue
        late = _LATE.search(done.stdout)
        if late is not None and only_waited(program, Path(os.fsdecode(late[1]))):
            seed += 1
            continue
        (finds / f"{target.name}.why").write_bytes(done.stdout[-20000:])
        tally.add(_why(done.stdout), first)
        break
    tally.seconds = time.monotonic() - start
    return tally


def stage(number: int) -> tuple[bool, int]:
    """Return whether the input of this number is one that is learnt from, and how many more such, or other ones, follow with it."""
    at = number % _ROUND
    return (True, _LEARNING - at) if at < _LEARNING else (False, _ROUND - at)


def only_waited(program: Path, input_file: Path) -> bool:
    """Return whether an input that was late by the clock uses little of a processor; then the file is removed. libFuzzer knows the clock alone."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(program), "-timeout=600", str(input_file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode or used > MOST_SECONDS:
        return False
    input_file.unlink()
    return True


def _why(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").split("\n")
    return next((line for line in lines if "not so:" in line or "runtime error" in line or line.startswith("SUMMARY")), "it failed")


def inputs_of(target: CTarget, folder: Path) -> Path:
    """Return the folder of inputs, with the first ones in it."""
    inputs = folder / "fuzz" / "inputs" / target.name
    inputs.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds):
        (inputs / f"first-{number}").write_bytes(data)
    return inputs


def lines_of(target: CTarget, folder: Path, files: Sequence[Path]) -> tuple[int, int]:
    """Run the inputs in a program that counts; return how many of the parsers' lines were reached, and of how many."""
    program = build("lines", target.name, folder)
    for old in program.parent.glob(f"{target.name}-*.gcda"):
        old.unlink()
    for batch in _batches(files):
        subprocess.run([str(program), *map(str, batch)], cwd=ROOT, check=True, timeout=600)
    counted: dict[tuple[str, int], bool] = {}
    for data in sorted(program.parent.glob(f"{target.name}-*.gcda")):
        told = subprocess.run(["gcov", "--json-format", "--stdout", str(data)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
        for document in told.splitlines():
            for file in json.loads(gzip.decompress(document) if document[:2] == b"\x1f\x8b" else document)["files"]:
                if file["file"] in target.parsers:
                    for line in file["lines"]:
                        place = file["file"], line["line_number"]
                        counted[place] = counted.get(place, False) or line["count"] > 0
    return sum(counted.values()), len(counted)


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for at in range(0, len(files), 500):
        yield files[at : at + 500]
