"""Which functions and lines the exceptions of a log are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.observation import Observation
from cr3scope.images.load_address import base_from_switch
from cr3scope.images.place import Place
from cr3scope.images.symbols import Symbols
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.log_report import LogReport
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import WITHOUT_EXCEPTION
from cr3scope.x86.exceptions import PAGE_FAULTS


_MOST_CALLERS = 3


def placed(
    seen: Observation,
    report: LogReport,
    symbols: Symbols,
    last_rip: int | None = None,
    callers: Sequence[int] = (),
) -> tuple[Observation, tuple[Diagnostic, ...]]:
    """Return the observation with what is known of RIP and CR2, or of ``last_rip`` where nothing faulted, and of
    the return addresses ``callers``; and what is to be said of where the files lie."""
    notes: tuple[Diagnostic, ...] = ()
    if seen.ending is not None:
        notes = tuple(Diagnostic(note) for note in _settle(symbols, report.first))
    found: list[Place] = []
    if (seen.ending is None or seen.ending in WITHOUT_EXCEPTION) and last_rip is not None:
        found += filter(None, [symbols.place("RIP", last_rip)])
    if seen.ending is not None:
        found += _places(symbols, seen, report)
    places = tuple(dict.fromkeys([*found, *_callers(symbols, callers)]))
    return replace(seen, places=places), notes


def _settle(symbols: Symbols, first: Fault | None) -> Iterator[str]:
    """Finds out where relocatable files lie; says so, and of which it is not known."""
    for twin in list(symbols.unplaced()):
        if symbols.has_images:
            yield f"{twin.path}: of no image in the capture (build id {twin.build_id or 'missing'})"
            continue
        base = None if first is None or first.rip is None else base_from_switch(twin, first.rip)
        if base is None:
            yield (
                f"{twin.path}: relocatable, and nothing tells where it was loaded: give"
                f" --elf {twin.path}@BASE"
            )
        else:
            symbols.put(twin, base)
            yield f"{twin.path}: taken as loaded at {base:#x}: RIP is then right behind its mov cr3"


def _places(symbols: Symbols, seen: Observation, report: LogReport) -> Iterator[Place]:
    faults = [fault for fault in (seen.first, report.fatal, *report.followed) if fault is not None]
    for fault in faults:
        addresses = [("RIP", fault.rip)]
        if fault.vector in PAGE_FAULTS and fault.cr2 != fault.rip:
            addresses.append(("CR2", fault.cr2))
        for name, address in addresses:
            place = None if address is None else symbols.place(name, address)
            if place is not None:
                yield place


def _callers(symbols: Symbols, addresses: Sequence[int]) -> Iterator[Place]:
    """The newest ones: those that files know, else those in images, else just one."""
    found = [symbols.caller("stack", each) or Place("stack", each) for each in addresses]
    ours = [place for place in found if place.symbol or place.source]
    known = ours or [place for place in found if place.image] or found[:1]
    yield from known[:_MOST_CALLERS]
