"""One QEMU from start to end: what it was told, what it said, and why the watching ended.

Every wait is for an event: a byte, a QMP message, the end of the process, a signal or a deadline.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.qemu.brood import Brood
from cr3scope.qemu.channels import channels_in
from cr3scope.qemu.awaited import NOTHING, Awaited
from cr3scope.qemu.command import Command, Serial
from cr3scope.qemu.log_pipe import LogPipe, read_end
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.entry_watch import EntryWatch
from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.progress import Figures, Progress
from cr3scope.qemu.gdb_stub import StubClosed
from cr3scope.qemu.qmp import Listener, QemuLeft, Qmp, QmpError
from cr3scope.qemu.serial_port import SerialPort, Sign
from cr3scope.qemu.sight import Sight
from cr3scope.qemu.signals import HURRY_SECONDS, Signals
from cr3scope.qemu.stub_stop import StubStop
from cr3scope.qemu.switch_stop import Held, SwitchStop
from cr3scope.target.memory import MemoryUnavailable

WriteWatch = Plugin | EntryWatch  # of who wrote what
LEAVE_SECONDS = 2.0  # from QMP's `quit` to SIGKILL
FINITE_STORM_SECONDS = 1.0  # to see its end if that is near; the verdict is a storm either way
EXAMINE_SECONDS = 20.0  # a hundred times what it takes
CALL_SECONDS = 20.0  # QEMU opens its QMP socket before it sets up the machine
_NOTHING_SEEN = (
    "nothing was seen of the guest: no byte on a serial port that is watched, no exception or interrupt in the log, no text on a screen"
)
_TRIPLE_FAULT = b"Triple fault\n"
_CHUNK = 1 << 16
_MOST_CHUNKS = 64  # at a time; no pipe holds more (pipe-max-size is 1 MiB)
# How long a guest may go on after a sign that it is done: it may still exit, or write a file.
_GRACE = {
    Sign.FAULT_RECORD: 0.25,
    Sign.ERROR_RECORD: 0.25,
    Sign.TRACE_ENDED: 1.0,
    Sign.KERNEL_PANIC: 0.5,
    Sign.AWAITED: 0.0,
    Sign.REFUSED: 0.5,
    Sign.SCREEN_STARTED: 1.0,
    Sign.SCREEN_COMPLETE: 0.0,
}


_MEANING = {
    Sign.SCREEN_STARTED: Reason.SCREEN,
    Sign.SCREEN_COMPLETE: Reason.SCREEN,
    Sign.KERNEL_PANIC: Reason.PANICKED,
    Sign.AWAITED: Reason.AWAITED,
    Sign.REFUSED: Reason.REFUSED,
}
_SHUTDOWN_REASONS = {"guest-reset": Reason.RESET, "guest-panic": Reason.PANICKED}
_FROM_OUTSIDE = "host-"  # ShutdownCause (qapi/run-state.json): a signal, the window's button, another QMP client
_BARKS = {"reset": Reason.RESET, "shutdown": Reason.SHUT_DOWN, "poweroff": Reason.SHUT_DOWN,
          "pause": Reason.STOPPED}  # fmt: skip


def examine_nothing(_qmp: Qmp, _outcome: Outcome) -> None:
    """Leave the outcome as it is: for runs of which only the log and the serial output matter."""


def watch(
    command: Command,
    folder: Path,
    timeout: float,
    meanwhile: Callable[[], None] = lambda: None,
    examine: Callable[[Qmp, Outcome], None] = examine_nothing,
    at_switch: LooksAtSwitch | None = None,
    awaited: Awaited = NOTHING,
    witness: WriteWatch | None = None,
) -> Outcome:
    """Run QEMU until the guest is done. Leaves serial.log and interrupts.log in ``folder``.

    ``meanwhile`` is called once, as soon as QEMU answers; ``examine`` when a guest that has not left is paused
    and its log is complete. ``at_switch``: what to do at the loader's switch; None to let it pass. ``awaited``: what the guest is to
    say, and how long it may be idle. ``witness``: keeps who wrote what; one that stops the guest leaves no room for ``at_switch``. Whatever happens, no QEMU is left behind.
    """
    with Signals() as signals, channels_in(folder) as channels:
        watcher = _Watcher(command, folder, channels, signals, meanwhile, at_switch, awaited, witness)
        try:
            watcher.start(timeout)
            watcher.loop()
            watcher.ask(examine)
        finally:
            watcher.stop()
    return watcher.outcome


class LooksAtSwitch(Protocol):
    """What to do when a loader is about to switch. Both raise QmpError if QEMU does not answer."""

    def sites(self, qmp: Qmp) -> Sequence[int]:
        """Return where a loader may switch."""

    def look(self, qmp: Qmp, outcome: Outcome) -> None:
        """Look at the guest, which stands there."""


class _Watcher:
    def __init__(
        self,
        command: Command,
        folder: Path,
        channels: Path,
        signals: Signals,
        meanwhile: Callable[[], None],
        at_switch: LooksAtSwitch | None,
        awaited: Awaited,
        witness: WriteWatch | None,
    ) -> None:
        self.outcome = Outcome(has_debug_exit=command.has_debug_exit, is_bare=command.is_bare)
        self._command = command
        self._plugin = witness if isinstance(witness, Plugin) else None
        self._signals = signals
        self._meanwhile = meanwhile
        self._channels = channels
        self._selector = selectors.DefaultSelector()
        self._serial = SerialPort(folder / "serial.log", awaited)
        self._serial_fifo = read_end(channels / "serial")
        self._log = LogPipe(channels / "log", folder / "interrupts.log")
        self._listener = Listener(channels / "qmp")
        self._qmp: Qmp | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._process_end = -1
        self._began = self._deadline = 0.0
        self._reason_at_deadline = Reason.TIMEOUT
        self._done = False
        self._sight = Sight(self.outcome, awaited.idle, command.has_watchdog)
        self._switch: StubStop | None = None
        if isinstance(witness, EntryWatch):
            self._switch = witness.stop_in(channels)
        elif at_switch is not None and not command.has_debugger:
            look = partial(at_switch.look, outcome=self.outcome)
            self._switch = SwitchStop(channels, at_switch.sites, look)
        self._progress = Progress()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._unasked = ""
        self._brood = Brood()

    def start(self, timeout: float) -> None:
        words = self._command.watched(
            self._channels / "log", self._channels / "serial", self._channels / "qmp", self._is_held
        )
        words += self._plugin.words() if self._plugin is not None else []
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self._sight.begin(self._began)
        try:
            self._process = self._brood.start(words)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UnusableInput(f"{words[0]}: cannot be started: {why}") from error
        self._process_end = os.pidfd_open(self._process.pid)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        self._on(self._process.stdout, self._stdout_ready)
        self._on(self._process.stderr, self._stderr_ready)
        self._on(self._process_end, self._exited)
        self._on(self._serial_fifo, self._serial_ready)
        self._on(self._log, self._storm)
        self._on(self._listener, self._called)
        self._on(self._signals, self._interrupted)

    def loop(self) -> None:
        """Wait until something says that the guest is done."""
        while not self._done:
            left = self._deadline - time.monotonic()
            if left <= 0:
                is_timeout = self._reason_at_deadline is Reason.TIMEOUT
                self._end(Reason.STANDSTILL if is_timeout and self._sight.stands else self._reason_at_deadline)
                break
            next_turn = self._sight.next_look
            if self._switch is not None:
                next_turn = min(next_turn, self._switch.next_try)
            for key, _ in self._selector.select(min(left, max(next_turn - time.monotonic(), 0))):
                key.data()
            self._search()
            if not self._done and time.monotonic() >= self._sight.next_look:
                self._look()
        self._progress.close()

    def ask(self, examine: Callable[[Qmp, Outcome], None]) -> None:
        """Ask a guest that is still there what there is to ask, and QEMU to leave."""
        if self._qmp is None or self.outcome.reason is Reason.EXITED:
            return
        try:
            with self._signals.cut():
                self._qmp.bound(time.monotonic() + EXAMINE_SECONDS, self._signals.another(), self._signals.fileno())
                self.outcome.run_state = self._qmp.run_state()
                self._qmp.execute("stop")
                self.outcome.registers = self._qmp.registers()
                self._serial_ready()
                self._log.finish()
                self.outcome.triple_fault = self._log.last.endswith(_TRIPLE_FAULT)
                self.outcome.is_emulated = bool(self._log.records) or self.outcome.reason is Reason.RESET and self._is_emulated()
                self.outcome.serial, self.outcome.unsaid = self._serial.received, self._serial.unsaid
                self.outcome.seconds = time.monotonic() - self._began
                examine(self._qmp, self.outcome)
        except (MemoryUnavailable, UnusableInput) as error:
            self._unasked = f"not all was asked of the paused guest: {error}"
        self._qmp.quit()
        is_hurried = self._signals.has_come()
        self._signals.another()  # what has come is known
        select.select([self._process_end, self._signals.fileno()], [], [], HURRY_SECONDS if is_hurried else LEAVE_SECONDS)

    def _is_emulated(self) -> bool:
        from cr3scope.qemu.park import is_emulated  # it decodes: most guests never come here

        assert self._qmp is not None
        return is_emulated(self._qmp)

    def stop(self) -> None:
        """End QEMU with all its children, and take what is left in the channels."""
        self._progress.close()
        for pid in self._brood.end():
            self.outcome.notes.append(f"process {pid}, which the command has started, cannot be ended")
        if self._process is not None:
            self.outcome.left(self._process.poll())
            self._notice_late_call()
            for ready in (self._serial_ready, self._stdout_ready, self._stderr_ready):
                ready()
            os.close(self._process_end)
            self.outcome.seconds = time.monotonic() - self._began
        self._brood.close()
        if self._qmp is not None and self._qmp.damage:
            self.outcome.lose(f"on QEMU's QMP socket came what is no QMP: {self._qmp.damage}")
        if self._unasked:
            (self.outcome.notes.append if self.outcome.passed else self.outcome.lose)(self._unasked)
        self._log.finish()
        if self._log.loss:
            self.outcome.is_log_whole = False
            self.outcome.lose(f"interrupts.log is not whole: {self._log.loss}")
        if self._qmp is not None:
            self._qmp.close()
        self._listener.close()
        self._selector.close()
        os.close(self._serial_fifo)
        self._serial.close()
        if self._serial.left_out:
            self.outcome.notes.append(f"serial.log: {self._serial.left_out} bytes left out")
        if self._serial.error is not None:
            self.outcome.notes.append(f"serial.log is not whole: {self._serial.error.strerror}; all that came was judged")
        for option in self._serial.too_slow:
            self.outcome.lose(f"{option}: its pattern takes over {limits.PATTERN_SECONDS:g} s on what the guest said: whether that was said is not known")
        self.outcome.serial, self.outcome.panic = self._serial.received, self._serial.panic
        self.outcome.unsaid, self.outcome.refused = self._serial.unsaid, self._serial.refused
        self.outcome.is_emulated = self.outcome.is_emulated or bool(self._log.records)
        self.outcome.stdout = bytes(self._stdout)
        self.outcome.words = self._stderr.decode(errors="replace")
        is_silent = not (self._serial.total or self._stdout or self._log.records or self.outcome.screen)
        if self.outcome.reason in (Reason.TIMEOUT, Reason.IDLE):
            if self.outcome.is_stopped:
                self.outcome.lose(f'the guest was not running when the time was up: QEMU says "{self.outcome.run_state}"')
            elif is_silent and not self.outcome.never_ran:
                self.outcome.lose(_NOTHING_SEEN)

    def _on(self, source: Any, ready: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, ready)

    def _end(self, reason: Reason) -> None:
        if not self._done:
            self._done = True
            self.outcome.reason = reason

    def _end_within(self, seconds: float, reason: Reason) -> None:
        """The guest may go on for so long; an earlier deadline stays."""
        until = time.monotonic() + seconds
        if until < self._deadline:
            self._deadline = until
            self._reason_at_deadline = reason

    def _look(self) -> None:
        """A guest that stands still needs no more time."""
        now = time.monotonic()
        self._show_progress(now - self._began)
        if self._qmp is None and now - self._began > CALL_SECONDS:
            self._end(Reason.TIMEOUT)
            return
        qmp = self._qmp if self._qmp is not None and self._qmp.ready else None
        reason = self._sight.look(qmp, self._serial, self._log.records)
        if self._qmp is not None and self._qmp.ready:
            self._qmp_ready()  # an event may have come together with the answers
        if reason is not None:
            is_storm = reason is Reason.STANDSTILL and self._log.storm is not None  # which is waited for to end
            self._end(Reason.STORM if is_storm else reason)

    def _search(self) -> None:
        """For the place where the loader will switch."""
        switch = self._switch
        if switch is None or self._qmp is None or self._done or time.monotonic() < switch.next_try:
            return
        try:
            switch.search(self._qmp)
        except QemuLeft:  # a guest that has ended in this moment; why is seen elsewhere
            pass
        except QmpError as error:
            self._note_failed(switch, error)
        if switch.stub is not None:
            self._on(switch.stub, self._at_switch)

    def _search_again(self) -> None:
        if self._switch is None or self._switch.stub is not None:
            return
        if not (isinstance(self._switch, SwitchStop) and self._serial.is_traced):  # what tells more is there already
            self._switch.begin()
            self._search()

    def _forgo_switch(self) -> None:
        """A guest that traces runs as fast as without us."""
        switch = self._switch
        if self._serial.is_traced and not self._done and isinstance(switch, SwitchStop) and switch.stub is not None:
            self._at_switch()

    def _at_switch(self) -> None:
        switch = self._switch
        assert switch is not None and self._qmp is not None
        stub = switch.stub
        if stub is None:  # in the same turn its trace began: let go by then
            return
        try:
            if isinstance(switch, SwitchStop) and self._serial.is_traced:
                switch.forgo(self._qmp)  # its trace says more than a look
                is_all = True
            else:
                is_all = switch.stopped(self._qmp)
        except Held as error:
            self.outcome.held = str(error)
            self._end(Reason.HELD)
            is_all = True
        except (StubClosed, QemuLeft):  # before any switch; why it has ended is seen elsewhere
            is_all = True
        except QmpError as error:
            self._note_failed(switch, error)
            is_all = True
        if is_all:
            self._selector.unregister(stub)
            self._qmp_ready()  # an event may have come together with the answers

    def _note_failed(self, switch: StubStop, error: QmpError) -> None:
        note = switch.failed(str(error))
        self.outcome.notes += [note] if note else []

    def _show_progress(self, seconds: float) -> None:
        log, serial = self._log, self._serial
        self._progress.show(
            Figures(seconds, log.total_bytes, log.records, serial.total, serial.last_line)
        )

    def _exited(self) -> None:
        if self._qmp is not None and self._qmp.ready:
            self._take_events()  # why, its last event tells
        self._end(Reason.EXITED)

    def _interrupted(self) -> None:
        self._end(Reason.INTERRUPTED)

    def _called(self) -> None:
        if self._qmp is None:
            self._qmp = self._listener.accept()
            self._qmp.bound(float("inf"), self._signals.has_come, self._signals.fileno())
            self._on(self._qmp, self._qmp_ready)
        self._selector.unregister(self._listener)

    def _notice_late_call(self) -> None:
        """A guest may be done before QEMU's call was answered.

        A refused command line ends with 0 or 1 and has shown nothing of a guest.
        """
        if self._qmp is None:
            with contextlib.suppress(OSError):
                self._qmp = self._listener.accept()
        if self._qmp is not None and self.outcome.exit_status not in (0, 1):
            self.outcome.started = True

    def _qmp_ready(self) -> None:
        assert self._qmp is not None
        self._take_events()
        if self._qmp.ready and not self.outcome.started:
            self.outcome.started = True
            self.outcome.qemu = self._qmp.version
            self.outcome.argv = self._qmp.argv()
            self._prepare(self._qmp)
            self._meanwhile()  # not before: QEMU tells no event to whom it has not answered yet
        if self._qmp.closed:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._qmp)

    def _take_events(self) -> None:
        assert self._qmp is not None
        for event in self._qmp.events():
            data = event.get("data")
            self._take_event(str(event.get("event")), data if isinstance(data, dict) else {})

    def _take_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "SHUTDOWN":
            why = str(data.get("reason"))
            if why.startswith(_FROM_OUTSIDE) and not self._done:
                self.outcome.ended_by = why
            self._end(Reason.ENDED if why.startswith(_FROM_OUTSIDE) else _SHUTDOWN_REASONS.get(why, Reason.SHUT_DOWN))
        elif name == "GUEST_PANICKED":
            self._end(Reason.PANICKED)
        elif name == "WATCHDOG":
            self.outcome.watchdog = str(data.get("action"))
            if self.outcome.watchdog in _BARKS:
                self._end(_BARKS[self.outcome.watchdog])

    def _prepare(self, qmp: Qmp) -> None:
        """What only a running QEMU can be told. A guest that is held is let go even if not all of it was taken."""
        for told in (self._tell_plugin, self._set_actions, self._begin):
            try:
                told(qmp)
            except QmpError as error:
                self.outcome.notes.append(str(error))

    def _tell_plugin(self, qmp: Qmp) -> None:
        if self._plugin is not None:
            self._plugin.tell(qmp.monitor, qmp.version)

    def _set_actions(self, qmp: Qmp) -> None:
        if self._command.has_action:  # it overrides -no-reboot and -no-shutdown
            qmp.execute("set-action", reboot="shutdown", shutdown="pause")

    def _begin(self, qmp: Qmp) -> None:
        is_debuggers = self._command.waits and self._command.has_debugger
        if self._switch is not None:
            self._switch.begin()
            self._search()
        elif (self._command.waits or self._is_held) and not is_debuggers:
            qmp.execute("cont")

    @property
    def _is_held(self) -> bool:
        """Whether the guest is not to run before its stub or the plugin was told something: what it did until then nobody would know."""
        return self._switch is not None or self._plugin is not None

    def _storm(self) -> None:
        self._selector.unregister(self._log)
        storm = self._log.storm
        if storm is not None:
            self._end_within(FINITE_STORM_SECONDS if storm.finite else 0.0, Reason.STORM)

    def _serial_ready(self) -> None:
        for data in self._chunks(self._serial_fifo):
            self._take_serial(data)

    def _stdout_ready(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for data in self._chunks(self._process.stdout):
            if self._command.serial in (Serial.OURS, Serial.TAPPED):
                self._stdout += data[: max(limits.STDOUT_BYTES - len(self._stdout), 0)]
            else:
                self._take_serial(data)

    def _stderr_ready(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        for data in self._chunks(self._process.stderr):
            self._stderr += data[: max(limits.STDERR_BYTES - len(self._stderr), 0)]

    def _take_serial(self, data: bytes) -> None:
        for sign in self._serial.feed(data):
            if sign is Sign.BOOTING:
                self._search_again()
                continue
            self._end_within(_GRACE[sign], _MEANING.get(sign, Reason.SAID_ALL))
        self._forgo_switch()

    def _chunks(self, source: int | IO[bytes]) -> Iterator[bytes]:
        """What can be read without waiting, in turns: who writes without end must not keep us from
        the clock. At its end the source is watched no more."""
        descriptor = source if isinstance(source, int) else source.fileno()
        with contextlib.suppress(BlockingIOError):
            for _ in range(_MOST_CHUNKS):
                data = os.read(descriptor, _CHUNK)
                if not data:
                    break
                yield data
            else:
                return
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(source)
