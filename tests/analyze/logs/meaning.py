"""What a log means, by the model that wrote it: what of that can be known from what is left of the log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from analyze.logs.cpu import (
    EXCEPTION, GP, IF, INT, INTERRUPT, NOTHING, NP, PF, SS, TS, WITH_ERROR, Cpu, Died, Happening, has_no_idt,
)  # fmt: skip
from analyze.logs.guest import RUN, Boot, Tale
from analyze.logs.qemu_writer import Piece, Reset, Version, at_reset

TRIPLE, STORM, DELIVERED, RAN = "triple-fault", "storm", "delivered", "ran"
SELECTOR = {TS, NP, SS, GP}
_PAGES = {"idt-unmapped", "gdt-unmapped", "tss-unmapped", "stack-unmapped"}
_NEAR = 64 << 10
_INSTRUCTION = 15  # bytes at most


@dataclass
class Told:
    """What of one boot a log shows, and what it comes to. ``fatals``: each is right where the log cannot tell which.
    ``chain``: the events from the only fatal one on; None where several are right. ``unsaid``, for each of ``fatals``:
    whether nobody knows if what came before it was handled. ``routine``: whether others like
    it were survived before."""

    boot: Boot
    outcome: str
    fatals: list[Happening] = field(default_factory=list)
    chain: list[Happening] | None = None
    unsaid: list[bool] = field(default_factory=list)
    routine: list[bool] = field(default_factory=list)
    or_ran: bool = False  # nobody knows whether it was in the handler of another one, which was survived
    died: Died | None = None
    reset: Cpu | None = None  # the registers at the reset after it, where they tell something


@dataclass
class Meaning:
    """``told``: the boot that the verdict is about; several where each may be. ``boots``: None where the log does not tell.
    ``is_reset``: it shows that a machine that ran was reset."""

    told: list[Told]
    boots: int | None
    is_reset: bool

    def statuses(self, told: Told, said: int) -> set[str]:
        """Return which verdicts are right; ``said``: which of the fatal events it names."""
        if told.outcome == RAN:
            return {"faulted"} if self.is_reset else {"healthy", "incomplete"}
        return {"incomplete"} if told.outcome == DELIVERED and told.routine[said] else {"faulted"}


def identity(one: Happening) -> tuple[object, ...]:
    """Return what is equal in all exceptions of a storm."""
    has_error = one.kind == EXCEPTION and one.vector in WITH_ERROR
    return one.kind, one.vector, one.error if has_error else None, one.cpu.rip, one.cpu.cr2 if is_page_fault(one) else None


def is_page_fault(one: Happening) -> bool:
    """Return whether it is the CPU's own page fault."""
    return one.kind == EXCEPTION and one.vector == PF


def is_told_delivery(one: Happening) -> bool:
    """Return whether QEMU itself says that it was raised in a delivery."""
    return one.old not in (None, NOTHING)


def can_tell(before: Happening, one: Happening) -> bool:
    """Return whether a log shows that ``one`` is of the delivery of ``before``: what nothing but delivery touches."""
    if is_told_delivery(one) or before.kind == INT or one.vector == TS and before.cpu.cpl:  # no code of a program raises #TS
        return True
    if one.vector in SELECTOR:
        if one.error & 2:
            return True
        return bool(one.error) and before.kind != INTERRUPT
    if one.vector != PF:
        return False
    if one.cpu.cpl == 3 or before.failed in ("idt-unmapped", "gdt-unmapped", "tss-unmapped") or has_no_idt(before.cpu):
        return True
    return before.kind != INTERRUPT


def reason(one: Happening, following: Happening | None, end: Told) -> str | None:
    """Return why an event was not delivered, as far as the log bears it out."""
    why = one.failed
    if why is None or following is None and end.died is None:  # the log ends before that shows
        return None
    if why in ("no-idt", "beyond-idt-limit"):
        return why
    assert one.hit is not None
    struck, error, _ = one.hit
    is_seen = following is not None and following.vector == struck and following.error == error
    if not one.cpu.cpl and one.cpu.is_long and 1 << 47 <= one.cpu.rsp < (1 << 64) - (1 << 47) and struck == GP:
        return "stack-bad"
    if struck == PF:
        cr2_is_told = following is not None or end.reset is not None
        return why if cr2_is_told else None
    if why == "gate-privileged":
        return "gate-bad-or-privileged"
    if why == "gate-bad" and one.kind == INT and one.cpu.cpl == 3:
        return "gate-bad-or-privileged"
    if struck == GP:
        return why if is_seen else "gate-bad"
    if struck == NP:
        return why if is_seen else "gate-not-present"
    return {TS: "no-tss", SS: "stack-bad"}[struck]


def is_past(one: Happening, later: Cpu) -> bool:
    """Return whether later registers are of code that the handler of an event returned to, or that came after it."""
    if later.cr3 != one.cpu.cr3 and later.pages:
        return True
    if 3 in (one.cpu.cpl, later.cpl):
        return later.cpl == 3
    return later.rsp >= one.cpu.rsp


def survived(one: Happening, later: Sequence[Happening]) -> bool:
    """Return whether a log shows that code went on."""
    return any(not is_told_delivery(each) and identity(each) != identity(one) and is_past(one, each.cpu) for each in later)


def judge(tale: Tale, pieces: Sequence[Piece], items: str, version: Version) -> Meaning:
    """Return what the log that consists of ``pieces`` means."""
    boots = [told for boot in tale.boots for told in _of_boot(boot, pieces, items, version)]
    known = [told for told in boots if not told.boot.is_trick]
    shown = {told.boot.number for told in known} | {
        piece.what.boot for piece in pieces if isinstance(piece.what, Happening) and "Servicing" in piece.text
    }
    died = [told for told in known if told.outcome != RAN]
    right = []
    for told in reversed(died):
        if told.outcome != DELIVERED or not all(told.routine):
            right.append(told)
        if told.outcome != DELIVERED or not any(told.routine) and not told.or_ran:
            break
    else:  # each may be like others that were survived: then it is about the last one
        right += [told for told in died[-1:] if not right or right[0] is not told]
    right = right or (known or boots)[-1:]
    right += [Told(told.boot, RAN) for told in right if told.or_ran]
    is_reset = any(_is_of_a_machine_that_ran(piece) for piece in pieces) and not version.late_dump
    return Meaning(right, len(shown) if known else None, is_reset)


def _is_of_a_machine_that_ran(piece: Piece) -> bool:
    """Whether it is the reset of the first CPU. One of another CPU alone may be an INIT that started it (SDM 3A, 10.4)."""
    return isinstance(piece.what, Reset) and _has_run(piece.what) and piece.text.startswith("CPU Reset (CPU 0)")


def _of_boot(boot: Boot, pieces: Sequence[Piece], items: str, version: Version) -> Iterator[Told]:
    mine = [piece.what for piece in pieces if getattr(piece.what, "boot", None) == boot.number]
    records = [each for each in mine if isinstance(each, Happening) and not each.is_real]
    died = next((each for each in mine if isinstance(each, Died)), None)
    resets = [each for each in mine if isinstance(each, Reset) and _has_run(each)]
    if not records and died is None:
        return
    at_end = resets[0].cpus[died.cpu.number] if died is not None and resets and not version.late_dump else None
    if died is not None and at_end is not None and not _is_dumped(pieces, resets[0], died.cpu.number):
        at_end = None  # the log is cut before that
    if died is not None:
        own = [each for each in records if each.cpu.number == died.cpu.number]
        yield _died(boot, own, died, at_end, version, items)
        return
    groups = [[one for one in records if one.cpu.number == number] for number in {each.cpu.number for each in records}]
    each_cpu = [_of_cpu(boot, group) for group in groups]
    storms = [told for told in each_cpu if told.outcome == STORM]
    silent = [
        told for told, group in zip(each_cpu, groups, strict=True)
        if told.outcome == DELIVERED and group[-1].kind == EXCEPTION and group[-1] is not records[-1]
    ]
    last = next((each.cpu.number for each in reversed(records) if each.kind == EXCEPTION), records[-1].cpu.number)
    newest = [told for told, group in zip(each_cpu, groups, strict=True) if group[0].cpu.number == last]
    chosen = storms or silent or newest
    yield Told(
        boot, chosen[0].outcome, [fatal for told in chosen for fatal in told.fatals], chosen[0].chain if len(chosen) == 1 else None,
        [bool(told.unsaid) and (told.unsaid[at] or _is_open_elsewhere(records, told.fatals[at])) for told in chosen for at in range(len(told.fatals))],
        [one for told in chosen for one in told.routine], any(told.or_ran for told in chosen),
    )  # fmt: skip


def _is_open_elsewhere(records: list[Happening], fatal: Happening) -> bool:
    """Whether of an exception of another CPU before it nobody knows if it was handled."""
    before = records[: _place(records, fatal)]
    others = {each.cpu.number for each in before} - {fatal.cpu.number}
    groups = [[each for each in before if each.cpu.number == number] for number in others]
    return any(_is_unsaid(group, len(group)) for group in groups)


def _is_dumped(pieces: Sequence[Piece], reset: Reset, number: int) -> bool:
    return any(piece.what is reset and piece.text.startswith(f"CPU Reset (CPU {number})") for piece in pieces)


def _has_run(reset: Reset) -> bool:
    return any(cpu.rip != at_reset().rip for cpu in reset.cpus)


def _died(boot: Boot, records: list[Happening], died: Died, at_end: Cpu | None, version: Version, items: str) -> Told:
    exceptions = [each for each in records if each.kind == EXCEPTION]
    if not exceptions:
        return Told(boot, TRIPLE, died=died, reset=at_end)
    start = _storm(exceptions)
    if start is not None:
        return Told(boot, STORM, _leads(boot, records, exceptions, start), died=died, reset=at_end)
    told = _chain(boot, records)
    told.outcome, told.died, told.reset = TRIPLE, died, at_end
    return told


def _of_cpu(boot: Boot, records: list[Happening]) -> Told:
    exceptions = [each for each in records if each.kind == EXCEPTION]
    if not exceptions:
        return Told(boot, RAN)
    start = _storm(exceptions)
    last = _place(records, exceptions[-1])
    if start is not None and not survived(exceptions[start], records[last + 1 :]):
        return Told(boot, STORM, _leads(boot, records, exceptions, start))
    told = _chain(boot, records)
    open_ones = [at for at, fatal in enumerate(told.fatals) if not survived(fatal, records[last + 1 :])]
    if not open_ones:
        return Told(boot, RAN)
    told.outcome, told.or_ran = DELIVERED, len(open_ones) < len(told.fatals)
    told.fatals, told.unsaid = [told.fatals[at] for at in open_ones], [told.unsaid[at] for at in open_ones]
    told.routine = [one.kind == EXCEPTION and survived_alike(records, _place(records, one)) for one in told.fatals]
    return told


def _place(records: list[Happening], one: Happening) -> int:
    return next(at for at, each in enumerate(records) if each is one)


def _storm(exceptions: list[Happening]) -> int | None:
    """The index of the first of many equal ones in a row, behind which nothing came but what their delivery raised."""
    start = count = 0
    for at, each in enumerate(exceptions):
        is_of_last = each.by_delivery and (is_told_delivery(each) or at > 0 and exceptions[at - 1].hit is not None)
        if identity(each) == identity(exceptions[start]):
            count += 1
        elif not is_of_last or is_told_delivery(exceptions[start]):
            start, count = at, 1
    return start if count >= RUN else None


def _leads(boot: Boot, records: list[Happening], exceptions: list[Happening], start: int) -> list[Happening]:
    """A storm of a handler that cannot be fetched began with what the handler was for."""
    first = exceptions[start]
    is_handler = first.access == "fetch" and start > 0 and first.cpu.rip == first.cpu.cr2
    return _chain(boot, records[: _place(records, first) + (not is_handler)]).fatals


def _chain(boot: Boot, records: list[Happening]) -> Told:
    """The last exception with what led to it."""
    last = max(at for at, each in enumerate(records) if each.kind == EXCEPTION)
    start = last
    while start > 0 and records[start].by_delivery and can_tell(records[start - 1], records[start]):
        start -= 1
    fatals, certain, first = [records[start]], start, start
    while first > 0 and records[first - 1].kind == EXCEPTION:
        before = first - 1
        while before > 0 and records[before].by_delivery:
            before -= 1
        if not all(_may_be_inside(records[before], one) for one in records[before + 1 : last + 1] if not one.by_delivery):
            break
        is_nested = boot.nested.get(id(records[certain])) is records[before] and before == certain - 1
        if is_nested and certain == first and not survived_alike(records, before):
            fatals, certain = [], before
        fatals.append(records[before])
        first = before
    if start > 0 and _looks_like_handler(records[start - 1], records[start]):
        fatals.append(records[start - 1])
    unsaid = [_is_unsaid(records, _place(records, fatal)) for fatal in fatals]
    return Told(boot, DELIVERED, fatals, records[certain : last + 1] if len(fatals) == 1 else None, unsaid)


def _looks_like_handler(before: Happening, one: Happening) -> bool:
    """Whether a jump astray behind an INT instruction pushed just as much as its delivery would have."""
    if before.kind != INT or one.access != "fetch" or one.cpu.rip != one.cpu.cr2 or one.by_delivery:
        return False
    rsp = before.cpu.rsp
    return one.cpu.rsp == ((rsp & ~0xF) - 40 if before.cpu.is_long else rsp - 12)


def _is_unsaid(records: list[Happening], first: int) -> bool:
    """Whether of the last exception before one nobody knows if it was handled."""
    earlier = [at for at in range(first) if records[at].kind == EXCEPTION and not is_told_delivery(records[at])]
    if not earlier:
        return False
    last = records[earlier[-1]]
    later = (one for one in records[earlier[-1] + 1 :] if one.vector not in SELECTOR or (one.cpu.rip, one.cpu.rsp) != (last.cpu.rip, last.cpu.rsp))
    return not survived(last, list(later))


def survived_alike(records: list[Happening], at: int) -> bool:
    """Return whether the log shows that others like one were survived before it."""
    one = records[at]
    return any(
        other.kind == EXCEPTION and (other.vector, other.cpu.cpl) == (one.vector, one.cpu.cpl)
        and survived(other, records[number + 1 : at + 1]) for number, other in enumerate(records[:at])
    )  # fmt: skip


def _may_be_inside(outer: Happening, inner: Happening) -> bool:
    if 3 in (outer.cpu.cpl, inner.cpu.cpl) or is_past(outer, inner.cpu):
        return False
    frame = 32 if outer.cpu.is_long else 8  # one word less than a frame: handlers pop error codes that are not there
    return frame <= outer.cpu.rsp - inner.cpu.rsp <= _NEAR and not inner.cpu.flags & IF


def access(one: Happening) -> str | None:
    """Return the access of a page fault, as far as the log tells it."""
    if not is_page_fault(one):
        return None
    linear = one.cpu.base + one.cpu.rip
    if one.access == "fetch" and not one.cpu.tells_fetches and one.cpu.cr2 != linear:
        return None  # its second page
    return one.access


def fatal_fields(one: Happening) -> dict[str, object]:
    """Return what the JSON says of a fatal event."""
    has_error = one.kind == EXCEPTION and one.vector in WITH_ERROR
    return {
        "kind": one.kind, "vector": one.vector, "error_code": one.error if has_error else None,
        "cr2": hex(one.cpu.cr2) if is_page_fault(one) else None, "rip": hex(one.cpu.rip), "cr3": hex(one.cpu.cr3),
        "cpl": one.cpu.cpl, "access": access(one),
    }  # fmt: skip


def event_fields(told: Told) -> list[dict[str, object]]:
    """Return what the JSON says of the events of a chain."""
    assert told.chain is not None
    rows = []
    for at, one in enumerate(told.chain):
        following = told.chain[at + 1] if at + 1 < len(told.chain) else None
        fields = fatal_fields(one)
        own = {name: fields[name] for name in ("kind", "vector", "error_code", "cr2", "rip")}
        rows.append({**own, "why": reason(one, following, told)})
    return rows


def forbidden(told: Told, said: int) -> Iterator[str]:
    """Yield patterns that must not stand in the output; ``said``: which of the fatal events it names."""
    chain = told.chain
    if told.unsaid and told.unsaid[said]:
        yield r"\bhandled\b(?!.*not known)"
    if told.outcome == RAN or chain is None:
        return
    if not any(each.cpu.pages for each in chain):
        yield r"CR3|\b[Pp]ages?\b|(?<!re)mapped"
    struck = [each.hit[0] for each in chain if each.hit is not None]
    if PF not in struck:
        yield r"cannot be read|cannot be fetched|push.* failed|reached for"
    if not any(has_no_idt(each.cpu) or each.cpu.idt[1] == 0 for each in chain):
        yield r"[Nn]o IDT is loaded"
    failing = {each.vector for each in chain if each.failed}
    others = "|".join(str(vector) for vector in failing) or "none"
    yield rf"; (?:IDT )?gate (?!(?:{others})\b)\d+"


def finds(pattern: str, text: str) -> bool:
    """Return whether a forbidden pattern stands in the text."""
    return re.search(pattern, " ".join(text.split())) is not None
