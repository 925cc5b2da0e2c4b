"""The register dump that Bochs writes to its log before it gives up (its cpu/debugstuff.cc, versions 2.2 to 3.0)."""

from __future__ import annotations

import re

from cr3scope.input.logs.event import RegisterDump
from cr3scope.x86.descriptors import RPL

_GENERAL = re.compile(rb"\b([ER](?:AX|BX|CX|DX|SI|DI|SP|BP)|R(?:8|9|1[0-5]))=([0-9a-f]{8,16})\b")
# In parentheses: where the instruction begins.
_RIP = re.compile(rb"\| [RE]IP=([0-9a-f]{8,16})(?: \(([0-9a-f]{8,16})\))?")
_CONTROL = re.compile(rb"\b(CR[0234])=0x([0-9a-f]{8,16})\b")
_EFER = re.compile(rb"\bEFER *= 0x([0-9a-f]{8})\b")
_BITS = re.compile(rb"\bCS\.(?:mode|d_b) = (16|32|64) bit")
_STATE = re.compile(rb"CPU is in [a-z0-9]{4,13} mode \((\w{1,16})")
_CODE = re.compile(rb"\|  CS:([0-9a-f]{4})\([^)\n]{4,16}\) ([0-9a-f]{8,16}) ")
_FLAGS = re.compile(rb"\| EFLAGS=([0-9a-f]{8})")
_FLAG_NAMES = re.compile(rb"\| (?:\w\w\w? ){0,7}IOPL=([0-3])((?: \w{2,3}){8,17})", re.IGNORECASE)
_TABLE = re.compile(rb"\b([gi])dtr:base=0x([0-9a-f]{1,16}), limit=0x([0-9a-f]{1,4})")
_HALTED = (b"halted", b"wait")
_BIT = {b"CF": 0, b"PF": 2, b"AF": 4, b"ZF": 6, b"SF": 7, b"TF": 8, b"IF": 9, b"DF": 10, b"OF": 11, b"NT": 14,
        b"RF": 16, b"VM": 17, b"AC": 18, b"VIF": 19, b"VIP": 20, b"ID": 21}  # fmt: skip


def read_bochs_dump(data: bytes) -> RegisterDump:
    """Return what a dump shows; ``data`` holds no other one."""
    general = {match[1].decode("ascii"): int(match[2], 16) for match in _GENERAL.finditer(data)}
    control = {match[1]: int(match[2], 16) for match in reversed(list(_CONTROL.finditer(data)))}  # the first ones count
    tables = {match[1]: (int(match[2], 16), int(match[3], 16)) for match in _TABLE.finditer(data)}
    place, bits, efer, code = _RIP.search(data), _BITS.search(data), _EFER.search(data), _CODE.search(data)
    state = _STATE.search(data)
    rip = None if place is None else int(place[2] or place[1], 16)
    code_bits = None if bits is None else int(bits[1])
    base = 0 if code_bits == 64 else None if code is None else int(code[2], 16)
    is_protected = bool(control.get(b"CR0", 0) & 1)
    return RegisterDump(
        rip=rip,
        rsp=general.get("RSP", general.get("ESP")),
        linear=None if rip is None or base is None else rip + base,
        flags=_flags(data),
        cpl=int(code[1], 16) & RPL if code and is_protected else None,
        cs=int(code[1], 16) if code else None,
        code_bits=code_bits,
        cr0=control.get(b"CR0"),
        cr2=control.get(b"CR2"),
        cr3=control.get(b"CR3"),
        cr4=control.get(b"CR4"),
        efer=int(efer[1], 16) if efer else None,
        idt=tables.get(b"i"),
        gdt=tables.get(b"g"),
        halted=state[1].startswith(_HALTED) if state else None,
        general=general,
    )


def _flags(data: bytes) -> int | None:
    """Older versions write the names alone, in capitals if they are set."""
    value = _FLAGS.search(data)
    if value is not None:
        return int(value[1], 16)
    names = _FLAG_NAMES.search(data)
    if names is None:
        return None
    return sum(1 << _BIT[each] for each in names[2].split() if each in _BIT) | int(names[1]) << 12 | 2
