"""The typed records of one boot: docs/trace-format.md with text decoded and numbers parsed.

Pure data. Every record knows the ``line`` (1-based) of the capture on which it stood.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.dataclass import dataclass
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import ADDRESS_MASK

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class CpuRecord:
    """A ``cpu`` record: the registers at trace entry, or as planned right after ``mov cr3``."""

    line: int
    when: str
    registers: dict[str, int]  # every numeric field but maxphyaddr, by its key in the format
    max_phys_bits: int
    vendor: str
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class MemoryDescriptor:
    """One range of the firmware's memory map; ``first`` and ``last`` are byte addresses."""

    first: int
    last: int
    type: int
    attributes: int


@dataclass(frozen=True, slots=True)
class ImageRecord:
    line: int
    name: str
    base: int
    size: int
    build_id: str | None
    text: int
    text_size: int
    file: str | None


@dataclass(frozen=True, slots=True)
class ElfRecord:
    line: int
    name: str
    entry: int
    size: int
    machine: int
    build_id: str | None
    traces: bool | None = None  # by its notes the kernel goes on with the trace; None: older writers do not tell


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    line: int
    of: str
    index: int
    virt: int
    last: int
    phys: int | None  # None where nobody tells where it was loaded
    filesz: int
    memsz: int
    offset: int
    flags: str


@dataclass(frozen=True, slots=True)
class MapRecord:
    line: int
    name: str
    role: str
    virt: int
    last: int
    phys: int
    rights: str
    size: int
    type: str
    caller: int


@dataclass(frozen=True, slots=True)
class RegionRecord:
    line: int
    name: str
    role: str
    virt: int
    last: int
    phys: int | None


@dataclass(frozen=True, slots=True)
class TableRecord:
    line: int
    phys: int
    level: int
    parent: int
    caller: int


@dataclass(frozen=True, slots=True)
class SetRecord:
    line: int
    entry: int
    level: int
    index: int
    old: int
    new: int
    caller: int


@dataclass(frozen=True, slots=True)
class Dump:
    """A decoded page-table dump: each table page once."""

    line: int
    id: str
    cr3: int
    levels: int
    tables: dict[int, npt.NDArray[np.uint64]]  # phys of the page -> its 512 entries
    unreadable: frozenset[int]

    @property
    def root_is_unreadable(self) -> bool:
        """Return whether the writer could not read the top table: of what is behind it nothing is known."""
        return self.cr3 & ADDRESS_MASK in self.unreadable


@dataclass(frozen=True, slots=True)
class MemoryContents:
    """The bytes of a descriptor table or of code at ``virt``."""

    line: int
    name: str
    when: str
    virt: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PlanStep:
    line: int
    step: int
    name: str
    kind: AccessKind
    virt: int
    width: int
    rip: int
    align: int = 1  # bytes; an address that is no multiple of it is #GP(0)
    vector: int | None = None  # an INT instruction: fetched, then delivered through the IDT


@dataclass(frozen=True, slots=True)
class LoadedRecord:
    """What the writer found when it compared a segment in memory with its file, right before the
    switch: the first byte that is not the file's, and the first of [filesz, memsz) that is not 0."""

    line: int
    of: str
    index: int
    differs: int | None  # virtual addresses
    nonzero: int | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call into the firmware. ``after_exit``: ExitBootServices had succeeded by then."""

    line: int
    what: str
    after_exit: bool


@dataclass(frozen=True, slots=True)
class PreflightRecord:
    line: int
    step: int
    ok: bool
    vector: int | None = None
    error: int | None = None
    cr2: int | None = None
    level: int | None = None
    index: int | None = None
    entry: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class RehearsalRecord:
    """What the CPU itself said of a step under the new root, before the switch. ``virt``: the address that it tried.

    Of a step that was not tried ``is_tried`` is False, and ``why`` tells the reason.
    """

    line: int
    step: int
    is_tried: bool
    vector: int | None = None  # None: it went through
    error: int | None = None
    cr2: int | None = None
    virt: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class RefusedRegister:
    """A control register, as ``cr4``, whose planned value the CPU itself refused, and the exception that it raised."""

    name: str
    value: int
    vector: int
    error: int


@dataclass(frozen=True, slots=True)
class RehearseRecord:
    """How far the rehearsal has come: "begin", "end", or "refused" with the reason.

    ``refused``: of one that was refused by the CPU itself, as it loaded the planned state; else None.
    """

    line: int
    state: str
    why: str
    refused: RefusedRegister | None = None


@dataclass(frozen=True, slots=True)
class FaultRecord:
    line: int
    by: str
    registers: dict[str, int]  # vector, error, cr2, cr3, rip, ... by their keys in the format


@dataclass(frozen=True, slots=True)
class CheckRecord:
    line: int
    name: str
    passed: bool
    detail: str
    cpu: int = 0  # 0 is the boot CPU


@dataclass(frozen=True, slots=True)
class StartupRecord:
    """How the other CPUs are started: by a start-up interrupt with ``vector``, through ``code`` and ``data`` below 1 MiB.

    ``later``: so many bytes of the data are filled in by whoever starts a CPU. ``differs``: the first byte of the code
    that is not what the writer had put there.
    """

    line: int
    vector: int
    code: int  # physical addresses
    data: int
    later: int
    differs: int | None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A CPU that loads TR: its number, the selector, and the physical address of the TSS."""

    line: int
    cpu: int
    tr: int
    phys: int


@dataclass(frozen=True, slots=True)
class ApRecord:
    """A CPU that will be started: its number, APIC id, and where its stack begins, one past the last byte."""

    line: int
    cpu: int
    apic_id: int
    stack: int


@dataclass(slots=True)
class Boot:
    """One boot of a capture. Absent records are None or empty; nothing is invented.

    ``complete``: every promised section is there and closed, and nothing is damaged or missing.
    """

    config: dict[str, str] = field(default_factory=dict)
    firmware: str = ""
    cpus: dict[str, CpuRecord] = field(default_factory=dict)  # by `when`
    memory_map: list[MemoryDescriptor] = field(default_factory=list)
    images: list[ImageRecord] = field(default_factory=list)
    elfs: list[ElfRecord] = field(default_factory=list)
    segments: list[SegmentRecord] = field(default_factory=list)
    loaded: list[LoadedRecord] = field(default_factory=list)
    maps: list[MapRecord] = field(default_factory=list)
    regions: list[RegionRecord] = field(default_factory=list)
    tables: list[TableRecord] = field(default_factory=list)
    sets: list[SetRecord] = field(default_factory=list)
    dumps: dict[str, Dump] = field(default_factory=dict)  # by id
    memories: dict[tuple[str, str], MemoryContents] = field(default_factory=dict)  # (name, when)
    plan: list[PlanStep] = field(default_factory=list)
    preflight: list[PreflightRecord] = field(default_factory=list)
    rehearsal: list[RehearsalRecord] = field(default_factory=list)
    rehearse: RehearseRecord | None = None  # the last word of it
    exit: tuple[int, int] | None = None  # status, attempts
    calls: list[CallRecord] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    checks: list[CheckRecord] = field(default_factory=list)
    startup: StartupRecord | None = None
    aps: list[ApRecord] = field(default_factory=list)
    starting: list[int] = field(default_factory=list)  # numbers of the CPUs that were started, in order
    tasks: list[TaskRecord] = field(default_factory=list)  # in the order in which the CPUs load them
    summary: tuple[int, int] | None = None  # pass, fail
    errors: list[tuple[str, str, int]] = field(default_factory=list)  # where, what, status
    closed: list[str] = field(default_factory=list)  # producers whose section ended
    complete: bool = False
    promises_nothing: bool = False  # its loader's section ended, and no other is to follow
    is_unpromised: bool = False  # its loader promises no section of the kernel's, and nobody tells whether one was due
    console: bytes = field(default=b"", compare=False, repr=False)  # what was said beside its records, from its beginning on
    behind: bytes = field(default=b"", compare=False, repr=False)  # of that, what came behind its last record
    beyond: bytes = field(default=b"", compare=False, repr=False)  # the same of a boot without a trace behind it


@dataclass(slots=True)
class Capture:
    """Every boot of a capture file, and everything that is wrong with the file itself."""

    boots: list[Boot] = field(default_factory=list)
    damage: list[Diagnostic] = field(default_factory=list)  # any entry forbids a clean verdict
    notes: list[Diagnostic] = field(default_factory=list)  # unknown kinds and the like: harmless
    console: bytes = field(default=b"", compare=False, repr=False)  # what was said beside the records, where they are of no boot
    before: bytes = field(default=b"", compare=False, repr=False)  # what was said before its first boot
    is_photo: bool = False  # of a screen, which shows what was known before the switch, or at an exception
