"""A guest's state as the kernel below dumps it: KVM's or Xen's."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.logs.event import Event
from cr3scope.input.logs.log_format import Format
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.signs import VMCB, VMCS


def _events(log: LogFile) -> Iterator[Event]:
    from cr3scope.input.logs.emulators.vm_state import events_of_vm_state  # most logs are none of these

    return events_of_vm_state(log)


FORMAT = Format("a dump of the guest's state", _events, (VMCS, VMCB))
