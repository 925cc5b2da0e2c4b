"""Which writer is speaking: sections, their totals, and what an `end` promises (format, rule 7)."""

from __future__ import annotations

import zlib

from cr3scope.input.capture.fields import Fields, Malformed

NO_SECTION = "none"


class Sections:
    """The sections of one boot, from its ``begin`` on."""

    def __init__(self, producer: str) -> None:
        self._open: str | None = producer
        self._promised: str | None = None
        self.is_closed = False  # the channel, by a `close` record
        self._records = 0
        self._bytes = 0
        self._crc = 0
        self.ended: list[str] = []

    @property
    def complete(self) -> bool:
        """Return whether nothing more is due: every section is closed and none promised, or the channel ended.
        """
        return self.is_closed or (self._open is None and self._promised is None)

    @property
    def expects_more(self) -> bool:
        """Return whether another record makes sense; once it does not, one can only be a mistake."""
        return not self.complete

    def count(self, wire: bytes, records: int = 1) -> None:
        """Take a record into the totals, or several."""
        self._records += records
        self._bytes += len(wire)
        self._crc = zlib.crc32(wire, self._crc)

    def start(self, fields: Fields) -> None:
        """Take a ``section`` record: the promised writer goes on."""
        producer = fields.text("producer")
        unfinished, promised = self._open, self._promised
        self._open, self._promised = producer, None
        if unfinished is not None:
            raise Malformed(f"section {producer} starts, but section {unfinished} is not closed")
        if producer != promised:
            raise Malformed(f"section {producer} where {promised or 'none'} was promised")

    def end(self, fields: Fields) -> None:
        """Take an ``end`` record: check the totals of all that came before it."""
        producer, following = fields.text("producer"), fields.text("next")
        counted = {key: fields.number(key) for key in ("records", "bytes", "crc")}
        current, self._open = self._open, None
        self._promised = None if following == NO_SECTION else following
        self.ended.append(producer)
        if producer != current:
            raise Malformed(f"section {producer} ends, but {current or 'none'} is open")
        for key, have in (("records", self._records), ("bytes", self._bytes), ("crc", self._crc)):
            if counted[key] != have:
                raise Malformed(
                    f"section {producer} ends after {key} {counted[key]:#x}; "
                    f"the capture has {have:#x}"
                )

    def close(self, fields: Fields) -> None:
        """Take a ``close`` record: this channel ends here, in the midst of a section or before a promised one.
        """
        fields.text("sink")
        self.is_closed = True
        if self._open is not None:
            self.ended.append(self._open)
