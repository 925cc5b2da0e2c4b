"""KVM's refusals as QEMU prints them."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.kvm import events_of_kvm  # most logs are none of these

    return events_of_kvm(log)


FORMAT = Format("KVM's report", _events, (b"KVM internal error", b"KVM: entry failed", b"KVM: unknown exit", b"kvm run failed"))
