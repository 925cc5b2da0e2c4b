"""Looks at a running guest again and again: whether it can ever do anything more."""

from __future__ import annotations

import time

from cr3scope.qemu.boot_manager import read_attempts, seabios_gave_up
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.paused_guest import look
from cr3scope.qemu.qmp import Qmp, QmpError
from cr3scope.qemu.run_state import STUCK
from cr3scope.qemu.serial_port import SerialPort
from cr3scope.qemu.text_screen import read_text_screen
from cr3scope.target.standstill import LOOKS, LOOK_SECONDS, by_cpu, is_halted, is_left_alone, stands_still
from cr3scope.x86.cpu_state import EFER_LMA

QUIET_SECONDS = 5.0  # whoever types at the firmware's prompt is echoed on the serial port


class Sight:
    """What the looks have shown; ``outcome`` gets the last ones."""

    def __init__(self, outcome: Outcome, idle: float | None = None, may_bark: bool = False) -> None:
        self._outcome = outcome
        self._may_bark = may_bark  # a watchdog device may act where the guest does not
        self.stands = False  # no CPU went on in the last looks, nor will by itself
        self._idle = idle
        self._busy_at = time.monotonic()  # when a CPU was last seen at work
        self._records = 0
        self._quiet_looks = 0
        self._read_at = -1  # bytes of serial output that were read for the boot manager's words
        self.next_look = 0.0

    def begin(self, now: float) -> None:
        """Set the time of the first look: QEMU is started."""
        self.next_look = now + LOOK_SECONDS

    def look(self, qmp: Qmp | None, serial: SerialPort, records: int) -> Reason | None:
        """Take one more look; return why the run should end, None if it should not.

        ``records``: of the log so far.
        """
        self.next_look = time.monotonic() + LOOK_SECONDS
        if qmp is None:
            return None
        try:
            state = self._outcome.run_state = qmp.run_state()
            if not self._outcome.runs:  # a debugger's stop is no standstill
                self._outcome.looks = []
                return Reason.STOPPED if state in STUCK else None
            return self._look(qmp, serial, records)
        except QmpError:
            self.next_look += 10 * LOOK_SECONDS  # each question that is not answered takes seconds
            return None

    def _may_end(self, qmp: Qmp) -> bool:
        """Whether a loop counts: a delay, say."""
        looks = self._outcome.looks
        if all(map(is_halted, by_cpu(looks))):
            return False
        from cr3scope.qemu.park import may_end  # it decodes: most guests never come here

        return may_end(qmp, looks)

    def _stands(self, qmp: Qmp, interrupted: bool) -> bool:
        if stands_still(self._outcome.looks, interrupted) and not self._may_end(qmp):
            return True
        if interrupted or not is_left_alone(self._outcome.looks):
            return False
        from cr3scope.qemu.park import parked  # it decodes: most guests never come here

        return parked(qmp) is not None

    def _look(self, qmp: Qmp, serial: SerialPort, records: int) -> Reason | None:
        seen = look(qmp)
        self._outcome.looks = [*self._outcome.looks, seen][-LOOKS:]
        self._quiet_looks = self._quiet_looks + 1 if records == self._records else 0
        self._records = records
        # Without any record nobody knows: a hypervisor logs no interrupts.
        interrupted = not records or self._quiet_looks < LOOKS
        self.stands = self._stands(qmp, interrupted)
        if self.stands and not self._may_bark:
            return Reason.STANDSTILL
        if not all(registers.get("HLT") for registers in seen):
            self._busy_at = time.monotonic()
        if self._idle is not None and time.monotonic() - max(self._busy_at, serial.fed_at) >= self._idle:
            return Reason.IDLE
        if time.monotonic() - serial.fed_at < QUIET_SECONDS:
            return None
        if serial.total != self._read_at:
            self._read_at = serial.total
            self._outcome.gave_up = read_attempts(serial.received).gave_up
        if not self._outcome.gave_up and not seen[0].get("EFER", 0) & EFER_LMA:
            self._outcome.gave_up = seabios_gave_up(read_text_screen(qmp))
        return Reason.NOTHING_BOOTED if self._outcome.gave_up else None
