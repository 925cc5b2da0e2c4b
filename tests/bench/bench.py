"""`make bench [BENCH=triage,maps]`: measures every figure that docs/performance.md claims, or some, each with its unit and its limit.

Exits 1 if a limit is broken. `make bench > FILE` keeps the table; progress goes to standard error.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gdb_commands
import listened
from many_maps import with_maps
from paged_guest import paged_guest
from short_guests import DIES, PARKS, boot_sector
from who import figures

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
BAUD_BITS_PER_BYTE = 10  # 8N1
RUNS = 5
PASTE_BYTES = 20_000
STORM_MEGABYTES = 266  # what NX in every PML4 entry under a full identity map once wrote
TABLES_AT = 16 << 20  # where the million entries lie in the guest's memory
MAPS_RUNS = 11
FUZZ_LOGS = 100_000
MANY_MAPS = 100_000
BOOTED = {"wire", "verdict", "report", "borders", "overhead", "tree", "many-maps"}  # need the captures of two boots

rows: list[tuple[str, float, str, float]] = []


def record(name: str, value: float, unit: str, limit: float) -> None:
    """One line of the table; ``limit`` is the largest value allowed."""
    rows.append((name, value, unit, limit))
    print(f"  {name}: {value:.3g} {unit}", file=sys.stderr, flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run_trace(folder: Path) -> None:
    """The verb as a user calls it, quiet."""
    subprocess.run(["make", "-s", "run-trace", f"RUN={folder}"], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)


def bare_boot(folder: Path) -> Callable[[], object]:
    """The same QEMU on the same image, with no log, no analysis: only the guest."""
    lines = subprocess.run([ROOT / "scripts/boot/qemu-command", folder, folder / "disk.img"],
                           capture_output=True, text=True, check=True, env=os.environ).stdout
    command = [*lines.splitlines(), "-serial", f"file:{folder}/bare.log", "-no-reboot"]
    return lambda: subprocess.run(command, check=False, timeout=120)


def bench_wire(capture: Path) -> None:
    """Sizes on the wire of the default boot."""
    lines = [line for line in capture.read_bytes().split(b"\n") if line.startswith(b"@c3s")]
    loader: list[bytes] = []
    for line in lines:
        loader.append(line)
        if line.split()[2] == b"end":
            break
    total = sum(len(line) + 1 for line in loader)
    dump, inside = 0, False
    for line in loader:
        kind = line.split()[2]
        inside = inside or kind == b"dump"
        dump += (len(line) + 1) * inside
        inside = inside and kind != b"dump-end"
    record("dump of both roots on the wire", dump, "bytes", 8 << 10)
    record("whole trace of the loader", total, "bytes", 20 << 10)
    record("the same at 115200 baud", total * BAUD_BITS_PER_BYTE / 115200, "s", 2.0)


def bench_incompressible() -> None:
    """Random tables: wire bytes against raw bytes, by the C dumper itself on the host."""
    program = BUILD / "host/measure_dump"
    subprocess.run(["make", "-s", program, f"BUILD={BUILD}"], cwd=ROOT, check=True)
    wire, raw = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    record("incompressible tables, wire over raw", int(wire) / int(raw), "x", 1.5)


def bench_verdict(*captures: Path) -> None:
    """`cr3scope analyze` as a whole process; and in turn with the import of numpy, so that a slow hour does not blur it."""
    numpy = [ROOT / "scripts/boot/python", "-c", "import numpy"]
    for capture in captures:
        command = [ROOT / "scripts/cr3scope", "analyze", capture, "--log", capture.parent / "interrupts.log",
                   "--elf", BUILD / "loader/loader.elf", "--elf", BUILD / "kernel/kernel.elf"]
        taken = [
            [seconds(partial(subprocess.run, one, stdout=subprocess.DEVNULL, check=False)) for one in (command, numpy)]
            for _ in range(RUNS + 1)
        ][1:]
        record(f"verdict of {capture.parent.name}, whole process", statistics.median(verdict for verdict, _ in taken), "s", 0.5)
        record("its time over import numpy", statistics.median(verdict / alone for verdict, alone in taken), "x", 3)


def bench_report(capture: Path) -> None:
    """`report.html` on top of its verdict: processor time and size."""
    for words, of, most_seconds, most_bytes in (([capture], "the page of a default boot", 0.3, 300_000),
                                               ([], "the page of a million entries", 3, 12_000_000)):
        command = [ROOT / "scripts/boot/python", ROOT / "tests/bench/report_page.py", *words]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/scripts/analyze"}
        told = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split() for _ in range(RUNS)]
        record(f"{of}, CPU time", statistics.median(float(one) for one, _ in told), "s", most_seconds)
        record("its size", int(told[0][1]), "bytes", most_bytes)


def bench_browser() -> None:
    """The page of a million entries in Chromium, as its own clock has it; skipped where there is none to drive."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/scripts/analyze"}
    command = [ROOT / "scripts/boot/python", ROOT / "tests/bench/browser.py"]
    told = [subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.split() for _ in range(RUNS)]
    if all(told):
        record("it is drawn in Chromium after", statistics.median(float(opened) for opened, _ in told), "s", 2)
        record("a frame of it while it is scrolled", statistics.median(float(frame) for _, frame in told) * 1000, "ms", 1000 / 30)


def bench_many_maps(capture: Path) -> None:
    """`cr3scope analyze` of a boot that asked for 100,000 ranges more, none of which is mapped: processor time."""
    grown = capture.with_name("many-maps.log")
    grown.write_bytes(with_maps(capture.read_bytes(), MANY_MAPS))
    times, memory = [], 0
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        memory = max(memory, _peak_memory(["analyze", grown], Path(os.devnull), 1))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    record(f"verdict of {MANY_MAPS} `map` records, CPU time", statistics.median(times), "s", 2)
    record("its memory at most", memory / 1024, "MB", 512)


def bench_borders(capture: Path) -> None:
    """How far a reader of one verdict's code has to jump."""
    words = [ROOT / "tests/bench/folder_borders.py", "analyze", capture]
    done = subprocess.run([ROOT / "scripts/boot/python", *words], check=True, capture_output=True, text=True)
    record("folders that one verdict goes to and from", int(done.stderr), "borders", 40)


def bench_overhead(folder: Path) -> None:
    """`make run-trace` against a bare boot of the same image, in turn, pair by pair."""
    bare = bare_boot(folder)
    ratios, traced, plain = [], [], []
    for _ in range(RUNS):
        plain.append(seconds(bare))
        traced.append(seconds(lambda: run_trace(folder.parent / "timed")))
        ratios.append(traced[-1] / plain[-1])
    record("bare boot", statistics.median(plain), "s", 60)
    record("make run-trace", statistics.median(traced), "s", 90)
    record("make run-trace over a bare boot", statistics.median(ratios), "x", 1.5)


def bench_triage(folder: Path) -> None:
    """`cr3scope triage` of a storm's log against `grep`, in turn, and of one that is ten times as long."""
    small, large = folder / "storm.log", folder / "storm10.log"
    for log, megabytes in ((small, STORM_MEGABYTES), (large, 10 * STORM_MEGABYTES)):
        subprocess.run([ROOT / "scripts/boot/python", ROOT / "tests/analyze/storm_log.py", log, str(megabytes)],
                       check=True)
    ours, grep, longer = [], [], []
    for _ in range(RUNS):
        # Not to /dev/null: grep then stops at the first match.
        grep.append(seconds(lambda: subprocess.run(["grep", "-c", "CR3=", small], check=True,
                                                   stdout=subprocess.PIPE)))
        ours.append(seconds(lambda: _triage(small)))
        longer.append(seconds(lambda: _triage(large)))
    record("triage of a 266 MB storm, whole process", statistics.median(ours), "s", 0.2)
    record("its memory at most", _triage(small) / 1024, "MB", 60)
    paste = folder / "paste.log"
    paste.write_bytes(small.read_bytes()[-PASTE_BYTES:])
    record("triage of the last 20 kB of it", statistics.median(seconds(lambda: _triage(paste)) for _ in range(RUNS)), "s", 0.15)
    record("its time over grep -c CR3=", statistics.median(ours) / statistics.median(grep), "x", 1)
    record("a log of 2.66 GB over one of 266 MB", statistics.median(longer) / statistics.median(ours), "x", 2)


def _triage(log: Path) -> int:
    """Runs the verb; its peak memory in KiB."""
    return _peak_memory(["triage", log], Path(os.devnull), 1)


def _peak_memory(arguments: list[str | Path], output: Path, expected: int) -> int:
    """Runs cr3scope, which must exit as expected; its peak memory in KiB."""
    with open(output, "wb") as file:
        process = subprocess.Popen([ROOT / "scripts/cr3scope", *arguments], stdout=file,
                                   stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit(f"bench: {arguments[0]} exits {process.returncode}, not {expected}")
    return usage.ru_maxrss


def bench_logs(folder: Path) -> None:
    """Random logs against the model of the CPU that wrote them: tests/analyze/logs/fuzz.py says which differ."""
    counts = [FUZZ_LOGS // (os.cpu_count() or 1)] * (os.cpu_count() or 1)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'scripts/analyze'}:{ROOT / 'tests'}"}
    running = [
        subprocess.Popen([ROOT / "scripts/boot/python", ROOT / "tests/analyze/logs/fuzz.py", str(number * count), str(count),
                          folder / f"fuzz{number}"], env=environment, stdout=subprocess.PIPE, text=True)
        for number, count in enumerate(counts)
    ]  # fmt: skip
    wrong = 0
    for process in running:
        said = process.communicate()[0]
        print(said, file=sys.stderr, end="")
        wrong += int(said.splitlines()[-1].split()[0])
    record(f"random logs of {sum(counts)} judged otherwise than meant", wrong, "logs", 0)


def bench_maps(folder: Path) -> None:
    """`cr3scope maps` of a million entries, and against `info tlb` on the same guest, in turn.

    Ours: pmemsave of the tables, then the whole process with its output in a file. QEMU's: from the
    command by QMP until the whole answer is read, undecoded.
    """
    tables, saved, output = folder / "million.img", folder / "saved.img", folder / "maps"
    subprocess.run([ROOT / "scripts/boot/python", ROOT / "tests/bench/million_pages.py", tables,
                    f"{TABLES_AT:x}"], check=True)
    source: list[str | Path] = ["maps", saved, "--base", f"{TABLES_AT:x}", "--cr3", f"{TABLES_AT:x}",
                                "--cr4", "20", "--efer", "d00"]
    memory: list[int] = []
    text, json, whole, tlb = [], [], [], []
    with paged_guest(tables, TABLES_AT) as guest:
        for _ in range(MAPS_RUNS):
            tlb.append(seconds(lambda: guest.monitor("info tlb")))
            save = seconds(lambda: guest.execute("pmemsave", val=TABLES_AT, size=tables.stat().st_size,
                                                 filename=str(saved)))
            output.unlink(missing_ok=True)  # to drop the pages of the last answer is not our work
            text.append(seconds(lambda: memory.append(_peak_memory(source, output, 0))))
            whole.append(save + text[-1])
            output.unlink()
            json.append(seconds(lambda: memory.append(_peak_memory([*source, "--json", "-"], output, 0))))
        in_gdb = gdb_commands.at_stub(guest.stub, folder / "gdb.script", ("maps",))
    record("maps of a million entries, text", statistics.median(text), "s", 0.4)
    record("the same, JSON", statistics.median(json), "s", 0.4)
    record("its memory at most", max(memory) / 1024, "MB", 300)
    record("maps over `info tlb` by QMP", statistics.median(whole) / statistics.median(tlb), "x", 1)
    record("gdb: maps of a million entries", in_gdb["maps"], "s", 3)


def bench_tree(folder: Path, capture: Path) -> None:
    """`cr3scope maps --tree`: of a million entries, and how many lines the default boot's space takes."""
    tables, output = folder / "tree.img", folder / "tree.txt"
    subprocess.run([ROOT / "scripts/boot/python", ROOT / "tests/bench/million_pages.py", tables, f"{TABLES_AT:x}"], check=True)
    source: list[str | Path] = ["maps", "--tree", tables, "--base", f"{TABLES_AT:x}", "--cr3", f"{TABLES_AT:x}", "--cr4", "20", "--efer", "d00"]
    memory: list[int] = []
    times = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        memory.append(_peak_memory(source, output, 0))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    record("maps --tree of a million entries, CPU time", statistics.median(times), "s", 0.4)
    record("its memory at most", max(memory) / 1024, "MB", 150)
    record("its lines", len(output.read_bytes().splitlines()), "lines", 50)
    _peak_memory(["maps", "--tree", capture], output, 0)
    record("lines of the default boot's tree", len(output.read_bytes().splitlines()), "lines", 50)


def bench_gdb(folder: Path) -> None:
    """gdb's commands right before the reference loader's switch, on OVMF's tables."""
    commands = ("check", "walk $pc", "maps", "maps --new", "diff", "handoff", f"save {folder / 'saved.core'}",
                "symbols", "step")
    took = _in_gdb(folder, commands, "stack-readonly")
    slowest = max(took.items(), key=lambda item: item[1])
    record(f"gdb: the slowest command on OVMF's tables ({slowest[0].split()[0]})", slowest[1], "s", 1)
    record("gdb: step of a healthy boot, until QEMU ends", _in_gdb(folder, ("step",), "")["step"], "s", 5)


def _in_gdb(folder: Path, commands: tuple[str, ...], inject: str) -> dict[str, float]:
    script = folder / "gdb.script"
    script.write_text(gdb_commands.script(commands))
    done = subprocess.run(
        [ROOT / "scripts/boot/python", ROOT / "scripts/gdb/debug.py", "--batch", "--commands", script, BUILD,
         folder / "gdb"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=gdb_commands.SECONDS, check=False,
        env={**os.environ, "INJECT": inject})
    return gdb_commands.times(done.stdout + done.stderr, commands)


def bench_faults() -> None:
    """Every row of the fault table in every form, as `make test-faults` boots them."""
    done: list[int] = []
    took = seconds(lambda: done.append(subprocess.run(
        ["make", "-s", "test-faults"], cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode))
    if done[0]:
        raise SystemExit("bench: make test-faults failed")
    record("make test-faults", took, "s", 180)


def bench_ends(folder: Path) -> None:
    """How long after its last byte a guest is judged that parks, or dies, until the process of the verb is gone."""
    for what, end, limit in (("parks", PARKS, 3.0), ("dies of a triple fault", DIES, 1.0)):
        times = []
        for _ in range(RUNS):
            disk, run = folder / "sector.img", folder / "short"
            disk.write_bytes(boot_sector(end))
            subprocess.run([ROOT / "scripts/cr3scope", "run", "-o", run, "--", os.environ.get("QEMU") or "qemu-system-x86_64",
                            "-display", "none", "-drive", f"format=raw,file={disk}"], stdout=subprocess.DEVNULL, check=False)
            times.append(time.time() - (run / "serial.log").stat().st_mtime)
        record(f"verdict on a guest after it {what}", statistics.median(times), "s", limit)


def bench_who(folder: Path) -> None:
    """What it costs to keep who wrote what."""
    place = folder / "who"
    place.mkdir()
    for row in figures(place, BUILD):
        record(*row)


def bench_listen(folder: Path) -> None:
    """A console at full speed."""
    for row in listened.figures(folder):
        record(*row)


def groups(folder: Path, healthy: Path, faulty: Path) -> dict[str, Callable[[], None]]:
    """What `make bench BENCH=NAME,NAME` chooses from, in the order in which it runs."""
    return {
        "wire": lambda: bench_wire(healthy),
        "incompressible": bench_incompressible,
        "verdict": lambda: bench_verdict(healthy, faulty),
        "report": lambda: bench_report(healthy),
        "browser": bench_browser,
        "borders": lambda: bench_borders(healthy),
        "overhead": lambda: bench_overhead(healthy.parent),
        "ends": lambda: bench_ends(folder),
        "who": lambda: bench_who(folder),
        "listen": lambda: bench_listen(folder),
        "triage": lambda: bench_triage(folder),
        "logs": lambda: bench_logs(folder),
        "maps": lambda: bench_maps(folder),
        "tree": lambda: bench_tree(folder, healthy),
        "gdb": lambda: bench_gdb(folder),
        "faults": bench_faults,
        # Last: a child's peak is at least that of the process that starts it.
        "many-maps": lambda: bench_many_maps(healthy),
    }


def main() -> int:
    """Runs all, or what the first argument names; prints a Markdown table."""
    with tempfile.TemporaryDirectory() as name:
        healthy, faulty = Path(name) / "healthy", Path(name) / "faulty"
        known = groups(Path(name), healthy / "serial.log", faulty / "serial.log")
        chosen = [one for one in "".join(sys.argv[1:2]).split(",") if one] or list(known)
        if unknown := [one for one in chosen if one not in known]:
            print(f"make bench: nothing is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
            return 2
        if set(chosen) & BOOTED:
            run_trace(healthy)
            subprocess.run(["make", "-s", "run-trace", f"RUN={faulty}", "INJECT=nx-upper-level"], cwd=ROOT,
                           check=False, stdout=subprocess.DEVNULL)
        for one, measure in known.items():
            if one in chosen:
                measure()
    print("| figure | value | unit | limit | |\n|---|---:|---|---:|---|")
    for what, value, unit, limit in rows:
        print(f"| {what} | {value:.3g} | {unit} | {limit:g} | {'ok' if value <= limit else 'OVER'} |"
              if value < 1000 else
              f"| {what} | {value:.0f} | {unit} | {limit:g} | {'ok' if value <= limit else 'OVER'} |")
    return int(any(value > limit for _, value, _, limit in rows))


if __name__ == "__main__":
    sys.exit(main())
