"""Reads a capture: bytes in, typed boots and everything that is wrong with the file out.

docs/trace-format.md, "What a reader must do", is the specification.
"""

from __future__ import annotations

from collections import Counter

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.input.capture import bulk
from cr3scope.input.capture.beside import behind, beside, boots_beside
from cr3scope.input.capture.consistency import contradictions
from cr3scope.input.capture.contents import Contents
from cr3scope.input.capture.fields import Fields, Malformed
from cr3scope.input.capture.framing import MAJOR_VERSION, SENTINEL, OtherVersion, RawRecord, Run, Torn, records
from cr3scope.input.capture.journal import Journal
from cr3scope.input.capture.kinds import HANDLERS
from cr3scope.input.capture.memory_map import MemoryMap
from cr3scope.input.capture.records import Boot, Capture
from cr3scope.input.capture.sections import Sections
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.wide_text import narrowed
from cr3scope.message import Message
from cr3scope.text import printable

_MOST_UNKNOWN_KINDS = 64
_MOST_DIGITS = 20
# What a loader still says behind its own `end`, where no section is to follow.
_AFTERWORDS = frozenset({"exit", "call", "fault", "error"})


def read_capture(data: bytes, name: str = "the capture") -> Capture:
    """Return every boot in ``data``. Damage becomes a diagnostic of the capture, never an exception.

    UnusableInput if there is no record at all, if the records are of another major version, or if ``data`` is too
    long. ``name`` is what the message calls the input.
    """
    if len(data) > limits.CAPTURE_BYTES:
        most = limits.CAPTURE_BYTES >> 20
        raise UnusableInput(f"{printable(name)} has more than {most} MiB: cut away what comes before the trace")
    other: OtherVersion | None = None
    text = data if SENTINEL in data else narrowed(data)  # noise may begin like a mark of wide text
    reader = _Reader(text)
    for found in records(text, bulk.run_at):
        if isinstance(found, RawRecord):
            reader.take(found)
        elif isinstance(found, Run):
            reader.take_run(found)
        elif isinstance(found, Diagnostic):
            reader.damaged(found)
        else:
            other = other or found
            if found.intact:
                raise _refusal(found.version)
    if not reader.has_records and other is not None:
        raise _refusal(other.version)
    if not reader.has_records and not reader.damage.count:
        raise UnusableInput(f"no cr3scope record in {printable(name)}")
    return reader.finish()


def _refusal(version: str) -> UnusableInput:
    shown = version if len(version) <= _MOST_DIGITS else version[:_MOST_DIGITS] + "..."
    return UnusableInput(
        f"capture is of format version {shown}; this reads {MAJOR_VERSION.decode()}"
    )


def _declares_accesses(boot: Boot) -> bool:
    """Return whether the plan holds accesses of the kernel's own code, which only notes in its file can tell."""
    entries = {elf.entry for elf in boot.elfs}
    own = (step.rip for step in boot.plan if step.rip not in entries)
    return any(segment.virt <= rip <= segment.last for rip in own for segment in boot.segments)


class _Reader:
    """The state between two records."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.damage = Journal()
        self.has_records = False
        self._boots: list[Boot] = []
        self._boot = Boot()
        self._sections: Sections | None = None
        self._contents = Contents()
        self._memory_map = MemoryMap()
        self._due = 0  # the next sequence number
        self._begun_at = -1  # where the `begin` of the boot in hand ends
        self._first = 0  # where it begins
        self._before = b""
        self._damage_before = 0
        self._torn: list[Torn] = []  # in the section in hand, of which nothing else is known to be damaged
        self._unknown: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()  # of the boot in hand
        self._too_many: set[str] = set()
        self._unnamed = 0  # of kinds past _MOST_UNKNOWN_KINDS
        self._notes = Journal()

    def damaged(self, found: Diagnostic) -> None:
        """Record that a record cannot be used, unless the totals of its section prove that it is none."""
        is_within = self._sections is not None and self._sections.expects_more
        if isinstance(found, Torn) and is_within and self.damage.count == self._damage_before:
            self._torn.append(found)
        else:
            self._report(found.message, found.line, found.offset)

    def take(self, record: RawRecord) -> None:
        """Put an intact record where it belongs."""
        self.has_records = True
        try:
            self._take(record)
        except Malformed as error:
            self._report(f"{record.kind} record: {error}", record.line, record.offset)

    def take_run(self, run: Run) -> None:
        """Put many records of one kind where they belong: at once, if nothing about them is unusual."""
        if not self._take_at_once(run):
            for record in records(run.raw):
                assert isinstance(record, RawRecord)
                self.take(record._replace(line=run.line + record.line - 1, offset=run.offset + record.offset))

    def _take_at_once(self, run: Run) -> bool:
        """Returns False, and takes nothing, if one of the records needs to be looked at by itself."""
        sections, count = self._sections, self._kinds[run.kind] + len(run.rows)
        is_due = sections is not None and sections.expects_more and run.sequence == self._due
        if sections is None or not is_due or count > limits.CAPTURE_KINDS[run.kind]:
            return False
        try:
            bulk.take(run, self._boot)
        except Malformed:
            return False
        self._due += len(run.rows)
        self._kinds[run.kind] = count
        sections.count(run.raw.replace(b"\r", b""), len(run.rows))
        return True

    def finish(self) -> Capture:
        """Close the last boot and return the capture."""
        self._finish_boot(len(self._text))
        for kind, count in self._unknown.items():
            times = "once" if count == 1 else f"{count} times"
            self._notes.report(f"unknown kind of record, skipped: {kind} ({times})")
        if self._unnamed:
            what = f"records of yet other unknown kinds, skipped: {self._unnamed}"
            self._notes.report(what)
        console = b"" if self._boots else beside(self._text)
        return Capture(self._boots, self.damage.entries(), self._notes.entries(), console=console, before=self._before)

    def _report(self, words: str | Message, line: int | None, offset: int | None) -> None:
        """Record damage, behind what was torn before it."""
        self._flush()
        self.damage.report(words, line, offset)

    def _flush(self) -> None:
        torn, self._torn = self._torn, []
        for found in torn:
            self.damage.report(found.message, found.line, found.offset)

    def _take(self, record: RawRecord) -> None:
        fields = Fields(record.fields)
        if record.kind == "begin":
            self._begin(record, fields)
            return
        if self._sections is None:
            if not self._due:
                what = "the capture does not start with a begin record"
                self._report(what, record.line, record.offset)
            self._due = record.sequence + 1
            return
        if not self._in_sequence(record):
            return
        if not self._sections.expects_more:
            if record.kind not in _AFTERWORDS or self._sections.is_closed:
                raise Malformed("it stands after the end of its boot")
            self._dispatch(record, fields)
        elif record.kind in ("end", "close"):
            self._close_section(record, fields)
        elif record.kind == "section":
            self._sections.count(record.wire)
            self._sections.start(fields)
        else:
            self._sections.count(record.wire)
            self._dispatch(record, fields)

    def _in_sequence(self, record: RawRecord) -> bool:
        """Reports gaps; False for a number that fell or stood: the record's fields are not used."""
        gap = record.sequence - self._due
        self._due = record.sequence + 1
        if gap > 0:
            what = "1 record is" if gap == 1 else f"{gap} records are"
            before = f"before record {record.sequence:#x}"
            self._report(f"{what} missing {before}", record.line, record.offset)
        elif gap < 0:
            what = f"record {record.sequence:#x} is duplicated or out of order"
            self._report(what, record.line, record.offset)
        return gap >= 0

    def _begin(self, record: RawRecord, fields: Fields) -> None:
        if self._due == 1 and record.offset - self._begun_at in (0, 1):  # a CR is none of the record's bytes
            self._in_sequence(record)  # no machine begins anew without a word of its firmware
            return
        self._finish_boot(record.offset)
        self._first, self._begun_at = record.offset, record.offset + len(record.wire)
        if len(self._boots) >= limits.CAPTURE_BOOTS:
            raise Malformed(f"more than {limits.CAPTURE_BOOTS} boots in one capture")
        self._sections = Sections(fields.text("producer"))
        self._sections.count(record.wire)
        self._due = 1
        fields.text("version")
        if record.sequence != 0:
            raise Malformed(f"its sequence number is {record.sequence:#x}, not 0")

    def _close_section(self, record: RawRecord, fields: Fields) -> None:
        assert self._sections is not None
        unclosed = self._contents.interrupt() or self._memory_map.missing()
        if unclosed is not None:
            self._report(unclosed, record.line, record.offset)
        if record.kind == "close":
            self._sections.close(fields)
            return
        try:
            self._sections.end(fields)
        finally:
            self._sections.count(record.wire)
        if not self._sections.expects_more:
            self._check_promise()
        if self._torn:
            first, count = self._torn[0], len(self._torn)
            what = "text that looks like a record is" if count == 1 else f"{count} texts that look like records are"
            self._notes.report(f"line {first.line}: {what} none: the totals of the section prove that it lacks nothing")
            self._torn.clear()

    def _check_promise(self) -> None:
        """Hold it against the kernel's file that a loader promises no section of the kernel's."""
        assert self._sections is not None
        if len(self._sections.ended) > 1:
            return
        told = [elf.traces for elf in self._boot.elfs if elf.traces is not None]
        if any(told):
            raise Malformed("no section is to follow, but by its file the kernel goes on with the trace")
        self._boot.promises_nothing = True
        self._boot.is_unpromised = not told and _declares_accesses(self._boot)

    def _dispatch(self, record: RawRecord, fields: Fields) -> None:
        kind = record.kind
        if kind in HANDLERS:
            self._kinds[kind] += 1
            if self._kinds[kind] <= limits.CAPTURE_KINDS.get(kind, limits.CAPTURE_KIND):
                HANDLERS[kind](fields, record.line, self._boot)
            elif kind not in self._too_many:
                self._too_many.add(kind)
                most = limits.CAPTURE_KINDS.get(kind, limits.CAPTURE_KIND)
                raise Malformed(f"more than {most} of this kind in one boot: the others are not read")
            return
        if kind == "d":
            self._contents.add(fields)
            return
        if kind in ("dump-end", "memory-end"):
            self._contents.close(kind, fields, self._boot)
            return
        if kind in ("dump", "memory"):
            self._contents.open(kind, fields, record.line)
        elif kind == "mmap":
            self._memory_map.add(fields, self._boot)
        elif kind in self._unknown or len(self._unknown) < _MOST_UNKNOWN_KINDS:
            self._unknown[kind] += 1
        else:
            self._unnamed += 1

    def _finish_boot(self, end: int) -> None:
        """Closes the boot in hand, if there is one, that ends at byte ``end``. What is still open then was cut off, which a
        machine that died explains: the boot is not complete, but the capture not damaged."""
        self._flush()
        if self._sections is not None:
            self._boot.closed = self._sections.ended
            for line, said in contradictions(self._boot):
                self._report(said, line, None)
            undamaged = self.damage.count == self._damage_before
            gave_up = bool(self._boot.errors)
            is_whole = undamaged and self._sections.complete and not self._boot.is_unpromised
            self._boot.complete = is_whole and not gave_up
            own = self._text[self._first : end]
            self._boot.console, self._boot.beyond = boots_beside(own)
            self._boot.behind = behind(own)
            if not self._boots:
                self._before = beside(self._text[: self._first])
            self._boots.append(self._boot)
        self._boot = Boot()
        self._kinds.clear()
        self._too_many.clear()
        self._sections = None
        self._contents.interrupt()
        self._memory_map = MemoryMap()
        self._damage_before = self.damage.count
