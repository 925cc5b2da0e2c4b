"""Logs of exceptions: what a model of the CPU writes, judged by what it meant; and the same damaged."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from unittest import mock

from analyze import test_logs_kvm as kvm
from analyze import test_logs_linux_oops as oops
from analyze import test_logs_own_words as own
from analyze import test_logs_virtualbox as virtualbox
from analyze import test_logs_xen as xen
from analyze.logs import fuzz as model
from analyze.test_logs_damage import TEXTS
from fuzz.noise import damaged, damaged_text
from fuzz.target import Case, Target, require, verdict_of

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.formats.qemu_int import by_boot, observe
from cr3scope.input.logs.int_log import log_filter, storm, switch
from cr3scope.input.logs.int_log.log_filter import LogFilter
from cr3scope.input.logs.int_log.marker import MARKER
from cr3scope.input.logs.int_log.storm import StormDetector
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.message import plain
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status, Verdict

_SEEDS = 1 << 40
_DIED = re.compile(rb"^Triple fault\r?$", re.MULTILINE)
_PLACE = re.compile(rb"^[ER]IP=([0-9a-f]+)", re.MULTILINE)
_BIOS = range(0xE0000, 0x100000)  # SeaBIOS resets the machine by a triple fault of its own
_PASTES = (
    "!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!\nExceptionData - 0000000000000002  I:0 R:0 U:0 W:1 P:0 PK:0 SS:0 SGX:0\n"
    "RIP  - 000000000E3A60F3, CS  - 0000000000000038, RFLAGS - 0000000000000046\nCR0  - 0000000080010033, CR2 - FFFF900000000000, CR3 - 000000000E531000\n"
    "!!!! Find image based on IP(0xE3A60F3) app.efi (ImageBase=000000000E3A5000) !!!!\n",
    "BUG: unable to handle page fault for address: ffff900000000000\n#PF: supervisor write access in kernel mode\n#PF: error_code(0x0002) - not-present page\n"
    "PGD 100000067 P4D 100000067 PUD 0\nOops: 0002 [#1] PREEMPT SMP NOPTI\nCPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0 #1\nRIP: 0010:init+0x12/0x34\n"
    "RSP: 0018:ffffc90000013e40 EFLAGS: 00010246\nRAX: 0000000000000000 RBX: 0000000000000000 RCX: 0000000000000000\n"
    "CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033\nCR2: ffff900000000000 CR3: 000000000220a000 CR4: 00000000000006f0\nKernel panic - not syncing: Fatal exception\n",
    "00071521193e[CPU0  ] exception(): 3rd (13) exception with no resolution, shutdown status is 00h, resetting\n00071521193i[CPU0  ] CPU is in long mode (active)\n"
    "00071521193i[CPU0  ] | RAX=0000000000000000  RBX=0000000000000000\n00071521193i[CPU0  ] | RIP=0000000000100010 (0000000000100010)\n"
    "00071521193i[CPU0  ] | CR0=0xe0000011 CR2=0xffff900000000000\n00071521193i[CPU0  ] | CR3=0x00001000 CR4=0x00000020\n",
    "KVM internal error. Suberror: 1\nemulation failure\nEAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663\nESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000\n"
    "EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\nCR0=80010033 CR2=0000000000001234 CR3=000000000e531000 CR4=00000668\n",
    kvm.OLD.format(0xBFEFC) + kvm.DUMP,
    kvm.NEW + kvm.DUMP,
    f"{virtualbox.GURU}\n{virtualbox.LONG}",
    f"{virtualbox.GURU}\n{virtualbox.SHORT}",
    "(XEN) *** DOUBLE FAULT ***\n(XEN) ----[ Xen-4.17  x86_64  debug=n  Not tainted ]----\n(XEN) CPU:    0\n(XEN) RIP:    e008:[<ffff82d040200000>] f+0x10/0x20\n"
    "(XEN) rax: 0000000000000000   rbx: 0000000000000000   rcx: 0000000000000000\n(XEN) cr3: 000000007e8b1000   cr2: ffff900000000000\n(XEN) Panic on CPU 0:\n",
    *TEXTS.values(), *own.ALL, *own.PROSE, *oops.ALL, xen.HYPERVISOR, xen.GUEST, xen.NEWER, xen.OLDER, xen.BOUNCE,
)  # fmt: skip
_SHORTER = {"HEAD_BYTES": 1 << 12, "WINDOW_BYTES": 1 << 11, "TAIL_BYTES": 1 << 13}  # what of a long log is kept
_STORM = 20  # records


@contextmanager
def kept_as_file(data: bytes, suffix: str = ".log") -> Iterator[Path]:
    """Give the bytes a file, for readers that map one."""
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=suffix) as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def _make_meant(rng: Random) -> Case:
    case = model.make(rng.randrange(_SEEDS))
    return Case(case.text.encode(), ".log", {"case": case})


def _check_meant(case: Case) -> None:
    meant = case.meant["case"]
    assert isinstance(meant, model.Case)
    with kept_as_file(b"") as path:
        found = model.differences(meant, path)
        require(not found, "; ".join(found))
        _observed(rng=Random(case.data), meant=meant, path=path)
    _shortened(case.data)


def _observed(rng: Random, meant: model.Case, path: Path) -> None:
    """As the log of a boot whose switch is known, and as a long one of which not all is read."""
    roots = {each.cpu.cr3 for told in meant.meaning.told for each in told.fatals} or {0x1000}
    cr3 = rng.choice(sorted(roots))
    from_start = rng.choice((1 << 12, 1 << 23))
    with mock.patch.multiple(switch, _FROM_START=from_start, _PROBE=1 << 11), suppress(UnusableInput):
        report = observe(path, cr3)
        notes = " ".join(map(plain, report.notes))
        others = None if report.fatal is None or report.fatal.cr3 == cr3 else report.fatal.cr3
        require(others is None or "never stands in the log" in notes, f"told as under {cr3:#x} is what came under {others}")
        with LogFile(path) as log:
            boots = by_boot(log, [cr3] * rng.randrange(1, 4))
            require(boots is None or all(isinstance(each.records, int) for each in boots), "no report of a boot")


def _shortened(data: bytes) -> None:
    """As it is kept while it grows: the head, the end and what is around each new CR3, all of it the log's own."""
    out, detector = io.BytesIO(), StormDetector()
    with mock.patch.multiple(log_filter, **_SHORTER), mock.patch.object(storm, "STORM_RECORDS", _STORM):
        kept = LogFilter(out)
        for at in range(0, len(data), 1 << 11):
            found = detector.feed(kept.feed(data[at : at + (1 << 11)]))
            require(found is None or b"%x" % found.rip in data, "a storm at an address that does not stand in the log")
        kept.finish()
    short = out.getvalue()
    require(data.startswith(short[: _SHORTER["HEAD_BYTES"]]), "the head of a log is not kept")
    _, _, whole_lines = data[-_SHORTER["TAIL_BYTES"] :].partition(b"\n")
    require(short.endswith(whole_lines), "the end of a log is not kept")
    others = set(short.splitlines()) - set(data.splitlines())
    require(all(MARKER in line for line in others), "a line that the log does not hold")


def _make_damaged(rng: Random) -> Case:
    text = rng.choice(_PASTES) if rng.random() < 0.4 else model.make(rng.randrange(_SEEDS)).text
    if rng.random() < 0.3:
        text += rng.choice(_PASTES)
    data = damaged_text(rng, text).encode("utf-8", "surrogatepass")
    data = damaged(rng, data) if rng.random() < 0.3 else data
    if rng.random() < 0.08:
        data = b"\xff\xfe" + data.decode("latin-1").encode("utf-16-le")[: rng.choice((-1, 1 << 20))]
    return Case(data, ".log", {"page": rng.random() < 0.02})


def _check_damaged(case: Case) -> None:
    def judged() -> Verdict:
        with kept_as_file(case.data) as path, LogFile(path) as log:
            return judge_log(read_story(log))

    shortened = io.BytesIO()
    kept = LogFilter(shortened)
    for at in range(0, len(case.data), 1 << 12):
        kept.feed(case.data[at : at + (1 << 12)])
    kept.finish()
    require(shortened.getvalue().rstrip(b"\n") == case.data.rstrip(b"\n"), "a short log is shortened")
    _shortened(case.data)
    verdict, _ = verdict_of(judged, bool(case.meant.get("page")))
    if verdict is not None and verdict.status is Status.HEALTHY and verdict.observation is not None and verdict.observation.boots == 1:
        require(not _has_died(case.data), "HEALTHY, although the only boot ends with QEMU's `Triple fault`")


def _has_died(data: bytes) -> bool:
    """Return whether a CPU that stood outside the BIOS came to a triple fault."""
    for death in _DIED.finditer(data):
        *_, last = (None, *_PLACE.finditer(data, 0, death.start()))
        if last is None or int(last[1], 16) not in _BIOS:
            return True
    return False


LOG = Target("log", _make_meant, _check_meant, ("input/logs/int_log", "input/logs/formats/qemu_int.py", "input/logs/delivery.py"))
DAMAGED_LOG = Target("damaged-log", _make_damaged, _check_damaged, ("input/logs", "render/chain.py"))
