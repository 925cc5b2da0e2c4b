"""An upper-level entry that holds a virtual address."""

from __future__ import annotations

from cr3scope.diagnose.finding import Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.shared.met import met_by
from cr3scope.message import Hex, message
from cr3scope.model.intent import Named
from cr3scope.model.strike import Strike
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ADDRESS_MASK
from cr3scope.x86.mode import PAGED

_SIGN_EXTENDED = 0x000F_8000_0000_0000  # bits 51:47 of an address in the upper half


def _claim(context: Context, strike: Strike) -> Claim | None:
    path = met_by(context, strike.virt).entries
    if strike.culprit not in path:
        return None
    for entry in path:
        told = None if entry.is_leaf else _told(context, entry)
        if told is not None:
            return told
        if entry == strike.culprit:
            break
    return None


def _told(context: Context, entry: EntryRef) -> Claim | None:
    address = entry.value & ADDRESS_MASK
    pool = _pool_of(context, address)
    if pool is None and address & _SIGN_EXTENDED != _SIGN_EXTENDED:
        return None
    virt = Hex(_whole(address))
    if pool is None or pool.phys is None:
        title = message("{entry} holds the virtual address {virt} instead of a physical one", entry=entry, virt=virt)
        return Claim(title, stands_alone=True, entry=entry)
    title = message(
        "{entry} holds the virtual address {virt}; the table lies at physical {phys}",
        entry=entry, virt=virt, phys=Hex(pool.phys + address - (pool.virt & ADDRESS_MASK)),
    )  # fmt: skip
    proof = message(
        "{virt} is in {pool}, mapped to {pool_phys}", virt=virt, pool=pool.label, pool_phys=Hex(pool.phys)
    )
    return Claim(title, proof=(proof,), stands_alone=True, entry=entry)


def _pool_of(context: Context, address: int) -> Named | None:
    """The pool of tables whose virtual range holds the address that an entry can keep of it."""
    return None if address in context.intent.table_pages else context.intent.pools.at(address)


def _whole(address: int) -> int:
    """The address with the sign bits that an entry has no room for."""
    sign = address & _SIGN_EXTENDED == _SIGN_EXTENDED
    return address | (0xFFF0_0000_0000_0000 if sign else 0)


RULE = Rule(
    id="virt-address-in-entry",
    title="a virtual address in an entry",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Entries hold physical addresses: the walk does not translate what it finds in them. A "
        "loader or kernel that reaches its tables through a mapping, and stores the pointer that "
        "it writes through, sends the walk to memory that does not exist or is something else."
    ),
    shows=(
        "v=0e with RSVD (e=0009..0019 on hardware, 0008..0018 on QEMU TCG) for an address in the "
        "upper half, whose high bits are beyond MAXPHYADDR; else e=0010 or other as for garbage."
    ),
    fix="Store the physical address of the table, or of the page: subtract the base of the mapping, add its frame.",
    manual="Intel SDM volume 3A, 5.5.4 (tables 5-14 to 5-18)",
    claim=_claim,
)
