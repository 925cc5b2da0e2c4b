"""A kernel's panic in no form that is known: the exception and the registers by the names that nearly all give them.

It is a guess. Taken is only what stands beside its name, and only where the exception has at least two such numbers near it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.event import Event
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.own_report import OwnReport
from cr3scope.input.logs.pieces import MOST_REPORTS, regions
from cr3scope.input.logs.signs import OWN, OWN_BY
from cr3scope.numbers import hexadecimal
from cr3scope.x86.entry import level_index
from cr3scope.x86.exceptions import (
    ALIGNMENT,
    BREAKPOINT,
    DEBUG,
    DIVIDE,
    DOUBLE_FAULT,
    FIRST_INTERRUPT,
    INVALID_TSS,
    NO_FPU,
    NOT_PRESENT,
    PAGE_FAULT,
    PF_FETCH,
    PF_KEY,
    PF_PRESENT,
    PF_RESERVED,
    PF_SHADOW_STACK,
    PF_USER,
    PF_WRITE,
    PROTECTION,
    STACK_FAULT,
    UNDEFINED,
)

_SURE = "these words are of no form that is known: taken is what stands beside the names of registers, which is a guess"
_NEAR = 600  # bytes between two parts of one report
_BEFORE, _BEHIND = 1 << 10, 2 << 10  # bytes around a sign
_LEAST = 2  # numbers
_FOLLOWS = 120  # bytes between a report and the word that it came to nothing
_LONGEST_SENTENCE = 400
_PROSE = 2  # words that no panic has, in one line
_TRAPS = (DEBUG, BREAKPOINT)  # mostly provoked on purpose

_NAMES = {
    b"page fault": PAGE_FAULT, b"#pf": PAGE_FAULT, b"general protection": PROTECTION, b"#gp": PROTECTION, b"gpf": PROTECTION,
    b"double fault": DOUBLE_FAULT, b"#df": DOUBLE_FAULT, b"invalid opcode": UNDEFINED, b"undefined opcode": UNDEFINED,
    b"#ud": UNDEFINED, b"divide error": DIVIDE, b"divide by zero": DIVIDE, b"division by zero": DIVIDE, b"#de": DIVIDE,
    b"stack segment fault": STACK_FAULT, b"#ss": STACK_FAULT, b"segment not present": NOT_PRESENT, b"#np": NOT_PRESENT,
    b"invalid tss": INVALID_TSS, b"#ts": INVALID_TSS, b"alignment check": ALIGNMENT, b"#ac": ALIGNMENT,
    b"device not available": NO_FPU, b"#nm": NO_FPU,
}  # fmt: skip
_FIELDS = {
    "rip": "rip", "eip": "rip", "pc": "rip", "instruction pointer": "rip", "rsp": "rsp", "esp": "rsp", "stack pointer": "rsp",
    "rflags": "flags", "eflags": "flags", "cpu flags": "flags", "cs": "cs", "code segment": "cs",
    "cr0": "cr0", "cr2": "cr2", "cr3": "cr3", "cr4": "cr4",
}  # fmt: skip
_ERROR, _ADDRESS = "error", "cr2"
_FLAG_NAMES = {
    b"PROTECTION_VIOLATION": PF_PRESENT, b"CAUSED_BY_WRITE": PF_WRITE, b"USER_MODE": PF_USER,
    b"MALFORMED_TABLE": PF_RESERVED, b"INSTRUCTION_FETCH": PF_FETCH, b"PROTECTION_KEY": PF_KEY, b"SHADOW_STACK": PF_SHADOW_STACK,
}  # fmt: skip
_BLANKS = re.compile(rb"[ _-]+")
_LEVELS = {b"pml5": 5, b"pml4": 4, b"pdpt": 3, b"pdp": 3, b"pd": 2, b"pt": 1}
_DESCRIBING = re.compile(
    rb"\b(?:when(?:ever)?|if|must|may|can(?:not)?|should|would|will|is|are|means?|occurs?|holds?|contains?|see|e\.g|i\.e"
    rb"|(?:for|the) (?:example|instance))\b",
    re.IGNORECASE,
)
# Behind a number something must stand: at the end of a text it may be cut.
_NUMBER = rb"(?:0x[0-9a-f_]{1,20}|[0-9a-f]{8,16}|[0-9]{1,4})(?=[^0-9a-z_])"
_TOKEN = re.compile(
    rb"(?P<name>(?:page|general|double|invalid|undefined|divi(?:de|sion)|stack|segment|alignment|device)[ _-]"
    rb"(?:fault|protection(?:[ _-]fault)?|opcode|error|by[ _]zero|segment[ _-]fault|not[ _-](?:present|available)|tss|check)"
    rb"(?!\w|\+0x|[ _-]handlers?\b[^\n]{0,24}?\b(?:installed|registered|set|loaded|ready|ok|initiali[sz]ed|enabled)\b)"
    rb"|(?<!\w)(?:#(?:pf|gp|df|ud|de|ss|np|ts|ac|nm)|gpf)\b)"
    # Of FreeBSD, whose numbers are no vectors.
    rb"|\bfatal trap [0-9]{1,2}: |\btrap number\t{1,4}= [0-9]{1,2}"
    rb"|(?P<none>(?<!not )(?<!be )(?<!been )\b(?:handled|recovered|resolved|survived)\b|\bin (?:16|32|64)-bit code\b|\bwine: unhandled\b)"
    rb"|\b(?:vec(?:tor)?|int(?:errupt)?(?:[ _]?(?:no|num|number))?|isr|trap(?:[ _]?(?:no|num|number))?|exception(?:[ _]?(?:no|num|number|vector))?)"
    rb"\s{0,2}[#:=]{0,2}\s{0,3}(?P<vector>0x[0-9a-f]{1,2}|[0-9]{1,2})(?=[^0-9a-z_])"
    rb"|\b(?P<error>err(?:or)?(?:[ _-]?code)?)\b\s{0,4}[:=]{0,2}\s{0,8}(?:PageFaultErrorCode\(\s{0,24})?"
    rb"(?:(?P<flags>[A-Z]{2,12}(?:_[A-Z]{2,12}){1,3}(?:\s{0,24}\|\s{0,24}[A-Z_]{2,24}){0,6})|(?P<code>%(number)s))"
    rb"|(?<![\w%%])(?:(?P<field>rip|eip|pc(?==[0-9a-f]{4}:)|rsp|esp|[re]flags|cr[0234]|cs|instruction[ _]pointer|stack[ _]pointer|code[ _]segment|cpu[ _]flags)"
    rb"|(?P<address>(?:accessed|access|fault(?:ing|ed)?|bad)[ _](?:virtual |linear |memory )?addr(?:ess)?))\b"
    rb"\s{0,12}(?:\([^)\n]{0,16}\)\s{0,4})?(?:[:=]{1,2}|-?>|\bis\b|\s)\s{0,12}(?:VirtAddr\((?:\r?\n[^\n]{0,60}?(?=0x))?)?(?:(?P<selector>(?:0x)?[0-9a-f]{1,4}):(?=\w))?(?P<value>%(number)s)(?!:\w)"
    rb"|\b(?P<table>pml5|pml4|pdpt|pdp|pd|pt)e? {0,4}\[(?P<index>(?:0x)?[0-9a-f]{1,3})\] {0,3}[:=]? {0,3}(?P<entry>(?:0x)?[0-9a-f]{8,16})(?=[^0-9a-z_])"
    % {b"number": _NUMBER},
    re.IGNORECASE,
)  # fmt: skip


@dataclass(slots=True)
class _Group:
    """Names and numbers that stand near each other."""

    offset: int
    last: int
    vectors: set[int] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    walk: list[tuple[int, bytes, int]] = field(default_factory=list)
    bits: int | None = None
    is_decimal: bool = False
    doubts: list[str] = field(default_factory=list)
    is_none: bool = False  # the kernel went on, or it is a program's own

    @property
    def is_enough(self) -> bool:
        """Return whether this is an exception with enough beside it."""
        if self.is_none or len(self.vectors) != 1 or self.vectors & set(_TRAPS):
            return False
        return len(self.numbers) >= _LEAST and not self.numbers.keys().isdisjoint({"rip", _ADDRESS})

    def report(self) -> OwnReport:
        """Return it as the report of a kernel."""
        (vector,) = self.vectors
        numbers = dict(self.numbers)
        found = OwnReport(self.offset, OWN_BY, vector, numbers.pop(_ERROR, None), bits=self.bits, registers=numbers)
        virt = numbers.get(_ADDRESS)
        if virt is not None:
            found.walk = list(_walk(self.walk, virt))
        found.remarks.append(_SURE)
        if self.is_decimal:
            found.remarks.append(f"the number of the exception, {vector}, is taken as decimal")
        found.remarks.extend(self.doubts)
        return found


def events_of_own_words(log: LogFile) -> Iterator[Event]:
    number = 0
    for group in _groups(log):
        if group.is_enough:
            yield from group.report().events(number)
            number += 1
            if number > MOST_REPORTS:
                return


def _groups(log: LogFile) -> Iterator[_Group]:
    group: _Group | None = None
    for start, data in regions(log, OWN, _BEFORE, _BEHIND):
        for token in _TOKEN.finditer(data):
            place = start + token.start()
            if token["none"] is not None:
                if group is not None and place - group.last <= _FOLLOWS:
                    group.is_none = True
                continue
            if _is_prose(data, token.start()):
                continue
            if group is not None and (place - group.last > _NEAR or _is_of_another(token, group)):
                yield group
                group = None
            group = group or _Group(place, place)
            _take(group, token)
            group.last = place
    if group is not None:
        yield group


def _is_of_another(token: re.Match[bytes], group: _Group) -> bool:
    """Whether another report begins, once this one is whole: by its exception, or another value of a register."""
    if not group.is_enough and not group.is_none:
        return False
    vector = _vector(token)
    if vector is not None:
        return True
    name, value = _field(token)
    return name is not None and value is not None and group.numbers.get(name, value) != value


def _is_prose(data: bytes, place: int) -> bool:
    """Whether the line describes what happens, and reports nothing."""
    first = data.rfind(b"\n", max(place - _LONGEST_SENTENCE, 0), place) + 1
    end = data.find(b"\n", place, place + _LONGEST_SENTENCE)
    if not first and place > _LONGEST_SENTENCE:
        return False
    line = data[first : end if end >= 0 else place + _LONGEST_SENTENCE]
    return len(_DESCRIBING.findall(line)) >= _PROSE


def _take(group: _Group, token: re.Match[bytes]) -> None:
    vector = _vector(token)
    if vector is not None:
        group.vectors.add(vector)
        group.is_decimal |= token["vector"] is not None and len(token["vector"]) == 2 and len(group.vectors) == 1
        group.is_decimal &= token["name"] is None
        return
    if token["table"] is not None:
        group.walk.append((_LEVELS[token["table"].lower()], token["index"], int(token["entry"], 16)))
        return
    name, value = _field(token)
    if name is None:
        return
    if value is None:
        group.doubts.append(f"the {name} {_text(token['code'] or token['value'])} is left out: its base is not told")
        return
    group.numbers.setdefault(name, value)
    if token["field"] is not None and group.bits is None:
        group.bits = {b"r": 64, b"e": 32}.get(token["field"][:1].lower())


def _vector(token: re.Match[bytes]) -> int | None:
    """The exception that a token names; None if it names none."""
    if token["name"] is not None:
        words = _BLANKS.sub(b" ", token["name"].lower())
        return _NAMES.get(words.removesuffix(b" fault"), _NAMES.get(words))
    if token["vector"] is None:
        return None
    text = token["vector"].lower()
    vector = int(text, 16 if text.startswith(b"0x") else 10)
    return vector if vector < FIRST_INTERRUPT else None


def _field(token: re.Match[bytes]) -> tuple[str | None, int | None]:
    """The name and the value of a token; None for what it is not, or is not certain."""
    if token["flags"] is not None:
        known = [_FLAG_NAMES.get(name.strip()) for name in token["flags"].split(b"|")]
        return (_ERROR, sum(bit for bit in known if bit)) if all(known) else (None, None)
    if token["code"] is not None:
        return _ERROR, _value(token["code"])
    if token["value"] is None:
        return None, None
    name = _ADDRESS if token["address"] is not None else _FIELDS[_text(token["field"]).lower().replace("_", " ")]
    if token["selector"] is not None and name == "cs":
        return name, int(token["selector"], 16)
    return name, _value(token["value"])


def _value(text: bytes) -> int | None:
    """A number as kernels print them, mostly in hex; None if it may be decimal too, and the base matters, or if no
    register holds it."""
    if text[:2].lower() == b"0x":
        return hexadecimal(text[2:].replace(b"_", b"").decode("ascii") or "0")
    is_hex = len(text) >= 8 or len(text) == 1 or text.startswith(b"0")
    return int(text, 16) if is_hex else None


def _walk(entries: list[tuple[int, bytes, int]], virt: int) -> Iterator[tuple[int, int]]:
    """The entries from the top that lie on the way of an address, without a gap."""
    before: int | None = None
    for level, index, value in entries:
        bases = [16] if index[:2].lower() == b"0x" or not index.isdigit() else [10, 16]
        if before not in (None, level + 1) or level_index(virt, level) not in [int(index, base) for base in bases]:
            return
        before = level
        yield level, value


def _text(word: bytes) -> str:
    return word.decode("ascii", "replace")
