"""What a finding about a log says of its events."""

from __future__ import annotations

from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.message import Hex, Message, Vector, message


def name(record: InterruptRecord) -> Message:
    """Return what an event was: ``#PF``, ``INT 14 (the instruction)``, ``hardware interrupt 20h``."""
    if record.kind is Kind.INT:
        return message("INT {int_vector} (the instruction)", int_vector=record.vector)
    if record.kind is Kind.INTERRUPT:
        return message("hardware interrupt {interrupt:02x}h", interrupt=Hex(record.vector))
    return message("{exception}", exception=Vector(record.vector))


def undelivered(record: InterruptRecord) -> Message:
    """Return the proof that an event could not be delivered, with its place."""
    if record.rip is None:
        return message("{event} could not be delivered", event=name(record))
    return message("{event} at RIP={rip} could not be delivered", event=name(record), rip=Hex(record.rip))
