"""What a kernel printed of an exception that it took itself, gathered field by field while its lines go by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.event import Event, InterruptRecord, RegisterDump, Walked
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.exceptions import PAGE_FAULT, WITH_ERROR_CODE, raised_at


@dataclass(slots=True)
class OwnReport:
    """One report, from ``offset`` on. The first value of each register counts: others are of what was interrupted before.

    ``address``: the one that the kernel itself names for CR2. ``walk``: (level, entry) as printed.
    """

    offset: int
    by: str
    vector: int | None = None
    error: int | None = None
    address: int | None = None
    whose: str = ""
    bits: int | None = None
    registers: dict[str, int] = field(default_factory=dict)
    walk: list[tuple[int, int]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    is_closed: bool = False  # its registers are over
    has_code: bool = False  # the line with its error code is behind
    has_place: bool = False  # the one with RIP, too
    gave_up: str = ""  # why, in the words of whoever reports

    def put(self, name: str, value: int) -> None:
        """Take a register by the name that it has in ``RegisterDump``."""
        self.registers.setdefault(name, value)

    @property
    def cpu(self) -> RegisterDump:
        """Return the registers as far as they were printed."""
        get = self.registers.get
        cs = get("cs")
        rip = get("rip") if self.vector is None else raised_at(self.vector, get("rip"))
        cr2 = self.address if self.address is not None else get("cr2")
        return RegisterDump(
            rip=rip, rsp=get("rsp"), flags=get("flags"), cs=cs, cpl=None if cs is None else cs & RPL,
            code_bits=self.bits, cr0=get("cr0"), cr2=cr2, cr3=get("cr3"), cr4=get("cr4"), efer=get("efer"),
        )  # fmt: skip

    def events(self, number: int) -> Iterator[Event]:
        """Yield the exception, if it is known which it was, and the walk."""
        cpu = self.cpu
        if self.vector is not None:
            yield InterruptRecord(
                self.offset, number, self.vector, self.error if self.vector in WITH_ERROR_CODE else None, cpu,
                is_whole=bool(self.registers), reported_by=self.by, whose=self.whose, remarks=tuple(self.remarks),
            )  # fmt: skip
        virt = cpu.cr2 if self.vector in (PAGE_FAULT, None) else None
        if self.walk and virt is not None:
            yield Walked(self.offset, virt, tuple(self.walk))
